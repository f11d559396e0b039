// SPDX-License-Identifier: LGPL-2.1-or-later
// What the device can reach, seen from the device's side: edu's DMA engine.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "vfio_client.h"

namespace conformance {
namespace {

constexpr std::uint32_t kReadOnly = VFIO_DMA_MAP_FLAG_READ, kWriteOnly = VFIO_DMA_MAP_FLAG_WRITE;

class Dma : public testing::TestWithParam<unsigned long> {
 protected:
  Dma() {
    device.set_bus_master(true);
    std::iota(memory.data(), memory.data() + memory.size(), std::uint8_t{1});
  }
  /// The bytes in edu's buffer, read back over a mapping of their own.
  std::vector<std::uint8_t> buffer(std::size_t bytes, std::uint64_t at = 0) {
    Memory out(kPage);
    EXPECT_EQ(container.map(kScratch, out.address(), kPage), ok());
    EXPECT_TRUE(edu.from_device(kScratch, bytes, at));
    EXPECT_EQ(container.unmap(kScratch, kPage).size, kPage);
    return {out.data(), out.data() + bytes};
  }
  static constexpr std::uint64_t kScratch = 0x7000000;

  Session session{Machine::get().edu, GetParam()};
  Container& container = session.container;
  Device& device = session.device;
  Edu edu{device};
  Memory memory{8 * kPage};
  const std::uint64_t hva = memory.address();
};

TEST_P(Dma, BothDirections) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_EQ(container.map(0x20000, hva + kPage, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, Edu::kMost));
  ASSERT_TRUE(edu.from_device(0x20000, Edu::kMost));
  EXPECT_EQ(std::memcmp(memory.data(), memory.data() + kPage, Edu::kMost), 0);
  ASSERT_TRUE(edu.to_device(0x10000 + 7, 100, 9));
  EXPECT_TRUE(std::ranges::equal(buffer(100, 9), std::span(memory.data() + 7, 100))) << "odd offsets";
}

TEST_P(Dma, AcrossPagesThatAreNotNeighbours) {
  // IOVA neighbours, memory far apart and in reverse order.
  ASSERT_EQ(container.map(0x10000, hva + 5 * kPage, kPage), ok());
  ASSERT_EQ(container.map(0x11000, hva + 2 * kPage, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000 + 3000, 2000));
  std::vector<std::uint8_t> expected(memory.data() + 5 * kPage + 3000, memory.data() + 6 * kPage);
  expected.insert(expected.end(), memory.data() + 2 * kPage, memory.data() + 2 * kPage + 2000 - (kPage - 3000));
  EXPECT_EQ(buffer(2000), expected);
}

TEST_P(Dma, UnmappedIsStopped) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, 64));
  const std::vector<std::uint8_t> before(memory.data(), memory.data() + memory.size());
  (void)edu.from_device(0x50000, 64);
  (void)edu.from_device(0x11000, 64);
  (void)edu.from_device(0xf000 + 4000, 96);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), memory.data()) ||
              std::equal(before.begin() + 96, before.end(), memory.data() + 96));
}

TEST_P(Dma, AfterUnmapIsStopped) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, Edu::kMost));
  ASSERT_EQ(container.unmap(0x10000, kPage).size, kPage);
  std::memset(memory.data(), 0x5a, kPage);
  (void)edu.from_device(0x10000, Edu::kMost);
  EXPECT_TRUE(std::all_of(memory.data(), memory.data() + kPage, [](std::uint8_t b) { return b == 0x5a; }));
}

TEST_P(Dma, ReadOnlyAndWriteOnly) {
  if (without("read-only")) GTEST_SKIP() << "the hypervisor maps read-write only";
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, 256));  // a pattern in the buffer
  ASSERT_EQ(container.map(0x20000, hva + kPage, kPage, kReadOnly), ok());
  const std::vector<std::uint8_t> before(memory.data() + kPage, memory.data() + 2 * kPage);
  (void)edu.from_device(0x20000 + 512, 256);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), memory.data() + kPage)) << "a write to read-only memory";
  ASSERT_EQ(container.map(0x30000, hva + 2 * kPage, kPage, kWriteOnly), ok());
  std::memset(memory.data() + 2 * kPage, 0x77, kPage);
  ASSERT_TRUE(edu.from_device(0x30000, 256));
  EXPECT_EQ(std::memcmp(memory.data() + 2 * kPage, memory.data(), 256), 0) << "a write to write-only memory";
}

TEST_P(Dma, ReadOnlyMemoryIsReadable) {
  Memory source(kPage);
  std::memset(source.data(), 0x3c, kPage);
  ASSERT_EQ(::mprotect(source.data(), kPage, PROT_READ), 0);
  if (without("read-only") || without("read-only-memory")) {
    EXPECT_EQ(container.map(0x10000, source.address(), kPage, kReadOnly), failed(EFAULT))
        << "the device could write to what the program may not, or the kernel pins for writing";
    return;
  }
  ASSERT_EQ(container.map(0x10000, source.address(), kPage, kReadOnly), ok());
  ASSERT_TRUE(edu.to_device(0x10000, 128));
  EXPECT_EQ(buffer(128), std::vector<std::uint8_t>(128, 0x3c));
}

TEST_P(Dma, BusMasteringOffStops) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, 64));
  device.set_bus_master(false);
  std::memset(memory.data(), 0x5a, kPage);
  (void)edu.from_device(0x10000, 64);
  EXPECT_TRUE(std::all_of(memory.data(), memory.data() + kPage, [](std::uint8_t b) { return b == 0x5a; }));
}

// The program frees memory that is still mapped for the device, and something
// else comes to live there.  What was pinned is what the device reaches.
TEST_P(Dma, MemoryFreedWhileMappedIsNotReachedThroughItsAddress) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, 256));
  auto* place = static_cast<std::uint8_t*>(
      ::mmap(memory.data(), kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  ASSERT_EQ(place, memory.data());
  std::memset(place, 0x5a, kPage);
  (void)edu.from_device(0x10000 + 1024, 256);
  EXPECT_TRUE(std::all_of(place, place + kPage, [](std::uint8_t b) { return b == 0x5a; }));
  EXPECT_EQ(container.unmap(0x10000, kPage).size, kPage) << "unmap works without the memory";
}

TEST_P(Dma, PinnedMemoryKeepsItsContentsOverMadvise) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  const std::vector<std::uint8_t> before(memory.data(), memory.data() + 256);
  ASSERT_EQ(::madvise(memory.data(), kPage, MADV_DONTNEED), 0);
  ASSERT_TRUE(edu.to_device(0x10000, 256));
  EXPECT_EQ(buffer(256), before) << "the device still has the old page";
}

TEST_P(Dma, HugeMappingAlignedAndNot) {
  constexpr std::uint64_t kHuge = 2ull << 20;
  Memory large(4 * kHuge);
  ::madvise(large.data(), large.size(), MADV_HUGEPAGE);
  for (std::size_t i = 0; i < large.size(); i += 8) std::memcpy(large.data() + i, &i, 8);
  const std::uint64_t aligned = (large.address() + kHuge - 1) & ~(kHuge - 1);
  for (std::uint64_t skew : {std::uint64_t{0}, kPage}) {
    const std::uint64_t iova = kRoomyIova;
    ASSERT_EQ(container.map(iova, aligned + skew, kHuge), ok());
    for (std::uint64_t at : {std::uint64_t{0}, 300 * kPage + 40, kHuge - 512}) {
      ASSERT_TRUE(edu.to_device(iova + at, 512));
      const auto* source = reinterpret_cast<const std::uint8_t*>(aligned + skew + at);
      EXPECT_TRUE(std::ranges::equal(buffer(512), std::span(source, 512))) << skew << " " << at;
    }
    ASSERT_EQ(container.unmap(iova, kHuge).size, kHuge);
  }
}

TEST_P(Dma, TwoContainersDoNotMeet) {
  Session other(Machine::get().nvme, GetParam());
  Memory theirs(kPage);
  std::memset(theirs.data(), 0x5a, kPage);
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  ASSERT_EQ(other.container.map(0x20000, theirs.address(), kPage), ok());
  ASSERT_TRUE(edu.to_device(0x10000, 64));
  (void)edu.from_device(0x20000, 64);
  EXPECT_TRUE(std::all_of(theirs.data(), theirs.data() + kPage, [](std::uint8_t b) { return b == 0x5a; }));
}

TEST_P(Dma, PeerToPeerMapIsAcceptedOrRefusedWhole) {
  const Region region = device.region(0);
  if (!(region.info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
  ASSERT_NE(bar, MAP_FAILED);
  const Outcome mapped = container.map(0x10000, reinterpret_cast<std::uint64_t>(bar), kPage);
  EXPECT_EQ(container.live(), mapped == ok() ? 1 : 0);
  if (mapped == ok()) {
    ::munmap(bar, kPage);
    EXPECT_EQ(container.unmap(0x10000, kPage).size, kPage);
  } else {
    ::munmap(bar, kPage);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Dma, testing::Values(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU),
                         [](const auto& info) { return info.param == VFIO_TYPE1_IOMMU ? "type1" : "type1v2"; });

}  // namespace
}  // namespace conformance
