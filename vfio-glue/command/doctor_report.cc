// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-glue/command/doctor_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace pviommu::command {
namespace {

bool is_state(const std::string& state) {
  return state == "ok" || state == "warning" || state == "problem" || state == "unknown";
}

long count(const std::vector<DoctorCheck>& checks, std::string_view state) {
  return std::count_if(checks.begin(), checks.end(), [&](const DoctorCheck& c) { return c.state == state; });
}

std::string counted(long number, const char* what) {
  return std::to_string(number) + ' ' + what + (number == 1 ? "" : "s");
}

}  // namespace

bool append_checks(std::string_view json, std::vector<DoctorCheck>& checks) {
  const auto array = nlohmann::json::parse(json, nullptr, false);
  if (!array.is_array()) return false;
  std::vector<DoctorCheck> found;
  for (const auto& element : array) {
    const auto text = [&](const char* key) -> std::optional<std::string> {
      if (!element.contains(key) || !element[key].is_string()) return std::nullopt;
      return element[key].get<std::string>();
    };
    const auto check = text("check"), state = text("state"), detail = text("detail"), remedy = text("remedy");
    if (!check || !state || !detail || !remedy || !is_state(*state)) return false;
    found.push_back({*check, *state, *detail, *remedy});
  }
  checks.insert(checks.end(), found.begin(), found.end());
  return true;
}

std::string checks_as_json(const std::vector<DoctorCheck>& checks) {
  auto array = nlohmann::ordered_json::array();
  for (const DoctorCheck& check : checks)
    array.push_back(
        {{"check", check.check}, {"state", check.state}, {"detail", check.detail}, {"remedy", check.remedy}});
  return array.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

std::string checks_as_text(const std::vector<DoctorCheck>& checks) {
  constexpr int kStateWidth = 8, kCheckWidth = 20;
  std::string text;
  const auto cell = [&](const std::string& word, int width) {
    text += word;
    text.append(static_cast<std::size_t>(std::max(width - static_cast<int>(word.size()), 1)), ' ');
  };
  for (const DoctorCheck& check : checks) {
    if (check.check == kDoctorStep) continue;
    cell(check.state, kStateWidth);
    cell(check.check, kCheckWidth);
    text += check.detail + '\n';
    if (check.remedy.empty()) continue;
    cell("", kStateWidth + kCheckWidth);
    text += "-> " + check.remedy + '\n';
  }
  int step = 0;
  for (const DoctorCheck& check : checks) {
    if (check.check != kDoctorStep) continue;
    if (step == 0) text += "\nrun would:\n";
    text += "  " + std::to_string(++step) + ". " + check.detail + '\n';
  }
  return text + '\n' + counted(count(checks, "problem"), "problem") + ", " +
         counted(count(checks, "warning"), "warning") + '\n';
}

int exit_status_of(const std::vector<DoctorCheck>& checks) { return count(checks, "problem") != 0 ? 1 : 0; }

}  // namespace pviommu::command
