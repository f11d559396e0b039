// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the nodes of a MappingIndex live.
//
//   chunk (64 KiB, ... 2 MiB)   | node | node | node | ... | next_ ... end_ unused |
//   free lists                  nodes that were given back, linked through themselves
//
// Nothing goes back to the system before release_all().
#include <sys/mman.h>

#include <new>

#include "pviommu/mapping_index_nodes.h"

namespace pviommu::detail {
namespace {

constexpr std::size_t kFirstChunk = std::size_t{64} << 10;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kInnerBytes = (sizeof(IndexInner) + 63) / 64 * 64;

}  // namespace

bool NodeArena::refill(std::size_t node_bytes, FreeNode*& list, unsigned& count) {
  if (static_cast<std::size_t>(end_ - next_) < node_bytes) {
    const std::size_t last = chunks_.empty() ? kFirstChunk / 2 : chunks_.back().bytes;
    const std::size_t bytes = std::min(last * 2, kHugePage);
    if (max_bytes_ != 0 && bytes_ + bytes > max_bytes_) return false;
    try {
      chunks_.reserve(chunks_.size() + 1);
    } catch (const std::bad_alloc&) {
      return false;
    }
    // Huge chunks are aligned to their size: map twice as much, cut off the rest.
    const std::size_t mapped = bytes == kHugePage ? 2 * bytes : bytes;
    void* base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return false;
    if (bytes == kHugePage) {
      auto* from = static_cast<std::byte*>(base);
      const auto skip = (kHugePage - reinterpret_cast<std::uintptr_t>(from) % kHugePage) % kHugePage;
      if (skip != 0) ::munmap(from, skip);
      if (mapped - skip - bytes != 0) ::munmap(from + skip + bytes, mapped - skip - bytes);
      base = from + skip;
      ::madvise(base, bytes, MADV_HUGEPAGE);  // a wish: without it only slower
    }
    // The rest of the old chunk is less than one node.
    chunks_.push_back({base, bytes});
    bytes_ += bytes;
    next_ = static_cast<std::byte*>(base);
    end_ = next_ + bytes;
  }
  auto* node = reinterpret_cast<FreeNode*>(next_);
  next_ += node_bytes;
  node->next = list;
  list = node;
  ++count;
  return true;
}

bool NodeArena::reserve(unsigned leaves, unsigned inners) {
  while (free_leaf_count_ < leaves)
    if (!refill(sizeof(IndexLeaf), free_leaves_, free_leaf_count_)) return false;
  while (free_inner_count_ < inners)
    if (!refill(kInnerBytes, free_inners_, free_inner_count_)) return false;
  return true;
}

IndexLeaf* NodeArena::new_leaf() {
  FreeNode* node = free_leaves_;
  free_leaves_ = node->next;
  --free_leaf_count_;
  auto* leaf = new (static_cast<void*>(node)) IndexLeaf;
  leaf->prev = leaf->next = nullptr;
  leaf->count = 0;
  leaf->warm_slot = 0;
  leaf->free_slots = ~std::uint64_t{0} >> (64 - kLeafEntries);
  leaf->forget_unused_keys();
  return leaf;
}

IndexInner* NodeArena::new_inner() {
  FreeNode* node = free_inners_;
  free_inners_ = node->next;
  --free_inner_count_;
  auto* inner = new (static_cast<void*>(node)) IndexInner;
  inner->count = 0;
  inner->forget_unused_keys();
  return inner;
}

void NodeArena::free_leaf(IndexLeaf* leaf) {
  free_leaves_ = new (static_cast<void*>(leaf)) FreeNode{free_leaves_};
  ++free_leaf_count_;
}

void NodeArena::free_inner(IndexInner* inner) {
  free_inners_ = new (static_cast<void*>(inner)) FreeNode{free_inners_};
  ++free_inner_count_;
}

void NodeArena::release_all() {
  for (const Chunk& chunk : chunks_) ::munmap(chunk.base, chunk.bytes);
  chunks_.clear();
  bytes_ = 0;
  next_ = end_ = nullptr;
  free_leaves_ = free_inners_ = nullptr;
  free_leaf_count_ = free_inner_count_ = 0;
}

}  // namespace pviommu::detail
