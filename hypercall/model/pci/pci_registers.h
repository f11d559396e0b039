// SPDX-License-Identifier: LGPL-2.1-or-later
// Offsets and bits of PCI configuration space that the model implements.
// Names after the PCI Local Bus Specification 3.0 and PCI Express 5.0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pviommu::model::reg {

inline constexpr std::size_t kVendor = 0x00;
inline constexpr std::size_t kDevice = 0x02;
inline constexpr std::size_t kCommand = 0x04;
inline constexpr std::size_t kStatus = 0x06;
inline constexpr std::size_t kRevision = 0x08;
inline constexpr std::size_t kCacheLine = 0x0c;
inline constexpr std::size_t kBar0 = 0x10;
inline constexpr std::size_t kSubsystemVendor = 0x2c;
inline constexpr std::size_t kSubsystem = 0x2e;
inline constexpr std::size_t kRom = 0x30;
inline constexpr std::size_t kCapabilities = 0x34;
inline constexpr std::size_t kInterruptLine = 0x3c;
inline constexpr std::size_t kInterruptPin = 0x3d;

inline constexpr std::uint32_t kRomEnable = 1;

inline constexpr std::uint16_t kCommandIo = 0x0001;
inline constexpr std::uint16_t kCommandMemory = 0x0002;
inline constexpr std::uint16_t kCommandMaster = 0x0004;
inline constexpr std::uint16_t kCommandSerr = 0x0100;
inline constexpr std::uint16_t kCommandIntxDisable = 0x0400;
inline constexpr std::uint16_t kStatusInterrupt = 0x0008;
inline constexpr std::uint16_t kStatusCapabilities = 0x0010;
inline constexpr std::uint16_t kStatusErrors = 0xf900;

inline constexpr std::uint8_t kCapPower = 0x01;
inline constexpr std::uint8_t kCapMsi = 0x05;
inline constexpr std::uint8_t kCapExpress = 0x10;
inline constexpr std::uint8_t kCapMsix = 0x11;

// PCI Express capability (7.5.3).
inline constexpr std::size_t kExpressSize = 0x3c;
inline constexpr std::size_t kExpress1Size = 0x14;  // version 1
inline constexpr std::size_t kExpressFlags = 0x02;
inline constexpr std::size_t kExpressDevCap = 0x04;
inline constexpr std::size_t kExpressDevCtl = 0x08;
inline constexpr std::size_t kExpressDevSta = 0x0a;
inline constexpr std::size_t kExpressLinkCap = 0x0c;
inline constexpr std::size_t kExpressLinkSta = 0x12;
inline constexpr std::size_t kExpressDevCap2 = 0x24;
inline constexpr std::size_t kExpressDevCtl2 = 0x28;
inline constexpr std::uint32_t kDevCapRoleBasedErrors = 1u << 15;
inline constexpr std::uint32_t kDevCapFlr = 1u << 28;
inline constexpr std::uint32_t kDevCap2Prefixes = 0x300000;  // extended format, end-to-end prefixes
inline constexpr std::uint16_t kDevCtl2BlockPrefixes = 1u << 15;
inline constexpr std::uint16_t kDevCtlFlr = 1u << 15;

// MSI capability (7.7.1):
//
//            32-bit             64-bit
//   +0x02    Message Control    the same
//   +0x04    Address            Address
//   +0x08    Data               Upper Address
//   +0x0c    Mask (optional)    Data
//   +0x10    Pending            Mask (optional)
//   +0x14                       Pending
inline constexpr std::size_t kMsiControl = 0x02;
inline constexpr std::size_t kMsiAddress = 0x04;
constexpr std::size_t msi_data(bool is_64bit) { return is_64bit ? 0x0c : 0x08; }
constexpr std::size_t msi_mask(bool is_64bit) { return is_64bit ? 0x10 : 0x0c; }
constexpr std::size_t msi_pending(bool is_64bit) { return is_64bit ? 0x14 : 0x10; }
constexpr std::size_t msi_size(bool is_64bit, bool maskable) {
  return maskable ? msi_pending(is_64bit) + 4 : msi_data(is_64bit) + 2;
}
inline constexpr std::uint16_t kMsiEnable = 0x0001;
inline constexpr std::uint16_t kMsi64 = 0x0080;
inline constexpr std::uint16_t kMsiMaskable = 0x0100;

// MSI-X capability (7.7.2) and table entry: address, upper address, data, control.
inline constexpr std::size_t kMsixControl = 0x02;
inline constexpr std::size_t kMsixTable = 0x04;
inline constexpr std::size_t kMsixPba = 0x08;
inline constexpr std::uint16_t kMsixEnable = 0x8000;
inline constexpr std::uint16_t kMsixFunctionMask = 0x4000;
inline constexpr std::uint32_t kMsixEntrySize = 16;
inline constexpr std::uint32_t kMsixEntryMasked = 1;

}  // namespace pviommu::model::reg
