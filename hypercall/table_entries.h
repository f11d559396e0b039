// SPDX-License-Identifier: LGPL-2.1-or-later
// How many entries of a page table a run of frames takes.
//
//   dfn    |4K|4K|    2M    |    2M    |4K|      an entry is of the largest size that exists,
//   mfn    |4K|4K|    2M    |    2M    |4K|      fits, and to which both sides are aligned
//
// Hypervisors limit a call in entries, so whoever cuts a batch counts them: the built-in
// IOMMU driver by Capabilities::max_entries_per_call, Xen's backend for what one member of
// a multicall does.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "hypercall/strong.h"

namespace pviommu {

/// Pages (4 KiB) of the first entry of a run of `pages` > 0; `page_sizes` as in Capabilities.
inline std::uint64_t pages_of_entry(Dfn dfn, Mfn mfn, std::uint64_t pages, std::uint64_t page_sizes) {
  const std::uint64_t both = dfn.raw() | mfn.raw();
  const std::uint64_t alignment = both & (0 - both);  // 0: any
  const std::uint64_t most = std::bit_floor(both == 0 ? pages : std::min(pages, alignment));
  const std::uint64_t sizes = page_sizes >> kPageShift & (most * 2 - 1);
  return std::max<std::uint64_t>(std::bit_floor(sizes), 1);
}

/// Pages from the front of a run of `pages` that make up at most `entries` entries, which are
/// taken off `entries`.
inline std::uint64_t take_entries(Dfn dfn, Mfn mfn, std::uint64_t pages, std::uint64_t page_sizes,
                                  std::uint64_t& entries) {
  std::uint64_t taken = 0;
  for (; taken < pages && entries != 0; --entries)
    taken += pages_of_entry(dfn + taken, mfn + taken, pages - taken, page_sizes);
  return taken;
}

}  // namespace pviommu
