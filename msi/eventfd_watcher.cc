// SPDX-License-Identifier: LGPL-2.1-or-later
// One thread for one eventfd, edge triggered.  Its end is a second eventfd, so that the
// destructor never waits for the program.
#include "msi/eventfd_watcher.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>

namespace pviommu::msi {
namespace {

constexpr std::uint64_t kEnd = 1;

/// Takes the eventfd's value; false: there is none any more.  The program may read it as
/// well, so the read must not wait, even where the eventfd was made without O_NONBLOCK.
bool consume(int fd) {
  std::uint64_t value = 0;
  struct iovec piece {
    &value, sizeof value
  };
  ssize_t got = ::preadv2(fd, &piece, 1, -1, RWF_NOWAIT);
  if (got < 0 && errno == EOPNOTSUPP) got = ::read(fd, &value, sizeof value);  // Linux before 5.8
  return got == static_cast<ssize_t>(sizeof value);
}

}  // namespace

Result<std::unique_ptr<EventfdWatcher>> EventfdWatcher::start(UniqueFd fd, std::function<void()> on_write) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Error{errno, "eventfd"};
  UniqueFd poll(::epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event each_write = {}, end = {};
  each_write.events = EPOLLIN | EPOLLET;
  end.events = EPOLLIN;
  end.data.u64 = kEnd;
  if (!poll || ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd.get(), &each_write) != 0 ||
      ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, wake.get(), &end) != 0)
    return Error{errno, "epoll"};
  // What was written before counts once and stays in the eventfd (virqfd.c, vfio_virqfd_enable()).
  struct epoll_event before_us = {};
  const bool written = ::epoll_wait(poll.get(), &before_us, 1, 0) == 1;
  std::unique_ptr<EventfdWatcher> watcher(
      new EventfdWatcher(std::move(fd), std::move(wake), std::move(poll), std::move(on_write)));

  PVIOMMU_TRY(watcher->thread_.start("thread for an eventfd", [self = watcher.get(), written] { self->run(written); }));
  return watcher;
}

EventfdWatcher::EventfdWatcher(UniqueFd fd, UniqueFd wake, UniqueFd poll, std::function<void()> on_write)
    : fd_(std::move(fd)),
      wake_(std::move(wake)),
      poll_(std::move(poll)),
      on_write_(std::move(on_write)),
      owner_(::getpid()) {}

EventfdWatcher::~EventfdWatcher() {
  // The child of a fork() has no such thread to wait for.
  if (owner_ != ::getpid())
    thread_.abandon();
  else
    thread_.end(wake_);
}

void EventfdWatcher::run(bool written) {
  if (written) on_write_();
  for (;;) {
    struct epoll_event events[2];
    const int count = ::epoll_wait(poll_.get(), events, 2, -1);  // EINTR: once more
    for (int i = 0; i < count; ++i)
      if (events[i].data.u64 == kEnd) return;
    if (count > 0 && consume(fd_.get())) on_write_();
  }
}

}  // namespace pviommu::msi
