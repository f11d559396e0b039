// SPDX-License-Identifier: LGPL-2.1-or-later
// From memory of this process to machine frames, in a PV dom0.
//
//   address --/proc/self/pagemap--> pfn --p2m of dom0--> mfn
//
// dom0's p2m is an array of machine frames, indexed by pfn, in the kernel's
// address space.  The kernel tells Xen where (arch_shared_info: p2m_cr3,
// p2m_vaddr), Xen tells us where that structure is (getdomaininfo), and page
// tables and array are mapped as foreign memory of dom0's own:
//
//   p2m_cr3 -> L4 -> L3 -> L2 -> L1 -> leaf: 512 entries of the array
//
// Leaves stay mapped (xen/include/public/arch-x86/xen.h, p2m_generation: says
// when the kernel has replaced one).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "hypercall/spaces.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/xen_calls.h"

struct xenforeignmemory_handle;

namespace pviommu::xen {

/// Thread-safe.
class PhysicalMap {
 public:
  /// EOPNOTSUPP: dom0 has no linear p2m (not a PV kernel, or older than 4.4).
  static Result<std::unique_ptr<PhysicalMap>> open(XenCalls& calls);
  ~PhysicalMap();
  PhysicalMap(const PhysicalMap&) = delete;
  PhysicalMap& operator=(const PhysicalMap&) = delete;

  /// Appends the machine frames behind `range` to `out`, neighbours as one run.  The
  /// memory must be pinned, as frames of other memory may change at once.  EFAULT: a page
  /// is not there, or is another domain's (a grant or a foreign mapping, which Xen may
  /// take back).  EPERM: page frame numbers are hidden from this process.
  Status frames_of(HvaRange range, std::vector<FrameRun>& out);

 private:
  PhysicalMap() = default;
  const void* map_frame(std::uint64_t mfn);
  void unmap_frame(const void* page);
  /// The entry of `page`, a page number of this process, once it is there: the kernel takes a page
  /// out of the page table when it tries to move it, which a pin lets fail, and that is seen.
  Result<std::uint64_t> awaited(std::uint64_t page);
  /// The part of the array that holds `pfn`; lock held.
  Result<const std::uint64_t*> leaf(std::uint64_t pfn);
  void forget_leaves();
  std::uint64_t generation() const;

  LibraryFds fds_;
  xenforeignmemory_handle* foreign_ = nullptr;
  const shared_info_t* shared_ = nullptr;
  UniqueFd pagemap_;
  std::mutex lock_;
  std::uint64_t generation_ = 0;  ///< of `leaves_`
  std::unordered_map<std::uint64_t, const std::uint64_t*> leaves_;  ///< by pfn / 512
  std::vector<std::uint64_t> entries_;  ///< of pagemap, one piece of a range
};

}  // namespace pviommu::xen
