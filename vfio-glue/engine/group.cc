// SPDX-License-Identifier: LGPL-2.1-or-later
// The group's ioctls: one table, one function each.
#include "vfio-glue/engine/group.h"

#include <algorithm>

namespace pviommu::vfio {

/// The name argument of GET_DEVICE_FD is bounded like the kernel's
/// strndup_user(arg, PAGE_SIZE): EINVAL when it is longer.  Nothing behind its
/// end is read: what lies there may be another page, or poisoned.
static Result<std::string> copy_name(const Call& call) {
  std::string name;
  for (std::uint64_t at = 0; at < kPageSize; ++at) {
    char next = 0;
    PVIOMMU_TRY(call.client.copy_in(&next, call.argument + at, 1));
    if (next == 0) return name;
    name += next;
  }
  return Error{EINVAL, "device name"};
}

struct GroupTable {
  static constexpr IoctlTable<Group> table = make_table<Group>({
      Bound<&Group::get_status>::entry(VFIO_GROUP_GET_STATUS, sizeof(vfio_group_status), kAnyFlags),
      Bound<&Group::set_container>::entry(VFIO_GROUP_SET_CONTAINER),
      Bound<&Group::unset_container>::entry(VFIO_GROUP_UNSET_CONTAINER),
      Bound<&Group::get_device_fd>::entry(VFIO_GROUP_GET_DEVICE_FD),
  });
};

Group::Group(Hypervisor& hypervisor, const EngineConfig& config, GroupSlot& slot, GroupOwner& owner)
    : hypervisor_(hypervisor), config_(config), slot_(slot), owner_(owner) {}

Group::~Group() {
  // Device files hold the group: none is open here.
  if (container_) container_->remove_group(*this);
  container_.reset();
  owner_.group_closed(slot_);
}

Result<long> Group::do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
  return dispatch(GroupTable::table, *this, client, request, argument, ENOTTY);
}

Result<std::size_t> Group::do_pread(Client&, std::uint64_t, std::size_t, std::int64_t) {
  return Error{EINVAL, "read of a group"};
}

Result<std::size_t> Group::do_pwrite(Client&, std::uint64_t, std::size_t, std::int64_t) {
  return Error{EINVAL, "write to a group"};
}

Result<MmapPieces> Group::mmap(std::uint64_t, std::size_t, int, int) { return Error{ENODEV, "mmap of a group"}; }

Result<MmioPlace> Group::mmio_place(std::uint64_t) { return Error{EFAULT, "peer-to-peer map of a group"}; }

std::vector<Sbdf> Group::devices() const {
  std::vector<Sbdf> all;
  for (const PciDeviceInfo& info : slot_.devices) all.push_back(info.sbdf);
  return all;
}

bool Group::viable() const {
  return std::ranges::all_of(slot_.devices, [](const PciDeviceInfo& info) { return info.viable; });
}

Status Group::get_status(const Call& call, vfio_group_status& status) {
  const std::lock_guard guard(lock_);
  status.flags = 0;
  if (container_ || iommufd_) status.flags |= VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE;
  if (viable()) status.flags |= VFIO_GROUP_FLAGS_VIABLE;
  return call.reply(status);
}

Status Group::set_container(const Call& call) {
  std::int32_t fd = -1;
  PVIOMMU_TRY(call.client.copy_in(&fd, call.argument, sizeof fd));
  if (!call.client.is_open(fd)) return Error{EBADF, "SET_CONTAINER"};
  const FileRef file = call.client.file_of(fd);
  const std::lock_guard guard(lock_);
  if (container_ || iommufd_) return Error{EINVAL, "SET_CONTAINER of a group that has one"};
  if (auto* iommufd = dynamic_cast<Iommufd*>(file.get())) {
    iommufd->make_compat_ioas();
    iommufd_ = iommufd;
    return {};
  }
  auto* container = dynamic_cast<Container*>(file.get());
  if (!container) return Error{EBADFD, "SET_CONTAINER to what is no container"};
  if (!viable()) return Error{EPERM, "SET_CONTAINER of a group that is not viable"};
  container->add_group(*this);
  container_ = container;
  return {};
}

Status Group::unset_container(const Call&) {
  const std::lock_guard guard(lock_);
  if (iommufd_) {
    // Its devices stay where they are bound, and open.
    iommufd_.reset();
    return {};
  }
  if (!container_) return Error{EINVAL, "UNSET_CONTAINER of a group that has none"};
  if (!devices_.empty()) return Error{EBUSY, "UNSET_CONTAINER of a group with open devices"};
  container_->remove_group(*this);
  container_.reset();
  return {};
}

/// Matches "ssss:bb:dd.f", alone or followed by a blank and options, as
/// vfio-pci's match callback does; the one option there is (vf_token=) is for
/// SR-IOV functions only.
const PciDeviceInfo* Group::find_device(std::string_view name) const {
  for (const auto& info : slot_.devices) {
    const std::string own = to_string(info.sbdf);
    if (!name.starts_with(own)) continue;
    const std::string_view rest = name.substr(own.size());
    if (rest.empty() || rest.front() == ' ') return &info;
  }
  return nullptr;
}

Result<long> Group::get_device_fd(const Call& call) {
  const std::string name = PVIOMMU_TRY(copy_name(call));
  const PciDeviceInfo* info = find_device(name);
  if (!info) return Error{ENODEV, "GET_DEVICE_FD: no such device in the group"};
  const std::string address = to_string(info->sbdf);
  if (name.find_first_not_of(' ', address.size()) != std::string::npos)
    return Error{EINVAL, "GET_DEVICE_FD: options behind the name"};

  const std::lock_guard guard(lock_);
  auto found = std::ranges::find_if(devices_, [&](const auto& open) { return open.device->info().sbdf == info->sbdf; });
  if (!container_ && !iommufd_) return Error{EINVAL, "GET_DEVICE_FD of a group without a container"};
  if (found == devices_.end()) {
    devices_.push_back(PVIOMMU_TRY(open_device(*info)));
    found = devices_.end() - 1;
  }
  Device& device = *found->device;
  device.add_user();
  FileRef file(new DeviceFile(FileRef(this), *this, device));
  // The new file's destructor takes lock_: it must not be the one to see a
  // failed install.
  const Result<int> fd = call.client.install(file);
  if (fd) return long{*fd};
  static_cast<DeviceFile&>(*file).disown();
  if (device.drop_user()) close_device(device);
  return fd.error();
}

Result<Group::OpenDevice> Group::open_device(const PciDeviceInfo& info) {
  OpenDevice open;
  if (!iommufd_) {
    AddressSpace* space = container_->address_space();
    if (!space) return Error{EINVAL, "GET_DEVICE_FD before SET_IOMMU"};
    auto opened = Device::open(hypervisor_, *space, info.sbdf);
    if (!opened) {
      tell_open_failed(config_.quiet, info.sbdf, opened.error());
      return opened.error();
    }
    open.own = std::move(*opened);
    open.device = open.own.get();
    return open;
  }
  if (!viable()) return Error{EBUSY, "GET_DEVICE_FD of a group that is not viable"};
  const auto bound = PVIOMMU_TRY(iommufd_->bind(info));
  const auto attached = [&]() -> Status {
    const std::uint32_t ioas = PVIOMMU_TRY(iommufd_->compat_ioas());
    PVIOMMU_TRY(iommufd_->attach(bound.id, ioas));
    return {};
  }();
  if (!attached) {
    iommufd_->unbind(bound.id);
    return attached.error();
  }
  open.iommufd = iommufd_;
  open.id = bound.id;
  open.device = bound.device;
  return open;
}

void Group::close_device(Device& device) {
  const auto found = std::ranges::find(devices_, &device, &OpenDevice::device);
  if (found->iommufd) found->iommufd->unbind(found->id);
  devices_.erase(found);
}

Status Group::hot_reset(Client& client, std::span<const std::int32_t> fds, Device& device,
                        const std::vector<HotResetMember>& members) {
  std::vector<boost::intrusive_ptr<Group>> groups;
  for (const std::int32_t fd : fds) {
    if (!client.is_open(fd)) return Error{EBADF, "PCI_HOT_RESET"};
    const FileRef file = client.file_of(fd);
    auto* group = dynamic_cast<Group*>(file.get());
    if (!group) return Error{EINVAL, "PCI_HOT_RESET with what is no group"};
    groups.emplace_back(group);
  }
  // In one order, each once: others may reset the same bus.
  std::ranges::sort(groups, {}, [](const auto& group) { return group->slot_.number; });
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  for (const HotResetMember& member : members)
    if (std::ranges::none_of(groups, [&](const auto& group) { return group->slot_.number == member.group; }))
      return Error{EINVAL, "hot reset without all of its groups"};
  // Devices are neither opened nor closed meanwhile.
  std::vector<std::unique_lock<std::mutex>> guards;
  std::vector<Device*> open;
  for (const auto& group : groups) {
    guards.emplace_back(group->lock_);
    for (const OpenDevice& one : group->devices_)
      if (one.device->is_among(members)) open.push_back(one.device);
  }
  return device.hot_reset(client, std::move(open));
}

void Group::put_device(Device& device) {
  const std::lock_guard guard(lock_);
  if (device.drop_user()) close_device(device);
}

}  // namespace pviommu::vfio
