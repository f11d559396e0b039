// SPDX-License-Identifier: LGPL-2.1-or-later
// The VFIO ioctls in tables: {request, smallest argsz, allowed flags, function}.
//
// The ABI is parsed here and nowhere else.  Every VFIO structure begins with
// argsz, most go on with flags; the dispatcher copies the smallest structure in,
// refuses a short argsz and unknown flags, and calls a typed function.  A function
// returns a Status, which is 0 for the program when it is good, or a Result<long>
// where the ioctl has a number of its own; File::answer() makes errno of errors.
//
// Order of the checks, as in Linux: EFAULT (cannot read the smallest structure),
// EINVAL (argsz or flags), then the call's own.
#pragma once

#include <linux/vfio.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

#include "vfio-glue/engine/file.h"

namespace pviommu::vfio {

/// One ioctl under way.
struct Call {
  Client& client;
  std::uint64_t argument;  ///< as the program gave it: a number or an address

  /// Copies `value` back over the front of the program's structure.  EFAULT.
  template <class T>
  Status reply(const T& value, std::size_t bytes = sizeof(T)) const {
    return client.copy_out(argument, &value, bytes);
  }
};

/// For structures without a flags field, or whose flags the function judges.
inline constexpr std::uint32_t kAnyFlags = ~std::uint32_t{0};

template <class Object>
struct IoctlEntry {
  std::uint32_t request = 0;
  std::uint32_t min_size = 0;  ///< 0: the argument is not a structure
  std::uint32_t flags = 0;     ///< allowed bits of the second word
  Result<long> (*function)(Object& object, const Call& call, void* structure) = nullptr;
};

/// Largest smallest structure (vfio_iommu_type1_dma_map).
inline constexpr std::size_t kMaxMinSize = 64;

/// Adapts a member function taking its structure: `entry<&Container::map_dma>(...)`.
template <auto Member>
struct Bound;
template <class Answer, class Object, class Structure, Answer (Object::*Member)(const Call&, Structure&)>
struct Bound<Member> {
  static constexpr IoctlEntry<Object> entry(std::uint32_t request, std::uint32_t min_size, std::uint32_t flags) {
    static_assert(sizeof(Structure) <= kMaxMinSize && alignof(Structure) <= 8);
    return {request, min_size, flags, [](Object& object, const Call& call, void* structure) {
              return number_of((object.*Member)(call, *static_cast<Structure*>(structure)));
            }};
  }
};
template <class Answer, class Object, Answer (Object::*Member)(const Call&)>
struct Bound<Member> {
  static constexpr IoctlEntry<Object> entry(std::uint32_t request) {
    return {request, 0, kAnyFlags,
            [](Object& object, const Call& call, void*) { return number_of((object.*Member)(call)); }};
  }
};

/// VFIO numbers are dense from VFIO_BASE, so that a table is indexed by them.
inline constexpr std::size_t kTableSize = 24;
template <class Object>
using IoctlTable = std::array<IoctlEntry<Object>, kTableSize>;

constexpr std::size_t ioctl_slot(std::uint32_t request) { return request - _IO(VFIO_TYPE, VFIO_BASE); }

template <class Object, std::size_t N>
consteval IoctlTable<Object> make_table(const IoctlEntry<Object> (&entries)[N]) {
  IoctlTable<Object> table{};
  for (const auto& entry : entries) {
    auto& place = table[ioctl_slot(entry.request)];
    if (place.function) throw "two functions for one ioctl";
    place = entry;
  }
  return table;
}

/// `unknown` is the errno for a number without an entry.
template <class Object>
Result<long> dispatch(const IoctlTable<Object>& table, Object& object, Client& client, std::uint32_t request,
                      std::uint64_t argument, int unknown) {
  const std::size_t slot = ioctl_slot(request);
  if (slot >= kTableSize || !table[slot].function) return Error{unknown, "ioctl without an entry"};
  const auto& entry = table[slot];
  const Call call{client, argument};
  // Zeroed: a structure may be larger than its smallest form.
  alignas(8) std::byte structure[kMaxMinSize] = {};
  if (entry.min_size) {
    PVIOMMU_TRY(client.copy_in(structure, argument, entry.min_size));
    std::uint32_t head[2];
    std::memcpy(head, structure, sizeof head);
    if (head[0] < entry.min_size || (head[1] & ~entry.flags)) return Error{EINVAL, "argsz or flags of an ioctl"};
  }
  return entry.function(object, call, structure);
}

}  // namespace pviommu::vfio
