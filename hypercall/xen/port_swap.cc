// SPDX-License-Identifier: LGPL-2.1-or-later
// Delivery::swap_port: event channels of pirqs on kernels before 6.6, on demand only
// (interrupts=may-crash-dom0), because those kernels were not made for it.
//
//   kernel: a port for us -> Xen: that port becomes the pirq's -> the kernel delivers it
//
// After a failure the port is made ours in Xen again before the kernel gives it back.
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "hypercall/xen/evtchn_static.h"
#include "hypercall/xen/pirq_vectors.h"

namespace pviommu::xen {

/// A port that the kernel has bound for us becomes the pirq's; lock_ held.
/// EAGAIN: another user of dom0 has it now; nothing is changed.
Status PirqVectors::swap_port(LedgerVector& vector) {
  ioctl_evtchn_bind_unbound_port unbound{DOMID_SELF};
  const int port = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
  if (port < 0) return Error{errno, "IOCTL_EVTCHN_BIND_UNBOUND_PORT"};
  evtchn_bind_pirq bind{};
  bind.pirq = vector.bind.pirq;
  Status status = calls_.close_and_bind(static_cast<std::uint32_t>(port), bind);
  if (status && bind.port != static_cast<std::uint32_t>(port)) {
    evtchn_close close{};
    close.port = bind.port;
    (void)calls_.event_channel(EVTCHNOP_close, &close, sizeof close, "EVTCHNOP_close");
    status = Error{EAGAIN, "the port was lost to another user of dom0"};
  }
  if (status) {
    vector.bind.port = static_cast<std::uint32_t>(port);
    return {};
  }
  // First ours in Xen again, then given back by the kernel.
  if (const Status back = take_back(static_cast<std::uint32_t>(port)); !back)
    std::fprintf(stderr, "pviommu: event channel %d: %s; dom0's kernel may not survive its end\n", port,
                 to_string(back.error()).c_str());
  ioctl_evtchn_unbind unbind{static_cast<unsigned>(port)};
  (void)::ioctl(fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind);
  return status;
}

/// Makes `port` a port of ours in Xen, where it is free or already is.
Status PirqVectors::take_back(std::uint32_t port) {
  std::vector<std::uint32_t> others;
  Status status = Error{EBUSY, "the port is another user's now"};
  for (int tries = 0; tries < 64; ++tries) {
    evtchn_status state{};
    state.dom = DOMID_SELF;
    state.port = port;
    if (calls_.event_channel(EVTCHNOP_status, &state, sizeof state, "EVTCHNOP_status") &&
        state.status == EVTCHNSTAT_unbound) {
      status = {};
      break;
    }
    evtchn_alloc_unbound alloc{};
    alloc.dom = alloc.remote_dom = DOMID_SELF;
    if (!calls_.event_channel(EVTCHNOP_alloc_unbound, &alloc, sizeof alloc, "EVTCHNOP_alloc_unbound"))
      continue;
    if (alloc.port != port) others.push_back(alloc.port);
  }
  for (const std::uint32_t other : others) {
    evtchn_close close{};
    close.port = other;
    (void)calls_.event_channel(EVTCHNOP_close, &close, sizeof close, "EVTCHNOP_close");
  }
  return status;
}

}  // namespace pviommu::xen
