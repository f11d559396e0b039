// SPDX-License-Identifier: LGPL-2.1-or-later
// Which drivers of this kernel are made for a function.
#pragma once

#include <string>
#include <vector>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// Names of the drivers that are there now and whose table of devices has the function (by its
/// modalias and HostRoots::modules), without those that only keep devices for others.  Empty also
/// where it cannot be told.
std::vector<std::string> matching_drivers(const HostRoots& roots, PciAddress address);

}  // namespace pviommu::host
