// SPDX-License-Identifier: LGPL-2.1-or-later
// PCI addresses as text.
#pragma once

#include <string>
#include <string_view>

#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

/// "0000:00:05.0"
std::string to_string(Sbdf sbdf);
/// Accepts "ssss:bb:dd.f" and "bb:dd.f" (segment 0); EINVAL otherwise.
Result<Sbdf> parse_sbdf(std::string_view text);

}  // namespace pviommu
