// SPDX-License-Identifier: LGPL-2.1-or-later
// Structures of the ABI as bytes, and what a call changed in them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace differential {

class Fields {
 public:
  Fields& u32(std::uint64_t value) { return put(static_cast<std::uint32_t>(value)); }
  Fields& u64(std::uint64_t value) { return put(value); }
  Fields& fill(std::size_t count, std::uint8_t value) {
    bytes_.insert(bytes_.end(), count, value);
    return *this;
  }
  Fields& append(const Fields& other) { return append(other.bytes_); }
  Fields& append(const std::vector<std::uint8_t>& more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  template <class T>
  Fields& put(T value) {
    const auto* raw = reinterpret_cast<const std::uint8_t*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
    return *this;
  }
  std::vector<std::uint8_t> bytes_;
};

std::string hex_bytes(const std::uint8_t* bytes, std::size_t count);
std::vector<std::uint8_t> bytes_of(const std::string& text);
/// " OFFSET:BYTES" for each stretch that is not as it was.
std::string changes(const std::uint8_t* before, const std::uint8_t* now, std::size_t count);
/// PCI address of edu to edu4, nvme, e1000e; anything else as it is.
std::string address_of(const std::string& device);
/// Number of a device's group, from sysfs.
std::string group_of(const std::string& device);

}  // namespace differential
