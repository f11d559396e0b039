// SPDX-License-Identifier: LGPL-2.1-or-later
// What a function can do with interrupts, read from its configuration space.
#pragma once

#include <cstdint>
#include <optional>

#include "hypercall/pci_device.h"
#include "hypercall/result.h"

namespace pviommu::msi {

// The control words (PCI Local Bus 3.0, 6.8.1.3 and 6.8.2.3).
inline constexpr std::uint16_t kMsiEnable = 1 << 0;
inline constexpr unsigned kMsiQueueSizeShift = 4;
inline constexpr std::uint16_t kMsiQueueSize = 7 << kMsiQueueSizeShift;
inline constexpr std::uint16_t kMsi64Bit = 1 << 7;
inline constexpr std::uint16_t kMsiMaskable = 1 << 8;
inline constexpr std::uint16_t kMsixMaskAll = 1 << 14;
inline constexpr std::uint16_t kMsixEnable = 1 << 15;

/// The MSI capability (PCI Local Bus 3.0, 6.8.1).  Two bits of its control word decide about
/// the layout:
///
///          +0      +2        +4        +8        +c       +10      +14
///   32-bit id,next control   address   data      (mask)   (pending)
///   64-bit id,next control   address   upper     data     (mask)   (pending)
struct MsiCapability {
  std::uint8_t offset = 0;
  unsigned vectors = 1;  ///< 1, 2, 4 ... 32: the most the function can ask for
  bool is_64bit = false;
  bool maskable = false;  ///< has the mask and pending registers
  unsigned size = 10;     ///< bytes, id and next included: 10, 14, 20 or 24

  unsigned data_offset() const { return is_64bit ? 0xc : 0x8; }
  unsigned mask_offset() const { return is_64bit ? 0x10 : 0xc; }  ///< maskable only
  unsigned pending_offset() const { return mask_offset() + 4; }   ///< maskable only
  friend bool operator==(const MsiCapability&, const MsiCapability&) = default;
};

/// The MSI-X capability (PCI Local Bus 3.0, 6.8.2).  Table and pending bits lie in BARs:
///
///   entry n of the table   +0 address   +4 upper address   +8 data   +c control (bit 0: masked)
///   pending bits           one for each entry, in words of 64 bits
struct MsixCapability {
  static constexpr unsigned kSize = 12;            ///< bytes of the capability
  static constexpr std::uint64_t kEntrySize = 16;  ///< bytes of a table entry
  std::uint8_t offset = 0;
  unsigned vectors = 1;            ///< table entries, 1..2048
  unsigned table_bar = 0;          ///< BAR index 0..5
  std::uint32_t table_offset = 0;  ///< bytes into that BAR, 8-byte aligned
  unsigned pba_bar = 0;
  std::uint32_t pba_offset = 0;

  std::uint64_t table_bytes() const { return vectors * kEntrySize; }
  /// Size of the pending bits: one bit for each entry, in whole 64-bit words.
  std::uint64_t pba_bytes() const { return (vectors + 63) / 64 * 8; }
  friend bool operator==(const MsixCapability&, const MsixCapability&) = default;
};

struct InterruptCapabilities {
  bool intx = false;  ///< the interrupt pin register is not 0
  std::optional<MsiCapability> msi;
  std::optional<MsixCapability> msix;
};

/// Walks the capability list of `device`.  Where an id occurs twice the first one counts.
/// EIO: the list is broken, by a loop, by a capability that does not fit, or by a table
/// in a BAR that does not exist or does not hold it.
Result<InterruptCapabilities> read_capabilities(PciDevice& device);

}  // namespace pviommu::msi
