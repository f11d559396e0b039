// SPDX-License-Identifier: LGPL-2.1-or-later
// What a Power Linux says of its devices: sysfs and the device tree.
#pragma once

#include <string>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/range.h"

namespace pviommu::spapr {

struct PlatformDevice {
  PciDeviceInfo info;             ///< with the kernel's group; viable: vfio-pci has it, and no other driver a member
  IovaRange default_window;       ///< ibm,dma-window of its host bridge
  std::vector<Sbdf> group;        ///< all members of its group
};

/// Devices in an IOMMU group with a DMA window, in Sbdf order.  An error when
/// there is no PCI bus.
Result<std::vector<PlatformDevice>> list_platform_devices(const std::string& sysfs = "/sys");

/// "pSeries" and "IBM pSeries (emulated by qemu)", as the device tree has it;
/// empty: this is no Power machine.
std::string machine_model(const std::string& sysfs = "/sys");

}  // namespace pviommu::spapr
