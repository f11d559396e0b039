// SPDX-License-Identifier: LGPL-2.1-or-later
// Byte by byte, because a program may read and write a capability in any width.  Reads
// combine what the program has written with what the hypervisor's vectors make of it; writes
// to mask bits go on to the router.
#include "msi/virtual_capability.h"

#include <algorithm>
#include <bit>

namespace pviommu::msi {
namespace {

constexpr unsigned kHeader = 2;  // id, next
constexpr unsigned kControl = 2;
constexpr unsigned kControlHigh = 3;
constexpr unsigned kAddress = 4;

// Of the control words' second bytes.
constexpr std::uint8_t kMsiMaskableHigh = kMsiMaskable >> 8;
constexpr std::uint8_t kMsixEnableHigh = kMsixEnable >> 8;

constexpr std::uint8_t byte_of(std::uint32_t value, unsigned index) {
  return static_cast<std::uint8_t>(value >> 8 * index);
}

/// `offset` lies in the 32-bit register at `reg`.
bool in_register(unsigned offset, unsigned reg) { return offset >= reg && offset < reg + 4; }

}  // namespace

VirtualCapability::VirtualCapability(const InterruptCapabilities& capabilities, CapabilityEffects& effects)
    : capabilities_(capabilities), effects_(effects) {
  if (const auto& msi = capabilities_.msi) {
    msi_[kControl] =
        static_cast<std::uint8_t>((msi->is_64bit ? kMsi64Bit : 0) | std::countr_zero(msi->vectors) << 1);
    // Bits above 8 announce extended message data, which is not offered.
    msi_[kControlHigh] = msi->maskable ? kMsiMaskableHigh : 0;
  }
}

bool VirtualCapability::covers(std::size_t offset) const {
  const auto inside = [offset](unsigned start, unsigned size) {
    return offset >= start + kHeader && offset < start + size;
  };
  return (capabilities_.msi && inside(capabilities_.msi->offset, capabilities_.msi->size)) ||
         (capabilities_.msix && inside(capabilities_.msix->offset, MsixCapability::kSize));
}

std::uint8_t VirtualCapability::read(std::size_t offset) const {
  const auto& msi = capabilities_.msi;
  if (msi && offset >= msi->offset && offset < msi->offset + msi->size)
    return read_msi(static_cast<unsigned>(offset - msi->offset));
  return read_msix(static_cast<unsigned>(offset - capabilities_.msix->offset));
}

Status VirtualCapability::write(std::size_t offset, std::uint8_t value) {
  const auto& msi = capabilities_.msi;
  if (msi && offset >= msi->offset && offset < msi->offset + msi->size)
    return write_msi(static_cast<unsigned>(offset - msi->offset), value);
  return {};  // MSI-X: read-only
}

std::uint8_t VirtualCapability::read_msi(unsigned offset) const {
  const MsiCapability& msi = *capabilities_.msi;
  if (msi.maskable) {
    if (in_register(offset, msi.mask_offset()))
      return byte_of(effects_.mask_bits(), offset - msi.mask_offset());
    if (in_register(offset, msi.pending_offset()))
      return byte_of(effects_.pending_bits(), offset - msi.pending_offset());
  }
  return msi_[offset];
}

Status VirtualCapability::write_msi(unsigned offset, std::uint8_t value) {
  const MsiCapability& msi = *capabilities_.msi;
  if (offset == kControl) {
    // vfio_msi_config_write(): MSI is enabled by SET_IRQS alone; here the
    // program can only stop and restore delivery.  The rest of the byte is the
    // program's, the read-only fields of real hardware too.
    if (!effects_.msi_configured()) value &= static_cast<std::uint8_t>(~kMsiEnable);
    if (static_cast<unsigned>(value & kMsiQueueSize) >> kMsiQueueSizeShift > effects_.msi_queue_limit())
      value = static_cast<std::uint8_t>((value & ~kMsiQueueSize) | effects_.msi_queue_limit()
                                                                       << kMsiQueueSizeShift);
    if (effects_.msi_configured()) PVIOMMU_TRY(effects_.set_delivery((value & kMsiEnable) != 0));
    msi_[kControl] = value;
    return {};
  }
  if (msi.maskable && in_register(offset, msi.mask_offset())) {
    const unsigned shift = 8 * (offset - msi.mask_offset());
    effects_.set_mask_bits((effects_.mask_bits() & ~(std::uint32_t{0xff} << shift)) | std::uint32_t{value}
                                                                                          << shift);
    return {};
  }
  // The two bytes behind the data register are reserved.
  const unsigned data = msi.data_offset();
  if ((offset >= kAddress && offset < data) || offset == data || offset == data + 1) msi_[offset] = value;
  return {};
}

std::uint8_t VirtualCapability::read_msix(unsigned offset) const {
  const MsixCapability& msix = *capabilities_.msix;
  const std::uint32_t control = msix.vectors - 1;
  switch (offset / 4) {
    case 0: {
      const std::uint8_t byte = byte_of(control, offset - kControl);
      const bool enabled = offset == kControlHigh && effects_.msix_configured();
      return enabled ? byte | kMsixEnableHigh : byte;
    }
    case 1:
      return byte_of(msix.table_offset | msix.table_bar, offset - 4);
    default:
      return byte_of(msix.pba_offset | msix.pba_bar, offset - 8);
  }
}

}  // namespace pviommu::msi
