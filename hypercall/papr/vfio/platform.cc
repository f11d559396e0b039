// SPDX-License-Identifier: LGPL-2.1-or-later
// Devices, groups and windows as sysfs has them; nothing is opened for long.
#include "hypercall/papr/vfio/platform.h"

#include <dirent.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "hypercall/papr/device_tree.h"
#include "hypercall/sysfs_bus.h"

namespace pviommu::spapr {
namespace {

std::string read_file(const std::string& path) {
  std::string text;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!file) return text;
  std::array<char, 1024> part;
  while (const std::size_t got = std::fread(part.data(), 1, part.size(), file.get())) text.append(part.data(), got);
  return text;
}

std::vector<Sbdf> members_of(const std::string& folder) {
  std::vector<Sbdf> members;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir((folder + "/iommu_group/devices").c_str()), &::closedir);
  if (!entries) return members;
  while (const dirent* entry = ::readdir(entries.get()))
    if (const auto sbdf = parse_sbdf(entry->d_name)) members.push_back(*sbdf);
  std::ranges::sort(members);
  return members;
}

}  // namespace

Result<std::vector<PlatformDevice>> list_platform_devices(const std::string& sysfs) {
  std::vector<PlatformDevice> devices;
  const std::string bus = sysfs + "/bus/pci/devices/";
  for (PciDeviceInfo& info : PVIOMMU_TRY(list_pci_devices("papr", sysfs))) {
    const std::string folder = bus + to_string(info.sbdf);
    const std::string group = sysfs_link_name(folder + "/iommu_group");
    const auto window = papr::window_of(sysfs, info.sbdf);
    if (group.empty() || !window) continue;
    info.group = static_cast<unsigned>(std::strtoul(group.c_str(), nullptr, 10));
    info.driver = sysfs_link_name(folder + "/driver");
    info.lock.clear();
    PlatformDevice device{std::move(info), window->range, members_of(folder)};
    // As vfio_group_viable(): members without a driver do no harm.
    device.info.viable = device.info.driver == "vfio-pci" && std::ranges::all_of(device.group, [&](Sbdf member) {
      const std::string driver = sysfs_link_name(bus + to_string(member) + "/driver");
      return driver.empty() || driver == "vfio-pci" || driver == "pci-stub" || driver == "pcieport";
    });
    devices.push_back(std::move(device));
  }
  return devices;
}

std::string machine_model(const std::string& sysfs) {
  if (read_file(sysfs + "/firmware/devicetree/base/device_type").find("chrp") == std::string::npos) return {};
  std::string model = read_file(sysfs + "/firmware/devicetree/base/model");
  while (!model.empty() && model.back() == '\0') model.pop_back();
  return model;
}

}  // namespace pviommu::spapr
