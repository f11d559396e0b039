// SPDX-License-Identifier: LGPL-2.1-or-later
// What uses the disks of a PCI function.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vfio-glue/host/devices.h"
#include "vfio-glue/host/mounts.h"

namespace pviommu::host {

/// One phrase each; `function` is its folder without links.  Filesystems and swap, also through
/// partitions, device mapper, md, bcache, loop and NVMe multipath; these layers themselves; domains
/// of Xen that have a disk from blkback; processes that have one open; and where none of these is
/// known, that somebody has it open exclusively, which is asked with HostRoots::claim.
std::vector<std::string> disk_holders(const HostRoots& roots, const std::filesystem::path& function,
                                      const std::vector<Mount>& mounts);

/// Opens the block device of this name and number ("nvme0n1p2", "259:2") exclusively, for reading,
/// and closes it again; it does not wait for a medium.  EBUSY: somebody has it open exclusively.
/// Any other error: it cannot be told.
Status claim_disk(const std::string& name, const std::string& number);

}  // namespace pviommu::host
