// SPDX-License-Identifier: LGPL-2.1-or-later
// RLIMIT_MEMLOCK, counted the way the kernel's VFIO counts it.
#pragma once

#include <cstdint>

#include "hypercall/result.h"

namespace pviommu {

/// Pages held for DMA by this process.  Every mapping counts, also that of a page
/// that is mapped already; memory that the process locked by mlock() counts
/// beside it.  A thread with CAP_IPC_LOCK is not limited, but what it maps counts.
/// Thread-safe.
class LockedMemory {
 public:
  /// ENOMEM when `pages` more would go beyond RLIMIT_MEMLOCK.
  Status add(std::uint64_t pages);
  void remove(std::uint64_t pages) noexcept;
  /// False: RLIMIT_MEMLOCK means nothing to the calling thread.
  static bool limited();

  /// Called at each refusal, with the limit in bytes and a lock held: to say what the kernel
  /// says in its log.  One for the process.
  using Refused = void (*)(std::uint64_t limit);
  static void on_refusal(Refused tell);
};

}  // namespace pviommu
