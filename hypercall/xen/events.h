// SPDX-License-Identifier: LGPL-2.1-or-later
// What the watcher waits for instead of asking: that Xen has written into its console ring, where
// its faults are, and that a domain has ended.
//
//   Xen's ring  --VIRQ_CON_RING-->  /dev/xen/evtchn   ConsoleEvents
//   a domain's end  --VIRQ_DOM_EXC-->  xenstored  --@releaseDomain-->  DomainEnds
//
// Neither is to be had always: Xen gives the ring's event to one process of dom0 at a time
// (xenconsoled --log=hv is one, too), and xenstore may not run.  Then one has to ask.
#pragma once

#include <memory>

#include "hypercall/unique_fd.h"

struct xs_handle;

namespace pviommu::xen {

/// For one thread.
class ConsoleEvents {
 public:
  /// Null: somebody else has it.
  static std::unique_ptr<ConsoleEvents> open();
  /// Readable when there is text since the last take().
  int fd() const { return fd_.get(); }
  /// False: there will be no more events.
  bool take();

 private:
  explicit ConsoleEvents(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// For one thread.
class DomainEnds {
 public:
  /// Null: xenstore does not answer.
  static std::unique_ptr<DomainEnds> open();
  DomainEnds(const DomainEnds&) = delete;
  DomainEnds& operator=(const DomainEnds&) = delete;
  ~DomainEnds();
  /// Readable when a domain, whichever, has ended since the last take(); and once in the beginning.
  int fd() const;
  /// False: there will be no more events, xenstore has gone.
  bool take();

 private:
  explicit DomainEnds(xs_handle* store) : store_(store) {}
  xs_handle* store_;
};

/// A connection to xenstore's daemon, for xs_close(); null: it has no socket that we may use.
/// libxenstore would by itself fall back to the kernel's device, whose answer nothing bounds in time.
xs_handle* open_store();

}  // namespace pviommu::xen
