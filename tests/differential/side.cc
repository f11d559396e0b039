// SPDX-License-Identifier: LGPL-2.1-or-later
// The worker behind two pipes: a sequence in, one line an operation out, with a limit of time.
#include "tests/differential/side.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace differential {
namespace {

constexpr int kHangs = 30'000;

}  // namespace

Side::Side(std::string name, std::vector<std::string> words, std::string program)
    : name_(std::move(name)), command_(std::move(words)) {
  command_.push_back(std::move(program));
  command_.push_back("--worker");
}

Side::~Side() { stop(); }

void Side::start() {
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) {
    std::perror("vfio_differential: pipe");
    std::exit(2);
  }
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);  // so that the worker behind a launcher ends, too
    ::dup2(to[0], 0);
    ::dup2(from[1], 1);
    std::vector<char*> argv;
    for (std::string& word : command_) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    std::perror(argv[0]);
    ::_exit(127);
  }
  if (pid_ < 0) std::exit(2);
  ::setpgid(pid_, pid_);
  ::close(to[0]);
  ::close(from[1]);
  in_ = to[1];
  out_ = from[0];
  buffer_.clear();
}

void Side::stop() {
  if (pid_ < 0) return;
  ::close(in_);  // the end of its work
  ::close(out_);
  for (int tries = 0; tries < 500; ++tries) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return;
    }
    if (tries == 200) ::kill(-pid_, SIGKILL);
    ::usleep(10'000);
  }
  std::fprintf(stderr, "vfio_differential: the process of %s does not end\n", name_.c_str());
  pid_ = -1;
}

void Side::send(const Sequence& sequence) {
  if (pid_ < 0) start();
  const std::string text = text_of(sequence) + ".\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(in_, text.data() + done, text.size() - done);
    if (written <= 0) return;  // receive() finds the end
    done += static_cast<std::size_t>(written);
  }
}

bool Side::read_line(std::string& line, int milliseconds) {
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return true;
    }
    pollfd one{out_, POLLIN, 0};
    if (::poll(&one, 1, milliseconds) <= 0) {
      line = "hangs";
      return false;
    }
    char piece[16384];
    const ssize_t got = ::read(out_, piece, sizeof piece);
    if (got <= 0) {
      line = "the process ended";
      return false;
    }
    buffer_.append(piece, static_cast<std::size_t>(got));
  }
}

std::vector<std::string> Side::receive() {
  std::vector<std::string> answers;
  for (std::string line;;) {
    if (!read_line(line, kHangs)) {
      answers.push_back(line);
      stop();
      return answers;
    }
    if (line == ".") return answers;
    answers.push_back(line);
  }
}

}  // namespace differential
