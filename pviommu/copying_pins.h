// SPDX-License-Identifier: LGPL-2.1-or-later
// The frame source "copy": it pins nothing and follows the program's address.
//
// For kernels without io_uring registered buffers, and for memory that they do
// not take (read-only mappings).  A device then reaches what is at the address
// at the time of the transfer; an address that is gone is EFAULT.  Only a
// hypervisor that works inside this process can use it: there are no frames.
#pragma once

#include <memory>

#include "hypercall/pinned_memory.h"
#include "hypercall/result.h"
#include "pviommu/frame_source.h"

namespace pviommu {

/// Makes one piece, with the contract of FrameSource::pin().
Result<std::unique_ptr<PinnedMemory>> make_copying_pin(HvaRange range, Access access);

/// Makes the source; it is always there.
std::unique_ptr<FrameSource> make_copying_source();

}  // namespace pviommu
