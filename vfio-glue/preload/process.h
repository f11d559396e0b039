// SPDX-License-Identifier: LGPL-2.1-or-later
// Which process are we in, and are we inside the engine?
//
// The preload library lives in a program that forks, vforks and takes signals
// whenever it likes.  Three questions are asked on every path:
//
//   incarnation()   changes in a forked child, also one made with a bare
//                   clone(2): objects of an older incarnation belong to the parent
//   shares_memory_with_another_process()   a vfork child: same memory, own
//                   descriptors; it must leave our tables alone
//   inside_engine() this thread is executing engine code: its own file
//                   operations go straight to the kernel
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "vfio-glue/preload/signals.h"

namespace pviommu::vfio {

namespace process_detail {
// The word lies in a page the kernel zeroes in a forked child (MADV_WIPEONFORK).
extern std::atomic<std::uint64_t>* incarnation_word;
std::uint64_t renew_incarnation();
// initial-exec: the library is loaded at program start, and a TLS access must
// not allocate (it happens in signal handlers).
extern thread_local int engine_depth __attribute__((tls_model("initial-exec")));
void run_deferred();
}  // namespace process_detail

/// A number > 0 that no ancestor of this process had.  One load.
inline std::uint64_t incarnation() {
  const auto* word = process_detail::incarnation_word;
  const std::uint64_t value = word != nullptr ? word->load(std::memory_order_relaxed) : 0;
  return value != 0 ? value : process_detail::renew_incarnation();
}

/// In the child of a fork(), for kernels without MADV_WIPEONFORK.
void note_fork();

/// The process that owns this memory; no system call.
pid_t owner_pid();
/// True in a vfork child (or another CLONE_VM process).  One system call.
bool shares_memory_with_another_process();

inline bool inside_engine() { return process_detail::engine_depth > 0; }

/// Something to be done when this thread has left the engine: a signal handler
/// that closes a descriptor must not wait for locks the interrupted call holds.
struct Deferred {
  Deferred* next = nullptr;
  void (*run)(Deferred*) = nullptr;
};
/// Async-signal-safe.
void run_outside_engine(Deferred* deferred);

/// Marks a stretch of engine code.
class EngineScope {
 public:
  EngineScope() { ++process_detail::engine_depth; }
  ~EngineScope() noexcept(false) {
    if (--process_detail::engine_depth == 0) process_detail::run_deferred();
  }
  EngineScope(const EngineScope&) = delete;
  EngineScope& operator=(const EngineScope&) = delete;

 private:
  CallScope call_;  // ends last: a signal's handler is outside of the engine
};

}  // namespace pviommu::vfio
