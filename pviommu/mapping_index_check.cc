// SPDX-License-Identifier: LGPL-2.1-or-later
// The invariants of a MappingIndex, for tests: keys ascend and do not overlap, every bound
// of an inner node holds, the leaves' chain is whole, no node is fuller or emptier than it
// may be, and the counts agree.
#include "pviommu/mapping_index_nodes.h"

namespace pviommu {

using namespace detail;

namespace {

struct Walk {
  std::size_t entries = 0;
  const IndexLeaf* previous_leaf = nullptr;
  const char* problem = nullptr;
};

/// `low` <= every key below `node` <= `high`.
void walk(void* node, unsigned levels, std::uint64_t low, std::uint64_t high, bool root, Walk& state) {
  if (state.problem != nullptr) return;
  if (levels == 0) {
    auto* leaf = static_cast<IndexLeaf*>(node);
    if (leaf->count > kLeafEntries) state.problem = "leaf overfull";
    if (leaf->count == 0 && !root) state.problem = "empty leaf";
    for (unsigned i = leaf->count; i < kLeafEntries; ++i)
      if (leaf->keys[i] != kNoKey) state.problem = "unused key not cleared";
    if (leaf->prev != state.previous_leaf) state.problem = "leaf chain broken backwards";
    if (leaf->prev != nullptr && leaf->prev->next != leaf) state.problem = "leaf chain broken forwards";
    std::uint64_t used = 0;
    for (unsigned i = 0; i < leaf->count && state.problem == nullptr; ++i) {
      if (leaf->first(i) < low || leaf->first(i) > high) state.problem = "key outside its separators";
      if (i > 0 && leaf->last(i - 1) >= leaf->first(i)) state.problem = "mappings overlap";
      if (leaf->keys[i] != IndexLeaf::key_of(leaf->first(i), leaf->record(i).pages, leaf->keys[i] % 64))
        state.problem = "length differs from the record";
      const std::uint64_t slot = std::uint64_t{1} << leaf->keys[i] % 64;
      if ((used & slot) != 0) state.problem = "slot used twice";
      used |= slot;
    }
    if (state.problem == nullptr && used != (~leaf->free_slots & ~std::uint64_t{0} >> (64 - kLeafEntries))) state.problem = "free slots wrong";
    if (state.problem == nullptr && leaf->prev != nullptr && leaf->count > 0) {
      auto* prev = leaf->prev;
      if (prev->last(prev->count - 1) >= leaf->first(0)) state.problem = "mappings overlap across leaves";
    }
    state.entries += leaf->count;
    state.previous_leaf = leaf;
    return;
  }
  auto* inner = static_cast<IndexInner*>(node);
  if (inner->count == 0 || inner->count > kFanout || (root && inner->count < 2)) {
    state.problem = "inner node's count";
    return;
  }
  for (unsigned i = inner->count; i < kFanout; ++i)
    if (inner->keys[i] != kNoKey) state.problem = "unused separator not cleared";
  for (unsigned i = 0; i < inner->count; ++i) {
    const std::uint64_t from = i == 0 ? low : inner->keys[i];
    const std::uint64_t to = i + 1 < inner->count ? inner->keys[i + 1] - 1 : high;
    if (from < low || to > high || from > to) {
      state.problem = "separators out of order";
      return;
    }
    walk(inner->children[i], levels - 1, from, to, false, state);
  }
}

}  // namespace

const char* MappingIndex::check() const {
  if (root_ == nullptr) return size_ == 0 ? nullptr : "entries without a root";
  Walk state;
  walk(root_, height_, 0, ~std::uint64_t{0}, true, state);
  if (state.problem == nullptr && state.entries != size_) state.problem = "size is wrong";
  if (state.problem == nullptr && state.previous_leaf->next != nullptr) state.problem = "leaf chain too long";
  return state.problem;
}

}  // namespace pviommu
