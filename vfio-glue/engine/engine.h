// SPDX-License-Identifier: LGPL-2.1-or-later
// The VFIO engine: one hypervisor, its groups and devices, in one process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hypercall/hypervisor.h"
#include "pviommu/address_space.h"
#include "pviommu/frame_source.h"
#include "pviommu/iommu_driver.h"
#include "vfio-glue/engine/file.h"

namespace pviommu::vfio {

/// What `pviommu run` was told; handed to front ends through the environment.
struct EngineConfig {
  std::string hypervisor = "model";     ///< PVIOMMU_HYPERVISOR     NAME[:CONF]
  std::string iommu_driver;             ///< PVIOMMU_IOMMU_DRIVER   NAME[:CONF], empty: "hypercall"
  std::string frame_source = "auto";    ///< PVIOMMU_FRAMES         auto | io_uring | copy
  std::uint32_t max_mappings = 65535;   ///< PVIOMMU_MAX_MAPPINGS
  bool strict = false;                  ///< PVIOMMU_STRICT         1: refuse what cannot be enforced
  bool quiet = false;                   ///< PVIOMMU_QUIET          1: no notices
  /// PVIOMMU_SESSION, the folder of a `pviommu run`: its processes share a
  /// machine, so a group that one of them has open is busy for the others.
  /// Empty: nobody shares.
  std::string session;

  /// Reads the environment; the message names the variable and the value.
  static Result<EngineConfig> from_environment(std::string& message);
};

class Engine {
 public:
  /// `message` is one line for people when this fails.
  static Result<std::unique_ptr<Engine>> create(const EngineConfig& config, std::string& message);
  virtual ~Engine() = default;  ///< after all Files

  virtual Hypervisor& hypervisor() = 0;
  virtual IommuDriver& iommu_driver() = 0;
  virtual FrameSource& frames() = 0;

  /// open("/dev/vfio/vfio").
  virtual Result<FileRef> open_container() = 0;
  /// open("/dev/vfio/<group>").  ENOENT: no such group; EBUSY: open already.
  virtual Result<FileRef> open_group(unsigned group) = 0;
};

}  // namespace pviommu::vfio
