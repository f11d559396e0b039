// SPDX-License-Identifier: LGPL-2.1-or-later
// PCI addresses as text.
#include "hypercall/pci_address.h"

#include <cstdio>

namespace pviommu {
namespace {

/// Exactly `digits` hexadecimal digits from the front of `text`; -1 otherwise.
int take_hex(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) return -1;
  int value = 0;
  for (const char c : text.substr(0, digits)) {
    value <<= 4;
    if (c >= '0' && c <= '9')
      value |= c - '0';
    else if (c >= 'a' && c <= 'f')
      value |= c - 'a' + 10;
    else if (c >= 'A' && c <= 'F')
      value |= c - 'A' + 10;
    else
      return -1;
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string to_string(Sbdf sbdf) {
  char text[sizeof "ssss:bb:dd.f"];
  const std::uint32_t raw = sbdf.raw();
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", raw >> 16, raw >> 8 & 0xff, raw >> 3 & 0x1f, raw & 7);
  return text;
}

Result<Sbdf> parse_sbdf(std::string_view text) {
  constexpr Error bad{EINVAL, "PCI address is not ssss:bb:dd.f"};
  int segment = 0;
  if (text.size() == std::string_view("ssss:bb:dd.f").size()) {
    segment = take_hex(text, 4);
    if (segment < 0 || !take(text, ':')) return bad;
  }
  const int bus = take_hex(text, 2);
  if (bus < 0 || !take(text, ':')) return bad;
  const int device = take_hex(text, 2);
  if (device < 0 || device > 0x1f || !take(text, '.')) return bad;
  const int function = take_hex(text, 1);
  if (function < 0 || function > 7 || !text.empty()) return bad;
  return make_sbdf(static_cast<unsigned>(segment), static_cast<unsigned>(bus), static_cast<unsigned>(device),
                   static_cast<unsigned>(function));
}

}  // namespace pviommu
