// SPDX-License-Identifier: LGPL-2.1-or-later
// SET_IRQS by index and action: Linux's vfio_pci_intrs.c, rule by rule.
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfio-glue/engine/device.h"

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

Result<long> Device::set_irqs(Client& client, const IrqSet& set) {
  const std::lock_guard guard(lock_);
  if (set.data_kind == PVIOMMU_IRQ_SET_DATA_NOTIFICATION &&
      set.index != VFIO_PCI_MSI_IRQ_INDEX && set.index != VFIO_PCI_MSIX_IRQ_INDEX)
    return Error{ENOTTY, "SET_IRQS: notifications of this index"};
  switch (set.index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_MASK) return number_of(set_intx_mask(set));
      if (set.action == VFIO_IRQ_SET_ACTION_UNMASK) return number_of(set_intx_unmask(client, set));
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER) return number_of(set_intx_trigger(client, set));
      break;
    case VFIO_PCI_MSI_IRQ_INDEX:
    case VFIO_PCI_MSIX_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER) return set_msi_trigger(client, set);
      break;
    case VFIO_PCI_ERR_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER)
        return number_of(set_single_trigger(client, set, error_eventfd_));
      break;
    case VFIO_PCI_REQ_IRQ_INDEX:
      if (set.action == VFIO_IRQ_SET_ACTION_TRIGGER)
        return number_of(set_single_trigger(client, set, request_eventfd_));
      break;
    default:
      break;
  }
  return Error{ENOTTY, "SET_IRQS: action of this index"};
}

Status Device::set_intx_mask(const IrqSet& set) {
  if (router_.active() != VectorKind::intx || set.start != 0 || set.count != 1)
    return Error{EINVAL, "SET_IRQS: INTx that is not enabled, or its range"};
  switch (set.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      return router_.mask();
    case VFIO_IRQ_SET_DATA_BOOL:
      return set.bools[0] ? router_.mask() : Status();
    default:
      return Error{ENOTTY, "SET_IRQS: an eventfd that masks"};  // nobody has it
  }
}

Status Device::set_intx_unmask(Client& client, const IrqSet& set) {
  if (router_.active() != VectorKind::intx || set.start != 0 || set.count != 1)
    return Error{EINVAL, "SET_IRQS: INTx that is not enabled, or its range"};
  switch (set.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      return router_.unmask();
    case VFIO_IRQ_SET_DATA_BOOL:
      return set.bools[0] ? router_.unmask() : Status();
    default:
      return router_.set_unmask_eventfd(PVIOMMU_TRY(eventfd_argument(client, set.eventfds[0])));
  }
}

Status Device::set_intx_trigger(Client& client, const IrqSet& set) {
  const bool active = router_.active() == VectorKind::intx;
  if (active && set.count == 0 && set.data_kind == VFIO_IRQ_SET_DATA_NONE) return router_.disable();
  if ((router_.active() && !active) || set.start != 0 || set.count != 1)
    return Error{EINVAL, "SET_IRQS: other vectors are enabled, or the range of INTx"};

  if (set.data_kind == VFIO_IRQ_SET_DATA_EVENTFD) {
    if (!active) PVIOMMU_TRY(enable_vectors(VectorKind::intx, 1));
    const Status given = give_eventfd(client, 0, set.eventfds[0]);
    // A number that is no descriptor undoes the enabling; a line that was enabled
    // before keeps the eventfd it had.
    if (!given && !active) (void)router_.disable().ok();
    return given;
  }
  if (!active) return Error{EINVAL, "SET_IRQS: trigger of INTx that is not enabled"};
  if (set.data_kind == VFIO_IRQ_SET_DATA_BOOL && !set.bools[0]) return {};
  return router_.trigger(0);
}

Result<long> Device::set_msi_trigger(Client& client, const IrqSet& set) {
  const VectorKind kind = set.index == VFIO_PCI_MSIX_IRQ_INDEX ? VectorKind::msix : VectorKind::msi;
  const bool active = router_.active() == kind;
  if (active && set.count == 0 && set.data_kind == VFIO_IRQ_SET_DATA_NONE)
    return number_of(router_.disable());
  if (router_.active() && !active) return Error{EINVAL, "SET_IRQS: other vectors are enabled"};

  const bool notifications = set.data_kind == PVIOMMU_IRQ_SET_DATA_NOTIFICATION;
  if (set.data_kind == VFIO_IRQ_SET_DATA_EVENTFD || notifications) {
    const auto give = notifications ? &Device::set_msi_notifications : &Device::set_msi_block;
    if (active) return number_of((this->*give)(client, set));
    // Linux looks at the number of MSI-X vectors first, at that of MSI after the power state.
    if (!config_->in_d0()) {
      const bool no_vectors = kind == VectorKind::msix && set.start + set.count == 0;
      return Error{no_vectors ? ERANGE : EINVAL, "SET_IRQS of a device that sleeps"};
    }
    const unsigned granted = PVIOMMU_TRY(enable_vectors(kind, set.start + set.count));
    // Fewer than asked for: nothing is enabled, and the number tells how many could be.
    if (granted < set.start + set.count) return long{granted};
    const Status given = (this->*give)(client, set);
    if (!given) (void)router_.disable().ok();
    return number_of(given);
  }
  if (!active) return Error{EINVAL, "SET_IRQS: trigger of vectors that are not enabled"};
  // Those of the device that are not enabled have no eventfd, and that is all.
  for (std::uint32_t i = 0; i < set.count && set.start + i < router_.count(); ++i) {
    if (set.data_kind == VFIO_IRQ_SET_DATA_BOOL && !set.bools[i]) continue;
    PVIOMMU_TRY(router_.trigger(set.start + i));
  }
  return 0;
}

/// Vector `index` signals a descriptor of the program from now on, or nothing: a negative number.
Status Device::give_eventfd(Client& client, unsigned index, std::int32_t fd) {
  return router_.set_eventfd(index, PVIOMMU_TRY(eventfd_argument(client, fd)));
}

/// Gives vectors [start, start + count) their eventfds, and enables those of them that are not
/// yet, where that goes.  A failure in the middle leaves those from `start` up to it without one.
Status Device::set_msi_block(Client& client, const IrqSet& set) {
  const auto give = [&](std::uint32_t index, std::int32_t fd) -> Status {
    UniqueFd eventfd = PVIOMMU_TRY(eventfd_argument(client, fd));
    if (index >= router_.count()) {
      if (!eventfd) return {};
      PVIOMMU_TRY(router_.grow(index + 1));
    }
    return router_.set_eventfd(index, std::move(eventfd));
  };
  for (std::uint32_t i = 0; i < set.count; ++i) {
    const Status given = give(set.start + i, set.eventfds[i]);
    if (given) continue;
    for (std::uint32_t j = 0; j <= i && set.start + j < router_.count(); ++j)
      (void)router_.set_eventfd(set.start + j, UniqueFd()).ok();
    return given;
  }
  return {};
}

/// Gives vectors [start, start + count) what the program wants: all of them or none.
Status Device::set_msi_notifications(Client& client, const IrqSet& set) {
  std::vector<msi::VectorRouter::Target> targets;
  for (const pviommu_notification& wanted : set.notifications) {
    targets.push_back(PVIOMMU_TRY(target_of(client, wanted)));
  }
  if (set.count != 0 && set.start + set.count > router_.count()) PVIOMMU_TRY(router_.grow(set.start + set.count));
  PVIOMMU_TRY(router_.set_targets(set.start, targets));
  for (std::uint32_t i = 0; i < set.count; ++i) {
    pviommu_notification& wanted = set.notifications[i];
    if (wanted.kind != PVIOMMU_NOTIFY_EVENT_CHANNEL || wanted.port != 0) continue;
    wanted.port = PVIOMMU_TRY(router_.event_port(set.start + i)).raw();
  }
  return {};
}

/// ERR and REQ: one eventfd, which only the loopback of this call signals here.
Status Device::set_single_trigger(Client& client, const IrqSet& set, UniqueFd& eventfd) {
  const auto signal = [&] {
    if (eventfd) (void)::eventfd_write(eventfd.get(), 1);
  };
  switch (set.data_kind) {
    case VFIO_IRQ_SET_DATA_NONE:
      if (!eventfd) return Error{EINVAL, "SET_IRQS: trigger of an index without an eventfd"};
      if (set.count)
        signal();
      else
        eventfd.reset();
      return {};
    case VFIO_IRQ_SET_DATA_BOOL:
      if (set.count == 0) return Error{EINVAL, "SET_IRQS: count of a single interrupt"};
      if (set.bools[0]) signal();
      return {};
    default:
      if (set.count == 0) return Error{EINVAL, "SET_IRQS: count of a single interrupt"};
      if (set.eventfds[0] < -1) return Error{EINVAL, "SET_IRQS: descriptor of a single interrupt"};
      eventfd = PVIOMMU_TRY(eventfd_argument(client, set.eventfds[0]));
      return {};
  }
}

}  // namespace pviommu::vfio
