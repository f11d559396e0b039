// SPDX-License-Identifier: LGPL-2.1-or-later
// Program memory and BAR mappings.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <thread>
#include <vector>

#include "tests/unit/vfio_frontend_fake_engine.h"
#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/user_memory.h"

namespace pviommu::vfio::test {
namespace {

constexpr std::size_t kPage = 4096;

std::uint64_t address_of(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

char* map_memory(std::size_t pages, int prot = PROT_READ | PROT_WRITE) {
  void* p = ::mmap(nullptr, pages * kPage, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

using CopyIn = Status (*)(void*, std::uint64_t, std::size_t);
using CopyOut = Status (*)(std::uint64_t, const void*, std::size_t);
struct Way {
  const char* name;
  CopyIn in;
  CopyOut out;
};

class UserMemory : public ::testing::TestWithParam<Way> {};

TEST_P(UserMemory, CopiesAndFaults) {
  char* memory = map_memory(4);
  ASSERT_NE(memory, nullptr);
  ASSERT_EQ(::munmap(memory + 2 * kPage, kPage), 0);
  std::memset(memory, 'm', 2 * kPage);
  char ours[3 * kPage];

  EXPECT_TRUE(GetParam().in(ours, address_of(memory), 2 * kPage).ok());
  EXPECT_EQ(ours[2 * kPage - 1], 'm');
  std::memset(ours, 'o', sizeof ours);
  EXPECT_TRUE(GetParam().out(address_of(memory), ours, 2 * kPage).ok());
  EXPECT_EQ(memory[2 * kPage - 1], 'o');

  const std::uint64_t bad[] = {
      0, 1, address_of(memory + 2 * kPage), 0x0000800000000000, ~std::uint64_t{0} - 3, 0xffff800000000000};
  for (const std::uint64_t address : bad) {
    EXPECT_EQ(GetParam().in(ours, address, 8).error().code, EFAULT) << std::hex << address;
    EXPECT_EQ(GetParam().out(address, ours, 8).error().code, EFAULT) << std::hex << address;
  }
  // Over the edge.
  EXPECT_EQ(GetParam().in(ours, address_of(memory + 2 * kPage - 4), 8).error().code, EFAULT);
  EXPECT_EQ(GetParam().out(address_of(memory + 2 * kPage - 4), ours, 8).error().code, EFAULT);
  // Rights.
  ASSERT_EQ(::mprotect(memory, kPage, PROT_READ), 0);
  EXPECT_TRUE(GetParam().in(ours, address_of(memory), 8).ok());
  EXPECT_EQ(GetParam().out(address_of(memory), ours, 8).error().code, EFAULT);
  ASSERT_EQ(::mprotect(memory, kPage, PROT_NONE), 0);
  EXPECT_EQ(GetParam().in(ours, address_of(memory), 8).error().code, EFAULT);
  ::munmap(memory, 4 * kPage);
}

TEST_P(UserMemory, LargeCopies) {
  constexpr std::size_t kBytes = 300 * 1024 + 17;
  std::vector<char> from(kBytes), to(kBytes);
  for (std::size_t i = 0; i < kBytes; ++i) from[i] = static_cast<char>(i * 31 >> 3);
  EXPECT_TRUE(GetParam().in(to.data(), address_of(from.data()), kBytes).ok());
  EXPECT_EQ(from, to);
  std::fill(to.begin(), to.end(), 0);
  EXPECT_TRUE(GetParam().out(address_of(to.data()), from.data(), kBytes).ok());
  EXPECT_EQ(from, to);
  EXPECT_TRUE(GetParam().in(nullptr, 0, 0).ok());
}

INSTANTIATE_TEST_SUITE_P(Ways, UserMemory,
                         ::testing::Values(Way{"kernel", copy_from_program, copy_to_program},
                                           Way{"file", copy_from_program_by_file, copy_to_program_by_file}),
                         [](const auto& info) { return info.param.name; });

TEST(OwnStack, KnowsItsBounds) {
  const auto check = [] {
    char local[64] = {};
    // Higher than the frame of on_own_stack(): the caller's.
    EXPECT_TRUE(on_own_stack(address_of(local), sizeof local));
    EXPECT_FALSE(on_own_stack(address_of(local), ~std::size_t{0}));
    EXPECT_FALSE(on_own_stack(address_of(local), std::size_t{1} << 40));
    EXPECT_FALSE(on_own_stack(address_of(local) - (1 << 16), 8)) << "below the live part";
    char* heap = map_memory(1);
    EXPECT_FALSE(on_own_stack(address_of(heap), 8));
    ::munmap(heap, kPage);
    EXPECT_FALSE(on_own_stack(0, 8));
  };
  check();
  std::thread(check).join();
  char here[8] = {};
  std::thread([&] { EXPECT_FALSE(on_own_stack(address_of(here), 8)); }).join();
}

class MappingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    front_.set_engine_factory([]() -> Result<std::unique_ptr<Engine>> {
      return std::unique_ptr<Engine>(new FakeEngine);
    });
    const int group = front_.open_node("3", O_RDWR);
    device_ = static_cast<int>(front_.ioctl(*front_.table().find(group), kMakeDevice, nullptr));
    front_.close(group);
  }
  void TearDown() override {
    front_.finish();
    EXPECT_EQ(fake_log().mapped, 0);
    EXPECT_EQ(fake_log().files, 0);
  }
  char* map_bar(off_t page, std::size_t pages, void* at = nullptr, int flags = 0) {
    const std::intptr_t result = front_.mmap(front_.table().find(device_), at, pages * kPage,
                                             PROT_READ | PROT_WRITE, MAP_SHARED | flags, page * 4096);
    return result < 0 && result >= -4095 ? nullptr : reinterpret_cast<char*>(result);
  }
  int unmap(char* address, std::size_t pages) {
    int result = -1;
    FrontEnd::announce(front_.mappings().remove_around(address_of(address), pages * kPage, [&] {
      result = ::munmap(address, pages * kPage);
      return result == 0;
    }));
    return result;
  }
  long offset_at(const void* address) {
    const auto found = front_.mmio_at(address_of(address), kPage);
    return found.file ? static_cast<long>(found.offset >> 12) : -1;
  }

  static inline constinit FdTable table_;
  FrontEnd front_{table_};
  int device_ = -1;
};

TEST_F(MappingTest, PiecesMakeOneMapping) {
  char* bar = map_bar(0, 4);
  ASSERT_NE(bar, nullptr);
  EXPECT_EQ(bar[0], 'a');
  EXPECT_EQ(bar[kPage], 'a' + 16) << "the shadow";
  EXPECT_EQ(bar[2 * kPage], 'c');
  EXPECT_EQ(bar[3 * kPage], 'd');
  EXPECT_EQ(fake_log().mapped, 1);
  for (int page = 0; page < 4; ++page) EXPECT_EQ(offset_at(bar + page * kPage), page);
  EXPECT_EQ(unmap(bar, 4), 0);
  EXPECT_EQ(fake_log().mapped, 0);
}

TEST_F(MappingTest, ChecksOfMmap) {
  const OpenFileRef file = front_.table().find(device_);
  const auto map = [&](std::size_t bytes, int flags, off_t offset) {
    return front_.mmap(file, nullptr, bytes, PROT_READ, flags, offset);
  };
  EXPECT_EQ(map(0, MAP_SHARED, 0), -EINVAL);
  EXPECT_EQ(map(kPage, MAP_SHARED, 100), -EINVAL);
  EXPECT_EQ(map(kPage, MAP_PRIVATE, 0), -EINVAL);
  EXPECT_EQ(map(kPage * 17, MAP_SHARED, 0), -EINVAL);
  EXPECT_EQ(map(~std::size_t{0}, MAP_SHARED, 0), -ENOMEM);
  EXPECT_EQ(front_.mappings().size(), 0u);
  const int container = front_.open_node("vfio", O_RDWR);
  EXPECT_EQ(front_.mmap(front_.table().find(container), nullptr, kPage, PROT_READ, MAP_SHARED, 0), -ENODEV);
}

TEST_F(MappingTest, AMappingKeepsTheFileOpen) {
  char* bar = map_bar(2, 1);
  ASSERT_NE(bar, nullptr);
  EXPECT_EQ(front_.close(device_), 0);
  EXPECT_EQ(fake_log().files, 1);
  EXPECT_EQ(bar[0], 'c');
  EXPECT_EQ(unmap(bar, 1), 0);
  EXPECT_EQ(fake_log().files, 0);
}

TEST_F(MappingTest, PartialUnmap) {
  char* bar = map_bar(0, 8);
  ASSERT_NE(bar, nullptr);
  EXPECT_EQ(unmap(bar + 3 * kPage, 2), 0);
  EXPECT_EQ(fake_log().mapped, 2);
  EXPECT_EQ(offset_at(bar + 2 * kPage), 2);
  EXPECT_EQ(offset_at(bar + 3 * kPage), -1);
  EXPECT_EQ(offset_at(bar + 4 * kPage), -1);
  EXPECT_EQ(offset_at(bar + 5 * kPage), 5);
  EXPECT_EQ(unmap(bar, 1), 0);
  EXPECT_EQ(unmap(bar + 7 * kPage, 1), 0);
  EXPECT_EQ(fake_log().mapped, 2);
  EXPECT_EQ(offset_at(bar + 6 * kPage), 6);
  EXPECT_EQ(unmap(bar, 8), 0);
  EXPECT_EQ(fake_log().mapped, 0);
  EXPECT_FALSE(front_.mappings().may_overlap(address_of(bar), 8 * kPage));
}

TEST_F(MappingTest, AMappingOverAnother) {
  char* bar = map_bar(0, 8);
  ASSERT_NE(bar, nullptr);
  EXPECT_EQ(map_bar(12, 2, bar + 2 * kPage, MAP_FIXED), bar + 2 * kPage);
  EXPECT_EQ(offset_at(bar + kPage), 1);
  EXPECT_EQ(offset_at(bar + 2 * kPage), 12);
  EXPECT_EQ(offset_at(bar + 4 * kPage), 4);
  EXPECT_EQ(fake_log().mapped, 3);
  EXPECT_EQ(unmap(bar, 8), 0);
}

TEST_F(MappingTest, RangesThatAreNotOneFile) {
  char* bar = map_bar(0, 2);
  ASSERT_NE(bar, nullptr);
  EXPECT_TRUE(front_.mmio_at(address_of(bar), 2 * kPage).file);
  EXPECT_TRUE(front_.mmio_at(address_of(bar) + 100, 100).file);
  EXPECT_FALSE(front_.mmio_at(address_of(bar), 3 * kPage).file) << "sticks out";
  EXPECT_FALSE(front_.mmio_at(address_of(bar) - kPage, 2 * kPage).file);
  EXPECT_FALSE(front_.mmio_at(address_of(bar), 0).file);
  EXPECT_EQ(unmap(bar, 2), 0);
}

TEST_F(MappingTest, MoveAndShrink) {
  char* bar = map_bar(4, 2);
  char* place = map_memory(8);
  ASSERT_NE(bar, nullptr);
  FrontEnd::announce(front_.mappings().move_around(address_of(bar), 2 * kPage, kPage, [&]() -> std::uint64_t {
    void* moved = ::mremap(bar, 2 * kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place + kPage);
    return moved == MAP_FAILED ? 0 : address_of(moved);
  }));
  EXPECT_EQ(offset_at(bar), -1);
  EXPECT_EQ(offset_at(place + kPage), 4);
  EXPECT_EQ(fake_log().mapped, 1);
  EXPECT_EQ(unmap(place, 8), 0);
}

TEST_F(MappingTest, ThreadsMapAndUnmap) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        char* bar = map_bar(t, 2);
        if (bar == nullptr || offset_at(bar) != t) ++wrong;
        if (unmap(bar, 1) != 0 || offset_at(bar + kPage) != t + 1) ++wrong;
        if (unmap(bar + kPage, 1) != 0) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(front_.mappings().size(), 0u);
}

}  // namespace
}  // namespace pviommu::vfio::test
