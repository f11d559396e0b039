// SPDX-License-Identifier: LGPL-2.1-or-later
// The CONF of papr:CONF.
#pragma once

#include <string>
#include <string_view>

#include "hypercall/result.h"
#include "hypercall/papr/vfio/kernel_group.h"

namespace pviommu::spapr {

struct Choice {
  std::string via;      ///< auto, vfio or module
  ContainerType container = ContainerType::v1;  ///< via=vfio
  WindowChoice window;                          ///< via=vfio, v2
};

/// EINVAL: the sentence names the text and what would be right.
Result<Choice> parse_conf_text(std::string_view conf);

}  // namespace pviommu::spapr
