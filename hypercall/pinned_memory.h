// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory of this process that is held for DMA.
//
// Made by a frame source (pviommu/frame_source.h), looked at by a hypervisor
// backend: Xen and PAPR find the frames behind it, the model reaches its bytes
// through it.  One PinnedMemory is at most 1 GiB, the most io_uring registers
// in one buffer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hypercall/range.h"

namespace pviommu {

class PinnedMemory {
 public:
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;

  explicit PinnedMemory(HvaRange range) : range_(range) {}
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  virtual ~PinnedMemory() = default;  ///< releases the pages

  /// Where the pages were mapped when they were pinned, page aligned.  The
  /// program may have unmapped or replaced that mapping since: the addresses
  /// are a name, not something to load from.
  const HvaRange& range() const { return range_; }
  std::uint64_t pages() const { return range_.size() >> kPageShift; }

  /// True when the pages themselves are held, so that what is reached is what
  /// was there at pin time.  False for the copying fallback, which follows the
  /// address.
  virtual bool holds_pages() const = 0;

  /// A descriptor whose open file holds the pages: who has a copy of it keeps
  /// them, whatever becomes of this process, until they are released here.  The
  /// same for many; open as long as any memory it holds.  -1: there is none.
  virtual int holder_fd() const = 0;

  /// Copies between the pinned pages (at byte `offset` into them) and a file
  /// (at `file_offset` of `fd`), the way a bus master would: without going
  /// through the program's page tables.  EFAULT when the pages cannot be
  /// reached any more, EIO for a short transfer.  Thread-safe.
  virtual Status from_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) = 0;
  virtual Status to_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) = 0;

  /// The hypervisor's own note between its frames_of() and forget_frames(), so
  /// that it finds its record without a search; 0: not known to it.
  std::uint64_t hypervisor_note = 0;

 private:
  HvaRange range_;
};

}  // namespace pviommu
