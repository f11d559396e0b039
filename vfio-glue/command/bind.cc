// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu bind, unbind: devices from and to the host's drivers, all or none.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>

#include "vfio-glue/command/command.h"
#include "vfio-glue/command/json.h"
#include "vfio-glue/host/boot_rules.h"
#include "vfio-glue/host/connection.h"
#include "vfio-glue/host/holders.h"
#include "vfio-glue/host/keepers.h"
#include "vfio-glue/host/matching_drivers.h"

namespace pviommu::command {
namespace {

using host::HostDevice;

/// A device of the command line, and what is known of it.
struct Item {
  HostDevice device;
  std::vector<std::string> holders;
  std::vector<host::PciAddress> vfs;  ///< which go with its driver
  std::vector<std::string> texts;     ///< of its steps
};

/// 0, or the exit status after a complaint.
int find(const std::vector<std::string>& addresses, const std::vector<HostDevice>& all,
         std::vector<Item>& items) {
  for (const std::string& text : addresses) {
    const auto address = host::parse_pci_address(text);
    if (!address) {
      complain("'" + text + "': expected SSSS:BB:DD.F like 0000:00:05.0");
      return kBadInput;
    }
    if (std::ranges::any_of(items, [&](const Item& item) { return item.device.address == *address; })) {
      complain(to_string(*address) + " is named twice");
      return kBadInput;
    }
    const auto found = std::ranges::find(all, *address, &HostDevice::address);
    if (found == all.end()) {
      complain("there is no device " + to_string(*address) +
               ", or it is a bridge; pviommu list --host shows what there is");
      return kBadInput;
    }
    if (!address->sbdf()) {
      char domain[sizeof "dddddddd"];
      std::snprintf(domain, sizeof domain, "%x", address->domain);
      complain(to_string(*address) + " cannot be bound: its PCI domain is " + domain +
               ", and Xen and VFIO know domains up to ffff only; bind the controller that it is behind (a VMD, as a "
               "rule), or switch that off in the firmware's setup");
      return kFailed;
    }
    items.push_back({*found, {}, {}, {}});
  }
  return 0;
}

/// Empty: it may be taken.
std::string refusal(const BindOptions& options, const host::HostDevices& devices, bool binds, Item& item) {
  const std::string address = to_string(item.device.address);
  if (!devices.is_this_machine()) {
    if (!binds || options.force) return {};
    return "what " + address + " is used for cannot be told from here (" + devices.name() +
           "); --force takes it all the same";
  }
  if (const std::string user = device_user(options.roots, item.device); !user.empty())
    return address + " is in use by " + user + "; it has to end first";
  // Only what a driver of the host has can be in use by the host; but what only keeps a device
  // can have virtual functions of it.
  if (item.device.driver.empty()) return {};
  item.vfs = virtual_functions(options.roots, item.device.address);
  const bool is_disturbed = (binds || options.reset) && !host::is_parking_driver(item.device.driver);
  if (!is_disturbed && item.vfs.empty()) return {};
  auto holders = host_holders(options.roots, item.device.address);
  if (!holders) return "what " + address + " is used for cannot be told: " + to_string(holders.error());
  item.holders = *std::move(holders);
  if (item.holders.empty() || options.force) return {};
  std::string all;
  for (const std::string& holder : item.holders) all += (all.empty() ? "" : ", ") + holder;
  return address + " is in use: " + all + (binds ? "; --force takes it all the same" : "; that has to end first");
}

/// The members of its group that a driver of the host has: what a program needs too.
std::vector<const HostDevice*> left_members(const HostDevice& device, const std::vector<HostDevice>& all) {
  std::vector<const HostDevice*> out;
  for (const host::PciAddress member : device.group_members)
    if (const auto found = std::ranges::find(all, member, &HostDevice::address);
        found != all.end() && !found->driver.empty() && !host::is_parking_driver(found->driver))
      out.push_back(&*found);
  return out;
}

/// After unbind: why the host cannot use the device although it should; empty: it can, or has no
/// driver for it.
std::string is_not_back(const BindOptions& options, const host::HostDevices& devices, const HostDevice& device) {
  const std::string given_back = to_string(device.address) + " was given back, but ";
  if (host::is_parking_driver(device.driver)) return given_back + device.driver + " has taken it again";
  if (!device.driver.empty() || !devices.is_this_machine()) return {};
  std::string drivers;
  for (const std::string& driver : host::matching_drivers(options.roots, device.address))
    drivers += (drivers.empty() ? "" : ", ") + driver;
  return drivers.empty() ? std::string()
                         : given_back + "the driver for it, " + drivers + ", has not taken it; dmesg may say why";
}

/// What the next boots will do: bind it to `driver`, or (empty) leave it to the host.
Result<host::HostSteps> boot_steps(const BindOptions& options, const HostDevice& device, const std::string& driver) {
  host::HostSteps steps;
  auto step = driver.empty() ? Result(host::no_boot_rule_step(options.roots, device.address))
                             : host::boot_rule_step(options.roots, device.address, driver);
  if (!step) return step.error();
  if (*step) steps.push_back(**std::move(step));
  return steps;
}

/// By libvirt also those may act who may not ask the hypervisor: then nobody looks.
Result<host::HostSteps> out_of_quarantine(host::HostRoots roots, host::PciAddress function) {
  host::add_keepers(roots);
  host::HostSteps steps;
  const auto sbdf = function.sbdf();
  if (!sbdf) return steps;
  const auto asked = roots.keeper(*sbdf);
  if (!asked && (asked.error().code == EACCES || asked.error().code == EPERM || asked.error().code == ENOENT)) return steps;
  PVIOMMU_TRY(host::leave_quarantine(roots, function, steps));
  return steps;
}

std::string shown(const std::string& driver) { return driver.empty() ? "none" : driver; }

int change(const BindOptions& options, bool binds) {
  HostAccess access;
  if (const int status = access.open(options); status != 0) return status;
  host::HostDevices& devices = *access.devices;
  const auto failed = [&](const Error& error) {
    complain((error.sentence.empty() ? devices.name() + ": " : "") + to_string(error));
    return kFailed;
  };
  auto before = devices.list();
  if (!before) return failed(before.error());
  std::vector<Item> items;
  if (const int status = find(options.addresses, *before, items); status != 0) return status;

  host::HostSteps steps;
  const auto append = [&](Item& item, Result<host::HostSteps> more) -> Status {
    for (host::HostStep& step : PVIOMMU_TRY(std::move(more))) {
      item.texts.push_back(step.text);
      steps.push_back(std::move(step));
    }
    return {};
  };
  const std::string driver = options.driver.empty() ? devices.default_driver() : options.driver;
  for (Item& item : items) {
    const HostDevice& device = item.device;
    auto planned = binds ? devices.bind_steps(device, driver) : devices.unbind_steps(device);
    if (!planned) return failed(planned.error());
    if (const std::string why =
            planned->empty() && !options.reset ? "" : refusal(options, devices, binds, item);
        !why.empty()) {
      complain(why);
      return kFailed;
    }
    // Before libvirt has a driver of the host take it; sysfs has this among its own steps.
    if (options.uri && !binds && devices.is_this_machine() && !planned->empty()) {
      auto out = out_of_quarantine(options.roots, device.address);
      if (!out) return failed(out.error());
      planned->insert(planned->begin(), std::make_move_iterator(out->begin()), std::make_move_iterator(out->end()));
    }
    // The device is nobody's for its reset: after it was taken, before it goes back.
    if (options.reset && !binds)
      if (const Status added = append(item, devices.reset_steps(device)); !added)
        return failed(added.error());
    if (const Status added = append(item, std::move(planned)); !added) return failed(added.error());
    if (options.reset && binds)
      if (const Status added = append(item, devices.reset_steps(device)); !added)
        return failed(added.error());
    if (options.persist)
      if (const Status added = append(item, boot_steps(options, device, binds ? driver : "")); !added)
        return failed(added.error());
  }

  if (!options.dry_run)
    if (const Status taken = host::take_steps(steps); !taken) return failed(taken.error());
  auto after = options.dry_run ? std::move(before) : devices.list();
  if (!after) return failed(after.error());

  std::string not_back;
  if (!binds && !options.dry_run)
    for (const Item& item : items)
      if (const auto now = std::ranges::find(*after, item.device.address, &HostDevice::address); now != after->end())
        if (std::string what = is_not_back(options, devices, *now); !what.empty() && not_back.empty())
          not_back = std::move(what);

  Json array = Json::array();
  for (const Item& item : items) {
    const HostDevice& device = item.device;
    const auto now = std::ranges::find(*after, device.address, &HostDevice::address);
    const std::string to = now == after->end() ? "" : now->driver;
    const auto left = binds ? left_members(device, *after) : std::vector<const HostDevice*>();
    if (options.json) {
      Json json = {
          {"address", to_string(device.address)}, {"done", !options.dry_run}, {"from", device.driver}};
      if (!options.dry_run) json.set("to", to);
      json.set("steps", item.texts);
      json.set("boot_driver", devices.is_this_machine() ? Json(host::boot_driver(options.roots, device.address)) : Json());
      json.set("holders", item.holders);
      Json vfs = Json::array();
      for (const host::PciAddress vf : item.vfs) vfs.push_back(to_string(vf));
      json.set("virtual_functions", std::move(vfs));
      json.set("group", device.group ? Json(*device.group) : Json());
      Json members = Json::array();
      for (const HostDevice* member : left)
        members.push_back({{"address", to_string(member->address)}, {"driver", member->driver}});
      json.set("group_members_with_host", std::move(members));
      array.push_back(std::move(json));
      continue;
    }
    if (options.dry_run)
      for (const std::string& text : item.texts) std::printf("%s\n", text.c_str());
    // A dry run's lines are commands for a shell; so others are comments.
    const char* const mark = options.dry_run ? "# " : "";
    if (item.texts.empty())
      std::printf("%s%s: nothing to be done, its driver is %s\n", mark, to_string(device.address).c_str(),
                  shown(device.driver).c_str());
    else if (!options.dry_run)
      std::printf("%s: %s -> %s\n", to_string(device.address).c_str(), shown(device.driver).c_str(),
                  shown(to).c_str());
    if (const std::string boot =
            devices.is_this_machine() && !options.persist ? host::boot_driver(options.roots, device.address) : "";
        !binds && !boot.empty())
      std::printf("%s%s: is bound again at the next boot (driver %s); unbind --persist ends that\n", mark,
                  to_string(device.address).c_str(), boot.c_str());
    if (!item.vfs.empty())
      std::printf("%s%s: its %zu virtual functions end with its driver %s\n", mark,
                  to_string(device.address).c_str(), item.vfs.size(), shown(device.driver).c_str());
    for (const std::string& holder : item.holders)
      std::printf("%s%s: taken although %s\n", mark, to_string(device.address).c_str(), holder.c_str());
    for (const HostDevice* member : left)
      if (!std::ranges::any_of(items, [&](const Item& other) { return other.device.address == member->address; }))
        std::printf("%s%s: its group %u also has %s, which is with %s; a program needs the whole group\n",
                    mark, to_string(device.address).c_str(), device.group.value_or(0),
                    to_string(member->address).c_str(), member->driver.c_str());
  }
  if (options.json) std::puts(array.text().c_str());
  if (not_back.empty()) return 0;
  complain(not_back);
  return kFailed;
}

}  // namespace

int HostAccess::open(const HostOptions& options) {
  if (!options.uri) {
    sysfs = host::make_sysfs_devices(options.roots);
    devices = sysfs.get();
    return 0;
  }
  auto opened = host::open_host_connection(*options.uri);
  if (!opened) {
    complain(to_string(opened.error()));
    return opened.error().code == EINVAL || opened.error().code == ENOENT ? kBadInput : kFailed;
  }
  connection = std::move(*opened);
  devices = &connection->devices();
  return 0;
}

int bind(const BindOptions& options) { return change(options, true); }
int unbind(const BindOptions& options) { return change(options, false); }

}  // namespace pviommu::command
