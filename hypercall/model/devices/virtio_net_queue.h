// SPDX-License-Identifier: LGPL-2.1-or-later
// A split virtqueue, from the device's side (virtio 0.9.5, chapter 2.3).
//
//   base                 descriptors   16 bytes each: address 8, length 4, flags 2, next 2
//   base + 16 N          available     flags 2, idx 2, ring[N] of 2
//   next page            used          flags 2, idx 2, ring[N] of {id 4, length 4}
//
// Everything in it is written by the program, which may be wrong or hostile:
// each value is read once, checked, and then used.  A ring that breaks a rule, or
// that the bus refuses, is stopped: error() says why, nothing is looked at any
// more until the driver sets it up again.
//
// Not thread safe; the device's lock covers it.  Rings are in the byte order of
// the machine, as the legacy interface has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu::model {

/// The device's way to memory.
class DmaPort {
 public:
  virtual Status read(Iova iova, std::span<std::byte> out) = 0;
  virtual Status write(Iova iova, std::span<const std::byte> in) = 0;

 protected:
  ~DmaPort() = default;
};

struct VirtioSegment {
  Iova iova;
  std::uint32_t bytes = 0;
};

/// One request: what the device may read, then what it may write.
struct VirtioChain {
  std::uint16_t head = 0;
  std::vector<VirtioSegment> readable;
  std::vector<VirtioSegment> writable;
  std::uint64_t readable_bytes = 0;
  std::uint64_t writable_bytes = 0;

  void clear();
};

class VirtioQueue {
 public:
  static constexpr std::uint16_t kSize = 256;
  static constexpr std::uint64_t kAlign = 4096;

  explicit VirtioQueue(DmaPort& port) : port_(port) {}

  /// A new ring; page frame number 0 takes it away.
  void set_up(std::uint32_t page_frame);
  std::uint32_t page_frame() const { return page_frame_; }
  /// Set up and not stopped.
  bool usable() const { return page_frame_ != 0 && error_ == nullptr; }
  /// Why it was stopped, null while it was not.
  const char* error() const { return error_; }

  /// Whether drivers may use indirect descriptors (was negotiated).
  void allow_indirect(bool allowed) { indirect_allowed_ = allowed; }

  /// Requests that wait, the taken ones not counted.  0 when not usable.
  unsigned waiting();
  /// Reads the request `ahead` places behind the next one without taking it.
  /// `ahead` is less than what waiting() said.
  bool peek(unsigned ahead, VirtioChain& chain);
  /// Takes `count` requests that were peeked at.
  void take(unsigned count) { next_available_ = static_cast<std::uint16_t>(next_available_ + count); }

  /// Copies from / to the request, up to the size of `bytes`.
  bool copy_out(const VirtioChain& chain, std::span<std::byte> bytes);
  bool copy_in(const VirtioChain& chain, std::span<const std::byte> bytes);

  /// Writes a used element, not yet visible to the driver.
  bool add_used(std::uint16_t head, std::uint32_t bytes_written);
  /// Elements added and not published yet.
  bool unpublished() const { return published_ != used_index_; }
  /// Makes all used elements visible, in one store with the flag that asks the
  /// driver for no notifications.  Does nothing when nothing changed.
  bool publish(bool no_notify);
  /// True when the driver wants an interrupt for what was published.
  bool wants_interrupt();

  /// Stops the queue.  Returns false, for the caller to return.
  bool stop(const char* why);

 private:
  struct Descriptor {
    std::uint64_t address = 0;
    std::uint32_t bytes = 0;
    std::uint16_t flags = 0;
    std::uint16_t next = 0;
  };
  struct UsedElement {
    std::uint32_t id = 0;
    std::uint32_t bytes = 0;
  };

  bool read_available_header(std::uint16_t& flags, std::uint16_t& index);
  bool collect(Iova table, std::uint32_t size, std::uint16_t first, bool indirect, VirtioChain& chain);
  bool add_segment(const Descriptor& descriptor, VirtioChain& chain);

  DmaPort& port_;
  bool indirect_allowed_ = false;
  const char* error_ = nullptr;
  std::uint32_t page_frame_ = 0;
  Iova descriptors_;
  Iova available_;
  Iova used_;
  std::uint16_t next_available_ = 0;  ///< free running, as are all ring indices
  std::uint16_t used_index_ = 0;      ///< elements written
  std::uint16_t published_ = 0;       ///< elements the driver can see
  bool no_notify_ = false;            ///< flag the driver can see
};

}  // namespace pviommu::model
