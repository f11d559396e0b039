// SPDX-License-Identifier: LGPL-2.1-or-later
// Reads an EngineConfig from the environment.
#include "vfio-glue/engine/engine_config.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace pviommu::vfio {
namespace {

/// An environment variable, or null when it is unset or empty.
const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

Error wrong(const std::string& what) { return Error{EINVAL, "environment"}.with_sentence(what); }

/// "1" / "0"; anything else is an error that names it.
Result<bool> boolean_variable(const char* name) {
  const char* value = variable(name);
  if (!value || std::string_view(value) == "0") return false;
  if (std::string_view(value) == "1") return true;
  return wrong(std::string(name) + "='" + value + "': must be 0 or 1");
}

}  // namespace

Result<Interfaces> Interfaces::from_text(std::string_view text) {
  Interfaces found{false, false};
  for (;;) {
    const std::size_t end = text.find(',');
    const std::string_view word = text.substr(0, end);
    if (word == "group")
      found.group = true;
    else if (word == "cdev")
      found.cdev = true;
    else
      return Error{EINVAL, "interface"};
    if (end == text.npos) return found;
    text.remove_prefix(end + 1);
  }
}

Result<EngineConfig> EngineConfig::from_environment() {
  EngineConfig config;
  if (const char* value = variable("PVIOMMU_HYPERVISOR")) config.hypervisor = value;
  if (const char* value = variable("PVIOMMU_IOMMU_DRIVER")) config.iommu_driver = value;
  if (const char* value = variable("PVIOMMU_FRAMES")) config.frame_source = value;
  if (const char* value = variable("PVIOMMU_MAX_MAPPINGS")) {
    const std::string_view text(value);
    const auto [end, error] = std::from_chars(text.begin(), text.end(), config.max_mappings);
    if (error != std::errc() || end != text.end() || config.max_mappings == 0)
      return wrong("PVIOMMU_MAX_MAPPINGS='" + std::string(text) + "': must be a number from 1 to 4294967295");
  }
  if (const char* value = variable("PVIOMMU_INTERFACE")) {
    const auto interfaces = Interfaces::from_text(value);
    if (!interfaces) return wrong("PVIOMMU_INTERFACE='" + std::string(value) + "': must be group, cdev or group,cdev");
    config.interfaces = *interfaces;
  }
  if (const char* value = variable("PVIOMMU_SESSION")) config.session = value;
  config.strict = PVIOMMU_TRY(boolean_variable("PVIOMMU_STRICT"));
  config.quiet = PVIOMMU_TRY(boolean_variable("PVIOMMU_QUIET"));
  return config;
}

}  // namespace pviommu::vfio
