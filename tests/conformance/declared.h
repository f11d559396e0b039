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
///   growing             MSI-X vectors are added while others are enabled)
inline bool with(const std::string& what) {
  const char* value = std::getenv("CONFORMANCE_WITH");
  return value && (" " + std::string(value) + " ").find(" " + what + " ") != std::string::npos;
}

/// CONFORMANCE_LINUX="6.12": the kernel's own VFIO answers, of this version.  True when that is
/// older than MAJOR.MINOR; without it, and so for pviommu, the answers are the newest kernel's.
inline bool linux_before(int major, int minor) {
  const char* value = std::getenv("CONFORMANCE_LINUX");
  if (!value || *value == '\0') return false;
  char* rest = nullptr;
  const long has = std::strtol(value, &rest, 10);
  return has != major ? has < major : *rest == '.' && std::strtol(rest + 1, nullptr, 10) < minor;
}

/// CONFORMANCE_REGISTERS: addresses of devices whose every register beside the MSI-X table and
/// the pending bits keeps what is written.

/// Further devices, which only some rigs have; empty: it has none.
inline std::string extra_device(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

}  // namespace conformance
