// SPDX-License-Identifier: LGPL-2.1-or-later
// The mappings of one VFIO container: IOVA -> program memory -> frames.
//
//   map    reserve (index) -> pin -> frames -> driver map -> publish
//   unmap  driver unmap (device access stops) -> forget frames -> unpin -> index
//
// Rules of type1 and type1v2 follow Linux's vfio_iommu_type1.c: it is the oracle.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "hypercall/capabilities.h"
#include "hypercall/spaces.h"
#include "pviommu/frame_source.h"
#include "pviommu/iommu_driver.h"
#include "pviommu/mapping_index.h"

namespace pviommu {

struct PendingPins;

enum class UnmapRule : std::uint8_t {
  type1,    ///< a range that covers a mapping's first byte takes all of it; one from inside does nothing
  type1v2,  ///< a range that cuts a mapping is EINVAL, nothing done
};

struct AddressSpaceConfig {
  UnmapRule rule = UnmapRule::type1v2;
  std::uint32_t max_mappings = 65535;  ///< vfio_iommu_type1's dma_entry_limit
  bool strict = false;                 ///< refuse (EOPNOTSUPP) rights the driver cannot enforce
  std::string tag;                     ///< SpaceConfig::tag
  std::vector<Sbdf> devices;           ///< SpaceConfig::devices
};

/// Thread-safe: one lock.
class AddressSpace {
 public:
  /// All referenced objects outlive the space.
  static Result<std::unique_ptr<AddressSpace>> create(IommuDriver& driver, Spaces& spaces,
                                                      FrameSource& frames, const AddressSpaceConfig& config);
  /// Unmaps everything; devices are detached before.
  ~AddressSpace();

  /// Unmaps everything and ends the driver's domain; devices are detached
  /// before.  Every call but reopen() answers EINVAL from now on, those that
  /// wait for the lock included.
  void close();
  /// Begins anew after close(), empty.  EBUSY: not closed.
  Status reopen(const AddressSpaceConfig& config);

  Status attach(Sbdf sbdf);
  Status detach(Sbdf sbdf);

  // After an error of the driver with Error::state_lost the memory of the request stays
  // pinned for good, for attach() and detach() all memory of the space: a mapping that is
  // left in the index cannot be unmapped (EIO), and no other can be made (EIO) before
  // reopen().

  /// Maps program memory [hva, hva + size) at iova.  In the order of the
  /// kernel's checks: EINVAL zero or unaligned size/iova/hva, wrap; EEXIST
  /// overlap; ENOSPC entry limit; EINVAL outside the iova ranges; ENOMEM
  /// RLIMIT_MEMLOCK; EFAULT memory; then the driver's error.
  Status map(Iova iova, Hva hva, std::uint64_t size, Access access);
  /// Maps a piece of a device's BAR (peer-to-peer).  EOPNOTSUPP when the driver
  /// declares no peer_to_peer; EFAULT, in its order, unless the program's own mapping permits `access`.
  Status map_mmio(Iova iova, Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t size, Hva hva,
                  Access access, bool permitted = true);

  /// Bytes unmapped.  The range by the space's rule; see UnmapRule.
  Result<std::uint64_t> unmap(Iova iova, std::uint64_t size);
  Result<std::uint64_t> unmap_all();

  /// VFIO_DMA_UNMAP_FLAG_VADDR / VFIO_DMA_MAP_FLAG_VADDR.
  Result<std::uint64_t> invalidate_hva(Iova iova, std::uint64_t size, bool all);
  Status update_hva(Iova iova, Hva hva, std::uint64_t size);

  /// The mappings that overlap [iova, iova + size), ascending (for dirty page
  /// tracking).  The range does not wrap.
  std::vector<IovaRange> mapped_in(Iova iova, std::uint64_t size) const;
  /// True when the range's first or last byte lies inside a mapping that goes
  /// on beyond the range.
  bool cuts_mapping(Iova iova, std::uint64_t size) const;

  /// Entries that can still be made (VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL).
  std::uint32_t available() const;
  const Capabilities& capabilities() const { return driver_.capabilities(); }
  UnmapRule rule() const { return rule_.load(std::memory_order_relaxed); }

  /// Pages of this process that stay pinned for good because no hypervisor
  /// confirmed that devices cannot reach them any more.
  static std::uint64_t abandoned_pages();

 private:

  AddressSpace(IommuDriver& driver, Spaces& spaces, FrameSource& frames,
               const AddressSpaceConfig& config, std::unique_ptr<IommuDomain> domain);

  Result<MappingIndex::Cursor> reserve(Iova iova, Hva hva, std::uint64_t size, Access access, bool mmio);
  bool enforceable(Access access) const;
  Status pin(Hva hva, std::uint64_t size, Access access, PendingPins& pending);
  Status publish(MappingIndex::Cursor cursor, PendingPins& pending);
  Result<IovaRange> checked_range(Iova iova, std::uint64_t size) const;
  bool cuts(const IovaRange& range) const;
  MappingIndex::Cursor first_by_rule(const IovaRange& range) const;
  Result<std::uint64_t> unmap_range(const IovaRange& range);
  Result<std::uint64_t> unmap_one(MappingIndex::Cursor cursor);
  void append_runs(MappingIndex::Cursor cursor);
  void release(const MappingRecord& record);
  Status note_lost(Status status, const IovaRange& range);
  void unmap_everything();

  IommuDriver& driver_;
  Spaces& spaces_;  ///< asked for frames; mappings go through the driver
  FrameSource& frames_;
  AddressSpaceConfig config_;  ///< `lock_` held
  std::atomic<UnmapRule> rule_;
  const std::uint64_t page_mask_;  ///< of the smallest page a mapping can be made of
  std::unique_ptr<IommuDomain> domain_;  ///< null: closed; `lock_` held

  mutable std::mutex lock_;  ///< guards all below and calls of the domain
  MappingIndex index_;
  bool state_lost_ = false;  ///< an error had Error::state_lost: no further mappings
  // One operation's frames and runs, kept for their capacity.
  std::vector<FrameRun> frame_runs_;
  std::vector<MapRun> map_runs_;
};

}  // namespace pviommu
