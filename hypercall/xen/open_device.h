// SPDX-License-Identifier: LGPL-2.1-or-later
// A device that this process has: its sysfs side, its owner in Xen, its vectors.
#pragma once

#include <memory>
#include <mutex>

#include "hypercall/xen/xen_hypervisor.h"

namespace pviommu::xen {

/// What Hypervisor::open_device() returns.
class XenHypervisor::OpenDevice final : public PciDevice {
 public:
  static Result<std::unique_ptr<PciDevice>> open(XenHypervisor& xen, Sbdf sbdf);
  ~OpenDevice() override;

  const PciDeviceInfo& info() const override { return function_->info(); }
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
  /// EPERM: the pages of the MSI-X table.  Xen has made them read-only, so they are
  /// refused here and not touched.
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  Result<BarMapping> bar_mapping(unsigned index) override { return function_->bar_mapping(index); }
  void bar_mapped(unsigned index, bool mapped) override { function_->bar_mapped(index, mapped); }
  bool can_reset() const override { return function_->can_reset(); }
  /// The function's reset takes its messages; Xen writes them again.
  Status reset() override;
  Result<std::vector<HotResetMember>> hot_reset_members() override { return function_->hot_reset_members(); }
  Status hot_reset() override;
  bool intx_asserted() override { return function_->intx_asserted(); }

  /// dom0 -> carrier or guest, and back.  After an error detach() goes on where it stopped.
  Status attach(Domid carrier);
  Status detach(Domid carrier);
  /// Xen has put the device into quarantine: from there to dom0, quiet.  Tried again
  /// at the next call when that is not possible yet.  devices_lock_ held.
  void guest_ended();

  DeviceVectors& vectors() { return vectors_; }
  /// EOPNOTSUPP: the device has none of the kind.
  Result<MsiPlace> place_of(VectorKind kind) const;

 private:
  OpenDevice(XenHypervisor& xen, Sbdf sbdf, DeviceLock lock, std::unique_ptr<SysfsDevice> function)
      : xen_(xen), sbdf_(sbdf), lock_(std::move(lock)), function_(std::move(function)) {}
  Status start();
  Status find_messages();

  enum class Owner { dom0, carrier, quarantine };

  XenHypervisor& xen_;
  const Sbdf sbdf_;
  DeviceLock lock_;
  std::unique_ptr<SysfsDevice> function_;
  LedgerDevice* ledger_ = nullptr;
  DeviceVectors vectors_;
  Owner owner_ = Owner::dom0;

  std::optional<MsiPlace> msi_, msix_;
  unsigned table_bar_ = 0;
  std::uint64_t table_offset_ = 0;
  std::uint64_t table_bytes_ = 0;
};

}  // namespace pviommu::xen
