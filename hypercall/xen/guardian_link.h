// SPDX-License-Identifier: LGPL-2.1-or-later
// The program's end of its two guardians.
//
//   program --------------------- socket ---------------------- guardian
//   ledger (locked, shared)                                     ledger
//   pin rings, device locks     ---- "hold descriptor N" --->   copies
//      |
//      +---------------------- the same to the other one ------ guardian
//
// A guardian (guardian.cc) is a process of its own, in a session of its own and outside of the
// program's control group.  It has copies of everything that must outlive the program: the rings
// that keep pages pinned, the locks on devices, the ledger.  When the program ends, however it
// ends, a guardian puts back what the ledger lists (reaper.h) and only then lets go.
//
// There are two, which know nothing of each other, so that whoever dies together with the program
// is not the last one to hold its pages.  When one ends first, the program starts another one.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hypercall/result.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/interface.h"
#include "hypercall/xen/ledger.h"

namespace pviommu::xen {

/// Thread-safe.
class GuardianLink {
 public:
  static constexpr std::size_t kGuardians = 2;
  /// Starts the guardians for the ledger of this process.  ENOENT: their program is
  /// not there ($PVIOMMU_XEN_GUARDIAN, else beside this module).
  /// It uses Xen by the same `interface`.
  static Result<std::unique_ptr<GuardianLink>> start(Ledger& ledger, const Interface& interface);
  GuardianLink(const GuardianLink&) = delete;
  GuardianLink& operator=(const GuardianLink&) = delete;
  ~GuardianLink() = default;  ///< the guardians see the end and look into the ledger

  /// When this returns without error each guardian has a copy of `fd`.  Nothing is done
  /// for a descriptor that they hold already.  A guardian that was killed meanwhile is
  /// replaced first.  ETIMEDOUT: one does not answer.
  Status hold(int fd);
  /// The same for a descriptor of /dev/xen/evtchn.  Its ports must be unbound there
  /// before they are closed in Xen, and the program may have left copies of the
  /// descriptor with children.  This order is what dom0's kernel relies on.
  Status hold_channels(int fd);
  /// The guardians close their copies of `fd`.  To be called before `fd` is closed here,
  /// because its number may be another file's afterwards.
  Status drop(int fd);

  /// One of them becomes readable when its guardian is gone; then call restart().
  std::array<int, kGuardians> fds() const;
  /// Starts another guardian, with all that is held, for each that is gone.
  Status restart();

 private:
  GuardianLink(Ledger& ledger, std::string assumed) : ledger_(ledger), assumed_(std::move(assumed)) {}
  // Lock held.  EPIPE: the guardian was killed.
  Result<UniqueFd> spawn();
  Status replace(UniqueFd& guardian);  ///< starts a new one and gives it all that is held
  static Status ask(const UniqueFd& guardian, char what, int fd);
  Status ask_again(UniqueFd& guardian, char what, int fd);
  Status ask_all(char what, int fd);

  Ledger& ledger_;
  const std::string assumed_;  ///< the interface, if it is one that is assumed; else empty
  mutable std::mutex lock_;
  std::array<UniqueFd, kGuardians> guardians_;  ///< a socket each
  std::vector<int> held_;
  std::vector<int> channels_;
};

/// What goes over the socket, both ways.
struct GuardianMessage {
  char what = 0;  ///< 'h' hold, 'c' hold channels, 'd' drop; answers carry the same
  int fd = -1;    ///< number in the program
  int error = 0;  ///< answer: errno
};

}  // namespace pviommu::xen
