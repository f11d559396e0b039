// SPDX-License-Identifier: LGPL-2.1-or-later
// The hypervisor's side of a device's interrupts.
//
//   allocate_vectors -> bind_vector -> mask/unmask -> unbind_vector -> free_vectors
//
// All that msi/ needs of a hypervisor, and nothing else.  A backend without
// interrupts has NoInterrupts (no_interrupts.h).
#pragma once

#include "hypercall/notification.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

/// Concurrency: every method may be called from any thread.
class Interrupts {
 public:
  Interrupts() = default;
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  virtual ~Interrupts() = default;

  /// Reserves vectors [0, count) of the kind and programs the messages into the
  /// device.  The grant may be smaller than asked for (PAPR, Xen's multi-MSI),
  /// never 0 without an error.  ENODEV: `vectors_before_attach` and the device
  /// is attached.  EBUSY: vectors of some kind are allocated already.  The
  /// enable bit in configuration space stays the caller's.
  /// With `vectors_grow`, MSI-X vectors that are allocated already stay as they are, bound and
  /// arriving, and those up to `count` are added.  The grant is the number that there are then;
  /// after an error there are those of before.
  virtual Result<unsigned> allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) = 0;
  /// All unbound before (else EBUSY).
  virtual Status free_vectors(Sbdf sbdf, VectorKind kind) = 0;

  /// Where arrivals of the vector go from now on.  Rebinding replaces the
  /// target without losing an arrival, and a mask stays; when it returns no call
  /// of a former sink is under way.  EOPNOTSUPP: kind not declared.
  virtual Status bind_vector(const Vector& vector, const Notification& notification) = 0;
  /// A mask, and what it held, ends with the binding.
  virtual Status unbind_vector(const Vector& vector) = 0;

  /// Masked arrivals are held (one bit) and delivered by unmask_vector().  A
  /// level-triggered vector (intx) masks itself when it is delivered; unmask
  /// looks at the line again.
  virtual Status mask_vector(const Vector& vector) = 0;
  virtual Status unmask_vector(const Vector& vector) = 0;
  virtual Result<bool> vector_pending(const Vector& vector) = 0;

  /// One arrival more at a vector bound to an event channel or a guest vector, as
  /// if the device had sent it: for what the caller held back while the target was
  /// another one.  Not while the vector is masked.  ENOENT: not bound; EOPNOTSUPP:
  /// bound to a sink, whose owner calls it itself.
  virtual Status raise_vector(const Vector& vector) = 0;
  /// The event channel of this domain behind a vector that is bound to one.
  /// ENOENT: to none.
  virtual Result<EventPort> event_port(const Vector& vector) = 0;

  /// Readable while notifications of event channels of this domain wait that are
  /// read here; -1 when the backend has none.  Owned by the hypervisor.  Who has it, or
  /// a copy in another process, reads with read(2): ports of 4 bytes, written back when
  /// the next may come, as on /dev/xen/evtchn; non-blocking.
  virtual int event_fd() const = 0;
};

}  // namespace pviommu
