// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu list: the devices that a run can give to a program, for people and as JSON.
#include <cstdio>

#include "hypercall/device_lock.h"
#include "vfio-glue/command/command.h"
#include "vfio-glue/command/json.h"

namespace pviommu::command {
namespace {

struct Row {
  PciDeviceInfo info;
  std::optional<DeviceOwner> owner;
};

std::string state(const Row& row) {
  if (row.owner) return "used by " + std::to_string(row.owner->pid) + " (" + row.owner->comm + ")";
  return row.info.viable ? "free" : "not viable: a host driver holds a member of its group";
}

Json to_json(const Row& row, std::string_view hypervisor) {
  const PciDeviceInfo& info = row.info;
  Json json = {
      {"address", to_string(info.sbdf)},
      {"group", info.group},
      {"hypervisor", hypervisor},
      {"driver", info.driver},
      {"vendor", hex(info.vendor, 4)},
      {"device", hex(info.device, 4)},
      {"subsystem_vendor", hex(info.subsystem_vendor, 4)},
      {"subsystem_device", hex(info.subsystem_device, 4)},
      {"class", hex(info.class_code, 6)},
      {"revision", hex(info.revision, 2)},
      {"viable", info.viable},
      {"state", row.owner ? "used" : "free"},
  };
  if (row.owner) json.set("owner", {{"pid", row.owner->pid}, {"command", row.owner->comm}});
  json.set("description", info.description);
  return json;
}

}  // namespace

int list(const QueryOptions& options) {
  const auto hypervisor = open(options.engine);
  if (!hypervisor) return kBadInput;
  const auto devices = hypervisor->devices();
  if (!devices) {
    complain("hypervisor " + std::string(hypervisor->name()) +
             " cannot list its devices: " + to_string(devices.error()));
    return kFailed;
  }
  std::vector<Row> rows;
  for (const PciDeviceInfo& info : *devices) {
    std::optional<DeviceOwner> owner;
    if (!info.lock.empty()) {
      auto asked = DeviceLock::owner(info.lock);
      if (!asked) {
        complain("who uses " + to_string(info.sbdf) + " cannot be told: " + to_string(asked.error()));
        return kFailed;
      }
      owner = std::move(asked).value();
    }
    rows.push_back({info, std::move(owner)});
  }
  if (options.json) {
    Json array = Json::array();
    for (const Row& row : rows) array.push_back(to_json(row, hypervisor->name()));
    std::printf("%s\n", array.text().c_str());
    return 0;
  }
  std::printf("%-13s %5s %-10s %-10s %-9s %-6s  %s\n", "ADDRESS", "GROUP", "HYPERVISOR", "DRIVER", "ID",
              "CLASS", "STATE / DESCRIPTION");
  for (const Row& row : rows) {
    const PciDeviceInfo& info = row.info;
    std::printf("%-13s %5u %-10s %-10s %04x:%04x %06x  %s", to_string(info.sbdf).c_str(), info.group,
                std::string(hypervisor->name()).c_str(), info.driver.empty() ? "-" : info.driver.c_str(),
                info.vendor, info.device, info.class_code, state(row).c_str());
    std::printf(info.description.empty() ? "\n" : "; %s\n", info.description.c_str());
  }
  return 0;
}

}  // namespace pviommu::command
