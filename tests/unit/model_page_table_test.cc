// SPDX-License-Identifier: LGPL-2.1-or-later
// The page table against a plain array of pages.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <thread>

#include "hypercall/hypervisor.h"
#include "hypercall/model/page_table.h"

namespace pviommu::model {
namespace {

constexpr std::uint64_t kAllSizes = 0x40201000;
constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

struct Page {
  std::uint64_t mfn;
  Access access;
  friend bool operator==(const Page&, const Page&) = default;
};
using Reference = std::map<std::uint64_t, Page>;

struct CountingWatcher final : PageTable::Watcher {
  std::uint64_t pages = 0;
  bool refuse = false;
  std::function<void()> look;  ///< in the middle of an operation
  bool mapped(Mfn, std::uint64_t n) override {
    if (look) look();
    if (refuse) return false;
    pages += n;
    return true;
  }
  void unmapped(Mfn, std::uint64_t n) override {
    if (look) look();
    pages -= n;
  }
};

::testing::AssertionResult same(const PageTable& table, const Reference& reference, std::uint64_t dfn) {
  const auto found = table.translate(Dfn(dfn));
  const auto expected = reference.find(dfn);
  if (expected == reference.end())
    return found.pages == 0 ? ::testing::AssertionSuccess()
                            : ::testing::AssertionFailure() << std::hex << dfn << " should be empty";
  if (found.pages == 0) return ::testing::AssertionFailure() << std::hex << dfn << " is empty";
  if (found.mfn.raw() != expected->second.mfn || found.access != expected->second.access)
    return ::testing::AssertionFailure()
           << std::hex << dfn << " -> " << found.mfn.raw() << " not " << expected->second.mfn;
  return ::testing::AssertionSuccess();
}

TEST(ModelPageTable, LeavesAreAsLargeAsAlignmentAllows) {
  CountingWatcher watcher;
  PageTable table(48, kAllSizes, watcher);
  std::uint64_t budget = kNoLimit;
  // 3 pages, then 2 MiB, 1 GiB, 2 MiB and 5 pages, aligned alike.
  const std::uint64_t first = (1u << 18) - 512 - 3;
  const std::uint64_t pages = 3 + 512 + (1u << 18) + 512 + 5;
  EXPECT_EQ(table.map(Dfn(first), Mfn(first + (8u << 18)), pages, Access::read, budget).pages, pages);
  EXPECT_EQ(table.leaves(0), 8u);
  EXPECT_EQ(table.leaves(1), 2u);
  EXPECT_EQ(table.leaves(2), 1u);
  EXPECT_EQ(kNoLimit - budget, 11u);
  EXPECT_EQ(table.live_pages(), pages);
  EXPECT_EQ(watcher.pages, pages);
  EXPECT_EQ(table.translate(Dfn(1u << 18)).pages, 1u << 18);
  // Not aligned alike: small leaves only.
  EXPECT_EQ(table.map(Dfn(1u << 20), Mfn(1), 1024, Access::read, budget).pages, 1024u);
  EXPECT_EQ(table.leaves(0), 8u + 1024u);
}

TEST(ModelPageTable, PageSizesNotOfferedAreNotUsed) {
  CountingWatcher watcher;
  PageTable table(64, kPageSize, watcher);
  std::uint64_t budget = kNoLimit;
  const std::uint64_t high = std::uint64_t{1} << (59 - 12);
  EXPECT_EQ(table.map(Dfn(high), Mfn(0x1000), 1024, Access::read_write, budget).pages, 1024u);
  EXPECT_EQ(table.leaves(0), 1024u);
  EXPECT_EQ(table.translate(Dfn(high + 77)).mfn, Mfn(0x1000 + 77));
  EXPECT_EQ(table.translate(Dfn(high - 1)).pages, 0u);
}

TEST(ModelPageTable, BeyondItsWidth) {
  CountingWatcher watcher;
  PageTable table(39, kAllSizes, watcher);
  std::uint64_t budget = kNoLimit;
  EXPECT_EQ(table.map(Dfn(std::uint64_t{1} << 27), Mfn(1), 1, Access::read, budget).error, EINVAL);
  EXPECT_EQ(table.map(Dfn((std::uint64_t{1} << 27) - 1), Mfn(1), 2, Access::read, budget).error, EINVAL);
  EXPECT_EQ(table.map(Dfn((std::uint64_t{1} << 27) - 1), Mfn(1), 1, Access::read, budget).error, 0);
  EXPECT_EQ(table.translate(Dfn(std::uint64_t{1} << 27)).pages, 0u);
  EXPECT_EQ(table.unmap(Dfn((std::uint64_t{1} << 27) - 1), Mfn(1), 2, false, budget).pages, 1u);
  EXPECT_EQ(watcher.pages, 0u);
}

TEST(ModelPageTable, RefusedFramesAndOverlapStopWhereTheyAre) {
  CountingWatcher watcher;
  PageTable table(48, kAllSizes, watcher);
  std::uint64_t budget = kNoLimit;
  EXPECT_EQ(table.map(Dfn(100), Mfn(7), 1, Access::read, budget).pages, 1u);
  const auto done = table.map(Dfn(90), Mfn(1000), 20, Access::read, budget);
  EXPECT_EQ(done.pages, 10u);
  EXPECT_EQ(done.error, EEXIST);
  EXPECT_EQ(table.translate(Dfn(100)).mfn, Mfn(7));
  watcher.refuse = true;
  EXPECT_EQ(table.map(Dfn(200), Mfn(7), 1, Access::read, budget).error, EPERM);
  EXPECT_EQ(table.translate(Dfn(200)).pages, 0u);
  watcher.refuse = false;
  EXPECT_EQ(table.unmap(Dfn(90), Mfn(1001), 10, false, budget).error, ENOENT);
  EXPECT_EQ(table.unmap(Dfn(89), Mfn(999), 10, false, budget).error, ENOENT);
  EXPECT_EQ(table.unmap(Dfn(90), Mfn(1000), 11, false, budget).pages, 10u);
  EXPECT_EQ(watcher.pages, 1u);
}

TEST(ModelPageTable, EmptyTablesAreGivenBack) {
  CountingWatcher watcher;
  PageTable table(48, kAllSizes, watcher);
  std::uint64_t budget = kNoLimit;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t dfn = i * 0x12345678 % (std::uint64_t{1} << 36);
    ASSERT_EQ(table.map(Dfn(dfn), Mfn(i), 1, Access::read, budget).error, 0);
  }
  EXPECT_GT(table.tables(), 800u);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t dfn = i * 0x12345678 % (std::uint64_t{1} << 36);
    ASSERT_EQ(table.unmap(Dfn(dfn), Mfn(i), 1, false, budget).error, 0);
  }
  EXPECT_EQ(table.tables(), 1u);  // the root
  EXPECT_EQ(watcher.pages, 0u);
}

// Random maps, unmaps and punches of all sizes.  In the middle of every one the
// pages outside it must translate as before.
class Random : public ::testing::TestWithParam<bool> {};

TEST_P(Random, AgreesWithReference) {
  const bool defer = GetParam();
  constexpr std::uint64_t kGig = 1u << 18;
  constexpr std::uint64_t kSpan = 2 * kGig;
  std::mt19937_64 random(defer ? 7 : 42);
  const auto below = [&](std::uint64_t n) { return random() % n; };

  CountingWatcher watcher;
  PageTable table(48, kAllSizes, watcher);
  Reference reference;
  std::uint64_t busy_first = 0, busy_last = 0;
  watcher.look = [&] {
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t dfn = i == 0 ? busy_first - 1 : i == 1 ? busy_last + 1 : below(kSpan);
      if (dfn >= busy_first && dfn <= busy_last) continue;
      ASSERT_TRUE(same(table, reference, dfn));
    }
  };
  std::uint64_t gigs = 0, punched = 0;
  for (int round = 0; round < 600; ++round) {
    if (round % 200 == 0) {
      // Room for the largest leaves.
      busy_first = 0, busy_last = kSpan;
      std::uint64_t budget = kNoLimit;
      for (const auto& [dfn, page] : reference)
        ASSERT_EQ(table.unmap(Dfn(dfn), Mfn(page.mfn), 1, defer, budget).pages, 1u);
      table.flush();
      reference.clear();
      ASSERT_EQ(table.tables(), round == 0 ? 0u : 1u);
    }
    // Where: anywhere, at 2 MiB borders, or a whole GiB; how: aligned alike or not.
    const std::uint64_t kind = round % 200 == 0 ? 0 : below(40);
    std::uint64_t dfn = below(kSpan), pages = 1 + below(40);
    if (kind == 0) {
      dfn = below(2) * kGig, pages = kGig;
    } else if (kind < 12) {
      dfn = dfn / 512 * 512, pages = 512 * (1 + below(4));
    } else if (kind < 20) {
      pages = 1 + below(1500);
    }
    pages = std::min(pages, kSpan - dfn);
    busy_first = dfn, busy_last = dfn + pages - 1;
    std::uint64_t budget = below(8) == 0 ? 1 + below(50) : kNoLimit;
    const std::uint64_t budget_before = budget;
    if (kind == 0 || below(2) == 0) {
      const std::uint64_t shift = (1 + below(4)) * 4 * kGig + (kind != 0 && below(3) == 0 ? 1 : 0);
      const Access access = static_cast<Access>(1 + below(3));
      const auto done = table.map(Dfn(dfn), Mfn(dfn + shift), pages, access, budget);
      for (std::uint64_t i = 0; i < done.pages; ++i) {
        ASSERT_FALSE(reference.contains(dfn + i));
        reference[dfn + i] = {dfn + i + shift, access};
      }
      if (done.pages < pages) {
        ASSERT_TRUE(done.error == EEXIST ? reference.contains(dfn + done.pages)
                                         : done.error == 0 && budget == 0)
            << done.error;
      }
      gigs += table.leaves(2);
    } else {
      const auto at = reference.lower_bound(dfn);
      if (at == reference.end()) continue;
      dfn = at->first;
      const std::uint64_t shift = at->second.mfn - dfn;
      busy_first = dfn, busy_last = dfn + pages - 1;
      const std::uint64_t gigs_before = table.leaves(2);
      const auto done = table.unmap(Dfn(dfn), Mfn(dfn + shift), pages, defer, budget);
      punched += gigs_before - table.leaves(2);
      for (std::uint64_t i = 0; i < done.pages; ++i) {
        const auto gone = reference.find(dfn + i);
        ASSERT_TRUE(gone != reference.end() && gone->second.mfn == dfn + i + shift);
        reference.erase(gone);
      }
      if (done.pages < pages && done.error == ENOENT) {
        const auto stopper = reference.find(dfn + done.pages);
        ASSERT_TRUE(stopper == reference.end() || stopper->second.mfn != dfn + done.pages + shift);
      } else if (done.pages < pages) {
        ASSERT_TRUE(done.error == 0 && budget == 0) << done.error;
      }
    }
    ASSERT_TRUE(budget <= budget_before);
    ASSERT_EQ(table.live_pages(), reference.size());
    if (defer) table.flush();
    ASSERT_EQ(watcher.pages, reference.size());
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(same(table, reference, below(kSpan)));
    for (const std::uint64_t edge : {dfn - 1, dfn, dfn + pages - 1, dfn + pages})
      ASSERT_TRUE(same(table, reference, edge));
    for (std::uint64_t i = 0; round % 500 == 499 && i < kSpan; ++i) ASSERT_TRUE(same(table, reference, i));
  }
  watcher.look = nullptr;
  EXPECT_GT(gigs, 0u);
  EXPECT_GT(punched, 0u);
}

INSTANTIATE_TEST_SUITE_P(ModelPageTable, Random, ::testing::Bool());

// With deferred flush no table is freed, so a walker may run beside: it never
// sees a hole in pages that stay.
TEST(ModelPageTable, PunchingShowsNoHoleToAWalker) {
  CountingWatcher watcher;
  PageTable table(48, kAllSizes, watcher);
  std::uint64_t budget = kNoLimit;
  constexpr std::uint64_t kGig = 1u << 18;
  ASSERT_EQ(table.map(Dfn(0), Mfn(kGig), kGig, Access::read_write, budget).pages, kGig);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> looked{0}, holes{0};
  std::thread walker([&] {
    std::uint64_t dfn = 1;
    while (!stop.load()) {
      dfn = (dfn + 2 * 977) % kGig;  // odd pages stay
      const auto found = table.translate(Dfn(dfn));
      if (found.pages == 0 || found.mfn != Mfn(kGig + dfn)) ++holes;
      ++looked;
    }
  });
  while (looked.load() == 0) std::this_thread::yield();
  for (std::uint64_t dfn = 0; dfn < 32768; dfn += 2)
    ASSERT_EQ(table.unmap(Dfn(dfn), Mfn(kGig + dfn), 1, true, budget).pages, 1u);
  stop = true;
  walker.join();
  EXPECT_EQ(holes.load(), 0u);
  EXPECT_GT(looked.load(), 1u);
}

TEST(ModelPageTable, DeferredEntriesTranslateUntilFlush) {
  CountingWatcher watcher;
  PageTable table(48, kAllSizes, watcher);
  std::uint64_t budget = kNoLimit;
  ASSERT_EQ(table.map(Dfn(0), Mfn(512), 512, Access::read, budget).pages, 512u);
  ASSERT_EQ(table.unmap(Dfn(0), Mfn(512), 512, true, budget).pages, 512u);
  EXPECT_EQ(table.live_pages(), 0u);
  EXPECT_EQ(watcher.pages, 512u);
  EXPECT_EQ(table.translate(Dfn(3)).mfn, Mfn(515));
  EXPECT_EQ(table.unmap(Dfn(0), Mfn(512), 1, true, budget).error, ENOENT);
  // Mapped again on top: the new frame from here on.
  ASSERT_EQ(table.map(Dfn(3), Mfn(9), 1, Access::read, budget).pages, 1u);
  EXPECT_EQ(table.translate(Dfn(3)).mfn, Mfn(9));
  EXPECT_EQ(table.translate(Dfn(4)).mfn, Mfn(516));
  table.flush();
  EXPECT_EQ(table.translate(Dfn(3)).mfn, Mfn(9));
  EXPECT_EQ(table.translate(Dfn(4)).pages, 0u);
  EXPECT_EQ(watcher.pages, 1u);
}

}  // namespace
}  // namespace pviommu::model
