// SPDX-License-Identifier: LGPL-2.1-or-later
// Message interrupts of a PCI function, granted by RTAS.
//
//   grant()    ibm,change-msi (function, count, 1) -> how many there are to have
//              ibm,change-msi again with that number, until it is what was asked for
//              ibm,query-interrupt-source-number for each
//   ...        the hypervisor has written address and data; the OS sets the enable bit
//   release()  enable bit off first, then ibm,change-msi with 0
//
// An answer smaller than the question is not taken for a grant: QEMU has granted
// nothing then, another hypervisor perhaps so many.  Asking again fits both.
//
// Used by a program that is its own operating system: the guest of the rig, and unit tests.
#pragma once

#include "hypercall/papr/core/rtas.h"

namespace pviommu::papr {

enum class MsiFunction : std::uint32_t { msi = 3, msix = 4 };  ///< third argument of ibm,change-msi

class RtasMsi {
 public:
  explicit RtasMsi(RtasPort& port, PciAddress function, const Patience& patience = {})
      : port_(port), function_(function), patience_(patience) {}

  /// Asks for `count` vectors and takes what there is, 1 to count; sources[0..granted)
  /// get their numbers.  With an error nothing is granted.
  RtasResult grant(MsiFunction kind, std::uint32_t count, Lisn* sources, std::uint32_t& granted);
  /// The source behind one granted vector.
  RtasResult source(std::uint32_t vector, Lisn& lisn, bool& edge);
  /// Gives all vectors back.  The function's MSI enable bit is off by then: a message
  /// to address 0 would be a DMA write.
  RtasResult release(MsiFunction kind);

 private:
  RtasResult change(MsiFunction kind, std::uint32_t count, std::uint32_t& granted);
  RtasPort& port_;
  const PciAddress function_;
  const Patience patience_;
};

}  // namespace pviommu::papr
