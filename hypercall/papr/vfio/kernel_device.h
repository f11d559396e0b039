// SPDX-License-Identifier: LGPL-2.1-or-later
// A device that the kernel's vfio-pci has open for this process.
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "hypercall/pci_device.h"
#include "hypercall/unique_fd.h"
#include "hypercall/papr/vfio/vfio_calls.h"

namespace pviommu::spapr {

/// Calls may come from any thread; two accesses of one register at once reach the
/// device in either order.
class KernelDevice final : public PciDevice {
 public:
  /// `at_end` is called when the device is closed.
  static Result<std::unique_ptr<KernelDevice>> open(VfioCalls& calls, PciDeviceInfo info, UniqueFd fd,
                                                    std::function<void()> at_end);
  ~KernelDevice() override;

  int fd() const { return fd_.get(); }

  const PciDeviceInfo& info() const override { return info_; }
  BarInfo bar(unsigned index) const override { return index <= kPciRomIndex ? regions_[index].info : BarInfo{}; }
  std::size_t config_size() const override { return config_size_; }
  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override;
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override;
  Result<std::uint64_t> bar_read(unsigned index, std::uint64_t offset, unsigned width) override;
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  Result<BarMapping> bar_mapping(unsigned index) override;
  void bar_mapped(unsigned, bool) override {}  // nothing here watches the memory
  bool can_reset() const override { return can_reset_; }
  Status reset() override;
  // The hypervisor has the ports above.
  Result<std::vector<HotResetMember>> hot_reset_members() override { return Error{ENODEV, "hot reset"}; }
  Status hot_reset() override { return Error{ENODEV, "hot reset"}; }
  bool intx_asserted() override;

 private:
  struct Region {
    BarInfo info;
    std::uint64_t offset = 0;  ///< in the device's file
  };

  KernelDevice(VfioCalls& calls, PciDeviceInfo info, UniqueFd fd) : calls_(calls), info_(std::move(info)), fd_(std::move(fd)) {}
  Status start();

  VfioCalls& calls_;
  const PciDeviceInfo info_;
  UniqueFd fd_;
  std::function<void()> at_end_;
  std::array<Region, kPciRomIndex + 1> regions_;
  std::uint64_t config_offset_ = 0;
  std::size_t config_size_ = 0;
  bool can_reset_ = false;
};

}  // namespace pviommu::spapr
