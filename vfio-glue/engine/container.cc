// SPDX-License-Identifier: LGPL-2.1-or-later
// The container's ioctls: one table, one function each.  The address space exists from
// SET_IOMMU until the last group leaves; lock_ covers that, and calls on the space take the
// space's own lock.
#include "vfio-glue/engine/container.h"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>

#include "hypercall/statistics.h"
#include "vfio-glue/engine/info_chain.h"
#include "vfio-glue/engine/map_notes.h"
#include "vfio-glue/engine/stopwatch.h"

namespace pviommu::vfio {

struct ContainerTable {
  static constexpr std::uint32_t kMapFlags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR;
  static constexpr std::uint32_t kUnmapFlags =
      VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
  static constexpr std::uint32_t kDirtyFlags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START | VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP |
                                               VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;

  /// Answered at any time.
  static constexpr IoctlTable<Container> always = make_table<Container>({
      Bound<&Container::get_api_version>::entry(VFIO_GET_API_VERSION),
      Bound<&Container::check_extension>::entry(VFIO_CHECK_EXTENSION),
      Bound<&Container::set_iommu>::entry(VFIO_SET_IOMMU),
  });
  /// Answered once there is an address space.
  static constexpr IoctlTable<Container> with_space = make_table<Container>({
      Bound<&Container::get_info>::entry(VFIO_IOMMU_GET_INFO, offsetof(vfio_iommu_type1_info, cap_offset), kAnyFlags),
      Bound<&Container::map_dma>::entry(VFIO_IOMMU_MAP_DMA, sizeof(vfio_iommu_type1_dma_map), kMapFlags),
      Bound<&Container::unmap_dma>::entry(VFIO_IOMMU_UNMAP_DMA, sizeof(vfio_iommu_type1_dma_unmap), kUnmapFlags),
      Bound<&Container::dirty_pages>::entry(VFIO_IOMMU_DIRTY_PAGES, sizeof(vfio_iommu_type1_dirty_bitmap), kDirtyFlags),
  });
};

Container::~Container() = default;

Result<MmapPieces> Container::mmap(std::uint64_t, std::size_t, int, int) {
  return Error{ENODEV, "mmap of a container"};
}

Result<MmioPlace> Container::mmio_place(std::uint64_t) {
  return Error{EFAULT, "peer-to-peer map of a container"};
}

Result<std::size_t> Container::do_pread(Client&, std::uint64_t, std::size_t, std::int64_t) {
  return Error{EINVAL, "read of a container"};
}

Result<std::size_t> Container::do_pwrite(Client&, std::uint64_t, std::size_t, std::int64_t) {
  return Error{EINVAL, "write to a container"};
}

Result<long> Container::do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
  const std::size_t slot = ioctl_slot(request);
  if (slot < kTableSize && ContainerTable::always[slot].function)
    return dispatch(ContainerTable::always, *this, client, request, argument, EINVAL);
  // Whatever was asked: nothing is known before SET_IOMMU.
  if (!open_.load(std::memory_order_acquire)) return Error{EINVAL, "container without an IOMMU type"};
  // vfio_iommu_type1.c: dirty tracking is a v2 feature, and says so before it looks at anything.
  if (request == VFIO_IOMMU_DIRTY_PAGES && space_->rule() == UnmapRule::type1)
    return Error{EACCES, "dirty tracking of type1"};
  return dispatch(ContainerTable::with_space, *this, client, request, argument, ENOTTY);
}

void Container::add_group(ContainerMember& group) {
  const std::lock_guard guard(lock_);
  groups_.push_back(group);
}

void Container::remove_group(ContainerMember& group) {
  const std::lock_guard guard(lock_);
  groups_.erase(groups_.iterator_to(group));
  if (!groups_.empty() || !open_) return;
  open_.store(false, std::memory_order_release);
  space_->close();
  dirty_tracking_ = false;
}

AddressSpace* Container::address_space() {
  return open_.load(std::memory_order_acquire) ? space_.get() : nullptr;
}

Result<long> Container::get_api_version(const Call&) { return VFIO_API_VERSION; }

Result<long> Container::check_extension(const Call& call) {
  switch (call.argument) {
    case VFIO_TYPE1_IOMMU:
    case VFIO_TYPE1v2_IOMMU:
    case VFIO_UNMAP_ALL:
      return 1;
    case VFIO_UPDATE_VADDR:
      return open_.load(std::memory_order_acquire) ? 1 : 0;
    default:
      return 0;
  }
}

Status Container::set_iommu(const Call& call) {
  const std::lock_guard guard(lock_);
  if (groups_.empty() || open_) return Error{EINVAL, "SET_IOMMU without a group, or again"};
  AddressSpaceConfig config;
  switch (call.argument) {
    case VFIO_TYPE1_IOMMU:
      config.rule = UnmapRule::type1;
      break;
    case VFIO_TYPE1v2_IOMMU:
      config.rule = UnmapRule::type1v2;
      break;
    // The kernel offers it by CHECK_EXTENSION, and then it is no type.
    case VFIO_UNMAP_ALL:
      return Error{EINVAL, "SET_IOMMU: type"};
    default:
      return Error{ENODEV, "SET_IOMMU: type"};
  }
  config.max_mappings = config_.max_mappings;
  config.strict = config_.strict;
  config.tag = "pviommu";
  for (const ContainerMember& group : groups_)
    for (const Sbdf sbdf : group.devices()) config.devices.push_back(sbdf);
  if (space_) {
    PVIOMMU_TRY(space_->reopen(config));
  } else {
    space_ = PVIOMMU_TRY(AddressSpace::create(driver_, spaces_, frames_, config));
  }
  open_.store(true, std::memory_order_release);
  return {};
}

Status Container::get_info(const Call& call, vfio_iommu_type1_info& info) {
  const std::uint32_t argsz = info.argsz;
  const std::size_t reply_bytes = std::min<std::size_t>(argsz, sizeof info);
  const Capabilities& limits = space_->capabilities();

  InfoChain chain(sizeof(vfio_iommu_type1_info));
  vfio_iommu_type1_info_cap_migration migration{};
  migration.pgsize_bitmap = kPageSize;
  migration.max_dirty_bitmap_size = kMaxDirtyBitmapBytes;
  chain.add(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, &migration, sizeof migration);
  vfio_iommu_type1_info_dma_avail available{};
  available.avail = space_->available();
  chain.add(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, &available, sizeof available);
  chain.add_iova_ranges(limits.iova_ranges);

  info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
  info.iova_pgsizes = limits.page_sizes;
  info.cap_offset = 0;
  if (argsz < chain.total()) {
    info.argsz = chain.total();
  } else {
    info.cap_offset = sizeof info;
    PVIOMMU_TRY(call.client.copy_out(call.argument + sizeof info, chain.bytes().data(), chain.bytes().size()));
  }
  return call.reply(info, reply_bytes);
}

Status Container::map_dma(const Call& call, vfio_iommu_type1_dma_map& map) {
  const Access access = access_of(map.flags);
  const bool update_hva = map.flags & VFIO_DMA_MAP_FLAG_VADDR;
  if ((access == Access::none) != update_hva) return Error{EINVAL, "MAP_DMA: flags"};

  Stopwatch stopwatch(statistics().maps.nanoseconds);
  const Status mapped = [&]() -> Status {
    if (update_hva) return space_->update_hva(Iova(map.iova), Hva(map.vaddr), map.size);
    if (const auto mmio = call.client.mmio_at(map.vaddr, map.size); mmio.file) return map_mmio(mmio, map);
    return space_->map(Iova(map.iova), Hva(map.vaddr), map.size, access);
  }();
  if (!mapped) {
    statistics().map_failures.fetch_add(1, std::memory_order_relaxed);
    if (mapped.error().code == EINVAL) note_outside(space_->capabilities(), config_, map.iova, map.size);
    return mapped;
  }
  stopwatch.stop();
  if (access != Access::read_write) [[unlikely]]
    note_widened(space_->capabilities(), config_, access);
  return {};
}

Status Container::map_mmio(const Client::MmioMapping& mmio, const vfio_iommu_type1_dma_map& map) {
  const MmioPlace place = PVIOMMU_TRY(mmio.file->mmio_place(mmio.offset));
  const int needed = map.flags & VFIO_DMA_MAP_FLAG_WRITE ? PROT_WRITE : PROT_READ;
  return space_->map_mmio(Iova(map.iova), place.sbdf, place.bar, place.offset, map.size, Hva(map.vaddr),
                          access_of(map.flags), (mmio.prot & needed) != 0);
}

Status Container::unmap_dma(const Call& call, vfio_iommu_type1_dma_unmap& unmap) {
  const bool all = unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL;
  const bool invalidate = unmap.flags & VFIO_DMA_UNMAP_FLAG_VADDR;
  if (unmap.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) {
    if (all || invalidate) return Error{EINVAL, "UNMAP_DMA: flags"};
    PVIOMMU_TRY(unmap_dirty_bitmap(call, unmap));
  }
  if (all && (unmap.iova || unmap.size)) return Error{EINVAL, "UNMAP_DMA of all, with a range"};

  Stopwatch stopwatch(statistics().unmaps.nanoseconds);
  const Result<std::uint64_t> unmapped = invalidate ? space_->invalidate_hva(Iova(unmap.iova), unmap.size, all)
                                         : all      ? space_->unmap_all()
                                                    : space_->unmap(Iova(unmap.iova), unmap.size);
  if (!unmapped) {
    statistics().unmap_failures.fetch_add(1, std::memory_order_relaxed);
    return unmapped.error();
  }
  statistics().unmaps.count.fetch_add(1, std::memory_order_relaxed);
  stopwatch.stop();
  unmap.size = *unmapped;
  return call.reply(unmap);
}

}  // namespace pviommu::vfio
