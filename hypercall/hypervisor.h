// SPDX-License-Identifier: LGPL-2.1-or-later
// The interface to a hypervisor.
//
// Drawn from what Xen (domctl/physdev/event channels) and PAPR (TCE and RTAS
// calls) can do; the model implements the same.  What a backend cannot do it
// declares in its Capabilities, it never emulates it in silence, and no method
// has a default body that succeeds.
//
//   vfio-glue           Hypervisor                     devices, and the two halves:
//                        /      \____
//   pviommu/, spaces.h  Spaces   Interrupts            interrupts.h, msi/
//
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "hypercall/capabilities.h"
#include "hypercall/guest_bus.h"
#include "hypercall/interrupts.h"
#include "hypercall/pci_device.h"
#include "hypercall/result.h"
#include "hypercall/spaces.h"
#include "hypercall/strong.h"

namespace pviommu {

/// Concurrency: every method may be called from any thread; calls on different
/// devices run concurrently.
class Hypervisor {
 public:
  Hypervisor() = default;
  Hypervisor(const Hypervisor&) = delete;
  Hypervisor& operator=(const Hypervisor&) = delete;
  virtual ~Hypervisor() = default;

  /// The name it was opened by ("model", "xen", ...).
  virtual std::string_view name() const = 0;
  virtual const Capabilities& capabilities() const = 0;

  /// Devices that can be handed to a program, in Sbdf order.
  virtual Result<std::vector<PciDeviceInfo>> devices() = 0;

  /// Takes the device for this process and gives access to its configuration
  /// space and BARs.  ENODEV: no such device.  EBUSY: taken, by this process or
  /// another one.  Destroying the result gives the device back; it must be
  /// detached and without vectors by then.
  virtual Result<std::unique_ptr<PciDevice>> open_device(Sbdf sbdf) = 0;

  /// The PCI bus of the guest that this hypervisor was opened for, for one function on
  /// it.  EOPNOTSUPP: it was opened for none, or has no guests.
  virtual Result<std::unique_ptr<GuestBus>> guest_bus() = 0;

  /// Always the same ones; they live as long as the hypervisor.
  virtual Spaces& spaces() = 0;
  virtual Interrupts& interrupts() = 0;
};

}  // namespace pviommu
