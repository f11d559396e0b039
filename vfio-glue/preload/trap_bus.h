// SPDX-License-Identifier: LGPL-2.1-or-later
// What an instruction of the program reaches by its memory operands when it is made for it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hypercall/result.h"

namespace pviommu::vfio {

/// Addresses are the program's.  `bytes` is one access of an instruction, at most 64.
class TrapBus {
 public:
  /// EFAULT: there is nothing at the address; EIO: a BAR that does not decode.
  virtual Status load(std::uint64_t address, void* to, std::size_t bytes) = 0;
  virtual Status store(std::uint64_t address, const void* from, std::size_t bytes) = 0;

 protected:
  ~TrapBus() = default;
};

}  // namespace pviommu::vfio
