// SPDX-License-Identifier: LGPL-2.1-or-later
// A function that the module has claimed for this process.
#pragma once

#include "hypercall/papr/module/module_hypervisor.h"
#include "hypercall/sysfs_device.h"

namespace pviommu::papr {

/// What Hypervisor::open_device() returns.
class ModuleHypervisor::OpenDevice final : public SysfsDevice {
 public:
  static Result<std::unique_ptr<PciDevice>> open(ModuleHypervisor& papr, Sbdf sbdf);
  ~OpenDevice() override;

  /// With the group of its window, which sysfs does not have.
  const PciDeviceInfo& info() const override { return info_; }
  // The hypervisor has the ports above.
  Result<std::vector<HotResetMember>> hot_reset_members() override { return Error{ENODEV, "hot reset"}; }
  Status hot_reset() override { return Error{ENODEV, "hot reset"}; }

 private:
  OpenDevice(ModuleHypervisor& papr, Sbdf sbdf, DeviceLock lock)
      : papr_(papr), sbdf_(sbdf), lock_(std::move(lock)) {}

  ModuleHypervisor& papr_;
  const Sbdf sbdf_;
  DeviceLock lock_;
  bool claimed_ = false;
  bool entered_ = false;
  PciDeviceInfo info_;
};

}  // namespace pviommu::papr
