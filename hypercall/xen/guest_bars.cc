// SPDX-License-Identifier: LGPL-2.1-or-later
// Used by both sides: the program takes its own BARs out, the guardian those of a program
// that has ended.  In a file of its own because the guardian links no more than it needs.
#include "hypercall/xen/guest_bars.h"

#include <cerrno>
#include <cstring>

#include "hypercall/xen/mapping_piece.h"

namespace pviommu::xen {

Status unmap_ledger_bar(XenCalls& calls, LedgerBar& bar) {
  const std::uint32_t domid = bar.domid.load(std::memory_order_acquire);
  for (std::uint64_t done = 0; domid != 0 && done < bar.pages;) {
    const Dfn dfn = Dfn(bar.dfn) + done;
    const Mfn mfn = Mfn(bar.mfn) + done;
    const std::uint64_t pages = piece_pages(dfn, mfn, bar.pages - done);
    xen_domctl op;
    std::memset(&op, 0, sizeof op);
    op.cmd = XEN_DOMCTL_memory_mapping;
    op.domain = static_cast<std::uint16_t>(domid - 1);
    op.u.memory_mapping.first_gfn = dfn.raw();
    op.u.memory_mapping.first_mfn = mfn.raw();
    op.u.memory_mapping.nr_mfns = pages;
    op.u.memory_mapping.add_mapping = DPCI_REMOVE_MAPPING;
    const auto removed = calls.domctl(op, "XEN_DOMCTL_memory_mapping (remove)");
    if (!removed && removed.error().code == ESRCH && removed.error().raw != 0) break;  // with the guest
    if (!removed) return removed.error();
    done += *removed > 0 ? static_cast<std::uint64_t>(*removed) : pages;
  }
  bar.domid.store(0, std::memory_order_release);
  return {};
}

}  // namespace pviommu::xen
