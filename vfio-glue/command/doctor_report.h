// SPDX-License-Identifier: LGPL-2.1-or-later
// What `pviommu doctor` says: checks, and the steps of a run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pviommu::command {

/// As in hypercall/module.h, diagnose().
struct DoctorCheck {
  std::string check;
  std::string state;  ///< ok, warning, problem or unknown
  std::string detail;
  std::string remedy;  ///< empty: nothing to do
};

/// `check` of the steps that a run would take.
inline constexpr std::string_view kDoctorStep = "run would";

/// Appends the array `json` to `checks`; false: it is none, and nothing was appended.
bool append_checks(std::string_view json, std::vector<DoctorCheck>& checks);

std::string checks_as_json(const std::vector<DoctorCheck>& checks);
/// A line a check, remedies below it, the steps numbered behind all, then a summary.
std::string checks_as_text(const std::vector<DoctorCheck>& checks);

/// 1 when anything is a problem, else 0.
int exit_status_of(const std::vector<DoctorCheck>& checks);

}  // namespace pviommu::command
