// SPDX-License-Identifier: LGPL-2.1-or-later
// The built-in IOMMU driver: domains and runs become calls of Spaces.
#pragma once

#include "hypercall/capabilities.h"
#include "hypercall/spaces.h"
#include "pviommu/iommu_driver.h"

namespace pviommu {

/// `spaces` and the `capabilities` of their hypervisor outlive the driver.
std::unique_ptr<IommuDriver> make_hypercall_iommu(Spaces& spaces, const Capabilities& capabilities);

}  // namespace pviommu
