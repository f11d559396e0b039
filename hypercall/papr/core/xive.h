// SPDX-License-Identifier: LGPL-2.1-or-later
// XIVE, the interrupt controller from POWER9 on, in its exploitation mode: events
// arrive in a queue in memory, and a source has two bits of state.
//
//   source  P Q            event queue of (server, priority), big endian
//     0 0  idle            | G | number 30..0 |  G flips with every turn of the
//     1 0  event sent      | G | number 30..0 |  queue and starts at 1
//     1 1  and one more
//     0 1  off: drops
//
// An end of interrupt turns 10 into 00, and 11 into 10 with a new event.  Masking
// uses the same bits: 10 without an event keeps the next one, and the end of
// interrupt that unmasks lets it out.
//
// Used by a program that is its own operating system: the guest of the rig, and unit tests.
#pragma once

#include "hypercall/papr/core/port.h"

namespace pviommu::papr {

/// What H_INT_GET_SOURCE_INFO says.
struct XiveSourceInfo {
  std::uint64_t flags = 0;
  RealAddress management_page;  ///< all ones: by H_INT_ESB only
  RealAddress trigger_page;
  std::uint64_t page_shift = 0;
  bool level() const { return (flags & 4) != 0; }
};

/// Hcalls about queues.
class Xive {
 public:
  explicit Xive(Port& port) : port_(port) {}
  Rc source_info(Lisn source, XiveSourceInfo& info);
  /// Sends the source's events to (server, priority) with `number` (31 bits).
  Rc set_source(Lisn source, std::uint32_t server, std::uint8_t priority, std::uint32_t number);
  /// The source's events go nowhere.
  Rc reset_source(Lisn source);
  Rc get_source(Lisn source, std::uint32_t& server, std::uint8_t& priority, std::uint32_t& number);
  /// 2^shift bytes, zeroed, aligned to their size; shift 12, 16, 21 or 24.
  Rc set_queue(std::uint32_t server, std::uint8_t priority, RealAddress memory, unsigned shift);
  Rc reset_queue(std::uint32_t server, std::uint8_t priority);
  /// All events under way have arrived when it returns.
  Rc sync(Lisn source);

 private:
  Port& port_;
};

/// One source's bits, by H_INT_ESB.
class XiveSource {
 public:
  XiveSource(Port& port, Lisn lisn) : port_(&port), lisn_(lisn) {}
  Lisn lisn() const { return lisn_; }

  /// From "off", as a new source is, to idle.
  Rc enable();
  /// Drops everything.
  Rc disable();
  /// Events are kept (one of them) from here on.  Idempotent.
  Rc mask();
  /// A kept event comes now.  Idempotent.
  Rc unmask();
  /// After an event was taken from the queue.  While masked it is left to unmask().
  Rc eoi();

 private:
  Rc load(std::uint64_t offset, std::uint64_t& value);
  Port* port_;
  Lisn lisn_;
  bool masked_ = false;
};

/// The reading side of an event queue.
class XiveQueue {
 public:
  /// `memory` is what set_queue() was given, as this program sees it.
  XiveQueue(const volatile std::uint32_t* memory, unsigned shift)
      : memory_(memory), mask_((std::uint32_t{1} << (shift - 2)) - 1) {}
  /// Takes the next event; false: there is none.
  bool next(std::uint32_t& number);

 private:
  const volatile std::uint32_t* memory_;
  const std::uint32_t mask_;  ///< entries - 1
  std::uint32_t at_ = 0;
  std::uint32_t generation_ = 1;
};

/// ibm,client-architecture-support through the hcall that KVM and QEMU have for it:
/// asks for XIVE and nothing else.  `page` is 4 KiB of zeroed memory at `real`; `tree`
/// gets the changed device tree behind an 8-byte header.  `pvr`: this processor.
Rc ask_for_xive(Port& port, std::uint8_t* page, RealAddress real, std::uint32_t pvr, RealAddress tree,
                std::uint64_t tree_bytes);

}  // namespace pviommu::papr
