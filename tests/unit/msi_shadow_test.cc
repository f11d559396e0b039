// SPDX-License-Identifier: LGPL-2.1-or-later
// Where accesses and mappings are cut at the MSI-X table.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "msi/msix_shadow.h"

namespace pviommu::msi::test {
namespace {

constexpr std::uint64_t kPage = 4096;
using Pieces = std::vector<BarPiece>;

Pieces split(const MsixShadow& shadow, unsigned bar, std::uint64_t offset, std::uint64_t bytes) {
  Pieces out;
  while (bytes != 0) {
    out.push_back(shadow.front(bar, offset, bytes));
    EXPECT_NE(out.back().bytes, 0u);
    offset += out.back().bytes;
    bytes -= out.back().bytes;
  }
  return out;
}

TEST(MsixShadow, AccessesAreCutAtTheTable) {
  const auto shadow = MsixShadow::create({0x40, 65, 0, 0x2000, 0, 0x3000}, kPage);
  ASSERT_TRUE(shadow);
  const std::uint64_t end = 0x2000 + 65 * 16;
  EXPECT_EQ(split(*shadow, 0, 0x2000, 16), (Pieces{{0x2000, 16, true}}));
  EXPECT_EQ(split(*shadow, 0, 0x1ffe, 4), (Pieces{{0x1ffe, 2, false}, {0x2000, 2, true}}));
  EXPECT_EQ(split(*shadow, 0, end - 1, 2), (Pieces{{end - 1, 1, true}, {end, 1, false}}));
  EXPECT_EQ(split(*shadow, 0, 0, 0x4000),
            (Pieces{{0, 0x2000, false}, {0x2000, 65 * 16, true}, {end, 0x4000 - end, false}}));
  EXPECT_EQ(split(*shadow, 0, end, 4), (Pieces{{end, 4, false}}));
  EXPECT_EQ(split(*shadow, 1, 0x2000, 16), (Pieces{{0x2000, 16, false}}));
}

TEST(MsixShadow, MappingsAreCutAtPages) {
  const auto shadow = MsixShadow::create({0x40, 65, 2, 0x2800, 2, 0x3000}, kPage);
  ASSERT_TRUE(shadow);
  EXPECT_EQ(shadow->covered_pages(), (BarPiece{0x2000, 0x1000, true}));
  EXPECT_EQ(shadow->pages(2, 0, 0x4000),
            (Pieces{{0, 0x2000, false}, {0x2000, 0x1000, true}, {0x3000, 0x1000, false}}));
  EXPECT_EQ(shadow->pages(2, 0x2000, 0x1000), (Pieces{{0x2000, 0x1000, true}}));
  EXPECT_EQ(shadow->pages(2, 0x3000, 0x1000), (Pieces{{0x3000, 0x1000, false}}));
  EXPECT_EQ(shadow->pages(0, 0, 0x4000), (Pieces{{0, 0x4000, false}}));
  EXPECT_FALSE(shadow->hides_pending_bits());
}

TEST(MsixShadow, TableOverTwoPagesAndPendingBitsBeside) {
  const auto shadow = MsixShadow::create({0x40, 64, 0, 0xe00, 0, 0x1800}, kPage);
  ASSERT_TRUE(shadow);
  EXPECT_EQ(shadow->covered_pages(), (BarPiece{0, 0x2000, true}));
  EXPECT_TRUE(shadow->hides_pending_bits());
  EXPECT_FALSE(MsixShadow::create({0x40, 64, 0, 0xe00, 1, 0x1800}, kPage)->hides_pending_bits());
  EXPECT_FALSE(MsixShadow::create({0x40, 64, 0, 0xe00, 0, 0x2000}, kPage)->hides_pending_bits());
}

TEST(MsixShadow, LargePagesCoverMore) {
  const auto shadow = MsixShadow::create({0x40, 65, 0, 0x12000, 0, 0x13000}, 0x10000);
  ASSERT_TRUE(shadow);
  EXPECT_EQ(shadow->covered_pages(), (BarPiece{0x10000, 0x10000, true}));
  EXPECT_TRUE(shadow->hides_pending_bits());
}

TEST(MsixShadow, LooksLikeATableAfterReset) {
  const auto shadow = MsixShadow::create({0x40, 5, 0, 0x2100, 0, 0x3000}, kPage);
  ASSERT_TRUE(shadow);
  const BarMapping mapping = shadow->mapping(0x2000);
  EXPECT_EQ(mapping.offset, 0u);
  void* const memory = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, mapping.fd, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const words = static_cast<std::uint32_t*>(memory);
  for (unsigned i = 0; i < kPage / 4; ++i) {
    const bool control = i >= 0x40 && i < 0x40 + 5 * 4 && i % 4 == 3;
    EXPECT_EQ(words[i], control ? 1u : 0u) << i;  // E08
  }
  words[0x40] = 0xfee00000;  // goes nowhere, but reads back
  EXPECT_EQ(words[0x40], 0xfee00000u);
  ::munmap(memory, kPage);
}

}  // namespace
}  // namespace pviommu::msi::test
