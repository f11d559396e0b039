// SPDX-License-Identifier: LGPL-2.1-or-later
// The machine under Xen: what is asked once, when the backend is opened, and what is
// missing for it to work.
#pragma once

#include <vector>

#include "hypercall/capabilities.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

struct Host {
  Mfn max_mfn{};                        ///< highest frame of RAM
  unsigned iommu_bits = 0;              ///< width of an I/O virtual address
  bool iommu_bits_known = false;        ///< from the firmware's tables, else a safe guess
  std::vector<ReservedRange> reserved;  ///< MSI window, RMRRs; ascending
};

/// Devices of dom0 whose DMA the IOMMU cannot tell from this one's: they are
/// behind the same conventional PCI bridge (XEN_DOMCTL_get_device_group).
Result<std::vector<Sbdf>> same_requester(XenCalls& calls, Sbdf sbdf);

/// XEN_SYSCTL_physinfo.
Result<xen_sysctl_physinfo> physical_info(XenCalls& calls);

/// ENODEV where there is no Xen below; the sentence says so.
Status on_xen();

/// Looks at Xen, dom0 and the IOMMU.  An error's sentence says what is missing and what
/// to do about it.
Result<Host> examine_host(XenCalls& calls);

}  // namespace pviommu::xen
