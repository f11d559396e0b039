// SPDX-License-Identifier: LGPL-2.1-or-later
// Hcalls by number, their answers, and the address types of PAPR.
//
// Numbers and answers are those of the Linux on Power Architecture Reference,
// chapter "Virtualization" (the OpenPOWER version of PAPR).  An hcall takes its
// opcode in r3 and up to nine arguments in r4..r12, and answers in the same
// registers.
//
// Nothing in the core of this folder needs a C library, an allocator, exceptions
// or run-time types: the same sources run in a Linux process, in a program that
// is its own operating system, and against a model in the unit tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hypercall/strong.h"

namespace pviommu::papr {

using Liobn = Strong<struct LiobnTag, std::uint32_t>;  ///< logical I/O bus number: names a TCE table
using Ioba = Strong<struct IobaTag>;  ///< I/O bus address, bytes: what a device puts on the bus
using RealAddress =
    Strong<struct RealAddressTag>;    ///< logical real address, bytes: what the OS calls physical
using Buid = Strong<struct BuidTag>;  ///< bus unit id: names a PCI host bridge
using Lisn = Strong<struct LisnTag, std::uint32_t>;  ///< logical interrupt source number

enum class Hcall : std::uint64_t {
  get_tce = 0x1c,
  put_tce = 0x20,
  logical_ci_load = 0x3c,
  logical_ci_store = 0x40,
  eoi = 0x64,
  cppr = 0x68,
  ipi = 0x6c,
  ipoll = 0x70,
  xirr = 0x74,
  stuff_tce = 0x138,
  put_tce_indirect = 0x13c,
  int_get_source_info = 0x3a8,
  int_set_source_config = 0x3ac,
  int_get_source_config = 0x3b0,
  int_get_queue_info = 0x3b4,
  int_set_queue_config = 0x3b8,
  int_get_queue_config = 0x3bc,
  int_esb = 0x3c8,
  int_sync = 0x3cc,
  int_reset = 0x3d0,
  // Not of PAPR: what KVM and QEMU add for a guest without firmware.
  rtas = 0xf000,
  client_architecture_support = 0xf002,
};

/// What an hcall answered, r3.  Negative: refused; 0: done; positive: the values
/// below, or a value the call defines.
using Rc = std::int64_t;

inline constexpr Rc kSuccess = 0;           // H_SUCCESS
inline constexpr Rc kBusy = 1;              // H_BUSY: again, at once
inline constexpr Rc kLongBusyFirst = 9900;  // H_LONG_BUSY_ORDER_1_MSEC: again, in about 1 ms
inline constexpr Rc kLongBusyLast = 9905;   // H_LONG_BUSY_ORDER_100_SEC; a factor of ten a step
inline constexpr Rc kHardware = -1;         // H_HARDWARE
inline constexpr Rc kFunction = -2;         // H_FUNCTION: there is no such hcall, or not for us
inline constexpr Rc kPrivilege = -3;        // H_PRIVILEGE
inline constexpr Rc kParameter = -4;        // H_PARAMETER
inline constexpr Rc kResource = -16;        // H_RESOURCE
inline constexpr Rc kP2 = -55;              // H_P2: the second argument
inline constexpr Rc kP3 = -56;
inline constexpr Rc kP4 = -57;
inline constexpr Rc kP5 = -58;

/// True for H_BUSY and the long ones: nothing or a part was done, ask again.
constexpr bool is_busy(Rc rc) { return rc == kBusy || (rc >= kLongBusyFirst && rc <= kLongBusyLast); }
/// What a busy answer proposes to wait, in milliseconds; 0 for H_BUSY.
constexpr std::uint32_t busy_milliseconds(Rc rc) {
  std::uint32_t milliseconds = rc >= kLongBusyFirst && rc <= kLongBusyLast ? 1 : 0;
  for (Rc order = kLongBusyFirst; order < rc && milliseconds != 0 && order < kLongBusyLast; ++order)
    milliseconds *= 10;
  return milliseconds;
}

/// "H_PARAMETER" and the like; "?" for what is not listed here.
const char* name_of(Rc rc);
const char* name_of(Hcall op);

inline constexpr std::size_t kHcallRegisters = 9;  ///< r4..r12

/// Entries in one H_PUT_TCE_INDIRECT list, which is one 4 KiB page, and the most
/// that PAPR lets one H_STUFF_TCE change.
inline constexpr std::size_t kTcesPerCall = 512;

}  // namespace pviommu::papr
