// SPDX-License-Identifier: LGPL-2.1-or-later
// The hypervisor's device address spaces: what a device's DMA is translated by.
//
//   create_space -> attach devices -> map/unmap -> detach -> destroy_space
//                     frames_of -> map ... unmap -> forget_frames
//
// All that pviommu/ needs of a hypervisor, and nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hypercall/pinned_memory.h"
#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

/// A device address space of the hypervisor: Xen carrier domain (or one of its
/// translation contexts), PAPR LIOBN, model space.
using SpaceId = Strong<struct SpaceIdTag, std::uint32_t>;

/// Consecutive device frames onto consecutive machine frames.
struct MapRun {
  Dfn dfn;
  Mfn mfn;
  std::uint64_t pages = 0;  ///< 4 KiB pages, > 0
  Access access = Access::read_write;
};

/// `mfn` is what was mapped there: Xen's XEN_DOMCTL_memory_mapping wants it for
/// the removal too, and a removal with a wrong frame is a bug to report.
struct UnmapRun {
  Dfn dfn;
  Mfn mfn;
  std::uint64_t pages = 0;
};

/// How far a batch came.  `pages_done` counts pages from the front of the
/// batch, also when `status` is an error; fewer than asked for without an error
/// means "call again with the rest" (Xen's positive return, H_BUSY, a limit).
/// Exactly those pages were done and the others are as before, unless the error
/// has Error::state_lost: then nobody knows how far it came, and devices of the
/// space may still reach any frame of the batch until the space is gone.
struct [[nodiscard]] BatchResult {
  std::uint64_t pages_done = 0;
  Status status;
};

/// Consecutive frames behind a piece of pinned memory.
struct FrameRun {
  Mfn mfn;
  std::uint64_t pages = 0;
};

struct SpaceConfig {
  /// Shown by the hypervisor's own tools, so that an orphan can be recognised.
  std::string tag;
  /// Devices that are going to be attached, as far as that is known.  Backends
  /// whose spaces are made of devices (a kernel container wants its group first)
  /// take them now; others need not look.
  std::vector<Sbdf> devices = {};
};

/// Concurrency: every method may be called from any thread.  Calls on one space
/// are serialised by the caller (pviommu::AddressSpace holds its lock); calls on
/// different spaces run concurrently.
class Spaces {
 public:
  Spaces() = default;
  Spaces(const Spaces&) = delete;
  Spaces& operator=(const Spaces&) = delete;
  virtual ~Spaces() = default;

  /// ENOSPC: there can be no more.
  virtual Result<SpaceId> create_space(const SpaceConfig& config) = 0;
  /// All devices detached before (else EBUSY).  Mappings go with it.
  virtual Status destroy_space(SpaceId space) = 0;

  /// From here on the device's DMA is translated by `space`.  EBUSY when it is
  /// attached anywhere already.
  virtual Status attach(SpaceId space, Sbdf sbdf) = 0;
  /// When this returns without error no access of the device is under way any more.
  virtual Status detach(SpaceId space, Sbdf sbdf) = 0;

  // After an error of map() and unmap() the state of every page of the batch must be
  // known (BatchResult); a backend that cannot say, because its own undo failed or a
  // call came back without a word, sets Error::state_lost, with code EIO unless it has
  // a better one.  So do attach(), detach() and flush(): there the flag is about every
  // frame mapped in the space.  None of these throws.

  /// Maps the runs in order.  The target entries must be empty: EEXIST.  A
  /// hypervisor may give the space up for that: it is dead then, every call but
  /// detach() and destroy_space() fails with EIO and changes nothing, so that what
  /// was mapped stays within reach of devices until the space is destroyed.
  /// Whoever maps must therefore know what is mapped, and never try.
  /// E2BIG: above the declared limits of a call; nothing done.
  virtual BatchResult map(SpaceId space, std::span<const MapRun> runs) = 0;
  /// Removes the runs in order.  ENOENT at the first page not mapped so.  When
  /// it returns the device cannot reach the pages any more, unless
  /// `deferred_flush`: then after flush().
  virtual BatchResult unmap(SpaceId space, std::span<const UnmapRun> runs) = 0;
  virtual Status flush(SpaceId space) = 0;

  /// The machine frames behind pinned memory, appended to `out` in order of
  /// address.  They stay valid until forget_frames().  Not counted as a
  /// hypercall by backends that need none for it.
  virtual Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) = 0;
  /// Before the memory is unpinned, after it was unmapped everywhere.
  virtual void forget_frames(PinnedMemory& memory) noexcept = 0;

  /// The machine frames of an mmap-able BAR piece (peer-to-peer), at byte
  /// `offset` of BAR `bar`.  EOPNOTSUPP unless `peer_to_peer`.
  virtual Status frames_of_mmio(Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t bytes,
                                std::vector<FrameRun>& out) = 0;
};

}  // namespace pviommu
