// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupt remapping of the model: which message of which device is which
// vector, and where its arrivals go.
//
// Every vector gets a handle of 16 bits that no other vector has; the message
// carries it, the way an IOMMU's remappable format carries an index:
//
//   address  1111 1110 1110  hhhh hhhh  0000 0000 0000     h: handle 15..8
//   data     0 ... 0         hhhh hhhh                     h: handle 7..0
//
// A block of MSI vectors has consecutive handles, aligned to its size, because
// the function puts the vector's number into the low bits of the data itself.
//
// Locks: table_ (which routes exist), then Route::lock (one route's state).
// Sinks are called with both held, shared and alone: whoever holds a route's
// lock knows that no sink call is under way.  No function's lock is taken from
// here, functions call in with theirs held.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <vector>

#include "hypercall/notification.h"
#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu::model {

inline constexpr std::uint64_t kMsiWindowFirst = 0xfee00000;
inline constexpr std::uint64_t kMsiWindowLast = 0xfeefffff;

struct Message {
  std::uint64_t address = 0;
  std::uint32_t data = 0;
};

/// A vector of a guest's interrupt controller that arrivals were sent to.
struct GuestInterrupt {
  std::uint8_t gvec = 0;
  std::uint32_t gflags = 0;
  std::uint64_t count = 0;
};

/// Thread-safe.
class MsiRouting {
 public:
  MsiRouting();
  ~MsiRouting();
  MsiRouting(const MsiRouting&) = delete;
  MsiRouting& operator=(const MsiRouting&) = delete;

  /// Makes `count` routes with handles aligned to the next power of two.  Their
  /// messages are those of message().  ENOSPC: no handles left.  Where MSI-X vectors are there,
  /// those up to `count` are added; else EBUSY.
  Status allocate(Sbdf sbdf, VectorKind kind, unsigned count);
  /// EBUSY while one is bound; ENOENT: none of the kind.
  Status free(Sbdf sbdf, VectorKind kind);
  /// What the device has to write for the vector.  ENOENT: there is no such vector.
  Result<Message> message(const Vector& vector) const;
  /// Vectors of the device; `kind` is set when there are any.
  unsigned count(Sbdf sbdf, VectorKind& kind) const;

  Status bind(const Vector& vector, const Notification& notification);
  Status unbind(const Vector& vector);
  /// The hypervisor's own mask, for vectors that the function cannot mask itself.
  Status mask(const Vector& vector);
  Status unmask(const Vector& vector);
  Result<bool> pending(const Vector& vector) const;
  Status raise(const Vector& vector);
  Result<EventPort> event_port(const Vector& vector) const;

  enum class Arrival : std::uint8_t { delivered, held, unbound, unknown };
  /// A message from `source`.
  Arrival arrive(Sbdf source, std::uint64_t address, std::uint32_t data);
  /// The INTx line of `source` changed.
  void line(Sbdf source, bool asserted);

  int event_fd() const { return event_fd_.get(); }
  std::size_t read_events(std::span<EventPort> out);
  /// What arrived for a guest, for tests.
  std::vector<GuestInterrupt> guest_interrupts(Domid domid) const;

 private:
  struct Route;
  struct Block {
    VectorKind kind = VectorKind::msi;
    unsigned first = 0;  ///< handle; INTx: unused
    unsigned handles = 0;
    std::vector<std::unique_ptr<Route>> routes;
  };
  static constexpr unsigned kHandles = 1u << 16;
  static constexpr unsigned kFirstHandle = 0x20;  ///< below are the processor's exceptions

  Status grow(Block& block, Sbdf sbdf, unsigned count);  ///< table_ held
  Route* find(const Vector& vector) const;               ///< table_ held
  Arrival deliver(Route& route);            ///< the route's lock held
  void post_event(EventPort port);
  std::size_t peek_events();

  mutable std::shared_mutex table_;
  std::map<Sbdf, Block> blocks_;
  std::vector<Route*> by_handle_;
  unsigned next_handle_ = kFirstHandle;
  std::map<Sbdf, bool> lines_;  ///< levels, also while nothing is allocated
  std::mutex lines_lock_;

  // A pair of sockets: what waits is what was written to one and not yet read from the
  // other, each port once, as event channels are bits.
  UniqueFd event_fd_, post_fd_;
  std::mutex events_lock_;
  std::vector<std::uint32_t> waiting_ = std::vector<std::uint32_t>(64);

  mutable std::mutex guests_lock_;
  std::map<Domid, std::vector<GuestInterrupt>> guests_;
};

}  // namespace pviommu::model
