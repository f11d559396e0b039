// SPDX-License-Identifier: LGPL-2.1-or-later
// The interrupts of a backend that has none.
#pragma once

#include "hypercall/interrupts.h"

namespace pviommu {

/// Refuses everything with EOPNOTSUPP; event_fd() is -1.  Its backend declares no
/// Capabilities::vector_kinds and no notifications.  Thread-safe: it has no state.
class NoInterrupts final : public Interrupts {
 public:
  Result<unsigned> allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) override;
  Status free_vectors(Sbdf sbdf, VectorKind kind) override;
  Status bind_vector(const Vector& vector, const Notification& notification) override;
  Status unbind_vector(const Vector& vector) override;
  Status mask_vector(const Vector& vector) override;
  Status unmask_vector(const Vector& vector) override;
  Result<bool> vector_pending(const Vector& vector) override;
  Status raise_vector(const Vector& vector) override;
  Result<EventPort> event_port(const Vector& vector) override;
  int event_fd() const override;
};

}  // namespace pviommu
