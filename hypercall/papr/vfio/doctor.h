// SPDX-License-Identifier: LGPL-2.1-or-later
// `pviommu doctor` for Power: what a run needs, looked at without taking anything.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/diagnosis.h"
#include "hypercall/papr/vfio/platform.h"

namespace pviommu::spapr {

/// What is found out before it is judged.
struct HostFacts {
  std::string model;                     ///< of the device tree; empty: no Power machine
  std::string kernel;                    ///< uname -r
  int container_error = 0;               ///< errno of opening /dev/vfio/vfio
  std::optional<bool> spapr;             ///< VFIO_CHECK_EXTENSION; empty: not asked
  int module_error = 0;                  ///< errno of looking at /dev/pviommu-papr
  std::vector<PlatformDevice> devices;
};

HostFacts gather(const std::string& sysfs = "/sys");
/// `via`: auto, vfio or module.  `device`: an address, or empty.
std::vector<Check> judge(const HostFacts& facts, std::string_view via, std::string_view device);

/// pviommu_module::diagnose.
int diagnose(const char* conf, const char* device, void (*row)(void* to, const pviommu_check* check),
             void* to) noexcept;

}  // namespace pviommu::spapr
