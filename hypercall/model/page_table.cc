// SPDX-License-Identifier: LGPL-2.1-or-later
// Readers (translate()) take no lock: an entry is one word, and a table is complete before a
// store makes it reachable.  So map() builds from the leaf upwards, and split() fills all 512
// pieces before it replaces the large leaf:
//
//   before   entry --> leaf of 2 MiB            after   entry --> table --> 512 leaves of 4 KiB
//                      one release store between the two
//
// Writers are serialised by the owner, and free a table only while walkers are kept out.
#include "hypercall/model/page_table.h"

#include <algorithm>
#include <cerrno>
#include <new>

namespace pviommu::model {
namespace {

// Entry word; 0 is empty.
//
//   leaf   63................5  4      3     2..1      0
//          mfn                  stale  leaf  access    0
//   table  address of the Table (64-byte aligned)      1
constexpr std::uint64_t kTable = 1;
constexpr unsigned kAccessShift = 1;
constexpr std::uint64_t kLeaf = 1 << 3;
constexpr std::uint64_t kStale = 1 << 4;
constexpr unsigned kMfnShift = 5;
constexpr unsigned kMfnBits = 64 - kMfnShift;

}  // namespace

struct alignas(64) PageTable::Table {
  std::atomic<Word> entries[kEntries];
  unsigned used = 0;  ///< entries that are not 0
};

PageTable::Word PageTable::make_leaf(Mfn mfn, Access access) {
  return mfn.raw() << kMfnShift | kLeaf | std::uint64_t{static_cast<std::uint8_t>(access)} << kAccessShift;
}
bool PageTable::is_table(Word word) { return (word & kTable) != 0; }
bool PageTable::is_stale(Word word) { return (word & kStale) != 0; }
Mfn PageTable::leaf_mfn(Word word) { return Mfn(word >> kMfnShift); }
Access PageTable::leaf_access(Word word) { return static_cast<Access>(word >> kAccessShift & 3); }
PageTable::Table* PageTable::table_of(Word word) { return reinterpret_cast<Table*>(word & ~kTable); }
unsigned PageTable::index(std::uint64_t dfn, unsigned level) {
  return static_cast<unsigned>(dfn >> (kIndexBits * level)) & (kEntries - 1);
}

PageTable::PageTable(unsigned address_bits, std::uint64_t page_sizes, Watcher& watcher)
    : levels_(
          std::clamp((address_bits - kPageShift + kIndexBits - 1) / kIndexBits, kLeafLevels, kMostLevels)),
      page_sizes_(page_sizes),
      watcher_(watcher) {}

PageTable::~PageTable() {
  if (root_ != nullptr) drop(root_, levels_ - 1);
  while (spares_ != nullptr) {
    Table* next = reinterpret_cast<Table*>(spares_->entries[0].load(std::memory_order_relaxed));
    delete spares_;
    spares_ = next;
  }
}

void PageTable::drop(Table* table, unsigned level) {
  for (auto& entry : table->entries) {
    const Word word = entry.load(std::memory_order_relaxed);
    if (word == 0) continue;
    if (is_table(word))
      drop(table_of(word), level - 1);
    else
      watcher_.unmapped(leaf_mfn(word), pages_at(level));
  }
  delete table;
}

// Tables come from and go to a short list of spares: a program that maps and
// unmaps one page over and over must not pay for 4 KiB of zeroes each time.
PageTable::Table* PageTable::allocate() {
  Table* table = spares_;
  if (table != nullptr) {
    spares_ = reinterpret_cast<Table*>(table->entries[0].load(std::memory_order_relaxed));
    table->entries[0].store(0, std::memory_order_relaxed);
    --spare_count_;
  } else {
    table = new (std::nothrow) Table();
  }
  if (table != nullptr) ++tables_;
  return table;
}

void PageTable::release(Table* table) {
  --tables_;
  if (spare_count_ >= kMostSpares) {
    delete table;
    return;
  }
  // All other entries are 0: a table is released when it is empty.
  table->entries[0].store(reinterpret_cast<Word>(spares_), std::memory_order_relaxed);
  spares_ = table;
  ++spare_count_;
}

PageTable::Translation PageTable::translate(Dfn dfn) const {
  // A root that is just being made is not seen; nothing is mapped then.
  const Table* table = __atomic_load_n(&root_, __ATOMIC_ACQUIRE);
  if (table == nullptr || dfn.raw() >> (kIndexBits * levels_) != 0) return {};
  for (unsigned level = levels_ - 1;; --level) {
    const Word word = table->entries[index(dfn.raw(), level)].load(std::memory_order_acquire);
    if (word == 0) return {};
    if (!is_table(word)) {
      const std::uint64_t inside = dfn.raw() & (pages_at(level) - 1);
      return {leaf_mfn(word) + inside, leaf_access(word), pages_at(level) - inside};
    }
    table = table_of(word);
  }
}

unsigned PageTable::walk(std::uint64_t dfn, Place* path) const {
  unsigned depth = 0;
  Table* table = root_;
  for (unsigned level = levels_ - 1;; --level) {
    std::atomic<Word>* entry = &table->entries[index(dfn, level)];
    path[depth++] = {table, level, entry};
    const Word word = entry->load(std::memory_order_relaxed);
    if (!is_table(word)) return depth;
    table = table_of(word);
  }
}

// Empties the last entry of the path and frees the tables that became empty.
void PageTable::clear(Place* path, unsigned depth) {
  path[depth - 1].entry->store(0, std::memory_order_release);
  while (depth-- > 1) {
    if (--path[depth].table->used != 0) return;
    path[depth - 1].entry->store(0, std::memory_order_release);
    release(path[depth].table);
  }
  --root_->used;  // the root stays
}

bool PageTable::split(const Place& place) {
  Table* table = allocate();
  if (table == nullptr) return false;
  const Word word = place.entry->load(std::memory_order_relaxed);
  const std::uint64_t piece = pages_at(place.level - 1);
  for (unsigned i = 0; i < kEntries; ++i)
    table->entries[i].store(word + (i * piece << kMfnShift), std::memory_order_relaxed);
  table->used = kEntries;
  place.entry->store(reinterpret_cast<Word>(table) | kTable, std::memory_order_release);
  if (!is_stale(word)) {
    --leaves_[place.level];
    leaves_[place.level - 1] += kEntries;
  }
  return true;
}

PageTable::Progress PageTable::map(Dfn dfn, Mfn mfn, std::uint64_t pages, Access access,
                                   std::uint64_t& budget) {
  Progress done;
  const std::uint64_t limit = kIndexBits * levels_ >= 64 ? ~std::uint64_t{0} : pages_at(levels_);
  if (dfn.raw() >= limit || pages > limit - dfn.raw() || (mfn.raw() + pages) >> kMfnBits != 0)
    return {0, EINVAL};
  if (root_ == nullptr) {
    Table* root = allocate();
    if (root == nullptr) return {0, ENOMEM};
    __atomic_store_n(&root_, root, __ATOMIC_RELEASE);
  }
  while (done.pages < pages) {
    const std::uint64_t at = dfn.raw() + done.pages;
    const std::uint64_t frame = mfn.raw() + done.pages;
    const std::uint64_t left = pages - done.pages;
    const auto fits = [&](unsigned level) {
      return level < kLeafLevels && ((at | frame) & (pages_at(level) - 1)) == 0 && left >= pages_at(level) &&
             (page_sizes_ >> (kPageShift + kIndexBits * level) & 1) != 0;
    };
    Place path[kMostLevels];
    unsigned depth = walk(at, path);
    if (budget == 0) return done;
    Place place = path[depth - 1];
    Word word = place.entry->load(std::memory_order_relaxed);
    if (word != 0 && !is_stale(word)) return {done.pages, EEXIST};
    if (word != 0 && !fits(place.level)) {
      // An unmapped, not yet flushed large leaf gives way piece by piece.
      if (!split(place)) return {done.pages, ENOMEM};
      continue;
    }
    unsigned level = place.level;
    while (!fits(level) && level > 0) --level;
    if (!watcher_.mapped(Mfn(frame), pages_at(level))) return {done.pages, EPERM};
    // Missing tables are hung below each other first and into the tree last.
    Word top = make_leaf(Mfn(frame), access);
    for (unsigned below = level; below < place.level; ++below) {
      Table* table = allocate();
      if (table == nullptr) {
        for (unsigned l = below; l > level; --l) {
          Table* unused = table_of(top);
          top = unused->entries[index(at, l - 1)].exchange(0, std::memory_order_relaxed);
          unused->used = 0;
          release(unused);
        }
        watcher_.unmapped(Mfn(frame), pages_at(level));
        return {done.pages, ENOMEM};
      }
      table->entries[index(at, below)].store(top, std::memory_order_relaxed);
      table->used = 1;
      top = reinterpret_cast<Word>(table) | kTable;
    }
    place.entry->store(top, std::memory_order_release);
    if (word == 0)
      ++place.table->used;
    else
      watcher_.unmapped(leaf_mfn(word), pages_at(place.level));
    ++leaves_[level];
    live_pages_ += pages_at(level);
    done.pages += pages_at(level);
    --budget;
  }
  return done;
}

PageTable::Progress PageTable::unmap(Dfn dfn, Mfn mfn, std::uint64_t pages, bool defer,
                                     std::uint64_t& budget) {
  Progress done;
  if (root_ == nullptr || dfn.raw() >> (kIndexBits * levels_) != 0) return {0, pages == 0 ? 0 : ENOENT};
  while (done.pages < pages) {
    const std::uint64_t at = dfn.raw() + done.pages;
    if (at >> (kIndexBits * levels_) != 0) return {done.pages, ENOENT};
    Place path[kMostLevels];
    const unsigned depth = walk(at, path);
    const Place& place = path[depth - 1];
    const Word word = place.entry->load(std::memory_order_relaxed);
    const std::uint64_t inside = at & (pages_at(place.level) - 1);
    if (word == 0 || is_stale(word) || leaf_mfn(word) + inside != mfn + done.pages)
      return {done.pages, ENOENT};
    if (budget == 0) return done;
    if (inside != 0 || pages - done.pages < pages_at(place.level)) {
      if (!split(place)) return {done.pages, ENOMEM};
      continue;
    }
    if (defer) {
      try {
        deferred_.emplace_back(at, pages_at(place.level));
      } catch (const std::bad_alloc&) {
        return {done.pages, ENOMEM};
      }
      place.entry->store(word | kStale, std::memory_order_release);
    } else {
      clear(path, depth);
      watcher_.unmapped(leaf_mfn(word), pages_at(place.level));
    }
    --leaves_[place.level];
    live_pages_ -= pages_at(place.level);
    done.pages += pages_at(place.level);
    --budget;
  }
  return done;
}

void PageTable::flush() {
  for (const auto& [dfn, pages] : deferred_) {
    // What was mapped again meanwhile is not stale any more; what was split is
    // found piece by piece.
    for (std::uint64_t at = dfn; at < dfn + pages;) {
      Place path[kMostLevels];
      const unsigned depth = walk(at, path);
      const Place& place = path[depth - 1];
      const Word word = place.entry->load(std::memory_order_relaxed);
      if (word != 0 && is_stale(word)) {
        clear(path, depth);
        watcher_.unmapped(leaf_mfn(word), pages_at(place.level));
      }
      at = (at | (pages_at(place.level) - 1)) + 1;
    }
  }
  deferred_.clear();
}

}  // namespace pviommu::model
