// SPDX-License-Identifier: LGPL-2.1-or-later
// Rows of a report: what `pviommu doctor` found out, and what `pviommu reap` put
// back.  A module hands them over one by one (hypercall/module.h):
//
//   module                               library                     command
//   Check --hand_over()--> pviommu_check --diagnose(), backend.h--> Check
//   Reaped --hand_over()-> pviommu_reaped --reap(), backend.h-----> Reaped
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hypercall/module.h"

namespace pviommu {

enum class CheckState : std::uint8_t {
  ok = PVIOMMU_CHECK_OK,
  warning = PVIOMMU_CHECK_WARNING,
  problem = PVIOMMU_CHECK_PROBLEM,
  unknown = PVIOMMU_CHECK_UNKNOWN,
};

struct Check {
  std::string check;  ///< what was looked at
  CheckState state = CheckState::ok;
  std::string detail;  ///< what was found
  std::string remedy;  ///< what to do; empty when there is nothing to do
};

/// `check` of the steps that a run would take, in order.
inline constexpr const char* kRunStep = PVIOMMU_CHECK_RUN_STEP;

enum class ReapedState : std::uint8_t {
  put_back = PVIOMMU_REAPED_PUT_BACK,
  left = PVIOMMU_REAPED_LEFT,  ///< by a dry run, or because a guardian is at work on it
  problem = PVIOMMU_REAPED_PROBLEM,
};

struct Reaped {
  std::string what;
  ReapedState state = ReapedState::put_back;
};

/// "ok", "warning", "problem", "unknown".
const char* to_string(CheckState state);
/// "put back", "left", "problem".
const char* to_string(ReapedState state);

/// For pviommu_module.diagnose: `row` is called once for each check.
inline void hand_over(const std::vector<Check>& checks, void (*row)(void*, const pviommu_check*), void* to) {
  for (const Check& each : checks) {
    const pviommu_check plain = {each.check.c_str(), static_cast<std::uint32_t>(each.state), each.detail.c_str(),
                                 each.remedy.c_str()};
    row(to, &plain);
  }
}

/// For pviommu_module.reap: `row` is called once for each of `lines`, all in `state`.
inline void hand_over(const std::vector<std::string>& lines, ReapedState state,
                      void (*row)(void*, const pviommu_reaped*), void* to) {
  for (const std::string& line : lines) {
    const pviommu_reaped plain = {line.c_str(), static_cast<std::uint32_t>(state)};
    row(to, &plain);
  }
}

}  // namespace pviommu
