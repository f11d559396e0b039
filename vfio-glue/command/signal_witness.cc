// SPDX-License-Identifier: LGPL-2.1-or-later
// The witness is a child that sleeps; what is pending for it stands in /proc.
#include "vfio-glue/command/signal_witness.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vfio-glue/command/process_name.h"

namespace pviommu::command {
namespace {

constexpr int kPatience = 50, kLook = 2;  // milliseconds

// The value of a line of /proc/PID/status with signals; 0 when it is not there.
std::uint64_t mask_in(const std::string& status, const char* line) {
  const std::size_t at = status.find(line);
  return at == std::string::npos ? 0
                                 : std::strtoull(status.c_str() + at + std::strlen(line), nullptr, 16);
}

sigset_t pending_for(pid_t pid) {
  sigset_t pending;
  sigemptyset(&pending);
  const int fd = ::open(("/proc/" + std::to_string(pid) + "/status").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return pending;
  char text[8192];
  const ssize_t length = ::read(fd, text, sizeof text);
  ::close(fd);
  const std::string status(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::uint64_t mask = mask_in(status, "\nSigPnd:") | mask_in(status, "\nShdPnd:");
  for (int signal = 1; signal <= SIGRTMAX; ++signal)
    if (mask >> (signal - 1) & 1) sigaddset(&pending, signal);
  return pending;
}

}  // namespace

bool SignalWitness::has_seen(int signal) {
  if (sigismember(&carried_, signal) == 1) {
    sigset_t ours;
    ::sigpending(&ours);
    if (sigismember(&ours, signal) == 0) sigdelset(&carried_, signal);
    return true;
  }
  if (pid_ < 0) return false;
  // kill() of a group holds the kernel's list of tasks for reading until all have the signal;
  // this call, which changes nothing, holds it for writing: it returns behind that.
  ::setpgid(pid_, ::getpgrp());
  sigset_t seen = pending_for(pid_);
  for (int waited = 0; sigismember(&seen, signal) == 0 && waited < kPatience; waited += kLook) {
    const timespec look{0, kLook * 1000000};
    ::nanosleep(&look, nullptr);
    seen = pending_for(pid_);
  }
  if (sigismember(&seen, signal) == 0) return false;
  // The same one again, by the other way.
  ::setpgid(pid_, ::getpgrp());
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  const timespec now{};
  if (signal < SIGRTMIN) ::sigtimedwait(&one, nullptr, &now);
  // A new witness has nothing pending.  What the old one has seen beside is pending here too, as
  // is what came between the two.
  end();
  renew();
  sigset_t ours;
  ::sigpending(&ours);
  for (int other = 1; other <= SIGRTMAX; ++other)
    if (sigismember(&seen, other) == 1 && sigismember(&ours, other) == 1) sigaddset(&carried_, other);
  return true;
}

void SignalWitness::renew() {
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ != 0) return;  // without one, every signal is for us alone
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  // Whoever reads the program's output to its end does not wait for us.
  ::close_range(0, ~0u, 0);
  // Nobody who looks for `pviommu run` by name finds two.
  name_process("signal-witness");
  for (;;) ::pause();
}

void SignalWitness::end() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

}  // namespace pviommu::command
