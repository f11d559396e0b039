// SPDX-License-Identifier: LGPL-2.1-or-later
// The VFIO engine: one hypervisor, its groups and devices, in one process.
//
// The files of this folder, and which may know which (include-rule.sh proves that
// there is no circle):
//
//           engine                opens containers, groups, iommufds and the nodes of devices
//          +---+------+
//          |     device_node      a device without its group
//          |          |
//        group -------+           joins a container, opens devices, makes their files
//          +-----+----+------+
//     container  iommufd     |    the ioctls of each
//          |    (ioas)  device_file
//          |          |      |
//          |        device        device_irqs, device_regions, device_ioeventfds: parts of it
//          |          |
//          |     config_space
//          +---+------+
//      ioctl_table, info_chain    the ABI's structures
//              |
//            file                 File and Client, between the engine and a front end
//
// Beside them: engine_config, what the environment says; sysfs_view, the tree of the
// devices that programs find below /sys; stopwatch.
#pragma once

#include <memory>
#include <string>

#include "hypercall/hypervisor.h"
#include "pviommu/frame_source.h"
#include "pviommu/iommu_driver.h"
#include "vfio-glue/engine/engine_config.h"
#include "vfio-glue/engine/file.h"

namespace pviommu::vfio {

class Engine {
 public:
  /// Errors have a sentence.
  static Result<std::unique_ptr<Engine>> create(const EngineConfig& config);
  virtual ~Engine() = default;  ///< after all Files

  virtual Hypervisor& hypervisor() = 0;
  virtual IommuDriver& iommu_driver() = 0;
  virtual FrameSource& frames() = 0;

  // ENOENT also where EngineConfig::interfaces does not have it.

  /// open("/dev/vfio/vfio").
  virtual Result<FileRef> open_container() = 0;
  /// open("/dev/vfio/<group>").  ENOENT: no such group; EBUSY: open already.
  virtual Result<FileRef> open_group(unsigned group) = 0;
  /// open("/dev/iommu").
  virtual Result<FileRef> open_iommufd() = 0;
  /// open("/dev/vfio/devices/vfio<number>"), the number as sysfs_view.h gives it.  ENOENT: no such device.
  virtual Result<FileRef> open_device_node(unsigned number) = 0;
};

}  // namespace pviommu::vfio
