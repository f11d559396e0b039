// SPDX-License-Identifier: LGPL-2.1-or-later
// A guest vector as the message that a device would write.
#pragma once

#include <cstdint>

#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

struct Message {
  std::uint64_t address = 0;
  std::uint32_t data = 0;
  friend bool operator==(const Message&, const Message&) = default;
};

/// Intel SDM 3A, 10.11: address 0xfee, destination, RH, DM; data: trigger mode,
/// delivery mode, vector.  `gflags`: XEN_DOMCTL_VMSI_X86_*.
inline Message message_of(std::uint8_t gvec, std::uint32_t gflags) {
  Message message;
  message.address = 0xfee00000 | (gflags & XEN_DOMCTL_VMSI_X86_DEST_ID_MASK) << 12;
  if (gflags & XEN_DOMCTL_VMSI_X86_RH_MASK) message.address |= 8;
  if (gflags & XEN_DOMCTL_VMSI_X86_DM_MASK) message.address |= 4;
  message.data = gvec | (gflags & XEN_DOMCTL_VMSI_X86_DELIV_MASK) >> 12 << 8;
  if (gflags & XEN_DOMCTL_VMSI_X86_TRIG_MASK) message.data |= 0x8000;
  return message;
}

}  // namespace pviommu::xen
