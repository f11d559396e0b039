// SPDX-License-Identifier: LGPL-2.1-or-later
// How a guardian is started without a trace in the program (no child to wait for, no
// signal), and the requests to it: 'h' hold, 'c' hold an event channel's, 'd' drop, each with
// a descriptor number of the program, which the guardian copies by pidfd_getfd().
//
//   program --clone(), no SIGCHLD--> pviommu-xen-guardian --fork()--> guardian
//                                    ends at once
#include "hypercall/xen/guardian_link.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace pviommu::xen {
namespace {

constexpr int kAnswerMilliseconds = 10000;
/// How many guardians may be killed one after the other before they answer.
constexpr int kTries = 3;
constexpr std::size_t kStackBytes = 64 << 10;

std::string guardian_program() {
  if (const char* path = ::secure_getenv("PVIOMMU_XEN_GUARDIAN"); path != nullptr && *path != '\0') return path;
  Dl_info self{};
  std::string module;
  if (::dladdr(reinterpret_cast<const void*>(&guardian_program), &self) != 0 && self.dli_fname != nullptr)
    module = self.dli_fname;
  return module.substr(0, module.rfind('/') + 1) + "pviommu-xen-guardian";
}

/// What the new process reads, which shares our memory until it executes the guardian.
struct Start {
  const char* program;
  const char* const* arguments;
  int socket;
  int ledger;
  const char* library_path;  ///< "LD_LIBRARY_PATH=..." or null
  int error;
};

int run_guardian(void* argument) {
  // Bare system calls: the C library's functions may be wrapped by a front end
  // whose tables are the program's, and this memory is the program's.
  auto& start = *static_cast<Start*>(argument);
  // The two descriptors become 3 and 4, which stay open over exec; first they are moved out
  // of each other's way.
  const long socket = ::syscall(SYS_fcntl, start.socket, F_DUPFD, 10);
  const long ledger = ::syscall(SYS_fcntl, start.ledger, F_DUPFD, 10);
  if (socket >= 0 && ledger >= 0 && ::syscall(SYS_dup3, socket, 3, 0) == 3 && ::syscall(SYS_dup3, ledger, 4, 0) == 4) {
    ::syscall(SYS_close_range, 5u, ~0u, 0u);
    const std::uint64_t none = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
    const char* const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", start.library_path, nullptr};
    ::syscall(SYS_execve, start.program, start.arguments, environment);
  }
  start.error = errno;
  ::syscall(SYS_exit, 127);
  return 0;
}

}  // namespace

Result<std::unique_ptr<GuardianLink>> GuardianLink::start(Ledger& ledger, const Interface& interface) {
  std::unique_ptr<GuardianLink> link(
      new GuardianLink(ledger, interface.assumed ? short_string(interface.numbers) : std::string()));
  const std::lock_guard guard(link->lock_);
  for (UniqueFd& guardian : link->guardians_) PVIOMMU_TRY(link->replace(guardian));
  return link;
}

Result<UniqueFd> GuardianLink::spawn() {
  const std::string program = guardian_program();
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return Error{errno, "guardian: socket"};
  UniqueFd ours(pair[0]), theirs(pair[1]);
  const std::string pid = std::to_string(::getpid());
  const char* const arguments[] = {program.c_str(), pid.c_str(), ledger_.path().c_str(),
                                   assumed_.empty() ? nullptr : assumed_.c_str(), nullptr};
  // A build that is not installed finds its libraries by this.
  std::string library_path;
  if (const char* value = ::secure_getenv("LD_LIBRARY_PATH"); value != nullptr)
    library_path = std::string("LD_LIBRARY_PATH=") + value;
  Start start{program.c_str(), arguments, theirs.get(), ledger_.fd(), library_path.empty() ? nullptr : library_path.c_str(),
              0};

  void* stack = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return Error{errno, "guardian: stack"};
  // Without SIGCHLD the program's waitpid(-1) does not see this child, which it knows
  // nothing about.  The guardian forks again, so that it has no parent.
  const pid_t child = ::clone(&run_guardian, static_cast<char*>(stack) + kStackBytes, CLONE_VM | CLONE_VFORK, &start);
  const int code = errno;
  int status = 0;
  if (child > 0)
    while (::waitpid(child, &status, __WALL) < 0 && errno == EINTR) {
    }
  ::munmap(stack, kStackBytes);
  if (child < 0) return Error{code, "guardian: clone"};
  if (start.error != 0) return Error{start.error, "guardian: cannot execute pviommu-xen-guardian"};
  if (WIFSIGNALED(status)) return Error{EPIPE, "guardian: killed while starting"};
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return Error{EIO, "guardian: did not start"};
  return ours;
}

Status GuardianLink::replace(UniqueFd& guardian) {
  Status status;
  for (int again = 0; again < kTries; ++again) {
    auto spawned = spawn();
    status = spawned ? Status() : spawned.error();
    if (spawned) guardian = std::move(*spawned);
    for (std::size_t i = 0; status && i < held_.size(); ++i) status = ask(guardian, 'h', held_[i]);
    for (std::size_t i = 0; status && i < channels_.size(); ++i) status = ask(guardian, 'c', channels_[i]);
    if (status || status.error().code != EPIPE) break;
  }
  return status;
}

Status GuardianLink::ask(const UniqueFd& guardian, char what, int fd) {
  GuardianMessage message{what, fd, 0};
  if (::send(guardian.get(), &message, sizeof message, MSG_NOSIGNAL) != sizeof message)
    return Error{errno == ECONNRESET ? EPIPE : errno, "guardian: send"};
  pollfd wait{guardian.get(), POLLIN, 0};
  int ready;
  do {
    ready = ::poll(&wait, 1, kAnswerMilliseconds);
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) return Error{ETIMEDOUT, "guardian: no answer"};
  if (::recv(guardian.get(), &message, sizeof message, 0) != sizeof message) return Error{EPIPE, "guardian: is gone"};
  if (message.error != 0) return Error{message.error, "guardian: hold"};
  return {};
}

Status GuardianLink::ask_again(UniqueFd& guardian, char what, int fd) {
  Status status = ask(guardian, what, fd);
  // It was killed, and watch() has not replaced it yet.
  for (int again = 0; !status && status.error().code == EPIPE && again < kTries; ++again) {
    PVIOMMU_TRY(replace(guardian));
    status = ask(guardian, what, fd);
  }
  return status;
}

Status GuardianLink::ask_all(char what, int fd) {
  for (UniqueFd& guardian : guardians_) PVIOMMU_TRY(ask_again(guardian, what, fd));
  return {};
}

Status GuardianLink::hold(int fd) {
  const std::lock_guard guard(lock_);
  if (std::find(held_.begin(), held_.end(), fd) != held_.end()) return {};
  const Status status = ask_all('h', fd);
  if (status)
    held_.push_back(fd);
  else  // one may have it
    for (const UniqueFd& guardian : guardians_) (void)ask(guardian, 'd', fd).ok();
  return status;
}

Status GuardianLink::hold_channels(int fd) {
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(ask_all('c', fd));
  channels_.push_back(fd);
  return {};
}

Status GuardianLink::drop(int fd) {
  const std::lock_guard guard(lock_);
  std::erase(held_, fd);
  Status status;
  for (const UniqueFd& guardian : guardians_)
    if (const Status dropped = ask(guardian, 'd', fd); !dropped) status = dropped;
  return status;
}

std::array<int, GuardianLink::kGuardians> GuardianLink::fds() const {
  const std::lock_guard guard(lock_);
  std::array<int, kGuardians> fds;
  for (std::size_t i = 0; i < kGuardians; ++i) fds[i] = guardians_[i].get();
  return fds;
}

Status GuardianLink::restart() {
  const std::lock_guard guard(lock_);
  Status status;
  for (UniqueFd& guardian : guardians_) {
    // hold() may have replaced it already.  A guardian that lives must not lose us: it would
    // put back what is in use.
    pollfd end{guardian.get(), 0, 0};
    if (guardian && ::poll(&end, 1, 0) == 0) continue;
    if (const Status replaced = replace(guardian); !replaced) status = replaced;
  }
  return status;
}

}  // namespace pviommu::xen
