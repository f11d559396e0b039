// SPDX-License-Identifier: LGPL-2.1-or-later
// Names of the vocabulary's enumerators, as shown to people and in JSON.
#include "hypercall/fault.h"
#include "hypercall/notification.h"
#include "hypercall/statistics.h"

namespace pviommu {

// No default label in the switches: the compiler names a forgotten enumerator.

const char* to_string(VectorKind kind) {
  switch (kind) {
    case VectorKind::intx:
      return "intx";
    case VectorKind::msi:
      return "msi";
    case VectorKind::msix:
      return "msix";
  }
  return "?";
}

const char* to_string(FaultReason reason) {
  switch (reason) {
    case FaultReason::not_mapped:
      return "not_mapped";
    case FaultReason::not_permitted:
      return "not_permitted";
    case FaultReason::not_attached:
      return "not_attached";
    case FaultReason::bad_message:
      return "bad_message";
    case FaultReason::stale_frame:
      return "stale_frame";
    case FaultReason::unreachable:
      return "unreachable";
  }
  return "?";
}
static_assert(static_cast<std::size_t>(FaultReason::unreachable) + 1 == kFaultReasons);

const char* to_string(HypercallOp op) {
  switch (op) {
    case HypercallOp::create_space:
      return "create_space";
    case HypercallOp::destroy_space:
      return "destroy_space";
    case HypercallOp::attach:
      return "attach";
    case HypercallOp::detach:
      return "detach";
    case HypercallOp::map:
      return "map";
    case HypercallOp::unmap:
      return "unmap";
    case HypercallOp::flush:
      return "flush";
    case HypercallOp::frames:
      return "frames";
    case HypercallOp::allocate_vectors:
      return "allocate_vectors";
    case HypercallOp::free_vectors:
      return "free_vectors";
    case HypercallOp::bind_vector:
      return "bind_vector";
    case HypercallOp::unbind_vector:
      return "unbind_vector";
    case HypercallOp::mask_vector:
      return "mask_vector";
    case HypercallOp::unmask_vector:
      return "unmask_vector";
    case HypercallOp::raise_vector:
      return "raise_vector";
    case HypercallOp::open_device:
      return "open_device";
    case HypercallOp::reset:
      return "reset";
  }
  return "?";
}
static_assert(static_cast<std::size_t>(HypercallOp::reset) + 1 == kHypercallOps);

}  // namespace pviommu
