// SPDX-License-Identifier: LGPL-2.1-or-later
// The translation of one address space: a radix tree like the hardware's.
//
//   dfn bits   ... | 35..27 | 26..18 | 17..9 | 8..0 |
//                      3        2        1      0      level
//                               |        |      +- 4 KiB leaves
//                               |        +-------- 2 MiB leaves or tables
//                               +----------------- 1 GiB leaves or tables
//
// A leaf is as large as alignment of dfn and mfn and the run allow.  Removing a
// part of a large leaf splits it ("punching"): the table with the 512 pieces is
// complete before one store puts it in the leaf's place, so that whoever walks
// at that moment sees the old or the new state of every page, never a hole.
//
// Entries are single 64-bit words, stored with release order.  Walking may run
// beside map(); unmap() and flush() free tables and need the walkers kept out.
// map(), unmap() and flush() are serialised by the owner.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "hypercall/strong.h"

namespace pviommu::model {

class PageTable {
 public:
  static constexpr unsigned kIndexBits = 9;
  static constexpr unsigned kEntries = 1u << kIndexBits;
  static constexpr unsigned kLeafLevels = 3;  ///< 4 KiB, 2 MiB, 1 GiB

  /// Who is told of leaves that come and go, for reference counts on frames.
  class Watcher {
   public:
    /// False refuses the frames: map() stops with EPERM.
    virtual bool mapped(Mfn mfn, std::uint64_t pages) = 0;
    virtual void unmapped(Mfn mfn, std::uint64_t pages) = 0;

   protected:
    ~Watcher() = default;
  };

  /// `address_bits` of an iova (at most 64); `page_sizes` as in Capabilities.
  PageTable(unsigned address_bits, std::uint64_t page_sizes, Watcher& watcher);
  /// Empty or not; leaves that are left are reported as unmapped.
  ~PageTable();
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  struct Progress {
    std::uint64_t pages = 0;  ///< done, from the front
    int error = 0;            ///< errno of what stopped it; 0 with fewer pages: the budget is used up
  };
  /// Maps `pages` pages from `dfn` on to the frames from `mfn` on.  `budget` is how many
  /// leaves may still be made, and is counted down.  EEXIST: a page is mapped already;
  /// EPERM: the watcher refused the frames; ENOMEM; EINVAL: beyond the address bits.
  Progress map(Dfn dfn, Mfn mfn, std::uint64_t pages, Access access, std::uint64_t& budget);
  /// Unmaps; `budget` as for map().  ENOENT: a page is not mapped onto that frame.  With
  /// `defer` a leaf still translates until flush(), though it counts as unmapped.
  Progress unmap(Dfn dfn, Mfn mfn, std::uint64_t pages, bool defer, std::uint64_t& budget);
  void flush();

  struct Translation {
    Mfn mfn;  ///< of the page asked for
    Access access = Access::none;
    std::uint64_t pages = 0;  ///< from it to the end of the leaf; 0: not mapped
  };
  Translation translate(Dfn dfn) const;

  std::uint64_t live_pages() const { return live_pages_; }
  std::uint64_t leaves(unsigned level) const { return leaves_[level]; }
  std::uint64_t tables() const { return tables_; }

 private:
  using Word = std::uint64_t;
  struct Table;

  static Word make_leaf(Mfn mfn, Access access);
  static bool is_table(Word word);
  static bool is_stale(Word word);
  static Mfn leaf_mfn(Word word);
  static Access leaf_access(Word word);
  static Table* table_of(Word word);
  static unsigned index(std::uint64_t dfn, unsigned level);
  static std::uint64_t pages_at(unsigned level) { return std::uint64_t{1} << (kIndexBits * level); }

  struct Place {
    Table* table;
    unsigned level;
    std::atomic<Word>* entry;
  };
  Table* allocate();
  void release(Table* table);
  bool split(const Place& place);
  /// Way from the root to the entry for `dfn`, as deep as there are tables.
  unsigned walk(std::uint64_t dfn, Place* path) const;
  void clear(Place* path, unsigned depth);
  void drop(Table* table, unsigned level);

  static constexpr unsigned kMostLevels = 6;
  static constexpr unsigned kMostSpares = 64;

  const unsigned levels_;
  const std::uint64_t page_sizes_;
  Watcher& watcher_;
  Table* root_ = nullptr;
  Table* spares_ = nullptr;  ///< linked through the first entry
  unsigned spare_count_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> deferred_;  ///< dfn, pages
  std::uint64_t live_pages_ = 0;
  std::uint64_t leaves_[kLeafLevels] = {};
  std::uint64_t tables_ = 0;
};

}  // namespace pviommu::model
