// SPDX-License-Identifier: LGPL-2.1-or-later
// What of a running system depends on a PCI function.
#pragma once

#include <string>
#include <vector>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// The reasons why the function must not be taken from its driver, one phrase each: what uses its
/// disks (disk_holders.h) and its network interfaces (network_holders.h); and for each of its
/// virtual functions, which end with the driver, the same, and that it is set aside for programs
/// and guests.
///
/// It looks at the mounts of this process and of process 1 and at the network of this process,
/// not at those of containers.
/// An error: /proc or /sys cannot be read, so nothing is known.
Result<std::vector<std::string>> host_holders(const HostRoots& roots, PciAddress address);

/// The process that uses it or a virtual function of it: by pviommu, or by the kernel's VFIO
/// (its group is open).  Empty: none was found.
std::string device_user(const HostRoots& roots, const HostDevice& device);

/// The virtual functions that it has at the moment, by address.
std::vector<PciAddress> virtual_functions(const HostRoots& roots, PciAddress address);

}  // namespace pviommu::host
