// SPDX-License-Identifier: LGPL-2.1-or-later
// A hypervisor, or a driver, that cannot say any more what is mapped
// (Error::state_lost): what devices may reach stays pinned, nothing further is
// mapped, and no text of an error has a part in it.
//
// FakeSpaces remembers the frames of each call that lost the state and
// reports a violation when memory with one of them is given back.
#include <gtest/gtest.h>

#include "pviommu/address_space.h"
#include "pviommu/hypercall_iommu.h"
#include "pviommu_fakes.h"

namespace pviommu {
namespace {

using test::FakeFrames;
using test::FakeSpaces;

constexpr std::uint64_t kPage = kPageSize;
constexpr Access rw = Access::read_write;
constexpr Sbdf kDevice = make_sbdf(0, 0, 1, 0);

struct Shape {
  const char* name;
  std::uint32_t runs;            ///< of a call
  std::uint64_t scatter;         ///< pages a run of frames
  std::uint64_t before_failure;  ///< pages that a failing call does all the same
  bool deferred_flush;
};

class StateLost : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    hypervisor.limits.max_runs_per_call = GetParam().runs;
    hypervisor.limits.deferred_flush = GetParam().deferred_flush;
    hypervisor.scatter = GetParam().scatter;
    hypervisor.fail_after = GetParam().before_failure;
    driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
  }
  void TearDown() override { EXPECT_TRUE(hypervisor.violations.empty()) << hypervisor.violations[0]; }

  std::unique_ptr<AddressSpace> open() {
    auto space = AddressSpace::create(*driver, hypervisor, frames, {});
    return space ? std::move(*space) : nullptr;
  }
  /// The `fail`-th call from now fails, the `lose`-th loses the state; 0: none.
  void arm(int fail, int lose) {
    hypervisor.calls = 0;
    hypervisor.fail_at = fail;
    hypervisor.lose_at = lose;
  }
  /// The end of the space, with what it says to people kept off the terminal.
  static void end(std::unique_ptr<AddressSpace>& space) {
    ::testing::internal::CaptureStderr();
    space.reset();
    (void)::testing::internal::GetCapturedStderr();
  }
  void expect_no_more_maps(AddressSpace& space) {
    EXPECT_EQ(space.map(Iova(0x40000000), Hva(0x9000000), kPage, rw).error().code, EIO);
  }

  FakeSpaces hypervisor;
  FakeFrames frames;
  std::unique_ptr<IommuDriver> driver;
};
INSTANTIATE_TEST_SUITE_P(Shapes, StateLost,
                         ::testing::Values(Shape{"one_call", 0, 0, 0, false}, Shape{"half_a_call", 0, 2, 3, false},
                                           Shape{"many_calls", 2, 2, 1, false}, Shape{"flushed", 2, 3, 2, true}),
                         [](const auto& info) { return info.param.name; });

TEST_P(StateLost, InAMapAtEachCall) {
  // Alone, and while a map that failed at the `fail`-th call is taken back.
  for (int fail = 0; fail <= 3; ++fail) {
    bool lost = true;
    int losses = 0;
    for (int lose = fail + 1; lost; ++lose) {
      ASSERT_LT(lose, 200);
      const int live = frames.live;
      const std::uint64_t abandoned = AddressSpace::abandoned_pages();
      auto space = open();
      ASSERT_TRUE(space->map(Iova(0x100000), Hva(0x7000000), 4 * kPage, rw));
      arm(fail, lose);
      const Status status = space->map(Iova(0x200000), Hva(0x8000000), 20 * kPage, rw);
      // The first call of the request is frames_of(), which maps nothing.
      lost = hypervisor.calls >= lose && lose > 1;
      const bool reached = hypervisor.calls >= lose;
      arm(0, 0);
      if (lost) {
        ++losses;
        ASSERT_FALSE(status) << fail << "/" << lose;
        EXPECT_EQ(status.error().code, EIO);
        EXPECT_TRUE(status.error().state_lost) << fail << "/" << lose;
        EXPECT_EQ(frames.live, live + 2) << fail << "/" << lose;
        EXPECT_EQ(AddressSpace::abandoned_pages() - abandoned, 20u);
        expect_no_more_maps(*space);
      }
      // What it is not about can be unmapped.
      EXPECT_TRUE(space->unmap(Iova(0x100000), 4 * kPage));
      if (!lost && status) {
        EXPECT_TRUE(space->unmap(Iova(0x200000), 20 * kPage));
      }
      end(space);
      EXPECT_EQ(frames.live, live + (lost ? 1 : 0)) << fail << "/" << lose;
      lost = reached;
    }
    // The first call of the hypervisor is frames_of(); the second one maps.
    if (fail == 0 || (fail == 2 && GetParam().before_failure != 0)) {
      EXPECT_GE(losses, 1) << fail;
    }
  }
}

TEST_P(StateLost, InAnUnmapAtEachCall) {
  for (const bool many : {false, true})
    for (int fail = 0; fail <= 3; ++fail) {
      bool lost = true;
      int losses = 0;
      for (int lose = fail + 1; lost; ++lose) {
        ASSERT_LT(lose, 200);
        const int live = frames.live;
        const std::uint64_t abandoned = AddressSpace::abandoned_pages();
        auto space = open();
        for (unsigned i = 0; i < 4; ++i)
          ASSERT_TRUE(space->map(Iova(0x100000 * (i + 1)), Hva(0x7000000), (7 + i) * kPage, rw));
        const auto unmap = [&] {
          return many ? space->unmap(Iova(0x100000), 0x300000) : space->unmap(Iova(0x200000), 8 * kPage);
        };
        arm(fail, lose);
        const auto bytes = unmap();
        lost = hypervisor.calls >= lose;
        arm(0, 0);
        if (lost) {
          ++losses;
          ASSERT_FALSE(bytes) << fail << "/" << lose;
          EXPECT_EQ(bytes.error().code, EIO);
          EXPECT_TRUE(bytes.error().state_lost) << fail << "/" << lose;
          EXPECT_EQ(frames.live, live + 4);
          // The hypervisor is well again: it would say that all of it is unmapped.
          EXPECT_EQ(unmap().error().code, EIO);
          EXPECT_EQ(space->unmap_all().error().code, EIO);
          EXPECT_EQ(frames.live, live + 4) << fail << "/" << lose;
          expect_no_more_maps(*space);
          EXPECT_TRUE(space->unmap(Iova(0x400000), 10 * kPage));
        }
        end(space);
        const std::uint64_t pages = many ? 7 + 8 + 9 : 8;
        EXPECT_EQ(AddressSpace::abandoned_pages() - abandoned, lost ? pages : 0u) << fail << "/" << lose;
        EXPECT_EQ(frames.live, live + (!lost ? 0 : many ? 3 : 1));
      }
      if (fail == 0) {
        EXPECT_GE(losses, 1);
      }
    }
}

TEST_P(StateLost, InTheUnmapOfTheEnd) {
  for (int lose = 1; lose <= 3; ++lose) {
    auto space = open();
    for (unsigned i = 0; i < 3; ++i)
      ASSERT_TRUE(space->map(Iova(0x100000 * (i + 1)), Hva(0x7000000), 7 * kPage, rw));
    const int live = frames.live;
    arm(0, lose);
    end(space);
    const bool lost = !hypervisor.within_reach.empty();
    arm(0, 0);
    // All were in the request that lost the state.
    EXPECT_EQ(frames.live, lost ? live : live - 3) << lose;
    hypervisor.within_reach.clear();
  }
}

TEST_P(StateLost, InAttachAndDetach) {
  for (const bool detach : {false, true}) {
    const int live = frames.live;
    auto space = open();
    ASSERT_TRUE(space->map(Iova(0x100000), Hva(0x7000000), 4 * kPage, rw));
    if (detach) {
      ASSERT_TRUE(space->attach(kDevice));
    }
    arm(0, 1);
    EXPECT_TRUE((detach ? space->detach(kDevice) : space->attach(kDevice)).error().state_lost);
    arm(0, 0);
    // Any frame of the space.
    EXPECT_EQ(space->unmap(Iova(0x100000), 4 * kPage).error().code, EIO);
    expect_no_more_maps(*space);
    if (detach) {
      EXPECT_TRUE(space->detach(kDevice));
    }
    end(space);
    EXPECT_EQ(frames.live, live + 1);
  }
}

TEST_P(StateLost, ANewSpaceIsNotConcerned) {
  auto space = open();
  arm(0, 2);
  EXPECT_TRUE(space->map(Iova(0x200000), Hva(0x8000000), 20 * kPage, rw).error().state_lost);
  arm(0, 0);
  expect_no_more_maps(*space);
  ::testing::internal::CaptureStderr();
  space->close();
  (void)::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(space->reopen({}));
  EXPECT_TRUE(space->map(Iova(0x200000), Hva(0x8000000), 20 * kPage, rw));
  EXPECT_EQ(*space->unmap_all(), 20 * kPage);
}

// ---- a dead space ----------------------------------------------------------------

/// A hypervisor that gives a space up: nothing changes any more after an overwrite.
class DyingSpaces final : public FakeSpaces {
 public:
  bool dead = false;

  BatchResult map(SpaceId space, std::span<const MapRun> runs) override {
    if (dead) return {0, Error{EIO, "the space is dead"}};
    const BatchResult result = FakeSpaces::map(space, runs);
    if (!result.status && result.status.error().code == EEXIST) die();
    return result;
  }
  BatchResult unmap(SpaceId space, std::span<const UnmapRun> runs) override {
    if (dead) return {0, Error{EIO, "the space is dead"}};
    return FakeSpaces::unmap(space, runs);
  }

 private:
  void die() {
    dead = true;
    for (const auto& [id, space] : spaces)
      for (const auto& [dfn, entry] : space.pages) within_reach.insert(entry.mfn.raw());
  }
};

TEST(StateLostInADeadSpace, WhatItHoldsStaysPinnedAndNothingElse) {
  // The entry that kills the space is in the way of the n-th page.
  for (const std::uint64_t n : {0, 1, 5}) {
    DyingSpaces hypervisor;
    hypervisor.scatter = 1;
    FakeFrames frames;
    const auto driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
    auto space = *AddressSpace::create(*driver, hypervisor, frames, {});
    ASSERT_TRUE(space->map(Iova(0x100000), Hva(0x7000000), 4 * kPage, rw));
    hypervisor.spaces.begin()->second.pages[0x200 + n] = {Mfn(7), rw};
    const Status status = space->map(Iova(0x200000), Hva(0x8000000), 8 * kPage, rw);
    ASSERT_FALSE(status);
    // Without a page done devices reach none of it, and none of it stays pinned.
    EXPECT_EQ(status.error().state_lost, n != 0);
    EXPECT_EQ(status.error().code, n != 0 ? EIO : EEXIST);
    EXPECT_EQ(frames.live, n != 0 ? 2 : 1);
    EXPECT_EQ(space->unmap(Iova(0x100000), 4 * kPage).error().code, EIO);
    EXPECT_EQ(space->map(Iova(0x300000), Hva(0x8000000), kPage, rw).error().code, EIO);
    const int live = frames.live;
    ::testing::internal::CaptureStderr();
    space.reset();
    (void)::testing::internal::GetCapturedStderr();
    EXPECT_EQ(frames.live, live);
    EXPECT_TRUE(hypervisor.violations.empty()) << hypervisor.violations[0];
  }
}

// ---- another driver ----------------------------------------------------------------

/// Answers what it is told to.
class ToldDriver final : public IommuDriver {
 public:
  explicit ToldDriver(const Capabilities& limits) : limits_(limits) {}
  Status answer;

  std::string_view name() const override { return "told"; }
  const Capabilities& capabilities() const override { return limits_; }
  Result<std::unique_ptr<IommuDomain>> create_domain(const SpaceConfig&) override {
    return std::unique_ptr<IommuDomain>(new Domain(*this));
  }

 private:
  class Domain final : public IommuDomain {
   public:
    explicit Domain(ToldDriver& driver) : driver_(driver) {}
    Status attach(Sbdf) override { return driver_.answer; }
    Status detach(Sbdf) override { return driver_.answer; }
    Status map(std::span<const MapRun>) override { return driver_.answer; }
    Status unmap(std::span<const MapRun>) override { return driver_.answer; }

   private:
    ToldDriver& driver_;
  };
  const Capabilities& limits_;
};

TEST(StateLostBySomeDriver, TheFlagDecidesAndNoText) {
  const Error plain[] = {{EIO, "map: state lost"},
                         {EIO, "unmap: state lost", -5},
                         Error{EIO, "map"}.with_sentence("state lost")};
  const Error lost[] = {{EIO, "map", 0, true},
                        {ENOMEM, "", -3, true},
                        Error{EBUSY, "unmap", 0, true}.with_sentence("a word for people")};
  for (const bool unmap : {false, true})
    for (const bool flag : {false, true})
      for (const Error& error : flag ? lost : plain) {
        FakeSpaces hypervisor;
        FakeFrames frames;
        ToldDriver driver(hypervisor.limits);
        auto space = *AddressSpace::create(driver, hypervisor, frames, {});
        if (unmap) {
          ASSERT_TRUE(space->map(Iova(0x100000), Hva(0x7000000), kPage, rw));
        }
        driver.answer = error;
        if (unmap)
          EXPECT_EQ(space->unmap(Iova(0x100000), kPage).error().code, error.code);
        else
          EXPECT_EQ(space->map(Iova(0x100000), Hva(0x7000000), kPage, rw).error().code, error.code);
        EXPECT_EQ(frames.live, unmap || flag ? 1 : 0);
        driver.answer = {};
        EXPECT_EQ(space->map(Iova(0x200000), Hva(0x7000000), kPage, rw).ok(), !flag);
        ::testing::internal::CaptureStderr();
        space.reset();
        (void)::testing::internal::GetCapturedStderr();
        EXPECT_EQ(frames.live, flag ? 1 : 0);
      }
}

}  // namespace
}  // namespace pviommu
