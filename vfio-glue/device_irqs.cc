// SPDX-License-Identifier: LGPL-2.1-or-later
// SET_IRQS by index and action: Linux's vfio_pci_intrs.c, rule by rule.
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfio-glue/device.h"
#include "vfio-glue/ioctl_table.h"

namespace pviommu::vfio {
namespace {

/// An empty descriptor for a negative number, else our duplicate of it.
Result<UniqueFd> eventfd_argument(Client& client, std::int32_t fd) {
  if (fd < 0) return UniqueFd();
  return client.duplicate_eventfd(fd);
}

}  // namespace

long Device::set_irqs(Client& client, const IrqSet& set) {
  const std::lock_guard guard(lock_);
  switch (set.index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_MASK) return set_intx_mask(set);
      if (set.action == VFIO_IRQ_SET_ACTION_UNMASK) return set_intx_unmask(client, set);
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER) return set_intx_trigger(client, set);
      break;
    case VFIO_PCI_MSI_IRQ_INDEX:
    case VFIO_PCI_MSIX_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER) return set_msi_trigger(client, set);
      break;
    case VFIO_PCI_ERR_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER && express_)
        return set_single_trigger(client, set, error_eventfd_);
      break;
    case VFIO_PCI_REQ_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER) return set_single_trigger(client, set, request_eventfd_);
      break;
    default:
      break;
  }
  return -ENOTTY;
}

long Device::set_intx_mask(const IrqSet& set) {
  if (router_.active() != VectorKind::intx || set.start != 0 || set.count != 1) return -EINVAL;
  switch (set.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      return errno_of(router_.mask());
    case VFIO_IRQ_SET_DATA_BOOL:
      return set.bools[0] ? errno_of(router_.mask()) : 0;
    default:
      return -ENOTTY;  // an eventfd that masks: nobody has it
  }
}

long Device::set_intx_unmask(Client& client, const IrqSet& set) {
  if (router_.active() != VectorKind::intx || set.start != 0 || set.count != 1) return -EINVAL;
  switch (set.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      return errno_of(router_.unmask());
    case VFIO_IRQ_SET_DATA_BOOL:
      return set.bools[0] ? errno_of(router_.unmask()) : 0;
    default: {
      auto eventfd = eventfd_argument(client, set.eventfds[0]);
      if (!eventfd) return -eventfd.error().code;
      return errno_of(router_.set_unmask_eventfd(std::move(*eventfd)));
    }
  }
}

long Device::set_intx_trigger(Client& client, const IrqSet& set) {
  const bool active = router_.active() == VectorKind::intx;
  if (active && set.count == 0 && set.data_kind == VFIO_IRQ_SET_DATA_NONE) return errno_of(router_.disable());
  if ((router_.active() && !active) || set.start != 0 || set.count != 1) return -EINVAL;

  if (set.data_kind == VFIO_IRQ_SET_DATA_EVENTFD) {
    if (!active) {
      const auto enabled = enable_vectors(VectorKind::intx, 1);
      if (!enabled) return -enabled.error().code;
    }
    auto eventfd = eventfd_argument(client, set.eventfds[0]);
    Status status;
    if (eventfd)
      status = router_.set_eventfd(0, std::move(*eventfd));
    else
      status = eventfd.error();
    // A descriptor that is none undoes the enabling, and leaves a line that was
    // enabled before without an eventfd.
    if (!status && !active) (void)router_.disable().ok();
    return errno_of(status);
  }
  if (!active) return -EINVAL;
  if (set.data_kind == VFIO_IRQ_SET_DATA_BOOL && !set.bools[0]) return 0;
  return errno_of(router_.trigger(0));
}

long Device::set_msi_trigger(Client& client, const IrqSet& set) {
  const VectorKind kind = set.index == VFIO_PCI_MSIX_IRQ_INDEX ? VectorKind::msix : VectorKind::msi;
  const bool active = router_.active() == kind;
  if (active && set.count == 0 && set.data_kind == VFIO_IRQ_SET_DATA_NONE) return errno_of(router_.disable());
  if (router_.active() && !active) return -EINVAL;

  if (set.data_kind == VFIO_IRQ_SET_DATA_EVENTFD) {
    if (active) return set_msi_block(client, set);
    const auto granted = enable_vectors(kind, set.start + set.count);
    if (!granted) return -granted.error().code;
    // Fewer than asked for: nothing is enabled, and the number tells how many could be.
    if (*granted < set.start + set.count) return *granted;
    const long result = set_msi_block(client, set);
    if (result != 0) (void)router_.disable().ok();
    return result;
  }
  if (!active || set.start + set.count > router_.count()) return -EINVAL;
  for (std::uint32_t i = 0; i < set.count; ++i) {
    if (set.data_kind == VFIO_IRQ_SET_DATA_BOOL && !set.bools[i]) continue;
    if (const Status status = router_.trigger(set.start + i); !status) return errno_of(status);
  }
  return 0;
}

/// Gives vectors [start, start + count) their eventfds.  A failure in the
/// middle leaves those from `start` up to it without one.
long Device::set_msi_block(Client& client, const IrqSet& set) {
  if (set.start >= router_.count() || set.start + set.count > router_.count()) return -EINVAL;
  for (std::uint32_t i = 0; i < set.count; ++i) {
    auto eventfd = eventfd_argument(client, set.eventfds[i]);
    Status status;
    if (eventfd)
      status = router_.set_eventfd(set.start + i, std::move(*eventfd));
    else
      status = eventfd.error();
    if (status) continue;
    for (std::uint32_t j = 0; j <= i; ++j) (void)router_.set_eventfd(set.start + j, UniqueFd()).ok();
    return errno_of(status);
  }
  return 0;
}

/// ERR and REQ: one eventfd, which only the loopback of this call signals here.
long Device::set_single_trigger(Client& client, const IrqSet& set, UniqueFd& eventfd) {
  const auto signal = [&] {
    if (eventfd) (void)::eventfd_write(eventfd.get(), 1);
  };
  switch (set.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      if (!eventfd) return -EINVAL;
      if (set.count)
        signal();
      else
        eventfd.reset();
      return 0;
    case VFIO_IRQ_SET_DATA_BOOL:
      if (set.count == 0) return -EINVAL;
      if (set.bools[0]) signal();
      return 0;
    default: {
      if (set.count == 0) return -EINVAL;
      if (set.eventfds[0] < -1) return 0;
      auto replacement = eventfd_argument(client, set.eventfds[0]);
      if (!replacement) return -replacement.error().code;
      eventfd = std::move(*replacement);
      return 0;
    }
  }
}

}  // namespace pviommu::vfio
