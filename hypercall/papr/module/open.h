// SPDX-License-Identifier: LGPL-2.1-or-later
// How the module "papr" opens a hypervisor.
#pragma once

#include <memory>
#include <string_view>

#include "hypercall/hypervisor.h"

namespace pviommu::papr {

/// Over /dev/pviommu-papr.  `conf`: "key=value,..."; via=module (or auto), sysfs=FOLDER,
/// device=FILE.  Takes no device yet.  Errors have a sentence.
Result<std::unique_ptr<Hypervisor>> open_over_module(std::string_view conf);

}  // namespace pviommu::papr
