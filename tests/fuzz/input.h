// SPDX-License-Identifier: LGPL-2.1-or-later
// Decodes the bytes of a fuzzer's input into values.  An input that is at its end gives zeroes, so that every
// prefix of an input is an input.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace pviommu::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t bytes) : at_(data), end_(data + bytes) {}

  bool empty() const { return at_ == end_; }
  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }

  template <class T>
  T raw() {
    T value{};
    const std::size_t bytes = std::min(sizeof value, left());
    std::memcpy(&value, at_, bytes);
    at_ += bytes;
    return value;
  }
  std::uint8_t byte() { return raw<std::uint8_t>(); }
  std::uint32_t word() { return raw<std::uint32_t>(); }
  std::uint64_t quad() { return raw<std::uint64_t>(); }
  unsigned below(unsigned limit) { return byte() % limit; }
  bool one_in(unsigned n) { return byte() % n == n - 1; }
  template <class T>
  T of(std::initializer_list<T> choices) {
    return choices.begin()[byte() % choices.size()];
  }
  /// Up to `bytes` bytes; the rest of `to` is left as it is.
  void fill(void* to, std::size_t bytes) {
    bytes = std::min(bytes, left());
    std::memcpy(to, at_, bytes);
    at_ += bytes;
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

}  // namespace pviommu::fuzz
