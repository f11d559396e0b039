// SPDX-License-Identifier: LGPL-2.1-or-later
// The index of mappings by IOVA: a B+tree of ranges.
//
//            inner   separators | children (64)
//           /     |      .
//      leaf <-> leaf <-> leaf          linked in order of address
//
//   leaf   keys[64]      first page of each mapping, ascending; in the low bits
//                        its length, if short, and where in records[] it lies
//          records[64]   32 bytes each, in no order
//
// A mapping is one entry whatever its size, so that a misaligned 1 GiB costs as
// much as a page.  A search touches the keys, then one record.  An insertion
// moves keys, never records.  A full leaf first gives to a neighbour and splits
// only when both are full, which keeps leaves about 75 % full under random
// changes.
//
// Nodes come from an arena whose chunks grow from 64 KiB to 2 MiB, the large
// ones on huge pages.  Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

/// What is known of one mapping beside its first IOVA.  `owner` and `frames`
/// belong to the address space (address_space.cc says what they hold).
struct MappingRecord {
  std::uint64_t pages = 0;      ///< 4 KiB pages, > 0
  std::uint64_t hva_flags = 0;  ///< page-aligned Hva | Flag bits
  std::uint64_t owner = 0;
  std::uint64_t frames = 0;

  enum Flag : std::uint64_t {
    kAccess = 3,      ///< an Access
    kHvaInvalid = 4,  ///< VFIO_DMA_UNMAP_FLAG_VADDR
    kMmio = 8,        ///< a device's BAR, not memory
    kStateLost = 16,  ///< devices may reach it, whatever an unmapping says (Error::state_lost)
    kAll = kPageSize - 1,
  };
  Hva hva() const { return Hva(hva_flags & ~std::uint64_t{kAll}); }
  void set_hva(Hva hva) { hva_flags = (hva_flags & kAll) | hva.raw(); }
  Access access() const { return static_cast<Access>(hva_flags & kAccess); }
  bool has(Flag flag) const { return (hva_flags & flag) != 0; }
  void set(Flag flag, bool on) { hva_flags = on ? hva_flags | flag : hva_flags & ~std::uint64_t{flag}; }
  std::uint64_t size() const { return pages << kPageShift; }
};

namespace detail {

struct IndexLeaf;
struct IndexInner;

/// Memory for nodes of two sizes, cut from chunks and reused through free lists.
/// Not thread-safe.
class NodeArena {
 public:
  /// `max_bytes` bounds the chunks (0: no bound); beyond it allocation fails.
  explicit NodeArena(std::size_t max_bytes) : max_bytes_(max_bytes) {}
  NodeArena(const NodeArena&) = delete;
  NodeArena& operator=(const NodeArena&) = delete;
  ~NodeArena() { release_all(); }

  /// Makes sure that the next `leaves` and `inners` allocations succeed.
  bool reserve(unsigned leaves, unsigned inners);
  IndexLeaf* new_leaf();
  IndexInner* new_inner();
  void free_leaf(IndexLeaf* leaf);
  void free_inner(IndexInner* inner);
  void release_all();
  std::size_t bytes() const { return bytes_; }

 private:
  struct FreeNode {
    FreeNode* next;
  };
  struct Chunk {
    void* base;
    std::size_t bytes;
  };
  bool refill(std::size_t node_bytes, FreeNode*& list, unsigned& count);

  std::size_t max_bytes_;
  std::size_t bytes_ = 0;
  std::vector<Chunk> chunks_;
  std::byte* next_ = nullptr;  ///< unused rest of the last chunk
  std::byte* end_ = nullptr;
  FreeNode* free_leaves_ = nullptr;
  FreeNode* free_inners_ = nullptr;
  unsigned free_leaf_count_ = 0;
  unsigned free_inner_count_ = 0;
};

}  // namespace detail

class MappingIndex {
 public:
  /// A place in the index; valid until the next insert, erase or clear.
  class Cursor {
   public:
    Cursor() = default;
    explicit operator bool() const { return leaf_ != nullptr; }
    Iova first() const;
    Iova last() const;  ///< inclusive
    MappingRecord& record() const;
    /// The mapping with the next higher address, or an empty cursor.
    Cursor next() const;

   private:
    friend class MappingIndex;
    Cursor(detail::IndexLeaf* leaf, unsigned position) : leaf_(leaf), position_(position) {}
    detail::IndexLeaf* leaf_ = nullptr;
    unsigned position_ = 0;
  };

  /// `max_bytes` bounds the memory of the nodes; 0: no bound.
  explicit MappingIndex(std::size_t max_bytes = 0) : arena_(max_bytes) {}
  MappingIndex(const MappingIndex&) = delete;
  MappingIndex& operator=(const MappingIndex&) = delete;

  /// Adds [first, first + pages).  `first` is page aligned and the range does
  /// not wrap.  EEXIST: overlaps a mapping; ENOMEM; nothing changed then.  The
  /// cursor is at the new mapping.
  Result<Cursor> insert(Iova first, const MappingRecord& record);
  /// The mapping that covers `iova`, or an empty cursor.
  Cursor find(Iova iova) const;
  /// The mapping that begins at `first`, or an empty cursor.
  Cursor find_exact(Iova first) const;
  /// The lowest mapping whose last byte is at or after `iova`.
  Cursor first_at_or_after(Iova iova) const;
  Cursor begin() const;
  /// Removes the mapping at the cursor.
  void erase(Cursor cursor);
  /// Removes all mappings that begin in [from, last]; returns how many.
  std::size_t erase_range(Iova from, Iova last);
  /// Removes everything and gives the memory back.
  void clear();

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::size_t memory_bytes() const { return arena_.bytes(); }

  /// Walks everything and checks the invariants; null, or what is wrong.  For tests.
  const char* check() const;

 private:
  struct Path;
  detail::IndexLeaf* remembered(std::uint64_t key) const;
  detail::IndexLeaf* descend(std::uint64_t key) const;
  detail::IndexLeaf* descend(std::uint64_t key, Path& path) const;
  bool make_room(Path& path, std::uint64_t key, detail::IndexLeaf*& leaf, unsigned& position);
  void add_child(Path& path, unsigned level, std::uint64_t separator, void* child);
  void remove_child(Path& path, unsigned level, unsigned position);
  void repair(std::uint64_t key);

  detail::NodeArena arena_;
  mutable detail::IndexLeaf* last_leaf_ = nullptr;  ///< where the last call was; null: nowhere
  void* root_ = nullptr;   ///< leaf when height_ is 0
  unsigned height_ = 0;    ///< inner levels
  std::size_t size_ = 0;
};

}  // namespace pviommu
