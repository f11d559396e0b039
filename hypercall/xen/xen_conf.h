// SPDX-License-Identifier: LGPL-2.1-or-later
// The CONF of xen:CONF.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hypercall/result.h"
#include "hypercall/xen/interface.h"

namespace pviommu::xen {

struct XenConf {
  std::string interrupts = "auto";          ///< auto, none or may-crash-dom0
  std::string domain;                       ///< guest mode: NAME, ID or UUID; empty: carriers
  std::uint64_t fail = 0;                   ///< for tests: the N-th hypercall fails
  std::optional<InterfaceNumbers> assumed;  ///< assume-interface=
};

/// EINVAL, with a sentence that names the text and what would be right.
Result<XenConf> parse_xen_conf(std::string_view conf);

}  // namespace pviommu::xen
