// SPDX-License-Identifier: LGPL-2.1-or-later
// A container's and an IOAS's maps share these lines.
#include "vfio-glue/engine/map_notes.h"

#include <linux/vfio.h>

#include <atomic>
#include <cstdio>
#include <string>

#include "hypercall/statistics.h"

namespace pviommu::vfio {

Access access_of(std::uint32_t map_flags) {
  Access access = Access::none;
  if (map_flags & VFIO_DMA_MAP_FLAG_READ) access = access | Access::read;
  if (map_flags & VFIO_DMA_MAP_FLAG_WRITE) access = access | Access::write;
  return access;
}

/// A program that maps outside of the IOVA ranges gets EINVAL, as from the kernel; the
/// reason is told once, for people.
void note_outside(const Capabilities& limits, const EngineConfig& config, std::uint64_t iova, std::uint64_t size) {
  const auto range = IovaRange::from_size(Iova(iova), size);
  if (!range) return;
  std::string windows;
  for (const IovaRange& window : limits.iova_ranges) {
    if (window.contains(*range)) return;  // something else is wrong with it
    char text[64];
    std::snprintf(text, sizeof text, "%s0x%llx to 0x%llx", windows.empty() ? "" : ", ",
                  static_cast<unsigned long long>(window.first().raw()), static_cast<unsigned long long>(window.last().raw()));
    windows += text;
  }
  static std::atomic_flag told;
  if (config.quiet || told.test_and_set()) return;
  std::fprintf(stderr,
               "pviommu: the program maps I/O addresses 0x%llx to 0x%llx, which devices of '%s' cannot have: theirs are %s; "
               "VFIO_IOMMU_GET_INFO tells programs (iova ranges)\n",
               static_cast<unsigned long long>(iova), static_cast<unsigned long long>(range->last().raw()),
               config.hypervisor.c_str(), windows.c_str());
}

/// A limit of the hypervisor is told, once, and counted.
void note_widened(const Capabilities& limits, const EngineConfig& config, Access access) {
  if (access == Access::none || (access == Access::read ? limits.read_only : limits.write_only)) return;
  statistics().maps_widened.fetch_add(1, std::memory_order_relaxed);
  static std::atomic_flag told;
  if (config.quiet || told.test_and_set()) return;
  std::fprintf(stderr,
               "pviommu: memory that was mapped for %s only is mapped with more rights than asked for: '%s' knows no "
               "other; --strict refuses such mappings\n",
               access == Access::read ? "reading" : "writing", config.hypervisor.c_str());
}

}  // namespace pviommu::vfio
