// SPDX-License-Identifier: LGPL-2.1-or-later
// The frame source "io_uring": long-term pins by registered buffers.
//
// A buffer registered with io_uring is pinned until it is taken out again, and
// READ_FIXED and WRITE_FIXED reach those very pages, whatever the program has
// done with the address since.  That is what a device needs.
//
//   pool    ring 0   slots 0..1023  one PinnedMemory each
//           ring 1   ...            made when the ones before are full
//
// The kernel pins for writing always: shared file mappings and memory without
// the right to write give EFAULT.  For Access::read such memory is held by a
// copying pin instead (PinnedMemory::holds_pages() is false then).
//
// After fork() the child closes its rings, so that it does not keep the
// parent's pages pinned; its own pins get rings of their own.
#pragma once

#include <memory>

#include "hypercall/result.h"
#include "pviommu/frame_source.h"

namespace pviommu {

/// Makes the source.  ENOSYS (`raw`: the kernel's errno) where there are no registered
/// buffers with empty slots (Linux before 5.19, or io_uring switched off).
Result<std::unique_ptr<FrameSource>> make_io_uring_source();

}  // namespace pviommu
