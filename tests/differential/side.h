// SPDX-License-Identifier: LGPL-2.1-or-later
// One of the two that are compared: a process that executes sequences.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/differential/operation.h"

namespace differential {

class Side {
 public:
  /// `words` are put before the worker's command line: how it reaches its /dev/vfio.
  Side(std::string name, std::vector<std::string> words, std::string program);
  ~Side();
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  const std::string& name() const { return name_; }
  /// Both halves of running a sequence, so that two sides can do it at the same time.
  void send(const Sequence& sequence);
  /// One answer an operation; fewer, and a last one that says why, when the process
  /// ended or hung (30 s).  The next sequence has a new process then.
  std::vector<std::string> receive();

 private:
  void start();
  void stop();
  bool read_line(std::string& line, int milliseconds);

  std::string name_;
  std::vector<std::string> command_;
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  std::string buffer_;
};

}  // namespace differential
