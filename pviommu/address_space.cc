// SPDX-License-Identifier: LGPL-2.1-or-later
// The rules of type1 and type1v2 over the index, the frame source and the IOMMU driver:
// reserve, pin, publish, and the way back.  What a record of the index holds beside its
// addresses is drawn in backing.h.
#include "pviommu/address_space.h"

#include <algorithm>
#include <cstdio>

#include "hypercall/statistics.h"
#include "pviommu/backing.h"

namespace pviommu {
namespace {

constexpr unsigned kTeardownTries = 3;

void add(Counter& counter, std::uint64_t n) { counter.fetch_add(n, std::memory_order_relaxed); }

void count_map(std::uint64_t pages) {
  Statistics& s = statistics();
  add(s.maps.count, 1);
  const std::uint64_t live = s.pages_mapped.fetch_add(pages, std::memory_order_relaxed) + pages -
                             s.pages_unmapped.load(std::memory_order_relaxed);
  std::uint64_t peak = s.peak_pages.load(std::memory_order_relaxed);
  while (live > peak && !s.peak_pages.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

void count_unmap(std::uint64_t mappings, std::uint64_t pages) {
  Statistics& s = statistics();
  add(s.pages_unmapped, pages);
  add(s.mappings_removed, mappings);
}

Error closed() { return {EINVAL, "address space is closed"}; }

Error unmap_lost() { return {EIO, "unmap: state lost", 0, true}; }

IovaRange all_iovas() { return IovaRange::from_last(Iova(0), Iova(~std::uint64_t{0})).value(); }

}  // namespace

// ---- life -------------------------------------------------------------------

AddressSpace::AddressSpace(IommuDriver& driver, Spaces& spaces, FrameSource& frames,
                           const AddressSpaceConfig& config, std::unique_ptr<IommuDomain> domain)
    : driver_(driver),
      spaces_(spaces),
      frames_(frames),
      config_(config),
      rule_(config.rule),
      page_mask_((driver.capabilities().page_sizes & -driver.capabilities().page_sizes) - 1),
      domain_(std::move(domain)) {}

Result<std::unique_ptr<AddressSpace>> AddressSpace::create(IommuDriver& driver, Spaces& spaces,
                                                           FrameSource& frames,
                                                           const AddressSpaceConfig& config) {
  auto domain = PVIOMMU_TRY(driver.create_domain(SpaceConfig{config.tag, config.devices}));
  try {
    return std::unique_ptr<AddressSpace>(
        new AddressSpace(driver, spaces, frames, config, std::move(domain)));
  } catch (const std::bad_alloc&) {
    return Error{ENOMEM, "create address space"};
  }
}

AddressSpace::~AddressSpace() { close(); }

void AddressSpace::close() {
  const std::lock_guard guard(lock_);
  if (!domain_) return;
  unmap_everything();
  domain_.reset();
}

Status AddressSpace::reopen(const AddressSpaceConfig& config) {
  const std::lock_guard guard(lock_);
  if (domain_) return Error{EBUSY, "reopen address space"};
  domain_ = PVIOMMU_TRY(driver_.create_domain(SpaceConfig{config.tag, config.devices}));
  config_ = config;
  rule_.store(config.rule, std::memory_order_relaxed);
  state_lost_ = false;
  return {};
}

/// Pages go back to the program only when the hypervisor confirmed that no
/// device reaches them; what it did not confirm stays pinned for good.
void AddressSpace::unmap_everything() {
  for (unsigned i = 0; i < kTeardownTries && !index_.empty(); ++i)
    if (unmap_range(all_iovas())) break;
  if (index_.empty()) return;

  // One of them is the trouble: the others can still be saved.
  std::uint64_t pages = 0;
  Error last_error;
  for (auto cursor = index_.begin(); cursor;) {
    const Iova first = cursor.first();
    Result<std::uint64_t> unmapped = std::uint64_t{0};
    for (unsigned i = 0; i < kTeardownTries; ++i) {
      unmapped = unmap_one(cursor);
      if (unmapped) break;
    }
    if (!unmapped) {
      last_error = unmapped.error();
      pages += cursor.record().pages;
      // The record goes, the pins it names stay: their destructors never run.
      abandon(cursor.record().owner, cursor.record().pages);
      count_unmap(1, cursor.record().pages);
      index_.erase(cursor);
    }
    cursor = index_.first_at_or_after(first);
  }
  if (pages == 0) return;
  std::fprintf(stderr, "pviommu: %llu pages of %s stay pinned, their unmapping was not confirmed: %s\n",
               static_cast<unsigned long long>(pages), config_.tag.empty() ? "a space" : config_.tag.c_str(),
               to_string(last_error).c_str());
}

std::uint64_t AddressSpace::abandoned_pages() { return pages_abandoned(); }

Status AddressSpace::attach(Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  return note_lost(domain_->attach(sbdf), all_iovas());
}

Status AddressSpace::detach(Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  return note_lost(domain_->detach(sbdf), all_iovas());
}

// ---- map --------------------------------------------------------------------

/// The checks of vfio_dma_do_map() in its order, and the entry in the index.
Result<MappingIndex::Cursor> AddressSpace::reserve(Iova iova, Hva hva, std::uint64_t size, Access access,
                                                   bool mmio) {
  if (access == Access::none) return Error{EINVAL, "map: no access"};
  if (size == 0 || ((size | iova.raw() | hva.raw()) & page_mask_) != 0) return Error{EINVAL, "map: alignment"};
  const std::uint64_t last = iova.raw() + (size - 1);
  if (last < iova.raw() || hva.raw() + (size - 1) < hva.raw()) return Error{EOVERFLOW, "map: wraps"};

  MappingRecord record;
  record.pages = size >> kPageShift;
  record.hva_flags = hva.raw() | static_cast<std::uint64_t>(access);
  record.set(MappingRecord::kMmio, mmio);
  auto cursor = index_.insert(iova, record);  // EEXIST
  if (!cursor) return cursor;

  const auto refuse = [&](Error error) -> Result<MappingIndex::Cursor> {
    index_.erase(*cursor);
    return error;
  };
  if (index_.size() > config_.max_mappings) return refuse({ENOSPC, "map: too many mappings"});
  const auto& ranges = capabilities().iova_ranges;
  if (!std::any_of(ranges.begin(), ranges.end(),
                   [&](const IovaRange& r) { return r.first() <= iova && Iova(last) <= r.last(); }))
    return refuse({EINVAL, "map: outside the iova ranges"});
  if (state_lost_) return refuse({EIO, "map: state lost"});
  if (config_.strict && !enforceable(access)) return refuse({EOPNOTSUPP, "map: access cannot be enforced"});
  return cursor;
}

bool AddressSpace::enforceable(Access access) const {
  if (access == Access::read) return capabilities().read_only;
  if (access == Access::write) return capabilities().write_only;
  return true;
}

/// Pins the memory and finds its frames, in frame_runs_.
Status AddressSpace::pin(Hva hva, std::uint64_t size, Access access, PendingPins& pending) {
  // Where a right cannot be enforced the device gets both, so the memory must
  // have both: a device must not write to pages that the program cannot write.
  if (!enforceable(access)) access = Access::read_write;
  if (size <= PinnedMemory::kMaxBytes) {
    pending.single = PVIOMMU_TRY(frames_.pin(HvaRange::from_size(hva, size).value(), access));
    PVIOMMU_TRY(spaces_.frames_of(*pending.single, frame_runs_));
    pending.known = true;
    return {};
  }
  pending.more.reserve(size / PinnedMemory::kMaxBytes + 1);
  for (std::uint64_t at = 0; at < size; at += PinnedMemory::kMaxBytes) {
    const std::uint64_t bytes = std::min(size - at, PinnedMemory::kMaxBytes);
    auto pin = PVIOMMU_TRY(frames_.pin(HvaRange::from_size(hva + at, bytes).value(), access));
    PVIOMMU_TRY(spaces_.frames_of(*pin, frame_runs_));
    pending.more.push_back(std::move(pin));
  }
  return {};
}

/// Maps frame_runs_ and hands the pins over to the record.
Status AddressSpace::publish(MappingIndex::Cursor cursor, PendingPins& pending) {
  MappingRecord& record = cursor.record();
  const Dfn first = dfn_of(cursor.first());
  const Access access = record.access();

  std::unique_ptr<Backing> backing;
  Status mapped;
  if (frame_runs_.size() == 1 && pending.more.empty()) [[likely]] {
    if (frame_runs_[0].pages != record.pages) return Error{EIO, "map: frames missing"};
    const MapRun run{first, frame_runs_[0].mfn, record.pages, access};
    mapped = domain_->map(std::span(&run, 1));
  } else {
    backing = std::make_unique<Backing>();
    backing->pins.reserve(pending.more.size() + 1);
    backing->runs.reserve(frame_runs_.size());
    map_runs_.clear();
    map_runs_.reserve(frame_runs_.size());
    std::uint64_t pages = 0;
    for (const FrameRun& run : frame_runs_) {
      if (!backing->runs.empty() && backing->runs.back().mfn + backing->runs.back().pages == run.mfn) {
        backing->runs.back().pages += run.pages;
        map_runs_.back().pages += run.pages;
      } else {
        backing->runs.push_back(run);
        map_runs_.push_back({first + pages, run.mfn, run.pages, access});
      }
      pages += run.pages;
    }
    if (pages != record.pages) return Error{EIO, "map: frames missing"};
    if (backing->runs.size() < frame_runs_.size() / 2) backing->runs.shrink_to_fit();
    mapped = domain_->map(map_runs_);
  }
  if (!mapped) {
    if (mapped.error().state_lost) {
      // Devices may reach some of the pages: they stay pinned.
      state_lost_ = true;
      pending.known = false;
      const auto keep = [](std::unique_ptr<PinnedMemory>& pin) {
        const std::uint64_t pages = pin->pages();
        abandon(reinterpret_cast<std::uintptr_t>(pin.release()), pages);
      };
      if (pending.single) keep(pending.single);
      for (auto& pin : pending.more) keep(pin);
      pending.more.clear();
    }
    return mapped;
  }

  if (backing) {
    if (pending.single) backing->pins.push_back(std::move(pending.single));
    for (auto& pin : pending.more) backing->pins.push_back(std::move(pin));
    pending.more.clear();
    record.owner = reinterpret_cast<std::uintptr_t>(backing.release()) | kBackingTag;
  } else {
    record.owner = reinterpret_cast<std::uintptr_t>(pending.single.release());
    record.frames = frame_runs_[0].mfn.raw();
  }
  count_map(record.pages);
  return {};
}

Status AddressSpace::map(Iova iova, Hva hva, std::uint64_t size, Access access) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  const auto cursor = PVIOMMU_TRY(reserve(iova, hva, size, access, false));
  Status status = frames_.count(size >> kPageShift);
  if (status) {
    frame_runs_.clear();
    try {
      PendingPins pending(spaces_);
      status = pin(hva, size, access, pending);
      if (status) status = publish(cursor, pending);
    } catch (const std::bad_alloc&) {
      status = Error{ENOMEM, "map"};
    }
    if (status) return {};
    frames_.uncount(size >> kPageShift);
  }
  index_.erase(cursor);
  return status;
}

Status AddressSpace::map_mmio(Iova iova, Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t size,
                              Hva hva, Access access, bool permitted) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  const auto cursor = PVIOMMU_TRY(reserve(iova, hva, size, access, true));
  Status status;
  if (!permitted) {
    status = Error{EFAULT, "map: the program cannot do so itself"};
  } else if (!capabilities().peer_to_peer) {
    status = Error{EOPNOTSUPP, "map: peer-to-peer"};
  } else {
    // A BAR is not the program's memory: neither pinned nor counted.
    frame_runs_.clear();
    try {
      PendingPins pending(spaces_);
      status = spaces_.frames_of_mmio(sbdf, bar, offset, size, frame_runs_);
      if (status) status = publish(cursor, pending);
    } catch (const std::bad_alloc&) {
      status = Error{ENOMEM, "map"};
    }
  }
  if (!status) index_.erase(cursor);
  return status;
}

// ---- unmap ------------------------------------------------------------------

Result<IovaRange> AddressSpace::checked_range(Iova iova, std::uint64_t size) const {
  if (((iova.raw() | size) & page_mask_) != 0) return Error{EINVAL, "unmap: alignment"};
  return IovaRange::from_size(iova, size);  // EINVAL: empty; EOVERFLOW: wraps, as since Linux 6.18
}

bool AddressSpace::cuts(const IovaRange& range) const {
  const auto head = index_.find(range.first());
  if (head && head.first() != range.first()) return true;
  const auto tail = index_.find(range.last());
  return tail && tail.last() != range.last();
}

/// The first mapping that the range takes, by the space's rule.
MappingIndex::Cursor AddressSpace::first_by_rule(const IovaRange& range) const {
  const auto cursor = index_.first_at_or_after(range.first());
  if (!cursor || cursor.first() > range.last()) return {};
  // type1: a range that begins inside a mapping does nothing at all.  With
  // type1v2 such a range was refused before.
  if (cursor.first() < range.first()) return {};
  return cursor;
}

void AddressSpace::append_runs(MappingIndex::Cursor cursor) {
  const MappingRecord& record = cursor.record();
  Dfn dfn = dfn_of(cursor.first());
  if ((record.owner & kBackingTag) == 0) {
    map_runs_.push_back({dfn, Mfn(record.frames), record.pages, record.access()});
    return;
  }
  const auto* backing = reinterpret_cast<const Backing*>(record.owner & ~kBackingTag);
  for (const FrameRun& run : backing->runs) {
    map_runs_.push_back({dfn, run.mfn, run.pages, record.access()});
    dfn = dfn + run.pages;
  }
}

/// After devices cannot reach the pages any more.
void AddressSpace::release(const MappingRecord& record) {
  const auto give_back = [this](PinnedMemory& pin) { spaces_.forget_frames(pin); };
  if ((record.owner & kBackingTag) != 0) {
    const std::unique_ptr<Backing> backing(reinterpret_cast<Backing*>(record.owner & ~kBackingTag));
    for (auto& pin : backing->pins) give_back(*pin);
  } else if (record.owner != 0) {
    const std::unique_ptr<PinnedMemory> pin(reinterpret_cast<PinnedMemory*>(record.owner));
    give_back(*pin);
  }
  if (!record.has(MappingRecord::kMmio)) frames_.uncount(record.pages);
}

/// What is mapped in the range keeps its pins from now on if `status` says that devices
/// may reach it for as long as the domain is there.  Passes `status` on.
Status AddressSpace::note_lost(Status status, const IovaRange& range) {
  if (status || !status.error().state_lost) [[likely]] return status;
  state_lost_ = true;
  for (auto cursor = index_.first_at_or_after(range.first()); cursor && cursor.first() <= range.last();
       cursor = cursor.next())
    cursor.record().set(MappingRecord::kStateLost, true);
  return status;
}

Result<std::uint64_t> AddressSpace::unmap_one(MappingIndex::Cursor cursor) {
  const MappingRecord record = cursor.record();
  if (record.has(MappingRecord::kStateLost)) [[unlikely]] return unmap_lost();
  Status status;
  if ((record.owner & kBackingTag) == 0) [[likely]] {
    const MapRun run{dfn_of(cursor.first()), Mfn(record.frames), record.pages, record.access()};
    status = domain_->unmap(std::span(&run, 1));
  } else {
    map_runs_.clear();
    try {
      append_runs(cursor);
    } catch (const std::bad_alloc&) {
      return Error{ENOMEM, "unmap"};
    }
    status = domain_->unmap(map_runs_);
  }
  if (!status)
    return note_lost(status, IovaRange::from_last(cursor.first(), cursor.last()).value()).error();
  index_.erase(cursor);
  release(record);
  count_unmap(1, record.pages);
  return record.size();
}

/// All mappings that begin in the range, in one request to the driver: all of
/// them or none.
Result<std::uint64_t> AddressSpace::unmap_range(const IovaRange& range) {
  const auto begin = first_by_rule(range);
  if (!begin) return std::uint64_t{0};
  const auto inside = [&](MappingIndex::Cursor c) { return c && c.first() <= range.last(); };
  if (!inside(begin.next())) return unmap_one(begin);

  map_runs_.clear();
  std::uint64_t mappings = 0, pages = 0;
  try {
    for (auto cursor = begin; inside(cursor); cursor = cursor.next()) {
      if (cursor.record().has(MappingRecord::kStateLost)) [[unlikely]] return unmap_lost();
      append_runs(cursor);
      ++mappings;
      pages += cursor.record().pages;
    }
  } catch (const std::bad_alloc&) {
    return Error{ENOMEM, "unmap"};
  }
  if (const Status status = domain_->unmap(map_runs_); !status) return note_lost(status, range).error();
  for (auto cursor = begin; inside(cursor); cursor = cursor.next()) release(cursor.record());
  index_.erase_range(range.first(), range.last());
  count_unmap(mappings, pages);
  return pages << kPageShift;
}

Result<std::uint64_t> AddressSpace::unmap(Iova iova, std::uint64_t size) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  const IovaRange range = PVIOMMU_TRY(checked_range(iova, size));
  // The common request is for one mapping exactly.
  if (const auto cursor = index_.find_exact(iova); cursor && cursor.last() == range.last()) return unmap_one(cursor);
  if (config_.rule == UnmapRule::type1v2 && cuts(range)) return Error{EINVAL, "unmap: cuts a mapping"};
  return unmap_range(range);
}

Result<std::uint64_t> AddressSpace::unmap_all() {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  return unmap_range(all_iovas());
}

// ---- addresses of the program -----------------------------------------------

Result<std::uint64_t> AddressSpace::invalidate_hva(Iova iova, std::uint64_t size, bool all) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  if (all && (iova.raw() != 0 || size != 0)) return Error{EINVAL, "unmap: all of a range"};
  const IovaRange range = all ? all_iovas() : PVIOMMU_TRY(checked_range(iova, size));
  if (!all && config_.rule == UnmapRule::type1v2 && cuts(range)) return Error{EINVAL, "unmap: cuts a mapping"};
  std::uint64_t bytes = 0;
  const auto begin = first_by_rule(range);
  for (auto cursor = begin; cursor && cursor.first() <= range.last(); cursor = cursor.next()) {
    if (cursor.record().has(MappingRecord::kHvaInvalid)) {
      for (auto undo = begin; undo.first() != cursor.first(); undo = undo.next())
        undo.record().set(MappingRecord::kHvaInvalid, false);
      return Error{EINVAL, "unmap: vaddr invalid already"};
    }
    cursor.record().set(MappingRecord::kHvaInvalid, true);
    bytes += cursor.record().size();
  }
  return bytes;
}

Status AddressSpace::update_hva(Iova iova, Hva hva, std::uint64_t size) {
  const std::lock_guard guard(lock_);
  if (!domain_) return closed();
  if (size == 0 || ((size | iova.raw() | hva.raw()) & page_mask_) != 0) return Error{EINVAL, "map: alignment"};
  const std::uint64_t last = iova.raw() + (size - 1);
  if (last < iova.raw() || hva.raw() + (size - 1) < hva.raw()) return Error{EOVERFLOW, "map: wraps"};
  const auto cursor = index_.first_at_or_after(iova);
  if (!cursor || cursor.first() > Iova(last)) return Error{ENOENT, "map: no mapping for vaddr"};
  MappingRecord& record = cursor.record();
  if (!record.has(MappingRecord::kHvaInvalid) || cursor.first() != iova || record.size() != size)
    return Error{EINVAL, "map: vaddr"};
  record.set_hva(hva);
  record.set(MappingRecord::kHvaInvalid, false);
  return {};
}

// ---- questions --------------------------------------------------------------

std::vector<IovaRange> AddressSpace::mapped_in(Iova iova, std::uint64_t size) const {
  const std::lock_guard guard(lock_);
  std::vector<IovaRange> found;
  const Iova last = iova + (size - 1);
  for (auto cursor = index_.first_at_or_after(iova); cursor && cursor.first() <= last; cursor = cursor.next())
    found.push_back(IovaRange::from_last(cursor.first(), cursor.last()).value());
  return found;
}

bool AddressSpace::cuts_mapping(Iova iova, std::uint64_t size) const {
  const std::lock_guard guard(lock_);
  return cuts(IovaRange::from_last(iova, iova + (size - 1)).value());
}

std::uint32_t AddressSpace::available() const {
  const std::lock_guard guard(lock_);
  const auto live = static_cast<std::uint32_t>(std::min<std::size_t>(index_.size(), config_.max_mappings));
  return config_.max_mappings - live;
}

}  // namespace pviommu
