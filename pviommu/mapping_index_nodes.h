// SPDX-License-Identifier: LGPL-2.1-or-later
// The nodes of a MappingIndex and how they are searched.  For its own files only.
//
//   IndexInner   keys[64]: bounds | children[64]
//   IndexLeaf    keys[64]: first page, length, slot | prev, next | records[64]
//
// A search touches one array of 64 keys in each node, and a record only in the end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "pviommu/mapping_index.h"

namespace pviommu {
namespace detail {

constexpr unsigned kLeafEntries = 64;
constexpr unsigned kFanout = 64;
// A node is merged with a neighbour when it has become small and both fit with
// some room left, so that the next insertion does not split again.
constexpr unsigned kLeafSmall = kLeafEntries * 3 / 8;
constexpr unsigned kLeafMerged = kLeafEntries * 7 / 8;
constexpr unsigned kInnerSmall = 20;
constexpr unsigned kInnerMerged = 56;

// Unused keys hold this.  No key in use equals it, so that a search can always
// take the same number of steps.
constexpr std::uint64_t kNoKey = ~std::uint64_t{0};

// A leaf's key, one word so that an insertion moves one array:
//
//   63                    12 11      6 5      0
//   | first page of mapping |  length |  slot  |
//
// slot    where in records[] the mapping lies
// length  its pages, kLong for that many and more: most questions about an end
//         are answered without a cache miss in records[]
constexpr std::uint64_t kLong = 62;
constexpr unsigned kLengthShift = 6;
/// What a search for an address compares with: above all keys of that page, below kNoKey.
constexpr std::uint64_t search_key(std::uint64_t iova) { return (iova | (kPageSize - 1)) - 1; }
static_assert(kLeafEntries <= 64);

struct alignas(64) IndexLeaf {
  std::uint64_t keys[kLeafEntries];
  IndexLeaf* prev;
  IndexLeaf* next;
  std::uint64_t free_slots;  ///< bit n: records[n] is unused
  std::uint32_t count;
  std::uint32_t warm_slot;  ///< the slot freed last: its cache line is at hand
  MappingRecord records[kLeafEntries];

  MappingRecord& record(unsigned i) { return records[keys[i] % 64]; }
  std::uint64_t first(unsigned i) const { return keys[i] & ~(kPageSize - 1); }
  std::uint64_t last(unsigned i) {
    std::uint64_t pages = keys[i] >> kLengthShift & 63;
    if (pages == kLong) pages = record(i).pages;
    return first(i) + ((pages << kPageShift) - 1);
  }
  static std::uint64_t key_of(std::uint64_t first, std::uint64_t pages, unsigned slot) {
    return first | std::min(pages, kLong) << kLengthShift | slot;
  }

  void put(unsigned i, std::uint64_t first, const MappingRecord& record) {
    const bool warm = free_slots >> warm_slot & 1;
    const unsigned slot = warm ? warm_slot : static_cast<unsigned>(std::countr_zero(free_slots));
    free_slots &= ~(std::uint64_t{1} << slot);
    std::memmove(keys + i + 1, keys + i, (count - i) * sizeof keys[0]);
    keys[i] = key_of(first, record.pages, slot);
    records[slot] = record;
    ++count;
  }
  void drop(unsigned i) {
    warm_slot = static_cast<std::uint32_t>(keys[i] % 64);
    free_slots |= std::uint64_t{1} << warm_slot;
    --count;
    std::memmove(keys + i, keys + i + 1, (count - i) * sizeof keys[0]);
    keys[count] = kNoKey;
  }
  /// Moves the entries [from, count) to the front of `to`.
  void give_back_part(unsigned from, IndexLeaf& to) {
    const unsigned n = count - from;
    std::memmove(to.keys + n, to.keys, to.count * sizeof keys[0]);
    move_entries(from, n, to, 0);
    count = from;
    forget_unused_keys();
  }
  /// Moves the entries [0, n) to the back of `to`.
  void give_front_part(unsigned n, IndexLeaf& to) {
    move_entries(0, n, to, to.count);
    count -= n;
    std::memmove(keys, keys + n, count * sizeof keys[0]);
    forget_unused_keys();
  }
  void forget_unused_keys() {
    for (unsigned i = count; i < kLeafEntries; ++i) keys[i] = kNoKey;
  }

 private:
  void move_entries(unsigned from, unsigned n, IndexLeaf& to, unsigned at) {
    for (unsigned i = 0; i < n; ++i) {
      const unsigned slot = static_cast<unsigned>(std::countr_zero(to.free_slots));
      to.free_slots &= to.free_slots - 1;
      const MappingRecord& moved = record(from + i);
      to.keys[at + i] = key_of(first(from + i), moved.pages, slot);
      to.records[slot] = moved;
      free_slots |= std::uint64_t{1} << keys[from + i] % 64;
    }
    to.count += n;
  }
};

/// children[i] holds the keys in [keys[i], keys[i + 1]); keys[0] is not looked at.
struct alignas(64) IndexInner {
  std::uint64_t keys[kFanout];
  void* children[kFanout];
  std::uint32_t count;

  void forget_unused_keys() {
    for (unsigned i = count; i < kFanout; ++i) keys[i] = kNoKey;
  }
};

/// How many of 64 ascending keys are <= key, for a key below kNoKey.  Two rounds
/// of eight comparisons that do not wait for each other: a binary search has
/// fewer, but each waits for the one before.
inline unsigned count_up_to(const std::uint64_t* keys, std::uint64_t key) {
  static_assert(kLeafEntries == 64 && kFanout == 64);
  unsigned eights = 0;
  for (unsigned i = 7; i < 63; i += 8) eights += keys[i] <= key ? 1 : 0;
  const std::uint64_t* eight = keys + 8 * eights;
  unsigned rest = 0;
  for (unsigned i = 0; i < 8; ++i) rest += eight[i] <= key ? 1 : 0;
  return 8 * eights + rest;
}

inline unsigned upper_bound(const IndexLeaf& leaf, std::uint64_t key) {
  return count_up_to(leaf.keys, search_key(key));
}

inline unsigned child_of(const IndexInner& inner, std::uint64_t key) {
  // keys[0] is not a bound: it counts as below every key.
  const unsigned position = count_up_to(inner.keys, key);
  return position - (position != 0 ? 1 : 0);
}

}  // namespace detail
}  // namespace pviommu
