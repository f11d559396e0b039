// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-glue/libvirt/node_devices.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>

#include <algorithm>
#include <cstdlib>

namespace pviommu::host {
namespace {

using XmlDocument = std::unique_ptr<xmlDoc, void (*)(xmlDocPtr)>;
using XmlContext = std::unique_ptr<xmlXPathContext, void (*)(xmlXPathContextPtr)>;
using XmlObject = std::unique_ptr<xmlXPathObject, void (*)(xmlXPathObjectPtr)>;

/// The text that an XPath expression finds first; empty: nothing.
std::string text_at(xmlXPathContextPtr context, const std::string& path) {
  const std::string expression = "string(" + path + ")";
  const XmlObject found(
      ::xmlXPathEvalExpression(reinterpret_cast<const xmlChar*>(expression.c_str()), context),
      &::xmlXPathFreeObject);
  if (!found || found->stringval == nullptr) return {};
  return reinterpret_cast<const char*>(found->stringval);
}

/// Decimal or 0x...; empty: no number, or above `most`.
std::optional<unsigned> number_at(xmlXPathContextPtr context, const std::string& path,
                                  unsigned long most = 0xffffff) {
  const std::string text = text_at(context, path);
  char* end = nullptr;
  const unsigned long value = std::strtoul(text.c_str(), &end, 0);
  if (text.empty() || *end != '\0' || value > most) return std::nullopt;
  return static_cast<unsigned>(value);
}

/// `at` ends in a "/" before elements and in "/@" before attributes.
std::optional<Sbdf> address_at(xmlXPathContextPtr context, const std::string& at) {
  const auto segment = number_at(context, at + "domain", 0xffff), bus = number_at(context, at + "bus", 0xff),
             slot = number_at(context, at + "slot", 0x1f), function = number_at(context, at + "function", 7);
  if (!segment || !bus || !slot || !function) return std::nullopt;
  return make_sbdf(*segment, *bus, *slot, *function);
}

const char* null_or(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

/// libvirt's word for a driver of the kernel.
std::string word_of(const std::string& driver) {
  if (driver == "vfio-pci") return "vfio";
  return driver == "pciback" || driver == "xen-pciback" ? "xen" : driver;
}

}  // namespace

Result<HostDevice> parse_node_device(std::string_view xml) {
  constexpr Error kBad{EINVAL, "description of a node device"};
  const XmlDocument document(::xmlReadMemory(xml.data(), static_cast<int>(xml.size()), "device.xml", nullptr,
                                             XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING),
                             &::xmlFreeDoc);
  if (!document) return kBad;
  const XmlContext context(::xmlXPathNewContext(document.get()), &::xmlXPathFreeContext);
  if (!context) return Error{ENOMEM, "description of a node device"};
  const std::string pci = "/device/capability[@type='pci']/";
  const auto sbdf = address_at(context.get(), pci);
  if (!sbdf) return kBad;
  HostDevice device;
  device.sbdf = *sbdf;
  device.class_code = number_at(context.get(), pci + "class").value_or(0);
  device.vendor =
      static_cast<std::uint16_t>(number_at(context.get(), pci + "vendor/@id", 0xffff).value_or(0));
  device.device =
      static_cast<std::uint16_t>(number_at(context.get(), pci + "product/@id", 0xffff).value_or(0));
  device.driver = text_at(context.get(), "/device/driver/name");
  device.description = text_at(context.get(), pci + "vendor") + ' ' + text_at(context.get(), pci + "product");
  const std::string group = pci + "iommuGroup/";
  device.group = number_at(context.get(), group + "@number");
  for (unsigned i = 1;; ++i) {
    const auto member = address_at(context.get(), group + "address[" + std::to_string(i) + "]/@");
    if (!member) break;
    if (*member != device.sbdf) device.group_members.push_back(*member);
  }
  std::ranges::sort(device.group_members);
  return device;
}

Result<std::vector<HostDevice>> NodeDevices::list(std::string& message) {
  virNodeDevicePtr* all = nullptr;
  const int count = ::virConnectListAllNodeDevices(connection_->handle.get(), &all,
                                                   VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV);
  if (count < 0) return last_error(name(), message);
  std::vector<VirNodeDevice> owned(all, all + count);
  std::free(all);
  std::vector<HostDevice> devices;
  for (const VirNodeDevice& one : owned) {
    const char* own_name = ::virNodeDeviceGetName(one.get());
    const std::unique_ptr<char, void (*)(void*)> xml(::virNodeDeviceGetXMLDesc(one.get(), 0), &std::free);
    if (own_name == nullptr || xml == nullptr) {
      const Error error = last_error(name(), message);
      if (error.code == ENOENT) continue;  // unplugged meanwhile
      return error;
    }
    auto device = parse_node_device(xml.get());
    if (!device) {
      message = name() + ": the description of " + own_name + " cannot be read";
      return device.error();
    }
    if (device->class_code >> 16 == 0x06) continue;  // bridges
    names_[device->sbdf] = own_name;
    devices.push_back(*std::move(device));
  }
  std::ranges::sort(devices, {}, &HostDevice::sbdf);
  return devices;
}

std::string NodeDevices::default_driver() const {
  if (connection_->type == "Xen") return "xen";
  return connection_->type == "QEMU" ? "vfio" : "";
}

/// A step's work: on the device as it is then, with libvirt's words when it fails.
template <class Call>
std::function<Status(std::string&)> NodeDevices::call(Sbdf sbdf, const char* what, Call&& made) const {
  return [connection = connection_, own_name = names_.at(sbdf), what, made](std::string& message) -> Status {
    const VirNodeDevice device(::virNodeDeviceLookupByName(connection->handle.get(), own_name.c_str()));
    if (!device) return last_error(connection->uri, message);
    if (made(device.get()) == 0) return {};
    Error error = last_error(connection->uri, message);
    error.operation = what;
    return error;
  };
}

HostStep NodeDevices::reattach(Sbdf sbdf) const {
  return {"virNodeDeviceReAttach(" + quoted(sbdf) + ")",
          call(sbdf, "virNodeDeviceReAttach",
               [](virNodeDevicePtr device) { return ::virNodeDeviceReAttach(device); }),
          {}};
}

Result<HostSteps> NodeDevices::bind_steps(const HostDevice& device, const std::string& driver,
                                          std::string& message) {
  if (driver == "none") {
    message = name() + ": libvirt cannot leave a device without a driver; without --uri that can be done";
    return Error{EOPNOTSUPP, "bind"};
  }
  const std::string word = word_of(driver);
  HostSteps steps;
  if (!device.driver.empty() && word == word_of(device.driver)) return steps;
  HostStep step{
      "virNodeDeviceDetachFlags(" + quoted(device.sbdf) + ", " + (word.empty() ? "NULL" : '"' + word + '"') +
          ", 0)",
      call(device.sbdf, "virNodeDeviceDetachFlags",
           [word](virNodeDevicePtr one) { return ::virNodeDeviceDetachFlags(one, null_or(word), 0); }),
      reattach(device.sbdf).run};
  steps.push_back(std::move(step));
  return steps;
}

Result<HostSteps> NodeDevices::unbind_steps(const HostDevice& device, std::string&) {
  HostSteps steps;
  if (!device.driver.empty() && !is_parking_driver(device.driver)) return steps;
  HostStep step = reattach(device.sbdf);
  step.undo =
      call(device.sbdf, "virNodeDeviceDetachFlags", [word = word_of(device.driver)](virNodeDevicePtr one) {
        return ::virNodeDeviceDetachFlags(one, null_or(word), 0);
      });
  steps.push_back(std::move(step));
  return steps;
}

Result<HostSteps> NodeDevices::reset_steps(const HostDevice& device, std::string&) {
  HostSteps steps;
  steps.push_back({"virNodeDeviceReset(" + quoted(device.sbdf) + ")",
                   call(device.sbdf, "virNodeDeviceReset",
                        [](virNodeDevicePtr one) { return ::virNodeDeviceReset(one); }),
                   [](std::string&) { return Status(); }});
  return steps;
}

}  // namespace pviommu::host
