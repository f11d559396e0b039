// SPDX-License-Identifier: LGPL-2.1-or-later
// VFIO's own container ioctls on /dev/iommu: type1 and type1v2 over one IOAS of it, as Linux's
// drivers/iommu/iommufd/vfio_compat.c answers them.
#include <algorithm>
#include <cstddef>

#include "vfio-glue/engine/info_chain.h"
#include "vfio-glue/engine/iommufd.h"
#include "vfio-glue/engine/map_notes.h"

namespace pviommu::vfio {

struct CompatTable {
  static constexpr IoctlTable<Iommufd> table = make_table<Iommufd>({
      Bound<&Iommufd::get_api_version>::entry(VFIO_GET_API_VERSION),
      Bound<&Iommufd::check_extension>::entry(VFIO_CHECK_EXTENSION),
      Bound<&Iommufd::set_iommu>::entry(VFIO_SET_IOMMU),
      Bound<&Iommufd::get_info>::entry(VFIO_IOMMU_GET_INFO, offsetof(vfio_iommu_type1_info, cap_offset), kAnyFlags),
      Bound<&Iommufd::map_dma>::entry(VFIO_IOMMU_MAP_DMA, sizeof(vfio_iommu_type1_dma_map),
                                      VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE),
      Bound<&Iommufd::unmap_dma>::entry(VFIO_IOMMU_UNMAP_DMA, sizeof(vfio_iommu_type1_dma_unmap),
                                        VFIO_DMA_UNMAP_FLAG_ALL),
  });
};

Result<long> Iommufd::compat_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
  return dispatch(CompatTable::table, *this, client, request, argument, ENOTTY);
}

Result<Ioas*> Iommufd::find_compat() {
  if (compat_ == 0) return Error{ENODEV, "no IOAS for VFIO's own calls"};
  return find(compat_)->ioas.get();
}

Result<long> Iommufd::get_api_version(const Call&) { return VFIO_API_VERSION; }

Result<long> Iommufd::check_extension(const Call& call) {
  switch (call.argument) {
    case VFIO_TYPE1_IOMMU:
    case VFIO_TYPE1v2_IOMMU:
    case VFIO_UNMAP_ALL:
      return 1;
    case VFIO_DMA_CC_IOMMU: {
      const std::lock_guard guard(lock_);
      const Ioas* ioas = PVIOMMU_TRY(find_compat());
      return ioas->space() ? 0 : 1;  // as in a container; nothing contradicts it before that
    }
    default:
      return 0;
  }
}

Status Iommufd::set_iommu(const Call& call) {
  if (call.argument != VFIO_TYPE1_IOMMU && call.argument != VFIO_TYPE1v2_IOMMU) return Error{EINVAL, "SET_IOMMU: type"};
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_compat());
  return call.argument == VFIO_TYPE1_IOMMU ? ioas->set_large_pages(false) : Status{};
}

Status Iommufd::get_info(const Call& call, vfio_iommu_type1_info& info) {
  const std::size_t reply_bytes = std::min<std::size_t>(info.argsz, sizeof info);
  const std::lock_guard guard(lock_);
  const Ioas* ioas = PVIOMMU_TRY(find_compat());

  InfoChain chain(sizeof info);
  vfio_iommu_type1_info_dma_avail available{};
  available.avail = ~std::uint32_t{0};
  chain.add(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, &available, sizeof available);
  chain.add_iova_ranges(ioas->ranges());

  // Of an IOAS without devices: every size of at least a page.
  std::uint64_t sizes = ioas->space() ? ioas->space()->capabilities().page_sizes : ~(kPageSize - 1);
  if (info.argsz >= chain.total()) {
    info.cap_offset = sizeof info;
    PVIOMMU_TRY(call.client.copy_out(call.argument + sizeof info, chain.bytes().data(), chain.bytes().size()));
  } else {
    info.cap_offset = 0;
  }
  info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
  info.iova_pgsizes = std::max(sizes, ioas->alignment());
  info.argsz = chain.total();
  return call.reply(info, reply_bytes);
}

Status Iommufd::map_dma(const Call& call, vfio_iommu_type1_dma_map& map) {
  const Access access = access_of(map.flags);
  const bool mmio = map.size != 0 && call.client.mmio_at(map.vaddr, map.size).file != nullptr;
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_compat());
  if (map.vaddr + map.size < map.vaddr) return Error{EOVERFLOW, "MAP_DMA: memory"};
  if (map.size == 0 || access == Access::none) return Error{EINVAL, "MAP_DMA: size or flags"};
  if (mmio) return Error{EFAULT, "MAP_DMA of a BAR on an iommufd"};
  const MemoryPiece piece{Hva(map.vaddr), map.size, allows(access, Access::write)};
  PVIOMMU_TRY(counted_map(*ioas, {&piece, 1}, map.iova, access));
  return {};
}

Status Iommufd::unmap_dma(const Call& call, vfio_iommu_type1_dma_unmap& unmap) {
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_compat());
  const bool all = unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL;
  if (all && (unmap.iova || unmap.size)) return Error{EINVAL, "UNMAP_DMA of all, with a range"};
  const auto unmapped = counted_unmap(*ioas, unmap.iova, unmap.size, all);
  unmap.size = unmapped ? *unmapped : 0;
  PVIOMMU_TRY(call.reply(unmap));
  if (!unmapped) return unmapped.error();
  return {};
}

}  // namespace pviommu::vfio
