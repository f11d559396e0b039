// SPDX-License-Identifier: LGPL-2.1-or-later
// An instruction of the program that has faulted at a register of a device, decoded by Zydis and
// made in the program's place: the registers from the signal's frame, the memory by a TrapBus.
//
// Made are what compilers use for volatile objects and what the C library copies with: moves
// between memory and general or vector registers, integer arithmetic and logic with an operand
// in memory, the locked ones among them, and rep movs, stos and lods.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "vfio-glue/preload/trap_bus.h"
#include "vfio-glue/preload/x86_state.h"

namespace pviommu::vfio {

class X86Instruction {
 public:
  static constexpr std::size_t kLongest = 15;

  /// Empty: `bytes` at `code` are no instruction.
  static std::optional<X86Instruction> decode(const void* code, std::size_t bytes);

  enum class Outcome {
    made,     ///< and the thread is to go on behind it, or at it for more of a string
    unknown,  ///< it is none of the above, or `fault` is not where it goes; nothing is changed
    failed,   ///< an access of it; registers are as before
  };
  /// `fault`: the address that has faulted.  `failure` is set with Outcome::failed.
  Outcome make(X86State& state, TrapBus& bus, std::uint64_t fault, Error& failure) const;

  /// For people, as Intel writes it.  `address`: of the instruction.
  std::string text(std::uint64_t address) const;

 private:
  class Making;

  ZydisDecodedInstruction instruction_;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands_;
};

}  // namespace pviommu::vfio
