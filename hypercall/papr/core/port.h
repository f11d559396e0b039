// SPDX-License-Identifier: LGPL-2.1-or-later
// How the core reaches a hypervisor.
//
//   TceWindow, Xics, Xive, ... ---> Port ---> `sc 1` of a freestanding program
//                                        +--> a character device of the kernel
//                                        +--> the model of the unit tests
//   DynamicWindows, RtasMsi ------> RtasPort
//
// A Port is used by one caller at a time, as its user is.
#pragma once

#include "hypercall/papr/core/hcall.h"

namespace pviommu::papr {

/// The passing of time, which a core without a clock has to ask for.
class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  /// Lets about so much time go by; 0: as little as makes sense.
  virtual void wait(std::uint32_t milliseconds) = 0;

 protected:
  ~Waiter() = default;  // never owned through this type
};

class Port : public Waiter {
 public:
  /// Makes the hcall once: in[0..8] go to r4..r12, which come back in out[0..8].
  /// `in` and `out` may be the same array.  Answers with r3, busy ones included.
  /// What keeps the call from being made at all is an answer too: kHardware.
  virtual Rc hcall(Hcall op, const std::uint64_t in[kHcallRegisters], std::uint64_t out[kHcallRegisters]) = 0;

  /// H_PUT_TCE_INDIRECT once, for `count` entries (1 to kTcesPerCall) from `ioba` on.
  /// The words are in this program's byte order; the port writes them into a page
  /// that it owns, big endian, and names that page to the hypervisor.
  virtual Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) = 0;

 protected:
  ~Port() = default;
};

/// How long busy answers are followed.  There is no clock in the core: what was
/// waited is the sum of what Port::wait() was asked for.
struct Patience {
  std::uint32_t busy_tries = 1000;    ///< H_BUSY answers
  std::uint32_t milliseconds = 5000;  ///< all long waits together
};

/// Follows the busy answers of one call.
///
///   BusyWait busy(port);  // any Waiter
///   do rc = port.hcall(...); while (busy.again(rc));
///
/// Bounded: the last wait is cut to what is left of the patience, and then the
/// busy answer stands.
class BusyWait {
 public:
  explicit BusyWait(Waiter& waiter, const Patience& patience = {}) : waiter_(waiter), left_(patience) {}
  /// True after a wait when the call is to be made again.
  bool again(Rc rc);

 private:
  Waiter& waiter_;
  Patience left_;
};

/// Port::hcall() until the answer is not busy, or patience is over.
Rc call(Port& port, Hcall op, const std::uint64_t in[kHcallRegisters], std::uint64_t out[kHcallRegisters],
        const Patience& patience = {});
/// The same for calls of which only the answer is of interest.
Rc call(Port& port, Hcall op, std::uint64_t r4 = 0, std::uint64_t r5 = 0, std::uint64_t r6 = 0,
        std::uint64_t r7 = 0, std::uint64_t r8 = 0);

}  // namespace pviommu::papr
