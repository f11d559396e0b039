// SPDX-License-Identifier: LGPL-2.1-or-later
// A flattened device tree (Devicetree Specification, chapter 5), read in place.
//
// Structure block, big-endian cells:
//
//   BEGIN_NODE name..0  { PROP length nameoff value.. }*  { node }*  END_NODE
#pragma once

#include <cstddef>
#include <cstdint>

namespace guest {

struct Property {
  const std::uint8_t* value = nullptr;
  std::uint32_t bytes = 0;
  explicit operator bool() const { return value != nullptr; }
  std::uint32_t cells() const { return bytes / 4; }
  /// Host byte order; 0 behind the end.
  std::uint32_t cell(std::uint32_t index) const;
  std::uint64_t cells2(std::uint32_t index) const {
    return std::uint64_t{cell(index)} << 32 | cell(index + 1);
  }
  bool is(const char* text) const;
};

/// Offset in the structure block; 0 is the root.
struct Node {
  std::uint32_t offset = ~0u;
  explicit operator bool() const { return offset != ~0u; }
};

class Fdt {
 public:
  /// `blob` stays where it is.  valid(): magic and version are understood.
  explicit Fdt(const void* blob) : blob_(static_cast<const std::uint8_t*>(blob)) {}
  bool valid() const;
  std::uint32_t bytes() const { return word(4); }

  Node root() const { return {0}; }
  Node first_child(Node parent) const;
  Node next_sibling(Node node) const;
  Node child(Node parent, const char* name) const;
  const char* name(Node node) const;
  Property property(Node node, const char* name) const;

 private:
  std::uint32_t word(std::uint32_t offset) const;
  std::uint32_t token(std::uint32_t offset) const { return word(word(8) + offset); }
  /// Behind the name, where properties begin.
  std::uint32_t body(Node node) const;
  /// Behind the property at `offset`.
  std::uint32_t skip_property(std::uint32_t offset) const;
  const std::uint8_t* blob_;
};

}  // namespace guest
