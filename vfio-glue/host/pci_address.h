// SPDX-License-Identifier: LGPL-2.1-or-later
// Where this machine's kernel has a PCI function.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hypercall/pci_device.h"

namespace pviommu::host {

/// Linux gives domains from 10000 (hexadecimal) on to buses behind a device, as Intel's VMD
/// has them.  Segments of firmware and of hypervisors, and so Sbdf, end at ffff: such a
/// function can be named and looked at, not taken.
struct PciAddress {
  std::uint32_t domain = 0;
  std::uint16_t function = 0;  ///< bus, device and function, as the lower half of an Sbdf

  constexpr PciAddress() = default;
  constexpr PciAddress(Sbdf sbdf)  // NOLINT: each Sbdf is one
      : domain(sbdf.raw() >> 16), function(static_cast<std::uint16_t>(sbdf.raw())) {}
  constexpr PciAddress(std::uint32_t of_domain, std::uint16_t bus_device_function)
      : domain(of_domain), function(bus_device_function) {}

  /// Empty: above ffff.
  constexpr std::optional<Sbdf> sbdf() const {
    if (domain > 0xffff) return std::nullopt;
    return Sbdf(domain << 16 | function);
  }
  friend constexpr auto operator<=>(const PciAddress&, const PciAddress&) = default;
};

/// As the kernel names it: "0000:00:05.0", "10000:01:00.0".
std::string to_string(PciAddress address);
/// What parse_sbdf() accepts, and domains of up to eight digits; EINVAL otherwise.
Result<PciAddress> parse_pci_address(std::string_view text);

}  // namespace pviommu::host
