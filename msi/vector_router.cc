// SPDX-License-Identifier: LGPL-2.1-or-later
// Enabling and disabling as sequences of steps with undo, arrivals, INTx, and what a program's
// mask bits do.  Changing the targets of a running vector is in vector_targets.cc.
//
//   enable()    allocate, bind each, INTx disable bit, enable bit of the capability
//   disable()   enable bit off, unbind each, free, INTx disable bit
//
// A step that fails undoes the ones before it (class Undo), last first.
//
// lock_ covers all but event(), which is called on the hypervisor's thread and takes none.
#include "msi/vector_router.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "hypercall/statistics.h"

namespace pviommu::msi {
namespace {

/// What is to be done when a later step fails; the last one added is done first.
class Undo {
 public:
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
  }
  void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void drop() { steps_.pop_back(); }  ///< the last one is done already
  void commit() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

/// For steps of an Undo: the error that is reported is the one that led to it.
void ignore(Status) {}
void ignore(Result<unsigned>) {}

Counter& interrupts(VectorKind kind) {
  switch (kind) {
    case VectorKind::intx:
      return statistics().interrupts_intx;
    case VectorKind::msi:
      return statistics().interrupts_msi;
    default:
      return statistics().interrupts_msix;
  }
}

void count_arrivals(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

VectorRouter::VectorRouter(Interrupts& interrupts, const Capabilities& limits, PciDevice& device,
                           const InterruptCapabilities& capabilities)
    : interrupts_(interrupts),
      limits_(limits),
      capabilities_(capabilities),
      registers_(device, capabilities_),
      sbdf_(device.info().sbdf) {
  for (const VectorKind kind : {VectorKind::intx, VectorKind::msi, VectorKind::msix})
    slot_count_ = std::max(slot_count_, available(kind));
  slots_ = std::make_unique<VectorSlot[]>(slot_count_);
  targets_.resize(slot_count_, own_sink());
}

VectorRouter::~VectorRouter() { ignore(close()); }

unsigned VectorRouter::available(VectorKind kind) const {
  switch (kind) {
    case VectorKind::intx:
      return capabilities_.intx ? 1 : 0;
    case VectorKind::msi:
      return capabilities_.msi ? capabilities_.msi->vectors : 0;
    default:
      return capabilities_.msix ? capabilities_.msix->vectors : 0;
  }
}

std::optional<VectorKind> VectorRouter::active() const {
  const std::lock_guard guard(lock_);
  if (!active_) return std::nullopt;
  return active_->kind;
}

unsigned VectorRouter::count() const {
  const std::lock_guard guard(lock_);
  return active_ ? active_->count : 0;
}

unsigned VectorRouter::reserved(VectorKind kind) const {
  const std::lock_guard guard(lock_);
  return reservation_ && reservation_->kind == kind ? reservation_->count : 0;
}

// ---- steps of the hypervisor ---------------------------------------------------

Status VectorRouter::check(VectorKind kind, unsigned count) const {
  if (available(kind) == 0) return Error{ENODEV, "device has no vectors of the kind"};
  if (count == 0) return Error{ERANGE, "enable of no vectors"};
  if (count > available(kind)) return Error{EINVAL, "more vectors than the device has"};
  return {};
}

Status VectorRouter::bind(VectorKind kind, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const Status status = bind_target(vector(kind, i), targets_[i]);
    if (status) continue;
    while (i-- > 0) ignore(unbind_target(vector(kind, i), targets_[i]));
    return status;
  }
  return {};
}

Status VectorRouter::unbind(VectorKind kind, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const Status status = unbind_target(vector(kind, i), targets_[i]);
    if (status) continue;
    while (i-- > 0) ignore(bind_target(vector(kind, i), targets_[i]));
    return status;
  }
  return {};
}

// ---- enable, disable -----------------------------------------------------------

Result<VectorRouter::Active> VectorRouter::bring_up(VectorKind kind, unsigned count, bool allocate, bool bound) {
  Undo undo;
  const InterruptRegisters::Values before = PVIOMMU_TRY(registers_.read(kind));
  const std::uint16_t between = PVIOMMU_TRY(registers_.open_table(kind, before.command));
  if (between != before.command) undo.add([=, this] { ignore(registers_.write_command(before.command)); });

  if (allocate) {
    const unsigned granted = PVIOMMU_TRY(interrupts_.allocate_vectors(sbdf_, kind, count));
    undo.add([=, this] { ignore(interrupts_.free_vectors(sbdf_, kind)); });
    if (granted < count && bound) {
      // Step by step, so that a refusal is reported; `undo` then tries it again.
      PVIOMMU_TRY(interrupts_.free_vectors(sbdf_, kind));
      undo.drop();
      if (between != before.command) PVIOMMU_TRY(registers_.write_command(before.command));
      undo.commit();
      return Active{kind, granted, before, before};
    }
    count = granted;
  }

  if (bound) {
    // Where the hardware can mask a vector, an arrival nobody waits for stays
    // pending in it; messages of plain MSI are lost.  A line masks itself, and is
    // looked at when the program unmasks it.
    const bool holds = kind == VectorKind::msix || (kind == VectorKind::msi && capabilities_.msi->maskable);
    const bool level = kind == VectorKind::intx;
    for (unsigned i = 0; i < count; ++i) slots_[i].start(level, holds, level && program_intx_disabled_);
    PVIOMMU_TRY(bind(kind, count));
    undo.add([=, this] { ignore(unbind(kind, count)); });
  }

  // INTx has no enable bit: its line stays off until it is bound.
  const InterruptRegisters::Values after =
      kind == VectorKind::intx && !bound ? before : InterruptRegisters::running(kind, count, before);
  PVIOMMU_TRY(registers_.write_control(kind, after.control));
  undo.add([=, this] { ignore(registers_.write_control(kind, before.control)); });
  if (between != after.command) PVIOMMU_TRY(registers_.write_command(after.command));

  undo.commit();
  return Active{kind, count, before, after};
}

Status VectorRouter::take_down(const Active& was, bool allocated, bool bound) {
  const auto [kind, count, before, running] = was;
  Undo undo;
  const std::uint16_t command = PVIOMMU_TRY(registers_.read_command());
  const std::uint16_t after = InterruptRegisters::with_intx_disable_of(before.command, command);
  PVIOMMU_TRY(registers_.write_control(kind, before.control));
  undo.add([this, kind = kind, control = running.control] { ignore(registers_.write_control(kind, control)); });
  const std::uint16_t between = PVIOMMU_TRY(registers_.open_table(kind, command));
  if (between != command) undo.add([=, this] { ignore(registers_.write_command(command)); });

  if (bound) {
    PVIOMMU_TRY(unbind(kind, count));
    undo.add([this, kind = kind, count = count] { ignore(bind(kind, count)); });
  }
  if (allocated) {
    PVIOMMU_TRY(interrupts_.free_vectors(sbdf_, kind));
    undo.add([this, kind = kind, count = count] { ignore(interrupts_.allocate_vectors(sbdf_, kind, count)); });
  }
  if (between != after) PVIOMMU_TRY(registers_.write_command(after));
  undo.commit();
  return {};
}

Result<unsigned> VectorRouter::enable(VectorKind kind, unsigned count) {
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(check(kind, count));
  if (active_) return Error{EINVAL, "vectors are enabled already"};
  if (reservation_ && (reservation_->kind != kind || reservation_->count < count))
    return Error{EBUSY, "more or other vectors than are reserved"};
  const Active now = PVIOMMU_TRY(bring_up(kind, count, !reservation_, true));
  if (now.count < count) return now.count;
  active_ = now;
  mask_bits_ = 0;
  if (kind == VectorKind::msi) msi_queue_limit_ = InterruptRegisters::queue_size(count);
  return count;
}

bool VectorRouter::can_grow() const {
  return available(VectorKind::msix) > 0 && (limits_.vectors_grow || limits_.vectors_before_attach);
}

Status VectorRouter::grow(unsigned count) {
  const std::lock_guard guard(lock_);
  if (!is_active(VectorKind::msix)) return Error{EINVAL, "more vectors of a kind that is not enabled, or not MSI-X"};
  if (count > available(VectorKind::msix)) return Error{EINVAL, "more vectors than the device has"};
  const unsigned before = active_->count;
  if (count <= before) return {};
  if (!can_grow()) return Error{EINVAL, "more vectors than were enabled"};
  if (reservation_ && reservation_->count < count) return Error{ENOSPC, "more vectors than are reserved"};

  // The table is written, for which the device decodes; afterwards it is as before, whatever came.
  Undo decoding;
  const std::uint16_t command = PVIOMMU_TRY(registers_.read_command());
  const std::uint16_t open = PVIOMMU_TRY(registers_.open_table(VectorKind::msix, command));
  if (open != command) decoding.add([=, this] { ignore(registers_.write_command(command)); });
  // What is granted and then not bound is freed with the others.
  if (!reservation_ && PVIOMMU_TRY(interrupts_.allocate_vectors(sbdf_, VectorKind::msix, count)) < count)
    return Error{ENOSPC, "more vectors than are granted"};
  for (unsigned i = before; i < count; ++i) {
    slots_[i].start(false, true, false);
    const Status bound = bind_target(vector(VectorKind::msix, i), targets_[i]);
    if (bound) continue;
    while (i-- > before) ignore(unbind_target(vector(VectorKind::msix, i), targets_[i]));
    return bound;
  }
  active_->count = count;
  return {};
}

Status VectorRouter::disable() {
  std::unique_ptr<EventfdWatcher> resample;
  {
    const std::lock_guard guard(lock_);
    PVIOMMU_TRY(disable_locked());
    resample = std::move(resample_);
  }
  return {};  // the watcher ends without the lock, which its last call may wait for
}

Status VectorRouter::disable_locked() {
  if (!active_) return Error{EINVAL, "no vectors are enabled"};
  PVIOMMU_TRY(take_down(*active_, !reservation_, true));
  forget(active_->count);
  return {};
}

void VectorRouter::forget(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    slots_[i].arm(UniqueFd());
    targets_[i] = own_sink();
  }
  mask_bits_ = 0;
  active_.reset();
}

Result<unsigned> VectorRouter::reserve(VectorKind kind, unsigned count) {
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(check(kind, count));
  if (active_ || reservation_) return Error{EBUSY, "vectors are enabled or reserved already"};

  reservation_ = PVIOMMU_TRY(bring_up(kind, count, true, false));
  return reservation_->count;
}

Status VectorRouter::release_reservation() {
  const std::lock_guard guard(lock_);
  return release_locked();
}

Status VectorRouter::release_locked() {
  if (active_) return Error{EBUSY, "vectors are enabled"};
  if (!reservation_) return {};
  PVIOMMU_TRY(take_down(*reservation_, true, false));
  reservation_.reset();
  return {};
}

Status VectorRouter::close() {
  std::unique_ptr<EventfdWatcher> resample;
  Status first;
  {
    const std::lock_guard guard(lock_);
    const auto note = [&first](const Status& status) {
      if (!status && first) first = status;
    };
    if (active_ && !disable_locked() && !disable_locked()) {
      // One step fails for good, so all the others are done without it.
      const Active was = *active_;
      note(registers_.write_control(was.kind, was.before.control));
      for (unsigned i = 0; i < was.count; ++i) note(unbind_target(vector(was.kind, i), targets_[i]));
      if (!reservation_) note(interrupts_.free_vectors(sbdf_, was.kind));
      note(registers_.restore_intx_disable(was.before.command));
      forget(was.count);
    }
    if (reservation_ && !release_locked() && !release_locked()) {
      note(registers_.write_control(reservation_->kind, reservation_->before.control));
      note(interrupts_.free_vectors(sbdf_, reservation_->kind));
      note(registers_.restore_intx_disable(reservation_->before.command));
      reservation_.reset();
    }
    resample = std::move(resample_);
  }
  return first;
}

// ---- arrivals --------------------------------------------------------------------

void VectorRouter::count_arrival(VectorKind kind) { count_arrivals(interrupts(kind)); }

void VectorRouter::event(const Vector& vector) noexcept {
  if (vector.index >= slot_count_) return;
  switch (slots_[vector.index].arrive()) {
    case VectorSlot::Arrival::sent:
      count_arrivals(interrupts(vector.kind));
      break;
    case VectorSlot::Arrival::held:
      count_arrivals(statistics().interrupts_held);
      break;
    case VectorSlot::Arrival::dropped:
      break;
  }
}

// ---- INTx --------------------------------------------------------------------------

Status VectorRouter::mask() {
  const std::lock_guard guard(lock_);
  if (!is_active(VectorKind::intx)) return Error{EINVAL, "mask: INTx is not enabled"};
  // An arrival from now on is not sent, and it is the last: the hypervisor
  // masks a level-triggered vector when it delivers it.
  slots_[0].mask();
  return {};
}

Status VectorRouter::unmask() {
  const std::lock_guard guard(lock_);
  return unmask_locked();
}

Status VectorRouter::unmask_locked() {
  if (!is_active(VectorKind::intx)) return Error{EINVAL, "unmask: INTx is not enabled"};
  if (!slots_[0].masked() || program_intx_disabled_) return {};
  // The slot is unmasked first, because an asserted line arrives from within the call below.
  slots_[0].unmask();
  const Status status = interrupts_.unmask_vector(vector(VectorKind::intx, 0));
  if (!status) slots_[0].mask();
  return status;
}

Status VectorRouter::set_unmask_eventfd(UniqueFd fd) {
  std::unique_ptr<EventfdWatcher> removed;  // ends without the lock
  const std::lock_guard guard(lock_);
  if (!is_active(VectorKind::intx)) return Error{EINVAL, "unmask eventfd: INTx is not enabled"};
  if (!fd) {
    removed = std::move(resample_);
    return {};
  }
  if (resample_) return Error{EBUSY, "an unmask eventfd is set"};
  // There is nobody to tell about an error: the line stays masked, and the
  // hypervisor's counter of failed calls shows it.
  resample_ = PVIOMMU_TRY(EventfdWatcher::start(std::move(fd), [this] { ignore(unmask()); }));
  return {};
}

Status VectorRouter::set_intx_disabled(bool disabled) {
  const std::lock_guard guard(lock_);
  if (disabled == program_intx_disabled_) return {};
  program_intx_disabled_ = disabled;
  if (!is_active(VectorKind::intx)) return {};
  if (disabled) {
    slots_[0].mask();
    return {};
  }
  const Status status = unmask_locked();
  if (!status) program_intx_disabled_ = true;
  return status;
}

// ---- the rest ------------------------------------------------------------------------

Status VectorRouter::reset_happened() {
  const std::lock_guard guard(lock_);
  const std::optional<Active>& now = active_ ? active_ : reservation_;
  if (!now) return {};
  for (unsigned i = 0; active_ && i < active_->count; ++i) slots_[i].forget_pending();
  PVIOMMU_TRY(registers_.write_control(now->kind, now->after.control));
  return registers_.restore_intx_disable(now->after.command);
}

bool VectorRouter::msi_configured() const { return active() == VectorKind::msi; }

bool VectorRouter::msix_configured() const { return active() == VectorKind::msix; }

unsigned VectorRouter::msi_queue_limit() const {
  const std::lock_guard guard(lock_);
  return msi_queue_limit_;
}

Status VectorRouter::set_delivery(bool enabled) {
  const std::lock_guard guard(lock_);
  if (!is_active(VectorKind::msi)) return Error{EINVAL, "delivery: MSI is not enabled"};
  const std::uint16_t control = InterruptRegisters::with_msi_enabled(active_->after.control, enabled);
  if (control == active_->after.control) return {};
  PVIOMMU_TRY(registers_.write_control(VectorKind::msi, control));
  active_->after.control = control;
  return {};
}

std::uint32_t VectorRouter::mask_bits() const {
  const std::lock_guard guard(lock_);
  return mask_bits_;
}

void VectorRouter::set_mask_bits(std::uint32_t bits) {
  const std::lock_guard guard(lock_);
  const unsigned vectors = available(VectorKind::msi);
  mask_bits_ = vectors >= 32 ? bits : bits & ((std::uint32_t{1} << vectors) - 1);
  if (!is_active(VectorKind::msi)) return;
  for (unsigned i = 0; i < active_->count; ++i) mask_vector(i, (mask_bits_ >> i & 1) != 0);
}

std::uint32_t VectorRouter::pending_bits() const {
  const std::lock_guard guard(lock_);
  std::uint32_t bits = 0;
  if (is_active(VectorKind::msi))
    for (unsigned i = 0; i < active_->count; ++i) bits |= std::uint32_t{held(i)} << i;
  return bits;
}

}  // namespace pviommu::msi
