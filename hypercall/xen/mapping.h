// SPDX-License-Identifier: LGPL-2.1-or-later
// Direct mappings: machine frames at device frames of a carrier.
//
// XEN_DOMCTL_memory_mapping takes a run of frames and does at most 64 entries
// of it (xen/arch/x86/mm/p2m.c, MAP_MMIO_MAX_ITER), an entry being 4 KiB, or
// 2 MiB or 1 GiB where both sides are aligned alike; its value is the number of
// pages done when that is not all.  A batch is cut into such pieces and they are
// sent up to 64 at a time:
//
//   runs       |--- 300 scattered pages ---|---- 1 run of 5 MiB ----|
//   pieces     1 1 1 ... 1 1 1             3 entries: 2M 2M 1M
//   entry      multicall(64) multicall(64) ...
//
// Xen takes no reference to a frame.  Whoever maps holds the pages until they
// are unmapped.
#pragma once

#include <memory>
#include <span>

#include "hypercall/spaces.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// How a space maps and unmaps: a carrier's way (Mapping) or a guest's (GuestMapping).
/// Not thread-safe; the owner of the space serialises the calls.
class SpaceMapping {
 public:
  virtual ~SpaceMapping() = default;
  virtual BatchResult map(std::span<const MapRun> runs) = 0;
  virtual BatchResult unmap(std::span<const UnmapRun> runs) = 0;
};

/// The physical map of one carrier.
class Mapping final : public SpaceMapping {
 public:
  static Result<std::unique_ptr<Mapping>> make(XenCalls& calls, Domid domid);

  /// As Spaces::map() and unmap().  After an error exactly `pages_done`
  /// pages from the front are done; Error::state_lost when that could not be
  /// had.
  BatchResult map(std::span<const MapRun> runs) override;
  BatchResult unmap(std::span<const UnmapRun> runs) override;

 private:
  struct Piece {
    Dfn dfn;
    Mfn mfn;
    std::uint64_t pages;
  };
  Mapping(XenCalls& calls, Domid domid, std::unique_ptr<XenCalls::Batch> batch);

  template <class Run>
  BatchResult change(std::span<const Run> runs, bool add);
  /// Enters Xen once for all of `pieces_`; pages_done counts from the front.
  BatchResult send(bool add);
  /// Does the rest of `piece`, from its page `done` on, alone; moves `done`.
  Status finish(const Piece& piece, std::uint64_t& done, bool add);
  Status grow_pool();

  XenCalls& calls_;
  const Domid domid_;
  std::unique_ptr<XenCalls::Batch> batch_;
  Piece pieces_[XenCalls::Batch::kCalls];
  unsigned piece_count_ = 0;
};

}  // namespace pviommu::xen
