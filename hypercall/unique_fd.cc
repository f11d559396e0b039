// SPDX-License-Identifier: LGPL-2.1-or-later
// The table of our descriptors: one bit each, without a lock.
#include "hypercall/unique_fd.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace pviommu {
namespace {

// One bit a descriptor.  Numbers beyond the table are not protected: a process
// that raised RLIMIT_NOFILE so far does not close blindly up to it.
constexpr int kTracked = 1 << 20;
constinit std::array<std::atomic<std::uint32_t>, kTracked / 32> internal{};

void mark(int fd, bool ours) {
  if (fd < 0 || fd >= kTracked) return;
  const std::uint32_t bit = std::uint32_t{1} << (fd % 32);
  if (ours)
    internal[fd / 32].fetch_or(bit, std::memory_order_relaxed);
  else
    internal[fd / 32].fetch_and(~bit, std::memory_order_relaxed);
}

}  // namespace

bool is_internal_fd(int fd) {
  return fd >= 0 && fd < kTracked &&
         (internal[fd / 32].load(std::memory_order_relaxed) >> (fd % 32) & 1) != 0;
}

int next_internal_fd(int from) {
  if (from < 0) from = 0;
  for (int word = from / 32; word < kTracked / 32; ++word) {
    std::uint32_t bits = internal[word].load(std::memory_order_relaxed);
    if (word == from / 32) bits &= ~std::uint32_t{0} << (from % 32);
    if (bits != 0) return word * 32 + std::countr_zero(bits);
  }
  return -1;
}

int UniqueFd::release() {
  mark(fd_, false);
  return std::exchange(fd_, -1);
}

void UniqueFd::reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old >= 0) {
    mark(old, false);  // before the number can be handed out again
    ::syscall(SYS_close, old);
  }
  mark(fd, true);
}

}  // namespace pviommu
