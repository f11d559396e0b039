// SPDX-License-Identifier: LGPL-2.1-or-later
// Where instructions cannot be decoded.
#include "vfio-glue/preload/traps.h"

namespace pviommu::vfio {

bool can_trap() { return false; }

bool start_trapping(FrontEnd&) { return false; }

}  // namespace pviommu::vfio
