// SPDX-License-Identifier: LGPL-2.1-or-later
// An open /dev/iommu: its objects by number, and the devices that are bound to it.
//
//   id -> IOAS                        ioas.h
//   id -> hardware page table ----> the IOAS that it shows to devices
//   id -> device, of a group -----> the page table that the group is attached to
//
// Who refers to an object counts as its user, and it cannot be destroyed then.  A device that
// is bound and not attached is in an address space of its group's own, without a mapping.
//
// What binds devices keeps the file alive (device_node.h, group.h), so that the last reference
// finds objects and no devices.  One lock for all of it, taken after a group's or a node's and
// before those of devices and address spaces; no File may be released with it held.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "vfio-glue/engine/device.h"
#include "vfio-glue/engine/ioas.h"
#include "vfio-glue/engine/ioctl_table.h"
#include "vfio-glue/iommufd_abi.h"

namespace pviommu::vfio {

class Iommufd final : public File {
 public:
  /// They outlive it: they are the engine's.
  Iommufd(Hypervisor& hypervisor, IommuDriver& driver, FrameSource& frames, const EngineConfig& config)
      : hypervisor_(hypervisor), driver_(driver), frames_(frames), config_(config) {}

  const char* kind() const override { return "iommufd"; }
  Result<MmapPieces> mmap(std::uint64_t, std::size_t, int, int) override { return Error{ENODEV, "mmap of an iommufd"}; }
  Status load(std::uint64_t, void*, std::size_t) override { return Error{ENODEV, "no mapping of this file"}; }
  Status store(std::uint64_t, const void*, std::size_t) override { return Error{ENODEV, "no mapping of this file"}; }
  void mapping_changed(std::uint64_t, int) override {}
  bool mappings_fault() const override { return false; }
  Result<MmioPlace> mmio_place(std::uint64_t) override { return Error{EFAULT, "peer-to-peer map of an iommufd"}; }

  // ---- for who opens devices ----------------------------------------------------

  struct BoundDevice {
    std::uint32_t id = 0;
    Device* device = nullptr;  ///< the iommufd's, until unbind()
  };
  /// Opens the device, which is nobody's, in the address space of its group here.
  Result<BoundDevice> bind(const PciDeviceInfo& info);
  /// Closes it, attached or not.
  void unbind(std::uint32_t id);
  /// To an IOAS or a page table; the number of the page table.  ENOENT: there is no such
  /// object; EINVAL: it is something else, or the group is attached elsewhere.
  Result<std::uint32_t> attach(std::uint32_t id, std::uint32_t target);
  /// After an error of the hypervisor it is attached as before.
  Status detach(std::uint32_t id);
  /// What VFIO_DEVICE_GET_PCI_HOT_RESET_INFO says of each: its number, kDevIdOwned or kDevIdNotOwned.
  std::vector<std::int32_t> reset_ids(const std::vector<HotResetMember>& members);
  /// Device::hot_reset() by way of the device `id`; every member is owned.
  Status hot_reset(Client& client, std::uint32_t id, const std::vector<HotResetMember>& members);

  /// For a group that takes this for a container: the IOAS that VFIO's own ioctls work on is
  /// made, if there is none.
  void make_compat_ioas();
  /// ENODEV: there is none.
  Result<std::uint32_t> compat_ioas();

 private:
  struct Group;
  struct Object {
    unsigned users = 0;
    std::unique_ptr<Ioas> ioas{};  ///< an IOAS; else null
    Object* of = nullptr;          ///< a page table: its IOAS
    bool automatic = false;        ///< a page table that goes with the last device
    std::unique_ptr<Device> device{};  ///< a device
    Group* group = nullptr;            ///< of the device
    bool attached = false;             ///< the device
    bool is_table() const { return of != nullptr; }
  };
  /// An IOMMU group with devices that are bound here.
  struct Group {
    unsigned number = 0;
    std::vector<Object*> devices{};
    Object* table = nullptr;  ///< that they are attached to, one at least
    unsigned attached = 0;
    std::unique_ptr<AddressSpace> blocked{};  ///< where they are otherwise; without mappings
    AddressSpace& space() const { return table ? *table->of->ioas->space() : *blocked; }
  };

  Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) override;
  Result<std::size_t> do_pread(Client&, std::uint64_t, std::size_t, std::int64_t) override;
  Result<std::size_t> do_pwrite(Client&, std::uint64_t, std::size_t, std::int64_t) override;

  // ---- objects; lock held ---------------------------------------------------------
  std::uint32_t add(Object object);
  Object* find(std::uint32_t id);  ///< null: there is none
  std::uint32_t id_of(const Object& object) const;
  Result<Ioas*> find_ioas(std::uint32_t id);
  Result<Object*> find_table(std::uint32_t id);
  Result<Object*> find_device(std::uint32_t id);
  void erase(const Object& object);
  Result<std::uint32_t> new_table(Object& ioas, bool automatic);
  void put_table(Object& table);
  Result<Object*> table_for(std::uint32_t target);
  Status move(Group& group, Object* table);
  Status leave(Object& device);

  // ---- ioctls (iommufd_calls.cc, iommufd_compat.cc) ----------------------------------
  friend struct IommufdTable;
  Status destroy(const Call& call, iommufd::Destroy& cmd);
  Status ioas_alloc(const Call& call, iommufd::IoasAlloc& cmd);
  Status allow_iovas(const Call& call, iommufd::AllowIovas& cmd);
  Status iova_ranges(const Call& call, iommufd::IovaRanges& cmd);
  Status ioas_map(const Call& call, iommufd::IoasMap& cmd);
  Status ioas_map_file(const Call& call, iommufd::IoasMapFile& cmd);
  Status ioas_copy(const Call& call, iommufd::IoasCopy& cmd);
  Status ioas_unmap(const Call& call, iommufd::IoasUnmap& cmd);
  Status option(const Call& call, iommufd::Option& cmd);
  Status rlimit_mode(iommufd::Option& cmd);
  Status vfio_ioas(const Call& call, iommufd::VfioIoas& cmd);
  Status hwpt_alloc(const Call& call, iommufd::HwptAlloc& cmd);
  Status hw_info(const Call& call, iommufd::HwInfo& cmd);
  Status set_dirty_tracking(const Call& call, iommufd::SetDirtyTracking& cmd);
  Status dirty_bitmap(const Call& call, iommufd::GetDirtyBitmap& cmd);
  Status hwpt_invalidate(const Call& call, iommufd::HwptInvalidate& cmd);
  Status fault_queue(const Call& call, iommufd::FaultQueueAlloc& cmd);
  Status viommu(const Call& call, iommufd::ViommuAlloc& cmd);
  Status vdevice(const Call& call, iommufd::VdeviceAlloc& cmd);
  Status change_process(const Call& call, iommufd::ChangeProcess& cmd);
  Status veventq(const Call& call, iommufd::VeventqAlloc& cmd);
  Status hw_queue(const Call& call, iommufd::HwQueueAlloc& cmd);

  /// Ioas::map(), counted and told.
  Result<std::uint64_t> counted_map(Ioas& ioas, std::span<const MemoryPiece> pieces, std::optional<std::uint64_t> iova,
                                    Access access);
  Result<std::uint64_t> counted_unmap(Ioas& ioas, std::uint64_t iova, std::uint64_t length, bool all);

  friend struct CompatTable;
  Result<long> get_api_version(const Call& call);
  Result<long> check_extension(const Call& call);
  Status set_iommu(const Call& call);
  Status get_info(const Call& call, vfio_iommu_type1_info& info);
  Status map_dma(const Call& call, vfio_iommu_type1_dma_map& map);
  Status unmap_dma(const Call& call, vfio_iommu_type1_dma_unmap& unmap);
  Result<long> compat_ioctl(Client& client, std::uint32_t request, std::uint64_t argument);
  Result<Ioas*> find_compat();  ///< lock held

  Hypervisor& hypervisor_;
  IommuDriver& driver_;
  FrameSource& frames_;
  const EngineConfig config_;
  std::mutex lock_;
  std::map<std::uint32_t, Object> objects_;  ///< places stay
  std::map<unsigned, Group> groups_;
  std::uint32_t compat_ = 0;       ///< 0: none
  bool counts_by_process_ = false;  ///< IOMMU_OPTION_RLIMIT_MODE
};

}  // namespace pviommu::vfio
