// SPDX-License-Identifier: LGPL-2.1-or-later
// The names of reasons, as shown to people and in JSON.
#include "hypercall/fault.h"

namespace pviommu {

// No default label: the compiler names a forgotten enumerator.
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

}  // namespace pviommu
