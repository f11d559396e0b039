// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread that waits for writes to one eventfd.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>

#include "hypercall/delivery_thread.h"
#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu::msi {

/// Reads (and so consumes) what is written to the eventfd and calls back.  What was
/// there before causes one call, too, and is left in the eventfd.  Each watcher has a
/// thread, which is affordable because resampled interrupt lines are few and slow.
class EventfdWatcher {
 public:
  /// `on_write` runs on the watcher's thread.  EAGAIN, ENOMEM, EMFILE: the
  /// system has no thread or descriptor left.
  static Result<std::unique_ptr<EventfdWatcher>> start(UniqueFd fd, std::function<void()> on_write);
  /// Returns when no call is under way any more.  Not from on_write().
  ~EventfdWatcher();
  EventfdWatcher(const EventfdWatcher&) = delete;
  EventfdWatcher& operator=(const EventfdWatcher&) = delete;

 private:
  EventfdWatcher(UniqueFd fd, UniqueFd wake, UniqueFd poll, std::function<void()> on_write);
  void run(bool written);

  UniqueFd fd_;
  UniqueFd wake_;
  UniqueFd poll_;  ///< an event for each write, and for the end
  std::function<void()> on_write_;
  pid_t owner_;
  DeliveryThread thread_;
};

}  // namespace pviommu::msi
