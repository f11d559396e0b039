// SPDX-License-Identifier: LGPL-2.1-or-later
// Signals and cancellation while this thread is in one of our calls.
//
// A system call is whole: a handler runs before it or after it, may leave by siglongjmp(), and
// a thread is cancelled where it waits or not at all.  Our calls are made of locks and half
// done changes, so a handler of the program waits for the end of the call:
//
//   signal ---> arrive(), in place of the program's handler
//                 |  outside of a call: the program's handler
//                 |  in a call: all signals are blocked, this one is sent to the thread again
//   end of the outermost CallScope ---> the mask as it was; the handler runs now
//
// Faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP) cannot wait; their handlers are the
// kernel's to call, but for SIGBUS, which has more to it (bus_errors.h).
#pragma once

#include <csignal>

namespace pviommu::vfio {

namespace signals_detail {
// initial-exec: as in process.h
extern thread_local int call_depth __attribute__((tls_model("initial-exec")));
extern thread_local bool deferred __attribute__((tls_model("initial-exec")));
int enter() noexcept;
void leave(int cancel_state) noexcept;
void run_deferred_signals();
}  // namespace signals_detail

/// Whether a call keeps its thread from being cancelled, which takes some 20 ns.
enum class Cancellation { off, as_it_is };

/// Marks one of our calls, with all that is taken and given back in it.  Nests.
class CallScope {
 public:
  /// False: there is nothing to mark.
  explicit CallScope(bool marks = true, Cancellation cancellation = Cancellation::off) : marks_(marks) {
    if (!marks || signals_detail::call_depth++ != 0 || cancellation != Cancellation::off) return;
    cancel_state_ = signals_detail::enter();
  }
  /// May not return: a handler that has waited can leave by a jump.
  ~CallScope() noexcept(false) {
    if (!marks_ || --signals_detail::call_depth != 0) return;
    if (cancel_state_ != kUnchanged) signals_detail::leave(cancel_state_);
    if (signals_detail::deferred) [[unlikely]]
      signals_detail::run_deferred_signals();
  }
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

 private:
  static constexpr int kUnchanged = -1;
  bool marks_;
  int cancel_state_ = kUnchanged;
};

/// What sigaction() of the program does.  Async-signal-safe.
int set_signal_action(int number, const struct sigaction* action, struct sigaction* old);

}  // namespace pviommu::vfio
