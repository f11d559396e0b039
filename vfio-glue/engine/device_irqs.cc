// SPDX-License-Identifier: LGPL-2.1-or-later
// SET_IRQS by index and action: Linux's vfio_pci_intrs.c, rule by rule.
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfio-glue/engine/device.h"
#include "vfio-glue/engine/ioctl_table.h"

namespace pviommu::vfio {
namespace {

/// What the program wrote, as a target.  EINVAL: no kind, or words that are not the
/// kind's; EBADF and EINVAL of the eventfd.
Result<msi::VectorRouter::Target> target_of(Client& client, const pviommu_notification& wanted) {
  msi::VectorRouter::Target target;
  Notification& notification = target.notification;
  const bool has_domid = wanted.kind == PVIOMMU_NOTIFY_EVENT_CHANNEL || wanted.kind == PVIOMMU_NOTIFY_GUEST_VECTOR;
  if (has_domid ? wanted.domid > PVIOMMU_DOMID_SELF : wanted.domid != 0) return Error{EINVAL, "notification: domid"};
  if (wanted.kind != PVIOMMU_NOTIFY_GUEST_VECTOR && wanted.gflags != 0) return Error{EINVAL, "notification: gflags"};
  notification.domid = Domid(static_cast<std::uint16_t>(wanted.domid));
  switch (wanted.kind) {
    case PVIOMMU_NOTIFY_NONE:
      if (wanted.none != 0) return Error{EINVAL, "notification: none"};
      return target;
    case PVIOMMU_NOTIFY_EVENTFD:
      if (wanted.eventfd < 0) return Error{EBADF, "notification: eventfd"};
      target.eventfd = PVIOMMU_TRY(client.duplicate_eventfd(wanted.eventfd));
      return target;
    case PVIOMMU_NOTIFY_EVENT_CHANNEL:
      notification.kind = NotificationKind::event_channel;
      notification.port = EventPort(wanted.port);
      // Only a port of this domain can be made here.
      if (wanted.port == 0 && notification.domid != kDomidSelf) return Error{EINVAL, "notification: port"};
      return target;
    case PVIOMMU_NOTIFY_GUEST_VECTOR:
      notification.kind = NotificationKind::guest_vector;
      // Vectors 0 to 15 are not the local APIC's to deliver (Intel SDM 3A, 11.5.2).
      if (wanted.gvec == 0 && wanted.gflags == 0) return Error{EINVAL, "notification: pirq"};
      if ((wanted.gvec != 0 && wanted.gvec < 16) || wanted.gvec > 255)
        return Error{EINVAL, "notification: gvec"};
      if (notification.domid == kDomidSelf) return Error{EINVAL, "notification: domid"};
      notification.gvec = static_cast<std::uint8_t>(wanted.gvec);
      notification.gflags = wanted.gflags;
      return target;
    default:
      return Error{EINVAL, "notification: kind"};
  }
}

/// An empty descriptor for a negative number, else our duplicate of it.
Result<UniqueFd> eventfd_argument(Client& client, std::int32_t fd) {
  if (fd < 0) return UniqueFd();
  return client.duplicate_eventfd(fd);
}

}  // namespace

long Device::set_irqs(Client& client, const IrqSet& set) {
  const std::lock_guard guard(lock_);
  if (set.data_kind == PVIOMMU_IRQ_SET_DATA_NOTIFICATION &&
      set.index != VFIO_PCI_MSI_IRQ_INDEX && set.index != VFIO_PCI_MSIX_IRQ_INDEX)
    return -ENOTTY;
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

  const bool notifications = set.data_kind == PVIOMMU_IRQ_SET_DATA_NOTIFICATION;
  if (set.data_kind == VFIO_IRQ_SET_DATA_EVENTFD || notifications) {
    const auto give = notifications ? &Device::set_msi_notifications : &Device::set_msi_block;
    if (active) return (this->*give)(client, set);
    // Linux looks at the number of MSI-X vectors first, at that of MSI after the power state.
    if (!config_->in_d0()) return kind == VectorKind::msix && set.start + set.count == 0 ? -ERANGE : -EINVAL;
    const auto granted = enable_vectors(kind, set.start + set.count);
    if (!granted) return -granted.error().code;
    // Fewer than asked for: nothing is enabled, and the number tells how many could be.
    if (*granted < set.start + set.count) return *granted;
    const long result = (this->*give)(client, set);
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

/// Gives vectors [start, start + count) what the program wants: all of them or none.
long Device::set_msi_notifications(Client& client, const IrqSet& set) {
  std::vector<msi::VectorRouter::Target> targets;
  for (const pviommu_notification& wanted : set.notifications) {
    auto target = target_of(client, wanted);
    if (!target) return -target.error().code;
    targets.push_back(std::move(*target));
  }
  if (const Status status = router_.set_targets(set.start, targets); !status) return errno_of(status);
  for (std::uint32_t i = 0; i < set.count; ++i) {
    pviommu_notification& wanted = set.notifications[i];
    if (wanted.kind != PVIOMMU_NOTIFY_EVENT_CHANNEL || wanted.port != 0) continue;
    const auto port = router_.event_port(set.start + i);
    if (!port) return -port.error().code;
    wanted.port = port->raw();
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
