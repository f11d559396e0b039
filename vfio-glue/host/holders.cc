// SPDX-License-Identifier: LGPL-2.1-or-later
// A physical function's driver takes the virtual functions with it: what holds one of them holds
// the physical function.
#include "vfio-glue/host/holders.h"

#include <algorithm>
#include <set>

#include "hypercall/device_lock.h"
#include "hypercall/sysfs_bus.h"
#include "vfio-glue/host/disk_holders.h"
#include "vfio-glue/host/mounts.h"
#include "vfio-glue/host/network_holders.h"
#include "vfio-glue/host/open_files.h"
#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const HostRoots& roots, PciAddress address) {
  return fs::path(roots.sysfs) / "bus/pci/devices" / to_string(address);
}

/// Of the function itself.
std::string own_user(const HostRoots& roots, PciAddress function, const std::string& driver,
                     const std::string& group) {
  const std::string address = to_string(function);
  for (const char* backend : {"xen-", "papr-"})
    if (const auto owner = DeviceLock::owner(backend + address); owner && *owner)
      return "process " + std::to_string((*owner)->pid) + " (" + (*owner)->comm + ")";
  // As long as a process has one of these open, unbinding the device would wait for it.
  std::set<std::string> nodes;
  if (!group.empty()) nodes.insert("/dev/vfio/" + group);
  for (const std::string& node : names_in(folder_of(roots, function) / "vfio-dev"))
    nodes.insert("/dev/vfio/devices/" + node);
  if (nodes.empty() || !is_parking_driver(driver)) return {};
  std::string user;
  visit_open_files(roots, [&](const OpenFile& file) {
    if (nodes.contains(file.target)) user = described_process(roots, file.process);
    return user.empty();
  });
  return user;
}

}  // namespace

std::vector<PciAddress> virtual_functions(const HostRoots& roots, PciAddress address) {
  std::vector<PciAddress> out;
  const fs::path folder = folder_of(roots, address);
  for (const std::string& name : names_in(folder))
    if (name.starts_with("virtfn"))
      if (const auto vf = parse_pci_address(sysfs_link_name(folder / name))) out.push_back(*vf);
  std::ranges::sort(out);
  return out;
}

Result<std::vector<std::string>> host_holders(const HostRoots& roots, PciAddress address) {
  const fs::path function = resolved(folder_of(roots, address));
  if (function.empty()) return Error{ENODEV, "PCI device: not in sysfs"};
  const std::vector<Mount> mounted = PVIOMMU_TRY(read_mounts(roots));
  std::vector<std::string> holders = disk_holders(roots, function, mounted);
  for (std::string& holder : network_holders(roots, function, mounted)) holders.push_back(std::move(holder));
  for (const PciAddress vf : virtual_functions(roots, address)) {
    const std::string name = "its VF " + to_string(vf);
    const std::string driver = sysfs_link_name(folder_of(roots, vf) / "driver");
    if (is_parking_driver(driver)) holders.push_back(name + " is set aside for programs and guests (" + driver + ")");
    auto held = host_holders(roots, vf);
    if (!held && held.error().code != ENODEV) return held.error();  // unplugged meanwhile
    if (held)
      for (const std::string& holder : *held) holders.push_back(name + ": " + holder);
  }
  return holders;
}

std::string device_user(const HostRoots& roots, const HostDevice& device) {
  if (std::string user = own_user(roots, device.address, device.driver,
                                  device.group ? std::to_string(*device.group) : std::string());
      !user.empty())
    return user;
  for (const PciAddress vf : virtual_functions(roots, device.address)) {
    const fs::path folder = folder_of(roots, vf);
    if (const std::string user = own_user(roots, vf, sysfs_link_name(folder / "driver"),
                                          sysfs_link_name(folder / "iommu_group"));
        !user.empty())
      return user + " by its VF " + to_string(vf);
  }
  return {};
}

}  // namespace pviommu::host
