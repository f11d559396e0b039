// SPDX-License-Identifier: LGPL-2.1-or-later
// Dynamic DMA windows: further TCE tables of a partitionable endpoint, made and
// removed by RTAS (LoPAR, "DDW").
//
//   0            1 GiB                1 << 59
//   |-- default --|    ...             |-- dynamic, pages of 4K 64K 2M 16M --|
//
// How many there can be and of which pages, query() says.  A hypervisor decides
// where a window lies on the bus.
//
// Used by a program that is its own operating system: the guest of the rig, and unit tests.
#pragma once

#include "hypercall/papr/core/rtas.h"
#include "hypercall/papr/core/tce_window.h"

namespace pviommu::papr {

struct DynamicWindowOffer {
  std::uint32_t windows = 0;       ///< that can still be made
  std::uint64_t most_entries = 0;  ///< of one window
  std::uint64_t page_sizes = 0;    ///< bit n: pages of 2^n bytes
};

class DynamicWindows {
 public:
  /// `pe` is any function of the endpoint.
  DynamicWindows(RtasPort& port, PciAddress pe, const Patience& patience = {})
      : port_(port), pe_(pe), patience_(patience) {}

  RtasResult query(DynamicWindowOffer& offer);
  /// 2^window_shift bytes of bus addresses in pages of 2^page_shift.  Asks query() first
  /// and refuses what is not offered.  A window that makes no sense is removed again.
  /// `memory_last` of the geometry is left alone.
  RtasResult create(unsigned page_shift, unsigned window_shift, WindowGeometry& geometry);
  /// Every entry unmapped before.  Removes a default window too.
  RtasResult remove(Liobn liobn);
  /// As after power-on: the default window, empty, and no other one.
  RtasResult reset();

 private:
  RtasPort& port_;
  const PciAddress pe_;
  const Patience patience_;
};

}  // namespace pviommu::papr
