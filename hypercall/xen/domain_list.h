// SPDX-License-Identifier: LGPL-2.1-or-later
// The domains of this machine, by the call that lists them (XEN_SYSCTL_getdomaininfolist).
//
// Asking for one domain after the other does not find them: from Xen 4.18 on the answer to a
// number that no domain has is an error, not the next domain, and numbers have holes.
#pragma once

#include <vector>

#include "hypercall/result.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// All domains, dying ones too, by ascending number.  One that is made or ends meanwhile may be
/// in it or not; the others are.  Thread-safe.  Errors are Xen's own.
Result<std::vector<xen_domctl_getdomaininfo>> list_domains(XenCalls& calls);

}  // namespace pviommu::xen
