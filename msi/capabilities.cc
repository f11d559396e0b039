// SPDX-License-Identifier: LGPL-2.1-or-later
// Walking the capability list.  A device may lie: each offset and size is checked against the
// configuration space and the BARs before it is believed, and a loop is noticed by its places.
#include "msi/capabilities.h"

#include <bitset>

namespace pviommu::msi {
namespace {

// Configuration header (PCI Local Bus 3.0, 6.1 and 6.7).
constexpr std::size_t kStatus = 0x06;
constexpr std::uint32_t kStatusCapabilityList = 1 << 4;
constexpr std::size_t kCapabilityPointer = 0x34;
constexpr std::size_t kInterruptPin = 0x3d;
constexpr unsigned kHeaderEnd = 0x40;
constexpr unsigned kListEnd = 0x100;  // the list lives in the first 256 bytes
constexpr std::uint8_t kIdMsi = 0x05;
constexpr std::uint8_t kIdMsix = 0x11;

constexpr unsigned kMsiMostLog2 = 5;  // 6 and 7 are reserved

Error broken(const char* what) { return Error{EIO, what}; }

Result<MsiCapability> read_msi(PciDevice& device, unsigned offset) {
  const std::uint32_t control = PVIOMMU_TRY(device.config_read(offset + 2, 2));
  const unsigned log2 = control >> 1 & 7;
  if (log2 > kMsiMostLog2) return broken("MSI capability: reserved number of vectors");
  MsiCapability msi;
  msi.offset = static_cast<std::uint8_t>(offset);
  msi.vectors = 1u << log2;
  msi.is_64bit = (control & kMsi64Bit) != 0;
  msi.maskable = (control & kMsiMaskable) != 0;
  msi.size = 10 + (msi.is_64bit ? 4 : 0) + (msi.maskable ? 10 : 0);
  if (offset + msi.size > kListEnd) return broken("MSI capability: reaches beyond its space");
  return msi;
}

/// Checks a structure that a table or PBA register names: its offset, and the BAR in the low
/// three bits.
Status check_structure(PciDevice& device, unsigned bar, std::uint32_t offset, std::uint64_t bytes) {
  if (bar >= kPciBars) return broken("MSI-X capability: no such BAR");
  const BarInfo info = device.bar(bar);
  if (info.is_io || info.size < bytes || offset > info.size - bytes)
    return broken("MSI-X capability: table or pending bits outside their BAR");
  return {};
}

Result<MsixCapability> read_msix(PciDevice& device, unsigned offset) {
  if (offset + MsixCapability::kSize > kListEnd) return broken("MSI-X capability: reaches beyond its space");
  const std::uint32_t control = PVIOMMU_TRY(device.config_read(offset + 2, 2));
  const std::uint32_t table = PVIOMMU_TRY(device.config_read(offset + 4, 4));
  const std::uint32_t pba = PVIOMMU_TRY(device.config_read(offset + 8, 4));
  MsixCapability msix;
  msix.offset = static_cast<std::uint8_t>(offset);
  msix.vectors = (control & 0x7ff) + 1;
  msix.table_bar = table & 7;
  msix.table_offset = table & ~std::uint32_t{7};
  msix.pba_bar = pba & 7;
  msix.pba_offset = pba & ~std::uint32_t{7};
  PVIOMMU_TRY(check_structure(device, msix.table_bar, msix.table_offset, msix.table_bytes()));
  PVIOMMU_TRY(check_structure(device, msix.pba_bar, msix.pba_offset, msix.pba_bytes()));
  return msix;
}

}  // namespace

Result<InterruptCapabilities> read_capabilities(PciDevice& device) {
  InterruptCapabilities capabilities;
  capabilities.intx = PVIOMMU_TRY(device.config_read(kInterruptPin, 1))
  != 0;
  const std::uint32_t status = PVIOMMU_TRY(device.config_read(kStatus, 2));
  if ((status & kStatusCapabilityList) == 0) return capabilities;

  // Capabilities are dword aligned: a place seen twice is a loop, and there are
  // no more places than bits here, so the walk ends.
  std::bitset<kListEnd / 4> seen;
  unsigned offset = PVIOMMU_TRY(device.config_read(kCapabilityPointer, 1))
  &~3u;
  while (offset != 0) {
    if (offset < kHeaderEnd) return broken("capability list: points into the header");
    if (seen[offset / 4]) return broken("capability list: loop");
    seen.set(offset / 4);
    const std::uint32_t header = PVIOMMU_TRY(device.config_read(offset, 2));
    const auto id = static_cast<std::uint8_t>(header);
    if (id == kIdMsi && !capabilities.msi) capabilities.msi = PVIOMMU_TRY(read_msi(device, offset));
    if (id == kIdMsix && !capabilities.msix) capabilities.msix = PVIOMMU_TRY(read_msix(device, offset));
    offset = header >> 8 & 0xfc;
  }
  return capabilities;
}

}  // namespace pviommu::msi
