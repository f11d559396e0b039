// SPDX-License-Identifier: LGPL-2.1-or-later
// The carrier: a domain without memory and without life, whose physical map is
// a device address space.
//
// Xen translates a device's DMA by the physical map of the domain that owns the
// device, and dom0 cannot own one apart from its own.  So each VFIO container
// has an HVM domain that is never started: gfn = iova >> 12.
//
//   create --> domain; one vCPU that never runs, as Xen expects of every domain that
//      |       has interrupts; pool of page tables; right to map all of the RAM
//      v
//   dom0 --assign--> carrier --deassign--> quarantine (DOMID_IO) --fetch--> dom0
//      |
//      v
//   destroy
//
// Functions, not a class: the guardian calls them for carriers of a process
// that is dead (reaper.h).  They keep no state and may be called by any thread;
// what belongs together is serialised by the caller.  All errors are Xen's own.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// Whose carrier it is; written into its handle (its UUID in `xl list -v`).
struct CarrierTag {
  std::uint32_t pid = 0;     ///< of the program
  std::uint16_t ledger = 0;  ///< which of its ledgers (ledger.h): who puts the carrier back
  std::uint16_t serial = 0;  ///< of the carrier within that
};
using DomainHandle = std::array<std::uint8_t, 16>;
DomainHandle handle_of(const CarrierTag& tag);
/// `handle`: 16 bytes.  False: the domain is not one of ours, and `tag` is not set.
bool parse_handle(const std::uint8_t* handle, CarrierTag& tag);
/// `handle`: 16 bytes.  Whether the domain is one of the kernel module pviommu_xen.
bool is_kernels_handle(const std::uint8_t* handle);

/// Makes a carrier, all or nothing.  `max_mfn`: the highest frame of RAM.
Result<Domid> create_carrier(XenCalls& calls, const CarrierTag& tag, Mfn max_mfn);
/// The domain must have no devices any more.  Xen tears its physical map down, which may
/// take seconds where much memory is mapped.
Status destroy_carrier(XenCalls& calls, Domid domid);

/// Memory that the carrier has for its page tables, in bytes, a multiple of 4 KiB.
Result<std::uint64_t> table_pool(XenCalls& calls, Domid domid);
Status set_table_pool(XenCalls& calls, Domid domid, std::uint64_t bytes);

/// EBUSY: the device is not dom0's.
Status assign_device(XenCalls& calls, Domid domid, Sbdf sbdf);
/// Takes the device from `domid`; it is in quarantine then.  ENODEV: `domid` does not have it.
Status deassign_device(XenCalls& calls, Domid domid, Sbdf sbdf);
/// Gives the device from quarantine to dom0.  It is no error when it is not in quarantine.
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
