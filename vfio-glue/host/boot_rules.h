// SPDX-License-Identifier: LGPL-2.1-or-later
// What holds after the next boot: a rule of udev for each device that `pviommu bind --persist`
// took, in a file of its own.
//
//   /etc/udev/rules.d/80-pviommu-0000:03:00.0.rules
//
// When the kernel adds the function, the rule sets its driver_override, loads the driver, and
// calls `pviommu bind` for the case that a driver of the initramfs has the function already; that
// refuses what is in use, as always.
#pragma once

#include <optional>
#include <string>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// The driver that the device's rule names ("none": no driver); empty: there is no rule.  One that
/// somebody changed by hand, so that no driver can be read from it, gives "?".
std::string boot_driver(const HostRoots& roots, PciAddress function);

/// The step that writes the rule, or replaces it; none: it is there, with this driver.
/// EINVAL: `driver` is not the name of a driver, so that no rule can hold it.
Result<std::optional<HostStep>> boot_rule_step(const HostRoots& roots, PciAddress function, const std::string& driver);

/// The step that removes the rule; none: there is no rule.
std::optional<HostStep> no_boot_rule_step(const HostRoots& roots, PciAddress function);

}  // namespace pviommu::host
