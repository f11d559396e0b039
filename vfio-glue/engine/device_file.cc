// SPDX-License-Identifier: LGPL-2.1-or-later
// The device's ioctls: one table, one function each.  SET_IRQS is validated here, with its
// array copied in; what it does is in device_irqs.cc.
#include "vfio-glue/engine/device_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "vfio-glue/engine/info_chain.h"
#include "vfio-glue/iommufd_abi.h"

namespace pviommu::vfio {

struct DeviceTable {
  static constexpr IoctlTable<DeviceFile> table = make_table<DeviceFile>({
      Bound<&DeviceFile::get_info>::entry(VFIO_DEVICE_GET_INFO, offsetof(vfio_device_info, cap_offset), kAnyFlags),
      Bound<&DeviceFile::get_region_info>::entry(VFIO_DEVICE_GET_REGION_INFO, sizeof(vfio_region_info), kAnyFlags),
      Bound<&DeviceFile::get_irq_info>::entry(VFIO_DEVICE_GET_IRQ_INFO, sizeof(vfio_irq_info), kAnyFlags),
      Bound<&DeviceFile::set_irqs>::entry(VFIO_DEVICE_SET_IRQS, sizeof(vfio_irq_set), kAnyFlags),
      Bound<&DeviceFile::reset>::entry(VFIO_DEVICE_RESET),
      Bound<&DeviceFile::get_hot_reset_info>::entry(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
                                                    sizeof(vfio_pci_hot_reset_info), kAnyFlags),
      Bound<&DeviceFile::hot_reset>::entry(VFIO_DEVICE_PCI_HOT_RESET, sizeof(vfio_pci_hot_reset), 0),
      Bound<&DeviceFile::ioeventfd>::entry(VFIO_DEVICE_IOEVENTFD,
                                           offsetof(vfio_device_ioeventfd, fd) + sizeof(std::int32_t),
                                           VFIO_DEVICE_IOEVENTFD_SIZE_MASK),
      Bound<&DeviceFile::feature>::entry(VFIO_DEVICE_FEATURE, sizeof(vfio_device_feature),
                                         VFIO_DEVICE_FEATURE_MASK | VFIO_DEVICE_FEATURE_GET |
                                             VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PROBE),
  });
};

Result<long> DeviceFile::do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
  // Of a device that was opened by its group.
  if (request == iommufd::kDeviceBind && owner_.has_nodes()) [[unlikely]]
    return Error{EINVAL, "BIND_IOMMUFD of a group's device"};
  return dispatch(DeviceTable::table, *this, client, request, argument, ENOTTY);
}

Result<std::size_t> DeviceFile::do_pread(Client& client, std::uint64_t buffer, std::size_t bytes,
                                         std::int64_t offset) {
  if (offset < 0) return Error{EINVAL, "read at a negative offset"};
  return device_->read(client, buffer, bytes, static_cast<std::uint64_t>(offset));
}

Result<std::size_t> DeviceFile::do_pwrite(Client& client, std::uint64_t buffer, std::size_t bytes,
                                          std::int64_t offset) {
  if (offset < 0) return Error{EINVAL, "write at a negative offset"};
  return device_->write(client, buffer, bytes, static_cast<std::uint64_t>(offset));
}

Result<MmapPieces> DeviceFile::mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags) {
  return device_->mmap(offset, bytes, prot, flags);
}

Status DeviceFile::load(std::uint64_t offset, void* to, std::size_t bytes) { return device_->load(offset, to, bytes); }

Status DeviceFile::store(std::uint64_t offset, const void* from, std::size_t bytes) {
  return device_->store(offset, from, bytes);
}

void DeviceFile::mapping_changed(std::uint64_t offset, int delta) { device_->mapping_changed(offset, delta); }

Status DeviceFile::get_info(const Call& call, vfio_device_info& info) {
  info.flags = VFIO_DEVICE_FLAGS_PCI | (device_->can_reset() ? VFIO_DEVICE_FLAGS_RESET : 0);
  info.num_regions = VFIO_PCI_NUM_REGIONS;
  info.num_irqs = VFIO_PCI_NUM_IRQS;
  info.cap_offset = 0;
  // As much as the program has room for; behind cap_offset the structure is filled up to a
  // multiple of 8, which older headers do not name.
  struct {
    vfio_device_info info;
    std::uint8_t pad[24 - offsetof(vfio_device_info, cap_offset) - sizeof info.cap_offset];
  } reply{};
  static_assert(sizeof reply >= 24);
  std::memcpy(&reply, &info, offsetof(vfio_device_info, cap_offset) + sizeof info.cap_offset);
  return call.reply(reply, std::min<std::size_t>(info.argsz, 24));
}

/// A region whose pages with the MSI-X table cannot be mapped: what is left before and behind
/// them.  Where that is nothing the region cannot be mapped at all.
static void add_sparse_areas(InfoChain& chain, vfio_region_info& info, const RegionInfo& region) {
  const std::uint64_t whole = (region.size + kPageSize - 1) & ~(kPageSize - 1);
  const std::uint64_t table_end = region.table_pages_offset + region.table_pages_bytes;
  struct {
    vfio_info_cap_header header;
    __u32 nr_areas, reserved;
    vfio_region_sparse_mmap_area areas[2];
  } sparse{};
  if (region.table_pages_offset != 0) sparse.areas[sparse.nr_areas++] = {0, region.table_pages_offset};
  if (table_end < whole) sparse.areas[sparse.nr_areas++] = {table_end, whole - table_end};
  if (sparse.nr_areas == 0) {
    info.flags &= ~VFIO_REGION_INFO_FLAG_MMAP;
    return;
  }
  chain.add(VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, &sparse,
            sizeof sparse - (2 - sparse.nr_areas) * sizeof sparse.areas[0]);
}

Status DeviceFile::get_region_info(const Call& call, vfio_region_info& info) {
  const auto region = device_->region(info.index);
  if (!region) return Error{EINVAL, "GET_REGION_INFO: no such region"};
  info.flags = region->flags;
  info.size = region->size;
  info.offset = region_offset(info.index);
  InfoChain chain(sizeof info);
  if (region->table_pages_bytes != 0 && !call.client.traps_registers()) {
    add_sparse_areas(chain, info, *region);
  } else if (region->msix_mappable) {
    const vfio_info_cap_header header{};
    chain.add(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, &header, sizeof header);
  }
  // cap_offset stays as the program left it where there is nothing to point to.
  if (!chain.empty()) {
    info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
    if (info.argsz < chain.total()) {
      info.argsz = chain.total();
      info.cap_offset = 0;
    } else {
      info.cap_offset = sizeof info;
      PVIOMMU_TRY(call.client.copy_out(call.argument + sizeof info, chain.bytes().data(), chain.bytes().size()));
    }
  }
  return call.reply(info);
}

Status DeviceFile::get_irq_info(const Call& call, vfio_irq_info& info) {
  const auto irq = device_->irq(info.index);
  if (!irq) return Error{EINVAL, "GET_IRQ_INFO: no such index"};
  const bool chain = (info.flags & PVIOMMU_IRQ_INFO_FLAG_CAPS) && info.argsz >= sizeof(pviommu_irq_info);
  info.flags = irq->flags;
  info.count = irq->count;
  return chain ? reply_with_kinds(call, info, *irq) : call.reply(info);
}

/// GET_IRQ_INFO of a program that knows vfio_notification.h.
Status DeviceFile::reply_with_kinds(const Call& call, const vfio_irq_info& info, const IrqInfo& irq) {
  pviommu_irq_info reply{.info = info, .cap_offset = 0, .reserved = 0};
  pviommu_irq_info_cap_notifications capability{};
  capability.kinds = irq.kinds;
  capability.event_fd = irq.event_fd;
  InfoChain chain(sizeof reply);
  chain.add(PVIOMMU_IRQ_INFO_CAP_NOTIFICATIONS, 1, &capability, sizeof capability);
  reply.info.flags |= PVIOMMU_IRQ_INFO_FLAG_CAPS;
  if (reply.info.argsz < chain.total()) {
    reply.info.argsz = chain.total();
  } else {
    reply.cap_offset = sizeof reply;
    PVIOMMU_TRY(call.client.copy_out(call.argument + sizeof reply, chain.bytes().data(), chain.bytes().size()));
    knows_notifications_ = true;
    if (irq.event_fd >= 0) call.client.lend(irq.event_fd);
  }
  return call.reply(reply);
}

/// All of SET_IRQS that does not depend on the device's state; order and errnos
/// of Linux's vfio_set_irqs_validate_and_prepare().
Result<long> DeviceFile::set_irqs(const Call& call, vfio_irq_set& set) {
  const std::uint32_t data_kinds = VFIO_IRQ_SET_DATA_TYPE_MASK | (knows_notifications_ ? PVIOMMU_IRQ_SET_DATA_NOTIFICATION : 0);
  const std::uint32_t known = data_kinds | VFIO_IRQ_SET_ACTION_TYPE_MASK;
  if (set.index >= VFIO_PCI_NUM_IRQS || set.count >= ~std::uint32_t{0} - set.start || (set.flags & ~known))
    return Error{EINVAL, "SET_IRQS: index, count or flags"};
  const auto irq = device_->irq(set.index);
  const std::uint32_t available = irq ? irq->count : 0;
  if (set.start >= available || set.start + set.count > available) return Error{EINVAL, "SET_IRQS: range"};

  IrqSet request{.data_kind = set.flags & data_kinds,
                 .action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK,
                 .index = set.index,
                 .start = set.start,
                 .count = set.count,
                 .bools = {},
                 .eventfds = {},
                 .notifications = {}};
  std::uint32_t element = 0;
  switch (request.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      break;
    case VFIO_IRQ_SET_DATA_BOOL:
      element = sizeof(std::uint8_t);
      break;
    case VFIO_IRQ_SET_DATA_EVENTFD:
      element = sizeof(std::int32_t);
      break;
    case PVIOMMU_IRQ_SET_DATA_NOTIFICATION:
      element = sizeof(pviommu_notification);
      break;
    default:
      return Error{EINVAL, "SET_IRQS: kind of data"};
  }
  std::vector<std::int32_t> eventfds;
  std::vector<std::uint8_t> bools;
  if (element) {
    if (set.argsz - sizeof set < std::uint64_t{set.count} * element) return Error{EINVAL, "SET_IRQS: argsz"};
    const std::uint64_t data = call.argument + sizeof set;
    if (element == sizeof(pviommu_notification)) return set_notifications(call, request, data);
    if (element == sizeof(std::int32_t)) {
      eventfds.resize(set.count);
      if (set.count) PVIOMMU_TRY(call.client.copy_in(eventfds.data(), data, set.count * sizeof(std::int32_t)));
      request.eventfds = eventfds;
    } else {
      bools.resize(set.count);
      if (set.count) PVIOMMU_TRY(call.client.copy_in(bools.data(), data, set.count));
      request.bools = bools;
    }
  }
  return device_->set_irqs(call.client, request);
}

/// The structures are written back, with the ports that were made.
Result<long> DeviceFile::set_notifications(const Call& call, IrqSet& request, std::uint64_t data) {
  if (request.action != VFIO_IRQ_SET_ACTION_TRIGGER) return Error{ENOTTY, "SET_IRQS: action with notifications"};
  std::vector<pviommu_notification> notifications(request.count);
  const std::size_t bytes = notifications.size() * sizeof(pviommu_notification);
  // Written to before anything is changed: an answer that cannot be given comes too late.
  if (bytes) {
    PVIOMMU_TRY(call.client.copy_in(notifications.data(), data, bytes));
    PVIOMMU_TRY(call.client.copy_out(data, notifications.data(), bytes));
  }
  request.notifications = notifications;
  const long available = PVIOMMU_TRY(device_->set_irqs(call.client, request));
  if (available == 0 && bytes) PVIOMMU_TRY(call.client.copy_out(data, notifications.data(), bytes));
  return available;
}

Status DeviceFile::reset(const Call& call) {
  if (!device_->can_reset()) return Error{EINVAL, "RESET of a device that has none"};
  return device_->reset(call.client);
}

// Order and errnos of Linux's vfio_pci_ioctl_get_pci_hot_reset_info() and
// vfio_pci_ioctl_pci_hot_reset().
Status DeviceFile::get_hot_reset_info(const Call& call, vfio_pci_hot_reset_info& info) {
  const auto members = PVIOMMU_TRY(device_->hot_reset_members());
  const auto ids = owner_.reset_ids(members);
  info.flags = 0;
  if (ids) {
    const bool owned = std::ranges::count(*ids, iommufd::kDevIdNotOwned) == 0;
    info.flags = iommufd::kHotResetDevId | (owned ? iommufd::kHotResetDevIdOwned : 0);
  }
  info.count = static_cast<std::uint32_t>(members.size());
  std::vector<vfio_pci_dependent_device> devices;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const HotResetMember& member = members[i];
    const std::uint32_t address = member.sbdf.raw();
    devices.push_back({ids ? static_cast<std::uint32_t>((*ids)[i]) : member.group, static_cast<__u16>(address >> 16), static_cast<__u8>(address >> 8), static_cast<__u8>(address)});
  }
  const std::size_t bytes = devices.size() * sizeof devices[0];
  const bool fits = info.argsz >= sizeof info + bytes;
  if (fits) PVIOMMU_TRY(call.client.copy_out(call.argument + sizeof info, devices.data(), bytes));
  PVIOMMU_TRY(call.reply(info));
  // The number of devices has been told, so that the program can ask again.
  if (!fits) return Error{ENOSPC, "GET_PCI_HOT_RESET_INFO: argsz"};
  return {};
}

Status DeviceFile::hot_reset(const Call& call, vfio_pci_hot_reset& reset) {
  // Without groups where the device is bound to an iommufd, and only there.
  if ((reset.count == 0) != owner_.reset_ids({}).has_value()) return Error{EINVAL, "PCI_HOT_RESET: groups"};
  const auto members = PVIOMMU_TRY(device_->hot_reset_members());
  if (reset.count > members.size()) return Error{EINVAL, "PCI_HOT_RESET: count"};
  std::vector<std::int32_t> fds(reset.count);
  if (!fds.empty()) PVIOMMU_TRY(call.client.copy_in(fds.data(), call.argument + sizeof reset, fds.size() * sizeof fds[0]));
  return owner_.hot_reset(call.client, fds, *device_, members);
}

Status DeviceFile::ioeventfd(const Call& call, vfio_device_ioeventfd& request) {
  // Each size's bit is the number of its bytes.
  const std::uint32_t width = request.flags & VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
  if (!std::has_single_bit(width) || request.fd < -1) return Error{EINVAL, "IOEVENTFD: size or descriptor"};
  return device_->set_ioeventfd(call.client, request.offset, request.data, width, request.fd);
}

/// VFIO_DEVICE_FEATURE: the low power hints, which allow and never oblige the
/// host to save power.  Order of vfio_check_feature().
Status DeviceFile::feature(const Call& call, vfio_device_feature& feature) {
  const std::uint32_t operations = feature.flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET);
  const bool probe = feature.flags & VFIO_DEVICE_FEATURE_PROBE;
  constexpr std::uint32_t kBoth = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
  if (!probe && operations == kBoth) return Error{EINVAL, "FEATURE: get and set"};
  switch (feature.flags & VFIO_DEVICE_FEATURE_MASK) {
    case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
    case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
    case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
      if (operations & VFIO_DEVICE_FEATURE_GET) return Error{EINVAL, "FEATURE: low power can only be set"};
      if (probe) return {};
      if (operations == 0) return Error{EINVAL, "FEATURE: neither get nor set"};
      return low_power(call, feature);
    default:
      return Error{ENOTTY, "FEATURE: none that is known"};
  }
}

Status DeviceFile::low_power(const Call& call, const vfio_device_feature& feature) {
  const std::uint32_t number = feature.flags & VFIO_DEVICE_FEATURE_MASK;
  if (number == VFIO_DEVICE_FEATURE_LOW_POWER_EXIT) {
    device_->leave_low_power(call.client);
    return {};
  }
  if (number == VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP) {
    // The device never sleeps, so nobody wakes it and the eventfd is only looked at.
    vfio_device_low_power_entry_with_wakeup entry;
    if (feature.argsz < sizeof feature + sizeof entry) return Error{EINVAL, "low power with wakeup: argsz"};
    PVIOMMU_TRY(call.client.copy_in(&entry, call.argument + sizeof feature, sizeof entry));
    if (entry.wakeup_eventfd < 0) return Error{EINVAL, "low power with wakeup: eventfd"};
    PVIOMMU_TRY(call.client.duplicate_eventfd(entry.wakeup_eventfd));
  }
  if (!device_->enter_low_power(call.client)) return Error{EINVAL, "low power entered already"};
  return {};
}

}  // namespace pviommu::vfio
