// SPDX-License-Identifier: LGPL-2.1-or-later
// BARs that a dead program has left in the physical map of a guest.
#pragma once

#include "hypercall/xen/ledger.h"

namespace pviommu::xen {

/// Out of the guest's physical map.  Of a guest that has ended: nothing to do.
Status unmap_ledger_bar(XenCalls& calls, LedgerBar& bar);

}  // namespace pviommu::xen
