// SPDX-License-Identifier: LGPL-2.1-or-later
// Descending, insertion and removal.
//
//   insert   a full leaf gives to a neighbour, else splits; nodes are reserved first, so that
//            nothing can fail once the tree is being changed
//   erase    a leaf merges with a neighbour when both fit in one
//
// The leaf of the last call is remembered, because programs unmap what they have just mapped.
// tests/bench/index_bench.cc compares it with what the libraries have.
#include "pviommu/mapping_index.h"

#include <algorithm>
#include <cstring>

#include "pviommu/mapping_index_nodes.h"

namespace pviommu {

using namespace detail;

/// The inner nodes from the root (level 0) to the leaf's parent, with the child
/// taken in each.  64 bits of address with at least 2 children a node.
struct MappingIndex::Path {
  static constexpr unsigned kMaxHeight = 32;
  IndexInner* node[kMaxHeight];
  unsigned child[kMaxHeight];
};

Iova MappingIndex::Cursor::first() const { return Iova(leaf_->first(position_)); }
Iova MappingIndex::Cursor::last() const { return Iova(leaf_->last(position_)); }
MappingRecord& MappingIndex::Cursor::record() const { return leaf_->record(position_); }

MappingIndex::Cursor MappingIndex::Cursor::next() const {
  if (position_ + 1 < leaf_->count) return Cursor(leaf_, position_ + 1);
  return leaf_->next != nullptr ? Cursor(leaf_->next, 0) : Cursor();
}

/// Programs unmap what they have just mapped, and map again where they have
/// just unmapped: the leaf of the last call is looked at first.
inline IndexLeaf* MappingIndex::remembered(std::uint64_t key) const {
  IndexLeaf* leaf = last_leaf_;
  if (leaf == nullptr || leaf->count == 0 || key < leaf->first(0) || key > leaf->first(leaf->count - 1))
    return nullptr;
  return leaf;
}

IndexLeaf* MappingIndex::descend(std::uint64_t key) const {
  if (IndexLeaf* leaf = remembered(key)) return leaf;
  Path unused;
  return last_leaf_ = descend(key, unused);
}

IndexLeaf* MappingIndex::descend(std::uint64_t key, Path& path) const {
  void* node = root_;
  for (unsigned level = 0; level < height_; ++level) {
    auto* inner = static_cast<IndexInner*>(node);
    const unsigned child = child_of(*inner, key);
    path.node[level] = inner;
    path.child[level] = child;
    node = inner->children[child];
    // The comparisons of a search fetch the lines of the keys side by side; the
    // rest of a leaf is wanted right after them.
    if (level + 1 == height_) __builtin_prefetch(static_cast<const std::byte*>(node) + offsetof(IndexLeaf, prev));
  }
  return static_cast<IndexLeaf*>(node);
}

MappingIndex::Cursor MappingIndex::begin() const {
  return size_ == 0 ? Cursor() : Cursor(descend(0), 0);
}

MappingIndex::Cursor MappingIndex::first_at_or_after(Iova iova) const {
  if (size_ == 0) return Cursor();
  // Mappings begin at page borders, so that the page's number is enough.
  const std::uint64_t key = iova.raw() & ~(kPageSize - 1);
  IndexLeaf* leaf = descend(key);
  const unsigned position = upper_bound(*leaf, key);
  // The mapping before may reach over `iova`; it can lie in the leaf before.
  if (position > 0) {
    if (leaf->last(position - 1) >= iova.raw()) return Cursor(leaf, position - 1);
  } else if (leaf->prev != nullptr && leaf->prev->last(leaf->prev->count - 1) >= iova.raw()) {
    return Cursor(leaf->prev, leaf->prev->count - 1);
  }
  if (position < leaf->count) return Cursor(leaf, position);
  return leaf->next != nullptr ? Cursor(leaf->next, 0) : Cursor();
}

MappingIndex::Cursor MappingIndex::find(Iova iova) const {
  const Cursor cursor = first_at_or_after(iova);
  return cursor && cursor.first() <= iova ? cursor : Cursor();
}

MappingIndex::Cursor MappingIndex::find_exact(Iova first) const {
  const std::uint64_t key = first.raw();
  if (size_ == 0 || !page_aligned(key)) return Cursor();
  IndexLeaf* leaf = descend(key);
  const unsigned position = upper_bound(*leaf, key);
  if (position == 0 || leaf->first(position - 1) != key) return Cursor();
  // Whoever asks for a mapping wants its record next.
  __builtin_prefetch(&leaf->record(position - 1));
  return Cursor(leaf, position - 1);
}

// ---- insertion --------------------------------------------------------------

Result<MappingIndex::Cursor> MappingIndex::insert(Iova first, const MappingRecord& record) {
  const std::uint64_t key = first.raw();
  const std::uint64_t last = key + (record.size() - 1);
  if (root_ == nullptr) {
    if (!arena_.reserve(1, 0)) return Error{ENOMEM, "mapping index"};
    root_ = arena_.new_leaf();
  }
  Path path;
  IndexLeaf* leaf = remembered(key);
  // make_room() needs to know the way.
  if (leaf == nullptr || leaf->count == kLeafEntries) leaf = descend(key, path);
  last_leaf_ = leaf;
  unsigned position = upper_bound(*leaf, key);

  if (position > 0) {
    if (leaf->last(position - 1) >= key) return Error{EEXIST, "mapping index"};
  } else if (leaf->prev != nullptr && leaf->prev->last(leaf->prev->count - 1) >= key) {
    return Error{EEXIST, "mapping index"};
  }
  if (position < leaf->count) {
    if (leaf->first(position) <= last) return Error{EEXIST, "mapping index"};
  } else if (leaf->next != nullptr && leaf->next->first(0) <= last) {
    return Error{EEXIST, "mapping index"};
  }

  if (leaf->count == kLeafEntries && !make_room(path, key, leaf, position))
    return Error{ENOMEM, "mapping index"};
  leaf->put(position, key, record);
  ++size_;
  return Cursor(leaf, position);
}

/// Makes room in a full leaf; afterwards `leaf` and `position` say where the key goes.
bool MappingIndex::make_room(Path& path, std::uint64_t key, IndexLeaf*& leaf, unsigned& position) {
  if (height_ > 0) {
    IndexInner& parent = *path.node[height_ - 1];
    const unsigned child = path.child[height_ - 1];
    // To a neighbour: half of its free room, at least one entry.
    if (child + 1 < parent.count) {
      auto* right = static_cast<IndexLeaf*>(parent.children[child + 1]);
      if (right->count < kLeafEntries - 2) {
        const unsigned n = (kLeafEntries - right->count) / 2;
        leaf->give_back_part(kLeafEntries - n, *right);
        parent.keys[child + 1] = right->first(0);
        if (position > leaf->count) {
          position -= leaf->count;
          leaf = right;
        }
        return true;
      }
    }
    if (child > 0) {
      auto* left = static_cast<IndexLeaf*>(parent.children[child - 1]);
      if (left->count < kLeafEntries - 2) {
        const unsigned n = (kLeafEntries - left->count) / 2;
        leaf->give_front_part(n, *left);
        parent.keys[child] = leaf->first(0);
        if (position <= n) {
          position += left->count - n;
          leaf = left;
        } else {
          position -= n;
        }
        return true;
      }
    }
  }

  // Every full inner node on the way up splits too, and perhaps the root grows.
  unsigned inners = 1;
  for (unsigned level = height_; level > 0 && path.node[level - 1]->count == kFanout; --level) ++inners;
  if (!arena_.reserve(1, inners)) return false;

  IndexLeaf* right = arena_.new_leaf();
  right->next = leaf->next;
  right->prev = leaf;
  if (right->next != nullptr) right->next->prev = right;
  leaf->next = right;
  // Ascending insertion (the common way of filling a space) leaves full leaves.
  const bool appending = position == kLeafEntries && right->next == nullptr;
  if (!appending) leaf->give_back_part(kLeafEntries / 2, *right);
  if (appending || position > leaf->count) {
    position -= leaf->count;
    leaf = right;
  }
  add_child(path, height_, right->count != 0 ? right->first(0) : key, right);
  return true;
}

/// Enters `child` behind the one that the path takes at level - 1.  Nodes are reserved.
void MappingIndex::add_child(Path& path, unsigned level, std::uint64_t separator, void* child) {
  if (level == 0) {
    IndexInner* root = arena_.new_inner();
    root->keys[0] = 0;
    root->children[0] = root_;
    root->keys[1] = separator;
    root->children[1] = child;
    root->count = 2;
    root_ = root;
    ++height_;
    return;
  }
  IndexInner* inner = path.node[level - 1];
  unsigned position = path.child[level - 1] + 1;
  if (inner->count == kFanout) {
    IndexInner* right = arena_.new_inner();
    // As for leaves: at the right edge the left node stays nearly full.
    const unsigned keep = position == kFanout ? kFanout - 4 : kFanout / 2;
    right->count = kFanout - keep;
    std::memcpy(right->keys, inner->keys + keep, right->count * sizeof right->keys[0]);
    std::memcpy(right->children, inner->children + keep, right->count * sizeof right->children[0]);
    inner->count = keep;
    inner->forget_unused_keys();
    add_child(path, level - 1, right->keys[0], right);
    if (position > keep) {
      position -= keep;
      inner = right;
    }
  }
  const unsigned behind = inner->count - position;
  std::memmove(inner->keys + position + 1, inner->keys + position, behind * sizeof inner->keys[0]);
  std::memmove(inner->children + position + 1, inner->children + position,
               behind * sizeof inner->children[0]);
  inner->keys[position] = separator;
  inner->children[position] = child;
  ++inner->count;
}

// ---- removal ----------------------------------------------------------------

void MappingIndex::erase(Cursor cursor) {
  IndexLeaf* leaf = cursor.leaf_;
  const std::uint64_t key = leaf->first(cursor.position_);
  leaf->drop(cursor.position_);
  --size_;
  if (leaf->count < kLeafSmall && height_ > 0) repair(key);
}

/// Merges the leaf that `key` belongs to with a neighbour if both fit in one.
void MappingIndex::repair(std::uint64_t key) {
  Path path;
  IndexLeaf* leaf = descend(key, path);
  const unsigned level = height_ - 1;
  IndexInner& parent = *path.node[level];
  unsigned child = path.child[level];

  IndexLeaf* gone = nullptr;
  if (child > 0) {
    auto* left = static_cast<IndexLeaf*>(parent.children[child - 1]);
    if (leaf->count == 0 || left->count + leaf->count <= kLeafMerged) {
      leaf->give_front_part(leaf->count, *left);
      gone = leaf;
    }
  }
  if (gone == nullptr && child + 1 < parent.count) {
    auto* right = static_cast<IndexLeaf*>(parent.children[child + 1]);
    if (leaf->count + right->count <= kLeafMerged) {
      right->give_front_part(right->count, *leaf);
      gone = right;
      ++child;
    } else if (leaf->count == 0) {
      // Nothing to give: the leaf goes, its range falls to the right neighbour.
      gone = leaf;
    }
  }
  if (gone == nullptr && leaf->count == 0) gone = leaf;  // an only child
  if (gone == nullptr) return;
  last_leaf_ = nullptr;
  if (gone->prev != nullptr) gone->prev->next = gone->next;
  if (gone->next != nullptr) gone->next->prev = gone->prev;
  arena_.free_leaf(gone);
  remove_child(path, level, child);
}

void MappingIndex::remove_child(Path& path, unsigned level, unsigned position) {
  IndexInner& inner = *path.node[level];
  --inner.count;
  // Removing the first child leaves its range to the new first one: keys[0] is
  // not looked at, the bound stands in the parent.
  std::memmove(inner.keys + position, inner.keys + position + 1,
               (inner.count - position) * sizeof inner.keys[0]);
  std::memmove(inner.children + position, inner.children + position + 1,
               (inner.count - position) * sizeof inner.children[0]);
  inner.keys[inner.count] = kNoKey;
  if (level == 0) {
    if (inner.count == 1) {
      root_ = inner.children[0];
      --height_;
      arena_.free_inner(&inner);
      // A chain of only children below collapses with it.
      while (height_ > 0 && static_cast<IndexInner*>(root_)->count == 1) {
        auto* old = static_cast<IndexInner*>(root_);
        root_ = old->children[0];
        --height_;
        arena_.free_inner(old);
      }
    }
    return;
  }
  IndexInner& parent = *path.node[level - 1];
  const unsigned child = path.child[level - 1];
  if (inner.count == 0) {
    arena_.free_inner(&inner);
    remove_child(path, level - 1, child);
    return;
  }
  if (inner.count > kInnerSmall) return;
  unsigned left_child = child;
  if (child > 0 && static_cast<IndexInner*>(parent.children[child - 1])->count + inner.count <= kInnerMerged)
    left_child = child - 1;
  else if (child + 1 >= parent.count ||
           static_cast<IndexInner*>(parent.children[child + 1])->count + inner.count > kInnerMerged)
    return;
  auto* left = static_cast<IndexInner*>(parent.children[left_child]);
  auto* right = static_cast<IndexInner*>(parent.children[left_child + 1]);
  std::memcpy(left->keys + left->count, right->keys, right->count * sizeof right->keys[0]);
  std::memcpy(left->children + left->count, right->children, right->count * sizeof right->children[0]);
  left->keys[left->count] = parent.keys[left_child + 1];
  left->count += right->count;
  arena_.free_inner(right);
  remove_child(path, level - 1, left_child + 1);
}

std::size_t MappingIndex::erase_range(Iova from, Iova last) {
  if (from == Iova(0) && last == Iova(~std::uint64_t{0})) {
    const std::size_t all = size_;
    clear();
    return all;
  }
  std::size_t erased = 0;
  Cursor cursor = first_at_or_after(from);
  if (cursor && cursor.first() < from) cursor = cursor.next();
  while (cursor && cursor.first() <= last) {
    const Iova first = cursor.first();
    erase(cursor);
    ++erased;
    cursor = first_at_or_after(first);
  }
  return erased;
}

void MappingIndex::clear() {
  arena_.release_all();
  last_leaf_ = nullptr;
  root_ = nullptr;
  height_ = 0;
  size_ = 0;
}

}  // namespace pviommu
