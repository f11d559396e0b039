// SPDX-License-Identifier: LGPL-2.1-or-later
// The PCI bus of this kernel as sysfs shows it: which functions there are, what
// they are, and whether a program can have them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/result.h"

namespace pviommu {

/// All functions with a type 0 header, in Sbdf order, without host and other
/// bridges.  `group` is the address itself: stable, and the same in every
/// process.  An error when `sysfs` has no PCI bus that can be read.
/// `backend` begins the name of the lock that a user of the function holds.
Result<std::vector<PciDeviceInfo>> list_pci_devices(std::string_view backend, const std::string& sysfs = "/sys");

/// The folder of a function.
std::string sysfs_folder(const std::string& sysfs, Sbdf sbdf);
/// The function of a folder as list_pci_devices() lists it; empty for what no program
/// can use: bridges.  ENOENT: there is none.
Result<std::optional<PciDeviceInfo>> read_pci_info(const std::string& folder, Sbdf sbdf, std::string_view backend);

/// A small attribute, without the line end.
Result<std::string> sysfs_text(const std::string& path);
/// The last name in what a link of sysfs points to ("vfio-pci", "12"); empty: there is
/// no such link.
std::string sysfs_link_name(const std::string& path);

}  // namespace pviommu
