// SPDX-License-Identifier: LGPL-2.1-or-later
// The n-th hypercall fails, for every n: the state is as before, nothing is
// pinned that is not mapped, and nothing is given back that a device may reach.
#include <gtest/gtest.h>

#include <algorithm>

#include "hypercall/statistics.h"
#include "pviommu/address_space.h"
#include "pviommu/hypercall_iommu.h"
#include "pviommu_fakes.h"

namespace pviommu {
namespace {

using test::FakeFrames;
using test::FakeSpaces;

constexpr std::uint64_t kPage = kPageSize;
constexpr Access rw = Access::read_write;

struct Limits {
  const char* name;
  std::uint32_t runs;
  std::uint64_t pages;
  std::uint64_t progress;   ///< FakeSpaces::pages_a_call
  std::uint64_t scatter;
  std::uint64_t before_failure;
  bool deferred_flush;
};

class Failure : public ::testing::TestWithParam<Limits> {
 protected:
  void SetUp() override {
    hypervisor.limits.max_runs_per_call = GetParam().runs;
    hypervisor.limits.max_entries_per_call = GetParam().pages;
    hypervisor.limits.deferred_flush = GetParam().deferred_flush;
    hypervisor.pages_a_call = GetParam().progress;
    hypervisor.scatter = GetParam().scatter;
    hypervisor.fail_after = GetParam().before_failure;
    driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
  }
  void TearDown() override {
    EXPECT_TRUE(hypervisor.violations.empty()) << hypervisor.violations[0];
  }
  std::unique_ptr<AddressSpace> open() {
    auto space = AddressSpace::create(*driver, hypervisor, frames, {});
    return space ? std::move(*space) : nullptr;
  }
  void arm(int n) {
    hypervisor.calls = 0;
    hypervisor.fail_at = n;
  }
  void expect_clean() {
    EXPECT_EQ(frames.live, 0);
    EXPECT_EQ(hypervisor.known.size(), 0u);
    EXPECT_EQ(hypervisor.live_pages(), 0u);
    EXPECT_EQ(hypervisor.spaces.size(), 0u);
  }

  FakeSpaces hypervisor;
  FakeFrames frames;
  std::unique_ptr<IommuDriver> driver;
};
INSTANTIATE_TEST_SUITE_P(Limits, Failure,
                         ::testing::Values(Limits{"none", 0, 0, 0, 0, 0, false},
                                           Limits{"scattered", 0, 0, 0, 2, 3, false},
                                           Limits{"xen", 1, 64, 0, 5, 2, true},
                                           Limits{"papr", 8, 16, 7, 3, 4, false},
                                           Limits{"slow", 4, 0, 3, 2, 1, true}),
                         [](const auto& info) { return info.param.name; });

TEST_P(Failure, Map) {
  bool failed = true;
  int failures = 0;
  for (int n = 1; failed; ++n) {
    ASSERT_LT(n, 500);
    auto space = open();
    ASSERT_TRUE(space->map(Iova(0x100000), Hva(0x7000000), 4 * kPage, rw));
    const auto before = hypervisor.spaces;
    arm(n);
    const Status status = space->map(Iova(0x200000), Hva(0x8000000), 40 * kPage, rw);
    failed = !status;
    arm(0);
    if (failed) {
      ++failures;
      EXPECT_EQ(status.error().code, EREMOTEIO) << n;
      EXPECT_EQ(status.error().raw, -77);
      EXPECT_EQ(frames.live, 1) << n;
      EXPECT_EQ(hypervisor.live_pages(), 4u) << n;
      EXPECT_EQ(space->available(), 65534u);
      // The same place can be used.
      ASSERT_TRUE(space->map(Iova(0x200000), Hva(0x8000000), 40 * kPage, rw)) << n;
    }
    EXPECT_EQ(hypervisor.live_pages(), 44u);
    space.reset();
    expect_clean();
  }
  EXPECT_GE(failures, 2);
}

TEST_P(Failure, Pin) {
  auto space = open();
  frames.fail_at = 1;
  EXPECT_EQ(space->map(Iova(0), Hva(0x8000000), 4 * kPage, rw).error().code, EFAULT);
  // The third piece of a large mapping.
  frames.fail_at = 4;
  EXPECT_EQ(space->map(Iova(0x100000000), Hva(0x8000000), std::uint64_t{3} << 30, rw).error().code, EFAULT);
  EXPECT_EQ(frames.live, 0);
  EXPECT_EQ(hypervisor.known.size(), 0u);
  EXPECT_EQ(space->available(), 65535u);
  space.reset();
  expect_clean();
}

TEST_P(Failure, UnmapOneAndMany) {
  for (const bool many : {false, true}) {
    bool failed = true;
    int failures = 0;
    for (int n = 1; failed; ++n) {
      ASSERT_LT(n, 500);
      auto space = open();
      for (unsigned i = 0; i < 5; ++i)
        ASSERT_TRUE(space->map(Iova(0x100000 * (i + 1)), Hva(0x7000000), (7 + i) * kPage, rw));
      const auto before = hypervisor.spaces.begin()->second.pages;
      arm(n);
      const auto bytes = many ? space->unmap(Iova(0x100000), 0x400000) : space->unmap(Iova(0x200000), 8 * kPage);
      failed = !bytes;
      arm(0);
      if (failed) {
        ++failures;
        EXPECT_EQ(bytes.error().code, EREMOTEIO);
        EXPECT_EQ(hypervisor.spaces.begin()->second.pages, before) << n;
        EXPECT_EQ(frames.live, 5);
        EXPECT_EQ(space->available(), 65530u);
        const auto again = many ? space->unmap(Iova(0x100000), 0x400000) : space->unmap(Iova(0x200000), 8 * kPage);
        ASSERT_TRUE(again) << n;
        EXPECT_EQ(*again, (many ? 34 : 8) * kPage);
      }
      EXPECT_EQ(frames.live, many ? 1 : 4);
      EXPECT_EQ(hypervisor.live_pages(), many ? 11u : 37u);
      space.reset();
      expect_clean();
    }
    EXPECT_GE(failures, 1);
  }
}

TEST_P(Failure, OpenAttachDetachClose) {
  for (int n = 1; n < 60; ++n) {
    arm(n);
    {
      auto space = open();
      if (space) {
        const Status attached = space->attach(make_sbdf(0, 0, 1, 0));
        (void)space->map(Iova(0), Hva(0x7000000), 9 * kPage, rw);
        if (attached) {
          // A device whose detaching failed is attached as before.
          if (!space->detach(make_sbdf(0, 0, 1, 0))) {
            ASSERT_TRUE(space->detach(make_sbdf(0, 0, 1, 0)));
          }
        } else {
          EXPECT_EQ(hypervisor.spaces.begin()->second.devices.size(), 0u);
        }
      }
    }
    arm(0);
    expect_clean();
  }
}

TEST_P(Failure, TeardownKeepsWhatIsNotConfirmed) {
  auto space = open();
  for (unsigned i = 0; i < 4; ++i)
    ASSERT_TRUE(space->map(Iova(0x100000 * (i + 1)), Hva(0x7000000), 7 * kPage, rw));
  const std::uint64_t before = AddressSpace::abandoned_pages();
  // The hypervisor goes away altogether.
  hypervisor.calls = 0;
  hypervisor.fail_from = 1;
  hypervisor.fail_after = 0;
  ::testing::internal::CaptureStderr();
  space.reset();
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(AddressSpace::abandoned_pages() - before, 28u);
  EXPECT_EQ(frames.live, 4);
  EXPECT_EQ(hypervisor.known.size(), 4u);
  EXPECT_NE(line.find("28 pages"), std::string::npos) << line;
  // One line for the pages, one for the address space that could not be destroyed.
  EXPECT_NE(line.find("left behind"), std::string::npos) << line;
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 2);
}

TEST_P(Failure, TeardownSavesTheOthers) {
  auto space = open();
  for (unsigned i = 0; i < 4; ++i)
    ASSERT_TRUE(space->map(Iova(0x100000 * (i + 1)), Hva(0x7000000), 7 * kPage, rw));
  // Somebody took away a page of the third one.
  auto& pages = hypervisor.spaces.begin()->second.pages;
  pages.erase(pages.find(0x303));
  const std::uint64_t before = AddressSpace::abandoned_pages();
  ::testing::internal::CaptureStderr();
  space.reset();
  (void)::testing::internal::GetCapturedStderr();
  EXPECT_EQ(AddressSpace::abandoned_pages() - before, 7u);
  EXPECT_EQ(frames.live, 1);
}

TEST_P(Failure, LostStateStopsFurtherMappings) {
  hypervisor.scatter = 2;
  hypervisor.limits.max_runs_per_call = 2;
  hypervisor.fail_after = 0;
  driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
  auto space = open();
  ASSERT_TRUE(space->map(Iova(0x100000), Hva(0x7000000), 2 * kPage, rw));
  const std::uint64_t before = AddressSpace::abandoned_pages();
  // Mapping stops in the middle, and what was mapped cannot be unmapped.
  hypervisor.calls = 0;
  hypervisor.fail_from = 3;
  const Status status = space->map(Iova(0x200000), Hva(0x7000000), 20 * kPage, rw);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, EIO);
  EXPECT_TRUE(status.error().state_lost);
  EXPECT_EQ(AddressSpace::abandoned_pages() - before, 20u);
  EXPECT_EQ(frames.live, 2);
  hypervisor.fail_from = 0;
  EXPECT_EQ(space->map(Iova(0x900000), Hva(0x7000000), kPage, rw).error().code, EIO);
  EXPECT_EQ(*space->unmap(Iova(0x100000), 2 * kPage), 2 * kPage);
}

}  // namespace
}  // namespace pviommu
