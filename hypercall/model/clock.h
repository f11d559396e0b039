// SPDX-License-Identifier: LGPL-2.1-or-later
// The time that does not jump.
#pragma once

#include <chrono>
#include <cstdint>

namespace pviommu::model {

/// Nanoseconds since some moment before the process; never fewer than before.
inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                    std::chrono::nanoseconds(1));
}

}  // namespace pviommu::model
