// SPDX-License-Identifier: LGPL-2.1-or-later
// Arithmetic of the processor with the flags it leaves, by the processor itself.
//
// Each function makes the instruction it is named after on values of 1, 2, 4 or 8 bytes; `flags`
// are the program's before and after.
#pragma once

#include <cstdint>

#include "vfio-glue/preload/x86_state.h"

namespace pviommu::vfio::x86 {

// The stack below rsp may be the compiler's (the red zone).
#define PVIOMMU_WITH_FLAGS(instruction)             \
  "lea -128(%%rsp), %%rsp\n\tpush %[flags]\n\tpopf\n\t" instruction \
  "\n\tpushf\n\tpop %[flags]\n\tlea 128(%%rsp), %%rsp"

#define PVIOMMU_BINARY(name, instruction)                                   \
  template <class T>                                                        \
  T name(T left, T right, std::uint64_t& flags) {                           \
    flags &= X86State::kArithmeticFlags;                                    \
    asm(PVIOMMU_WITH_FLAGS(instruction " %[right], %[left]")                \
        : [left] "+q"(left), [flags] "+r"(flags)                            \
        : [right] "q"(right)                                                \
        : "cc");                                                            \
    return left;                                                            \
  }
PVIOMMU_BINARY(add, "add")
PVIOMMU_BINARY(adc, "adc")
PVIOMMU_BINARY(sub, "sub")
PVIOMMU_BINARY(sbb, "sbb")
PVIOMMU_BINARY(bitwise_and, "and")
PVIOMMU_BINARY(bitwise_or, "or")
PVIOMMU_BINARY(bitwise_xor, "xor")
#undef PVIOMMU_BINARY

#define PVIOMMU_UNARY(name, instruction)                     \
  template <class T>                                         \
  T name(T value, std::uint64_t& flags) {                    \
    flags &= X86State::kArithmeticFlags;                     \
    asm(PVIOMMU_WITH_FLAGS(instruction " %[value]")          \
        : [value] "+q"(value), [flags] "+r"(flags)           \
        :                                                    \
        : "cc");                                             \
    return value;                                            \
  }
PVIOMMU_UNARY(inc, "inc")
PVIOMMU_UNARY(dec, "dec")
PVIOMMU_UNARY(neg, "neg")
#undef PVIOMMU_UNARY

#define PVIOMMU_SHIFT(name, instruction)                       \
  template <class T>                                           \
  T name(T value, std::uint8_t count, std::uint64_t& flags) {  \
    flags &= X86State::kArithmeticFlags;                       \
    asm(PVIOMMU_WITH_FLAGS(instruction " %%cl, %[value]")      \
        : [value] "+q"(value), [flags] "+r"(flags)             \
        : "c"(count)                                           \
        : "cc");                                               \
    return value;                                              \
  }
PVIOMMU_SHIFT(shl, "shl")
PVIOMMU_SHIFT(shr, "shr")
PVIOMMU_SHIFT(sar, "sar")
PVIOMMU_SHIFT(rol, "rol")
PVIOMMU_SHIFT(ror, "ror")
#undef PVIOMMU_SHIFT

// Not for single bytes.
#define PVIOMMU_WIDE(name, instruction)                                     \
  template <class T>                                                        \
  T name(T left, T right, std::uint64_t& flags) {                           \
    flags &= X86State::kArithmeticFlags;                                    \
    asm(PVIOMMU_WITH_FLAGS(instruction " %[right], %[left]")                \
        : [left] "+r"(left), [flags] "+r"(flags)                            \
        : [right] "r"(right)                                                \
        : "cc");                                                            \
    return left;                                                            \
  }
PVIOMMU_WIDE(imul, "imul")
PVIOMMU_WIDE(bt, "bt")
PVIOMMU_WIDE(bts, "bts")
PVIOMMU_WIDE(btr, "btr")
PVIOMMU_WIDE(btc, "btc")
#undef PVIOMMU_WIDE
#undef PVIOMMU_WITH_FLAGS

}  // namespace pviommu::vfio::x86
