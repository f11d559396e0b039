// SPDX-License-Identifier: LGPL-2.1-or-later
// The built-in IOMMU driver: domains and runs become calls of a Hypervisor.
#pragma once

#include "pviommu/iommu_driver.h"

namespace pviommu {

/// `hypervisor` outlives the driver.
std::unique_ptr<IommuDriver> make_hypercall_iommu(Hypervisor& hypervisor);

}  // namespace pviommu
