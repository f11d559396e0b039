// SPDX-License-Identifier: LGPL-2.1-or-later
// Which domain has a device.
//
// No hypercall tells it.  Xen is sent the debug key Q, whose answer (one line for each PCI device)
// goes to its console ring, and that is read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hypercall/strong.h"
#include "hypercall/xen/control.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// "d0", "d5", "DomIO:7ff0"; empty: Xen does not say.
std::string ask_owner(XenCalls& calls, Control& control, Sbdf sbdf);

/// The text of the console ring from `index` on, which is moved to the end; empty: it cannot be read.
std::optional<std::string> read_console(XenCalls& calls, std::uint32_t& index);

/// For pviommu_module::keeper and set_keeper.
int keeper_for_command(const char* conf, const char* device) noexcept;
int set_keeper_for_command(const char* conf, const char* device, std::uint32_t keeper) noexcept;

}  // namespace pviommu::xen
