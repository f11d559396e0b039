// SPDX-License-Identifier: LGPL-2.1-or-later
// MSI and MSI-X straight into a guest.
//
//   map_pirq       for the guest, whose the device is                    pirqs.h
//   bind_pt_irq    pirq -> vector of the guest's local APIC
//
//   arrival: Xen -> the guest's APIC.  dom0 has no event channel and no part in it.
//
// A guest that takes its interrupts from event channels of pirqs chooses the pirq itself
// (PHYSDEVOP_get_free_pirq) and binds it (EVTCHNOP_bind_pirq).  Ours then has to have that
// number, and goes there:
//
//   unbind, unmap_pirq, map_pirq of the number, bind_pt_irq with vector 0
//   arrival: Xen -> event channel of the guest
#pragma once

#include <mutex>

#include "hypercall/xen/guest.h"
#include "hypercall/xen/vectors.h"

namespace pviommu::xen {

class GuestVectors final : public Vectors {
 public:
  GuestVectors(XenCalls& calls, const Guest& guest) : calls_(calls), guest_(guest) {}

  /// ENODEV: the device is not the guest's.  ESRCH: the guest has ended.
  Result<unsigned> allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                            const MsiPlace& place) override;
  Status free(DeviceVectors& device) override;
  /// EOPNOTSUPP: another kind than guest_vector; dom0 has no part in this vector.
  /// EINVAL: of another domain, a vector below 16, or a pirq that the guest does not have.
  /// EEXIST: a pirq that another interrupt has.
  Status bind(DeviceVectors& device, unsigned index, const Notification& target) override;
  Status unbind(DeviceVectors& device, unsigned index) override;
  // Xen masks a vector that is bound for nobody but the guest's own device model.
  Status mask(DeviceVectors&, unsigned) override { return Error{EOPNOTSUPP, "mask_vector: in guest mode"}; }
  Status unmask(DeviceVectors&, unsigned) override {
    return Error{EOPNOTSUPP, "unmask_vector: in guest mode"};
  }
  Result<bool> pending(DeviceVectors&, unsigned) override {
    return Error{EOPNOTSUPP, "vector_pending: in guest mode"};
  }
  /// EOPNOTSUPP: bound to an event channel of the guest.
  Status raise(DeviceVectors& device, unsigned index) override;
  Result<EventPort> port(DeviceVectors&, unsigned) override {
    return Error{ENOENT, "event_port: bound to none"};
  }

 private:
  Status bind_to(LedgerVector& vector, const Notification& target);
  Status put_back(DeviceVectors& device, unsigned index, int pirq);
  Status ended() const { return Error{ESRCH, "the guest has ended"}; }

  XenCalls& calls_;
  const Guest& guest_;
  std::mutex lock_;
};

}  // namespace pviommu::xen
