// SPDX-License-Identifier: LGPL-2.1-or-later
// An I/O address space of iommufd: what a program wants mapped where, with or without devices.
//
//   areas      first -> last, memory         what was mapped; stays when all devices are gone
//      |
//   AddressSpace                             while a hardware page table exists: the same, pinned
//                                            and in the hypervisor
//
// The kernel fills a table for each hardware page table of an IOAS, all with the same
// mappings.  Here they share one, which no device can tell from several.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "pviommu/address_space.h"
#include "vfio-glue/engine/engine_config.h"

namespace pviommu::vfio {

/// Memory of a file, mapped here for as long as something refers to it.
class FileMemory {
 public:
  /// `bytes` from `start` on.  EINVAL: beyond the file; else what mmap() says.
  static Result<std::shared_ptr<FileMemory>> map(int fd, std::uint64_t start, std::uint64_t bytes, bool writable);
  FileMemory(void* base, std::size_t bytes, Hva first) : base_(base), bytes_(bytes), first_(first) {}
  FileMemory(const FileMemory&) = delete;
  FileMemory& operator=(const FileMemory&) = delete;
  ~FileMemory();
  Hva first() const { return first_; }

 private:
  void* base_;
  std::size_t bytes_;
  Hva first_;
};

/// Memory that follows itself at the addresses of one piece.
struct MemoryPiece {
  Hva hva;
  std::uint64_t bytes = 0;
  bool writable = false;             ///< may be mapped for writing
  std::shared_ptr<FileMemory> file{};  ///< whose memory it is, else the program's
};

/// Not thread-safe: the lock of its iommufd is held.  Errors are those of Linux's io_pagetable.c.
class Ioas {
 public:
  /// The first three outlive it.
  Ioas(IommuDriver& driver, Spaces& spaces, FrameSource& frames, const EngineConfig& config)
      : driver_(driver), spaces_(spaces), frames_(frames), config_(config) {}
  /// All devices are out of it.
  ~Ioas() = default;

  /// What starts and lengths of mappings are multiples of.
  std::uint64_t alignment() const { return alignment_; }
  /// Where something can be mapped, ascending.
  std::vector<IovaRange> ranges() const;
  /// In which of these addresses are chosen; none: in all.  EADDRINUSE: not all can be had.
  Status allow(std::vector<IovaRange> allowed);

  /// Maps the pieces one behind the other, all or nothing, at `iova`, or where there is room;
  /// returns where.  EINVAL, EOVERFLOW, EEXIST, ENOSPC, EPERM, then as AddressSpace::map().
  Result<std::uint64_t> map(std::span<const MemoryPiece> pieces, std::optional<std::uint64_t> iova, Access access);
  /// What is mapped from `iova` on.  ENOENT: not all of it is.
  Result<std::vector<MemoryPiece>> pieces(std::uint64_t iova, std::uint64_t length) const;
  /// Bytes unmapped, which may be none.  ENOENT: the range cuts a mapping; nothing is done then.
  Result<std::uint64_t> unmap(std::uint64_t iova, std::uint64_t length);
  Result<std::uint64_t> unmap_all();

  bool large_pages() const { return large_pages_; }
  /// EINVAL: without them, while something is mapped for devices.
  Status set_large_pages(bool on);

  /// A hardware page table comes: with the first one all that is mapped is pinned and made
  /// known to the hypervisor.  EADDRINUSE: something is mapped, or allowed, where the hypervisor
  /// has nothing.
  Status add_table();
  /// One goes; with the last one only the areas are left.
  void remove_table();
  /// Null without a hardware page table.
  AddressSpace* space() const { return space_.get(); }

 private:
  struct Area {
    std::uint64_t last = 0;
    MemoryPiece memory;
    Access access = Access::none;
  };
  using Areas = std::map<std::uint64_t, Area>;

  Areas::const_iterator first_in(std::uint64_t first, std::uint64_t last) const;
  bool reserved_in(std::uint64_t first, std::uint64_t last) const;
  Status check(std::uint64_t iova, std::uint64_t length) const;
  Result<std::uint64_t> choose(Hva hva, std::uint64_t length) const;
  std::optional<std::uint64_t> room(const IovaRange& allowed, std::uint64_t align, std::uint64_t offset,
                                    std::uint64_t length) const;
  bool aligned(std::uint64_t alignment) const;
  Status fill(AddressSpace& space) const;
  Result<std::uint64_t> remove(Areas::const_iterator from, Areas::const_iterator to);

  IommuDriver& driver_;
  Spaces& spaces_;
  FrameSource& frames_;
  const EngineConfig config_;
  Areas areas_;
  std::vector<IovaRange> allowed_;   ///< ascending
  std::vector<IovaRange> reserved_;  ///< ascending; what the hypervisor does not have
  std::uint64_t alignment_ = 1;
  bool large_pages_ = true;
  unsigned tables_ = 0;
  std::unique_ptr<AddressSpace> space_;
};

}  // namespace pviommu::vfio
