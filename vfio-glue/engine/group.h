// SPDX-License-Identifier: LGPL-2.1-or-later
// The VFIO group: an open /dev/vfio/<n>, and the devices opened through it.
//
// A group can be open once.  It keeps its container alive, or the iommufd that it was given for
// one; its devices' files
// keep the group alive.  So any order of closing works, and the container ends
// last.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/device_lock.h"
#include "vfio-glue/engine/container.h"
#include "vfio-glue/engine/device_file.h"
#include "vfio-glue/engine/iommufd.h"

namespace pviommu::vfio {

/// A group of the machine, open or not.  Owned by the engine.
struct GroupSlot {
  unsigned number = 0;
  std::vector<PciDeviceInfo> devices;
  // Guarded by the engine's lock:
  bool open = false;
  unsigned blocked = 0;            ///< devices that are bound by their nodes, or about to be
  std::vector<Sbdf> bound{};       ///< those that are
  const void* iommufd = nullptr;   ///< to which
  std::optional<DeviceLock> lock{};  ///< while open or blocked: keeps other processes of the session out
};

/// Who opens groups and the nodes of devices: the engine.
class GroupOwner {
 public:
  /// The group is closed for good and can be opened again.
  virtual void group_closed(GroupSlot& slot) = 0;
  /// A device of it is going to be bound by its node.  EBUSY: the group is open.
  virtual Status block_group(GroupSlot& slot) = 0;
  virtual void unblock_group(GroupSlot& slot) = 0;
  /// The device is bound to `iommufd`.  EINVAL: it is bound already; EBUSY: another one of the
  /// group is, to something else, or the group is not viable.
  virtual Status claim_device(GroupSlot& slot, Sbdf sbdf, const void* iommufd) = 0;
  virtual void release_device(GroupSlot& slot, Sbdf sbdf) = 0;

 protected:
  ~GroupOwner() = default;
};

class Group final : public File, public ContainerMember, private DeviceOwner {
 public:
  /// `hypervisor`, `slot` and `owner` outlive it.
  Group(Hypervisor& hypervisor, const EngineConfig& config, GroupSlot& slot, GroupOwner& owner);
  ~Group() override;

  const char* kind() const override { return "group"; }
  Result<MmapPieces> mmap(std::uint64_t, std::size_t, int, int) override;
  Status load(std::uint64_t, void*, std::size_t) override { return Error{ENODEV, "no mapping of this file"}; }
  Status store(std::uint64_t, const void*, std::size_t) override { return Error{ENODEV, "no mapping of this file"}; }
  void mapping_changed(std::uint64_t, int) override {}
  bool mappings_fault() const override { return false; }
  Result<MmioPlace> mmio_place(std::uint64_t) override;
  std::vector<Sbdf> devices() const override;

 private:
  Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) override;
  Result<std::size_t> do_pread(Client&, std::uint64_t, std::size_t, std::int64_t) override;
  Result<std::size_t> do_pwrite(Client&, std::uint64_t, std::size_t, std::int64_t) override;

  void put_device(Device& device) override;
  Status hot_reset(Client& client, std::span<const std::int32_t> groups, Device& device,
                   const std::vector<HotResetMember>& members) override;
  std::optional<std::vector<std::int32_t>> reset_ids(const std::vector<HotResetMember>&) override { return std::nullopt; }
  bool has_nodes() const override { return config_.interfaces.cdev; }

  /// A device that is open.
  struct OpenDevice {
    std::unique_ptr<Device> own{};              ///< in a container's space
    boost::intrusive_ptr<Iommufd> iommufd{};    ///< else bound to this
    std::uint32_t id = 0;                       ///< under this number
    Device* device = nullptr;
  };
  Result<OpenDevice> open_device(const PciDeviceInfo& info);
  /// The last file on it is gone, or there never was one; lock held.
  void close_device(Device& device);

  friend struct GroupTable;
  Status get_status(const Call& call, vfio_group_status& status);
  Status set_container(const Call& call);
  Status unset_container(const Call& call);
  Result<long> get_device_fd(const Call& call);  ///< the descriptor
  const PciDeviceInfo* find_device(std::string_view name) const;
  bool viable() const;

  Hypervisor& hypervisor_;
  const EngineConfig config_;
  GroupSlot& slot_;
  GroupOwner& owner_;
  std::mutex lock_;
  boost::intrusive_ptr<Container> container_;
  boost::intrusive_ptr<Iommufd> iommufd_;  ///< in the place of a container
  std::vector<OpenDevice> devices_;
};

}  // namespace pviommu::vfio
