// SPDX-License-Identifier: LGPL-2.1-or-later
// Submission and completion queues: rings in the program's memory.
//
//   submission queue: the program moves the tail (doorbell), we move the head
//   completion queue: we move the tail, the program moves the head (doorbell)
//
// A ring of n entries holds n - 1: full is "tail + 1 == head" (NVMe 1.4, 4.1.2).
#pragma once

#include <cstdint>

#include "hypercall/strong.h"

namespace pviommu::model::nvme {

struct Ring {
  bool live = false;
  Iova base{};
  std::uint16_t id = 0;
  std::uint32_t size = 0;  ///< entries
  std::uint32_t head = 0;
  std::uint32_t tail = 0;
  std::uint32_t doorbell = 0;  ///< what the doorbell register held when last looked at

  std::uint32_t used() const { return tail >= head ? tail - head : size - head + tail; }
  std::uint32_t room() const { return size - 1 - used(); }
  std::uint32_t after(std::uint32_t index, std::uint32_t n) const {
    index += n;
    return index >= size ? index - size : index;
  }
};

struct SubmissionQueue : Ring {
  std::uint16_t cqid = 0;

  /// Takes a doorbell value; false when no entry has that number.
  bool set_tail(std::uint32_t value) {
    if (value >= size) return false;
    tail = value;
    return true;
  }
  /// Entries that can be read in one piece.
  std::uint32_t contiguous() const { return tail >= head ? tail - head : size - head; }
};

struct CompletionQueue : Ring {
  std::uint16_t vector = 0;
  bool interrupts = false;
  bool phase = true;  ///< tag of the next entry; the ring starts zeroed
  std::uint32_t users = 0;  ///< submission queues that complete here

  /// Takes a doorbell value; false when it would free entries that hold nothing.
  bool set_head(std::uint32_t value) {
    if (value >= size) return false;
    const std::uint32_t freed = value >= head ? value - head : size - head + value;
    if (freed > used()) return false;
    head = value;
    return true;
  }
  /// Not across the end of the ring.
  void advance_tail(std::uint32_t n) {
    tail = after(tail, n);
    if (tail == 0) phase = !phase;
  }
};

}  // namespace pviommu::model::nvme
