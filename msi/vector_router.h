// SPDX-License-Identifier: LGPL-2.1-or-later
// The interrupts of one device: vectors of the hypervisor in front, the
// program's eventfds behind.
//
//   hypervisor --event()--> VectorSlot[index] --> eventfd of the program
//       |                      | masked or without an eventfd
//       |                      +--> pending bit, sent when the way is free
//       +--> event channel, vector of a guest: by itself (vector_targets.cc)
//
// One kind of vectors (INTx, MSI, MSI-X) is active at a time, as with SET_IRQS.
// Every change is all or nothing: when any access to the hypervisor or to
// configuration space fails, everything before it is undone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "hypercall/capabilities.h"
#include "hypercall/interrupts.h"
#include "hypercall/notification.h"
#include "hypercall/pci_device.h"
#include "hypercall/result.h"
#include "hypercall/unique_fd.h"
#include "msi/capabilities.h"
#include "msi/eventfd_watcher.h"
#include "msi/interrupt_registers.h"
#include "msi/vector_slot.h"
#include "msi/virtual_capability.h"

namespace pviommu::msi {

/// Methods may be called from any thread.  Those that touch configuration space
/// (enable, disable, reserve, release_reservation, set_delivery, reset_happened,
/// close) change single bits of the command register, and the caller keeps other
/// writers of that register away meanwhile.  Its INTx-disable bit belongs to the
/// router: a program's write to it goes to set_intx_disabled().
class VectorRouter final : public EventSink, public CapabilityEffects {
 public:
  /// `interrupts`, the `limits` of their hypervisor and `device` outlive the router.
  VectorRouter(Interrupts& interrupts, const Capabilities& limits, PciDevice& device,
               const InterruptCapabilities& capabilities);
  VectorRouter(const VectorRouter&) = delete;
  VectorRouter& operator=(const VectorRouter&) = delete;
  ~VectorRouter();  ///< close()

  const InterruptCapabilities& capabilities() const { return capabilities_; }
  /// Vectors the device has of the kind; 0: none.
  unsigned available(VectorKind kind) const;
  std::optional<VectorKind> active() const;
  unsigned count() const;  ///< active vectors

  /// Allocates vectors [0, count), binds them here and lets the device use
  /// them; none has an eventfd yet.  Answers `count`, or a smaller number when
  /// the hypervisor has no more: then nothing is enabled (SET_IRQS returns this
  /// number as it is).  EINVAL: a kind is active already, or more than
  /// available(); ENODEV: available() is 0; ERANGE: count 0; EBUSY: another
  /// kind or fewer vectors are reserved.
  Result<unsigned> enable(VectorKind kind, unsigned count);
  /// True when there is MSI-X, and vectors that are enabled can become more: the hypervisor adds them, or they
  /// are reserved.  MSI never does, its vectors are one block.
  bool can_grow() const;
  /// MSI-X is enabled: there are `count` vectors at least then.  Those that were there keep
  /// their targets and go on arriving; none of the new ones has an eventfd yet.  All or nothing.  EINVAL: not
  /// MSI-X, more than available(), or not can_grow(); ENOSPC: the hypervisor has no more.
  Status grow(unsigned count);
  /// Goes back to no active kind and closes the eventfds.  EINVAL: no kind is active.
  Status disable();

  /// Hypervisors with Capabilities::vectors_before_attach: to be called before
  /// the device is attached; enable() then takes vectors from the reservation,
  /// and disable() puts them back.  The device's enable bit stays set all the
  /// time: set late, some devices lose messages.  Answers how many it got
  /// (1..count).  EBUSY: a kind is active or reserved; ENODEV, EINVAL, ERANGE as enable().
  Result<unsigned> reserve(VectorKind kind, unsigned count);
  /// Gives the reserved vectors back; does nothing without a reservation.  EBUSY: a kind
  /// is active.
  Status release_reservation();
  unsigned reserved(VectorKind kind) const;  ///< 0: none of the kind

  /// Disables and releases.  A step that fails is tried again and then left out; the error
  /// says what could not be given back.
  Status close();

  /// Where the arrivals of a vector go.  Kind sink: to `eventfd` (`notification.sink`
  /// is not looked at); an empty one: nowhere.
  struct Target {
    Notification notification;
    UniqueFd eventfd;
  };
  /// Where arrivals at vectors [start, start + size) go from now on: all of them, or,
  /// after an error, none.  Replacing loses no arrival and doubles none, whatever the
  /// kinds.  What arrived while there was no eventfd is sent at once where the
  /// hardware would have held it (MSI-X, maskable MSI).  EINVAL: not active
  /// vectors; EOPNOTSUPP: a kind that the hypervisor has not declared, or for INTx
  /// another one than sink.
  Status set_targets(unsigned start, std::span<Target> targets);
  /// The same for one vector and an eventfd.
  Status set_eventfd(unsigned index, UniqueFd fd);
  /// The event channel that the vector is bound to.  EINVAL: not an active vector;
  /// ENOENT: bound to something else.
  Result<EventPort> event_port(unsigned index) const;
  /// SET_IRQS with NONE or BOOL data: signals the eventfd if there is one,
  /// masked or not; another target gets an arrival when the vector is not masked.
  /// EINVAL: not an active vector.
  Status trigger(unsigned index);

  // ---- INTx ---------------------------------------------------------------
  // An arrival masks the line; unmasking looks at it again.  EINVAL: INTx is not active.
  Status mask();
  Status unmask();
  /// From now on each write to `fd` unmasks, and is consumed (resample).  An empty `fd` ends
  /// that.  EBUSY: there is one already.
  Status set_unmask_eventfd(UniqueFd fd);
  /// The program's INTx-disable bit of the command register.  Setting it masks,
  /// clearing it unmasks.  Remembered while INTx is not active.
  Status set_intx_disabled(bool disabled);

  /// After PciDevice::reset(): the enable and INTx-disable bits are restored,
  /// held arrivals are forgotten; vectors and eventfds stay.
  Status reset_happened();

  // ---- CapabilityEffects --------------------------------------------------
  bool msi_configured() const override;
  bool msix_configured() const override;
  unsigned msi_queue_limit() const override;
  /// EINVAL: MSI is not active.
  Status set_delivery(bool enabled) override;
  std::uint32_t mask_bits() const override;
  void set_mask_bits(std::uint32_t bits) override;
  std::uint32_t pending_bits() const override;

  // ---- EventSink ----------------------------------------------------------
  /// Lock-free; one write() to an eventfd at most.
  void event(const Vector& vector) noexcept override;

 private:
  struct Active {
    VectorKind kind = VectorKind::intx;
    unsigned count = 0;
    InterruptRegisters::Values before;  ///< to go back to
    InterruptRegisters::Values after;   ///< now, and after a reset
  };

  Vector vector(VectorKind kind, unsigned index) const { return {sbdf_, kind, index}; }
  Status check(VectorKind kind, unsigned count) const;
  bool is_active(VectorKind kind) const { return active_ && active_->kind == kind; }
  /// The steps up, all or nothing: vectors of the hypervisor (unless they are reserved),
  /// each bound to its target (unless it is only to reserve them), the device's registers.
  /// When it is granted fewer than are to be bound, nothing is done, and the answer has
  /// that smaller count.  Slots of vectors that are bound start anew.
  Result<Active> bring_up(VectorKind kind, unsigned count, bool allocate, bool bound);
  /// The same steps down, all or nothing: registers, targets, vectors of the hypervisor.
  Status take_down(const Active& was, bool allocated, bool bound);
  Status unmask_locked();
  Status disable_locked();
  Status release_locked();
  void forget(unsigned count);

  Status bind(VectorKind kind, unsigned count);
  Status unbind(VectorKind kind, unsigned count);

  // vector_targets.cc
  Notification own_sink();
  bool binds(const Notification& target) const;
  Status bind_target(const Vector& vector, const Notification& target);
  Status unbind_target(const Vector& vector, const Notification& target);
  Status rebind(const Vector& vector, const Notification& from, const Notification& to);
  Status switch_vector(unsigned index, const Notification& to, UniqueFd& eventfd);
  void switch_back(unsigned index, const Notification& to);
  void commit_vector(unsigned index, const Notification& to, UniqueFd eventfd);
  void mask_vector(unsigned index, bool masked);
  bool held(unsigned index) const;
  static void count_arrival(VectorKind kind);

  Interrupts& interrupts_;
  const Capabilities& limits_;
  const InterruptCapabilities capabilities_;
  InterruptRegisters registers_;
  const Sbdf sbdf_;
  unsigned slot_count_ = 0;
  std::unique_ptr<VectorSlot[]> slots_;  ///< as many as any kind can have: event() needs no lock

  mutable std::mutex lock_;  ///< all below; never taken by event()
  std::vector<Notification> targets_;  ///< as many as slots
  std::optional<Active> active_;
  std::optional<Active> reservation_;
  bool program_intx_disabled_ = false;
  unsigned msi_queue_limit_ = 0;
  std::uint32_t mask_bits_ = 0;
  std::unique_ptr<EventfdWatcher> resample_;
};

}  // namespace pviommu::msi
