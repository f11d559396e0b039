// SPDX-License-Identifier: LGPL-2.1-or-later
// MSI and MSI-X straight into a guest.
//
//   map_pirq       for the guest, whose the device is                    pirqs.h
//   bind_pt_irq    pirq -> vector of the guest's local APIC
//
//   arrival: Xen -> the guest's APIC.  dom0 has no event channel and no part in it.
#pragma once

#include <mutex>

#include "hypercall/xen/guest.h"
#include "hypercall/xen/interrupts.h"

namespace pviommu::xen {

class GuestVectors final : public Interrupts {
 public:
  GuestVectors(XenCalls& calls, const Guest& guest) : calls_(calls), guest_(guest) {}

  /// ENODEV: the device is not the guest's.  ESRCH: the guest has ended.
  Result<unsigned> allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                            const MsiPlace& place) override;
  Status free(DeviceVectors& device) override;
  /// EOPNOTSUPP: another kind than guest_vector; dom0 has no part in this vector.
  /// EINVAL: of another domain, or a vector below 16.
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
  Status raise(DeviceVectors& device, unsigned index) override;
  Result<EventPort> port(DeviceVectors&, unsigned) override {
    return Error{ENOENT, "event_port: bound to none"};
  }

 private:
  Status ended() const { return Error{ESRCH, "the guest has ended"}; }

  XenCalls& calls_;
  const Guest& guest_;
  std::mutex lock_;
};

}  // namespace pviommu::xen
