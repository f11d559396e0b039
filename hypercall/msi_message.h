// SPDX-License-Identifier: LGPL-2.1-or-later
// A vector of a guest, as a Notification names it and as the message that a device writes.
//
//   address   31      20 19        12 11    4    3     2    1 0      Intel SDM 3A, 11.11.1
//            |  0xfee   | destination | 0 | RH | DM | 0 |
//
//   data      31     16   15    14   13 11 10      8 7      0        11.11.2
//            |    0    | TRIG | 0  |  0  | delivery | gvec |
//
//   gflags    31     16   15    14   12 11 10   9    8   7      0    XEN_DOMCTL_VMSI_X86_*
//            |    0    | TRIG | delivery | 0 | DM | RH | destination |
//
// RH: redirection hint, DM: destination mode, TRIG: trigger mode (level).
#pragma once

#include <cstdint>

namespace pviommu {

struct MsiMessage {
  std::uint64_t address = 0;
  std::uint32_t data = 0;
  friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};

/// The fields of Notification::gflags.
inline constexpr std::uint32_t kGflagsDestination = 0x00ff, kGflagsRedirectionHint = 0x0100,
                               kGflagsDestinationMode = 0x0200, kGflagsDelivery = 0x7000, kGflagsTrigger = 0x8000;
inline constexpr std::uint32_t kGflags = kGflagsDestination | kGflagsRedirectionHint | kGflagsDestinationMode |
                                         kGflagsDelivery | kGflagsTrigger;

/// The message for a vector of a guest.
constexpr MsiMessage message_of(std::uint8_t gvec, std::uint32_t gflags) {
  MsiMessage message{0xfee00000, gvec};
  message.address |= std::uint64_t{gflags & kGflagsDestination} << 12;
  if (gflags & kGflagsRedirectionHint) message.address |= 1 << 3;
  if (gflags & kGflagsDestinationMode) message.address |= 1 << 2;
  message.data |= (gflags & kGflagsDelivery) >> 12 << 8;
  if (gflags & kGflagsTrigger) message.data |= 1 << 15;
  return message;
}

/// The inverse: message_of(gvec_of(m), gflags_of(m)) == m for what a processor's message can be.
constexpr std::uint8_t gvec_of(const MsiMessage& message) { return static_cast<std::uint8_t>(message.data); }
constexpr std::uint32_t gflags_of(const MsiMessage& message) {
  std::uint32_t gflags = static_cast<std::uint32_t>(message.address >> 12) & kGflagsDestination;
  if (message.address & 1 << 3) gflags |= kGflagsRedirectionHint;
  if (message.address & 1 << 2) gflags |= kGflagsDestinationMode;
  gflags |= (message.data >> 8 << 12) & kGflagsDelivery;
  if (message.data & 1 << 15) gflags |= kGflagsTrigger;
  return gflags;
}

}  // namespace pviommu
