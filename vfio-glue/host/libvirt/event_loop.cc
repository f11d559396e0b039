// SPDX-License-Identifier: LGPL-2.1-or-later
// The loop lives as long as somebody holds it; the last holder's end stops the thread.
#include "vfio-glue/host/libvirt/event_loop.h"

#include <libvirt/libvirt.h>

#include <mutex>

namespace pviommu::host {

Status EventLoop::prepare() {
  static const int registered = ::virEventRegisterDefaultImpl();
  if (registered < 0) return Error{EIO, "virEventRegisterDefaultImpl"};
  return {};
}

Result<std::shared_ptr<EventLoop>> EventLoop::running() {
  static std::mutex lock;
  static std::weak_ptr<EventLoop> shared;
  const std::lock_guard guard(lock);
  if (auto loop = shared.lock()) return loop;
  std::shared_ptr<EventLoop> loop(new EventLoop);
  loop->timer_ = ::virEventAddTimeout(
      -1, [](int, void*) {}, nullptr, nullptr);
  if (loop->timer_ < 0) return Error{EIO, "virEventAddTimeout"};
  PVIOMMU_TRY(loop->thread_.start("thread", [ends = loop->ends_] {
    while (!*ends && ::virEventRunDefaultImpl() >= 0) {
    }
  }));
  shared = loop;
  return loop;
}

EventLoop::~EventLoop() {
  const auto wake = [this] {
    *ends_ = true;
    if (timer_ >= 0) ::virEventUpdateTimeout(timer_, 0);
  };
  // A callback that gives up the last watch ends its own thread, after it.
  if (thread_.is_current()) {
    wake();
    thread_.abandon();
  } else {
    thread_.end(wake);
  }
  if (timer_ >= 0) ::virEventRemoveTimeout(timer_);
}

}  // namespace pviommu::host
