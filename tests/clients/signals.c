// SPDX-License-Identifier: LGPL-2.1-or-later
// A program that counts its signals, and one that sends them as people and supervisors do.
//
//   signals count               prints "ready PID", and, when nothing has come for a while,
//                               what came: "SIGTERM 1"
//   signals WAY COMMAND...      starts COMMAND, which is or starts the above, in a process group
//                               of its own, sends, and prints what it counted, then how it ended
//
//   one         kill of the process that was started         program    of the one that counts
//   group       kill of the group                            queue      sigqueue with a value
//   timeout     of the one, then of the group (coreutils)    service    of each process (systemd)
//   interrupt   ^C on a terminal    hangup   of the terminal    size   of the window changes
//   stop        ^Z, then fg, as a shell does it; prints what the shell sees
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kQuietMs = 400, kNothingMs = 5000 };
static const int kCounted[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGABRT, SIGWINCH, SIGCONT};
enum { kKinds = sizeof kCounted / sizeof *kCounted };
static volatile sig_atomic_t came[64];
static volatile sig_atomic_t value;

static void count(int signal, siginfo_t* info, void* context) {
  (void)context;
  came[signal]++;
  if (info->si_code == SI_QUEUE) value = info->si_value.sival_int;
}

static int total(void) {
  int all = 0;
  for (int i = 0; i < kKinds; i++) all += came[kCounted[i]];
  return all;
}

static int count_signals(void) {
  struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART};
  for (int i = 0; i < kKinds; i++) sigaction(kCounted[i], &action, NULL);
  printf("ready %d\n", (int)getpid());
  fflush(stdout);
  for (int waited = 0, seen = 0; waited < (seen != 0 ? kQuietMs : kNothingMs); waited += 10) {
    const struct timespec rest = {0, 10000000};
    nanosleep(&rest, NULL);
    if (total() != seen) waited = 0;
    seen = total();
  }
  for (int i = 0; i < kKinds; i++)
    if (came[kCounted[i]] != 0) printf("SIG%s %d\n", sigabbrev_np(kCounted[i]), (int)came[kCounted[i]]);
  if (value != 0) printf("value %d\n", (int)value);
  fflush(stdout);
  return 3;
}

// Signals the processes below `pid`, which stay: a service's are all in one control group.
static void signal_below(int pid, int signal) {
  char path[64], children[4096] = "";
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
  FILE* file = fopen(path, "r");
  if (file == NULL) return;
  if (fgets(children, sizeof children, file) == NULL) children[0] = '\0';
  fclose(file);
  for (char* word = strtok(children, " "); word != NULL; word = strtok(NULL, " ")) kill(atoi(word), signal);
}

static void describe(const char* what, int status) {
  if (WIFSTOPPED(status)) printf("%s stopped by SIG%s\n", what, sigabbrev_np(WSTOPSIG(status)));
  else if (WIFSIGNALED(status)) printf("%s ended by SIG%s\n", what, sigabbrev_np(WTERMSIG(status)));
  else printf("%s ended with %d\n", what, WEXITSTATUS(status));
  fflush(stdout);
}

// What a shell does with a job in the foreground of its terminal.
static void be_shell(char** command, int out) {
  signal(SIGTTOU, SIG_IGN);
  const pid_t job = fork();
  if (job == 0) {
    setpgid(0, 0);
    tcsetpgrp(STDIN_FILENO, getpid());
    signal(SIGTTOU, SIG_DFL);
    dup2(out, STDOUT_FILENO);
    execvp(command[0], command);
    _exit(127);
  }
  setpgid(job, job);
  dup2(out, STDOUT_FILENO);
  int status = 0;
  while (waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status)) {
    describe("the job is", status);
    const struct timespec rest = {0, 100000000};
    nanosleep(&rest, NULL);
    kill(-job, SIGCONT);
  }
  describe("the job", status);
  _exit(0);
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "count") == 0) return count_signals();
  if (argc < 3) return 2;
  const char* way = argv[1];
  char** command = argv + 2;
  const int stops = strcmp(way, "stop") == 0;
  const int on_terminal = stops || strcmp(way, "interrupt") == 0 || strcmp(way, "hangup") == 0 || strcmp(way, "size") == 0;
  int out[2], terminal = -1;
  if (pipe2(out, O_CLOEXEC) != 0) return 2;
  const pid_t child = on_terminal ? forkpty(&terminal, NULL, NULL, NULL) : fork();
  if (child < 0) return 2;
  if (child == 0) {
    if (stops) be_shell(command, out[1]);
    if (!on_terminal) setpgid(0, 0);
    dup2(out[1], STDOUT_FILENO);
    execvp(command[0], command);
    _exit(127);
  }
  close(out[1]);
  FILE* said = fdopen(out[0], "r");
  char line[256];
  if (fgets(line, sizeof line, said) == NULL || strncmp(line, "ready ", 6) != 0) {
    fprintf(stderr, "the program did not start\n");
    kill(-child, SIGKILL);
    return 1;
  }
  const pid_t program = atoi(line + 6);
  const struct winsize size = {.ws_row = 33, .ws_col = 77};
  const union sigval number = {.sival_int = 77};
  if (strcmp(way, "one") == 0) kill(child, SIGTERM);
  else if (strcmp(way, "program") == 0) kill(program, SIGTERM);
  else if (strcmp(way, "group") == 0) kill(-child, SIGTERM);
  else if (strcmp(way, "queue") == 0) sigqueue(child, SIGABRT, number);
  else if (strcmp(way, "timeout") == 0) kill(child, SIGTERM), kill(-child, SIGTERM);
  else if (strcmp(way, "service") == 0) kill(child, SIGTERM), signal_below(child, SIGTERM);
  else if (strcmp(way, "interrupt") == 0) dprintf(terminal, "%c", 3);
  else if (strcmp(way, "size") == 0) ioctl(terminal, TIOCSWINSZ, &size);
  else if (strcmp(way, "hangup") == 0) close(terminal);
  else if (stops) dprintf(terminal, "%c", 26);
  else return 2;
  while (fgets(line, sizeof line, said) != NULL) fputs(line, stdout);
  int status = 0;
  if (waitpid(child, &status, 0) != child) return 1;
  if (!stops) describe("it", status);
  return 0;
}
