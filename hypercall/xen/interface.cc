// SPDX-License-Identifier: LGPL-2.1-or-later
// Looking numbers up, and the sentences about those that are not there.
#include "hypercall/xen/interface.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <span>

namespace pviommu::xen {
namespace {

std::span<const pviommu_xen_interface> table() { return pviommu_xen_interfaces; }

std::string hex(std::uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

/// "0x19", up to the end of `text`.
std::optional<std::uint32_t> parse_number(std::string_view text) {
  if (!text.starts_with("0x")) return std::nullopt;
  text.remove_prefix(2);
  std::uint32_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (problem != std::errc{} || end != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

const pviommu_xen_interface* row_of(const InterfaceNumbers& found) {
  for (const pviommu_xen_interface& row : table())
    if (row.domctl == found.domctl && row.sysctl == found.sysctl) return &row;
  return nullptr;
}

/// "domctl 0x15 to 0x18, sysctl 0x15 to 0x16 of Xen 4.17 to 4.23"
std::string known() {
  const std::string_view oldest = table().front().xen, newest = table().back().xen;
  return "domctl " + hex(known_domctls().first) + " to " + hex(known_domctls().last) + " and sysctl " +
         hex(known_sysctls().first) + " to " + hex(known_sysctls().last) + ", of Xen " +
         std::string(oldest.substr(0, oldest.find(','))) + " to " +
         std::string(newest.substr(newest.find_last_of(' ') + 1));
}

bool older(const InterfaceNumbers& found) {
  return found.domctl < known_domctls().first || found.sysctl < known_sysctls().first;
}

}  // namespace

std::string to_string(const InterfaceNumbers& numbers) {
  return "domctl " + (numbers.domctl != 0 ? hex(numbers.domctl) : "of an unknown number") + ", sysctl " +
         (numbers.sysctl != 0 ? hex(numbers.sysctl) : "of an unknown number");
}

std::string short_string(const InterfaceNumbers& numbers) { return hex(numbers.domctl) + "/" + hex(numbers.sysctl); }

Result<InterfaceNumbers> parse_interface(std::string_view text) {
  const auto slash = text.find('/');
  const auto domctl = parse_number(text.substr(0, slash));
  const auto sysctl = slash != text.npos ? parse_number(text.substr(slash + 1)) : std::nullopt;
  if (!domctl || !sysctl)
    return Error{EINVAL, "open xen"}.with_sentence(
        "assume-interface=" + std::string(text) +
        ": expected the numbers of Xen's domctl and sysctl interfaces, like assume-interface=0x19/0x17");
  return InterfaceNumbers{*domctl, *sysctl};
}

NumberRange known_domctls() {
  const auto [least, most] = std::ranges::minmax(table(), {}, &pviommu_xen_interface::domctl);
  return {least.domctl, most.domctl};
}

NumberRange known_sysctls() {
  const auto [least, most] = std::ranges::minmax(table(), {}, &pviommu_xen_interface::sysctl);
  return {least.sysctl, most.sysctl};
}

std::optional<InterfaceProblem> interface_problem(const InterfaceNumbers& found,
                                                  const std::optional<InterfaceNumbers>& assumed) {
  if (row_of(found) != nullptr) return std::nullopt;
  const std::string has = "Xen's interface is " + to_string(found);
  if (found.domctl == 0 || found.sysctl == 0)
    return InterfaceProblem{has + "; this pviommu knows " + known(),
                            "install a pviommu that knows this Xen (or, where a Flask policy denies the calls, one "
                            "that allows them)"};
  if (older(found))
    return InterfaceProblem{has + ", older than what this pviommu knows: " + known(),
                            "use Xen " + std::string(table().front().xen) + " or later"};
  const std::string brave = "or, at your own risk, use it like the last one known: --hypervisor=xen:assume-interface=" +
                            short_string(found);
  if (!assumed)
    return InterfaceProblem{has + "; this pviommu knows " + known(),
                            "install a pviommu that knows this Xen, " + brave};
  if (*assumed != found)
    return InterfaceProblem{has + ", not " + short_string(*assumed) + " as assume-interface= says",
                            "install a pviommu that knows this Xen, " + brave};
  return std::nullopt;
}

Result<Interface> choose_interface(const InterfaceNumbers& found,
                                   const std::optional<InterfaceNumbers>& assumed) {
  if (const auto problem = interface_problem(found, assumed))
    return Error{EPROTONOSUPPORT, "open xen"}.with_sentence(problem->what + ": " + problem->remedy);
  if (const pviommu_xen_interface* row = row_of(found)) return Interface{found, row, false};
  // Layouts follow domctl's number, so that alone says which row is the nearest.
  const pviommu_xen_interface* nearest = &table().front();
  for (const pviommu_xen_interface& row : table())
    if (row.domctl <= found.domctl) nearest = &row;
  return Interface{found, nearest, true};
}

}  // namespace pviommu::xen
