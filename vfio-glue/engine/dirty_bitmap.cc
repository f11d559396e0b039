// SPDX-License-Identifier: LGPL-2.1-or-later
// Dirty page tracking of the container.
//
// No hypervisor interface here tells which pages a device wrote, so tracking is
// at the granularity of mappings: every page a device could write while it was
// mapped counts as dirty, as Linux answers for pinned pages
// (vfio_iommu_type1.c, vfio_dma_populate_bitmap).
#include <algorithm>
#include <array>
#include <bit>

#include "vfio-glue/engine/container.h"

namespace pviommu::vfio {
namespace {

/// Linux: DIRTY_BITMAP_SIZE_MAX / PAGES_MAX, vfio_iommu_type1.c verify_bitmap_size().
constexpr std::uint64_t kMaxDirtyPages = kMaxDirtyBitmapBytes * 8;

bool bitmap_size_valid(std::uint64_t pages, std::uint64_t bitmap_bytes) {
  if (pages == 0 || bitmap_bytes == 0 || bitmap_bytes > kMaxDirtyBitmapBytes || pages > kMaxDirtyPages) return false;
  return bitmap_bytes >= (pages + 63) / 64 * 8;
}

/// Linux: access_ok().  What lies there is found out when it is written.
bool bitmap_place_valid(const vfio_bitmap& bitmap) {
  return user_range(reinterpret_cast<std::uintptr_t>(bitmap.data), bitmap.size);
}

}  // namespace

/// Sets bits in the program's bitmap, one for each 4 KiB page from `iova` on.
Status Container::report_dirty(const Call& call, const vfio_bitmap& bitmap, Iova iova, std::uint64_t size) {
  const auto address = reinterpret_cast<std::uintptr_t>(bitmap.data);
  std::array<std::uint64_t, 512> words;
  for (const IovaRange& mapped : space_->mapped_in(iova, size)) {
    // A mapping may begin before the range and end behind it.
    const std::uint64_t first = std::max(mapped.first().raw(), iova.raw());
    const std::uint64_t last = std::min(mapped.last().raw(), iova.raw() + (size - 1));
    std::uint64_t bit = (first - iova.raw()) >> kPageShift;
    const std::uint64_t end = ((last - iova.raw()) >> kPageShift) + 1;
    while (bit < end) {
      const std::uint64_t word = bit / 64;
      const std::uint64_t count = std::min<std::uint64_t>(words.size(), (end + 63) / 64 - word);
      PVIOMMU_TRY(call.client.copy_in(words.data(), address + word * 8, count * 8));
      const std::uint64_t stop = std::min(end, (word + count) * 64);
      for (; bit < stop; ++bit) words[bit / 64 - word] |= std::uint64_t{1} << (bit % 64);
      PVIOMMU_TRY(call.client.copy_out(address + word * 8, words.data(), count * 8));
    }
  }
  return {};
}

Status Container::unmap_dirty_bitmap(const Call& call, const vfio_iommu_type1_dma_unmap& unmap) {
  vfio_bitmap bitmap;
  if (unmap.argsz < sizeof unmap + sizeof bitmap) return Error{EINVAL, "UNMAP_DMA: dirty bitmap"};
  PVIOMMU_TRY(call.client.copy_in(&bitmap, call.argument + sizeof unmap, sizeof bitmap));
  if (!dirty_tracking_ || bitmap.pgsize != kPageSize || !bitmap_place_valid(bitmap)) return Error{EINVAL, "UNMAP_DMA: dirty bitmap"};
  if (!bitmap_size_valid(unmap.size >> kPageShift, bitmap.size)) return Error{EINVAL, "UNMAP_DMA: dirty bitmap"};
  if (!page_aligned(unmap.iova) || !page_aligned(unmap.size)) return Error{EINVAL, "UNMAP_DMA: dirty bitmap"};
  if (unmap.iova + (unmap.size - 1) < unmap.iova) return Error{EOVERFLOW, "UNMAP_DMA: dirty bitmap, wraps"};
  if (space_->cuts_mapping(Iova(unmap.iova), unmap.size)) return Error{EINVAL, "UNMAP_DMA: dirty bitmap"};
  return report_dirty(call, bitmap, Iova(unmap.iova), unmap.size);
}

Status Container::dirty_pages(const Call& call, vfio_iommu_type1_dirty_bitmap& dirty) {
  if (std::popcount(dirty.flags) != 1) return Error{EINVAL, "DIRTY_PAGES"};
  if (dirty.flags & VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) return get_dirty_bitmap(call, dirty);
  dirty_tracking_ = dirty.flags & VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
  return {};
}

Status Container::get_dirty_bitmap(const Call& call, const vfio_iommu_type1_dirty_bitmap& dirty) {
  vfio_iommu_type1_dirty_bitmap_get range;
  // argsz holds both structures, or the range is cut off.
  if (dirty.argsz < sizeof dirty || dirty.argsz - sizeof dirty < sizeof range) return Error{EINVAL, "DIRTY_PAGES"};
  PVIOMMU_TRY(call.client.copy_in(&range, call.argument + sizeof dirty, sizeof range));
  if (range.size != 0 && range.iova + (range.size - 1) < range.iova) return Error{EOVERFLOW, "DIRTY_PAGES: wraps"};
  if (!bitmap_place_valid(range.bitmap)) return Error{EINVAL, "DIRTY_PAGES"};
  if (range.bitmap.pgsize != kPageSize || !page_aligned(range.iova) || range.size == 0 || !page_aligned(range.size))
    return Error{EINVAL, "DIRTY_PAGES"};
  if (!bitmap_size_valid(range.size >> kPageShift, range.bitmap.size)) return Error{EINVAL, "DIRTY_PAGES"};
  if (!dirty_tracking_) return Error{EINVAL, "DIRTY_PAGES"};
  if (space_->cuts_mapping(Iova(range.iova), range.size)) return Error{EINVAL, "DIRTY_PAGES"};
  return report_dirty(call, range.bitmap, Iova(range.iova), range.size);
}

}  // namespace pviommu::vfio
