// SPDX-License-Identifier: LGPL-2.1-or-later
// How an engine is to be: the options of `pviommu run`, which reach a program's front end
// as environment variables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "hypercall/result.h"

namespace pviommu::vfio {

/// Ways to the devices that programs find.
struct Interfaces {
  bool group = true;  ///< /dev/vfio/vfio and /dev/vfio/N
  bool cdev = true;   ///< /dev/iommu and /dev/vfio/devices/vfioN

  /// "group", "cdev", or both with a comma.  EINVAL: something else.
  static Result<Interfaces> from_text(std::string_view text);
  std::string text() const { return group && cdev ? "group,cdev" : group ? "group" : "cdev"; }
};

/// What `pviommu run` was told; handed to front ends through the environment.
struct EngineConfig {
  std::string hypervisor = "model";     ///< PVIOMMU_HYPERVISOR     NAME[:CONF]
  std::string iommu_driver;             ///< PVIOMMU_IOMMU_DRIVER   NAME[:CONF], empty: "hypercall"
  std::string frame_source = "auto";    ///< PVIOMMU_FRAMES         auto | io_uring | copy
  std::uint32_t max_mappings = 65535;   ///< PVIOMMU_MAX_MAPPINGS
  Interfaces interfaces{};              ///< PVIOMMU_INTERFACE      group,cdev
  bool strict = false;                  ///< PVIOMMU_STRICT         1: refuse what cannot be enforced
  bool quiet = false;                   ///< PVIOMMU_QUIET          1: no notices
  /// PVIOMMU_SESSION, the folder of a `pviommu run`: its processes share a
  /// machine, so a group that one of them has open is busy for the others.
  /// Empty: nobody shares.
  std::string session;

  /// Reads the environment; EINVAL: the sentence names the variable and the value.
  static Result<EngineConfig> from_environment();
};

}  // namespace pviommu::vfio
