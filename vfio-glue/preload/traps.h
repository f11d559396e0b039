// SPDX-License-Identifier: LGPL-2.1-or-later
// Registers of a device model, mapped by the program, and exact.
//
// A page of registers is mapped from an empty file: each access to it is SIGBUS, whatever rights
// the program gives its mapping.  The access is made on the device, in the thread that made it,
// and the thread goes on behind its instruction.
//
//   mov %eax, 4(%rbx) --SIGBUS--> trapped() --> X86Instruction --> File::store() --> the model
//
// On x86-64, with Zydis (traps_x86.cc).  Elsewhere (no_traps.cc) the model watches the memory of
// the BAR, and pages that cannot be watched are left out of the mapping.
#pragma once

namespace pviommu::vfio {

class FrontEnd;

/// Whether this build can.
bool can_trap();

/// Before the first page that traps is mapped for `front_end`, and every time.  False: it cannot
/// be done in this process.
bool start_trapping(FrontEnd& front_end);

}  // namespace pviommu::vfio
