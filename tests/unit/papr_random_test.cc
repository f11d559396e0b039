// SPDX-License-Identifier: LGPL-2.1-or-later
// Long sequences of maps and unmaps with failures at random places, beside a record of
// what has to be there.
#include <gtest/gtest.h>

#include <random>

#include "tests/papr/model.h"

namespace papr_model {
namespace {

constexpr std::uint64_t kEntries = 4096;  // of the window are used

class PaprRandom : public testing::TestWithParam<unsigned> {
 protected:
  std::uint64_t pick(std::uint64_t least, std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(least, most)(random);
  }
  std::mt19937_64 random{GetParam()};
};

TEST_P(PaprRandom, TheTableIsAsRecorded) {
  Model model({});
  const Liobn liobn = model.default_window(0).liobn;
  WindowGeometry geometry = model.default_window(0);
  geometry.memory_last = RealAddress(model.memory_bytes() - 1);
  std::optional<TceWindow> window(std::in_place, model.port(), geometry);
  std::map<std::uint64_t, std::uint64_t> record;
  constexpr Rc kAnswers[] = {kHardware, kBusy, kFunction, kParameter, kResource, 9900, 9902};

  for (unsigned step = 0; step < 4000; ++step) {
    if (step % 50 == 0) window.emplace(model.port(), geometry);  // forgets what H_FUNCTION taught it
    const std::uint64_t first = pick(0, kEntries - 1);
    std::uint64_t count = pick(1, std::min<std::uint64_t>(pick(0, 9) == 0 ? 1500 : 20, kEntries - first));
    const bool fails = pick(0, 2) == 0;
    model.fail_hcall(fails ? static_cast<unsigned>(pick(1, 5)) : 0,
                     kAnswers[pick(0, std::size(kAnswers) - 1)], 1, pick(0, 1) == 0);
    if (pick(0, 1) == 0) {
      // The contract: what is mapped was empty.
      const auto next = record.lower_bound(first);
      if (next != record.end()) count = std::min(count, next->first - first);
      if (count == 0) continue;
      std::vector<Tce> tces;
      for (std::uint64_t i = 0; i < count; ++i)
        tces.push_back(make_tce(RealAddress(pick(0, 1000) * kPageSize), static_cast<Access>(pick(1, 3))));
      const WindowResult result = window->map(Ioba(first * kPageSize), tces.data(), count);
      EXPECT_EQ(result ? count : 0, result.done);
      EXPECT_FALSE(result.uncertain);
      EXPECT_TRUE(result || fails);
      if (result)
        for (std::uint64_t i = 0; i < count; ++i) record[first + i] = tces[i].raw();
    } else {
      // One failure does not keep an unmap from its end.
      const WindowResult result = window->unmap(Ioba(first * kPageSize), count);
      EXPECT_TRUE(result);
      EXPECT_EQ(count, result.done);
      record.erase(record.lower_bound(first), record.lower_bound(first + count));
    }
    model.fail_hcall(0, 0);
    ASSERT_EQ(record, model.table(liobn)->tces) << "step " << step;
  }
  EXPECT_FALSE(record.empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, PaprRandom, testing::Range(1u, 9u));

}  // namespace
}  // namespace papr_model
