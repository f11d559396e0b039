// SPDX-License-Identifier: LGPL-2.1-or-later
// Every change is a pair of hypercalls (pirqs.h does each), noted in the ledger before it is
// made.  A bind that fails half way is put back to what it was (put_back()).
#include "hypercall/xen/guest_vectors.h"

#include <cerrno>

#include "hypercall/msi_message.h"
#include "hypercall/xen/pirqs.h"

namespace pviommu::xen {

Result<unsigned> GuestVectors::allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                                        const MsiPlace& place) {
  const std::lock_guard guard(lock_);
  if (guest_.gone.load()) return Error{ESRCH, "allocate_vectors: the guest has ended"};
  return map_pirqs(calls_, device, book, guest_.domid.raw(), kind, count, place);
}

Status GuestVectors::free(DeviceVectors& device) {
  const std::lock_guard guard(lock_);
  return unmap_pirqs(calls_, device);
}

Status GuestVectors::bind(DeviceVectors& device, unsigned index, const Notification& target) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr) return Error{ENOENT, "bind_vector: no such vector"};
  if (target.kind != NotificationKind::guest_vector)
    return Error{EOPNOTSUPP, "bind_vector: in guest mode vectors are the guest's alone"};
  if (target.domid != guest_.domid) return Error{EINVAL, "bind_vector: another domain than the device's"};
  if (target.gvec != 0 && target.gvec < 16)
    return Error{EINVAL, "bind_vector: no vector of an APIC"};  // Intel SDM 3A, 10.8.5
  if (guest_.gone.load()) return ended();
  const LedgerVector& has = *slot->ledger;
  const int before = has.map.pirq;
  const bool moves = target.gvec == 0 && (has.state.load() != LedgerVector::mapped ||
                                          static_cast<std::uint32_t>(before) != target.gflags);
  Status bound;
  if (moves) {
    PVIOMMU_TRY(check_guest_pirq(calls_, device, target.gflags));
    bound = move_to_pirq(calls_, device, index, static_cast<int>(target.gflags));
  }
  if (bound) bound = bind_to(*slot->ledger, target);
  if (!bound) {
    for (int again = 0; again < 3; ++again)
      if (put_back(device, index, moves ? before : -1)) break;
    return bound;
  }
  slot->bound = true;
  slot->target = target;
  return {};
}

Status GuestVectors::bind_to(LedgerVector& vector, const Notification& target) {
  // Until the guest has bound the pirq, Xen takes an arrival for a message, which no APIC
  // accepts.
  constexpr std::uint32_t kExtInt = 7u << 12;
  if (target.gvec == 0) return bind_guest_vector(calls_, vector, 0, kExtInt);
  return bind_guest_vector(calls_, vector, target.gvec, target.gflags);
}

/// Binds the vector again as it was before.  `pirq`: the one that it had, if it was to get
/// another one; else -1.
Status GuestVectors::put_back(DeviceVectors& device, unsigned index, int pirq) {
  DeviceVectors::Slot& slot = device.slots[index];
  const bool there = slot.ledger->state.load() == LedgerVector::mapped && slot.ledger->map.pirq == pirq;
  if (pirq >= 0 && !there) PVIOMMU_TRY(move_to_pirq(calls_, device, index, pirq));
  return slot.bound ? bind_to(*slot.ledger, slot.target) : unbind_guest_vector(calls_, *slot.ledger);
}

Status GuestVectors::unbind(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr || !slot->bound) return Error{ENOENT, "unbind_vector: not bound"};
  if (guest_.gone.load()) slot->ledger->guest_bound = 0;  // with the guest
  PVIOMMU_TRY(unbind_guest_vector(calls_, *slot->ledger));
  slot->bound = false;
  slot->target = {};
  return {};
}

static_assert(kGflagsDestination == XEN_DOMCTL_VMSI_X86_DEST_ID_MASK &&
              kGflagsRedirectionHint == XEN_DOMCTL_VMSI_X86_RH_MASK &&
              kGflagsDestinationMode == XEN_DOMCTL_VMSI_X86_DM_MASK &&
              kGflagsDelivery == XEN_DOMCTL_VMSI_X86_DELIV_MASK && kGflagsTrigger == XEN_DOMCTL_VMSI_X86_TRIG_MASK);

Status GuestVectors::raise(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  const DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr || !slot->bound) return Error{ENOENT, "raise_vector: not bound"};
  if (guest_.gone.load()) return ended();
  if (slot->target.gvec == 0)
    return Error{EOPNOTSUPP, "raise_vector: Xen sends nothing to a pirq's event channel for us"};
  const MsiMessage message = message_of(slot->target.gvec, slot->target.gflags);
  return calls_.inject_msi(guest_.domid.raw(), message.address, message.data);
}

}  // namespace pviommu::xen
