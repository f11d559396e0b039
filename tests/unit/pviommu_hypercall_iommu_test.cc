// SPDX-License-Identifier: LGPL-2.1-or-later
// The built-in driver: how runs become calls.
#include "pviommu/hypercall_iommu.h"

#include <gtest/gtest.h>

#include "pviommu_fakes.h"

namespace pviommu {
namespace {

using test::FakeSpaces;

constexpr Access rw = Access::read_write;

class HypercallIommu : public ::testing::Test {
 protected:
  void open() {
    domain.reset();
    driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
    domain = *driver->create_domain({});
    hypervisor.maps = hypervisor.unmaps = 0;
    hypervisor.runs_per_call.clear();
  }
  std::vector<MapRun> scattered(unsigned count, std::uint64_t pages) {
    std::vector<MapRun> runs;
    for (unsigned i = 0; i < count; ++i) runs.push_back({Dfn(i * pages), Mfn(1000 + i * (pages + 1)), pages, rw});
    return runs;
  }
  void TearDown() override {
    domain.reset();
    EXPECT_TRUE(hypervisor.violations.empty()) << hypervisor.violations[0];
  }
  FakeSpaces hypervisor;
  std::unique_ptr<IommuDriver> driver;
  std::unique_ptr<IommuDomain> domain;
};

TEST_F(HypercallIommu, JoinsRunsThatGoOn) {
  open();
  std::vector<MapRun> runs;
  for (unsigned i = 0; i < 100; ++i) runs.push_back({Dfn(i), Mfn(500 + i), 1, rw});
  ASSERT_TRUE(domain->map(runs));
  EXPECT_EQ(hypervisor.maps, 1);
  EXPECT_EQ(hypervisor.runs_per_call, std::vector<std::size_t>{1});
  EXPECT_EQ(hypervisor.live_pages(), 100u);
  // Other rights are another run.
  runs = {{Dfn(200), Mfn(1), 1, rw}, {Dfn(201), Mfn(2), 1, Access::read}};
  ASSERT_TRUE(domain->map(runs));
  EXPECT_EQ(hypervisor.runs_per_call.back(), 2u);
  ASSERT_TRUE(domain->unmap(runs));
}

TEST_F(HypercallIommu, PacksRunsIntoCalls) {
  hypervisor.limits.max_runs_per_call = 16;
  open();
  const auto runs = scattered(100, 3);
  ASSERT_TRUE(domain->map(runs));
  EXPECT_EQ(hypervisor.maps, 7);
  EXPECT_EQ(hypervisor.live_pages(), 300u);
  ASSERT_TRUE(domain->unmap(runs));
  EXPECT_EQ(hypervisor.unmaps, 7);
  EXPECT_EQ(hypervisor.live_pages(), 0u);
}

TEST_F(HypercallIommu, CountsEntriesNotPages) {
  hypervisor.limits.max_entries_per_call = 64;
  open();
  // 128 MiB, aligned to 2 MiB on both sides: 64 entries.
  const MapRun aligned{Dfn(0x80000), Mfn(0x100000), 64 * 512, rw};
  ASSERT_TRUE(domain->map(std::span(&aligned, 1)));
  EXPECT_EQ(hypervisor.maps, 1);
  // Shifted by a page: 4 KiB entries only.
  const MapRun shifted{Dfn(0x200000), Mfn(0x300001), 640, rw};
  ASSERT_TRUE(domain->map(std::span(&shifted, 1)));
  EXPECT_EQ(hypervisor.maps, 11);
  // A head and a tail of single pages around two large ones.
  const MapRun mixed{Dfn(0x3fffff), Mfn(0x5fffff), 1 + 1024 + 3, rw};
  ASSERT_TRUE(domain->map(std::span(&mixed, 1)));
  EXPECT_EQ(hypervisor.maps, 12);
}

TEST_F(HypercallIommu, GoesOnAfterPartialProgress) {
  hypervisor.pages_a_call = 7;
  open();
  const auto runs = scattered(10, 10);
  ASSERT_TRUE(domain->map(runs));
  EXPECT_EQ(hypervisor.maps, 15);
  EXPECT_EQ(hypervisor.live_pages(), 100u);
  ASSERT_TRUE(domain->unmap(runs));
  EXPECT_EQ(hypervisor.live_pages(), 0u);
}

TEST_F(HypercallIommu, NoProgressIsAnErrorAfterAWhile) {
  open();
  hypervisor.stuck = true;
  const auto runs = scattered(2, 2);
  EXPECT_EQ(domain->map(runs).error().code, EIO);
  EXPECT_LT(hypervisor.maps, 100);
  hypervisor.stuck = false;
  ASSERT_TRUE(domain->map(runs));
  hypervisor.stuck = true;
  EXPECT_EQ(domain->unmap(runs).error().code, EIO);
  hypervisor.stuck = false;
  EXPECT_EQ(hypervisor.live_pages(), 4u);
}

TEST_F(HypercallIommu, ExistingEntryIsLeftAlone) {
  open();
  const MapRun there{Dfn(15), Mfn(7), 1, Access::read};
  ASSERT_TRUE(domain->map(std::span(&there, 1)));
  const auto runs = scattered(10, 3);
  EXPECT_EQ(domain->map(runs).error().code, EEXIST);
  ASSERT_EQ(hypervisor.live_pages(), 1u);
  EXPECT_EQ(hypervisor.spaces.begin()->second.pages.at(15), (FakeSpaces::Entry{Mfn(7), Access::read}));
}

TEST_F(HypercallIommu, FlushesWhereTheHypervisorDoesNot) {
  hypervisor.limits.deferred_flush = true;
  open();
  const auto runs = scattered(10, 3);
  ASSERT_TRUE(domain->map(runs));
  EXPECT_EQ(hypervisor.flushes, 0);
  ASSERT_TRUE(domain->unmap(runs));
  EXPECT_EQ(hypervisor.flushes, 1);
  // An unmap that cannot be flushed is undone.
  ASSERT_TRUE(domain->map(runs));
  hypervisor.fail_if = [](const char* what) { return std::string_view(what) == "flush"; };
  EXPECT_EQ(domain->unmap(runs).error().code, EREMOTEIO);
  EXPECT_EQ(hypervisor.live_pages(), 30u);
  hypervisor.fail_if = nullptr;
}

TEST_F(HypercallIommu, UnmapThatCannotBeUndoneSaysSo) {
  hypervisor.limits.max_runs_per_call = 2;
  open();
  const auto runs = scattered(10, 1);
  ASSERT_TRUE(domain->map(runs));
  hypervisor.calls = 0;
  hypervisor.fail_from = 2;
  const Status status = domain->unmap(runs);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, EIO);
  EXPECT_TRUE(status.error().state_lost);
  hypervisor.fail_from = 0;
}

TEST(IommuRegistry, DefaultUnknownAndBadConfiguration) {
  const auto model = open_hypervisor("model:edu");
  ASSERT_TRUE(model) << to_string(model.error());
  Hypervisor& hypervisor = **model;
  for (const char* name : {"", "hypercall", "hypercall:"}) {
    auto opened = open_iommu_driver(name, hypervisor);
    ASSERT_TRUE(opened) << name;
    EXPECT_EQ((*opened)->name(), "hypercall");
  }
  auto opened = open_iommu_driver("hypercall:fast", hypervisor);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EINVAL);
  EXPECT_NE(to_string(opened.error()).find("fast"), std::string::npos);
  opened = open_iommu_driver("nosuch", hypervisor);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ENOENT);
  EXPECT_FALSE(opened.error().sentence.empty());
}

}  // namespace
}  // namespace pviommu
