// SPDX-License-Identifier: LGPL-2.1-or-later
// Address spaces: what Linux 6.1's type1 and type1v2 answered to each request.
// The names in comments are the kernel's cases.
#include "pviommu/address_space.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "hypercall/statistics.h"
#include "pviommu/hypercall_iommu.h"
#include "pviommu_fakes.h"

namespace pviommu {
namespace {

using test::FakeFrames;
using test::FakeSpaces;

constexpr std::uint64_t K = 1024;
constexpr Access rw = Access::read_write;

class AddressSpaceTest : public ::testing::TestWithParam<UnmapRule> {
 protected:
  void open(AddressSpaceConfig config = {}) {
    space.reset();
    config.rule = GetParam();
    driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
    auto created = AddressSpace::create(*driver, hypervisor, frames, config);
    ASSERT_TRUE(created);
    space = std::move(*created);
  }
  void SetUp() override { open(); }
  void TearDown() override {
    space.reset();
    EXPECT_EQ(hypervisor.live_pages(), 0u);
    EXPECT_EQ(hypervisor.spaces.size(), 0u);
    EXPECT_EQ(hypervisor.known.size(), 0u);
    EXPECT_EQ(frames.live, 0);
    EXPECT_TRUE(hypervisor.violations.empty()) << hypervisor.violations[0];
  }
  bool v2() const { return GetParam() == UnmapRule::type1v2; }
  int map(std::uint64_t iova, std::uint64_t hva, std::uint64_t size, Access access = rw) {
    const Status status = space->map(Iova(iova), Hva(hva), size, access);
    return status ? 0 : status.error().code;
  }
  /// Bytes, or the negative errno.
  std::int64_t unmap(std::uint64_t iova, std::uint64_t size) {
    const auto bytes = space->unmap(Iova(iova), size);
    return bytes ? static_cast<std::int64_t>(*bytes) : -bytes.error().code;
  }
  std::uint32_t mappings() const { return 65535 - space->available(); }

  FakeSpaces hypervisor;
  FakeFrames frames;
  std::unique_ptr<IommuDriver> driver;
  std::unique_ptr<AddressSpace> space;
};
INSTANTIATE_TEST_SUITE_P(Rules, AddressSpaceTest, ::testing::Values(UnmapRule::type1, UnmapRule::type1v2),
                         [](const auto& info) { return info.param == UnmapRule::type1 ? "type1" : "type1v2"; });

TEST_P(AddressSpaceTest, MapArguments) {
  EXPECT_EQ(map(0x10000, 0x7000000, 4 * K, Access::none), EINVAL);        // C15
  EXPECT_EQ(map(0x10000, 0x7000000, 0), EINVAL);                          // C22
  EXPECT_EQ(map(0x10000, 0x7000000, 1), EINVAL);                          // C23
  EXPECT_EQ(map(0x10000, 0x7000000, 0x1001), EINVAL);                     // C24
  EXPECT_EQ(map(0x10000, 0x7000000, 2048), EINVAL);                       // C25
  EXPECT_EQ(map(0x10001, 0x7000000, 4 * K), EINVAL);                      // C26
  EXPECT_EQ(map(0x10000, 0x7000800, 4 * K), EINVAL);                      // C29
  EXPECT_EQ(map(~0ull << 12, 0x7000000, 4 * K), EINVAL);                  // C30
  EXPECT_EQ(map(~0ull << 12, 0x7000000, 8 * K), EOVERFLOW);               // C31
  EXPECT_EQ(map(0x10000, ~0ull << 12, 8 * K), EOVERFLOW);                 // C32
  EXPECT_EQ(map(0, 4 * K, 0 - 4 * K), EINVAL);                            // C34
  EXPECT_EQ(map(0, 0x7000000, 1ull << 63), EINVAL);                       // C34b
  EXPECT_EQ(mappings(), 0u);
  EXPECT_EQ(frames.calls, 0);
  EXPECT_EQ(map(0x10000, 0x7000000, 4 * K, Access::write), 0);            // C17
  EXPECT_EQ(mappings(), 1u);
}

TEST_P(AddressSpaceTest, IovaLimits) {
  EXPECT_EQ(map(0xfee00000, 0x7000000, 4 * K), EINVAL);      // C60
  EXPECT_EQ(map(0xfeeff000, 0x7000000, 4 * K), EINVAL);      // C61
  EXPECT_EQ(map(0xfedff000, 0x7000000, 4 * K), 0);           // C62
  EXPECT_EQ(map(0xfef00000, 0x7000000, 4 * K), 0);           // C63
  EXPECT_EQ(unmap(0xfedff000, 4 * K), 4096);
  EXPECT_EQ(map(0xfedff000, 0x7000000, 8 * K), EINVAL);      // C64
  EXPECT_EQ(map(0xfed00000, 0x7000000, 3 << 20), EEXIST);    // spans the window and the mapping above
  EXPECT_EQ(map(1ull << 38, 0x7000000, 4 * K), 0);           // C65
  EXPECT_EQ(map((1ull << 39) - 4 * K, 0x7000000, 8 * K), EINVAL);  // C68
  EXPECT_EQ(map((1ull << 39) - 4 * K, 0x7000000, 4 * K), 0);  // C66
  EXPECT_EQ(map(1ull << 39, 0x7000000, 4 * K), EINVAL);      // C67
  EXPECT_EQ(map(0, 0x7000000, 4 * K), 0);                    // C70
}

TEST_P(AddressSpaceTest, Overlap) {
  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  EXPECT_EQ(map(0x10000, 0x7000000, 16 * K), EEXIST);  // C71
  EXPECT_EQ(map(0x10000, 0x9000000, 16 * K), EEXIST);  // C72
  EXPECT_EQ(map(0xf000, 0x7000000, 8 * K), EEXIST);    // C73
  EXPECT_EQ(map(0x13000, 0x7000000, 8 * K), EEXIST);   // C74
  EXPECT_EQ(map(0x11000, 0x7000000, 4 * K), EEXIST);   // C75
  EXPECT_EQ(map(0x8000, 0x7000000, 64 * K), EEXIST);   // C76
  EXPECT_EQ(map(0xf000, 0x7000000, 4 * K), 0);         // C77
  EXPECT_EQ(map(0x14000, 0x7000000, 4 * K), 0);        // C78
  EXPECT_EQ(map(0x90000, 0x7000000, 16 * K), 0);       // C79
  frames.fail_at = frames.calls + 1;
  EXPECT_EQ(map(0x10000, 0x1000, 4 * K), EEXIST);      // C80: before EFAULT
  EXPECT_EQ(map(0x10000, 0x7000000, 4 * K, Access::none), EINVAL);  // C81
  EXPECT_EQ(map(0x50000, 0x1000, 4 * K), EFAULT);
  frames.fail_at = 0;
  EXPECT_EQ(map(0x50000, 0x7000000, 4 * K), 0);        // C41: free after the failure
  EXPECT_EQ(mappings(), 5u);
}

TEST_P(AddressSpaceTest, UnmapArguments) {
  EXPECT_EQ(unmap(0x10000, 4 * K), 0);                // C95
  EXPECT_EQ(unmap(0x10000, 0), -EINVAL);              // C96
  EXPECT_EQ(unmap(0x10001, 4 * K), -EINVAL);          // C97
  EXPECT_EQ(unmap(0x10000, 0x1001), -EINVAL);         // C98
  EXPECT_EQ(unmap(~0ull << 12, 4 * K), 0);            // C100
  EXPECT_EQ(unmap(~0ull << 12, 8 * K), -EOVERFLOW);   // C101
  EXPECT_EQ(unmap(0, 0 - 4 * K), 0);                  // C102
  EXPECT_EQ(unmap(4 * K, 0 - 4 * K), 0);              // C103
  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  EXPECT_EQ(unmap(0x10001, 4 * K), -EINVAL);          // C119
  EXPECT_EQ(unmap(0x10000, 0), -EINVAL);              // C118
  EXPECT_EQ(unmap(0x10000, 16 * K), 16 * 1024);       // C104
  EXPECT_EQ(unmap(0x10000, 16 * K), 0);               // C105
}

TEST_P(AddressSpaceTest, UnmapOfParts) {
  const std::int64_t cut = v2() ? -EINVAL : 0;
  const auto fresh = [&] {
    ASSERT_TRUE(space->unmap_all());
    ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  };
  fresh();
  EXPECT_EQ(unmap(0x10000, 4 * K), v2() ? -EINVAL : 16 * 1024);  // C106
  EXPECT_EQ(mappings(), v2() ? 1u : 0u);
  fresh();
  EXPECT_EQ(unmap(0x13000, 4 * K), cut);  // C107
  EXPECT_EQ(unmap(0x11000, 4 * K), cut);  // C108
  EXPECT_EQ(unmap(0x12000, 8 * K), cut);  // C110
  EXPECT_EQ(mappings(), 1u);
  EXPECT_EQ(unmap(0xf000, 8 * K), v2() ? -EINVAL : 16 * 1024);  // C109
  fresh();
  EXPECT_EQ(unmap(0xf000, 24 * K), 16 * 1024);  // C111
  EXPECT_EQ(mappings(), 0u);

  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  ASSERT_EQ(map(0x20000, 0x7000000, 8 * K), 0);
  ASSERT_EQ(map(0x30000, 0x7000000, 4 * K), 0);
  EXPECT_EQ(unmap(0x10000, 0x21000), 0x7000);  // C112
  for (unsigned i = 0; i < 8; ++i) ASSERT_EQ(map(0x10000 + i * 4 * K, 0x7000000, 4 * K), 0);
  EXPECT_EQ(unmap(0x12000, 8 * K), 0x2000);   // C114
  EXPECT_EQ(mappings(), 6u);
  EXPECT_EQ(unmap(0x10000, 32 * K), 0x6000);  // C115

  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  ASSERT_EQ(map(0x14000, 0x7000000, 16 * K), 0);
  EXPECT_EQ(unmap(0x12000, 16 * K), cut);  // C116: also the second one stays
  EXPECT_EQ(mappings(), 2u);
  EXPECT_EQ(unmap(0x10000, 24 * K), v2() ? -EINVAL : 32 * 1024);  // C117
  EXPECT_EQ(mappings(), v2() ? 2u : 0u);
}

TEST_P(AddressSpaceTest, UnmapAll) {
  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  ASSERT_EQ(map(0x7ffffff000, 0x7000000, 4 * K), 0);
  EXPECT_EQ(*space->unmap_all(), 0x5000u);  // C120
  EXPECT_EQ(*space->unmap_all(), 0u);       // C121
  EXPECT_EQ(hypervisor.live_pages(), 0u);
}

TEST_P(AddressSpaceTest, Vaddr) {
  const auto invalidate = [&](std::uint64_t iova, std::uint64_t size, bool all = false) -> std::int64_t {
    const auto bytes = space->invalidate_hva(Iova(iova), size, all);
    return bytes ? static_cast<std::int64_t>(*bytes) : -bytes.error().code;
  };
  const auto update = [&](std::uint64_t iova, std::uint64_t size) {
    const Status status = space->update_hva(Iova(iova), Hva(0x8000000), size);
    return status ? 0 : status.error().code;
  };
  EXPECT_EQ(update(0x10000, 16 * K), ENOENT);         // C20
  EXPECT_EQ(invalidate(0x10000, 16 * K), 0);          // C139
  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  EXPECT_EQ(invalidate(0x10000, 16 * K), 16 * 1024);  // C130
  EXPECT_EQ(invalidate(0x10000, 16 * K), -EINVAL);    // C131
  EXPECT_EQ(update(0x10000, 8 * K), EINVAL);          // C132
  EXPECT_EQ(update(0x30000, 16 * K), ENOENT);         // C133
  EXPECT_EQ(update(0x11000, 12 * K), EINVAL);
  EXPECT_EQ(update(0x10000, 16 * K), 0);              // C134
  EXPECT_EQ(update(0x10000, 16 * K), EINVAL);         // C135
  EXPECT_EQ(invalidate(0x10000, 4 * K), v2() ? -EINVAL : 16 * 1024);  // C136
  if (!v2()) {
    EXPECT_EQ(invalidate(0, 0, true), -EINVAL);  // C137: invalid already
    EXPECT_EQ(update(0x10000, 16 * K), 0);
  }
  // One that is invalid already leaves the others as they were.
  ASSERT_EQ(map(0x8000, 0x7000000, 4 * K), 0);
  EXPECT_EQ(invalidate(0x10000, 16 * K), 16 * 1024);
  EXPECT_EQ(invalidate(0, 0, true), -EINVAL);
  EXPECT_EQ(invalidate(0x8000, 4 * K), 4 * 1024);
  EXPECT_EQ(invalidate(0x1000, 0, true), -EINVAL);
  EXPECT_EQ(unmap(0x10000, 16 * K), 16 * 1024);  // C138
}

TEST_P(AddressSpaceTest, EntryLimit) {
  AddressSpaceConfig config;
  config.max_mappings = 40;
  open(config);
  EXPECT_EQ(space->available(), 40u);
  for (unsigned i = 0; i < 40; ++i) ASSERT_EQ(map(i * 4 * K, 0x7000000, 4 * K), 0);  // L02
  EXPECT_EQ(space->available(), 0u);
  EXPECT_EQ(map(0x100000, 0x7000000, 4 * K), ENOSPC);
  EXPECT_EQ(map(0xfee00000, 0x7000000, 4 * K), ENOSPC);  // before the window
  EXPECT_EQ(map(0, 0x7000000, 4 * K), EEXIST);           // but after the overlap
  EXPECT_EQ(unmap(0, 4 * K), 4096);                      // L05
  EXPECT_EQ(space->available(), 1u);
  EXPECT_EQ(map(0, 0x7000000, 4 * K), 0);  // L06
}

TEST_P(AddressSpaceTest, LargeMappingsAreSplitIntoPins) {
  const std::uint64_t size = (std::uint64_t{2} << 30) + 3 * 4 * K;
  ASSERT_EQ(map(0x100000000, 0x7f0000001000, size), 0);
  EXPECT_EQ(frames.live, 3);
  EXPECT_EQ(hypervisor.live_pages(), size / 4096);
  EXPECT_EQ(unmap(0x100000000, size), static_cast<std::int64_t>(size));
  EXPECT_EQ(frames.live, 0);
  hypervisor.scatter = 3;
  ASSERT_EQ(map(0x100000000, 0x7000000, 100 * 4 * K), 0);
  EXPECT_EQ(hypervisor.live_pages(), 100u);
  ASSERT_EQ(map(0x1000, 0x7000000, 4 * K), 0);
  EXPECT_EQ(*space->unmap_all(), 101u * 4096);
}

TEST_P(AddressSpaceTest, LargerPagesOfTheDriver) {
  hypervisor.limits.page_sizes = 0x10000;
  open();
  EXPECT_EQ(map(0x10000, 0x7000000, 4 * K), EINVAL);
  EXPECT_EQ(map(0x11000, 0x7000000, 64 * K), EINVAL);
  EXPECT_EQ(map(0x10000, 0x7000000, 64 * K), 0);
  EXPECT_EQ(unmap(0x10000, 4 * K), -EINVAL);
}

TEST_P(AddressSpaceTest, RightsThatCannotBeEnforced) {
  hypervisor.limits.read_only = false;
  hypervisor.limits.write_only = false;
  open();
  ASSERT_EQ(map(0x1000, 0x7000000, 4 * K, Access::read), 0);
  // The device can write, so the memory must be writable.
  EXPECT_EQ(frames.last_access, rw);
  AddressSpaceConfig strict;
  strict.strict = true;
  open(strict);
  EXPECT_EQ(map(0x1000, 0x7000000, 4 * K, Access::read), EOPNOTSUPP);
  EXPECT_EQ(map(0x1000, 0x7000000, 4 * K, Access::write), EOPNOTSUPP);
  EXPECT_EQ(map(0x1000, 0x7000000, 4 * K), 0);
  hypervisor.limits.read_only = true;
  EXPECT_EQ(map(0x2000, 0x7000000, 4 * K, Access::read), 0);
  EXPECT_EQ(frames.last_access, Access::read);
}

TEST_P(AddressSpaceTest, PeerToPeer) {
  const auto mmio = [&] {
    const Status status =
        space->map_mmio(Iova(0x1000), make_sbdf(0, 0, 5, 0), 2, 0x4000, 8 * K, Hva(0x7000000), rw);
    return status ? 0 : status.error().code;
  };
  EXPECT_EQ(mmio(), EOPNOTSUPP);
  EXPECT_EQ(mappings(), 0u);
  hypervisor.limits.peer_to_peer = true;
  EXPECT_EQ(mmio(), 0);
  EXPECT_EQ(mmio(), EEXIST);
  EXPECT_EQ(hypervisor.live_pages(), 2u);
  EXPECT_EQ(frames.calls, 0);
  EXPECT_EQ(unmap(0x1000, 8 * K), 8192);
}

TEST_P(AddressSpaceTest, Questions) {
  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  ASSERT_EQ(map(0x20000, 0x7000000, 16 * K), 0);
  EXPECT_EQ(space->mapped_in(Iova(0x13000), 0xe000).size(), 2u);
  EXPECT_EQ(space->mapped_in(Iova(0x14000), 0xc000).size(), 0u);
  EXPECT_TRUE(space->cuts_mapping(Iova(0x11000), 0x10000));
  EXPECT_TRUE(space->cuts_mapping(Iova(0x10000), 0x11000));
  EXPECT_FALSE(space->cuts_mapping(Iova(0x10000), 0x14000));
  EXPECT_FALSE(space->cuts_mapping(Iova(0), 0x1000));
}

TEST_P(AddressSpaceTest, DestructionUnmapsAndGivesBack) {
  for (unsigned i = 0; i < 300; ++i) ASSERT_EQ(map(i * 8 * K, 0x7000000, 4 * K), 0);
  space.reset();
  EXPECT_EQ(hypervisor.unmaps, 1);
  EXPECT_EQ(frames.live, 0);
}

TEST_P(AddressSpaceTest, StatisticsAreExact) {
  Statistics& s = statistics();
  const auto mapped = s.pages_mapped.load(), unmapped = s.pages_unmapped.load();
  const auto mappings_before = s.live_mappings(), pages_before = s.live_pages();
  ASSERT_EQ(map(0x10000, 0x7000000, 16 * K), 0);
  ASSERT_EQ(map(0x20000, 0x7000000, 8 * K), 0);
  EXPECT_EQ(map(0x20000, 0x7000000, 8 * K), EEXIST);
  EXPECT_EQ(s.pages_mapped - mapped, 6u);
  EXPECT_EQ(s.live_mappings() - mappings_before, 2u);
  EXPECT_EQ(s.live_pages() - pages_before, 6u);
  EXPECT_GE(s.peak_pages.load(), s.live_pages());
  EXPECT_EQ(unmap(0x20000, 8 * K), 8192);
  space.reset();
  EXPECT_EQ(s.pages_unmapped - unmapped, 6u);
  EXPECT_EQ(s.live_mappings(), mappings_before);
  EXPECT_EQ(s.live_pages(), pages_before);
}

TEST_P(AddressSpaceTest, ManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> problems{0};
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const std::uint64_t base = std::uint64_t{t} << 30;
      std::vector<bool> live(64);
      for (unsigned i = 0; i < 2000; ++i) {
        const unsigned n = random() % 64;
        const Iova iova(base + n * 16 * K);
        if (live[n]) {
          const auto bytes = space->unmap(iova, 8 * K);
          problems += !bytes || *bytes != 8 * K;
        } else {
          problems += !space->map(iova, Hva(0x7000000), 8 * K, rw);
        }
        live[n] = !live[n];
        (void)space->available();
        (void)space->mapped_in(iova, 64 * K);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(problems.load(), 0);
  EXPECT_EQ(hypervisor.live_pages(), mappings() * 2u);
}

}  // namespace
}  // namespace pviommu
