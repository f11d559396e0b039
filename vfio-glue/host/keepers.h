// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the hypervisor below this kernel has a function.  Xen can have it in its quarantine, in a
// program's address space or in a guest; then a driver of the kernel gets nothing out of it.
#pragma once

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// Sets HostRoots::keeper and set_keeper, where they are empty, to ask the module of the hypervisor
/// that sysfs names.  Without a hypervisor, or without its module, all is the host's.
void add_keepers(HostRoots& roots);

/// Before a driver that uses the function: adds the step that takes it out of the hypervisor's
/// quarantine; none where it is the host's.  `roots` has been through add_keepers().  EBUSY: a guest or a
/// program has it.
Status leave_quarantine(const HostRoots& roots, PciAddress function, HostSteps& steps);

}  // namespace pviommu::host
