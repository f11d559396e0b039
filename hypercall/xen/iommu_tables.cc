// SPDX-License-Identifier: LGPL-2.1-or-later
// Offsets are from the start of an ACPI table, whose header has 36 bytes.
#include "hypercall/xen/iommu_tables.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "hypercall/unique_fd.h"

namespace pviommu::xen {

unsigned iommu_bits_of_tables(const std::string& folder) {
  // Xen hides the DMAR table from dom0 by a change of its name.
  // ACPI header of 36 bytes; then VT-d specification 8.1: host address width
  // less one; AMD I/O virtualization specification 5.2.1, IVinfo: VASize in bits 21:15.
  for (const char* name : {"RMAD", "XMAR", "DMAR"}) {
    std::uint8_t bytes[40];
    const UniqueFd fd(::open((folder + "/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (fd && ::read(fd.get(), bytes, sizeof bytes) == sizeof bytes) return bytes[36] + 1u;
  }
  std::uint8_t bytes[40];
  const UniqueFd fd(::open((folder + "/IVRS").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::read(fd.get(), bytes, sizeof bytes) != sizeof bytes) return 0;
  std::uint32_t info;
  std::memcpy(&info, bytes + 36, sizeof info);
  const unsigned bits = info >> 15 & 0x7f;
  return bits != 0 ? bits : 48;  // older tables leave it out
}

}  // namespace pviommu::xen
