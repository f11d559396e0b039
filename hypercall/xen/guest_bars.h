// SPDX-License-Identifier: LGPL-2.1-or-later
// BARs that a dead program has left in the physical map of a guest.
#pragma once

#include "hypercall/xen/ledger.h"

namespace pviommu::xen {

/// Takes the piece of a BAR out of the guest's physical map, and clears its note.  Nothing
/// is left to do when the guest has ended.  After an error the note stays.
Status unmap_ledger_bar(XenCalls& calls, LedgerBar& bar);

}  // namespace pviommu::xen
