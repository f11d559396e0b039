// SPDX-License-Identifier: LGPL-2.1-or-later
// What uses the network interfaces of a PCI function.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vfio-glue/host/devices.h"
#include "vfio-glue/host/mounts.h"

namespace pviommu::host {

/// One phrase each; `function` is its folder without links.  Default routes, also through bridges,
/// bonds, teams, VLANs and Open vSwitch; these layers and macvlans themselves; filesystems, iSCSI
/// connections, NVMe controllers and NBD devices whose server is reached through the function.
std::vector<std::string> network_holders(const HostRoots& roots, const std::filesystem::path& function,
                                         const std::vector<Mount>& mounts);

}  // namespace pviommu::host
