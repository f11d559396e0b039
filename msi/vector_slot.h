// SPDX-License-Identifier: LGPL-2.1-or-later
// One vector's way to its eventfd, without a lock.
//
// Arrivals come on the hypervisor's threads while the program masks, unmasks
// and replaces the eventfd.  All that decides about an arrival is one word:
//
//   39     24 23      8       5       4       3       2        1         0
//   +--------+--------+---+------+-------+-------+-------+---------+--------+
//   | users  | users  |   | side | level | holds | armed | pending | masked |
//   | side 1 | side 0 |   |      |       |       |       |         |        |
//   +--------+--------+---+------+-------+-------+-------+---------+--------+
//
// There are two targets.  A sender enters by adding itself to the users of the
// current side in the same compare-and-swap that decided to send, so a target
// is closed only after its side was left and its users are gone.  Each arrival
// is sent once, or found in `pending`, never both.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "hypercall/unique_fd.h"

namespace pviommu::msi {

class VectorSlot {
 public:
  enum class Arrival : std::uint8_t {
    sent,     ///< the eventfd was written
    held,     ///< pending bit set now or before
    dropped,  ///< no eventfd, and the vector is one that cannot hold
  };

  /// Begins anew.  Nobody may send to the vector at that time, and it has no eventfd.
  /// `level`: an arrival masks.  `holds`: arrivals without an eventfd stay pending.
  void start(bool level, bool holds, bool masked);

  /// An arrival.  Any thread, never blocks.
  Arrival arrive() noexcept;
  /// Writes the eventfd, masked or not; false: there is none.  Any thread, never blocks.
  bool signal() noexcept;

  // One thread at a time:

  /// Replaces the eventfd; returns when the old one is closed.  True: a held
  /// arrival was sent to the new one.
  bool arm(UniqueFd fd);
  void mask();
  /// True: a held arrival was sent.  Vectors of a level do not send but forget it, because
  /// whoever unmasks them looks at the line.
  bool unmask();
  void forget_pending();
  /// Notes an arrival for later; nothing is sent.
  void hold();

  bool masked() const { return (word_.load(std::memory_order_acquire) & kMasked) != 0; }
  bool pending() const { return (word_.load(std::memory_order_acquire) & kPending) != 0; }
  bool armed() const { return (word_.load(std::memory_order_acquire) & kArmed) != 0; }

 private:
  static constexpr std::uint64_t kMasked = 1 << 0;
  static constexpr std::uint64_t kPending = 1 << 1;
  static constexpr std::uint64_t kArmed = 1 << 2;
  static constexpr std::uint64_t kHolds = 1 << 3;
  static constexpr std::uint64_t kLevel = 1 << 4;
  static constexpr std::uint64_t kSide = 1 << 5;
  static constexpr unsigned side(std::uint64_t word) { return (word & kSide) != 0; }
  static constexpr std::uint64_t user(unsigned side) { return std::uint64_t{1} << (side == 0 ? 8 : 24); }
  static constexpr std::uint64_t users(std::uint64_t word, unsigned side) {
    return word & user(side) * 0xffff;
  }

  struct Target {
    UniqueFd fd;
    bool may_block = false;  ///< the program made it without O_NONBLOCK
  };
  void send_and_leave(unsigned side) noexcept;

  std::atomic<std::uint64_t> word_{0};
  std::array<Target, 2> targets_;
};

}  // namespace pviommu::msi
