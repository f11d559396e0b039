// SPDX-License-Identifier: LGPL-2.1-or-later
// The PCI bus of a guest, as far as a function on it is ours to answer for.
//
//   guest: config access, access to a trapped page --> hypervisor --> GuestBus::serve()
//                                                                         |
//                                                     GuestFunction <-----+
//
// All else of the function (its memory, its interrupts, its DMA) the guest has
// without us: Spaces::map() and Interrupts::bind_vector().
#pragma once

#include <cstddef>
#include <cstdint>

#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

/// What answers.  Called by GuestBus::serve(), one access at a time.
class GuestFunction {
 public:
  /// `width` 1, 2 or 4, inside one aligned double word.
  virtual std::uint32_t config_read(std::size_t offset, unsigned width) = 0;
  virtual void config_write(std::size_t offset, unsigned width, std::uint32_t value) = 0;
  /// An address inside a trapped range; `width` 1, 2, 4 or 8.
  virtual std::uint64_t memory_read(Iova address, unsigned width) = 0;
  virtual void memory_write(Iova address, unsigned width, std::uint64_t value) = 0;

 protected:
  ~GuestFunction() = default;
};

/// One function on the bus of one guest.  Not thread-safe, except stop().
class GuestBus {
 public:
  GuestBus() = default;
  GuestBus(const GuestBus&) = delete;
  GuestBus& operator=(const GuestBus&) = delete;
  virtual ~GuestBus() = default;  ///< the function is gone; the guest reads all ones

  virtual Domid guest() const = 0;
  /// `function` answers at `place` from now on; it outlives the bus.  EBUSY: something else does.
  virtual Status add(Sbdf place, GuestFunction& function) = 0;
  /// Accesses of the guest to the range come to the function.
  virtual Status trap(const IovaRange& range) = 0;
  virtual Status untrap(const IovaRange& range) = 0;

  enum class End : std::uint8_t { stopped, guest_gone };
  /// Answers accesses until `stop_fd` is readable or the guest has ended (shut down,
  /// crashed, destroyed; a reboot is an end of this guest, too).
  virtual Result<End> serve(int stop_fd) = 0;
};

}  // namespace pviommu
