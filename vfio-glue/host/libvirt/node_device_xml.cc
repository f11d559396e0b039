// SPDX-License-Identifier: LGPL-2.1-or-later
// By XPath, element by element.  Without a valid address it is no device; what else is missing
// or out of range is left at 0 or empty.
#include "vfio-glue/host/libvirt/node_device_xml.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

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
std::optional<PciAddress> address_at(xmlXPathContextPtr context, const std::string& at) {
  const auto domain = number_at(context, at + "domain", 0xffffffff), bus = number_at(context, at + "bus", 0xff),
             slot = number_at(context, at + "slot", 0x1f), function = number_at(context, at + "function", 7);
  if (!domain || !bus || !slot || !function) return std::nullopt;
  return PciAddress(*domain, static_cast<std::uint16_t>(make_sbdf(0, *bus, *slot, *function).raw()));
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
  const auto address = address_at(context.get(), pci);
  if (!address) return kBad;
  HostDevice device;
  device.address = *address;
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
    if (*member != device.address) device.group_members.push_back(*member);
  }
  std::ranges::sort(device.group_members);
  return device;
}

}  // namespace pviommu::host
