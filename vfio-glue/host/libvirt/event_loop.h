// SPDX-License-Identifier: LGPL-2.1-or-later
// The thread that libvirt's callbacks run on: its default event loop, of which
// a process has one.
#pragma once

#include <atomic>
#include <memory>

#include "hypercall/delivery_thread.h"
#include "hypercall/result.h"

namespace pviommu::host {

class EventLoop {
 public:
  /// Makes the loop known to libvirt, once.  To be called before any connection is made.
  static Status prepare();
  /// The process's running loop; its thread ends with the last owner.  Thread-safe.
  static Result<std::shared_ptr<EventLoop>> running();
  ~EventLoop();

 private:
  EventLoop() = default;
  int timer_ = -1;  ///< never due, until it is to wake the thread
  /// Shared with the thread, which outlives this object when it ends itself.
  std::shared_ptr<std::atomic<bool>> ends_ = std::make_shared<std::atomic<bool>>(false);
  DeliveryThread thread_;
};

}  // namespace pviommu::host
