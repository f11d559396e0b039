// SPDX-License-Identifier: LGPL-2.1-or-later
// A PCI function of this kernel, through sysfs.
//
// A stock dom0 kernel has no VFIO to lean on, and that of a Power LPAR may have one
// that does not work.  None is needed: with no driver bound, everything that a driver
// would do is a file of the device's folder (Documentation/ABI/testing/sysfs-bus-pci):
//
//   enable      powers the function up and switches its decoders on
//   config      configuration space, pread/pwrite
//   resource    where the BARs are: a line "first last flags" each
//   resourceN   BAR N: mmap for memory, pread/pwrite for I/O ports
//   rom         the expansion ROM, readable while "1" is written to it
//   reset       function-level reset, by the best method the kernel knows
//   reset_method  the methods it knows, best first; what is written limits them
//
// No hypercall is made here: which domain the function belongs to, and where
// its interrupts go, is the caller's.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/unique_fd.h"

namespace pviommu {

/// Calls may come from any thread; two accesses of one register at once reach
/// the device in either order.
/// Backends derive from it, and override what a hypervisor has a part in.
class SysfsDevice : public PciDevice {
 public:
  /// The function with its decoders on.  ENODEV: not there, or none that
  /// list_pci_devices() lists.  EBUSY: a kernel driver owns it.  EACCES, EPERM:
  /// not root, or kernel lockdown.
  static Result<std::unique_ptr<SysfsDevice>> open(Sbdf sbdf, std::string_view backend,
                                                   const std::string& sysfs = "/sys");
  /// Bus mastering off; decoders and `enable` as they were before open().
  ~SysfsDevice() override;

  const PciDeviceInfo& info() const override { return info_; }
  BarInfo bar(unsigned index) const override { return index <= kPciRomIndex ? bars_[index].info : BarInfo{}; }
  std::size_t config_size() const override { return config_size_; }
  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override;
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override;
  /// Index 6 reads the ROM; behind the end of its images it is all ones.
  Result<std::uint64_t> bar_read(unsigned index, std::uint64_t offset, unsigned width) override;
  /// EROFS for the ROM.
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  Result<BarMapping> bar_mapping(unsigned index) override;
  void bar_mapped(unsigned, bool) override {}  // nothing here watches the memory
  bool can_reset() const override { return static_cast<bool>(reset_); }
  Status reset() override;
  /// The function alone: the kernel knows the method "bus" only where nothing else is
  /// on the bus below the port.
  Result<std::vector<HotResetMember>> hot_reset_members() override;
  Status hot_reset() override;
  /// True when open() has enabled the function, so that the end disables it.
  bool enabled_here() const { return enabled_here_; }
  /// For who closes it in the name of another that enabled it.
  void disable_at_end() { enabled_here_ = true; }
  bool intx_asserted() override;

 protected:
  /// A derived device opens the function when it may, and gives it back before what
  /// it holds it by (a lock, a claim): the destructor of SysfsDevice would be too late.
  SysfsDevice() = default;
  /// As open(), once.  After an error the object is good for the destructor only.
  Status start(Sbdf sbdf, std::string_view backend, const std::string& sysfs = "/sys");
  /// What the destructor does, before it; nothing the second time.
  void give_back();

 private:
  struct Bar {
    BarInfo info;
    UniqueFd fd;
    void* page = nullptr;  ///< our mapping, from the page the BAR begins in; see base_of()
    std::size_t mapped = 0;
  };

  Status open_files(const std::string& folder);
  Status enable(const std::string& folder);
  Status power_up();
  Status read_resources(const std::string& folder);
  Result<volatile std::uint8_t*> base_of(Bar& bar);
  Status read_rom();
  Result<std::string> reset_methods();

  PciDeviceInfo info_;
  std::array<Bar, kPciRomIndex + 1> bars_;
  UniqueFd config_, enable_, reset_, reset_method_;
  std::size_t config_size_ = 0;
  bool enabled_here_ = false;
  bool started_ = false;
  std::uint32_t command_before_ = 0;
  std::mutex lock_;  ///< Bar::page and rom_, both made at first use
  std::vector<std::uint8_t> rom_;
};

}  // namespace pviommu
