// SPDX-License-Identifier: LGPL-2.1-or-later
// The program of a run, and the signals of people and supervisors for it.
#include "vfio-glue/command/program_process.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "vfio-glue/command/command.h"
#include "vfio-glue/command/program_file.h"
#include "vfio-glue/command/signal_witness.h"

namespace pviommu::command {
namespace {

// As the program has stopped: who waits for us sees the same, and `fg` continues both.
void stop_as(int signal) {
  sigset_t one, before;
  sigemptyset(&one);
  sigaddset(&one, signal);
  ::kill(::getpid(), signal);
  ::sigprocmask(SIG_UNBLOCK, &one, &before);  // here we stop
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

void pass_on(pid_t child, const siginfo_t& info) {
  if (info.si_code == SI_QUEUE)
    ::sigqueue(child, info.si_signo, info.si_value);
  else
    ::kill(child, info.si_signo);
}

int wait_for(pid_t child, SignalWitness& witness) {
  sigset_t all;
  sigfillset(&all);
  int asked = 0;         // the signal of the terminal that wants us to stop
  bool stopped = false;  // the program has
  for (;;) {
    int status = 0;
    const pid_t changed = ::waitpid(child, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (changed < 0 && errno != EINTR) return -1;
    if (changed == child) {
      if (WIFEXITED(status) || WIFSIGNALED(status)) return status;
      stopped = WIFSTOPPED(status);
    }
    // Only what was asked for: a program that somebody has stopped alone may be ended alone, and
    // that must not be missed.
    if (asked != 0 && stopped) stop_as(std::exchange(asked, 0));
    if (changed == child) continue;
    siginfo_t info{};
    if (::sigwaitinfo(&all, &info) <= 0) continue;
    const int signal = info.si_signo;
    if (signal == SIGCHLD && info.si_code > 0 && info.si_code != SI_KERNEL) continue;  // a child's
    if (signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) asked = signal;
    if (signal == SIGCONT) asked = 0;
    if (!witness.has_seen(signal)) pass_on(child, info);
  }
}

}  // namespace

int become(const std::vector<std::string>& program) {
  std::vector<char*> argv;
  for (const std::string& word : program) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  int error = errno;
  // execvp() says EACCES also when a folder of PATH cannot be searched; then
  // nothing was found, as shells put it.
  if (error == EACCES && in_path(program[0], F_OK).empty()) error = ENOENT;
  complain(program[0] + ": " + std::strerror(error));
  return error == ENOENT ? kNotFound : kCannotExecute;
}

int run_as_child(const std::vector<std::string>& program) {
  sigset_t all, before;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  // Who ignores it gets no status of a child.
  struct sigaction of_caller {}, usual {};
  usual.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &usual, &of_caller);
  SignalWitness witness;
  const pid_t child = ::fork();
  if (child < 0) return -1;
  if (child == 0) {
    ::sigaction(SIGCHLD, &of_caller, nullptr);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    ::_exit(become(program));
  }
  return wait_for(child, witness);
}

}  // namespace pviommu::command
