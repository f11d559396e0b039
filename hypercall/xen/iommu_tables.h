// SPDX-License-Identifier: LGPL-2.1-or-later
// What the firmware's tables say about the IOMMU.
#pragma once

#include <string>

namespace pviommu::xen {

/// The width that the DMAR or IVRS table in `folder` states; 0: no such table.
unsigned iommu_bits_of_tables(const std::string& folder = "/sys/firmware/acpi/tables");

}  // namespace pviommu::xen
