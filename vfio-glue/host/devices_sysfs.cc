// SPDX-License-Identifier: LGPL-2.1-or-later
// Devices and drivers by the files of sysfs (Documentation/ABI/testing/sysfs-bus-pci):
//
//   devices/A/driver           a link, while a driver has the function
//   devices/A/driver_override  the only driver that may take it; an empty line: any
//   drivers/D/bind, unbind     give A to D, take it from D
//   drivers_probe              let the drivers that are there try A
//
// Between the last two, what Xen has in its quarantine becomes the host's again: a driver that
// probes it before gets no interrupt, and gives up after a minute of time-outs.
// The driver goes first and the override is set after that, so that in reverse
// order each undo finds the override it needs.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "hypercall/sysfs_bus.h"
#include "hypercall/unique_fd.h"
#include "vfio-glue/host/devices.h"
#include "vfio-glue/host/keepers.h"
#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {
namespace {

constexpr std::string_view kNone = "none";

Status write_file(const std::string& path, std::string_view text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return Error{errno, "open"};
  const ssize_t put = ::write(fd.get(), text.data(), text.size());
  if (put < 0) return Error{errno, "write"};
  if (static_cast<std::size_t>(put) != text.size()) return Error{EIO, "write"};
  return {};
}

/// The first line; empty also where there is no such file.
std::string first_line(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> text;
  const ssize_t got = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  const std::string_view all(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return std::string(all.substr(0, all.find('\n')));
}

class SysfsHostDevices final : public HostDevices {
 public:
  explicit SysfsHostDevices(HostRoots roots) : roots_(std::move(roots)) {
    if (!roots_.write) roots_.write = write_file;
    add_keepers(roots_);
  }

  const std::string& name() const override { return name_; }
  bool is_this_machine() const override { return true; }
  Result<std::vector<HostDevice>> list() override;
  std::string default_driver() const override {
    // The Xen backend wants no driver; Power's, like any VFIO, wants this one.
    return first_line(roots_.sysfs + "/hypervisor/type") == "xen" ? std::string(kNone) : "vfio-pci";
  }
  Result<HostSteps> bind_steps(const HostDevice& device, const std::string& driver) override;
  Result<HostSteps> unbind_steps(const HostDevice& device) override;
  Result<HostSteps> reset_steps(const HostDevice& device) override;

 private:
  std::string bus() const { return roots_.sysfs + "/bus/pci"; }
  std::string folder(PciAddress function) const { return bus() + "/devices/" + to_string(function); }
  std::string driver_of(PciAddress function) const { return sysfs_link_name(folder(function) + "/driver"); }

  HostStep leave(PciAddress function, const std::string& driver);
  std::vector<HostDevice> above_segments() const;
  bool in_slots(PciAddress function) const;
  HostStep leave_slot(PciAddress function);
  HostStep override_with(const HostDevice& device, const std::string& driver);
  HostStep probe(PciAddress function, const std::string& wanted);

  HostRoots roots_;
  const std::string name_ = "sysfs";
};

Result<std::vector<HostDevice>> SysfsHostDevices::list() {
  auto functions = list_pci_devices("host", roots_.sysfs);
  if (!functions)
    return functions.error().with_sentence(bus() + "/devices: " + to_string(functions.error()));
  std::vector<HostDevice> devices;
  for (const PciDeviceInfo& info : *functions)
    devices.push_back({.address = info.sbdf,
                       .class_code = info.class_code,
                       .vendor = info.vendor,
                       .device = info.device,
                       .driver = info.driver,
                       .driver_override = {},
                       .group = {},
                       .group_members = {},
                       .description = info.description});
  for (HostDevice& device : above_segments()) devices.push_back(std::move(device));
  for (HostDevice& device : devices) {
    const std::string at = folder(device.address);
    device.driver_override = first_line(at + "/driver_override");
    if (device.driver_override == "(null)") device.driver_override.clear();
    if (const std::string group = sysfs_link_name(at + "/iommu_group"); !group.empty())
      device.group = static_cast<unsigned>(std::strtoul(group.c_str(), nullptr, 10));
    for (const std::string& name : names_in(at + "/iommu_group/devices"))
      if (const auto member = parse_pci_address(name); member && *member != device.address)
        device.group_members.push_back(*member);
    std::ranges::sort(device.group_members);
  }
  return devices;
}

/// What list_pci_devices() cannot name.
std::vector<HostDevice> SysfsHostDevices::above_segments() const {
  constexpr unsigned long kBridgeClass = 0x06;
  std::vector<HostDevice> devices;
  for (const std::string& name : names_in(bus() + "/devices")) {
    const auto address = parse_pci_address(name);
    if (!address || address->sbdf()) continue;
    const auto number = [at = folder(*address)](const char* attribute) {
      return std::strtoul(first_line(at + attribute).c_str(), nullptr, 16);
    };
    HostDevice device;
    device.address = *address;
    device.class_code = static_cast<std::uint32_t>(number("/class"));
    if (device.class_code >> 16 == kBridgeClass) continue;
    device.vendor = static_cast<std::uint16_t>(number("/vendor"));
    device.device = static_cast<std::uint16_t>(number("/device"));
    device.driver = driver_of(*address);
    char text[sizeof "vvvv:dddd class cccccc"];
    std::snprintf(text, sizeof text, "%04x:%04x class %06x", device.vendor, device.device,
                  device.class_code & 0xffffff);
    device.description = text;
    devices.push_back(std::move(device));
  }
  std::ranges::sort(devices, {}, &HostDevice::address);
  return devices;
}

/// The step that takes the device from its driver.  It is undone by giving it back by name,
/// when the override is as it was again.
HostStep SysfsHostDevices::leave(PciAddress function, const std::string& driver) {
  const std::string address = to_string(function), at = bus() + "/drivers/" + driver;
  return {"echo " + address + " > " + at + "/unbind",
          [=, this] { return roots_.write(at + "/unbind", address); },
          [=, this] { return roots_.write(at + "/bind", address); }};
}

/// pciback takes what it had once at every probe, override or not, until it is told
/// to forget it (drivers/xen/xen-pciback/pci_stub.c of Linux).
bool SysfsHostDevices::in_slots(PciAddress function) const {
  std::ifstream slots(bus() + "/drivers/pciback/slots");
  for (std::string line; std::getline(slots, line);)
    if (line == to_string(function)) return true;
  return false;
}

HostStep SysfsHostDevices::leave_slot(PciAddress function) {
  const std::string address = to_string(function), at = bus() + "/drivers/pciback";
  return {"echo " + address + " > " + at + "/remove_slot",
          [=, this] { return roots_.write(at + "/remove_slot", address); },
          [=, this] { return roots_.write(at + "/new_slot", address); }};
}

HostStep SysfsHostDevices::override_with(const HostDevice& device, const std::string& driver) {
  const std::string file = folder(device.address) + "/driver_override", before = device.driver_override;
  return {"echo " + (driver.empty() ? "" : driver + ' ') + "> " + file,
          [=, this] { return roots_.write(file, driver + '\n'); },
          [=, this] { return roots_.write(file, before + '\n'); }};
}

/// `wanted` empty: any driver, or none.  The kernel reports a driver's own refusal
/// in its log only.
HostStep SysfsHostDevices::probe(PciAddress function, const std::string& wanted) {
  const std::string address = to_string(function), file = bus() + "/drivers_probe";
  return {"echo " + address + " > " + file,
          [=, this]() -> Status {
            PVIOMMU_TRY(roots_.write(file, address));
            const std::string driver = driver_of(function);
            if (wanted.empty() || driver == wanted) return {};
            // A step that fails undoes itself.
            if (!driver.empty()) (void)roots_.write(bus() + "/drivers/" + driver + "/unbind", address);
            return Error{EIO, "bind"}.with_sentence("the driver " + wanted + " did not take " + address +
                                                    (driver.empty() ? "" : ", " + driver + " did") +
                                                    "; dmesg may say why");
          },
          [=, this]() -> Status {
            const std::string driver = driver_of(function);
            return driver.empty() ? Status()
                                  : roots_.write(bus() + "/drivers/" + driver + "/unbind", address);
          }};
}

Result<HostSteps> SysfsHostDevices::bind_steps(const HostDevice& device, const std::string& driver) {
  const bool none = driver == kNone;
  // The kernel module of this driver has another name than the driver.
  const std::string wanted = driver == "xen-pciback" ? "pciback" : driver;
  HostSteps steps;
  if (!none && device.driver == wanted) return steps;
  if (!none && ::access((bus() + "/drivers/" + wanted).c_str(), F_OK) != 0)
    return Error{ENOENT, "bind"}.with_sentence("the driver " + wanted + " is not loaded: modprobe " +
                                               (wanted == "pciback" ? "xen-pciback" : wanted));
  if (!device.driver.empty()) steps.push_back(leave(device.address, device.driver));
  if (device.driver_override != wanted) steps.push_back(override_with(device, wanted));
  if (!none && wanted != "pciback" && wanted != "pci-stub")
    PVIOMMU_TRY(leave_quarantine(roots_, device.address, steps));
  if (!none) steps.push_back(probe(device.address, wanted));
  return steps;
}

Result<HostSteps> SysfsHostDevices::unbind_steps(const HostDevice& device) {
  HostSteps steps;
  if (!device.driver.empty() && !is_parking_driver(device.driver)) return steps;
  if (!device.driver.empty()) steps.push_back(leave(device.address, device.driver));
  if (in_slots(device.address)) steps.push_back(leave_slot(device.address));
  if (!device.driver_override.empty()) steps.push_back(override_with(device, ""));
  PVIOMMU_TRY(leave_quarantine(roots_, device.address, steps));
  steps.push_back(probe(device.address, ""));
  return steps;
}

Result<HostSteps> SysfsHostDevices::reset_steps(const HostDevice& device) {
  const std::string file = folder(device.address) + "/reset";
  if (::access(file.c_str(), F_OK) != 0)
    return Error{ENOTTY, "reset"}.with_sentence("the kernel knows no way to reset " + to_string(device.address));
  HostSteps steps;
  steps.push_back({"echo 1 > " + file, [=, this] { return roots_.write(file, "1"); },
                   [] { return Status(); }});
  return steps;
}

}  // namespace

std::unique_ptr<HostDevices> make_sysfs_devices(HostRoots roots) {
  return std::make_unique<SysfsHostDevices>(std::move(roots));
}

Status take_steps(HostSteps& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Status taken = steps[i].run();
    if (taken) continue;
    std::string why = steps[i].text + ": " + to_string(taken.error());
    for (std::size_t left = i; left-- > 0;)
      if (const Status undone = steps[left].undo(); !undone)
        why += "; and cannot be undone: " + steps[left].text + ": " + to_string(undone.error());
    return taken.error().with_sentence(why);
  }
  return {};
}

}  // namespace pviommu::host
