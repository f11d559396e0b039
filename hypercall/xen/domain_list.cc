// SPDX-License-Identifier: LGPL-2.1-or-later
// The list in steps of one hypercall each, the next one behind the last domain that was seen.
#include "hypercall/xen/domain_list.h"

#include <array>

namespace pviommu::xen {

Result<std::vector<xen_domctl_getdomaininfo>> list_domains(XenCalls& calls) {
  std::vector<xen_domctl_getdomaininfo> found;
  std::array<xen_domctl_getdomaininfo, 64> step;
  for (std::uint32_t next = 0; next < DOMID_FIRST_RESERVED;) {
    const std::size_t count = PVIOMMU_TRY(calls.domains(static_cast<std::uint16_t>(next), step));
    found.insert(found.end(), step.begin(), step.begin() + static_cast<std::ptrdiff_t>(count));
    if (count < step.size()) break;
    next = step.back().domain + 1u;
  }
  return found;
}

}  // namespace pviommu::xen
