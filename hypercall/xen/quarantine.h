// SPDX-License-Identifier: LGPL-2.1-or-later
// Xen's quarantine: a domain (DOMID_IO) whose devices reach nobody with their DMA.
//
//   xl pci-assignable-add, the end of a guest, a deassign  --> quarantine
//   quarantine --> dom0          xl pci-assignable-remove, pviommu unbind
//   quarantine --> dom0 --> carrier --> quarantine --> dom0 --> quarantine      a run
//              ^ noted in the ledger                        ^ put back
//
// No driver of dom0 can use a device that is there, and none of its MSIs can be mapped; so a run
// takes it out, and puts it back in the end, whoever ends it: close, guardian or reaper.
#pragma once

#include "hypercall/result.h"
#include "hypercall/xen/ledger.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// Gives the device to dom0, and has the ledger remember whether it was in quarantine.  Once for
/// each entry of the ledger; the process may be killed at any moment of it.
Status fetch_for_run(XenCalls& calls, LedgerDevice& device);
/// Whether it was in quarantine at fetch_for_run().
bool found_in_quarantine(const LedgerDevice& device);
/// Puts a device of dom0 into quarantine.  It is no error when it is there.
Status assign_to_quarantine(XenCalls& calls, Sbdf sbdf);
/// Puts the device, which is dom0's and does no DMA, into quarantine if it was found there.  May
/// be called again after it succeeded.
Status put_where_found(XenCalls& calls, const LedgerDevice& device);

}  // namespace pviommu::xen
