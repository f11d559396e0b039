// SPDX-License-Identifier: LGPL-2.1-or-later
// How much of a run one XEN_DOMCTL_memory_mapping does (mapping.h): 64 entries.
//
//   dfn, mfn aligned alike to 1 GiB, 2 MiB, or 4 KiB --> one entry of that size
#pragma once

#include <cstdint>

#include "hypercall/strong.h"

namespace pviommu::xen {

/// Pages from the front of a run that make up at most 64 entries of a page table.
inline std::uint64_t piece_pages(Dfn dfn, Mfn mfn, std::uint64_t pages) {
  constexpr unsigned kEntriesPerCall = 64;
  constexpr std::uint64_t kLargePages[] = {std::uint64_t{1} << 18, std::uint64_t{1} << 9};  // 1 GiB, 2 MiB
  std::uint64_t taken = 0;
  for (unsigned entries = 0; entries < kEntriesPerCall && taken < pages; ++entries) {
    std::uint64_t step = 1;
    for (const std::uint64_t large : kLargePages) {
      if (((dfn.raw() + taken) | (mfn.raw() + taken)) % large == 0 && pages - taken >= large) {
        step = large;
        break;
      }
    }
    taken += step;
  }
  return taken;
}

}  // namespace pviommu::xen
