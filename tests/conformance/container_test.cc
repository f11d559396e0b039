// SPDX-License-Identifier: LGPL-2.1-or-later
// The container: before and after SET_IOMMU, GET_INFO.
#include <gtest/gtest.h>

#include <cstddef>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

constexpr std::uint64_t kNowhere = 8;  // not mapped in any process

TEST(Container, AnswersVersionAndExtensionsWithoutAGroup) {
  Container container;
  ASSERT_GE(container.fd(), 0);
  EXPECT_EQ(container.ioctl(VFIO_GET_API_VERSION), ok(VFIO_API_VERSION));
  const long nesting = linux_before(7, 0) ? 1 : 0;
  const long expected[] = {0, 1, 0, 1, 0, 0, nesting, 0, 0, 1, 0, 0, 0};
  for (unsigned extension = 1; extension < 13; ++extension)
    EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, extension), ok(expected[extension])) << "extension " << extension;
  EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, 4711), ok(0));
}

TEST(Container, CanBeOpenedTwiceAndReadOnly) {
  Container first, second;
  EXPECT_GE(second.fd(), 0);
  const Fd read_only(::open("/dev/vfio/vfio", O_RDONLY));
  ASSERT_TRUE(read_only);
  EXPECT_EQ(outcome_of(::ioctl(read_only.get(), VFIO_GET_API_VERSION)), ok(VFIO_API_VERSION));
}

TEST(Container, RefusesEverythingElseBeforeSetIommu) {
  Container container;
  for (unsigned long type : {1ul, 3ul, 5ul, 6ul, 7ul, 8ul})
    EXPECT_EQ(container.ioctl(VFIO_SET_IOMMU, type), failed(EINVAL)) << type;
  Memory memory(kPage);
  EXPECT_EQ(container.map(0, memory.address(), kPage), failed(EINVAL));
  EXPECT_EQ(container.unmap(0, kPage).outcome, failed(EINVAL));
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_GET_INFO, kNowhere), failed(EINVAL));
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_DIRTY_PAGES, kNowhere), failed(EINVAL));
  EXPECT_EQ(container.ioctl(0x5401), failed(EINVAL)) << "TCGETS";
  EXPECT_EQ(container.ioctl(_IO(VFIO_TYPE, 255)), failed(EINVAL));
  std::uint32_t word[4] = {sizeof word};
  EXPECT_EQ(container.ioctl(VFIO_GROUP_GET_STATUS, reinterpret_cast<std::uint64_t>(word)), failed(EINVAL));
  EXPECT_EQ(container.ioctl(VFIO_DEVICE_GET_INFO, reinterpret_cast<std::uint64_t>(word)), failed(EINVAL));
}

TEST(Container, AnswersBeforeAndAfterSetIommu) {
  Container container;
  Group group(Machine::group_of(Machine::get().edu));
  ASSERT_EQ(group.set_container(container), ok());
  Memory memory(kPage);
  EXPECT_EQ(container.ioctl(VFIO_IOMMU_GET_INFO, kNowhere), failed(EINVAL)) << "B31";
  EXPECT_EQ(container.map(0, memory.address(), kPage), failed(EINVAL)) << "B32";
  EXPECT_EQ(container.unmap(0, kPage).outcome, failed(EINVAL));
  EXPECT_EQ(container.ioctl(_IO(VFIO_TYPE, 255)), failed(EINVAL)) << "B34";
  EXPECT_EQ(container.ioctl(0x5401), failed(EINVAL));
  const long nesting = linux_before(7, 0) ? 1 : 0;
  const long before[] = {0, 1, 0, 1, 0, 0, nesting, 0, 0, 1, 0, 0, 0};
  for (unsigned number = 0; number < 13; ++number)
    EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, number), ok(before[number])) << "B35 " << number;
  ASSERT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), ok());
  const long after[] = {0, 1, 0, 1, 0, 0, nesting, 0, 0, 1, 1, 0, 0};
  for (unsigned number = 0; number < 13; ++number)
    EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, number), ok(after[number])) << "B40 " << number;
  EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, ~0ul), ok(0));
  EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, (1ul << 32) + 1), ok(0)) << "a number is 64 bits";
  EXPECT_EQ(container.ioctl(VFIO_GET_API_VERSION), ok(VFIO_API_VERSION));
  const int fd = container.fd();
  container.close();
  EXPECT_EQ(outcome_of(::ioctl(fd, VFIO_GET_API_VERSION)), failed(EBADF)) << "A23";
}

TEST(Container, CannotBeReadOrWritten) {
  Container container;
  char byte = 0;
  EXPECT_EQ(outcome_of(::read(container.fd(), &byte, 1)), failed(EINVAL));
  EXPECT_EQ(outcome_of(::write(container.fd(), &byte, 1)), failed(EINVAL));
  EXPECT_EQ(outcome_of(::pread(container.fd(), &byte, 1, 0)), failed(EINVAL));
}

TEST(Container, SetIommuTakesType1AndType1v2Only) {
  Container container;
  Group group(Machine::group_of(Machine::get().edu));
  ASSERT_EQ(group.set_container(container), ok());
  const std::pair<std::uint64_t, int> refused[] = {{0, ENODEV}, {4, ENODEV}, {5, ENODEV},  {6, linux_before(7, 0) ? EINVAL : ENODEV}, {8, ENODEV},
                                                   {9, EINVAL}, {10, ENODEV}, {99, ENODEV}, {~0ull, ENODEV}};
  for (const auto& [type, error] : refused) EXPECT_EQ(container.ioctl(VFIO_SET_IOMMU, type), failed(error)) << type;
  EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR), ok(0));
  EXPECT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), ok());
  EXPECT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), failed(EINVAL));
  EXPECT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), failed(EINVAL));
  EXPECT_EQ(container.ioctl(VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR), ok(1));
}

TEST(Container, UnknownCallsAreENOTTYOnceThereIsAnIommu) {
  Session session(Machine::get().edu);
  EXPECT_EQ(session.container.ioctl(_IO(VFIO_TYPE, 255)), failed(ENOTTY));
  EXPECT_EQ(session.container.ioctl(0x5401), failed(ENOTTY));
  EXPECT_EQ(session.container.ioctl(VFIO_IOMMU_ENABLE), failed(ENOTTY));
}

class GetInfo : public testing::TestWithParam<unsigned long> {};

TEST_P(GetInfo, AnswersEveryArgsz) {
  Session session(Machine::get().edu, GetParam());
  alignas(8) std::uint8_t bytes[4096];
  const auto ask = [&](std::uint32_t argsz) {
    std::memset(bytes, 0xcc, sizeof bytes);
    std::memcpy(bytes, &argsz, sizeof argsz);
    return session.container.ioctl(VFIO_IOMMU_GET_INFO, reinterpret_cast<std::uint64_t>(bytes));
  };
  const auto& info = *reinterpret_cast<const vfio_iommu_type1_info*>(bytes);
  for (std::uint32_t argsz : {0u, 8u, 15u}) EXPECT_EQ(ask(argsz), failed(EINVAL)) << argsz;

  ASSERT_EQ(ask(sizeof bytes), ok());
  const std::uint32_t cap_offset = info.cap_offset;
  EXPECT_EQ(cap_offset, 24u);
  // Migration, entries left, iova ranges, in this order.
  std::vector<unsigned> ids;
  std::uint32_t total = 24;
  for (std::uint32_t at = cap_offset; at != 0;) {
    const auto& header = *reinterpret_cast<const vfio_info_cap_header*>(bytes + at);
    ids.push_back(header.id);
    EXPECT_EQ(header.version, 1);
    if (header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
      EXPECT_TRUE(at % 8 == 0 || linux_before(6, 12)) << at;
      std::uint32_t ranges = 0;
      std::memcpy(&ranges, bytes + at + offsetof(vfio_iommu_type1_info_cap_iova_range, nr_iovas), sizeof ranges);
      total = at + 16 + 16 * ranges;
    }
    at = header.next;
  }
  EXPECT_EQ(ids, (std::vector<unsigned>{2, 3, 1}));

  for (std::uint32_t argsz : {16u, 19u}) {
    ASSERT_EQ(ask(argsz), ok());
    EXPECT_EQ(info.argsz, total);
    EXPECT_EQ(info.flags, 3u);
    EXPECT_EQ(info.cap_offset, argsz == 16 || linux_before(6, 12) ? 0xccccccccu : 0xcc000000u)
        << "what there is room for";
  }
  for (std::uint32_t argsz : {20u, 24u, 64u, total - 1}) {
    ASSERT_EQ(ask(argsz), ok());
    EXPECT_EQ(info.argsz, total);
    EXPECT_EQ(info.cap_offset, 0u) << "argsz " << argsz;
  }
  ASSERT_EQ(ask(total), ok());
  EXPECT_EQ(info.argsz, total);
  EXPECT_EQ(info.cap_offset, 24u);
  EXPECT_TRUE(info.iova_pgsizes & kPage);
  EXPECT_EQ(session.container.ioctl(VFIO_IOMMU_GET_INFO, 0), failed(EFAULT));
  EXPECT_EQ(session.container.ioctl(VFIO_IOMMU_GET_INFO, kNowhere), failed(EFAULT));
}

TEST_P(GetInfo, IovaRangesLeaveTheMsiWindowOut) {
  Session session(Machine::get().edu, GetParam());
  const auto ranges = session.container.iova_ranges();
  ASSERT_FALSE(ranges.empty());
  std::uint64_t before = 0;
  for (const auto& range : ranges) {
    EXPECT_LE(range.start, range.end);
    EXPECT_TRUE(range.start == 0 || range.start > before);
    EXPECT_FALSE(range.start <= kMsiWindow + 0xfffff && range.end >= kMsiWindow);
    before = range.end;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GetInfo, testing::Values(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU));

}  // namespace
}  // namespace conformance
