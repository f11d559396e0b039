// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu-xen-guardian: outlives a program and puts back what it held of Xen.
//
//   pviommu-xen-guardian PID LEDGER [INTERFACE]     descriptors 3: socket, 4: ledger
//
// INTERFACE is the value of the program's assume-interface=, where that was needed.
//
// guardian_link.cc starts two of them for a program; it is nothing to be run by hand.
//
//   guard()     out of the program's control groups, out of the OOM killer's choice, and with a
//      |        fork out of its session; the program waits for this much
//   watch()     holds, on request, copies of the program's descriptors
//      |        until the program ends (pidfd) or closes the socket
//   clean_up()  one guardian after the other: event channels out of the kernel, then reap(), then
//      |        the system's log.  The second finds nothing to do, or what the first one was
//      |        killed over
//   exit        the copies close: pins, device locks and the ledger's lock go last
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "hypercall/xen/guardian_link.h"
#include "hypercall/xen/reaper.h"

#include <xen/sys/evtchn.h>  // behind what declares domid_t

namespace pviommu::xen {
namespace {

constexpr int kSocket = 3;
constexpr int kLedger = 4;

class Guardian {
 public:
  Guardian(pid_t program, UniqueFd pidfd, UniqueFd socket, std::unique_ptr<Ledger> ledger,
           std::unique_ptr<XenCalls> calls)
      : program_(program),
        pidfd_(std::move(pidfd)),
        socket_(std::move(socket)),
        ledger_(std::move(ledger)),
        calls_(std::move(calls)) {}

  /// Answers requests until the program has ended or has closed the socket.
  void watch() {
    for (;;) {
      pollfd events[] = {{socket_.get(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
      if (::poll(events, 2, -1) < 0) continue;  // EINTR
      if (events[1].revents != 0) return;
      if ((events[0].revents & POLLIN) != 0) {
        GuardianMessage message;
        const ssize_t got = ::recv(socket_.get(), &message, sizeof message, 0);
        if (got == 0) return;
        if (got != sizeof message) continue;
        answer(message);
      } else if (events[0].revents != 0) {
        return;
      }
    }
  }

  int clean_up() {
    const auto turn = wait_for_turn();
    if (!turn) return 0;
    unbind_channels();
    ReapReport report;
    reap(*calls_, *ledger_, report);
    if (report.nothing()) return 0;
    ::openlog("pviommu-xen-guardian", LOG_PID, LOG_DAEMON);
    ::syslog(LOG_NOTICE, "process %d ended with %u devices, %u vectors and %u carriers; put back", program_,
             report.devices, report.vectors, report.carriers);
    for (const std::string& problem : report.problems) ::syslog(LOG_ERR, "%s", problem.c_str());
    return report.problems.empty() ? 0 : 1;
  }

 private:
  /// Waits until the other guardian of the program has ended.  Empty: it has put everything back.
  std::optional<UniqueFd> wait_for_turn() {
    // Not the ledger's own lock, which is both guardians'.
    UniqueFd turn(::open(ledger_->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    while (turn && ::flock(turn.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
    // Whoever is done has removed the file, and another one may have the name by now.
    struct stat ours {}, there {};
    const bool named = ::stat(ledger_->path().c_str(), &there) == 0;
    if (!named && errno == ENOENT) return std::nullopt;
    if (named && ::fstat(ledger_->fd(), &ours) == 0 && (ours.st_ino != there.st_ino || ours.st_dev != there.st_dev))
      return std::nullopt;
    return turn;
  }

  /// Unbinds the program's event channels in the kernel, by its own descriptors.  The kernel
  /// refuses those that the program has unbound already, which is as good.
  void unbind_channels() {
    for (const LedgerDevice& device : ledger_->header().device) {
      if (device.used.load() == 0) continue;
      const unsigned count = std::min(device.vectors.load(), LedgerDevice::kVectors);
      for (unsigned i = 0; i < count; ++i) {
        const LedgerVector& vector = device.vector[i];
        const std::uint32_t state = vector.state.load();
        if ((state != LedgerVector::bound && state != LedgerVector::binding) || vector.bind.port == 0) continue;
        ioctl_evtchn_unbind unbind{vector.bind.port};
        for (const UniqueFd& channels : channels_) (void)::ioctl(channels.get(), IOCTL_EVTCHN_UNBIND, &unbind);
      }
    }
  }

  void answer(GuardianMessage message) {
    message.error = 0;
    if (message.what == 'h') {
      const int copy = static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.get(), message.fd, 0));
      if (copy < 0)
        message.error = errno;
      else
        held_[message.fd].reset(copy);
    } else if (message.what == 'c') {
      UniqueFd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.get(), message.fd, 0)));
      if (copy)
        channels_.push_back(std::move(copy));
      else
        message.error = errno;
    } else if (message.what == 'd') {
      held_.erase(message.fd);
    } else {
      message.error = EINVAL;
    }
    (void)!::send(socket_.get(), &message, sizeof message, MSG_NOSIGNAL);
  }

  const pid_t program_;
  UniqueFd pidfd_, socket_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<XenCalls> calls_;
  std::map<int, UniqueFd> held_;
  std::vector<UniqueFd> channels_;  ///< of the program, of /dev/xen/evtchn
};

/// Writes `text` to the file; for what helps, and is not needed.
bool put(const std::string& path, const char* text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text, std::strlen(text)) == static_cast<ssize_t>(std::strlen(text));
}

/// To the root of each hierarchy of control groups: whoever kills the program's group (cgroup.kill,
/// a stop by systemd that has no patience) does not kill us.  Nothing is left behind there, which a
/// group of our own would be.  False: we are in a group still.
bool leave_control_groups() {
  std::ifstream mounts("/proc/self/mountinfo");
  // "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG]... - TYPE ..."; a POINT with blanks is escaped,
  // and no hierarchy has one.
  for (std::string line; std::getline(mounts, line);) {
    const auto type = line.find(" - cgroup");
    if (type == line.npos) continue;
    std::istringstream words(line.substr(0, type));
    std::string id, parent, number, root, point;
    if (words >> id >> parent >> number >> root >> point) (void)put(point + "/cgroup.procs", "0");
  }
  // "ID:CONTROLLERS:GROUP" for each hierarchy, mounted here or not.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);)
    if (!line.ends_with(":/")) return false;
  return true;
}

int failed(const char* what, int code) {
  std::fprintf(stderr, "pviommu-xen-guardian: %s: %s\n", what, std::strerror(code));
  return 1;
}

int guard(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "pviommu-xen-guardian is started by pviommu's xen: backend; see pviommu(1), \"reap\".\n");
    return 2;
  }
  // A program may have no standard input or output.  Then /dev/null takes these numbers,
  // so that none of our descriptors gets one.
  int spare;
  while ((spare = ::open("/dev/null", O_RDWR)) >= 0 && spare < 3) {
  }
  if (spare < 0) return failed("/dev/null", errno);
  ::close(spare);
  const pid_t program = static_cast<pid_t>(std::strtol(argv[1], nullptr, 10));
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, program, 0)));
  if (!pidfd) return failed("pidfd_open", errno);
  auto ledger = Ledger::adopt(UniqueFd(kLedger), argv[2]);
  if (!ledger) return failed(ledger.error().operation, ledger.error().code);
  std::optional<InterfaceNumbers> assumed;
  if (argc == 4) {
    const auto numbers = parse_interface(argv[3]);
    if (!numbers) return failed(argv[3], numbers.error().code);
    assumed = *numbers;
  }
  auto calls = XenCalls::open(assumed);
  if (!calls) return failed(calls.error().operation, calls.error().code);

  const bool left = leave_control_groups();
  const bool chosen = !put("/proc/self/oom_score_adj", "-1000");
  // Whatever ends the program's terminal, session or job does not end us.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE}) ::signal(signal, SIG_IGN);
  const pid_t child = ::fork();
  if (child < 0) return failed("fork", errno);
  if (child > 0) ::_exit(0);
  ::setsid();
  (void)!::chdir("/");
  // Nobody shall wait for our output to end, so problems go to the system's log.
  if (const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC); nowhere >= 0)
    for (int fd = 0; fd < 3; ++fd) (void)::dup2(nowhere, fd);
  if (!left || chosen) {
    ::openlog("pviommu-xen-guardian", LOG_PID, LOG_DAEMON);
    if (!left)
      ::syslog(LOG_WARNING, "cannot leave the control group of process %d: what kills that group kills this too", program);
    if (chosen) ::syslog(LOG_WARNING, "cannot be kept from the OOM killer's choice, beside process %d", program);
    ::closelog();
  }
  Guardian guardian(program, std::move(pidfd), UniqueFd(kSocket), std::move(*ledger), std::move(*calls));
  guardian.watch();
  return guardian.clean_up();
}

}  // namespace
}  // namespace pviommu::xen

int main(int argc, char** argv) { return pviommu::xen::guard(argc, argv); }
