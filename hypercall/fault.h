// SPDX-License-Identifier: LGPL-2.1-or-later
// A device's access that the hypervisor refused.
//
// Backends count each with count_fault() (statistics.h), which also keeps the
// latest for the report.
#pragma once

#include <cstdint>

#include "hypercall/range.h"
#include "hypercall/strong.h"

namespace pviommu {

enum class FaultReason : std::uint8_t {
  not_mapped,     ///< no entry at the address
  not_permitted,  ///< entry without the right
  not_attached,   ///< device in no space, or bus mastering off
  bad_message,    ///< write to the MSI window that no bound vector matches
  stale_frame,    ///< entry onto a frame that was given back: a bug of ours
  unreachable,    ///< frame could not be accessed (copying frame source: memory is gone)
};
const char* to_string(FaultReason reason);

struct Fault {
  Sbdf sbdf;
  Iova iova;
  Access access = Access::none;
  FaultReason reason = FaultReason::not_mapped;
};

}  // namespace pviommu
