// SPDX-License-Identifier: LGPL-2.1-or-later
// What a rig declares about its machine beside vfio_client.h.
#pragma once

#include <cstdlib>
#include <string>

namespace conformance {

/// CONFORMANCE_WITH="inherited": what Linux's VFIO does and pviommu does not, with the
/// reason in doc/vfio-differences.md; words out of
///   inherited   descriptors of VFIO files work in a forked child
/// (CONFORMANCE_WITHOUT, for without(), has beside its own words
///   lossless-replacing  no message is lost while its eventfd is replaced
///   locked-memory       RLIMIT_MEMLOCK counts what is mapped, and only that
///   executable-bar      BARs can be mapped with PROT_EXEC)
inline bool with(const std::string& what) {
  const char* value = std::getenv("CONFORMANCE_WITH");
  return value && (" " + std::string(value) + " ").find(" " + what + " ") != std::string::npos;
}

/// CONFORMANCE_REGISTERS: addresses of devices whose every register beside the MSI-X table and
/// the pending bits keeps what is written.

/// Further devices, which only some rigs have; empty: it has none.
inline std::string extra_device(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

}  // namespace conformance
