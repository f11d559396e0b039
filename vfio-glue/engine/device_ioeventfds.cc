// SPDX-License-Identifier: LGPL-2.1-or-later
// VFIO_DEVICE_IOEVENTFD: a write to an eventfd becomes a write to a register.  Rules and
// order of Linux's vfio_pci_ioeventfd().
#include <algorithm>

#include "vfio-glue/engine/device.h"

namespace pviommu::vfio {
namespace {

constexpr std::size_t kMostIoEventfds = 1000;  // vfio_pci_core.h

}  // namespace

Status Device::set_ioeventfd(Client& client, std::uint64_t file_offset, std::uint64_t data, unsigned width,
                             std::int32_t fd) {
  const std::uint64_t index = region_index(file_offset);
  if (index >= kPciBars) return Error{EINVAL, "IOEVENTFD of a region that is no BAR"};
  const auto bar = static_cast<unsigned>(index);
  const std::uint64_t at = within_region(file_offset);
  const std::uint64_t size = hardware_->bar(bar).size;
  if (at >= size || width > size - at) return Error{EINVAL, "IOEVENTFD beyond the BAR"};
  if (capabilities_.msix && capabilities_.msix->table_bar == bar) {
    const std::uint64_t table = capabilities_.msix->table_offset;
    if (at + width > table && at < table + std::uint64_t{capabilities_.msix->vectors} * 16)
      return Error{EINVAL, "IOEVENTFD in the MSI-X table"};
  }
  IoEventfd wanted{bar, at, data, width, nullptr};
  IoEventfd removed{};  // ended without the lock, which its thread may want
  const std::lock_guard order(ioeventfds_lock_);
  const auto same = std::find_if(ioeventfds_.begin(), ioeventfds_.end(), [&](const IoEventfd& one) {
    return one.bar == bar && one.offset == at && one.data == data && one.width == width;
  });
  if (same != ioeventfds_.end()) {
    if (fd >= 0) return Error{EEXIST, "IOEVENTFD"};
    removed = std::move(*same);
    ioeventfds_.erase(same);
    return {};
  }
  if (fd < 0) return Error{ENODEV, "IOEVENTFD: none to end"};
  if (ioeventfds_.size() >= kMostIoEventfds) return Error{ENOSPC, "IOEVENTFD"};
  auto eventfd = PVIOMMU_TRY(client.duplicate_eventfd(fd));
  wanted.watcher = PVIOMMU_TRY(msi::EventfdWatcher::start(
      std::move(eventfd), [this, bar, at, data, width] { write_register(bar, at, data, width); }));
  ioeventfds_.push_back(std::move(wanted));
  return {};
}

/// On the watcher's thread.  A device that does not decode gets nothing, as in Linux.
void Device::write_register(unsigned bar, std::uint64_t offset, std::uint64_t data, unsigned width) {
  const std::lock_guard guard(lock_);
  if (!hardware_->bar(bar).is_io && (!config_->memory_enabled() || !config_->powered())) return;
  for (unsigned done = 0; done < width;) {
    const unsigned step = natural_width(offset + done, width - done, 8);
    const std::uint64_t mask = step == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * step)) - 1;
    // Nobody is there to be told of an error.
    (void)hardware_->bar_write(bar, offset + done, step, data >> (8 * done) & mask).ok();
    done += step;
  }
}

}  // namespace pviommu::vfio
