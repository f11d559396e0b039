// SPDX-License-Identifier: LGPL-2.1-or-later
// An open file on a device, as GROUP_GET_DEVICE_FD gives it.
#pragma once

#include <atomic>

#include "vfio-glue/engine/device.h"
#include "vfio-glue/engine/ioctl_table.h"

namespace pviommu::vfio {

/// Who opened a device, and closes it: its group, or its own node.
class DeviceOwner {
 public:
  /// A file on the device is gone; the last one closes the device.
  virtual void put_device(Device& device) = 0;
  /// VFIO_DEVICE_PCI_HOT_RESET: resets `members` by way of `device`, one of them.  `groups` are
  /// the program's descriptors.  EBADF: one is not open; EINVAL: it is no group, or the groups
  /// do not have all the members.
  virtual Status hot_reset(Client& client, std::span<const std::int32_t> groups, Device& device,
                           const std::vector<HotResetMember>& members) = 0;
  /// What hot resets of a device that is bound to an iommufd name the members by, and then no
  /// groups; nothing: it was opened by its group.
  virtual std::optional<std::vector<std::int32_t>> reset_ids(const std::vector<HotResetMember>& members) = 0;
  /// Whether devices have nodes of their own here (EngineConfig::interfaces), as kernels with
  /// CONFIG_VFIO_DEVICE_CDEV have them.
  virtual bool has_nodes() const = 0;

 protected:
  ~DeviceOwner() = default;
};

class DeviceFile : public File {
 public:
  /// `device` belongs to `owner`, which `group` keeps alive; this file counts as one of its users.
  DeviceFile(FileRef group, DeviceOwner& owner, Device& device)
      : group_(std::move(group)), owner_(owner), device_(&device) {}
  ~DeviceFile() override {
    if (device_) owner_.put_device(*device_);
  }

  Device& device() { return *device_; }
  /// The file could not be handed out; its user count is taken back elsewhere.
  void disown() { device_ = nullptr; }

  const char* kind() const override { return "device"; }
  Result<MmapPieces> mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags) override;
  Status load(std::uint64_t offset, void* to, std::size_t bytes) override;
  Status store(std::uint64_t offset, const void* from, std::size_t bytes) override;
  void mapping_changed(std::uint64_t offset, int delta) override;
  const void* mapped_object() const override { return device_; }
  bool mappings_fault() const override { return !device_->accessible(); }
  Result<MmioPlace> mmio_place(std::uint64_t offset) override { return device_->mmio_place(offset); }

 protected:
  /// A file that has no device yet; until own() none of the calls below comes.
  explicit DeviceFile(DeviceOwner& owner) : owner_(owner), device_(nullptr) {}
  void own(Device& device) { device_ = &device; }

  Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) override;
  Result<std::size_t> do_pread(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) override;
  Result<std::size_t> do_pwrite(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) override;

 private:
  friend struct DeviceTable;
  Status get_info(const Call& call, vfio_device_info& info);
  Status get_region_info(const Call& call, vfio_region_info& info);
  Status get_irq_info(const Call& call, vfio_irq_info& info);
  Status reply_with_kinds(const Call& call, const vfio_irq_info& info, const IrqInfo& irq);
  Result<long> set_irqs(const Call& call, vfio_irq_set& set);  ///< as Device::set_irqs()
  Result<long> set_notifications(const Call& call, IrqSet& request, std::uint64_t data);
  Status reset(const Call& call);
  Status get_hot_reset_info(const Call& call, vfio_pci_hot_reset_info& info);
  Status hot_reset(const Call& call, vfio_pci_hot_reset& reset);
  Status ioeventfd(const Call& call, vfio_device_ioeventfd& request);
  Status feature(const Call& call, vfio_device_feature& feature);
  Status low_power(const Call& call, const vfio_device_feature& feature);

  const FileRef group_;
  DeviceOwner& owner_;
  Device* device_;
  std::atomic<bool> knows_notifications_{false};  ///< has asked for the kinds (vfio_notification.h)
};

}  // namespace pviommu::vfio
