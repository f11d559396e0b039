// SPDX-License-Identifier: LGPL-2.1-or-later
// An open /dev/vfio/devices/vfioN: a device that is reached without its group.
//
//   open      any number of times, and nothing works (EINVAL) but
//   BIND      the device is opened in an iommufd; from here on this is a device's file
//   ATTACH    to an IOAS or a page table of that iommufd, or from one to another
//   DETACH    it reaches nothing
//   close     the device is closed
//
// Of a group whose node is open no device can be bound, and the other way round.
#pragma once

#include <mutex>

#include "vfio-glue/engine/device_file.h"
#include "vfio-glue/engine/group.h"
#include "vfio-glue/engine/iommufd.h"

namespace pviommu::vfio {

class DeviceNode final : public DeviceFile, private DeviceOwner {
 public:
  /// All of them outlive it.
  DeviceNode(GroupSlot& slot, GroupOwner& owner, const PciDeviceInfo& info)
      : DeviceFile(static_cast<DeviceOwner&>(*this)), slot_(slot), owner_(owner), info_(info) {}
  ~DeviceNode() override;

  Result<MmapPieces> mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags) override;
  const void* mapped_object() const override;
  bool mappings_fault() const override { return bound_ && DeviceFile::mappings_fault(); }
  Result<MmioPlace> mmio_place(std::uint64_t offset) override;

 private:
  Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) override;
  Result<std::size_t> do_pread(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) override;
  Result<std::size_t> do_pwrite(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) override;

  Status bind(const Call& call);
  Status attach(const Call& call);
  Status detach(const Call& call);

  void put_device(Device& device) override;
  Status hot_reset(Client& client, std::span<const std::int32_t> groups, Device& device,
                   const std::vector<HotResetMember>& members) override;
  std::optional<std::vector<std::int32_t>> reset_ids(const std::vector<HotResetMember>& members) override;
  bool has_nodes() const override { return true; }

  GroupSlot& slot_;
  GroupOwner& owner_;
  const PciDeviceInfo info_;
  std::mutex lock_;  ///< of BIND, ATTACH, DETACH; before the iommufd's
  std::atomic<bool> bound_{false};  ///< set after the device and all below
  boost::intrusive_ptr<Iommufd> iommufd_;
  std::uint32_t id_ = 0;  ///< the device's in it
};

}  // namespace pviommu::vfio
