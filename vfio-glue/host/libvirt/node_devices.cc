// SPDX-License-Identifier: LGPL-2.1-or-later
// The steps are virNodeDeviceDetachFlags(), ReAttach() and Reset(), each on the device as it
// is when the step is taken.
#include "vfio-glue/host/libvirt/node_devices.h"

#include <algorithm>
#include <cstdlib>

#include "vfio-glue/host/libvirt/node_device_xml.h"

namespace pviommu::host {
namespace {

const char* null_or(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

/// libvirt's word for a driver of the kernel.
std::string word_of(const std::string& driver) {
  if (driver == "vfio-pci") return "vfio";
  return driver == "pciback" || driver == "xen-pciback" ? "xen" : driver;
}

}  // namespace

Result<std::vector<HostDevice>> NodeDevices::list() {
  virNodeDevicePtr* all = nullptr;
  const int count = ::virConnectListAllNodeDevices(connection_->handle.get(), &all,
                                                   VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV);
  if (count < 0) return last_error(name());
  std::vector<VirNodeDevice> owned(all, all + count);
  std::free(all);
  std::vector<HostDevice> devices;
  for (const VirNodeDevice& one : owned) {
    const char* own_name = ::virNodeDeviceGetName(one.get());
    const std::unique_ptr<char, void (*)(void*)> xml(::virNodeDeviceGetXMLDesc(one.get(), 0), &std::free);
    if (own_name == nullptr || xml == nullptr) {
      const Error error = last_error(name());
      if (error.code == ENOENT) continue;  // unplugged meanwhile
      return error;
    }
    auto device = parse_node_device(xml.get());
    if (!device)
      return device.error().with_sentence(name() + ": the description of " + own_name + " cannot be read");
    if (device->class_code >> 16 == 0x06) continue;  // bridges
    names_[device->address] = own_name;
    devices.push_back(*std::move(device));
  }
  std::ranges::sort(devices, {}, &HostDevice::address);
  return devices;
}

std::string NodeDevices::default_driver() const {
  if (connection_->type == "Xen") return "xen";
  return connection_->type == "QEMU" ? "vfio" : "";
}

/// Makes the work of a step: it looks the device up when it runs, and reports in libvirt's
/// words when it fails.
template <class Call>
std::function<Status()> NodeDevices::call(PciAddress address, const char* what, Call&& made) const {
  return [connection = connection_, own_name = names_.at(address), what, made]() -> Status {
    const VirNodeDevice device(::virNodeDeviceLookupByName(connection->handle.get(), own_name.c_str()));
    if (!device) return last_error(connection->uri);
    if (made(device.get()) == 0) return {};
    Error error = last_error(connection->uri);
    error.operation = what;
    return error;
  };
}

HostStep NodeDevices::reattach(PciAddress address) const {
  return {"virNodeDeviceReAttach(" + quoted(address) + ")",
          call(address, "virNodeDeviceReAttach",
               [](virNodeDevicePtr device) { return ::virNodeDeviceReAttach(device); }),
          {}};
}

Result<HostSteps> NodeDevices::bind_steps(const HostDevice& device, const std::string& driver) {
  if (driver == "none")
    return Error{EOPNOTSUPP, "bind"}.with_sentence(
        name() + ": libvirt cannot leave a device without a driver; without --uri that can be done");
  const std::string word = word_of(driver);
  HostSteps steps;
  if (!device.driver.empty() && word == word_of(device.driver)) return steps;
  HostStep step{
      "virNodeDeviceDetachFlags(" + quoted(device.address) + ", " + (word.empty() ? "NULL" : '"' + word + '"') +
          ", 0)",
      call(device.address, "virNodeDeviceDetachFlags",
           [word](virNodeDevicePtr one) { return ::virNodeDeviceDetachFlags(one, null_or(word), 0); }),
      reattach(device.address).run};
  steps.push_back(std::move(step));
  return steps;
}

Result<HostSteps> NodeDevices::unbind_steps(const HostDevice& device) {
  HostSteps steps;
  if (!device.driver.empty() && !is_parking_driver(device.driver)) return steps;
  HostStep step = reattach(device.address);
  step.undo =
      call(device.address, "virNodeDeviceDetachFlags", [word = word_of(device.driver)](virNodeDevicePtr one) {
        return ::virNodeDeviceDetachFlags(one, null_or(word), 0);
      });
  steps.push_back(std::move(step));
  return steps;
}

Result<HostSteps> NodeDevices::reset_steps(const HostDevice& device) {
  HostSteps steps;
  steps.push_back({"virNodeDeviceReset(" + quoted(device.address) + ")",
                   call(device.address, "virNodeDeviceReset",
                        [](virNodeDevicePtr one) { return ::virNodeDeviceReset(one); }),
                   [] { return Status(); }});
  return steps;
}

}  // namespace pviommu::host
