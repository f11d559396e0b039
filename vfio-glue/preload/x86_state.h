// SPDX-License-Identifier: LGPL-2.1-or-later
// The registers of an interrupted x86-64 thread, as the kernel has put them on the signal's
// stack and takes them back from there.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace pviommu::vfio {

class X86State {
 public:
  /// The six flags that arithmetic leaves: CF, PF, AF, ZF, SF, OF.
  static constexpr std::uint64_t kArithmeticFlags = 0x8d5;
  static constexpr std::uint64_t kDirectionFlag = 0x400;

  explicit X86State(ucontext_t& context) : context_(context) {}

  /// General registers in the processor's numbering: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 ...
  std::uint64_t general(unsigned number) const;
  void set_general(unsigned number, std::uint64_t value);

  std::uint64_t next() const { return static_cast<std::uint64_t>(context_.uc_mcontext.gregs[REG_RIP]); }
  void set_next(std::uint64_t address) { context_.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(address); }
  std::uint64_t flags() const { return static_cast<std::uint64_t>(context_.uc_mcontext.gregs[REG_EFL]); }
  void set_arithmetic_flags(std::uint64_t flags);

  /// The low `bytes` (at most 64) of vector register `number` (0 to 31).  False: the kernel has
  /// not saved that part of it.
  bool vector(unsigned number, void* to, std::size_t bytes) const;
  /// Sets the low `bytes`, a multiple of 16 or less than that.  `clears`: what lies above them
  /// becomes 0, as with VEX and EVEX encodings.
  bool set_vector(unsigned number, const void* from, std::size_t bytes, bool clears);

 private:
  std::byte* vector_part(unsigned number, unsigned part, bool writes) const;

  ucontext_t& context_;
};

}  // namespace pviommu::vfio
