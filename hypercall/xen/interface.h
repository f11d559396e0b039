// SPDX-License-Identifier: LGPL-2.1-or-later
// Which interface the Xen that runs has, and by which row of interface_table.h it is used.
//
//   numbers asked of Xen (XenCalls::ask_interface)
//     in the table          that row
//     newer, or a new pair  refused; with assume-interface= of just these numbers: the last
//                           row that is not newer
//     older, or none        refused
//
// It asks nobody, so that unit tests can show it any Xen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hypercall/result.h"
#include "hypercall/xen/interface_table.h"

namespace pviommu::xen {

/// 0: Xen takes no number that was tried.
struct InterfaceNumbers {
  std::uint32_t domctl = 0, sysctl = 0;
  friend bool operator==(const InterfaceNumbers&, const InterfaceNumbers&) = default;
};
/// "domctl 0x17, sysctl 0x15"
std::string to_string(const InterfaceNumbers& numbers);
/// "0x17/0x15", as in assume-interface=
std::string short_string(const InterfaceNumbers& numbers);
/// Its value: domctl's number, then sysctl's.  EINVAL with a sentence.
Result<InterfaceNumbers> parse_interface(std::string_view text);

/// Numbers that are worth asking Xen for.
struct NumberRange {
  std::uint32_t first = 0, last = 0;
};
/// Those in the table.
NumberRange known_domctls();
NumberRange known_sysctls();
/// How far beyond those Xen is asked, only to name in an error what it has.
inline constexpr std::uint32_t kNumbersBeyond = 16;

struct Interface {
  InterfaceNumbers numbers;
  const pviommu_xen_interface* layout = nullptr;  ///< of static lifetime
  bool assumed = false;                           ///< Xen's numbers are not in the table
};

/// Why an interface is refused, and what helps; for people.
struct InterfaceProblem {
  std::string what, remedy;
};

/// EPROTONOSUPPORT, with the problem as its sentence.  `assumed`: by assume-interface=; it
/// changes nothing where Xen's numbers are known.
Result<Interface> choose_interface(const InterfaceNumbers& found,
                                   const std::optional<InterfaceNumbers>& assumed);
/// The same question for the doctor; empty: choose_interface() takes it.
std::optional<InterfaceProblem> interface_problem(const InterfaceNumbers& found,
                                                  const std::optional<InterfaceNumbers>& assumed);

}  // namespace pviommu::xen
