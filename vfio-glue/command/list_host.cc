// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu list --host: the PCI functions of this machine and who has them.
#include <cstdio>

#include "vfio-glue/command/command.h"
#include "vfio-glue/command/json.h"
#include "vfio-glue/host/boot_rules.h"
#include "vfio-glue/host/holders.h"

namespace pviommu::command {

int list_host(const HostOptions& options) {
  HostAccess access;
  if (const int status = access.open(options); status != 0) return status;
  const auto devices = access.devices->list();
  if (!devices) {
    complain(to_string(devices.error()));
    return kFailed;
  }
  Json array = Json::array();
  if (!options.json)
    std::printf("%-13s %5s %-12s %-9s %-6s  %s\n", "ADDRESS", "GROUP", "DRIVER", "ID", "CLASS", "USE");
  for (const host::HostDevice& device : *devices) {
    std::vector<std::string> uses;
    bool known = access.devices->is_this_machine();
    if (known) {
      if (const std::string user = device_user(options.roots, device); !user.empty()) uses.push_back(user);
      const auto holders = host_holders(options.roots, device.address);
      known = holders.ok();
      if (known) uses.insert(uses.end(), holders->begin(), holders->end());
    }
    const std::string boot = access.devices->is_this_machine() ? host::boot_driver(options.roots, device.address) : "";
    if (options.json) {
      Json members = Json::array();
      for (const host::PciAddress member : device.group_members) members.push_back(to_string(member));
      array.push_back({{"address", to_string(device.address)},
                           {"group", device.group ? Json(*device.group) : Json()},
                           {"group_members", std::move(members)},
                           {"driver", device.driver},
                           {"driver_override", device.driver_override},
                           {"vendor", hex(device.vendor, 4)},
                           {"device", hex(device.device, 4)},
                           {"class", hex(device.class_code, 6)},
                           {"boot_driver", boot},
                           {"in_use", known ? Json(!uses.empty()) : Json()},
                           {"uses", uses},
                           {"can_be_bound", device.address.sbdf().has_value()},
                           {"description", device.description}});
      continue;
    }
    std::string use;
    for (const std::string& one : uses) use += (use.empty() ? "" : ", ") + one;
    if (!boot.empty()) use += (use.empty() ? "" : ", ") + ("bound at boot (driver " + boot + ")");
    if (!device.address.sbdf()) use += std::string(use.empty() ? "" : ", ") + "cannot be bound (PCI domain above ffff)";
    std::printf("%-13s %5s %-12s %04x:%04x %06x  %s\n", to_string(device.address).c_str(),
                device.group ? std::to_string(*device.group).c_str() : "-",
                device.driver.empty() ? "-" : device.driver.c_str(), device.vendor, device.device,
                device.class_code,
                !known        ? "not known"
                : use.empty() ? "-"
                              : use.c_str());
  }
  if (options.json) std::puts(array.text().c_str());
  return 0;
}

}  // namespace pviommu::command
