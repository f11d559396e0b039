// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the arrivals of each vector go: VectorRouter's part that changes this
// while the device keeps sending.
//
//   eventfd        hypervisor -> event() -> VectorSlot -> eventfd
//   anything else  hypervisor -> event channel or guest; the slot only keeps the
//                  mask, and what it held before
//
// From the one to the other no arrival may be lost or come twice.  The rebinding
// is the hypervisor's, and atomic; what is left to do here is an order:
//
//   to an eventfd      arm the slot, then bind it
//   away from it       bind the other target, then raise what the slot held,
//                      then close the eventfd
//
// All that can fail comes before the first eventfd is closed, so that a refused
// vector leaves all of them as they were.
#include <utility>

#include "hypercall/statistics.h"
#include "msi/vector_router.h"

namespace pviommu::msi {
namespace {

bool to_sink(const Notification& target) { return target.kind == NotificationKind::sink; }

}  // namespace

Notification VectorRouter::own_sink() {
  Notification notification;
  notification.kind = NotificationKind::sink;
  notification.sink = this;
  return notification;
}

/// A hypervisor that cannot deliver here leaves a vector without a target unbound.
bool VectorRouter::binds(const Notification& target) const {
  return (limits_.notifications & bit(target.kind)) != 0;
}

Status VectorRouter::bind_target(const Vector& vector, const Notification& target) {
  if (!binds(target)) return {};
  return interrupts_.bind_vector(vector, target);
}

Status VectorRouter::unbind_target(const Vector& vector, const Notification& target) {
  if (!binds(target)) return {};
  return interrupts_.unbind_vector(vector);
}

Status VectorRouter::rebind(const Vector& vector, const Notification& from, const Notification& to) {
  if (binds(to)) return interrupts_.bind_vector(vector, to);
  return binds(from) ? interrupts_.unbind_vector(vector) : Status();
}

/// Switches one vector to `to`; a sink gets `eventfd`.  After an error it is as before.
Status VectorRouter::switch_vector(unsigned index, const Notification& to, UniqueFd& eventfd) {
  VectorSlot& slot = slots_[index];
  const Vector vector = this->vector(active_->kind, index);
  const Notification& from = targets_[index];
  const bool masked = slot.masked();
  if (to_sink(from) && to_sink(to)) return {};  // only the eventfd changes: commit_vector()

  if (to_sink(to)) {
    if (slot.arm(std::move(eventfd))) count_arrival(vector.kind);
    Status status = rebind(vector, from, to);
    if (status && masked && binds(to)) {
      // What was held there comes to the slot, which is masked as well.
      status = interrupts_.unmask_vector(vector);
      if (!status) (void)rebind(vector, to, from).ok();
    }
    if (!status) slot.arm(UniqueFd());
    return status;
  }

  // The slot's mask goes on in the hypervisor; what it held stays its own until
  // the unmasking.
  const bool mask_here = masked && to_sink(from);
  if (mask_here && binds(from)) PVIOMMU_TRY(interrupts_.mask_vector(vector));
  Status status = rebind(vector, from, to);
  if (!status) {
    if (mask_here && binds(from)) (void)interrupts_.unmask_vector(vector).ok();
    return status;
  }
  if (mask_here && !binds(from)) status = interrupts_.mask_vector(vector);
  if (status && !masked && slot.pending()) {
    status = interrupts_.raise_vector(vector);
    if (status) slot.forget_pending();
  }
  if (!status) (void)rebind(vector, to, from).ok();
  return status;
}

/// The part of a switch that cannot fail: closes the eventfd that is not used any more.
void VectorRouter::commit_vector(unsigned index, const Notification& to, UniqueFd eventfd) {
  const bool was_sink = to_sink(targets_[index]);
  targets_[index] = to;
  if (!was_sink) return;
  if (slots_[index].arm(to_sink(to) ? std::move(eventfd) : UniqueFd())) count_arrival(active_->kind);
}

Status VectorRouter::set_targets(unsigned start, std::span<Target> targets) {
  const std::lock_guard guard(lock_);
  if (!active_ || start > active_->count || targets.size() > active_->count - start)
    return Error{EINVAL, "targets for vectors that are not enabled"};
  for (const Target& target : targets) {
    if (to_sink(target.notification)) {
      if (target.eventfd && !binds(own_sink())) return Error{EOPNOTSUPP, "no arrivals here: eventfd"};
    } else if (!binds(target.notification)) {
      return Error{EOPNOTSUPP, "notification kind"};
    } else if (active_->kind == VectorKind::intx) {
      return Error{EOPNOTSUPP, "INTx goes to an eventfd only"};
    }
  }
  const auto wanted = [&](const Target& target) {
    return to_sink(target.notification) ? own_sink() : target.notification;
  };
  for (unsigned i = 0; i < targets.size(); ++i) {
    const Status status = switch_vector(start + i, wanted(targets[i]), targets[i].eventfd);
    if (status) continue;
    while (i-- > 0) switch_back(start + i, wanted(targets[i]));
    return status;
  }
  for (unsigned i = 0; i < targets.size(); ++i)
    commit_vector(start + i, wanted(targets[i]), std::move(targets[i].eventfd));
  return {};
}

/// Undoes switch_vector(), as far as the hypervisor lets it: its counter of failed
/// calls shows what it did not.
void VectorRouter::switch_back(unsigned index, const Notification& to) {
  const Notification& from = targets_[index];
  if (to_sink(from) && to_sink(to)) return;
  const Vector vector = this->vector(active_->kind, index);
  const bool masked = slots_[index].masked();
  if (masked && to_sink(to) && binds(to)) (void)interrupts_.mask_vector(vector).ok();
  (void)rebind(vector, to, from).ok();
  if (masked && to_sink(to) && !binds(to)) (void)interrupts_.mask_vector(vector).ok();
  if (masked && to_sink(from) && binds(from)) (void)interrupts_.unmask_vector(vector).ok();
  if (to_sink(to)) slots_[index].arm(UniqueFd());
}

Status VectorRouter::set_eventfd(unsigned index, UniqueFd fd) {
  Target target{own_sink(), std::move(fd)};
  return set_targets(index, {&target, 1});
}

Result<EventPort> VectorRouter::event_port(unsigned index) const {
  const std::lock_guard guard(lock_);
  if (!active_ || index >= active_->count) return Error{EINVAL, "port of a vector that is not enabled"};
  return interrupts_.event_port(vector(active_->kind, index));
}

Status VectorRouter::trigger(unsigned index) {
  const std::lock_guard guard(lock_);
  if (!active_ || index >= active_->count) return Error{EINVAL, "trigger of a vector that is not enabled"};
  if (active_->kind == VectorKind::intx && program_intx_disabled_) return {};
  VectorSlot& slot = slots_[index];
  if (to_sink(targets_[index])) {
    slot.signal();
    return {};
  }
  if (!slot.masked()) return interrupts_.raise_vector(vector(active_->kind, index));
  slot.hold();
  return {};
}

/// Whether the vector is masked and an arrival waits.
bool VectorRouter::held(unsigned index) const {
  if (slots_[index].pending()) return true;
  if (to_sink(targets_[index]) || !slots_[index].masked()) return false;
  const auto pending = interrupts_.vector_pending(vector(active_->kind, index));
  return pending && *pending;
}

/// Sets the program's mask bit of a vector of MSI.
void VectorRouter::mask_vector(unsigned index, bool masked) {
  VectorSlot& slot = slots_[index];
  if (masked == slot.masked()) return;
  const bool elsewhere = !to_sink(targets_[index]);
  const Vector vector = this->vector(active_->kind, index);
  // A mask bit cannot report an error; the counter of failed calls shows it.
  if (masked) {
    slot.mask();
    if (elsewhere) (void)interrupts_.mask_vector(vector).ok();
    return;
  }
  if (elsewhere) {
    const bool pending = slot.pending();
    slot.forget_pending();
    slot.unmask();
    (void)interrupts_.unmask_vector(vector).ok();
    if (pending) (void)interrupts_.raise_vector(vector).ok();
  } else if (slot.unmask()) {
    count_arrival(vector.kind);
  }
}

}  // namespace pviommu::msi
