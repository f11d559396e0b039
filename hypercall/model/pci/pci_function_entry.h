// SPDX-License-Identifier: LGPL-2.1-or-later
// The lock of a function, taken from the platform's side, in turn with its thread.
#pragma once

#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model {

/// Announces itself before it waits, so that the function's thread, which takes
/// and releases the lock in a close loop, steps back.
class PciFunction::Entry {
 public:
  explicit Entry(PciFunction& function) : function_(function) {
    function_.entering_.fetch_add(1, std::memory_order_relaxed);
    function_.lock_.lock();
    function_.entering_.fetch_sub(1, std::memory_order_relaxed);
  }
  ~Entry() { function_.lock_.unlock(); }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  PciFunction& function_;
};

}  // namespace pviommu::model
