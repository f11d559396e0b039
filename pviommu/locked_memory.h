// SPDX-License-Identifier: LGPL-2.1-or-later
// RLIMIT_MEMLOCK, counted the way the kernel's VFIO counts it.
#pragma once

#include <cstdint>

#include "hypercall/result.h"

namespace pviommu {

/// Pages held for DMA by this process.  Every mapping counts, also of a page
/// that is mapped already; memory that the process locked by mlock() counts
/// beside it.  A process with CAP_IPC_LOCK is not limited.
/// Thread-safe.
class LockedMemory {
 public:
  /// Looks whether the calling thread has CAP_IPC_LOCK.
  LockedMemory();

  /// ENOMEM when `pages` more would go beyond RLIMIT_MEMLOCK.
  Status add(std::uint64_t pages);
  void remove(std::uint64_t pages);
  /// False: RLIMIT_MEMLOCK means nothing to us.
  bool limited() const { return !exempt_; }

 private:
  bool exempt_;
};

}  // namespace pviommu
