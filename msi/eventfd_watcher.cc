// SPDX-License-Identifier: LGPL-2.1-or-later
#include "msi/eventfd_watcher.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>
#include <system_error>

namespace pviommu::msi {
namespace {

/// Takes the eventfd's value.  The program may read it as well: a plain read()
/// after poll() could then wait for ever where it was made without O_NONBLOCK.
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
  std::unique_ptr<EventfdWatcher> watcher(
      new EventfdWatcher(std::move(fd), std::move(wake), std::move(on_write)));

  // The program's signals are for its own threads.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Status status;
  try {
    watcher->thread_ = std::thread(&EventfdWatcher::run, watcher.get());
  } catch (const std::system_error& error) {
    status = Error{error.code().value(), "thread for an eventfd"};
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  PVIOMMU_TRY(std::move(status));
  return watcher;
}

EventfdWatcher::EventfdWatcher(UniqueFd fd, UniqueFd wake, std::function<void()> on_write)
    : fd_(std::move(fd)), wake_(std::move(wake)), on_write_(std::move(on_write)), owner_(::getpid()) {}

EventfdWatcher::~EventfdWatcher() {
  if (!thread_.joinable()) return;
  if (owner_ != ::getpid()) {
    thread_.detach();  // the child of a fork() has no such thread to wait for
    return;
  }
  // Cannot fail: the counter goes from 0 to 1, and the descriptor is ours.
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

void EventfdWatcher::run() {
  for (;;) {
    struct pollfd waiting[] = {{fd_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (::poll(waiting, 2, -1) < 0) continue;  // EINTR, ENOMEM: once more
    if (waiting[1].revents != 0) return;
    if (consume(fd_.get())) on_write_();
  }
}

}  // namespace pviommu::msi
