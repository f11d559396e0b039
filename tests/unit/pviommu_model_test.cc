// SPDX-License-Identifier: LGPL-2.1-or-later
// Address spaces on the model hypervisor with real pins.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "hypercall/backend.h"
#include "hypercall/statistics.h"
#include "pviommu/address_space.h"

namespace pviommu {
namespace {

class OnTheModel : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Configurations, OnTheModel,
                         ::testing::Values("model", "model:frames=scattered", "model:limits=xen,frames=scattered",
                                           "model:limits=papr"));

TEST_P(OnTheModel, MapsAndGivesBackEverything) {
  auto hypervisor = open_hypervisor(GetParam());
  ASSERT_TRUE(hypervisor) << to_string(hypervisor.error());
  auto driver = open_iommu_driver("", **hypervisor);
  ASSERT_TRUE(driver) << to_string(driver.error());
  const auto frames = make_frame_source("auto");
  ASSERT_TRUE(frames) << to_string(frames.error());
  const auto pinned = statistics().pinned_pages.load(), live = statistics().live_pages();
  const Capabilities& limits = (*driver)->capabilities();
  const std::uint64_t page = limits.page_sizes & -limits.page_sizes;
  constexpr std::uint64_t kBytes = 4 << 20;
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const Hva hva(reinterpret_cast<std::uintptr_t>(memory));
  {
    auto space = AddressSpace::create(**driver, (*hypervisor)->spaces(), *frames->source, {});
    ASSERT_TRUE(space);
    const std::uint64_t iova = limits.iova_ranges.back().first().raw() + (1 << 20);
    const Status whole = (*space)->map(Iova(iova), hva, kBytes, Access::read_write);
    ASSERT_TRUE(whole) << to_string(whole.error());
    EXPECT_EQ((*space)->map(Iova(iova + page), hva, page, Access::read_write).error().code, EEXIST);
    // The same memory a second time, a smallest page at a time.
    for (std::uint64_t at = 0; at < 64; ++at)
      ASSERT_TRUE((*space)->map(Iova(iova + kBytes + at * page), Hva(hva.raw() + at * page % kBytes), page,
                                Access::read_write));
    EXPECT_EQ(statistics().live_pages() - live, (kBytes + 64 * page) / kPageSize);
    EXPECT_EQ(*(*space)->unmap(Iova(iova), kBytes + 32 * page), kBytes + 32 * page);
    EXPECT_EQ(statistics().live_pages() - live, 32 * page / kPageSize);
  }
  EXPECT_EQ(statistics().live_pages(), live);
  EXPECT_EQ(statistics().pinned_pages.load(), pinned);
  ::munmap(memory, kBytes);
}

}  // namespace
}  // namespace pviommu
