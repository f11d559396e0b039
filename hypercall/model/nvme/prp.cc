// SPDX-License-Identifier: LGPL-2.1-or-later
// Walking PRP lists.  They are the program's, so a list that is too long, unaligned or not
// reachable ends the walk with a status code and never with an endless one.
#include "hypercall/model/nvme/prp.h"

#include <algorithm>

namespace pviommu::model::nvme {

void PrpWalker::add(std::uint64_t iova, std::size_t bytes) {
  // Address 0 is no neighbour of the last page there is.
  if (!extents_.empty() && iova != 0 && extents_.back().iova.raw() + extents_.back().bytes == iova) {
    extents_.back().bytes += bytes;
  } else {
    extents_.push_back({Iova(iova), bytes});
  }
}

StatusCode PrpWalker::walk(std::uint64_t prp1, std::uint64_t prp2, std::size_t bytes, unsigned page_shift) {
  const std::uint64_t page = std::uint64_t{1} << page_shift;
  extents_.clear();
  if (prp1 & 3) return StatusCode::invalid_prp_offset;
  const auto first = std::min<std::uint64_t>(bytes, page - (prp1 & (page - 1)));
  add(prp1, first);
  bytes -= first;
  if (bytes == 0) return StatusCode::success;
  if (bytes > page) return walk_lists(prp2, bytes, page);
  if (prp2 & (page - 1)) return StatusCode::invalid_prp_offset;
  add(prp2, bytes);
  return StatusCode::success;
}

// Every list after the first is a whole page of at least 512 entries, so the
// number of steps is bounded by `bytes`, whatever the lists hold.
StatusCode PrpWalker::walk_lists(std::uint64_t list, std::size_t bytes, std::uint64_t page) {
  if (list & 7) return StatusCode::invalid_prp_offset;
  for (;;) {
    const std::size_t slots = (page - (list & (page - 1))) / sizeof(std::uint64_t);
    const std::size_t needed = (bytes + page - 1) / page;
    const std::size_t count = std::min(slots, needed);
    list_.resize(count);
    if (!read_(Iova(list), std::as_writable_bytes(std::span(list_)))) return StatusCode::data_transfer_error;
    const std::size_t data = needed > slots ? count - 1 : count;
    for (std::size_t i = 0; i < data; ++i) {
      if (list_[i] & (page - 1)) return StatusCode::invalid_prp_offset;
      const auto piece = std::min<std::size_t>(bytes, page);
      add(list_[i], piece);
      bytes -= piece;
    }
    if (needed <= slots) return StatusCode::success;
    list = list_.back();
    if (list & (page - 1)) return StatusCode::invalid_prp_offset;
  }
}

}  // namespace pviommu::model::nvme
