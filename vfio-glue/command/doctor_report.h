// SPDX-License-Identifier: LGPL-2.1-or-later
// What `pviommu doctor` says: checks, and the steps of a run.
#pragma once

#include <string>
#include <vector>

#include "hypercall/diagnosis.h"

namespace pviommu::command {

/// An array of {check, state, detail, remedy}, all strings, with a line end at its end.
std::string checks_as_json(const std::vector<Check>& checks);
/// A line a check, remedies below it, the steps numbered behind all, then a summary.
std::string checks_as_text(const std::vector<Check>& checks);

/// 1 when anything is a problem, else 0.
int exit_status_of(const std::vector<Check>& checks);

}  // namespace pviommu::command
