// SPDX-License-Identifier: LGPL-2.1-or-later
// MAP_DMA and UNMAP_DMA by the rules of type1 and type1v2.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

// A range that goes on behind 2^64.
const Outcome kWraps = failed(linux_before(6, 18) ? EINVAL : EOVERFLOW);

constexpr std::uint32_t kRead = VFIO_DMA_MAP_FLAG_READ;
constexpr std::uint32_t kWrite = VFIO_DMA_MAP_FLAG_WRITE;
constexpr std::uint32_t kVaddr = VFIO_DMA_MAP_FLAG_VADDR;

class Map : public testing::TestWithParam<unsigned long> {
 protected:
  bool v2() const { return GetParam() == VFIO_TYPE1v2_IOMMU; }
  void expect_clean() {
    EXPECT_EQ(container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL).outcome, ok());
    EXPECT_EQ(container.live(), 0);
  }
  /// Tries a map, which must answer `expected`, and takes it back.
  void expect_map(Outcome expected, std::uint64_t iova, std::uint64_t hva, std::uint64_t size,
                  std::uint32_t flags = kRead | kWrite, const char* what = "") {
    EXPECT_EQ(container.map(iova, hva, size, flags), expected) << what;
    EXPECT_EQ(container.live(), expected == ok() ? 1 : 0) << what;
    if (expected == ok()) {
      EXPECT_EQ(container.unmap(iova, size).size, size) << what;
    }
  }

  Session session{Machine::get().edu, GetParam()};
  Container& container = session.container;
  Memory memory{16 * kPage};
  const std::uint64_t hva = memory.address();
};

TEST_P(Map, ChecksTheStructure) {
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_MAP_DMA, 0), failed(EFAULT));
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_MAP_DMA, 8), failed(EFAULT));
  for (std::uint32_t argsz : {0u, 8u, 31u}) EXPECT_EQ(container.map(0, hva, kPage, 3, argsz), failed(EINVAL)) << argsz;
  EXPECT_EQ(container.map(0, hva, kPage, 3, 33), ok()) << "argsz may exceed the need";
  expect_clean();
  expect_map(failed(EINVAL), 0, hva, kPage, 0, "no right");
  expect_map(ok(), 0, hva, kPage, kRead);
  expect_map(ok(), 0, hva, kPage, kWrite);
  expect_map(failed(EINVAL), 0, hva, kPage, kRead | 8, "unknown flag");
  expect_map(failed(EINVAL), 0, hva, kPage, 0x80000003, "unknown flag");
  expect_map(failed(ENOENT), 0, hva, kPage, kVaddr, "nothing to update");
  expect_map(failed(EINVAL), 0, hva, kPage, kVaddr | kRead);
}

TEST_P(Map, StructureMayEndAtTheEndOfMemory) {
  Memory edge(2 * kPage);
  ASSERT_EQ(edge.punch(kPage, kPage), 0);
  auto* map = reinterpret_cast<vfio_iommu_type1_dma_map*>(edge.data() + kPage - sizeof(vfio_iommu_type1_dma_map));
  *map = {.argsz = sizeof *map, .flags = 3, .vaddr = hva, .iova = 0x10000, .size = kPage};
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_MAP_DMA, reinterpret_cast<std::uint64_t>(map)), ok());
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_MAP_DMA, reinterpret_cast<std::uint64_t>(map) + 8), failed(EFAULT));
  EXPECT_EQ(container.live(), 1);
}

TEST_P(Map, ChecksSizesAndAddresses) {
  for (std::uint64_t size : {0ull, 1ull, 2048ull, 0x1001ull})
    expect_map(failed(EINVAL), 0, hva, size, 3, "size");
  expect_map(failed(EINVAL), 1, hva, kPage, 3, "iova");
  expect_map(failed(EINVAL), 0, hva + 1, kPage, 3, "hva");
  expect_map(failed(EINVAL), 0, hva + 0x800, kPage, 3, "hva");
  expect_map(failed(EINVAL), ~0ull << 12, hva, kPage, 3, "last page of the space");
  expect_map(kWraps, ~0ull << 12, hva, 2 * kPage, 3, "iova wraps");
  expect_map(kWraps, 0, ~0ull << 12, 2 * kPage, 3, "hva wraps");
  expect_map(failed(EFAULT), 0, ~0ull << 12, kPage, 3, "hva in the kernel's half");
  expect_map(failed(EINVAL), 0, kPage, ~0ull << 12, 3, "2^64 - 4K");
  expect_map(failed(EINVAL), 0, 0, 1ull << 63, 3, "2^63");
  expect_map(failed(EFAULT), 0, 0xffff888000000000ull, kPage, 3, "kernel half");
  expect_map(failed(EFAULT), 0, 0, kPage, 3, "hva 0");
}

TEST_P(Map, FollowsTheRightsOfTheMemory) {
  Memory none(kPage, PROT_NONE);
  expect_map(failed(EFAULT), 0, none.address(), kPage, kRead | kWrite, "PROT_NONE");
  expect_map(failed(EFAULT), 0, none.address(), kPage, kRead, "PROT_NONE");
  Memory gone(kPage);
  const std::uint64_t gone_hva = gone.address();
  gone.reset();
  expect_map(failed(EFAULT), 0, gone_hva, kPage, 3, "munmapped");
  Memory read_only(kPage, PROT_READ);
  expect_map(failed(EFAULT), 0, read_only.address(), kPage, kRead | kWrite, "PROT_READ as read-write");
  expect_map(failed(EFAULT), 0, read_only.address(), kPage, kWrite, "PROT_READ as write-only");
  // Where the hypervisor would map it read-write, the device may not have it; and
  // sPAPR pins for writing.
  const Outcome only_readable = without("read-only") || without("read-only-memory") ? failed(EFAULT) : ok();
  expect_map(only_readable, 0, read_only.address(), kPage, kRead, "PROT_READ as read-only");
  Memory write_only(kPage, PROT_WRITE);
  expect_map(ok(), 0, write_only.address(), kPage, kRead | kWrite, "PROT_WRITE");
  Memory shared(kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  expect_map(ok(), 0, shared.address(), kPage, 3, "shared anonymous");
  const Fd file(::memfd_create("conformance", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), kPage), 0);
  Memory memfd(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get());
  expect_map(ok(), 0, memfd.address(), kPage, 3, "memfd");
  expect_map(failed(EFAULT), 0, memfd.address(), 2 * kPage, 3, "beyond the end of the file");
  Memory memfd_read(kPage, PROT_READ, MAP_SHARED, file.get());
  expect_map(only_readable, 0, memfd_read.address(), kPage, kRead, "memfd, read-only");
  alignas(kPage) static const char text[kPage] = {1};
  expect_map(only_readable, 0, reinterpret_cast<std::uint64_t>(text), kPage, kRead, "read-only data of the program");
  alignas(kPage) char stack[2 * kPage] = {};
  expect_map(ok(), 0, reinterpret_cast<std::uint64_t>(stack), kPage, 3, "stack");
}

TEST_P(Map, RollsBackWhenAPageIsMissing) {
  ASSERT_EQ(memory.punch(2 * kPage, kPage), 0);
  expect_map(failed(EFAULT), 0x10000, hva, 4 * kPage, 3, "third of four pages unmapped");
  EXPECT_EQ(container.map(0x10000, hva, 2 * kPage), ok()) << "the iova is free again";
}

TEST_P(Map, StaysInsideTheIovaRanges) {
  const auto ranges = container.iova_ranges();
  ASSERT_FALSE(ranges.empty());
  expect_map(failed(EINVAL), kMsiWindow, hva, kPage, 3, "MSI window");
  expect_map(failed(EINVAL), kMsiWindow + 0xff000, hva, kPage, 3, "last page of the MSI window");
  for (const auto& range : ranges) {
    expect_map(ok(), range.start, hva, kPage, 3, "first page of a range");
    expect_map(ok(), range.end - (kPage - 1), hva, kPage, 3, "last page of a range");
    if (range.end != ~0ull) {
      expect_map(failed(EINVAL), range.end + 1, hva, kPage, 3, "just behind a range");
      expect_map(failed(EINVAL), range.end - (kPage - 1), hva, 2 * kPage, 3, "across the end of a range");
    }
  }
}

TEST_P(Map, OverlapIsEEXIST) {
  ASSERT_EQ(container.map(0x10000, hva, 4 * kPage), ok());
  const std::uint64_t other = hva + 8 * kPage;
  EXPECT_EQ(container.map(0x10000, hva, 4 * kPage), failed(EEXIST)) << "the same";
  EXPECT_EQ(container.map(0x10000, other, 4 * kPage), failed(EEXIST));
  EXPECT_EQ(container.map(0xe000, other, 3 * kPage), failed(EEXIST)) << "head";
  EXPECT_EQ(container.map(0x13000, other, 2 * kPage), failed(EEXIST)) << "tail";
  EXPECT_EQ(container.map(0x11000, other, kPage), failed(EEXIST)) << "inside";
  EXPECT_EQ(container.map(0xf000, other, 6 * kPage), failed(EEXIST)) << "superset";
  EXPECT_EQ(container.map(0x11000, 0, kPage), failed(EEXIST)) << "looked at before the memory";
  EXPECT_EQ(container.map(0x11000, other, kPage, 0), failed(EINVAL)) << "flags before everything";
  EXPECT_EQ(container.live(), 1);
  EXPECT_EQ(container.map(0xf000, other, kPage), ok()) << "adjacent below";
  EXPECT_EQ(container.map(0x14000, other, kPage), ok()) << "adjacent above";
  EXPECT_EQ(container.map(0x40000, hva, 4 * kPage), ok()) << "the same memory elsewhere";
  EXPECT_EQ(container.live(), 4);
}

TEST_P(Map, UnmapChecksTheStructure) {
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_UNMAP_DMA, 0), failed(EFAULT));
  for (std::uint32_t argsz : {0u, 8u, 23u}) {
    const Mapped unmapped = container.unmap(0x10000, kPage, 0, argsz);
    EXPECT_EQ(unmapped.outcome, failed(EINVAL)) << argsz;
    EXPECT_EQ(unmapped.size, kPage) << "size is left alone";
  }
  EXPECT_EQ(container.unmap(0x10000, kPage, 8).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(0x10000, 0).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(0x10001, kPage).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(0x10000, kPage + 1).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(0x10000, 1).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(~0ull << 12, 2 * kPage).outcome, kWraps) << "wraps";
  EXPECT_EQ(container.live(), 1);
  EXPECT_EQ(container.unmap(0x10000, kPage).outcome, ok());
}

TEST_P(Map, UnmapOfNothingSucceedsWithSizeZero) {
  const std::pair<std::uint64_t, std::uint64_t> ranges[] = {
      {0x10000, kPage}, {~0ull << 12, kPage}, {0, ~0ull << 12}, {kPage, ~0ull << 12}, {0, 1ull << 39}};
  for (const auto& [iova, size] : ranges) {
    const Mapped unmapped = container.unmap(iova, size);
    EXPECT_EQ(unmapped.outcome, ok());
    EXPECT_EQ(unmapped.size, 0u);
  }
  EXPECT_EQ(container.unmap(0, 0).outcome, failed(EINVAL));
}

TEST_P(Map, UnmapByTheTypesRule) {
  struct Case {
    const char* what;
    std::uint64_t iova, size;
    std::uint64_t v1_size;  ///< bytes type1 unmaps
    bool v2_fits;
  };
  // One mapping of 4 pages at 0x10000.
  const Case cases[] = {
      {"exact", 0x10000, 0x4000, 0x4000, true},       {"superset", 0xe000, 0x8000, 0x4000, true},
      {"head part", 0x10000, 0x1000, 0x4000, false},  {"tail part", 0x13000, 0x1000, 0, false},
      {"middle part", 0x11000, 0x2000, 0, false},     {"over its head", 0xe000, 0x3000, 0x4000, false},
      {"over its tail", 0x12000, 0x4000, 0, false},   {"just below", 0xc000, 0x4000, 0, true},
      {"just above", 0x14000, 0x4000, 0, true},
  };
  for (const Case& c : cases) {
    ASSERT_EQ(container.map(0x10000, hva, 0x4000), ok()) << c.what;
    const Mapped unmapped = container.unmap(c.iova, c.size);
    if (v2() && !c.v2_fits) {
      EXPECT_EQ(unmapped.outcome, failed(EINVAL)) << c.what;
      EXPECT_EQ(unmapped.size, c.size) << c.what;
      EXPECT_EQ(container.live(), 1) << c.what;
    } else {
      EXPECT_EQ(unmapped.outcome, ok()) << c.what;
      EXPECT_EQ(unmapped.size, c.v1_size) << c.what;
      EXPECT_EQ(container.live(), c.v1_size ? 0 : 1) << c.what;
    }
    expect_clean();
  }
}

TEST_P(Map, UnmapOfSeveral) {
  ASSERT_EQ(container.map(0x10000, hva, 0x4000), ok());
  ASSERT_EQ(container.map(0x20000, hva, 0x2000), ok());
  ASSERT_EQ(container.map(0x30000, hva, 0x1000), ok());
  EXPECT_EQ(container.unmap(0x10000, 0x30000).size, 0x7000u) << "over three with gaps";
  EXPECT_EQ(container.live(), 0);

  for (unsigned i = 0; i < 8; ++i) ASSERT_EQ(container.map(0x10000 + i * kPage, hva + i * kPage, kPage), ok());
  EXPECT_EQ(container.unmap(0x12000, 2 * kPage).size, 2 * kPage);
  EXPECT_EQ(container.live(), 6);
  EXPECT_EQ(container.unmap(0x10000, 8 * kPage).size, 6 * kPage) << "with a hole inside";
  EXPECT_EQ(container.live(), 0);

  ASSERT_EQ(container.map(0x10000, hva, 0x4000), ok());
  ASSERT_EQ(container.map(0x14000, hva, 0x4000), ok());
  const Mapped cut = container.unmap(0x10000, 0x6000);
  if (v2()) {
    EXPECT_EQ(cut.outcome, failed(EINVAL));
    EXPECT_EQ(container.live(), 2) << "nothing is done";
  } else {
    EXPECT_EQ(cut.size, 0x8000u) << "the second one is begun";
    EXPECT_EQ(container.live(), 0);
  }
}

TEST_P(Map, UnmapAll) {
  ASSERT_EQ(container.map(0, hva, kPage), ok());
  ASSERT_EQ(container.map(0x20000, hva, 0x4000), ok());
  EXPECT_EQ(container.unmap(kPage, 0, VFIO_DMA_UNMAP_FLAG_ALL).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(0, kPage, VFIO_DMA_UNMAP_FLAG_ALL).outcome, failed(EINVAL));
  EXPECT_EQ(container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP).outcome,
            failed(EINVAL));
  EXPECT_EQ(container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL, 8).outcome, failed(EINVAL));
  EXPECT_EQ(container.live(), 2);
  const Mapped all = container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL);
  EXPECT_EQ(all.outcome, ok());
  EXPECT_EQ(all.size, 0x5000u);
  EXPECT_EQ(container.live(), 0);
  EXPECT_EQ(container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL).size, 0u);
}

TEST_P(Map, VaddrUpdate) {
  constexpr std::uint32_t kInvalidate = VFIO_DMA_UNMAP_FLAG_VADDR;
  ASSERT_EQ(container.map(0x10000, hva, 0x4000), ok());
  EXPECT_EQ(container.map(0x10000, hva, 0x4000, kVaddr), failed(EINVAL)) << "still valid";
  const Mapped invalidated = container.unmap(0x10000, 0x4000, kInvalidate);
  EXPECT_EQ(invalidated.outcome, ok());
  EXPECT_EQ(invalidated.size, 0x4000u);
  EXPECT_EQ(container.live(), 1);
  EXPECT_EQ(container.unmap(0x10000, 0x4000, kInvalidate).outcome, failed(EINVAL)) << "a second time";
  EXPECT_EQ(container.map(0x10000, hva, 0x2000, kVaddr), failed(EINVAL)) << "other size";
  EXPECT_EQ(container.map(0x20000, hva, 0x4000, kVaddr), failed(ENOENT)) << "other iova";
  EXPECT_EQ(container.map(0x10000, hva, 0x4000, kVaddr), ok());
  EXPECT_EQ(container.unmap(0, 0, kInvalidate | VFIO_DMA_UNMAP_FLAG_ALL).outcome, ok());
  EXPECT_EQ(container.unmap(0x10000, 0x4000).size, 0x4000u) << "plain unmap of an invalidated one";
  EXPECT_EQ(container.unmap(0x10000, 0x4000, kInvalidate).size, 0u) << "nothing there";
}

TEST_P(Map, DirtyPages) {
  const auto dirty = [&](std::uint32_t flags, std::uint32_t argsz = sizeof(vfio_iommu_type1_dirty_bitmap)) {
    vfio_iommu_type1_dirty_bitmap request{.argsz = argsz, .flags = flags};
    return container.ioctl(VFIO_IOMMU_DIRTY_PAGES, reinterpret_cast<std::uint64_t>(&request));
  };
  constexpr std::uint32_t kStart = 1, kStop = 2, kGet = 4;
  std::uint64_t bits = 0;
  // The UAPI's structures end in flexible arrays; these are they with their data.
  struct Request {
    std::uint32_t argsz, flags;
    vfio_iommu_type1_dirty_bitmap_get get;
  };
  const auto get = [&](std::uint64_t iova, std::uint64_t size, std::uint64_t page = kPage, std::uint64_t bytes = 8,
                       void* data = nullptr) {
    bits = 0;
    Request request{};
    request.argsz = sizeof request;
    request.flags = kGet;
    request.get.iova = iova;
    request.get.size = size;
    request.get.bitmap = {.pgsize = page, .size = bytes, .data = static_cast<__u64*>(data ? data : &bits)};
    return container.ioctl(VFIO_IOMMU_DIRTY_PAGES, reinterpret_cast<std::uint64_t>(&request));
  };
  ASSERT_EQ(container.map(0x10000, hva, 0x4000), ok());
  if (!v2()) {
    EXPECT_EQ(container.ioctl(VFIO_IOMMU_DIRTY_PAGES, 0), failed(EACCES));
    EXPECT_EQ(dirty(kStart), failed(EACCES));
    EXPECT_EQ(get(0x10000, 0x4000), failed(EACCES));
    return;
  }
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_DIRTY_PAGES, 0), failed(EFAULT));
  EXPECT_EQ(dirty(kStart, 4), failed(EINVAL));
  for (std::uint32_t flags : {0u, 8u, kStart | kStop, kStart | kGet}) EXPECT_EQ(dirty(flags), failed(EINVAL)) << flags;
  EXPECT_EQ(dirty(kStop), ok());
  EXPECT_EQ(get(0x10000, 0x4000), failed(EINVAL)) << "not started";
  EXPECT_EQ(dirty(kStart), ok());
  EXPECT_EQ(dirty(kStart), ok());
  EXPECT_EQ(get(0x10000, 0x4000), ok());
  EXPECT_EQ(bits, 0xfu);
  EXPECT_EQ(get(0x10000, 0x4000), ok());
  EXPECT_EQ(bits, 0xfu) << "pinned pages stay dirty";
  EXPECT_EQ(get(0xe000, 0x8000), ok());
  EXPECT_EQ(bits, 0x3cu);
  EXPECT_EQ(get(0x10000, 0x4000, 2 * kPage), failed(EINVAL));
  EXPECT_EQ(get(0x10000, 0x4000, 0), failed(EINVAL));
  EXPECT_EQ(get(0x10000, 0x4000, kPage, 0), failed(EINVAL));
  EXPECT_EQ(get(0x10000, 0x4000, kPage, 1), failed(EINVAL));
  EXPECT_EQ(get(0x10000, 0), failed(EINVAL));
  EXPECT_EQ(get(0x10001, 0x4000), failed(EINVAL));
  EXPECT_EQ(get(0x10000, 0x4001), failed(EINVAL));
  EXPECT_EQ(get(~0ull << 12, 0x4000), kWraps) << "wraps";
  EXPECT_EQ(get(0x40000, 0x4000), ok());
  EXPECT_EQ(bits, 0u);
  EXPECT_EQ(get(0x10000, 0x4000, kPage, 8, reinterpret_cast<void*>(8)), failed(EFAULT));

  struct UnmapRequest {
    std::uint32_t argsz, flags;
    std::uint64_t iova, size;
    vfio_bitmap bitmap;
  } unmap{sizeof unmap, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 0x10000, 0x4000, {}};
  bits = 0;
  unmap.bitmap = {.pgsize = kPage, .size = 8, .data = reinterpret_cast<__u64*>(&bits)};
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_UNMAP_DMA, reinterpret_cast<std::uint64_t>(&unmap)), ok());
  EXPECT_EQ(unmap.size, 0x4000u);
  // Behind the range, the kernel leaves bits that it shifted for the superset above.
  EXPECT_EQ(bits & 0xf, 0xfu);
  EXPECT_EQ(container.live(), 0);
  EXPECT_EQ(dirty(kStop), ok());
}

TEST_P(Map, LargeAndHugeMemory) {
  constexpr std::uint64_t kBytes = 64ull << 20;
  Memory large(kBytes);
  ::madvise(large.data(), kBytes, MADV_HUGEPAGE);
  const std::uint64_t iova = kRoomyIova;
  for (std::uint64_t shift : {std::uint64_t{0}, kPage}) {
    ASSERT_EQ(container.map(iova + shift, large.address(), kBytes), ok());
    EXPECT_EQ(container.map(iova + (32ull << 20), hva, kPage), failed(EEXIST));
    EXPECT_EQ(container.unmap(iova + shift, kBytes).size, kBytes);
  }
}

TEST_P(Map, ThreadsOnDisjointRanges) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Memory own(8 * kPage);
      for (unsigned i = 0; i < 200; ++i) {
        const std::uint64_t iova = 0x1000000ull * (t + 1) + (i % 16) * 0x10000;
        if (container.map(iova, own.address(), 8 * kPage) != ok()) ++wrong;
        if (container.unmap(iova, 8 * kPage).size != 8 * kPage) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(container.live(), 0);
}

// Many threads want the same iova: each time exactly one has it.
TEST_P(Map, ThreadsOnTheSameRange) {
  std::vector<std::thread> threads;
  std::atomic<int> holders{0}, wrong{0};
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (unsigned i = 0; i < 300; ++i) {
        const Outcome mapped = container.map(0x10000, hva, 4 * kPage);
        if (mapped == failed(EEXIST)) continue;
        if (mapped != ok() || holders.fetch_add(1) != 0) ++wrong;
        holders.fetch_sub(1);
        if (container.unmap(0x10000, 4 * kPage).size != 4 * kPage) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(container.live(), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, Map, testing::Values(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU),
                         [](const auto& info) { return info.param == VFIO_TYPE1_IOMMU ? "type1" : "type1v2"; });

TEST(EntryLimit, IsENOSPCAndComesBeforeTheIovaRanges) {
  Session session(Machine::get().edu);
  Memory memory(kPage);
  const long limit = session.container.live() + 65535;  // live() is 0
  ASSERT_EQ(session.container.live(), 0);
  std::uint64_t iova = kRoomyIova;
  long made = 0;
  Outcome outcome;
  while ((outcome = session.container.map(iova, memory.address(), kPage)) == ok()) iova += kPage, ++made;
  EXPECT_EQ(outcome, failed(ENOSPC));
  EXPECT_EQ(made, limit);
  EXPECT_EQ(session.container.map(kMsiWindow, memory.address(), kPage), failed(ENOSPC)) << "the limit is looked at first";
  EXPECT_EQ(session.container.map(kRoomyIova, memory.address(), kPage), failed(EEXIST)) << "overlap even before it";
  EXPECT_EQ(session.container.unmap(kRoomyIova, kPage).size, kPage);
  EXPECT_EQ(session.container.map(kRoomyIova, memory.address(), kPage), ok());
  EXPECT_EQ(session.container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL).size, static_cast<std::uint64_t>(limit) * kPage);
}

}  // namespace
}  // namespace conformance
