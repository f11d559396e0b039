// SPDX-License-Identifier: LGPL-2.1-or-later
// No hypercall tells whether a device is in quarantine, and the one that takes it out tells it
// once.  So its answer is written by Xen into the ledger: a process that is killed in mid-call
// cannot take the answer along.
#include "hypercall/xen/quarantine.h"

#include <cerrno>
#include <cstring>

namespace pviommu::xen {
namespace {

/// As multicall_entry::result: Xen has not answered yet.
constexpr xen_ulong_t kUnanswered = 1;

xen_domctl device_call(std::uint32_t command, Sbdf sbdf) {
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = command;
  op.domain = DOMID_IO;
  op.u.assign_device.dev = XEN_DOMCTL_DEV_PCI;
  op.u.assign_device.u.pci.machine_sbdf = sbdf.raw();
  return op;
}

}  // namespace

Status fetch_for_run(XenCalls& calls, LedgerDevice& device) {
  device.fetch.result = kUnanswered;
  xen_domctl op = device_call(XEN_DOMCTL_deassign_device, Sbdf(device.sbdf));
  const auto fetched = calls.domctl_noted(op, device.fetch, "XEN_DOMCTL_deassign_device");
  // Xen's own ENODEV: it is not there.
  if (fetched || (fetched.error().code == ENODEV && fetched.error().raw != 0)) return {};
  return fetched.error();
}

bool found_in_quarantine(const LedgerDevice& device) {
  return device.fetch.op == __HYPERVISOR_domctl && device.fetch.result == 0;
}

Status assign_to_quarantine(XenCalls& calls, Sbdf sbdf) {
  // Xen lets a device that is there already be assigned again.
  xen_domctl op = device_call(XEN_DOMCTL_assign_device, sbdf);
  // As xl does: memory that the firmware wants the device to reach is no reason to refuse.
  op.u.assign_device.flags = XEN_DOMCTL_DEV_RDM_RELAXED;
  PVIOMMU_TRY(calls.domctl(op, "XEN_DOMCTL_assign_device"));
  return {};
}

Status put_where_found(XenCalls& calls, const LedgerDevice& device) {
  return found_in_quarantine(device) ? assign_to_quarantine(calls, Sbdf(device.sbdf)) : Status{};
}

}  // namespace pviommu::xen
