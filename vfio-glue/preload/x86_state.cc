// SPDX-License-Identifier: LGPL-2.1-or-later
// The floating point part of a signal frame (Intel SDM 1, 13.4; Linux, asm/sigcontext.h):
//
//   0     FXSAVE: xmm0-15 at 160, the kernel's own words at 464    components 0, 1
//   512   header: which components are not in their first state
//   576+  what XSAVE saves, at offsets that CPUID tells             2: ymm0-15, upper halves
//                                                                  6: zmm0-15, upper halves; 7: zmm16-31
#include "vfio-glue/preload/x86_state.h"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace pviommu::vfio {
namespace {

constexpr std::array<int, 16> kGeneral = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

constexpr std::size_t kXmm = 160, kKernelsWords = 464, kHeader = 512;
constexpr unsigned kSse = 1, kAvx = 2, kUpper512 = 6, kHigh16 = 7;

struct KernelsWords {  // struct _fpx_sw_bytes
  std::uint32_t magic, extended_size;
  std::uint64_t components;
  std::uint32_t xsave_size;
};
constexpr std::uint32_t kMagic = 0x46505853;

struct Extent {
  std::uint32_t offset = 0, bytes = 0;
};
Extent place_of(unsigned component) {
  Extent place;
  std::uint32_t c = 0, d = 0;
  __cpuid_count(0xd, component, place.bytes, place.offset, c, d);
  return place;
}

}  // namespace

std::uint64_t X86State::general(unsigned number) const {
  return static_cast<std::uint64_t>(context_.uc_mcontext.gregs[kGeneral[number]]);
}

void X86State::set_general(unsigned number, std::uint64_t value) {
  context_.uc_mcontext.gregs[kGeneral[number]] = static_cast<greg_t>(value);
}

void X86State::set_arithmetic_flags(std::uint64_t flags) {
  greg_t& own = context_.uc_mcontext.gregs[REG_EFL];
  own = (own & ~static_cast<greg_t>(kArithmeticFlags)) | static_cast<greg_t>(flags & kArithmeticFlags);
}

/// 16 bytes of a register; null: not in the frame.  Who writes gets a component that counts.
std::byte* X86State::vector_part(unsigned number, unsigned part, bool writes) const {
  auto* area = reinterpret_cast<std::byte*>(context_.uc_mcontext.fpregs);
  if (area == nullptr) return nullptr;
  KernelsWords words;
  std::memcpy(&words, area + kKernelsWords, sizeof words);
  const bool extended = words.magic == kMagic;
  const unsigned component = number >= 16 ? kHigh16 : part == 0 ? kSse : part == 1 ? kAvx : kUpper512;
  if (!extended && component != kSse) return nullptr;
  if (extended && (words.components >> component & 1) == 0) return nullptr;
  Extent place{kXmm, 16 * 16};
  if (component != kSse) place = place_of(component);
  std::size_t at = place.offset;
  if (component == kSse || component == kAvx) at += std::size_t{16} * number;
  if (component == kUpper512) at += std::size_t{32} * number + 16 * (part - 2);
  if (component == kHigh16) at += std::size_t{64} * (number - 16) + 16 * part;
  if (extended) {
    if (at + 16 > words.xsave_size) return nullptr;
    std::uint64_t used;
    std::memcpy(&used, area + kHeader, sizeof used);
    if ((used >> component & 1) == 0) {
      // In its first state, whatever the frame holds.
      std::memset(area + place.offset, 0, place.bytes);
      if (writes) {
        used |= std::uint64_t{1} << component;
        std::memcpy(area + kHeader, &used, sizeof used);
      }
    }
  }
  return area + at;
}

bool X86State::vector(unsigned number, void* to, std::size_t bytes) const {
  for (std::size_t done = 0; done < bytes; done += 16) {
    const std::byte* part = vector_part(number, static_cast<unsigned>(done / 16), false);
    if (part == nullptr) return false;
    std::memcpy(static_cast<std::byte*>(to) + done, part, std::min<std::size_t>(16, bytes - done));
  }
  return true;
}

bool X86State::set_vector(unsigned number, const void* from, std::size_t bytes, bool clears) {
  for (unsigned part = 0; part < 4; ++part) {
    const std::size_t done = std::size_t{16} * part;
    if (done >= bytes && !clears) break;
    std::byte* at = vector_part(number, part, true);
    if (at == nullptr) {
      if (done < bytes) return false;
      break;  // the processor has no more of it
    }
    const std::size_t step = done < bytes ? std::min<std::size_t>(16, bytes - done) : 0;
    std::memcpy(at, static_cast<const std::byte*>(from) + done, step);
    if (clears) std::memset(at + step, 0, 16 - step);
  }
  return true;
}

}  // namespace pviommu::vfio
