// SPDX-License-Identifier: LGPL-2.1-or-later
// PCI addresses with domains of 32 bits, as text.
#include "vfio-glue/host/pci_address.h"

#include <charconv>
#include <cstdio>

namespace pviommu::host {

std::string to_string(PciAddress address) {
  char text[sizeof "dddddddd:bb:dd.f"];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", address.domain, address.function >> 8,
                address.function >> 3 & 0x1f, address.function & 7);
  return text;
}

Result<PciAddress> parse_pci_address(std::string_view text) {
  constexpr Error kBad{EINVAL, "PCI address is not dddd:bb:dd.f"};
  if (const auto sbdf = parse_sbdf(text)) return PciAddress(*sbdf);
  constexpr std::size_t kRest = sizeof "bb:dd.f" - 1;
  if (text.size() < kRest + sizeof "ddddd:" - 1 || text.size() > kRest + sizeof "dddddddd:" - 1) return kBad;
  const std::size_t colon = text.size() - kRest - 1;
  const auto rest = parse_sbdf(text.substr(colon + 1));
  std::uint32_t domain = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + colon, domain, 16);
  if (!rest || text[colon] != ':' || error != std::errc() || end != text.data() + colon) return kBad;
  return PciAddress(domain, static_cast<std::uint16_t>(rest->raw()));
}

}  // namespace pviommu::host
