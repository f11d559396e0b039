// SPDX-License-Identifier: LGPL-2.1-or-later
// BIND, ATTACH and DETACH in the order of Linux's drivers/vfio/device_cdev.c; all else is a
// device's file.
#include "vfio-glue/engine/device_node.h"

#include <algorithm>

namespace pviommu::vfio {
namespace {

Error not_bound() { return {EINVAL, "device that is not bound to an iommufd"}; }

/// The structure's first `min_size` bytes; what is behind them belongs to flags that no device
/// here has.  EINVAL: there are less.
template <class Structure>
Result<Structure> copy_structure(const Call& call, std::uint32_t min_size) {
  Structure structure{};
  PVIOMMU_TRY(call.client.copy_in(&structure, call.argument, min_size));
  if (structure.argsz < min_size) return Error{EINVAL, "argsz of an ioctl"};
  return structure;
}

}  // namespace

DeviceNode::~DeviceNode() {
  if (!bound_) return;
  // Before what it is a part of goes.
  const Sbdf sbdf = device().info().sbdf;
  disown();
  iommufd_->unbind(id_);
  owner_.release_device(slot_, sbdf);
  owner_.unblock_group(slot_);
}

Result<long> DeviceNode::do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
  if (request == iommufd::kDeviceBind) return number_of(bind(Call{client, argument}));
  if (!bound_.load(std::memory_order_acquire)) return not_bound();
  if (request == iommufd::kDeviceAttach) return number_of(attach(Call{client, argument}));
  if (request == iommufd::kDeviceDetach) return number_of(detach(Call{client, argument}));
  return DeviceFile::do_ioctl(client, request, argument);
}

Status DeviceNode::bind(const Call& call) {
  const auto bind = PVIOMMU_TRY(copy_structure<iommufd::DeviceBind>(call, offsetof(iommufd::DeviceBind, token_uuid_ptr)));
  if ((bind.flags & ~iommufd::kBindToken) || bind.iommufd < 0) return Error{EINVAL, "BIND_IOMMUFD"};
  const bool open = call.client.is_open(bind.iommufd);
  const FileRef file = call.client.file_of(bind.iommufd);  // released behind the lock
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(owner_.block_group(slot_));
  const auto undo = [&](const Error& error, bool claimed) -> Status {
    if (claimed) owner_.release_device(slot_, info_.sbdf);
    owner_.unblock_group(slot_);
    return error;
  };
  if (bound_) return undo({EINVAL, "BIND_IOMMUFD again"}, false);
  // A token keeps the owners of a VF and of its PF apart; there are none of these.
  if (bind.flags & iommufd::kBindToken) return undo({EINVAL, "BIND_IOMMUFD: token"}, false);
  if (!open) return undo({EBADF, "BIND_IOMMUFD"}, false);
  auto* const target = dynamic_cast<Iommufd*>(file.get());
  if (!target) return undo({EBADFD, "BIND_IOMMUFD to what is no iommufd"}, false);
  if (const Status claimed = owner_.claim_device(slot_, info_.sbdf, target); !claimed) return undo(claimed.error(), false);
  const auto bound = target->bind(info_);
  if (!bound) return undo(bound.error(), true);
  if (const Status told = call.client.copy_out(call.argument + offsetof(iommufd::DeviceBind, out_devid), &bound->id,
                                               sizeof bound->id);
      !told) {
    target->unbind(bound->id);
    return undo(told.error(), true);
  }
  iommufd_ = target;
  id_ = bound->id;
  own(*bound->device);
  bound_.store(true, std::memory_order_release);
  return {};
}

Status DeviceNode::attach(const Call& call) {
  const auto request = PVIOMMU_TRY(copy_structure<iommufd::DeviceAttach>(call, offsetof(iommufd::DeviceAttach, pasid)));
  if (request.flags & ~iommufd::kAttachPasid) return Error{EINVAL, "ATTACH_IOMMUFD_PT: flags"};
  if (request.flags & iommufd::kAttachPasid) return Error{EOPNOTSUPP, "ATTACH_IOMMUFD_PT: no hypervisor here has PASIDs"};
  const std::lock_guard guard(lock_);
  const std::uint32_t table = PVIOMMU_TRY(iommufd_->attach(id_, request.pt_id));
  const Status told =
      call.client.copy_out(call.argument + offsetof(iommufd::DeviceAttach, pt_id), &table, sizeof table);
  if (!told) PVIOMMU_TRY(iommufd_->detach(id_));
  return told;
}

Status DeviceNode::detach(const Call& call) {
  const auto request = PVIOMMU_TRY(copy_structure<iommufd::DeviceDetach>(call, offsetof(iommufd::DeviceDetach, pasid)));
  if (request.flags & ~iommufd::kAttachPasid) return Error{EINVAL, "DETACH_IOMMUFD_PT: flags"};
  if (request.flags & iommufd::kAttachPasid) return Error{EOPNOTSUPP, "DETACH_IOMMUFD_PT: no hypervisor here has PASIDs"};
  const std::lock_guard guard(lock_);
  return iommufd_->detach(id_);
}

// ---- the device's file, once it is one --------------------------------------

Result<std::size_t> DeviceNode::do_pread(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) {
  if (!bound_.load(std::memory_order_acquire)) return not_bound();
  return DeviceFile::do_pread(client, buffer, bytes, offset);
}

Result<std::size_t> DeviceNode::do_pwrite(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) {
  if (!bound_.load(std::memory_order_acquire)) return not_bound();
  return DeviceFile::do_pwrite(client, buffer, bytes, offset);
}

Result<MmapPieces> DeviceNode::mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags) {
  if (!bound_.load(std::memory_order_acquire)) return not_bound();
  return DeviceFile::mmap(offset, bytes, prot, flags);
}

const void* DeviceNode::mapped_object() const {
  return bound_.load(std::memory_order_acquire) ? DeviceFile::mapped_object() : this;
}

Result<MmioPlace> DeviceNode::mmio_place(std::uint64_t offset) {
  if (!bound_.load(std::memory_order_acquire)) return not_bound();
  return DeviceFile::mmio_place(offset);
}

/// The destructor closes the device.
void DeviceNode::put_device(Device&) {}

Status DeviceNode::hot_reset(Client& client, std::span<const std::int32_t>, Device&,
                             const std::vector<HotResetMember>& members) {
  if (const auto ids = iommufd_->reset_ids(members); std::ranges::count(ids, iommufd::kDevIdNotOwned) != 0)
    return Error{EINVAL, "hot reset with devices of others"};
  return iommufd_->hot_reset(client, id_, members);
}

std::optional<std::vector<std::int32_t>> DeviceNode::reset_ids(const std::vector<HotResetMember>& members) {
  return iommufd_->reset_ids(members);
}

}  // namespace pviommu::vfio
