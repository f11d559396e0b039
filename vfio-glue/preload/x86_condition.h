// SPDX-License-Identifier: LGPL-2.1-or-later
// Conditions of the processor: which one an instruction asks for, and whether it holds.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>
#include <optional>

namespace pviommu::vfio::x86 {

/// The condition of a cmovcc or setcc, numbered as the processor does, bit 0 for the opposite.
inline std::optional<unsigned> condition_of(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_CMOVO: case ZYDIS_MNEMONIC_SETO: return 0;
    case ZYDIS_MNEMONIC_CMOVNO: case ZYDIS_MNEMONIC_SETNO: return 1;
    case ZYDIS_MNEMONIC_CMOVB: case ZYDIS_MNEMONIC_SETB: return 2;
    case ZYDIS_MNEMONIC_CMOVNB: case ZYDIS_MNEMONIC_SETNB: return 3;
    case ZYDIS_MNEMONIC_CMOVZ: case ZYDIS_MNEMONIC_SETZ: return 4;
    case ZYDIS_MNEMONIC_CMOVNZ: case ZYDIS_MNEMONIC_SETNZ: return 5;
    case ZYDIS_MNEMONIC_CMOVBE: case ZYDIS_MNEMONIC_SETBE: return 6;
    case ZYDIS_MNEMONIC_CMOVNBE: case ZYDIS_MNEMONIC_SETNBE: return 7;
    case ZYDIS_MNEMONIC_CMOVS: case ZYDIS_MNEMONIC_SETS: return 8;
    case ZYDIS_MNEMONIC_CMOVNS: case ZYDIS_MNEMONIC_SETNS: return 9;
    case ZYDIS_MNEMONIC_CMOVP: case ZYDIS_MNEMONIC_SETP: return 10;
    case ZYDIS_MNEMONIC_CMOVNP: case ZYDIS_MNEMONIC_SETNP: return 11;
    case ZYDIS_MNEMONIC_CMOVL: case ZYDIS_MNEMONIC_SETL: return 12;
    case ZYDIS_MNEMONIC_CMOVNL: case ZYDIS_MNEMONIC_SETNL: return 13;
    case ZYDIS_MNEMONIC_CMOVLE: case ZYDIS_MNEMONIC_SETLE: return 14;
    case ZYDIS_MNEMONIC_CMOVNLE: case ZYDIS_MNEMONIC_SETNLE: return 15;
    default: return {};
  }
}

/// Whether the condition is true with the processor's `flags`.
inline bool holds(unsigned condition, std::uint64_t flags) {
  const bool carry = flags & ZYDIS_CPUFLAG_CF, zero = flags & ZYDIS_CPUFLAG_ZF, sign = flags & ZYDIS_CPUFLAG_SF;
  const bool overflow = flags & ZYDIS_CPUFLAG_OF, parity = flags & ZYDIS_CPUFLAG_PF;
  const bool all[] = {overflow, carry, zero, carry || zero, sign, parity, sign != overflow, zero || sign != overflow};
  return all[condition / 2] != (condition % 2 == 1);
}

}  // namespace pviommu::vfio::x86
