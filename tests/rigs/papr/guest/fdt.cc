// SPDX-License-Identifier: LGPL-2.1-or-later
// Walking the structure block; nothing is copied and nothing is allocated.
#include "tests/rigs/papr/guest/fdt.h"

#include "tests/rigs/papr/guest/runtime.h"

namespace guest {
namespace {

enum : std::uint32_t { kBeginNode = 1, kEndNode = 2, kProperty = 3, kNop = 4 };

std::uint32_t big(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}
constexpr std::uint32_t padded(std::uint32_t bytes) { return (bytes + 3) & ~3u; }

}  // namespace

std::uint32_t Property::cell(std::uint32_t index) const {
  return index < cells() ? big(value + std::size_t{4} * index) : 0;
}

bool Property::is(const char* text) const {
  return value != nullptr && bytes == __builtin_strlen(text) + 1 &&
         equal(reinterpret_cast<const char*>(value), text);
}

std::uint32_t Fdt::word(std::uint32_t offset) const { return big(blob_ + offset); }

bool Fdt::valid() const { return word(0) == 0xd00dfeed && word(20) >= 16 && word(24) <= 17; }

const char* Fdt::name(Node node) const {
  return reinterpret_cast<const char*>(blob_ + word(8) + node.offset + 4);
}

std::uint32_t Fdt::body(Node node) const {
  return node.offset + 4 + padded(static_cast<std::uint32_t>(__builtin_strlen(name(node))) + 1);
}

std::uint32_t Fdt::skip_property(std::uint32_t offset) const {
  return offset + 12 + padded(token(offset + 4));
}

Node Fdt::first_child(Node parent) const {
  for (std::uint32_t at = body(parent);;) switch (token(at)) {
      case kProperty:
        at = skip_property(at);
        break;
      case kNop:
        at += 4;
        break;
      case kBeginNode:
        return {at};
      default:
        return {};
    }
}

Node Fdt::next_sibling(Node node) const {
  std::uint32_t at = body(node);
  for (unsigned depth = 1;;) switch (token(at)) {
      case kProperty:
        at = skip_property(at);
        break;
      case kNop:
        at += 4;
        break;
      case kBeginNode:
        if (depth == 0) return {at};
        ++depth;
        at = body({at});
        break;
      case kEndNode:
        if (depth == 0) return {};
        --depth;
        at += 4;
        break;
      default:
        return {};
    }
}

Node Fdt::child(Node parent, const char* wanted) const {
  for (Node node = first_child(parent); node; node = next_sibling(node))
    if (equal(name(node), wanted)) return node;
  return {};
}

Property Fdt::property(Node node, const char* wanted) const {
  for (std::uint32_t at = body(node);;) switch (token(at)) {
      case kProperty:
        if (equal(reinterpret_cast<const char*>(blob_ + word(12) + token(at + 8)), wanted))
          return {blob_ + word(8) + at + 12, token(at + 4)};
        at = skip_property(at);
        break;
      case kNop:
        at += 4;
        break;
      default:
        return {};
    }
}

}  // namespace guest
