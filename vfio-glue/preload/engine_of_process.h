// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine of this process, and the device tree that its program sees.
//
//   first need    the engine is made, as the environment says; then the tree
//   fork()        parent: goes on
//                 child:  has none; its parent's is left alone, the descriptors of it
//                         become /dev/null; it makes one of its own when it needs one
//   exit          the engine is destroyed if nothing is under way in it, then the tree
//
// Two processes never share one: VFIO's files work where they were opened.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "vfio-glue/engine/engine.h"
#include "vfio-glue/engine/sysfs_view.h"
#include "vfio-glue/preload/process.h"

namespace pviommu::vfio {

/// Writes a line for people to stderr, "pviommu: " before it.
void say(std::string line);

/// Thread-safe, but for set_factory() and what surrounds fork().
class EngineOfProcess {
 public:
  using Factory = std::function<Result<std::unique_ptr<Engine>>()>;
  /// Replaces how the engine is made, for tests.  To be called before the first use.
  void set_factory(Factory factory) { factory_ = std::move(factory); }

  /// The engine; made at the first need.  When that fails a line on stderr says why.
  Result<Engine*> engine();
  /// True when this process has made one.
  bool has_engine() const { return engine_.load() != nullptr && engine_incarnation_ == incarnation(); }

  /// Opens the tree that PVIOMMU_SYSFS names, so that known_view() has it from the start on; in
  /// silence, as the program may never ask for a device.
  void open_given_view();
  /// The device tree (sysfs_view.h), which is made if need be; null: there is none, or this
  /// thread is inside the engine.
  const SysfsView* view();
  /// The same, only if it has been made already.
  const SysfsView* known_view() const { return view_.load(std::memory_order_acquire); }

  /// say(), once for the same line.
  void complain(const std::string& message);

  /// Around fork(): the lock is held from before it until after it in the parent.
  void before_fork() { mutex_.lock(); }
  void after_fork_in_parent() { mutex_.unlock(); }
  void after_fork_in_child();
  /// At exit.  `idle`: this process has an engine, and nothing is open in it.
  void finish(bool idle);

 private:
  Result<std::unique_ptr<Engine>> create();
  void forget_parents();

  Factory factory_;

  // Not held across fork(), unlike mutex_: making an engine takes locks below us
  // that have their own handlers for it.
  std::mutex making_;      ///< one engine at a time; before mutex_
  std::mutex complaints_;  ///< of last_complaint_; innermost
  std::string last_complaint_;

  std::mutex mutex_;  ///< of all below
  std::atomic<Engine*> engine_{nullptr};
  std::atomic<std::uint64_t> engine_incarnation_{0};
  std::atomic<const SysfsView*> view_{nullptr};
  std::atomic<std::uint64_t> view_incarnation_{0};  ///< of the process that made the tree and removes it
};

}  // namespace pviommu::vfio
