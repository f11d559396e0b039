// SPDX-License-Identifier: LGPL-2.1-or-later
// Physical interrupts of a domain for a device's messages.
//
//   PHYSDEVOP_map_pirq   Xen writes message and table entry, gives the domain a pirq
//   PHYSDEVOP_unmap_pirq
//
// The device must be that domain's at the time of the first.  These are functions and
// not a class, because the reaper has nothing but the ledger and goes on from there.
// Whoever calls them holds the lock of the Interrupts that own the vectors, or the
// ledger of a dead program.
#pragma once

#include "hypercall/xen/vectors.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// As Interrupts::allocate_vectors(), for `domid` (DOMID_SELF, or a guest's).
Result<unsigned> map_pirqs(XenCalls& calls, DeviceVectors& device, Ledger& book, std::uint16_t domid,
                           VectorKind kind, unsigned count, const MsiPlace& place);
/// Unmaps the pirqs of all vectors, all or nothing.  EBUSY: one is bound.
Status unmap_pirqs(XenCalls& calls, DeviceVectors& device);
/// Has Xen write the device's messages again, after a reset of the device.
Status restore_messages(XenCalls& calls, const DeviceVectors& device);

/// For a domain other than dom0 Xen maps entries of an MSI-X table only where it has
/// looked at the table before, while the device was dom0's and its memory decoded
/// (msix_capability_init(), ENODATA).  As xen-pciback does; where it has, nothing is done, and
/// release_msix() undoes nothing.
Status prepare_msix(XenCalls& calls, LedgerDevice& device);

/// Whether a vector of the device can be moved to the guest's pirq: EEXIST: a message or line goes
/// there; EOPNOTSUPP: one of several MSIs.  (Whether the guest has as many pirqs, move_to_pirq() tells.)
Status check_guest_pirq(XenCalls& calls, const DeviceVectors& device, std::uint32_t pirq);
/// The vector gets a pirq of that number, and is bound to nothing.  EINVAL: the guest has fewer.
/// After an error it has its old one, or none, and can be moved again.
Status move_to_pirq(XenCalls& calls, DeviceVectors& device, unsigned index, int pirq);

/// Binds the pirq to a vector of its guest's, or changes that.  `gflags`:
/// XEN_DOMCTL_VMSI_X86_*, without UNMASKED, which is added.
Status bind_guest_vector(XenCalls& calls, LedgerVector& vector, std::uint8_t gvec, std::uint32_t gflags);

// For the reaper too.  It is no error when there is nothing to do.
Status close_ledger_port(XenCalls& calls, LedgerVector& vector);
Status unbind_guest_vector(XenCalls& calls, LedgerVector& vector);
/// Undoes prepare_msix(), when the device is dom0's again and has no pirqs.
Status release_msix(XenCalls& calls, LedgerDevice& device);
Status unmap_ledger_pirq(XenCalls& calls, LedgerVector& vector);

}  // namespace pviommu::xen
