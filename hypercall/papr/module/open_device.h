// SPDX-License-Identifier: LGPL-2.1-or-later
// A function that the module has claimed for this process.
#pragma once

#include "hypercall/papr/module/module_hypervisor.h"

namespace pviommu::papr {

/// What Hypervisor::open_device() returns.
class ModuleHypervisor::OpenDevice final : public PciDevice {
 public:
  static Result<std::unique_ptr<PciDevice>> open(ModuleHypervisor& papr, Sbdf sbdf);
  ~OpenDevice() override;

  const PciDeviceInfo& info() const override { return info_; }
  BarInfo bar(unsigned index) const override { return function_->bar(index); }
  std::size_t config_size() const override { return function_->config_size(); }
  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    return function_->config_read(offset, width);
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    return function_->config_write(offset, width, value);
  }
  Result<std::uint64_t> bar_read(unsigned index, std::uint64_t offset, unsigned width) override {
    return function_->bar_read(index, offset, width);
  }
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override {
    return function_->bar_write(index, offset, width, value);
  }
  Result<BarMapping> bar_mapping(unsigned index) override { return function_->bar_mapping(index); }
  void bar_mapped(unsigned index, bool mapped) override { function_->bar_mapped(index, mapped); }
  bool can_reset() const override { return function_->can_reset(); }
  Status reset() override;
  // The hypervisor has the ports above.
  Result<std::vector<HotResetMember>> hot_reset_members() override { return Error{ENODEV, "hot reset"}; }
  Status hot_reset() override { return Error{ENODEV, "hot reset"}; }
  bool intx_asserted() override { return function_->intx_asserted(); }

 private:
  OpenDevice(ModuleHypervisor& papr, Sbdf sbdf, DeviceLock lock)
      : papr_(papr), sbdf_(sbdf), lock_(std::move(lock)) {}

  ModuleHypervisor& papr_;
  const Sbdf sbdf_;
  DeviceLock lock_;
  bool claimed_ = false;
  bool entered_ = false;
  std::unique_ptr<SysfsDevice> function_;
  PciDeviceInfo info_;
};

}  // namespace pviommu::papr
