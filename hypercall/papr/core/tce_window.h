// SPDX-License-Identifier: LGPL-2.1-or-later
// A DMA window: a table of translation control entries (TCEs).
//
//   bus address   first                                   last
//                   |----|----|----|----|-- ... --|----|
//   TCE               0    1    2    3               n-1      2^page_shift bytes each
//                     |
//                     +-> real page number | .. | write | read
//
//   bit     63                              12  11..2   1  0
//   TCE     | real address, page aligned      | 0     | W| R |
//
// The hypervisor owns the table; H_PUT_TCE changes one entry, H_STUFF_TCE several
// to one value, H_PUT_TCE_INDIRECT several to a list.  What a hypervisor lets pass
// differs (QEMU masks what KVM refuses), so everything is checked here first.
//
// All or nothing: map() that fails leaves no entry behind.  The proof needs that
// the entries were empty before; who keeps the mappings (pviommu's address space)
// sees to that, occupied() asks the hypervisor.
//
// Concurrency: calls on one window are serialised by its owner.
#pragma once

#include "hypercall/papr/core/port.h"

namespace pviommu::papr {

inline constexpr unsigned kTcePageShift = 12;  ///< of the default window; a list is one page of it

/// One entry as the table holds it.
using Tce = Strong<struct TceTag>;
inline constexpr std::uint64_t kTceRead = 1;   ///< the device may read
inline constexpr std::uint64_t kTceWrite = 2;  ///< the device may write
inline constexpr Tce kEmptyTce{};

/// `page` is aligned to the window's page; map() checks it.
constexpr Tce make_tce(RealAddress page, Access access) {
  return Tce(page.raw() | (allows(access, Access::read) ? kTceRead : 0) |
             (allows(access, Access::write) ? kTceWrite : 0));
}
constexpr Access access_of(Tce tce) {
  return (tce.raw() & kTceRead ? Access::read : Access::none) |
         (tce.raw() & kTceWrite ? Access::write : Access::none);
}

/// What is known of a window: from ibm,dma-window of the host bridge, or from
/// ibm,create-pe-dma-window.
struct WindowGeometry {
  Liobn liobn;
  Ioba first;                 ///< aligned to the page
  std::uint64_t entries = 0;  ///< > 0
  std::uint8_t page_shift = kTcePageShift;
  RealAddress memory_last = RealAddress(~std::uint64_t{0});  ///< no page behind this one is memory
};

enum class Refusal : std::uint8_t {
  none,        ///< done
  length,      ///< no entry at all
  range,       ///< below, behind or across the end of the window
  alignment,   ///< bus or real address not at a page
  memory,      ///< real address behind the end of memory
  access,      ///< neither read nor write, or bits that an entry does not have
  hypervisor,  ///< see `rc`
  busy,        ///< patience is over; `rc` is the last answer
};
const char* name_of(Refusal refusal);

/// `done` counts entries from the front.  map(): all or 0; `uncertain`: the taking
/// back failed too, entries may have stayed, and the pages behind them must not be
/// given back.  unmap(): after an error the entries before `done` are empty, the one
/// at `done` is not, those behind may be either.
struct [[nodiscard]] WindowResult {
  Refusal refusal = Refusal::none;
  Rc rc = kSuccess;
  std::uint64_t done = 0;
  bool uncertain = false;
  explicit operator bool() const { return refusal == Refusal::none; }
};

class TceWindow {
 public:
  /// `geometry` may be wrong about the hypervisor (that is an error of the calls),
  /// but not in itself: valid() says.
  TceWindow(Port& port, const WindowGeometry& geometry, const Patience& patience = {});

  /// Page shift 12 to 34, first aligned, entries > 0, no wrap at the top.
  static bool valid(const WindowGeometry& geometry);

  const WindowGeometry& geometry() const { return geometry_; }
  std::uint64_t page_bytes() const { return std::uint64_t{1} << geometry_.page_shift; }
  Ioba last() const;

  /// Enters tces[0..count) from `ioba` on; they must have a right each, and the
  /// window's entries must be empty.  ceil(count/512) hcalls where the hypervisor
  /// has lists, and count where not.
  WindowResult map(Ioba ioba, const Tce* tces, std::uint64_t count);
  /// Empties `count` entries.  ceil(count/512) hcalls with H_STUFF_TCE, else count.
  /// A failed call is gone through again entry by entry, each tried twice.
  WindowResult unmap(Ioba ioba, std::uint64_t count);

  /// Reads one entry by H_GET_TCE.
  WindowResult get(Ioba ioba, Tce& tce);
  /// Whether any of the entries has a right, asked one by one; `done` is the first
  /// that has one, or `count`.
  WindowResult occupied(Ioba ioba, std::uint64_t count, bool& found);

  /// H_FUNCTION was seen: single calls are made from then on.
  bool has_lists() const { return has_lists_; }
  bool has_stuff() const { return has_stuff_; }

 private:
  WindowResult check(Ioba ioba, std::uint64_t count) const;
  WindowResult check(Tce tce) const;
  Ioba at(Ioba ioba, std::uint64_t entry) const { return ioba + (entry << geometry_.page_shift); }

  Rc put(Ioba ioba, Tce tce);
  Rc put_list(Ioba ioba, const Tce* tces, std::size_t count);
  Rc stuff(Ioba ioba, std::size_t count);
  Rc clear_one(Ioba ioba);
  bool surely_empty(Ioba ioba);
  /// Takes the first `count` entries out again; true when none can have stayed.
  bool roll_back(Ioba ioba, std::uint64_t count);

  Port& port_;
  const WindowGeometry geometry_;
  const Patience patience_;
  bool has_lists_ = true;
  bool has_stuff_ = true;
};

}  // namespace pviommu::papr
