// SPDX-License-Identifier: LGPL-2.1-or-later
// The frame source of hypervisors that pin by themselves (Capabilities::pins_memory).
#pragma once

#include <memory>

#include "pviommu/frame_source.h"

namespace pviommu {

/// The source's pin() holds nothing: it only names the memory for the hypervisor's
/// frames_of(), whose errors are then those of pinning.  The bytes cannot be reached
/// through it: from_file() and to_file() answer EOPNOTSUPP.
std::unique_ptr<FrameSource> make_naming_source();

}  // namespace pviommu
