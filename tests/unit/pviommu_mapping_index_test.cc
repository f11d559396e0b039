// SPDX-License-Identifier: LGPL-2.1-or-later
// The mapping index against std::map, and its invariants after every step.
#include "pviommu/mapping_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace pviommu {
namespace {

MappingRecord record_of(std::uint64_t pages, std::uint64_t owner = 0) {
  MappingRecord record;
  record.pages = pages;
  record.owner = owner;
  return record;
}

/// The same by std::map: first -> {last, owner}.
class Reference {
 public:
  bool insert(std::uint64_t first, std::uint64_t last, std::uint64_t owner) {
    auto after = map_.upper_bound(first);
    if (after != map_.begin() && std::prev(after)->second.first >= first) return false;
    if (after != map_.end() && after->first <= last) return false;
    map_[first] = {last, owner};
    return true;
  }
  auto first_at_or_after(std::uint64_t iova) const {
    auto after = map_.upper_bound(iova);
    if (after != map_.begin() && std::prev(after)->second.first >= iova) return std::prev(after);
    return after;
  }
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> map_;
};

void expect_same(const MappingIndex& index, const Reference& reference) {
  ASSERT_EQ(index.size(), reference.map_.size());
  auto cursor = index.begin();
  for (const auto& [first, value] : reference.map_) {
    ASSERT_TRUE(cursor);
    ASSERT_EQ(cursor.first().raw(), first);
    ASSERT_EQ(cursor.last().raw(), value.first);
    ASSERT_EQ(cursor.record().owner, value.second);
    cursor = cursor.next();
  }
  ASSERT_FALSE(cursor);
}

struct Shape {
  const char* name;
  std::uint64_t space;      ///< pages the addresses are drawn from
  std::uint64_t most_pages;  ///< largest mapping
  unsigned live;             ///< about so many mappings
};

class IndexRandom : public ::testing::TestWithParam<Shape> {};

TEST_P(IndexRandom, BehavesLikeTheReference) {
  const Shape shape = GetParam();
  std::mt19937_64 random(shape.live * 77 + shape.most_pages);
  MappingIndex index;
  Reference reference;
  std::uint64_t owner = 0;
  for (unsigned step = 0; step < 60000; ++step) {
    // Waves: grow to `live`, shrink to almost nothing, grow again.
    const bool growing = step / (shape.live * 2) % 2 == 0;
    const std::uint64_t page = random() % shape.space;
    const Iova iova(page << kPageShift);
    if (random() % 8 < (growing ? 6u : 2u)) {
      const std::uint64_t pages = std::min<std::uint64_t>(1 + random() % shape.most_pages,
                                                          (std::uint64_t{1} << 52) - page);
      const std::uint64_t last = iova.raw() + ((pages << kPageShift) - 1);
      ++owner;
      const auto status = index.insert(iova, record_of(pages, owner));
      ASSERT_EQ(status.ok(), reference.insert(iova.raw(), last, owner));
      if (!status) {
        ASSERT_EQ(status.error().code, EEXIST);
      }
    } else {
      const auto expected = reference.first_at_or_after(iova.raw());
      const auto cursor = index.first_at_or_after(iova);
      ASSERT_EQ(static_cast<bool>(cursor), expected != reference.map_.end());
      if (cursor) {
        ASSERT_EQ(cursor.first().raw(), expected->first);
        const bool covers = expected->first <= iova.raw();
        ASSERT_EQ(static_cast<bool>(index.find(iova)), covers);
        ASSERT_EQ(static_cast<bool>(index.find_exact(iova)), expected->first == iova.raw());
        ASSERT_EQ(index.find_exact(cursor.first()).record().owner, expected->second.second);
        index.erase(cursor);
        reference.map_.erase(expected->first);
      } else {
        ASSERT_FALSE(index.find(iova));
      }
    }
    if (step % 64 == 0) {
      ASSERT_EQ(index.check(), nullptr) << step;
    }
  }
  ASSERT_EQ(index.check(), nullptr);
  expect_same(index, reference);
}

INSTANTIATE_TEST_SUITE_P(Shapes, IndexRandom,
                         ::testing::Values(Shape{"dense", 3000, 1, 2000}, Shape{"denser", 9000, 3, 8000},
                                           Shape{"large", 1 << 20, 700, 900},
                                           Shape{"sparse", std::uint64_t{1} << 52, 1, 15000},
                                           Shape{"tiny", 40, 4, 20},
                                           Shape{"huge", std::uint64_t{1} << 52, std::uint64_t{1} << 44, 3000}),
                         [](const auto& info) { return info.param.name; });

TEST(MappingIndex, EmptyAnswersNothing) {
  MappingIndex index;
  EXPECT_FALSE(index.find(Iova(0)));
  EXPECT_FALSE(index.find_exact(Iova(0)));
  EXPECT_FALSE(index.first_at_or_after(Iova(0)));
  EXPECT_FALSE(index.begin());
  EXPECT_EQ(index.memory_bytes(), 0u);
}

TEST(MappingIndex, TopOfTheAddressSpace) {
  MappingIndex index;
  const Iova top(~std::uint64_t{0} << kPageShift);
  ASSERT_TRUE(index.insert(top, record_of(1)));
  EXPECT_TRUE(index.find(Iova(~std::uint64_t{0})));
  EXPECT_EQ(index.insert(top - kPageSize, record_of(2)).error().code, EEXIST);
  ASSERT_TRUE(index.insert(top - kPageSize, record_of(1)));
  EXPECT_EQ(index.begin().next().last().raw(), ~std::uint64_t{0});
  EXPECT_EQ(index.check(), nullptr);
}

TEST(MappingIndex, AscendingAndDescendingFillStaysDense) {
  for (const bool up : {true, false}) {
    MappingIndex index;
    constexpr unsigned kCount = 100000;
    for (unsigned i = 0; i < kCount; ++i) {
      const std::uint64_t page = up ? i : kCount - i;
      ASSERT_TRUE(index.insert(Iova(page << kPageShift), record_of(1)));
    }
    EXPECT_EQ(index.check(), nullptr);
    // 2 MiB chunks: the last one may be unused.
    EXPECT_LE(index.memory_bytes(), kCount * 64 + (2u << 20)) << up;
  }
}

TEST(MappingIndex, EraseRangeTakesWhatBeginsInIt) {
  MappingIndex index;
  for (std::uint64_t i = 0; i < 1000; ++i)
    ASSERT_TRUE(index.insert(Iova(i * 4 << kPageShift), record_of(2)));
  EXPECT_EQ(index.erase_range(Iova(kPageSize), Iova((400 << kPageShift) - 1)), 99u);
  EXPECT_EQ(index.size(), 901u);
  EXPECT_TRUE(index.find(Iova(0)));
  EXPECT_FALSE(index.find(Iova(4 << kPageShift)));
  EXPECT_TRUE(index.find(Iova(400 << kPageShift)));
  EXPECT_EQ(index.check(), nullptr);
  EXPECT_EQ(index.erase_range(Iova(0), Iova(~std::uint64_t{0})), 901u);
  EXPECT_EQ(index.memory_bytes(), 0u);
  ASSERT_TRUE(index.insert(Iova(0), record_of(1)));
  EXPECT_EQ(index.check(), nullptr);
}

TEST(MappingIndex, OutOfMemoryChangesNothing) {
  std::mt19937_64 random(5);
  MappingIndex index(std::size_t{1} << 20);
  Reference reference;
  unsigned refused = 0;
  for (std::uint64_t i = 1; i < 60000; ++i) {
    const std::uint64_t first = random() << kPageShift;
    const auto status = index.insert(Iova(first), record_of(1, i));
    if (status) {
      ASSERT_TRUE(reference.insert(first, first + kPageSize - 1, i));
    } else if (status.error().code == ENOMEM) {
      if (++refused % 64 == 1) {
        ASSERT_EQ(index.check(), nullptr);
      }
    }
  }
  EXPECT_GT(refused, 100u);
  EXPECT_GT(index.size(), 5000u);
  EXPECT_LE(index.memory_bytes(), std::size_t{1} << 20);
  EXPECT_EQ(index.check(), nullptr);
  expect_same(index, reference);
  // Freed room can be used again.
  ASSERT_EQ(index.erase_range(Iova(0), Iova(~std::uint64_t{0} >> 1)) > 0, true);
  EXPECT_EQ(index.check(), nullptr);
  EXPECT_TRUE(index.insert(Iova(0), record_of(1)));
}

TEST(MappingIndex, RecordKeepsHvaAndFlagsApart) {
  MappingRecord record = record_of(1);
  record.set_hva(Hva(0x7fff12345000));
  record.hva_flags |= static_cast<std::uint64_t>(Access::write);
  record.set(MappingRecord::kHvaInvalid, true);
  EXPECT_EQ(record.hva(), Hva(0x7fff12345000));
  EXPECT_EQ(record.access(), Access::write);
  record.set_hva(Hva(0x1000));
  EXPECT_TRUE(record.has(MappingRecord::kHvaInvalid));
  record.set(MappingRecord::kHvaInvalid, false);
  EXPECT_FALSE(record.has(MappingRecord::kHvaInvalid));
  EXPECT_EQ(record.hva(), Hva(0x1000));
}

}  // namespace
}  // namespace pviommu
