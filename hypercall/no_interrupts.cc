// SPDX-License-Identifier: LGPL-2.1-or-later
// Every method of NoInterrupts says so by its own name.
#include "hypercall/no_interrupts.h"

#include <cerrno>

namespace pviommu {

Result<unsigned> NoInterrupts::allocate_vectors(Sbdf, VectorKind, unsigned) {
  return Error{EOPNOTSUPP, "allocate_vectors: no interrupts"};
}
Status NoInterrupts::free_vectors(Sbdf, VectorKind) { return Error{EOPNOTSUPP, "free_vectors: no interrupts"}; }
Status NoInterrupts::bind_vector(const Vector&, const Notification&) {
  return Error{EOPNOTSUPP, "bind_vector: no interrupts"};
}
Status NoInterrupts::unbind_vector(const Vector&) { return Error{EOPNOTSUPP, "unbind_vector: no interrupts"}; }
Status NoInterrupts::mask_vector(const Vector&) { return Error{EOPNOTSUPP, "mask_vector: no interrupts"}; }
Status NoInterrupts::unmask_vector(const Vector&) { return Error{EOPNOTSUPP, "unmask_vector: no interrupts"}; }
Result<bool> NoInterrupts::vector_pending(const Vector&) { return Error{EOPNOTSUPP, "vector_pending: no interrupts"}; }
Status NoInterrupts::raise_vector(const Vector&) { return Error{EOPNOTSUPP, "raise_vector: no interrupts"}; }
Result<EventPort> NoInterrupts::event_port(const Vector&) { return Error{EOPNOTSUPP, "event_port: no interrupts"}; }
int NoInterrupts::event_fd() const { return -1; }

}  // namespace pviommu
