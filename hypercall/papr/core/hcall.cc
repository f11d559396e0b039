// SPDX-License-Identifier: LGPL-2.1-or-later
// Names of hcalls and of their answers, for messages; no C library needed.
#include "hypercall/papr/core/hcall.h"

namespace pviommu::papr {

const char* name_of(Rc rc) {
  switch (rc) {
    case kSuccess:
      return "H_SUCCESS";
    case kBusy:
      return "H_BUSY";
    case kHardware:
      return "H_HARDWARE";
    case kFunction:
      return "H_FUNCTION";
    case kPrivilege:
      return "H_PRIVILEGE";
    case kParameter:
      return "H_PARAMETER";
    case kResource:
      return "H_RESOURCE";
    case kP2:
      return "H_P2";
    case kP3:
      return "H_P3";
    case kP4:
      return "H_P4";
    case kP5:
      return "H_P5";
    default:
      return is_busy(rc) ? "H_LONG_BUSY" : "?";
  }
}

const char* name_of(Hcall op) {
  switch (op) {
    case Hcall::get_tce:
      return "H_GET_TCE";
    case Hcall::put_tce:
      return "H_PUT_TCE";
    case Hcall::logical_ci_load:
      return "H_LOGICAL_CI_LOAD";
    case Hcall::logical_ci_store:
      return "H_LOGICAL_CI_STORE";
    case Hcall::eoi:
      return "H_EOI";
    case Hcall::cppr:
      return "H_CPPR";
    case Hcall::ipi:
      return "H_IPI";
    case Hcall::ipoll:
      return "H_IPOLL";
    case Hcall::xirr:
      return "H_XIRR";
    case Hcall::stuff_tce:
      return "H_STUFF_TCE";
    case Hcall::put_tce_indirect:
      return "H_PUT_TCE_INDIRECT";
    case Hcall::int_get_source_info:
      return "H_INT_GET_SOURCE_INFO";
    case Hcall::int_set_source_config:
      return "H_INT_SET_SOURCE_CONFIG";
    case Hcall::int_get_source_config:
      return "H_INT_GET_SOURCE_CONFIG";
    case Hcall::int_get_queue_info:
      return "H_INT_GET_QUEUE_INFO";
    case Hcall::int_set_queue_config:
      return "H_INT_SET_QUEUE_CONFIG";
    case Hcall::int_get_queue_config:
      return "H_INT_GET_QUEUE_CONFIG";
    case Hcall::int_esb:
      return "H_INT_ESB";
    case Hcall::int_sync:
      return "H_INT_SYNC";
    case Hcall::int_reset:
      return "H_INT_RESET";
    case Hcall::rtas:
      return "H_RTAS";
    case Hcall::client_architecture_support:
      return "H_CAS";
  }
  return "?";
}

}  // namespace pviommu::papr
