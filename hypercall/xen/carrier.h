// SPDX-License-Identifier: LGPL-2.1-or-later
// The carrier: a domain without memory and without life, whose physical map is
// a device address space.
//
// Xen translates a device's DMA by the physical map of the domain that owns the
// device, and dom0 cannot own one apart from its own.  So each VFIO container
// has an HVM domain that is never started: gfn = iova >> 12.
//
//   create    -> domain, one vCPU that never runs (Xen expects every domain
//                with interrupts to have one), page table pool, right to map all of the machine's RAM
//   assign    dom0 -> carrier
//   deassign  carrier -> quarantine (DOMID_IO) -> dom0
//   destroy
//
// Functions, not a class: the guardian calls them for carriers of a process
// that is dead (reaper.h).  All errors are Xen's own.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// What a carrier's handle (its UUID in `xl list -v`) says.
struct CarrierTag {
  std::uint32_t pid = 0;     ///< of the program
  std::uint16_t ledger = 0;  ///< which of its ledgers (ledger.h): who puts the carrier back
  std::uint16_t serial = 0;  ///< of the carrier within that
};
using DomainHandle = std::array<std::uint8_t, 16>;
DomainHandle handle_of(const CarrierTag& tag);
/// False: a domain that is none of ours.
bool parse_handle(const std::uint8_t* handle, CarrierTag& tag);

/// `max_mfn`: the highest frame of RAM.
Result<Domid> create_carrier(XenCalls& calls, const CarrierTag& tag, Mfn max_mfn);
/// No devices left.  Xen tears the physical map down; may take long for much memory.
Status destroy_carrier(XenCalls& calls, Domid domid);

/// Bytes of memory for page tables, in multiples of 4 KiB.
Result<std::uint64_t> table_pool(XenCalls& calls, Domid domid);
Status set_table_pool(XenCalls& calls, Domid domid, std::uint64_t bytes);

/// EBUSY: the device is not dom0's.
Status assign_device(XenCalls& calls, Domid domid, Sbdf sbdf);
/// From `domid`; ENODEV when it is not there.
Status deassign_device(XenCalls& calls, Domid domid, Sbdf sbdf);
/// From the quarantine to dom0; no error when it is not in quarantine.
Status fetch_from_quarantine(XenCalls& calls, Sbdf sbdf);

/// Lets the carrier have [first, first + frames) mapped.  What dom0 itself may
/// not touch is left out.
Status permit_frames(XenCalls& calls, Domid domid, Mfn first, std::uint64_t frames);

struct CarrierInfo {
  Domid domid{};
  CarrierTag tag;
  bool dying = false;
};
/// All carriers of this machine, whoever made them.
Result<std::vector<CarrierInfo>> list_carriers(XenCalls& calls);

}  // namespace pviommu::xen
