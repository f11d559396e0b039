// SPDX-License-Identifier: LGPL-2.1-or-later
// The program's memory, as it is registered with the kernel.
//
// VFIO's sPAPR v2 driver maps only memory that was registered before
// (VFIO_IOMMU_SPAPR_REGISTER_MEMORY), which pins it, and a registration must not
// overlap another one.  type1 programs know nothing of that and map any piece at
// any time, also twice:
//
//   map A            |-------------------|
//   map B                      |-------------------|
//   registered       |--------- 1 ------|----- 2 --|     B uses 1 and 2
//
// So a registration is made for the parts of a new piece that are not covered yet, and
// each lives as long as some piece uses it.
//
// A registration holds the pages that were there when it was made.  A program may
// free memory that it has still mapped (QEMU's nvme:// does), get other pages at the
// same addresses and map those: they cannot be registered beside the old ones, and the
// old ones are not what it means.  So a registration is used again only when its pages
// are still the program's (frames in /proc/self/pagemap, which takes CAP_SYS_ADMIN);
// else the map is refused.  Containers of type v1 have no such trouble.
//
// The kernel keeps registrations by process, but a container takes those that were
// made through it along when it is closed: each container has all of them.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "hypercall/range.h"
#include "hypercall/papr/vfio/vfio_calls.h"

namespace pviommu::spapr {

/// Thread-safe.
class RegisteredMemory {
 public:
  /// `page`: the system's page size, which registrations are made of.  `pagemap`: a
  /// file as /proc/self/pagemap; empty: pages are taken to be what they were.
  RegisteredMemory(VfioCalls& calls, std::uint64_t page, const std::string& pagemap = {});

  /// Makes all registrations in a new container, and from now on with each new piece.
  Status add_container(int container);
  /// Before it is closed, which ends its registrations.
  void remove_container(int container) noexcept;

  /// EFAULT: no memory there, or not writable (the kernel pins for writing).
  /// ENOMEM: RLIMIT_MEMLOCK or no memory.  EBUSY: registered, with other pages than
  /// are there now, or nobody can tell.  All or nothing.
  Status add(HvaRange piece);
  /// A piece that was added; nothing of it is mapped any more.
  void remove(HvaRange piece) noexcept;

  std::size_t registrations() const;

 private:
  struct Registration {
    std::uint64_t last = 0;
    std::uint64_t users = 0;
    std::vector<std::uint64_t> frames = {};  ///< with a pagemap: what was registered; empty: not known
  };
  using Registrations = std::map<std::uint64_t, Registration>;  ///< by first address, disjoint

  HvaRange whole_pages(HvaRange piece) const;
  std::vector<std::uint64_t> frames_at(std::uint64_t first, std::uint64_t last) const;
  bool same_pages(std::uint64_t first, const Registration& registration) const;
  Status call(int container, unsigned long request, std::uint64_t first, std::uint64_t last);
  Status register_everywhere(std::uint64_t first, std::uint64_t last);
  void unregister_everywhere(std::uint64_t first, std::uint64_t last) noexcept;
  void drop(std::uint64_t first, std::uint64_t last) noexcept;

  VfioCalls& calls_;
  const std::uint64_t page_;
  const bool watched_;
  const UniqueFd pagemap_;
  mutable std::mutex lock_;
  Registrations registrations_;
  std::vector<int> containers_;
};

}  // namespace pviommu::spapr
