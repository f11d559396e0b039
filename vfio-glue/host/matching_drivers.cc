// SPDX-License-Identifier: LGPL-2.1-or-later
//   devices/A/modalias           pci:v00001B36d00000010sv...
//   modules.alias                "alias pci:v*d*sv*sd*bc01sc08i02* nvme", of modules
//   modules.builtin.modinfo      "nvme.alias=pci:...", zero-terminated, of what is linked in
//   drivers/D/module             a link to the module of the driver D
#include "vfio-glue/host/matching_drivers.h"

#include <fnmatch.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "hypercall/sysfs_bus.h"
#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {
namespace {

bool matches(const std::string& pattern, const std::string& modalias) {
  return pattern.starts_with("pci:") && ::fnmatch(pattern.c_str(), modalias.c_str(), 0) == 0;
}

/// As the kernel names its folder, whatever the file's name has.
std::string module_name(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
}

std::set<std::string> matching_modules(const HostRoots& roots, const std::string& modalias) {
  const std::string folder = roots.modules + '/' + first_line_of(roots.proc + "/sys/kernel/osrelease");
  std::set<std::string> names;
  std::ifstream modules(folder + "/modules.alias");
  for (std::string line; std::getline(modules, line);) {
    std::istringstream words(line);
    std::string alias, pattern, name;
    if (words >> alias >> pattern >> name && alias == "alias" && matches(pattern, modalias))
      names.insert(module_name(name));
  }
  constexpr std::string_view kKey = ".alias=";
  std::ifstream built_in(folder + "/modules.builtin.modinfo");
  for (std::string field; std::getline(built_in, field, '\0');)
    if (const auto at = field.find(kKey); at != field.npos && matches(field.substr(at + kKey.size()), modalias))
      names.insert(module_name(field.substr(0, at)));
  return names;
}

}  // namespace

std::vector<std::string> matching_drivers(const HostRoots& roots, PciAddress address) {
  const std::string bus = roots.sysfs + "/bus/pci";
  const std::string modalias = first_line_of(bus + "/devices/" + to_string(address) + "/modalias");
  std::vector<std::string> found;
  if (modalias.empty()) return found;
  const std::set<std::string> modules = matching_modules(roots, modalias);
  for (const std::string& driver : names_in(bus + "/drivers"))
    if (!is_parking_driver(driver) && modules.contains(sysfs_link_name(bus + "/drivers/" + driver + "/module")))
      found.push_back(driver);
  std::ranges::sort(found);
  return found;
}

}  // namespace pviommu::host
