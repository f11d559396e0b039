// SPDX-License-Identifier: LGPL-2.1-or-later
// Times an operation, when times are asked for.
#pragma once

#include <time.h>

#include "hypercall/statistics.h"

namespace pviommu::vfio {

class Stopwatch {
 public:
  explicit Stopwatch(Counter& nanoseconds) : nanoseconds_(nanoseconds) {
    if (statistics().timed.load(std::memory_order_relaxed)) [[unlikely]]
      start_ = now();
  }
  /// The operation succeeded.
  void stop() {
    if (start_) [[unlikely]]
      nanoseconds_.fetch_add(now() - start_, std::memory_order_relaxed);
  }

 private:
  static std::uint64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
  }
  Counter& nanoseconds_;
  std::uint64_t start_ = 0;
};

}  // namespace pviommu::vfio
