// SPDX-License-Identifier: LGPL-2.1-or-later
// Counters of everything that happens, in one flat block.
//
// The block can live in memory shared with another process (`pviommu run`
// keeps it), so that the figures survive a program that is killed.  Relaxed
// atomics: counters are not used for synchronisation.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hypercall/fault.h"
#include "hypercall/result.h"

namespace pviommu {

/// Every kind of hypercall, as counted, timed and made to fail.
enum class HypercallOp : std::uint8_t {
  create_space,
  destroy_space,
  attach,
  detach,
  map,
  unmap,
  flush,
  frames,
  allocate_vectors,
  free_vectors,
  bind_vector,
  unbind_vector,
  mask_vector,
  unmask_vector,
  raise_vector,
  open_device,
  reset,
};
inline constexpr std::size_t kHypercallOps = 17;
const char* to_string(HypercallOp op);
inline constexpr std::size_t kFaultReasons = 6;

using Counter = std::atomic<std::uint64_t>;

/// The latest faults, for an engineer who has only the report.  Written by
/// count_fault(); a reader may see a record that is being replaced.
struct LoggedFault {
  std::atomic<std::uint32_t> sbdf;
  std::atomic<std::uint8_t> access;  ///< Access
  std::atomic<std::uint8_t> reason;  ///< FaultReason
  Counter iova;
};
inline constexpr std::size_t kLoggedFaults = 8;

/// A count and the nanoseconds spent (0 while not `timed`).
struct TimedCounter {
  Counter count;
  Counter nanoseconds;
};

struct Statistics {
  static constexpr std::uint32_t kMagic = 0x70766906;
  std::uint32_t magic = kMagic;
  std::atomic<std::uint32_t> timed{0};  ///< 1: also measure time (two clock reads an operation)

  Counter files_opened;  ///< of /dev/vfio, by programs

  TimedCounter maps;    ///< mappings made (VFIO_IOMMU_MAP_DMA that succeeded)
  TimedCounter unmaps;  ///< successful VFIO_IOMMU_UNMAP_DMA
  Counter map_failures;
  Counter unmap_failures;
  Counter maps_widened;  ///< of `maps`: the device got both rights where one was asked for
  Counter pages_mapped;    ///< 4 KiB pages, sum over all maps
  Counter pages_unmapped;  ///< the same for unmaps, teardown included
  Counter mappings_removed;  ///< by unmaps, which can take several, and teardown
  Counter pinned_pages;    ///< now held by frame sources
  Counter peak_pages;      ///< most live_pages()

  std::array<TimedCounter, kHypercallOps> hypercalls;
  std::array<Counter, kHypercallOps> hypercall_failures;

  Counter interrupts_intx;
  Counter interrupts_msi;
  Counter interrupts_msix;
  Counter interrupts_held;  ///< arrivals that found their vector masked
  std::array<Counter, kFaultReasons> faults;
  Counter fault_count;  ///< sum of `faults`; the n-th (from 0) is last_faults[n % kLoggedFaults]
  std::array<LoggedFault, kLoggedFaults> last_faults;
  Counter dma_read_bytes;   ///< device reads of memory
  Counter dma_write_bytes;  ///< device writes to memory

  // Differences of counters, so that a map and an unmap count no more than they must.
  /// Mappings there are now.
  std::uint64_t live_mappings() const { return maps.count.load() - mappings_removed.load(); }
  /// Pages mapped now in hypervisor address spaces.
  std::uint64_t live_pages() const { return pages_mapped.load() - pages_unmapped.load(); }
};

/// The block of this process.  Valid at any time, also before share_statistics().
Statistics& statistics() noexcept;

/// Counts a fault and keeps it among the latest.  Lock-free.
void count_fault(const Fault& fault) noexcept;

/// Moves the block into the shared mapping of `fd` (at least sizeof(Statistics)
/// bytes, zero or a Statistics already).  Call before any counting starts.
Status share_statistics(int fd);

}  // namespace pviommu
