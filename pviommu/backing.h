// SPDX-License-Identifier: LGPL-2.1-or-later
// What stands behind a mapping: its pins and its frames, from the map to the unmap.
//
// A mapping's record holds, in MappingRecord::owner and ::frames:
//
//   one pin, one run of frames   owner = PinnedMemory*        frames = mfn
//   BAR piece, one run           owner = 0                    frames = mfn
//   anything else                owner = Backing* | 1         frames = 0
//
// Nearly all mappings are of the first kind, which costs no allocation beside
// the pin.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "hypercall/pinned_memory.h"
#include "hypercall/spaces.h"

namespace pviommu {

/// In MappingRecord::owner: it is a Backing*.
inline constexpr std::uint64_t kBackingTag = 1;

/// Pins and frames of a mapping that is not in one piece.
struct Backing {
  std::vector<std::unique_ptr<PinnedMemory>> pins;
  std::vector<FrameRun> runs;
};

/// What a map has pinned so far.  Undoes it unless published: forget, unpin.  The lock
/// of the address space is held from its construction to its end.
struct PendingPins {
  explicit PendingPins(Spaces& s) : spaces(s) {}
  ~PendingPins();
  PendingPins(const PendingPins&) = delete;
  PendingPins& operator=(const PendingPins&) = delete;

  Spaces& spaces;
  std::unique_ptr<PinnedMemory> single;             ///< the only pin
  bool known = false;                               ///< frames_of(single) was successful
  std::vector<std::unique_ptr<PinnedMemory>> more;  ///< all pins where there are several
};

/// Keeps the pins that `owner` (as in a record) names for good: devices may reach their
/// pages.  `pages` of 4 KiB are counted.  Thread-safe; never fails.
void abandon(std::uint64_t owner, std::uint64_t pages) noexcept;
/// Pages of 4 KiB that were abandoned in this process.  Thread-safe.
std::uint64_t pages_abandoned() noexcept;

}  // namespace pviommu
