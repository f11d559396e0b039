// SPDX-License-Identifier: LGPL-2.1-or-later
// The program's end of its guardian.
//
//   program --------------------- socket ---------------------- guardian
//   ledger (locked, shared)                                     ledger
//   pin rings, device locks     ---- "hold descriptor N" --->   copies
//
// The guardian (guardian.cc) is a process of its own, in a session of its own.
// It has copies of everything that must outlive the program: the rings that
// keep pages pinned, the locks on devices, the ledger.  When the program ends,
// however it ends, it puts back what the ledger lists (reaper.h) and only then
// lets go.  When the guardian ends first, the program starts another one.
#pragma once

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
  /// Starts a guardian for the ledger of this process.  ENOENT: its program is
  /// not there ($PVIOMMU_XEN_GUARDIAN, else beside this module).
  /// It uses Xen by the same `interface`.
  static Result<std::unique_ptr<GuardianLink>> start(Ledger& ledger, const Interface& interface);
  GuardianLink(const GuardianLink&) = delete;
  GuardianLink& operator=(const GuardianLink&) = delete;
  ~GuardianLink() = default;  ///< the guardian sees the end and looks into the ledger

  /// When this returns without error the guardian has a copy of `fd`.  Nothing is done
  /// for a descriptor that it holds already.  A guardian that was killed meanwhile is
  /// replaced first.  ETIMEDOUT: it does not answer.
  Status hold(int fd);
  /// The same for a descriptor of /dev/xen/evtchn.  Its ports must be unbound there
  /// before they are closed in Xen, and the program may have left copies of the
  /// descriptor with children.  This order is what dom0's kernel relies on.
  Status hold_channels(int fd);
  /// The guardian closes its copy of `fd`.  To be called before `fd` is closed here,
  /// because its number may be another file's afterwards.
  Status drop(int fd);

  /// Becomes readable when the guardian is gone; then call restart().
  int fd() const;
  /// Starts another guardian, with all that is held, if the last one is gone.
  Status restart();

 private:
  GuardianLink(Ledger& ledger, std::string assumed) : ledger_(ledger), assumed_(std::move(assumed)) {}
  // Lock held.  EPIPE: the guardian was killed.
  Status spawn();
  Status replace();  ///< starts a new one and gives it all that is held
  Status ask(char what, int fd);
  Status ask_again(char what, int fd);

  Ledger& ledger_;
  const std::string assumed_;  ///< the interface, if it is one that is assumed; else empty
  mutable std::mutex lock_;
  UniqueFd socket_;
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
