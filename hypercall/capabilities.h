// SPDX-License-Identifier: LGPL-2.1-or-later
// What a hypervisor can do, and where its limits are.
//
// A backend declares them once, when it is opened.  What it cannot do is refused
// or declared here, never emulated in silence.
#pragma once

#include <cstdint>
#include <vector>

#include "hypercall/notification.h"
#include "hypercall/range.h"
#include "hypercall/strong.h"

namespace pviommu {

enum class ReservedKind : std::uint8_t {
  msi_window,     ///< interrupt messages, never memory
  device_direct,  ///< RMRR/IVMD: firmware uses it, identity mapped
};

struct ReservedRange {
  IovaRange range;
  ReservedKind kind;
};

/// The limits of a backend.  Constant while it is open, except that PAPR may
/// report other iova ranges for another space configuration.
struct Capabilities {
  std::vector<IovaRange> iova_ranges;   ///< mappable, ascending, reserved ranges already cut out
  std::vector<ReservedRange> reserved;  ///< ascending
  std::uint64_t page_sizes = kPageSize;  ///< bit n set: entries of 2^n bytes exist
  std::uint64_t max_entries_per_call = 0;  ///< of a page table (table_entries.h), so 2 MiB can be one; 0: no limit
  std::uint32_t max_runs_per_call = 0;   ///< 0: no limit
  NotificationKinds notifications = 0;   ///< what bind_vector() accepts
  VectorKinds vector_kinds = bit(VectorKind::intx) | bit(VectorKind::msi) | bit(VectorKind::msix);
                                         ///< what allocate_vectors() can give, of what a device has
  bool vectors_before_attach = false;    ///< allocate_vectors() fails with ENODEV once attached
  bool vectors_grow = false;             ///< allocate_vectors() adds to MSI-X vectors that are bound, attached or not
  bool read_only = true;                 ///< Access::read is enforced; else mapped read-write
  bool write_only = true;                ///< Access::write is enforced; else mapped read-write
  bool deferred_flush = false;           ///< unmap() leaves the IOTLB to flush()
  bool peer_to_peer = false;             ///< MMIO of devices can be mapped (frames_of_mmio)
  bool held_frames_only = false;         ///< frames_of() wants PinnedMemory::holds_pages()
  bool pins_memory = false;              ///< frames_of() itself pins what it is given, by its address, until
                                         ///< forget_frames(), and counts it against RLIMIT_MEMLOCK: the frame
                                         ///< source only names memory (EFAULT, ENOMEM come from it or from map())
};

}  // namespace pviommu
