// SPDX-License-Identifier: LGPL-2.1-or-later
// How much of a run one XEN_DOMCTL_memory_mapping does (mapping.h): 64 entries.
//
//   dfn, mfn aligned alike to 1 GiB, 2 MiB, or 4 KiB --> one entry of that size
#pragma once

#include <cstdint>

#include "hypercall/table_entries.h"

namespace pviommu::xen {

/// Pages from the front of a run that make up at most 64 entries of a page table.
inline std::uint64_t piece_pages(Dfn dfn, Mfn mfn, std::uint64_t pages) {
  constexpr std::uint64_t kPageSizes = kPageSize | std::uint64_t{1} << 21 | std::uint64_t{1} << 30;
  std::uint64_t entries = 64;  // MAP_MMIO_MAX_ITER
  return take_entries(dfn, mfn, pages, kPageSizes, entries);
}

}  // namespace pviommu::xen
