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
// So a registration is made for what of a new piece is not covered yet, and each
// lives as long as some piece uses it.
//
// The kernel keeps registrations by process, but a container takes those that were
// made through it along when it is closed: each container has all of them.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "hypercall/range.h"
#include "vfio-glue/spapr/vfio_calls.h"

namespace pviommu::spapr {

/// Thread-safe.
class RegisteredMemory {
 public:
  /// `page`: the system's page size, which registrations are made of.
  RegisteredMemory(VfioCalls& calls, std::uint64_t page) : calls_(calls), page_(page) {}

  /// Makes all registrations in a new container, and from now on with each new piece.
  Status add_container(int container);
  /// Before it is closed, which ends its registrations.
  void remove_container(int container) noexcept;

  /// EFAULT: no memory there, or not writable (the kernel pins for writing).
  /// ENOMEM: RLIMIT_MEMLOCK or no memory.  All or nothing.
  Status add(HvaRange piece);
  /// A piece that was added; nothing of it is mapped any more.
  void remove(HvaRange piece) noexcept;

  std::size_t registrations() const;

 private:
  struct Registration {
    std::uint64_t last = 0;
    std::uint64_t users = 0;
  };
  using Registrations = std::map<std::uint64_t, Registration>;  ///< by first address, disjoint

  HvaRange whole_pages(HvaRange piece) const;
  Status call(int container, unsigned long request, std::uint64_t first, std::uint64_t last);
  Status register_everywhere(std::uint64_t first, std::uint64_t last);
  void unregister_everywhere(std::uint64_t first, std::uint64_t last) noexcept;
  void drop(std::uint64_t first, std::uint64_t last) noexcept;

  VfioCalls& calls_;
  const std::uint64_t page_;
  mutable std::mutex lock_;
  Registrations registrations_;
  std::vector<int> containers_;
};

}  // namespace pviommu::spapr
