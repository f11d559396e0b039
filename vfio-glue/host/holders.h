// SPDX-License-Identifier: LGPL-2.1-or-later
// What of a running system depends on a PCI function: mounts, swap, default routes.
#pragma once

#include <string>
#include <vector>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// The reasons why the function must not be taken from its driver, one phrase each:
/// filesystems that are mounted from it and swap on it, also through partitions, device
/// mapper, md, loop and NVMe multipath; the interface of a default route (main table,
/// IPv4 and IPv6), also through bridges, bonds and VLANs.
///
/// It looks at the mounts of this process and of process 1, not at those of containers.
/// An error: /proc or /sys cannot be read, so nothing is known.
Result<std::vector<std::string>> host_holders(const HostRoots& roots, Sbdf sbdf);

/// The process that uses it: by pviommu, or by the kernel's VFIO (its group is
/// open).  Empty: none was found.
std::string device_user(const HostRoots& roots, const HostDevice& device);

}  // namespace pviommu::host
