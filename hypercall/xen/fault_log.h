// SPDX-License-Identifier: LGPL-2.1-or-later
// IOMMU faults, out of the text of Xen's console ring.
//
// Xen has no interface for them: it prints what it finds in the IOMMU's fault
// registers, and that is all.  The lines, of Xen 4.17 to 4.23 (after "(XEN) " and
// perhaps a time stamp):
//
//   VT-d, xen/drivers/passthrough/vtd/iommu.c, two lines a fault:
//     [VT-D]DMAR:[DMA Write] Request device [0000:00:04.0] fault addr fee0000
//     [VT-D]DMAR: reason 05 - PTE Write access is not set
//     [VT-D]INTR-REMAP: Request device [0000:00:04.0] fault index 8
//     [VT-D]INTR-REMAP: reason 22 - Present field in the IRTE entry is clear
//   AMD, xen/drivers/passthrough/amd/iommu_init.c:
//     AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000005000 flags 0x20 RW
//   console.c, in place of lines above the rate limit:
//     printk: 12 messages suppressed.
//
// What a guest prints stands behind "(d1) " and is not looked at.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/fault.h"

namespace pviommu::xen {

/// Takes the ring's text in pieces, wherever they are cut, and finds the faults in it.
/// Not thread-safe: the owner calls it from one thread or locks.
class FaultLog {
 public:
  /// Appends the faults that are complete with `chunk` to `out`.
  void feed(std::string_view chunk, std::vector<Fault>& out);
  /// Appends a fault whose second line has not come.  The owner calls this when the ring
  /// has been quiet for a while, because the rate limit may have taken the line.
  void settle(std::vector<Fault>& out);
  /// Says that text between the last chunk and the next one is lost, because the ring
  /// was faster than its reader.  Appends what waited for a second line.
  void lost_text(std::vector<Fault>& out);

  /// Messages of any kind that Xen's rate limit kept out of the ring; faults may
  /// be among them, so that what was counted is a lower bound.
  std::uint64_t suppressed() const { return suppressed_; }

 private:
  void take_line(std::string_view line, std::vector<Fault>& out);

  std::string partial_;           ///< a line whose end has not come
  bool skipping_ = false;         ///< until the next line begins
  std::optional<Fault> waiting_;  ///< for the line with its reason
  std::uint64_t suppressed_ = 0;
};

}  // namespace pviommu::xen
