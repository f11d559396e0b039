// SPDX-License-Identifier: LGPL-2.1-or-later
// The filesystems that are mounted, by /proc/PID/mountinfo.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

struct Mount {
  std::string number;   ///< "8:1"; "0:N" for filesystems with more than one device, or none
  std::string point;
  std::string type;     ///< "ext4", "nfs4"
  std::string source;   ///< "/dev/mapper/root", "server:/folder"
  std::string options;  ///< of the filesystem: "rw,addr=192.0.2.1"
};

/// Of this process and of process 1.  An error when the first cannot be read.
Result<std::vector<Mount>> read_mounts(const HostRoots& roots);

/// "dm-0" of /dev/mapper/root, "sda1" of /dev/sda1; empty: not below /dev.
std::string block_name(const std::string& source);

/// "\040" for a space and the like, as in /proc/self/mountinfo and /proc/swaps.
std::string unescaped(std::string_view text);

}  // namespace pviommu::host
