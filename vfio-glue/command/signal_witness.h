// SPDX-License-Identifier: LGPL-2.1-or-later
// Tells a signal for this process alone from one for its whole process group.
//
//     kill PID            ->  run
//     ^C, kill -- -PGID   ->  run, witness, program
//
// The kernel does not say to how many processes a signal went: both look the same to run.  So a child of ours stands in
// the group, blocks everything and does nothing: what is pending for it went to more than us.
#pragma once

#include <sys/types.h>

#include <csignal>

namespace pviommu::command {

class SignalWitness {
 public:
  /// All signals must be blocked in this process, from before this until the end.
  SignalWitness() { renew(); }
  SignalWitness(const SignalWitness&) = delete;
  SignalWitness& operator=(const SignalWitness&) = delete;
  ~SignalWitness() { end(); }

  /// True when `signal`, which sigwaitinfo() has just returned, was sent to others of the group
  /// too, or is within kPatience: `timeout` signals us and then the group, systemd one process
  /// after the other.  What comes a second time meanwhile is the same signal, as it is for a
  /// process in which the first one is still pending.
  bool has_seen(int signal);

 private:
  void renew();
  void end();

  pid_t pid_ = -1;
  sigset_t carried_{};  // seen by a witness that was exchanged, and still pending here
};

}  // namespace pviommu::command
