// SPDX-License-Identifier: LGPL-2.1-or-later
// What a run did, for people and for programs.
#pragma once

#include <string>

#include "hypercall/statistics.h"
#include "vfio-glue/command/json.h"

namespace pviommu::vfio {

/// A table, with a line end at its end.  Rows that are all zero are left out.
std::string stats_table(const Statistics& statistics);
/// All counters.  Times are nanoseconds; 0 unless Statistics::timed.
command::Json stats_json(const Statistics& statistics);

}  // namespace pviommu::vfio
