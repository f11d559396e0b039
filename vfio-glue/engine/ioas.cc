// SPDX-License-Identifier: LGPL-2.1-or-later
// Areas first, the hypervisor's table second; on the way back the other way round.  Which
// checks come in which order is Linux's io_pagetable.c.
#include "vfio-glue/engine/ioas.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>

namespace pviommu::vfio {
namespace {

constexpr std::uint64_t kEnd = ~std::uint64_t{0};
/// Addresses that are chosen keep the alignment of the memory up to that of a huge page.
constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;

IovaRange range_of(std::uint64_t first, std::uint64_t last) {
  return IovaRange::from_last(Iova(first), Iova(last)).value();
}

}  // namespace

// ---- memory of a file -------------------------------------------------------

Result<std::shared_ptr<FileMemory>> FileMemory::map(int fd, std::uint64_t start, std::uint64_t bytes, bool writable) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Error{errno, "map of a file"};
  const std::uint64_t end = start + bytes;
  if (end < start) return Error{EOVERFLOW, "map of a file"};
  if (bytes == 0 || end > static_cast<std::uint64_t>(st.st_size)) return Error{EINVAL, "map of a file, beyond its end"};
  const std::uint64_t inside = start & (kPageSize - 1);
  void* base = ::mmap(nullptr, bytes + inside, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
                      static_cast<off_t>(start - inside));
  if (base == MAP_FAILED) return Error{errno, "map of a file"};
  return std::make_shared<FileMemory>(base, bytes + inside, Hva(reinterpret_cast<std::uintptr_t>(base) + inside));
}

FileMemory::~FileMemory() { ::munmap(base_, bytes_); }

// ---- addresses --------------------------------------------------------------

std::vector<IovaRange> Ioas::ranges() const {
  std::vector<IovaRange> left{range_of(0, kEnd)};
  for (const IovaRange& reserved : reserved_) left = without(left, reserved);
  return left;
}

bool Ioas::reserved_in(std::uint64_t first, std::uint64_t last) const {
  return std::ranges::any_of(reserved_, [&](const IovaRange& one) { return one.overlaps(range_of(first, last)); });
}

Ioas::Areas::const_iterator Ioas::first_in(std::uint64_t first, std::uint64_t last) const {
  auto at = areas_.upper_bound(first);
  if (at != areas_.begin() && std::prev(at)->second.last >= first) --at;
  return at != areas_.end() && at->first <= last ? at : areas_.end();
}

Status Ioas::allow(std::vector<IovaRange> allowed) {
  for (const IovaRange& one : allowed)
    if (reserved_in(one.first().raw(), one.last().raw())) return Error{EADDRINUSE, "ALLOW_IOVAS"};
  std::ranges::sort(allowed, {}, &IovaRange::first);
  allowed_ = std::move(allowed);
  return {};
}

Status Ioas::check(std::uint64_t iova, std::uint64_t length) const {
  if (iova & (alignment_ - 1)) return Error{EINVAL, "IOAS map: alignment"};
  const std::uint64_t last = iova + (length - 1);
  if (last < iova) return Error{EOVERFLOW, "IOAS map: wraps"};
  if (reserved_in(iova, last)) return Error{EINVAL, "IOAS map: outside the iova ranges"};
  if (first_in(iova, last) != areas_.end()) return Error{EEXIST, "IOAS map"};
  return {};
}

/// The lowest place in `allowed`; nothing: there is none.
std::optional<std::uint64_t> Ioas::room(const IovaRange& allowed, std::uint64_t align, std::uint64_t offset,
                                        std::uint64_t length) const {
  std::uint64_t at = allowed.first().raw();
  for (;;) {
    const std::uint64_t up = at + (align - 1);
    if (up < at) return std::nullopt;
    at = (up & ~(align - 1)) | offset;
    if (at >= allowed.last().raw() || allowed.last().raw() - at < length - 1) return std::nullopt;
    const std::uint64_t last = at + (length - 1);
    std::uint64_t behind = 0;
    for (const IovaRange& reserved : reserved_)
      if (reserved.overlaps(range_of(at, last))) behind = reserved.last().raw();
    if (const auto area = first_in(at, last); area != areas_.end()) behind = std::max(behind, area->second.last);
    if (behind == 0) return at;
    if (behind == kEnd) return std::nullopt;
    at = behind + 1;
  }
}

/// As iopt_alloc_iova(): never 0, and aligned as the memory is, so that large entries can be used.
Result<std::uint64_t> Ioas::choose(Hva hva, std::uint64_t length) const {
  if (length == 0 || length >= kEnd / 2) return Error{EOVERFLOW, "IOAS map: length"};
  const std::uint64_t offset = hva.raw() & (kPageSize - 1);
  std::uint64_t align = std::bit_ceil(length);
  if (hva.raw() != 0) align = std::min(align, hva.raw() & -hva.raw());
  align = std::min(align, kHugePage);
  if (align < alignment_) return Error{EINVAL, "IOAS map: alignment of the memory"};
  const std::vector<IovaRange> everywhere{range_of(kPageSize, kEnd - kPageSize)};
  for (const IovaRange& allowed : allowed_.empty() ? everywhere : allowed_) {
    const std::uint64_t first = std::max(allowed.first().raw(), kPageSize);
    const std::uint64_t last = std::min(allowed.last().raw(), kEnd - kPageSize);
    if (first > last) continue;
    if (const auto found = room(range_of(first, last), align, offset, length)) return *found;
  }
  return Error{ENOSPC, "IOAS map: no room"};
}

// ---- map and unmap ----------------------------------------------------------

Result<std::uint64_t> Ioas::map(std::span<const MemoryPiece> pieces, std::optional<std::uint64_t> iova, Access access) {
  std::uint64_t length = 0;
  for (const MemoryPiece& piece : pieces) length += piece.bytes;
  if (length == 0 || (length & (alignment_ - 1))) return Error{EINVAL, "IOAS map: length"};
  if (iova)
    PVIOMMU_TRY(check(*iova, length));
  else
    iova = PVIOMMU_TRY(choose(pieces.front().hva, length));
  for (const MemoryPiece& piece : pieces) {
    if (allows(access, Access::write) && !piece.writable) return Error{EPERM, "IOAS map: not for writing"};
    if (piece.hva.raw() & (kPageSize - 1) & (alignment_ - 1)) return Error{EINVAL, "IOAS map: alignment of the memory"};
  }

  std::uint64_t at = *iova;
  Status status;
  for (const MemoryPiece& piece : pieces) {
    if (space_) status = space_->map(Iova(at), piece.hva, piece.bytes, access);
    if (!status) break;
    areas_.emplace(at, Area{at + (piece.bytes - 1), piece, access});
    at += piece.bytes;
  }
  if (status) return *iova;
  if (at != *iova) {
    // What cannot be taken back stays an area, as devices may reach it.
    const auto begin = areas_.find(*iova);
    if (const auto undone = remove(begin, areas_.lower_bound(at)); !undone) return undone.error();
  }
  return status.error();
}

Result<std::vector<MemoryPiece>> Ioas::pieces(std::uint64_t iova, std::uint64_t length) const {
  if (length == 0) return Error{EINVAL, "IOAS copy: length"};
  const std::uint64_t last = iova + (length - 1);
  if (last < iova) return Error{EOVERFLOW, "IOAS copy: wraps"};
  std::vector<MemoryPiece> found;
  for (std::uint64_t at = iova;;) {
    const auto area = first_in(at, at);
    if (area == areas_.end()) return Error{ENOENT, "IOAS copy"};
    const std::uint64_t until = std::min(last, area->second.last);
    MemoryPiece piece = area->second.memory;
    piece.hva = piece.hva + (at - area->first);
    piece.bytes = until - at + 1;
    found.push_back(std::move(piece));
    if (until == last) return found;
    at = until + 1;
  }
}

/// Takes areas that follow each other away, all or none.
Result<std::uint64_t> Ioas::remove(Areas::const_iterator from, Areas::const_iterator to) {
  if (from == to) return std::uint64_t{0};
  std::uint64_t bytes = 0;
  for (auto at = from; at != to; ++at) bytes += at->second.last - at->first + 1;
  if (space_) {
    const std::uint64_t first = from->first, last = std::prev(to)->second.last;
    PVIOMMU_TRY(space_->unmap(Iova(first), last - first + 1));
  }
  areas_.erase(from, to);
  return bytes;
}

Result<std::uint64_t> Ioas::unmap(std::uint64_t iova, std::uint64_t length) {
  if (length == 0) return Error{EINVAL, "IOAS unmap: length"};
  const std::uint64_t last = iova + (length - 1);
  if (last < iova) return Error{EOVERFLOW, "IOAS unmap: wraps"};
  const auto from = first_in(iova, last);
  if (from == areas_.end()) return std::uint64_t{0};
  const auto to = areas_.upper_bound(last);
  if (from->first < iova || std::prev(to)->second.last > last) return Error{ENOENT, "IOAS unmap: cuts a mapping"};
  return remove(from, to);
}

Result<std::uint64_t> Ioas::unmap_all() { return remove(areas_.begin(), areas_.end()); }

// ---- hardware page tables ---------------------------------------------------

bool Ioas::aligned(std::uint64_t alignment) const {
  const std::uint64_t mask = alignment - 1;
  return std::ranges::all_of(areas_, [&](const auto& one) {
    return ((one.first | (one.second.last + 1) | (one.second.memory.hva.raw() & (kPageSize - 1))) & mask) == 0;
  });
}

Status Ioas::set_large_pages(bool on) {
  if (on == large_pages_) return {};
  if (!on) {
    if (space_ && !areas_.empty()) return Error{EINVAL, "HUGE_PAGES: something is mapped"};
    if (!aligned(kPageSize)) return Error{EADDRINUSE, "HUGE_PAGES: alignment of what is mapped"};
    alignment_ = std::max(alignment_, kPageSize);
  } else if (!space_) {
    alignment_ = 1;
  }
  large_pages_ = on;
  return {};
}

Status Ioas::fill(AddressSpace& space) const {
  for (const auto& [first, area] : areas_)
    PVIOMMU_TRY(space.map(Iova(first), area.memory.hva, area.last - first + 1, area.access));
  return {};
}

Status Ioas::add_table() {
  if (space_) {
    ++tables_;
    return {};
  }
  AddressSpaceConfig config;
  config.max_mappings = ~std::uint32_t{0};  // nothing but memory limits an IOAS
  config.strict = config_.strict;
  config.tag = "pviommu";
  auto space = PVIOMMU_TRY(AddressSpace::create(driver_, spaces_, frames_, config));
  const Capabilities& limits = space->capabilities();
  const std::uint64_t alignment = std::max(limits.page_sizes & -limits.page_sizes, alignment_);
  if (!aligned(alignment)) return Error{EADDRINUSE, "attach to an IOAS: alignment of what is mapped"};

  std::vector<IovaRange> reserved{range_of(0, kEnd)};
  for (const IovaRange& range : limits.iova_ranges) reserved = without(reserved, range);
  for (const IovaRange& one : reserved) {
    const bool wanted = std::ranges::any_of(allowed_, [&](const IovaRange& allowed) { return allowed.overlaps(one); });
    if (wanted || first_in(one.first().raw(), one.last().raw()) != areas_.end())
      return Error{EADDRINUSE, "attach to an IOAS: what is mapped or allowed"};
  }
  PVIOMMU_TRY(fill(*space));  // undone with the space
  space_ = std::move(space);
  reserved_ = std::move(reserved);
  alignment_ = alignment;
  tables_ = 1;
  return {};
}

void Ioas::remove_table() {
  if (--tables_ != 0) return;
  space_.reset();
  reserved_.clear();
  alignment_ = large_pages_ ? 1 : kPageSize;
}

}  // namespace pviommu::vfio
