// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirt's description of a node device ("Node devices XML format" of its manual).
#pragma once

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// The PCI function that `xml` describes.  EINVAL: it describes none.
Result<HostDevice> parse_node_device(std::string_view xml);

}  // namespace pviommu::host
