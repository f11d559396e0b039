// SPDX-License-Identifier: LGPL-2.1-or-later
// The three RTAS calls of DDW, each checked before and after: what a hypervisor answers is
// believed only where it makes a window that TceWindow accepts.
#include "hypercall/papr/core/dynamic_window.h"

namespace pviommu::papr {
namespace {

// The page sizes as ibm,query-pe-dma-window lists them, bit by bit.
constexpr std::uint8_t kShifts[] = {12, 16, 24, 25, 26, 27, 28, 34, 21};

}  // namespace

RtasResult DynamicWindows::query(DynamicWindowOffer& offer) {
  const std::uint32_t in[] = {pe_.config, high_cell(pe_.buid), low_cell(pe_.buid)};
  std::uint32_t out[4] = {};
  const RtasResult result = rtas_result(call(port_, RtasCall::query_pe_dma_window, in, 3, out, 4, patience_));
  if (!result) return result;
  offer.windows = out[0];
  offer.most_entries = out[1];
  offer.page_sizes = 0;
  for (unsigned bit = 0; bit < sizeof kShifts; ++bit)
    if ((out[2] >> bit & 1) != 0) offer.page_sizes |= std::uint64_t{1} << kShifts[bit];
  return result;
}

RtasResult DynamicWindows::create(unsigned page_shift, unsigned window_shift, WindowGeometry& geometry) {
  RtasResult refused;
  refused.refusal = RtasRefusal::argument;
  if (page_shift >= 64 || window_shift >= 64 || window_shift < page_shift) return refused;
  DynamicWindowOffer offer;
  if (const RtasResult asked = query(offer); !asked) return asked;
  const std::uint64_t entries = std::uint64_t{1} << (window_shift - page_shift);
  if (offer.windows == 0 || (offer.page_sizes >> page_shift & 1) == 0 || entries > offer.most_entries)
    return refused;

  const std::uint32_t in[] = {pe_.config, high_cell(pe_.buid), low_cell(pe_.buid), page_shift, window_shift};
  std::uint32_t out[3] = {};
  RtasResult result = rtas_result(call(port_, RtasCall::create_pe_dma_window, in, 5, out, 3, patience_));
  if (!result) return result;
  geometry.liobn = Liobn(out[0]);
  geometry.first = Ioba(std::uint64_t{out[1]} << 32 | out[2]);
  geometry.entries = entries;
  geometry.page_shift = static_cast<std::uint8_t>(page_shift);
  if (!TceWindow::valid(geometry)) {
    (void)remove(geometry.liobn);
    result.refusal = RtasRefusal::firmware;
  }
  return result;
}

RtasResult DynamicWindows::remove(Liobn liobn) {
  const std::uint32_t in[] = {liobn.raw()};
  return rtas_result(call(port_, RtasCall::remove_pe_dma_window, in, 1, nullptr, 0, patience_));
}

RtasResult DynamicWindows::reset() {
  const std::uint32_t in[] = {pe_.config, high_cell(pe_.buid), low_cell(pe_.buid)};
  return rtas_result(call(port_, RtasCall::reset_pe_dma_window, in, 3, nullptr, 0, patience_));
}

}  // namespace pviommu::papr
