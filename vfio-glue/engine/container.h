// SPDX-License-Identifier: LGPL-2.1-or-later
// The VFIO container: an open /dev/vfio/vfio, groups in it, one address space.
//
// Life:  open -> groups join -> SET_IOMMU makes the address space -> MAP/UNMAP
//        ... -> the last group leaves: mappings and the IOMMU type are gone, the
//        container can be set up anew.  Closing the descriptor while groups are
//        in changes nothing: they hold it.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <memory>
#include <mutex>

#include "pviommu/address_space.h"
#include "vfio-glue/engine/engine_config.h"
#include "vfio-glue/engine/ioctl_table.h"

namespace pviommu::vfio {

/// What the migration capability reports: 2^28 bytes, one bit for each 4 KiB page.
inline constexpr std::uint64_t kMaxDirtyBitmapBytes = std::uint64_t{1} << 28;

/// What joins a container: a group.
class ContainerMember : public boost::intrusive::list_base_hook<> {
 public:
  virtual std::vector<Sbdf> devices() const = 0;

 protected:
  ~ContainerMember() = default;
};

class Container final : public File {
 public:
  /// The three outlive it: they are the engine's.
  Container(IommuDriver& driver, Spaces& spaces, FrameSource& frames, const EngineConfig& config)
      : driver_(driver), spaces_(spaces), frames_(frames), config_(config) {}
  ~Container() override;

  const char* kind() const override { return "container"; }
  Result<MmapPieces> mmap(std::uint64_t, std::size_t, int, int) override;
  Status load(std::uint64_t, void*, std::size_t) override { return Error{ENODEV, "no mapping of this file"}; }
  Status store(std::uint64_t, const void*, std::size_t) override { return Error{ENODEV, "no mapping of this file"}; }
  void mapping_changed(std::uint64_t, int) override {}
  bool mappings_fault() const override { return false; }
  Result<MmioPlace> mmio_place(std::uint64_t) override;

  /// A group joins.  No error today: the space is shared by whatever is in it.
  void add_group(ContainerMember& group);
  /// The last one takes the address space with it.
  void remove_group(ContainerMember& group);

  /// The address space for a device that is being opened; null before
  /// SET_IOMMU.  Stays valid while the caller's group is in the container.
  AddressSpace* address_space();

 private:
  Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) override;
  Result<std::size_t> do_pread(Client&, std::uint64_t, std::size_t, std::int64_t) override;
  Result<std::size_t> do_pwrite(Client&, std::uint64_t, std::size_t, std::int64_t) override;

  friend struct ContainerTable;
  Result<long> get_api_version(const Call& call);
  Result<long> check_extension(const Call& call);
  Status set_iommu(const Call& call);
  Status get_info(const Call& call, vfio_iommu_type1_info& info);
  Status map_dma(const Call& call, vfio_iommu_type1_dma_map& map);
  Status unmap_dma(const Call& call, vfio_iommu_type1_dma_unmap& unmap);
  Status dirty_pages(const Call& call, vfio_iommu_type1_dirty_bitmap& dirty);
  Status get_dirty_bitmap(const Call& call, const vfio_iommu_type1_dirty_bitmap& dirty);
  /// The part of UNMAP_DMA that VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP adds, done before the
  /// range is unmapped.
  Status unmap_dirty_bitmap(const Call& call, const vfio_iommu_type1_dma_unmap& unmap);
  Status report_dirty(const Call& call, const vfio_bitmap& bitmap, Iova iova, std::uint64_t size);
  /// A program maps a BAR of one of its devices for the others (peer-to-peer).
  Status map_mmio(const Client::MmioMapping& mmio, const vfio_iommu_type1_dma_map& map);

  IommuDriver& driver_;
  Spaces& spaces_;
  FrameSource& frames_;
  const EngineConfig config_;
  std::mutex lock_;  ///< guards the groups and what opens and closes the space
  boost::intrusive::list<ContainerMember> groups_;
  // Made by the first SET_IOMMU and kept, closed or open, so that a call needs
  // no lock to use it: the space has its own and refuses once it is closed.
  std::unique_ptr<AddressSpace> space_;
  std::atomic<bool> open_{false};  ///< set after space_, so that who sees it sees that
  std::atomic<bool> dirty_tracking_{false};
};

}  // namespace pviommu::vfio
