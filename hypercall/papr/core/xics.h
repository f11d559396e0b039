// SPDX-License-Identifier: LGPL-2.1-or-later
// XICS, the interrupt controller of POWER8 and of partitions that did not ask for
// XIVE: sources are set up by RTAS, a processor's presentation is read by hcalls.
//
//   source --(priority, server)--> presentation of the server
//                                    XIRR  | CPPR 31..24 | source 23..0 |
//
// A lower number is more urgent; a source is presented when its priority is
// below the CPPR.  Priority 0xff masks a source: an edge is held there.
//
// Used by a program that is its own operating system: the guest of the rig, and unit tests.
#pragma once

#include "hypercall/papr/core/rtas.h"

namespace pviommu::papr {

inline constexpr std::uint8_t kLeastFavored = 0xff;  ///< as CPPR: all; as a priority: masked

/// `server` is this processor's number in hcalls about the own presentation, which
/// have none to give.
class Xics {
 public:
  Xics(Port& port, RtasPort& rtas) : port_(port), rtas_(rtas) {}

  RtasResult set(Lisn source, std::uint32_t server, std::uint8_t priority);
  RtasResult get(Lisn source, std::uint32_t& server, std::uint8_t& priority);
  RtasResult mask(Lisn source);    ///< ibm,int-off: the priority is kept aside
  RtasResult unmask(Lisn source);  ///< ibm,int-on; an interrupt held meanwhile comes now

  /// H_CPPR: what is less urgent than this, or as much, waits.
  Rc set_cppr(std::uint8_t cppr);
  /// H_IPOLL: looks, accepts nothing.
  Rc poll(std::uint32_t server, std::uint32_t& xirr);
  /// H_XIRR: accepts; `xirr` goes to eoi() later.  source_of(xirr) is 0 for none.
  Rc accept(std::uint32_t& xirr);
  /// H_EOI: restores the CPPR that was in force before the accept.
  Rc eoi(std::uint32_t xirr);
  static Lisn source_of(std::uint32_t xirr) { return Lisn(xirr & 0xffffff); }

 private:
  Port& port_;
  RtasPort& rtas_;
};

}  // namespace pviommu::papr
