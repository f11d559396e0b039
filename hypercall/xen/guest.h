// SPDX-License-Identifier: LGPL-2.1-or-later
// Guest mode: the address space is an existing guest's memory.
//
//   iova  = guest-physical address; Xen translates the device's DMA by the guest's
//           physical map, as soon as the device is the guest's
//   map   of memory: a check that the frames are the guest's RAM; of a BAR: into the
//           guest's physical map
//
// The guest is never made, changed in its own memory, or ended by us.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/unique_fd.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/ledger.h"
#include "hypercall/xen/mapping.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

struct Guest {
  Domid domid{};
  DomainHandle handle{};  ///< its UUID: a number can be another domain's later
  std::string text;       ///< as it was asked for
  std::atomic<bool> gone{false};
  UniqueFd end;           ///< an eventfd, readable when `gone` is true

  Guest() = default;
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
};

/// Finds a guest by domid, UUID or name (the last by xenstore).  An error's sentence says what is
/// wrong with it, and what to do.
Result<std::unique_ptr<Guest>> find_guest(XenCalls& calls, std::string_view text);

/// Whether the guest still runs.  False: it has ended, or is about to.
bool guest_lives(XenCalls& calls, const Guest& guest);

/// In guest mode the frames of the program's memory are only named: the guest's frames
/// are meant, and the device frame says which those are.  This bit marks such a name.
inline constexpr std::uint64_t kNamedFrame = std::uint64_t{1} << 44;

class GuestMapping final : public SpaceMapping {
 public:
  static Result<std::unique_ptr<GuestMapping>> make(XenCalls& calls, const Guest& guest, Ledger& ledger);

  /// EFAULT: a frame is not RAM of the guest.  EEXIST: a BAR onto RAM.  ENOSPC: more
  /// BAR pieces than the ledger has room for.  ESRCH: the guest has ended.
  BatchResult map(std::span<const MapRun> runs) override;
  /// Of a guest that has ended: nothing is left, and that is no error.
  BatchResult unmap(std::span<const UnmapRun> runs) override;

 private:
  GuestMapping(XenCalls& calls, const Guest& guest, Ledger& ledger)
      : calls_(calls), guest_(guest), ledger_(ledger) {}
  /// Asks Xen whether all of the frames are RAM of the guest.  EFAULT: `ram` is asked for
  /// and one is not.  EEXIST: none is asked for and one is.
  Status check_frames(Dfn first, std::uint64_t pages, bool ram);
  Status map_bar(const MapRun& run);

  XenCalls& calls_;
  const Guest& guest_;
  Ledger& ledger_;
  std::unique_ptr<Mapping> bars_;
  std::vector<std::uint64_t> frames_;
};

}  // namespace pviommu::xen
