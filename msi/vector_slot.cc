// SPDX-License-Identifier: LGPL-2.1-or-later
// All of a slot's state is one atomic word (vector_slot.h): an arrival is one compare and
// exchange and one write() to the eventfd of the side that the word names.  Replacing an
// eventfd fills the side that nobody uses, switches the word, and waits until the old side is
// left.
#include "msi/vector_slot.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <utility>

namespace pviommu::msi {
namespace {

void add_one(int fd, bool may_block) noexcept {
  // A counter full up to 2^64 - 2 makes a blocking write wait.  Only the program
  // itself can fill it so; as in the kernel the arrival is then merged.
  if (may_block) {
    struct pollfd room {
      fd, POLLOUT, 0
    };
    if (::poll(&room, 1, 0) == 0) return;
  }
  const std::uint64_t one = 1;
  while (::write(fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

}  // namespace

void VectorSlot::start(bool level, bool holds, bool masked) {
  word_.store((level ? kLevel : 0) | (holds ? kHolds : 0) | (masked ? kMasked : 0),
              std::memory_order_release);
}

void VectorSlot::send_and_leave(unsigned side) noexcept {
  const Target& target = targets_[side];
  add_one(target.fd.get(), target.may_block);
  word_.fetch_sub(user(side), std::memory_order_release);
}

VectorSlot::Arrival VectorSlot::arrive() noexcept {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  for (;;) {
    std::uint64_t next = word;
    Arrival arrival = Arrival::sent;
    if ((word & kMasked) != 0 || (word & (kArmed | kHolds)) == kHolds) {
      next |= kPending;
      arrival = Arrival::held;
    } else if ((word & kArmed) == 0) {
      if ((word & kLevel) == 0) return Arrival::dropped;
      next |= kMasked;
      arrival = Arrival::dropped;
    } else {
      next += user(side(word));
      if ((word & kLevel) != 0) next |= kMasked;
    }
    if (word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed)) {
      if (arrival == Arrival::sent) send_and_leave(side(word));
      return arrival;
    }
  }
}

bool VectorSlot::signal() noexcept {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  do {
    if ((word & kArmed) == 0) return false;
  } while (!word_.compare_exchange_weak(word, word + user(side(word)), std::memory_order_acq_rel,
                                        std::memory_order_relaxed));
  send_and_leave(side(word));
  return true;
}

bool VectorSlot::arm(UniqueFd fd) {
  std::uint64_t word = word_.load(std::memory_order_acquire);
  const unsigned old_side = side(word);
  const unsigned new_side = old_side ^ 1;
  // Nobody uses the other side: the last arm() waited for that.
  Target& target = targets_[new_side];
  if (fd) {
    const int flags = ::fcntl(fd.get(), F_GETFL);
    target.may_block = flags < 0 || (flags & O_NONBLOCK) == 0;
  }
  target.fd = std::move(fd);

  bool send = false;
  std::uint64_t next;
  do {
    next = (word ^ kSide) & ~kArmed;
    if (target.fd) next |= kArmed;
    send = target.fd && (word & (kMasked | kPending)) == kPending;
    if (send) {
      next = (next & ~kPending) + user(new_side);
      if ((word & kLevel) != 0) next |= kMasked;
    }
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_acquire));
  if (send) send_and_leave(new_side);

  // Whoever is still on the old side is in one write() that does not block.
  while (users(word_.load(std::memory_order_acquire), old_side) != 0) ::sched_yield();
  targets_[old_side].fd.reset();
  return send;
}

void VectorSlot::mask() { word_.fetch_or(kMasked, std::memory_order_acq_rel); }

bool VectorSlot::unmask() {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  bool send = false;
  std::uint64_t next;
  do {
    next = word & ~kMasked;
    // A level is forgotten, and so is an edge that has no eventfd and cannot be held.
    const bool keep = (word & (kLevel | kArmed | kHolds)) == kHolds;
    send = (word & kPending) != 0 && (word & (kLevel | kArmed)) == kArmed;
    if (!keep) next &= ~kPending;
    if (send) next += user(side(word));
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed));
  if (send) send_and_leave(side(word));
  return send;
}

void VectorSlot::forget_pending() { word_.fetch_and(~kPending, std::memory_order_acq_rel); }

void VectorSlot::hold() { word_.fetch_or(kPending, std::memory_order_acq_rel); }

}  // namespace pviommu::msi
