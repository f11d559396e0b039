// SPDX-License-Identifier: LGPL-2.1-or-later
// An IOMMU group of the kernel, in a container of its own.
//
//   /dev/vfio/N  ->  container (VFIO_SPAPR_TCE_IOMMU or v2)  ->  windows of the group's PE
//
//   v1   pins each page when it is mapped, as type1 does; the default window only
//   v2   maps memory that was registered before; can make a second window
//
// On Power a group is a partitionable endpoint: the devices that share a TCE
// table.  The kernel joins two groups to one container only when they share
// tables, which PEs of an LPAR never do; a program's container with several groups
// is therefore several of these (SpaprHypervisor).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "hypercall/spaces.h"
#include "hypercall/papr/vfio/registered_memory.h"
#include "hypercall/papr/vfio/vfio_calls.h"

namespace pviommu::spapr {

/// A dynamic DMA window besides the default one; size 0: none.
struct WindowChoice {
  std::uint64_t size = 0;  ///< bytes, a power of two and at least a page
  unsigned page_shift = kPageShift;

  /// Where the kernel puts it: pseries has room for one more window, at this
  /// address (PAPR, ibm,create-pe-dma-window).
  static constexpr std::uint64_t kStart = std::uint64_t{1} << 59;
};

enum class ContainerType : std::uint8_t { v1, v2 };

/// Calls on one group are serialised by its owner.
class KernelGroup {
 public:
  /// Opens the group and makes its windows.  `default_window` is what the device
  /// tree says, `window` is for v2.  EBUSY: somebody else has the group open, or a member has a
  /// driver.  EOPNOTSUPP: this kernel has no sPAPR v2 for it.  What is wrong is
  /// also said on stderr.
  static Result<std::unique_ptr<KernelGroup>> open(VfioCalls& calls, RegisteredMemory& memory, ContainerType type,
                                                   unsigned number, const IovaRange& default_window,
                                                   const WindowChoice& window);
  /// The kernel empties the windows.
  ~KernelGroup();

  unsigned number() const { return number_; }
  /// A member; the group stays open at least as long.
  Result<UniqueFd> open_device(Sbdf sbdf);

  /// All of the run or nothing; v2: the memory is registered, v1: EFAULT, ENOMEM where
  /// it cannot be pinned.  EINVAL: outside the
  /// windows, or memory whose pages are smaller than the window's.
  Status map(const MapRun& run);
  Status unmap(const UnmapRun& run);

  // Kept for the owner: the space that maps here, and its attached devices.
  std::optional<SpaceId> space;
  std::vector<Sbdf> attached;
  unsigned open_devices = 0;

 private:
  KernelGroup(VfioCalls& calls, RegisteredMemory& memory, ContainerType type, unsigned number)
      : calls_(calls), memory_(memory), type_(type), number_(number) {}
  Status start(const IovaRange& default_window, const WindowChoice& window);
  Status create_window(const WindowChoice& window, std::uint64_t page_sizes);
  Status refuse(int code, const char* operation, const std::string& why) const;

  VfioCalls& calls_;
  RegisteredMemory& memory_;
  const ContainerType type_;
  const unsigned number_;
  UniqueFd container_;  // closed after the group: the kernel wants it in no order, people read it so
  UniqueFd group_;
  bool registered_ = false;
};

}  // namespace pviommu::spapr
