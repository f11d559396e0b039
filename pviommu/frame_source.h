// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the frames behind a program's memory come from.
//
//   FrameSource::pin(range) --> PinnedMemory, at most 1 GiB --> the hypervisor's frames
//
//   io_uring_pins.h   holds the pages
//   copying_pins.h    follows the address
//   named_memory.h    leaves pinning to the hypervisor
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "hypercall/pinned_memory.h"
#include "hypercall/result.h"

namespace pviommu {

/// Pins pages of this process.  Thread-safe.
class FrameSource {
 public:
  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;
  virtual ~FrameSource() = default;  ///< after every PinnedMemory it made

  /// "io_uring", "copy", ...
  virtual std::string_view name() const = 0;
  /// False when PinnedMemory::holds_pages() is false for what it makes.
  virtual bool holds_pages() const = 0;

  /// Pins `range` (page aligned, at most PinnedMemory::kMaxBytes) for a device
  /// with `access`.  EFAULT: memory is not there or lacks the right (write
  /// access is only needed for Access::write).  ENOMEM: RLIMIT_MEMLOCK or out
  /// of memory.  ENOSPC: no slot left.
  virtual Result<std::unique_ptr<PinnedMemory>> pin(HvaRange range, Access access) = 0;

  /// Counts `pages` (4 KiB) of a mapping against RLIMIT_MEMLOCK, before the first of them
  /// is pinned.  ENOMEM: they would go beyond it; nothing counted.  A source that leaves
  /// pinning to the hypervisor leaves counting to it as well.
  virtual Status count(std::uint64_t pages) = 0;
  /// After the mapping is gone; as many as were counted for it.
  virtual void uncount(std::uint64_t pages) noexcept = 0;
};

struct ChosenFrames {
  std::unique_ptr<FrameSource> source;  ///< never null
  std::string notice;  ///< one line for people: pages are not really held, and why; empty: they are
};

/// `kind` is "io_uring", "copy" or "auto": io_uring where the kernel has
/// registered buffers, else the copying source.  Errors have a sentence.  ENOSYS:
/// io_uring was asked for, and this kernel does not have it.  EINVAL: there is no such kind.
Result<ChosenFrames> make_frame_source(std::string_view kind);

}  // namespace pviommu
