// SPDX-License-Identifier: LGPL-2.1-or-later
// The report of `pviommu doctor`, for people and for programs.
#include "vfio-glue/command/doctor_report.h"

#include <algorithm>

#include "vfio-glue/command/json.h"

namespace pviommu::command {
namespace {

long count(const std::vector<Check>& checks, CheckState state) {
  return std::count_if(checks.begin(), checks.end(), [&](const Check& c) { return c.state == state; });
}

std::string counted(long number, const char* what) {
  return std::to_string(number) + ' ' + what + (number == 1 ? "" : "s");
}

}  // namespace

std::string checks_as_json(const std::vector<Check>& checks) {
  Json array = Json::array();
  for (const Check& check : checks)
    array.push_back({{"check", check.check},
                     {"state", to_string(check.state)},
                     {"detail", check.detail},
                     {"remedy", check.remedy}});
  return array.text() + '\n';
}

std::string checks_as_text(const std::vector<Check>& checks) {
  constexpr int kStateWidth = 8, kCheckWidth = 20;
  std::string text;
  const auto cell = [&](const std::string& word, int width) {
    text += word;
    text.append(static_cast<std::size_t>(std::max(width - static_cast<int>(word.size()), 1)), ' ');
  };
  for (const Check& check : checks) {
    if (check.check == kRunStep) continue;
    cell(to_string(check.state), kStateWidth);
    cell(check.check, kCheckWidth);
    text += check.detail + '\n';
    if (check.remedy.empty()) continue;
    cell("", kStateWidth + kCheckWidth);
    text += "-> " + check.remedy + '\n';
  }
  int step = 0;
  for (const Check& check : checks) {
    if (check.check != kRunStep) continue;
    if (step == 0) text += "\nrun would:\n";
    text += "  " + std::to_string(++step) + ". " + check.detail + '\n';
  }
  return text + '\n' + counted(count(checks, CheckState::problem), "problem") + ", " +
         counted(count(checks, CheckState::warning), "warning") + '\n';
}

int exit_status_of(const std::vector<Check>& checks) { return count(checks, CheckState::problem) != 0 ? 1 : 0; }

}  // namespace pviommu::command
