// SPDX-License-Identifier: LGPL-2.1-or-later
// Run-time abstraction services (RTAS): the firmware calls of a partition, which
// a platform without firmware answers itself.
//
// A call takes and returns 32-bit cells, and the first returned one is a status.
// Its number, the token, is a property of the device tree; which calls a user
// needs is the enumeration, where their tokens come from is the port's business.
//
// Used by a program that is its own operating system: the guest of the rig, and unit tests.
#pragma once

#include "hypercall/papr/core/port.h"

namespace pviommu::papr {

enum class RtasCall : std::uint8_t {
  query_pe_dma_window,
  create_pe_dma_window,
  remove_pe_dma_window,
  reset_pe_dma_window,
  change_msi,
  query_interrupt_source_number,
  set_xive,
  get_xive,
  int_off,
  int_on,
  read_pci_config,
  write_pci_config,
};
inline constexpr std::size_t kRtasCalls = 12;
/// The property of /rtas that holds the token ("ibm,change-msi").
const char* name_of(RtasCall call);

using RtasStatus = std::int32_t;
inline constexpr RtasStatus kRtasSuccess = 0;
inline constexpr RtasStatus kRtasHardware = -1;
inline constexpr RtasStatus kRtasBusy = -2;  ///< again, at once
inline constexpr RtasStatus kRtasParameter = -3;
/// Not of PAPR: this partition has no token for the call.
inline constexpr RtasStatus kRtasAbsent = INT32_MIN;
inline constexpr RtasStatus kRtasLongBusyFirst = 9900;  ///< as kLongBusyFirst
inline constexpr RtasStatus kRtasLongBusyLast = 9905;

/// Both kinds of busy, as the hcall answer of the same meaning; kSuccess for all others.
constexpr Rc busy_of(RtasStatus status) {
  if (status == kRtasBusy) return kBusy;
  return status >= kRtasLongBusyFirst && status <= kRtasLongBusyLast ? Rc{status} : kSuccess;
}

class RtasPort : public Waiter {
 public:
  /// Makes the call once: `out` gets the `outs` cells behind the status, which is
  /// the result.  Cells are in this program's byte order here.
  virtual RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                          std::size_t outs) = 0;

 protected:
  ~RtasPort() = default;
};

/// RtasPort::rtas() until the status is not busy, or patience is over.
RtasStatus call(RtasPort& port, RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                std::size_t outs, const Patience& patience = {});

enum class RtasRefusal : std::uint8_t {
  none,      ///< done
  argument,  ///< refused here, no call was made
  absent,    ///< the partition has no such call
  firmware,  ///< see `status`
  busy,      ///< patience is over
};

struct [[nodiscard]] RtasResult {
  RtasRefusal refusal = RtasRefusal::none;
  RtasStatus status = kRtasSuccess;
  explicit operator bool() const { return refusal == RtasRefusal::none; }
};
/// The result of a call that answered `status`.
RtasResult rtas_result(RtasStatus status);

/// A PCI function as RTAS names it.
struct PciAddress {
  Buid buid;
  std::uint32_t config = 0;  ///< bus << 16 | device << 11 | function << 8
};

constexpr std::uint32_t high_cell(Buid buid) { return static_cast<std::uint32_t>(buid.raw() >> 32); }
constexpr std::uint32_t low_cell(Buid buid) { return static_cast<std::uint32_t>(buid.raw()); }

}  // namespace pviommu::papr
