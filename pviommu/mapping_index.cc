// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pviommu/mapping_index.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

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

namespace {

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

}  // namespace detail

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
  // Whoever asks for a mapping wants its record.
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

/// Enters `child` behind the one the path takes at level - 1; nodes are reserved.
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

// ---- invariants -------------------------------------------------------------

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
