// SPDX-License-Identifier: LGPL-2.1-or-later
//   a BAR     |-- mapped ----|== pages of the table: shadow (memfd) ==|---- mapped ----|
//                            ^ rounded to pages outwards
//
// Pending bits that share these pages are hidden with them (hides_pending_bits()).
#include "msi/msix_shadow.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace pviommu::msi {
namespace {

/// The front part of [offset, offset + bytes) that is all inside `hole` or all outside.
BarPiece front_piece(const BarPiece& hole, std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t hole_end = hole.offset + hole.bytes;
  if (offset < hole.offset) return {offset, std::min(bytes, hole.offset - offset), false};
  if (offset < hole_end) return {offset, std::min(bytes, hole_end - offset), true};
  return {offset, bytes, false};
}

}  // namespace

Result<MsixShadow> MsixShadow::create(const MsixCapability& capability, std::uint64_t page_size) {
  const std::uint64_t first = capability.table_offset & ~(page_size - 1);
  const std::uint64_t end =
      (capability.table_offset + capability.table_bytes() + page_size - 1) & ~(page_size - 1);
  const BarPiece covered{first, end - first, true};

  UniqueFd fd(::memfd_create("pviommu-msix-table", MFD_CLOEXEC));
  if (!fd) return Error{errno, "memfd_create"};
  if (::ftruncate(fd.get(), static_cast<off_t>(covered.bytes)) != 0) return Error{errno, "ftruncate"};
  // After reset every vector is masked (PCI Local Bus 3.0, 6.8.2.9); all else is 0.
  for (unsigned i = 0; i < capability.vectors; ++i) {
    const std::uint64_t entry = capability.table_offset - first + i * MsixCapability::kEntrySize;
    const std::uint8_t masked = 1;
    if (::pwrite(fd.get(), &masked, 1, static_cast<off_t>(entry + 12)) != 1) return Error{errno, "pwrite"};
  }
  return MsixShadow(capability, covered, std::move(fd));
}

BarPiece MsixShadow::front(unsigned bar, std::uint64_t offset, std::uint64_t bytes) const {
  if (bar != capability_.table_bar) return {offset, bytes, false};
  return front_piece({capability_.table_offset, capability_.table_bytes(), true}, offset, bytes);
}

std::vector<BarPiece> MsixShadow::pages(unsigned bar, std::uint64_t offset, std::uint64_t bytes) const {
  std::vector<BarPiece> out;
  while (bytes != 0) {
    const BarPiece piece =
        bar == capability_.table_bar ? front_piece(covered_, offset, bytes) : BarPiece{offset, bytes, false};
    out.push_back(piece);
    offset += piece.bytes;
    bytes -= piece.bytes;
  }
  return out;
}

bool MsixShadow::hides_pending_bits() const {
  return capability_.pba_bar == capability_.table_bar &&
         capability_.pba_offset < covered_.offset + covered_.bytes &&
         capability_.pba_offset + capability_.pba_bytes() > covered_.offset;
}

Status MsixShadow::load(std::uint64_t offset, void* to, std::size_t bytes) const {
  const ssize_t done = ::pread(fd_.get(), to, bytes, static_cast<off_t>(offset - covered_.offset));
  if (done == static_cast<ssize_t>(bytes)) return {};
  return Error{done < 0 ? errno : EIO, "pread of the shadow of an MSI-X table"};
}

Status MsixShadow::store(std::uint64_t offset, const void* from, std::size_t bytes) const {
  const ssize_t done = ::pwrite(fd_.get(), from, bytes, static_cast<off_t>(offset - covered_.offset));
  if (done == static_cast<ssize_t>(bytes)) return {};
  return Error{done < 0 ? errno : EIO, "pwrite of the shadow of an MSI-X table"};
}

BarMapping MsixShadow::mapping(std::uint64_t offset) const { return {fd_.get(), offset - covered_.offset}; }

}  // namespace pviommu::msi
