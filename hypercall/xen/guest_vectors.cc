// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypercall/xen/guest_vectors.h"

#include <cerrno>

#include "hypercall/xen/message.h"
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
  if (target.gvec < 16) return Error{EINVAL, "bind_vector: no vector of an APIC"};  // Intel SDM 3A, 10.8.5
  if (guest_.gone.load()) return ended();
  const Status bound = bind_guest_vector(calls_, *slot->ledger, target.gvec, target.gflags);
  if (!bound) {
    // A vector that was bound is bound as before.
    for (int again = 0; !slot->bound && again < 3; ++again)
      if (unbind_guest_vector(calls_, *slot->ledger)) break;
    return bound;
  }
  slot->bound = true;
  slot->target = target;
  return {};
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

Status GuestVectors::raise(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  const DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr || !slot->bound) return Error{ENOENT, "raise_vector: not bound"};
  if (guest_.gone.load()) return ended();
  const Message message = message_of(slot->target.gvec, slot->target.gflags);
  return calls_.inject_msi(guest_.domid.raw(), message.address, message.data);
}

}  // namespace pviommu::xen
