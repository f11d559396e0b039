// SPDX-License-Identifier: LGPL-2.1-or-later
// Configuration space as a program sees it.
//
// Three byte maps decide, bit by bit, what an access means (the scheme of
// Linux's vfio_pci_config.c):
//
//      virt  write
//       0     0     read the hardware, drop writes
//       0     1     read and write the hardware
//       1     0     read the shadow, drop writes
//       1     1     read and write the shadow
//
// A few registers have effects beyond that: the command register, BAR sizing,
// power state, function-level reset.  MSI and MSI-X capabilities belong to msi/.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/result.h"

namespace pviommu::msi {
class VirtualCapability;
}

namespace pviommu::vfio {

/// Width of the widest natural access at `offset` with at most `bytes` bytes (> 0): a power of two
/// up to `widest`, which is one itself.
constexpr unsigned natural_width(std::uint64_t offset, std::size_t bytes, unsigned widest = 4) {
  unsigned width = widest;
  while (offset % width != 0 || width > bytes) width /= 2;
  return width;
}

/// What configuration space asks of the device.  Called with the device's lock held.
class ConfigEffects {
 public:
  /// INTx disable bit of the command register, as the program sees it.
  virtual void intx_disable_changed(bool disabled) = 0;
  /// Initiate Function Level Reset.
  virtual void function_level_reset() = 0;

 protected:
  ~ConfigEffects() = default;
};

/// Not thread-safe: the device's lock.
class ConfigSpace {
 public:
  /// Reads the hardware's header and capability list.  `device`, `effects` and
  /// `interrupts` outlive it.
  static Result<ConfigSpace> create(PciDevice& device, ConfigEffects& effects,
                                    msi::VirtualCapability& interrupts);

  std::size_t size() const { return shadow_.size(); }

  /// The interrupt pin reads as 0, as Linux shows a device whose INTx cannot be used.
  void hide_intx();

  /// Any width and alignment inside size(); split into natural accesses.
  Status read(std::size_t offset, void* out, std::size_t bytes);
  Status write(std::size_t offset, const void* in, std::size_t bytes);

  /// Command register bits as they are in force.
  bool memory_enabled() const;
  /// Has a PCI Express capability.
  bool is_express() const { return express_ != 0; }
  /// Not in D3hot: the device decodes.
  bool powered() const { return power_state_ < 3; }
  bool in_d0() const { return power_state_ == 0; }

  /// Bus mastering on the hardware; not the program's doing (open, close).
  Status set_bus_master(bool on);
  /// The power state is D0, in what the program sees; of the hardware it is never another.
  void wake();
  /// After a reset: what the reset cleared in the hardware is set again.
  Status restore();

 private:
  ConfigSpace(PciDevice& device, ConfigEffects& effects, msi::VirtualCapability& interrupts);
  Status load();
  Status load_capabilities();
  Status load_capability(std::uint8_t id, std::size_t at, std::size_t length);
  Status load_extended_capabilities();
  void allow_extended_writes(unsigned id, std::size_t at, std::size_t length);
  void set8(std::size_t offset, std::uint8_t virt, std::uint8_t write);
  void set16(std::size_t offset, std::uint16_t virt, std::uint16_t write);
  void set32(std::size_t offset, std::uint32_t virt, std::uint32_t write);
  bool interrupts_own(std::size_t offset) const;
  void fix_bars();
  unsigned uncovered_width(std::size_t offset, std::size_t bytes) const;
  Result<std::uint32_t> read_natural(std::size_t offset, unsigned width);
  Status write_natural(std::size_t offset, unsigned width, std::uint32_t value);
  Status after_write(std::size_t offset, unsigned width, std::uint32_t value);
  void set_power_state(unsigned state);
  std::uint16_t shadow16(std::size_t offset) const;
  std::uint32_t shadow32(std::size_t offset) const;
  void store32(std::size_t offset, std::uint32_t value);

  PciDevice* device_;
  ConfigEffects* effects_;
  msi::VirtualCapability* interrupts_;
  std::vector<std::uint8_t> shadow_;
  std::vector<std::uint8_t> virt_;
  std::vector<std::uint8_t> write_;
  std::bitset<256> headers_;        ///< id and next of the capabilities that are shown
  std::uint16_t real_command_ = 0;  ///< memory and I/O enable as the program set them
  bool intx_disabled_ = false;
  std::size_t pm_ = 0;       ///< offset of the power management capability, 0: none
  std::size_t express_ = 0;  ///< offset of the PCI Express capability, 0: none
  bool flr_ = false;
  unsigned power_state_ = 0;
};

}  // namespace pviommu::vfio
