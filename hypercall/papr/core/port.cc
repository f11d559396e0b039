// SPDX-License-Identifier: LGPL-2.1-or-later
// One hcall, made again while the hypervisor is busy: H_BUSY at once, H_LONG_BUSY_* after the
// time that it names, both up to a limit (BusyWait).
#include "hypercall/papr/core/port.h"

namespace pviommu::papr {

bool BusyWait::again(Rc rc) {
  if (!is_busy(rc)) return false;
  std::uint32_t milliseconds = busy_milliseconds(rc);
  if (milliseconds == 0) {
    if (left_.busy_tries == 0) return false;
    --left_.busy_tries;
  } else {
    if (left_.milliseconds == 0) return false;
    if (milliseconds > left_.milliseconds) milliseconds = left_.milliseconds;
    left_.milliseconds -= milliseconds;
  }
  waiter_.wait(milliseconds);
  return true;
}

Rc call(Port& port, Hcall op, const std::uint64_t in[kHcallRegisters], std::uint64_t out[kHcallRegisters],
        const Patience& patience) {
  // `in` and `out` may be one array, and a busy call is made again with the same arguments.
  std::uint64_t arguments[kHcallRegisters];
  for (std::size_t i = 0; i < kHcallRegisters; ++i) arguments[i] = in[i];
  BusyWait busy(port, patience);
  Rc rc;
  do rc = port.hcall(op, arguments, out);
  while (busy.again(rc));
  return rc;
}

Rc call(Port& port, Hcall op, std::uint64_t r4, std::uint64_t r5, std::uint64_t r6, std::uint64_t r7,
        std::uint64_t r8) {
  const std::uint64_t in[kHcallRegisters] = {r4, r5, r6, r7, r8};
  std::uint64_t out[kHcallRegisters];
  return call(port, op, in, out);
}

}  // namespace pviommu::papr
