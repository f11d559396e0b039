// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading a ring: header, descriptor table, indirect table, each checked once when it is
// read.  Every index and length is the program's, so each loop here has a bound that the
// program cannot move: the ring's size, or the size of an indirect table.
#include "hypercall/model/devices/virtio_net_queue.h"

#include <algorithm>
#include <atomic>

namespace pviommu::model {
namespace {

constexpr std::uint16_t kNext = 1;      // VRING_DESC_F_NEXT
constexpr std::uint16_t kWrite = 2;     // VRING_DESC_F_WRITE
constexpr std::uint16_t kIndirect = 4;  // VRING_DESC_F_INDIRECT
constexpr std::uint16_t kNoInterrupt = 1;
constexpr std::uint16_t kNoNotify = 1;
constexpr std::uint64_t kDescriptorSize = 16;
constexpr std::uint64_t kUsedElementSize = 8;
constexpr std::uint64_t kRingHeader = 4;  // flags and idx

/// Flags and idx side by side, as one aligned access carries them.
struct RingHeader {
  std::uint16_t flags = 0;
  std::uint16_t index = 0;
};

template <class T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

/// A store to the ring stays before a later load from it.  A read-modify-write
/// and not a fence, which ThreadSanitizer does not know.
void full_barrier() {
  static std::atomic<unsigned> anything;
  anything.fetch_add(1, std::memory_order_seq_cst);
}

}  // namespace

void VirtioChain::clear() {
  readable.clear();
  writable.clear();
  readable_bytes = 0;
  writable_bytes = 0;
}

void VirtioQueue::set_up(std::uint32_t page_frame) {
  page_frame_ = page_frame;
  error_ = nullptr;
  next_available_ = 0;
  used_index_ = 0;
  published_ = 0;
  no_notify_ = false;
  descriptors_ = Iova(std::uint64_t{page_frame} * kAlign);
  available_ = descriptors_ + kSize * kDescriptorSize;
  // Behind ring[N] there is room for used_event, whether it is used or not.
  const std::uint64_t end = available_.raw() + kRingHeader + 2 * (kSize + 1);
  used_ = Iova((end + kAlign - 1) & ~(kAlign - 1));
}

bool VirtioQueue::stop(const char* why) {
  if (error_ == nullptr) error_ = why;
  return false;
}

bool VirtioQueue::read_available_header(std::uint16_t& flags, std::uint16_t& index) {
  RingHeader header;
  if (!port_.read(available_, bytes_of(header))) return stop("available ring cannot be read");
  flags = header.flags;
  index = header.index;
  return true;
}

unsigned VirtioQueue::waiting() {
  if (!usable()) return 0;
  std::uint16_t flags, index;
  if (!read_available_header(flags, index)) return 0;
  const auto count = static_cast<std::uint16_t>(index - next_available_);
  if (count > kSize) {
    stop("available index is more than a ring ahead");
    return 0;
  }
  return count;
}

bool VirtioQueue::peek(unsigned ahead, VirtioChain& chain) {
  chain.clear();
  if (!usable()) return false;
  const std::uint64_t slot = static_cast<std::uint16_t>(next_available_ + ahead) % kSize;
  if (!port_.read(available_ + kRingHeader + 2 * slot, bytes_of(chain.head)))
    return stop("available ring cannot be read");
  if (chain.head >= kSize) return stop("available ring names no descriptor");

  Descriptor first;
  if (!port_.read(descriptors_ + chain.head * kDescriptorSize, bytes_of(first)))
    return stop("descriptor cannot be read");
  if (!(first.flags & kIndirect)) return collect(descriptors_, kSize, chain.head, false, chain);

  // The table replaces the chain: it is its only descriptor (2.3.2.1).
  if (!indirect_allowed_) return stop("indirect descriptor without the feature");
  if (first.flags & (kNext | kWrite)) return stop("indirect descriptor with other flags");
  if (first.bytes == 0 || first.bytes % kDescriptorSize != 0 || first.bytes / kDescriptorSize > kSize)
    return stop("indirect table has a bad size");
  return collect(Iova(first.address), static_cast<std::uint32_t>(first.bytes / kDescriptorSize), 0, true,
                 chain);
}

/// Follows a chain through a table of `size` descriptors.  A chain without a
/// loop has at most as many members.
bool VirtioQueue::collect(Iova table, std::uint32_t size, std::uint16_t first, bool indirect,
                          VirtioChain& chain) {
  std::uint16_t index = first;
  for (std::uint32_t members = 0; members < size; ++members) {
    Descriptor descriptor;
    if (!port_.read(table + index * kDescriptorSize, bytes_of(descriptor)))
      return stop("descriptor cannot be read");
    if (descriptor.flags & kIndirect)
      return stop(indirect ? "indirect table within an indirect table"
                           : "indirect descriptor within a chain");
    if (!add_segment(descriptor, chain)) return false;
    if (!(descriptor.flags & kNext)) return true;
    if (descriptor.next >= size) return stop("chain leaves its table");
    index = descriptor.next;
  }
  return stop("chain has a loop");
}

bool VirtioQueue::add_segment(const Descriptor& descriptor, VirtioChain& chain) {
  if (descriptor.bytes == 0) return stop("descriptor of length 0");
  if (descriptor.address + (descriptor.bytes - 1) < descriptor.address) return stop("descriptor wraps");
  const VirtioSegment segment{Iova(descriptor.address), descriptor.bytes};
  if (descriptor.flags & kWrite) {
    chain.writable.push_back(segment);
    chain.writable_bytes += segment.bytes;
  } else {
    if (!chain.writable.empty()) return stop("readable descriptor behind a writable one");
    chain.readable.push_back(segment);
    chain.readable_bytes += segment.bytes;
  }
  return true;
}

bool VirtioQueue::copy_out(const VirtioChain& chain, std::span<std::byte> bytes) {
  for (const VirtioSegment& segment : chain.readable) {
    if (bytes.empty()) break;
    const std::size_t count = std::min<std::size_t>(segment.bytes, bytes.size());
    if (!port_.read(segment.iova, bytes.first(count))) return stop("buffer cannot be read");
    bytes = bytes.subspan(count);
  }
  return true;
}

bool VirtioQueue::copy_in(const VirtioChain& chain, std::span<const std::byte> bytes) {
  for (const VirtioSegment& segment : chain.writable) {
    if (bytes.empty()) break;
    const std::size_t count = std::min<std::size_t>(segment.bytes, bytes.size());
    if (!port_.write(segment.iova, bytes.first(count))) return stop("buffer cannot be written");
    bytes = bytes.subspan(count);
  }
  return true;
}

bool VirtioQueue::add_used(std::uint16_t head, std::uint32_t bytes_written) {
  if (!usable()) return false;
  UsedElement element{head, bytes_written};
  const std::uint64_t slot = used_index_ % kSize;
  if (!port_.write(used_ + kRingHeader + slot * kUsedElementSize, bytes_of(element)))
    return stop("used ring cannot be written");
  ++used_index_;
  return true;
}

bool VirtioQueue::publish(bool no_notify) {
  if (!usable()) return false;
  if (!unpublished() && no_notify_ == no_notify) return true;
  RingHeader header{no_notify ? kNoNotify : std::uint16_t{0}, used_index_};
  if (!port_.write(used_, bytes_of(header))) return stop("used ring cannot be written");
  published_ = used_index_;
  no_notify_ = no_notify;
  full_barrier();
  return true;
}

bool VirtioQueue::wants_interrupt() {
  std::uint16_t flags, index;
  return usable() && read_available_header(flags, index) && !(flags & kNoInterrupt);
}

}  // namespace pviommu::model
