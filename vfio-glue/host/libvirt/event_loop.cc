// SPDX-License-Identifier: LGPL-2.1-or-later
// The loop lives as long as somebody holds it; the last holder's end stops the thread.
#include "vfio-glue/host/libvirt/event_loop.h"

#include <libvirt/libvirt.h>
#include <pthread.h>
#include <signal.h>

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
  // Signals are for the threads of the program.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  loop->thread_ = std::thread([ends = loop->ends_] {
    while (!*ends && ::virEventRunDefaultImpl() >= 0) {
    }
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  shared = loop;
  return loop;
}

EventLoop::~EventLoop() {
  *ends_ = true;
  if (timer_ >= 0) ::virEventUpdateTimeout(timer_, 0);
  if (thread_.joinable()) {
    // A callback that gives up the last watch ends its own thread, after it.
    if (thread_.get_id() == std::this_thread::get_id())
      thread_.detach();
    else
      thread_.join();
  }
  if (timer_ >= 0) ::virEventRemoveTimeout(timer_);
}

}  // namespace pviommu::host
