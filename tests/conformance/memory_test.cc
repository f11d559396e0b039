// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that changes while it is mapped, locked memory, forked children, dirty pages.
// The letters name cases of the reference answers.
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

constexpr std::uint32_t kReadOnly = VFIO_DMA_MAP_FLAG_READ, kWriteOnly = VFIO_DMA_MAP_FLAG_WRITE;
constexpr std::uint32_t kInvalidate = VFIO_DMA_UNMAP_FLAG_VADDR, kUpdate = VFIO_DMA_MAP_FLAG_VADDR;

class MemoryOf : public testing::TestWithParam<unsigned long> {
 protected:
  bool v2() const { return GetParam() == VFIO_TYPE1v2_IOMMU; }
  Session session{Machine::get().edu, GetParam()};
  Container& container = session.container;
  Memory memory{16 * kPage};
  const std::uint64_t hva = memory.address();
};

TEST_P(MemoryOf, UnmappedOrProtectedWhileMapped) {
  ASSERT_EQ(container.map(0x10000, hva, 4 * kPage), ok());
  ASSERT_EQ(memory.punch(0, 4 * kPage), 0);
  const Mapped gone = container.unmap(0x10000, 4 * kPage);
  EXPECT_EQ(gone.outcome, ok()) << "C140";
  EXPECT_EQ(gone.size, 4 * kPage) << "C140";

  Memory other(4 * kPage);
  ASSERT_EQ(container.map(0x10000, other.address(), 4 * kPage), ok());
  EXPECT_EQ(::mprotect(other.data(), 4 * kPage, PROT_NONE), 0) << "C141";
  EXPECT_EQ(container.map(0x20000, other.address(), 4 * kPage), failed(EFAULT)) << "C142";
  EXPECT_EQ(container.live(), 1) << "C142";
  EXPECT_EQ(::mprotect(other.data(), 4 * kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(::madvise(other.data(), 4 * kPage, MADV_DONTNEED), 0) << "C143";
  EXPECT_EQ(container.unmap(0x10000, 4 * kPage).size, 4 * kPage);
}

TEST_P(MemoryOf, EveryKind) {
  const auto map = [&](const Memory& kind, std::uint32_t flags, std::size_t bytes = kPage) {
    const Outcome outcome = container.map(0x10000, kind.address(), bytes, flags);
    if (outcome == ok()) {
      EXPECT_EQ(container.unmap(0x10000, bytes).size, bytes);
    }
    return outcome;
  };
  Memory execute(kPage, PROT_EXEC);
  EXPECT_EQ(map(execute, kReadOnly), failed(EFAULT)) << "C46";
  EXPECT_EQ(map(execute, 3), failed(EFAULT));
  Memory locked(2 * kPage);
  ASSERT_EQ(::mlock(locked.data(), 2 * kPage), 0);
  EXPECT_EQ(map(locked, 3, 2 * kPage), ok()) << "C54";
  Memory dirty(kPage), untouched(kPage);
  dirty.data()[0] = 1;
  EXPECT_EQ(map(dirty, kWriteOnly), ok()) << "C17";
  EXPECT_EQ(map(untouched, kWriteOnly), ok()) << "C17";
  Memory none(kPage, PROT_NONE);
  EXPECT_EQ(map(none, kWriteOnly), failed(EFAULT));
  EXPECT_EQ(container.live(), 0);
  // Across two kinds: the first half is undone when the second has no right.
  Memory mixed(2 * kPage);
  ASSERT_EQ(::mprotect(mixed.data() + kPage, kPage, PROT_READ), 0);
  EXPECT_EQ(container.map(0x10000, mixed.address(), 2 * kPage), failed(EFAULT));
  EXPECT_EQ(container.live(), 0);
  EXPECT_EQ(container.map(0x10000, mixed.address(), kPage), ok()) << "C41";
}

// Pages of hugetlbfs, whole and in parts, private and of a file.
TEST_P(MemoryOf, HugePages) {
  constexpr std::uint64_t kHuge = 2ull << 20;
  const auto take = [](int flags, int fd) { return ::mmap(nullptr, 2 * kHuge, PROT_READ | PROT_WRITE, flags, fd, 0); };
  const Fd file(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB));
  if (!file || ::ftruncate(file.get(), 2 * kHuge) != 0) GTEST_SKIP() << "no huge pages of 2 MiB";
  for (const int fd : {-1, file.get()}) {
    void* pages = take(fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB : MAP_SHARED, fd);
    if (pages == MAP_FAILED) GTEST_SKIP() << "no huge pages are reserved (vm.nr_hugepages)";
    const auto at = reinterpret_cast<std::uint64_t>(pages);
    EXPECT_EQ(container.map(kRoomyIova, at, 2 * kHuge), ok());
    EXPECT_EQ(container.map(0x10000, at + kPage, kPage, kReadOnly), ok()) << "a part, a second time";
    EXPECT_EQ(container.unmap(kRoomyIova, 2 * kHuge).size, 2 * kHuge);
    EXPECT_EQ(container.map(kRoomyIova + kPage, at + kHuge - kPage, 2 * kPage), ok()) << "of both";
    EXPECT_EQ(::munmap(pages, 2 * kHuge), 0) << "still mapped for the device";
    EXPECT_EQ(container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL).size, 3 * kPage);
  }
  EXPECT_EQ(container.live(), 0);
}

// A descriptor is closed while another thread is in a call on it: the call is done or
// finds no file; what it mapped is the container's, which others hold.
TEST_P(MemoryOf, ADescriptorIsClosedUnderACall) {
  unsigned done = 0;
  for (unsigned round = 0; round < 300; ++round) {
    const int second = ::fcntl(container.fd(), F_DUPFD_CLOEXEC, 200);
    ASSERT_GE(second, 0);
    std::atomic<bool> calling{false};
    Outcome outcome;
    std::thread caller([&] {
      vfio_iommu_type1_dma_map map{sizeof map, kReadOnly | kWriteOnly, hva, 0x10000, 16 * kPage};
      calling = true;
      outcome = outcome_of(::ioctl(second, VFIO_IOMMU_MAP_DMA, &map));
    });
    while (!calling) std::this_thread::yield();
    for (unsigned wait = 0; wait < round * 20; ++wait) calling.load();
    EXPECT_EQ(::close(second), 0);
    caller.join();
    const std::uint64_t mapped = container.unmap(0x10000, 16 * kPage).size;
    if (outcome == ok()) {
      ++done;
      EXPECT_EQ(mapped, 16 * kPage);
    } else {
      EXPECT_EQ(outcome, failed(EBADF));
      EXPECT_EQ(mapped, 0u);
    }
  }
  EXPECT_GT(done, 0u);
  EXPECT_EQ(container.live(), 0);
}

TEST_P(MemoryOf, VaddrOfParts) {
  ASSERT_EQ(container.map(0x10000, hva, 0x4000), ok());
  const Mapped head = container.unmap(0x10000, 0x1000, kInvalidate);
  if (v2()) {
    EXPECT_EQ(head.outcome, failed(EINVAL)) << "C136";
  } else {
    EXPECT_EQ(head.outcome, ok()) << "C136: type1 takes the whole one";
    EXPECT_EQ(head.size, 0x4000u) << "C136";
    EXPECT_EQ(container.live(), 1) << "C136";
    const Mapped all = container.unmap(0, 0, kInvalidate | VFIO_DMA_UNMAP_FLAG_ALL);
    EXPECT_EQ(all.outcome, failed(EINVAL)) << "C137: already invalid";
    EXPECT_EQ(all.size, 0u) << "C137";
    EXPECT_EQ(container.map(0x10000, hva, 0x4000, kUpdate), ok());
  }
  const Mapped all = container.unmap(0, 0, kInvalidate | VFIO_DMA_UNMAP_FLAG_ALL);
  EXPECT_EQ(all.outcome, ok()) << "C137";
  EXPECT_EQ(all.size, 0x4000u) << "C137";
  EXPECT_EQ(container.live(), 1) << "C137";
  // One valid, one not: nothing changes.
  ASSERT_EQ(container.map(0x20000, hva, kPage), ok());
  EXPECT_EQ(container.unmap(0x10000, 0x11000, kInvalidate).outcome, failed(EINVAL));
  EXPECT_EQ(container.map(0x20000, hva, kPage, kUpdate), failed(EINVAL)) << "still valid";
  EXPECT_EQ(container.unmap(0x40000, kPage, kInvalidate).size, 0u) << "C139";
  EXPECT_EQ(container.map(0x10000, hva + 1, 0x4000, kUpdate), failed(EINVAL));
  EXPECT_EQ(container.map(0x10000, hva + kPage, 0x4000, kUpdate), ok()) << "another address";
  EXPECT_EQ(container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL).size, 0x5000u);
}

TEST_P(MemoryOf, NoMapsOnceTheGroupLeft) {
  session.device.close();
  session.group.close();
  EXPECT_EQ(container.map(0x10000, hva, kPage), failed(EINVAL)) << "C190";
  EXPECT_EQ(container.unmap(0x10000, kPage).outcome, failed(EINVAL));
  EXPECT_EQ(container.ioctl(_IO(VFIO_TYPE, 255)), failed(EINVAL));
}

TEST_P(MemoryOf, AChildMaySeeTheSameBar) {
  if (!(session.device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  auto* bar = static_cast<volatile std::uint32_t*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, session.device.fd(), 0));
  ASSERT_NE(bar, MAP_FAILED);
  EXPECT_EQ(in_child([&] { return Machine::edu_order(bar[0]) == 0x010000edu ? 0 : 1; }), 0) << "D93 D94";
  ::munmap(const_cast<std::uint32_t*>(bar), kPage);
}

TEST_P(MemoryOf, AChildHasItsParentsFiles) {
  if (!with("inherited")) GTEST_SKIP() << "VFIO files work in the process that opened them";
  ASSERT_EQ(container.map(0x10000, hva, kPage), ok());
  EXPECT_EQ(in_child([&] {
              if (session.device.config(0, 4) != 0x11e81234u) return 1;
              Memory own(kPage);
              if (container.map(0x20000, own.address(), kPage) != ok()) return 2;
              if (container.live() != 2) return 3;
              if (container.unmap(0x20000, kPage).size != kPage) return 4;
              return container.unmap(0x10000, kPage).size == kPage ? 0 : 5;
            }),
            0)
      << "B94 C144 C145 C148";
  EXPECT_EQ(container.live(), 0);
}

/// VmLck of /proc/self/status, in pages.
rlim_t locked_pages() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmLck:")) return std::stoul(line.substr(6)) / (kPage / 1024);
  return 0;
}

// As an ordinary user, with 64 KiB to lock, beside what VFIO locks for itself.
class LockedMemory : public testing::Test {
 protected:
  /// The body runs in a child that opened its own session.
  static int as_user(const std::function<int(Session&, Memory&)>& body) {
    given_back();  // by the test before
    const int said = in_child([&] {
      Session session(Machine::get().edu);
      Memory memory(32 * kPage);
      const rlim_t bytes = (16 + locked_pages()) * kPage;
      const rlimit limit{bytes, bytes};
      if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || ::setgid(1000) != 0 || ::setuid(1000) != 0) return 100;
      return body(session, memory);
    });
    given_back();
    return said;
  }
  /// An ordinary user cannot give a device back by itself; who does it for him takes a moment.
  static void given_back() {
    for (int left = 300; left > 0; --left) {
      try {
        const Session session(Machine::get().edu);
        return;
      } catch (const std::exception&) {
        ::usleep(100'000);
      }
    }
    ADD_FAILURE() << "the device is not given back within 30 s";
  }
};

TEST_F(LockedMemory, IsCountedForEachMapping) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (without("locked-memory")) GTEST_SKIP() << "what is locked is counted elsewhere";
  EXPECT_EQ(as_user([](Session& session, Memory& memory) {
              Container& container = session.container;
              const std::uint64_t hva = memory.address();
              if (container.map(0x10000, hva, 16 * kPage) != ok()) return 1;
              if (container.map(0x40000, hva + 16 * kPage, kPage) != failed(ENOMEM)) return 2;
              if (container.live() != 1) return 3;
              if (container.unmap(0x10000, 16 * kPage).size != 16 * kPage) return 4;
              return container.map(0x10000, hva, 17 * kPage) == failed(ENOMEM) ? 0 : 5;
            }),
            0)
      << "L11 L13";
  EXPECT_EQ(as_user([](Session& session, Memory& memory) {
              Container& container = session.container;
              const std::uint64_t hva = memory.address();
              if (container.map(0x10000, hva, 8 * kPage) != ok()) return 1;
              if (container.map(0x20000, hva, 8 * kPage) != ok()) return 2;
              if (container.live() != 2) return 3;
              if (container.map(0x30000, hva, kPage) != failed(ENOMEM)) return 4;
              return container.live() == 2 ? 0 : 5;
            }),
            0)
      << "L15 L16: a page that is mapped twice counts twice";
  EXPECT_EQ(as_user([](Session& session, Memory& memory) {
              Container& container = session.container;
              const std::uint64_t hva = memory.address();
              // Sanitizers make mlock() nothing.
              if (::syscall(SYS_mlock, memory.data(), 8 * kPage) != 0) return 1;
              if (container.map(0x10000, hva + 8 * kPage, 8 * kPage) != ok()) return 2;
              if (container.map(0x20000, hva + 16 * kPage, kPage) != failed(ENOMEM)) return 3;
              if (container.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL).size != 8 * kPage) return 4;
              return container.map(0x10000, hva + 8 * kPage, 8 * kPage) == ok() ? 0 : 5;
            }),
            0)
      << "L17 L20: mlock() counts too";
}

TEST_F(LockedMemory, ABarIsNotCounted) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (without("locked-memory")) GTEST_SKIP() << "what is locked is counted elsewhere";
  const int said = as_user([](Session& session, Memory& memory) {
    if (!(session.device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) return 77;
    if (session.container.map(0x10000, memory.address(), 16 * kPage) != ok()) return 1;
    void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, session.device.fd(), 0);
    if (bar == MAP_FAILED) return 2;
    const Outcome mapped = session.container.map(0x80000, reinterpret_cast<std::uint64_t>(bar), kPage);
    if (mapped == failed(ENOMEM)) return 3;
    return session.container.live() == (mapped == ok() ? 2 : 1) ? 0 : 4;
  });
  if (said == 77) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  EXPECT_EQ(said, 0) << "L21";
}

class PeerToPeer : public MemoryOf {};

TEST_P(PeerToPeer, FollowsMemoryDecoding) {
  if (!(session.device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  void* bar = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, session.device.fd(), 0);
  ASSERT_NE(bar, MAP_FAILED);
  const auto address = reinterpret_cast<std::uint64_t>(bar);
  if (container.map(0x10000, address, 2 * kPage) != ok()) {
    ::munmap(bar, 2 * kPage);
    GTEST_SKIP() << "the hypervisor has no peer-to-peer";
  }
  EXPECT_EQ(container.unmap(0x10000, 2 * kPage).size, 2 * kPage) << "F03 D95 D96";
  EXPECT_EQ(container.map(0x10000, address, kPage, kReadOnly), ok()) << "F04";
  const std::uint32_t command = session.device.config(4, 2);
  session.device.set_config(4, 2, command & ~2u);
  EXPECT_EQ(container.live(), 1) << "F05";
  EXPECT_EQ(container.map(0x20000, address, kPage), failed(EFAULT)) << "F06";
  EXPECT_EQ(container.live(), 1) << "F06";
  session.device.set_config(4, 2, command);
  EXPECT_EQ(container.map(0x20000, address, kPage), ok()) << "F07";
  EXPECT_EQ(container.live(), 2) << "F07";
  ::munmap(bar, 2 * kPage);
  EXPECT_EQ(container.unmap(0x20000, kPage).size, kPage) << "F08";
  EXPECT_EQ(container.live(), 1) << "F08";
}

// Dirty pages beyond Map.DirtyPages.
class Dirty : public MemoryOf {
 protected:
  Outcome call(std::uint32_t flags, std::uint32_t argsz = sizeof(vfio_iommu_type1_dirty_bitmap)) {
    vfio_iommu_type1_dirty_bitmap request{.argsz = argsz, .flags = flags};
    return container.ioctl(VFIO_IOMMU_DIRTY_PAGES, reinterpret_cast<std::uint64_t>(&request));
  }
  struct Request {
    std::uint32_t argsz, flags;
    vfio_iommu_type1_dirty_bitmap_get get;
  };
  Outcome get(std::uint64_t iova, std::uint64_t size, std::uint64_t page = kPage, std::uint64_t bytes = 8,
              bool null = false) {
    bits = 0;
    Request request{};
    request.argsz = sizeof request;
    request.flags = kGet;
    request.get.iova = iova;
    request.get.size = size;
    request.get.bitmap = {.pgsize = page, .size = bytes, .data = null ? nullptr : reinterpret_cast<__u64*>(&bits)};
    return container.ioctl(VFIO_IOMMU_DIRTY_PAGES, reinterpret_cast<std::uint64_t>(&request));
  }
  Mapped unmap_with_bitmap(std::uint64_t iova, std::uint64_t size, std::uint64_t bytes = 8, std::uint64_t page = kPage,
                           std::uint32_t argsz = 48) {
    struct {
      std::uint32_t argsz, flags;
      std::uint64_t iova, size;
      vfio_bitmap bitmap;
    } request{argsz, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, iova, size, {}};
    bits = 0;
    request.bitmap = {.pgsize = page, .size = bytes, .data = reinterpret_cast<__u64*>(&bits)};
    const Outcome outcome = container.ioctl(VFIO_IOMMU_UNMAP_DMA, reinterpret_cast<std::uint64_t>(&request));
    return {outcome, request.size};
  }
  static constexpr std::uint32_t kStart = 1, kStop = 2, kGet = 4;
  std::uint64_t bits = 0;
};

TEST_P(Dirty, IsForVersion2) {
  ASSERT_EQ(container.map(0x10000, hva, 4 * kPage), ok());
  if (v2()) GTEST_SKIP() << "the cases of type1";
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_DIRTY_PAGES, 0), failed(EACCES)) << "C150";
  for (std::uint32_t flags : {0u, kStart | kStop, kStart | kGet, kStart, kStop, 8u})
    EXPECT_EQ(call(flags), failed(EACCES)) << "C152 C154 C155 C157 C161 C179 " << flags;
  EXPECT_EQ(call(kStart, 4), failed(EACCES)) << "C151";
  EXPECT_EQ(call(kGet, 8), failed(EACCES)) << "C175";
  EXPECT_EQ(get(0x10000, 4 * kPage), failed(EACCES)) << "C156";
  EXPECT_EQ(get(0xe000, 8 * kPage), failed(EACCES)) << "C164";
  EXPECT_EQ(get(0x10000, kPage), failed(EACCES)) << "C165";
  EXPECT_EQ(get(0x10000, 4 * kPage, 2 * kPage), failed(EACCES)) << "C166";
  EXPECT_EQ(get(0x10000, 4 * kPage, 0), failed(EACCES)) << "C167";
  EXPECT_EQ(get(0x10000, 0), failed(EACCES)) << "C170";
  const Mapped unmapped = unmap_with_bitmap(0x10000, 4 * kPage);
  EXPECT_EQ(unmapped.outcome, failed(EINVAL)) << "C158 C176";
  EXPECT_EQ(unmapped.size, 4 * kPage);
  EXPECT_EQ(unmap_with_bitmap(0x10000, 4 * kPage, 8, kPage, 24).outcome, failed(EINVAL)) << "C159";
  EXPECT_EQ(container.live(), 1);
}

TEST_P(Dirty, RulesOfVersion2) {
  if (!v2()) GTEST_SKIP() << "the cases of type1v2";
  ASSERT_EQ(container.map(0x10000, hva, 4 * kPage), ok());
  Mapped unmapped = unmap_with_bitmap(0x10000, 4 * kPage);
  EXPECT_EQ(unmapped.outcome, failed(EINVAL)) << "C158: without tracking";
  EXPECT_EQ(unmapped.size, 4 * kPage) << "C158";
  EXPECT_EQ(unmap_with_bitmap(0x10000, 4 * kPage, 8, kPage, 24).outcome, failed(EINVAL)) << "C159";
  EXPECT_EQ(container.live(), 1) << "C158 C159";
  EXPECT_EQ(call(kStart), ok()) << "C160";
  EXPECT_EQ(get(0x10000, kPage), failed(EINVAL)) << "C165: cuts a mapping";
  EXPECT_EQ(get(0x12000, 4 * kPage), failed(EINVAL)) << "C165: cuts its end";
  EXPECT_EQ(call(kGet, 8), failed(EINVAL)) << "C175";
  EXPECT_EQ(get(0x10000, 4 * kPage, kPage, 8, true), failed(EFAULT)) << "C175b";
  EXPECT_EQ(get(0x10000, 4 * kPage, kPage, 16), ok()) << "a bitmap may be larger";
  EXPECT_EQ(bits & 0xf, 0xfu);
  ASSERT_EQ(container.map(0x20000, hva + 4 * kPage, 2 * kPage, kReadOnly), ok());
  EXPECT_EQ(get(0x20000, 2 * kPage), ok()) << "C177";
  EXPECT_EQ(bits, 3u) << "C177";
  EXPECT_EQ(unmap_with_bitmap(0x20000, 2 * kPage).size, 2 * kPage);

  EXPECT_EQ(unmap_with_bitmap(0x10000, 4 * kPage, 0).outcome, failed(EINVAL));
  EXPECT_EQ(unmap_with_bitmap(0x10000, 4 * kPage, 1).outcome, failed(EINVAL)) << "C178b";
  EXPECT_EQ(unmap_with_bitmap(0x10000, 4 * kPage, 8, 2 * kPage).outcome, failed(EINVAL));
  EXPECT_EQ(container.live(), 1);
  EXPECT_EQ(unmap_with_bitmap(0x10000, 4 * kPage).size, 4 * kPage);
  // Two of two pages in one call.
  ASSERT_EQ(container.map(0x10000, hva, 2 * kPage), ok());
  ASSERT_EQ(container.map(0x12000, hva + 4 * kPage, 2 * kPage), ok());
  unmapped = unmap_with_bitmap(0x10000, 4 * kPage);
  EXPECT_EQ(unmapped.outcome, ok()) << "C178";
  EXPECT_EQ(unmapped.size, 4 * kPage) << "C178";
  EXPECT_EQ(bits, 0xfu) << "C178";
  unmapped = unmap_with_bitmap(0x10000, 4 * kPage);
  EXPECT_EQ(unmapped.outcome, ok()) << "nothing there";
  EXPECT_EQ(unmapped.size, 0u);
  EXPECT_EQ(bits, 0u);
  EXPECT_EQ(call(kStop), ok()) << "C179";
  EXPECT_EQ(call(kStop), ok()) << "C180";
}

const auto type_name = [](const testing::TestParamInfo<unsigned long>& info) {
  return info.param == VFIO_TYPE1_IOMMU ? "type1" : "type1v2";
};
INSTANTIATE_TEST_SUITE_P(Types, MemoryOf, testing::Values(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU), type_name);
INSTANTIATE_TEST_SUITE_P(Types, PeerToPeer, testing::Values(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU), type_name);
INSTANTIATE_TEST_SUITE_P(Types, Dirty, testing::Values(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU), type_name);

}  // namespace
}  // namespace conformance
