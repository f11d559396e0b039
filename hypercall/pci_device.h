// SPDX-License-Identifier: LGPL-2.1-or-later
// A PCI function in our hands: configuration space, BARs, reset.
//
// What the backend gives here is the physical function.  What a program may
// see and change of it is decided above (vfio-glue/engine/config_space.h and msi/).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hypercall/pci_address.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

struct PciDeviceInfo {
  Sbdf sbdf;
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint16_t subsystem_vendor = 0;
  std::uint16_t subsystem_device = 0;
  std::uint32_t class_code = 0;  ///< 24 bits: base class, sub-class, programming interface
  std::uint8_t revision = 0;
  unsigned group = 0;            ///< IOMMU group number, /dev/vfio/<group>
  bool viable = true;            ///< false: a host driver holds a member of the group
  std::string driver;            ///< what owns it now: "model", "vfio-pci", "" ...
  std::string description;       ///< one line for people
  std::string lock;              ///< DeviceLock that its user holds; empty: no other process can use it
};

inline constexpr unsigned kPciBars = 6;
inline constexpr unsigned kPciRomIndex = 6;

struct BarInfo {
  std::uint64_t size = 0;      ///< bytes, power of two; 0: not implemented
  bool is_io = false;
  bool is_64bit = false;       ///< occupies this BAR and the next one
  bool prefetchable = false;
  bool mappable = false;       ///< bar_mapping() works
  std::uint64_t address = 0;   ///< where the platform put it (bus address)
};

/// A file to mmap a BAR from: `fd` (owned by the device) at `offset`.
struct BarMapping {
  int fd = -1;
  std::uint64_t offset = 0;
  /// Whole pages of the BAR in which a load or store by the mapping is all of the access, as it
  /// is on hardware.  The others are registers of a device model, which looks at them from time
  /// to time: exact are only bar_read() and bar_write().
  std::uint64_t direct_offset = 0;
  std::uint64_t direct_bytes = ~std::uint64_t{0};
};

/// A function that a hot reset reaches.
struct HotResetMember {
  Sbdf sbdf;
  unsigned group = 0;
};

class PciDevice {
 public:
  PciDevice() = default;
  PciDevice(const PciDevice&) = delete;
  PciDevice& operator=(const PciDevice&) = delete;
  virtual ~PciDevice() = default;

  virtual const PciDeviceInfo& info() const = 0;
  /// Index 0..5 are BARs, 6 the expansion ROM.  Constant while open.
  virtual BarInfo bar(unsigned index) const = 0;
  /// 256 or 4096.
  virtual std::size_t config_size() const = 0;

  /// Width 1, 2 or 4, naturally aligned and inside config_size() (the callers
  /// split); little endian value.
  virtual Result<std::uint32_t> config_read(std::size_t offset, unsigned width) = 0;
  virtual Status config_write(std::size_t offset, unsigned width, std::uint32_t value) = 0;

  /// One access of width 1, 2, 4 or 8, naturally aligned and inside the BAR.
  virtual Result<std::uint64_t> bar_read(unsigned index, std::uint64_t offset, unsigned width) = 0;
  virtual Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) = 0;

  /// For programs' mmap.  EOPNOTSUPP unless BarInfo::mappable.
  virtual Result<BarMapping> bar_mapping(unsigned index) = 0;
  /// Told when the program maps (true) or has unmapped all of (false) a BAR, so
  /// that a device model knows when it must watch the memory itself.
  virtual void bar_mapped(unsigned index, bool mapped) = 0;

  virtual bool can_reset() const = 0;
  /// Function-level reset.  ENOTTY unless can_reset().
  virtual Status reset() = 0;

  /// The functions on the slot or bus that hot_reset() resets, this one among them;
  /// ENODEV: there is no such reset.
  virtual Result<std::vector<HotResetMember>> hot_reset_members() = 0;
  /// Resets all of them, from the port above.  Each has its configuration (BARs,
  /// command register) afterwards, as after reset().
  virtual Status hot_reset() = 0;

  /// True while a level-triggered interrupt is asserted by the function.
  virtual bool intx_asserted() = 0;
};

}  // namespace pviommu
