// SPDX-License-Identifier: LGPL-2.1-or-later
// The group: opening, joining a container, device descriptors, closing orders.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

const std::string& edu() { return Machine::get().edu; }
std::string edu_group() { return Machine::group_of(edu()); }
Outcome open_group(int flags = O_RDWR) { return outcome_of(::open(("/dev/vfio/" + edu_group()).c_str(), flags)); }

TEST(Group, OpensOnce) {
  EXPECT_EQ(outcome_of(::open("/dev/vfio/9999", O_RDWR)), failed(ENOENT));
  {
    const Outcome read_only = open_group(O_RDONLY);
    ASSERT_EQ(read_only.error, 0);
    ::close(static_cast<int>(read_only.value));
  }
  Group group(edu_group());
  ASSERT_GE(group.fd(), 0);
  EXPECT_EQ(open_group(), failed(EBUSY));
  EXPECT_EQ(in_child([] { return open_group() == failed(EBUSY) ? 0 : 1; }), 0) << "from another process: EBUSY";
}

TEST(Group, StatusByArgsz) {
  Group group(edu_group());
  std::uint32_t flags = 0;
  for (std::uint32_t argsz : {0u, 4u, 7u}) EXPECT_EQ(group.status(&flags, argsz), failed(EINVAL)) << argsz;
  for (std::uint32_t argsz : {8u, 12u, 16u}) {
    EXPECT_EQ(group.status(&flags, argsz), ok());
    EXPECT_EQ(flags, 1u) << "viable, no container";
  }
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_STATUS, 8)), failed(EFAULT));
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_STATUS, nullptr)), failed(EFAULT));
}

TEST(Group, RefusesWhatIsNotItsOwn) {
  Group group(edu_group());
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), _IO(VFIO_TYPE, 255))), failed(ENOTTY));
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GET_API_VERSION)), failed(ENOTTY));
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_IOMMU_MAP_DMA)), failed(ENOTTY));
  char byte = 0;
  EXPECT_EQ(outcome_of(::read(group.fd(), &byte, 1)), failed(EINVAL));
  EXPECT_EQ(outcome_of(::write(group.fd(), &byte, 1)), failed(EINVAL));
  EXPECT_EQ(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, group.fd(), 0), MAP_FAILED);
  EXPECT_EQ(errno, ENODEV);
}

TEST(Group, SetContainerTakesOnlyAContainer) {
  Container container, other;
  Group group(edu_group());
  const auto set = [&](int fd) { return outcome_of(::ioctl(group.fd(), VFIO_GROUP_SET_CONTAINER, &fd)); };
  EXPECT_EQ(set(-1), failed(EBADF));
  EXPECT_EQ(set(9999), failed(EBADF));
  const Fd null(::open("/dev/null", O_RDWR));
  const Outcome other_kind = failed(linux_before(6, 12) ? EINVAL : EBADFD);
  EXPECT_EQ(set(null.get()), other_kind);
  const Fd event(::eventfd(0, 0));
  EXPECT_EQ(set(event.get()), other_kind);
  EXPECT_EQ(set(group.fd()), other_kind);
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_SET_CONTAINER, nullptr)), failed(EFAULT));
  EXPECT_EQ(group.unset_container(), failed(EINVAL));
  EXPECT_EQ(set(container.fd()), ok());
  EXPECT_EQ(set(container.fd()), failed(EINVAL));
  EXPECT_EQ(set(other.fd()), failed(EINVAL));
  std::uint32_t flags = 0;
  EXPECT_EQ(group.status(&flags), ok());
  EXPECT_EQ(flags, 3u);
}

TEST(Group, DeviceNeedsContainerAndIommu) {
  Container container;
  Group group(edu_group());
  EXPECT_EQ(group.device("0000:77:00.0"), failed(ENODEV)) << "the name is looked at first";
  EXPECT_EQ(group.device(edu()), failed(EINVAL));
  ASSERT_EQ(group.set_container(container), ok());
  EXPECT_EQ(group.device(edu()), failed(EINVAL));
  ASSERT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), ok());
  EXPECT_EQ(group.device("0000:77:00.0"), failed(ENODEV));
  EXPECT_EQ(group.device(""), failed(ENODEV));
  EXPECT_EQ(group.device(std::string(8999, 'x')), failed(EINVAL));
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_DEVICE_FD, nullptr)), failed(EFAULT));
  // A name that ends with the last byte of mapped memory is fine; one that does not is EFAULT.
  Memory memory(2 * kPage);
  ASSERT_EQ(memory.punch(kPage, kPage), 0);
  char* edge = reinterpret_cast<char*>(memory.data()) + kPage - (edu().size() + 1);
  std::memcpy(edge, edu().c_str(), edu().size() + 1);
  const Outcome first = outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_DEVICE_FD, edge));
  ASSERT_EQ(first.error, 0);
  Device device(static_cast<int>(first.value));
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_DEVICE_FD, edge + 1)), failed(ENODEV));
  edge[edu().size()] = 'x';
  EXPECT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_DEVICE_FD, edge)), failed(EFAULT));

  EXPECT_EQ(::fcntl(device.fd(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(device.fd(), F_GETFL) & O_ACCMODE, O_RDWR);
  const Outcome second = group.device(edu() + " ");
  ASSERT_EQ(second.error, 0) << "a trailing blank, and a second time";
  Device again(static_cast<int>(second.value));
  EXPECT_EQ(again.config(0, 4), device.config(0, 4));
  EXPECT_EQ(group.unset_container(), failed(EBUSY));
  device.close();
  EXPECT_EQ(group.unset_container(), failed(EBUSY)) << "one of two is still open";
  EXPECT_EQ(again.config(0, 4), 0x11e81234u);
  again.close();
  EXPECT_EQ(group.unset_container(), ok());
}

TEST(Group, LastUnsetTakesMappingsAndType) {
  Container container;
  Group group(edu_group());
  Memory memory(kPage);
  ASSERT_EQ(group.set_container(container), ok());
  ASSERT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), ok());
  ASSERT_EQ(container.map(0x10000, memory.address(), kPage), ok());
  EXPECT_EQ(group.unset_container(), ok());
  EXPECT_EQ(container.map(0x20000, memory.address(), kPage), failed(EINVAL));
  EXPECT_EQ(container.live(), -1);
  ASSERT_EQ(group.set_container(container), ok());
  ASSERT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), ok()) << "another type than before";
  EXPECT_EQ(container.live(), 0);
  EXPECT_EQ(container.map(0x10000, memory.address(), kPage), ok());
}

TEST(Group, TwoGroupsShareAContainer) {
  Session first(edu());
  Memory memory(kPage);
  ASSERT_EQ(first.container.map(0x10000, memory.address(), kPage), ok());
  Group second(Machine::group_of(Machine::get().nvme));
  ASSERT_EQ(second.set_container(first.container), ok());
  const Outcome opened = second.device(Machine::get().nvme);
  ASSERT_EQ(opened.error, 0);
  Device nvme(static_cast<int>(opened.value));
  first.device.close();
  EXPECT_EQ(first.group.unset_container(), ok());
  EXPECT_EQ(first.container.live(), 1) << "the second group holds the space";
  const Mapped unmapped = first.container.unmap(0x10000, kPage);
  EXPECT_EQ(unmapped.outcome, ok());
  EXPECT_EQ(unmapped.size, kPage);
}

// Closing in any order: the last reference ends each thing, and not earlier.
TEST(Group, ContainerClosedFirst) {
  Session session(edu());
  session.container.close();
  std::uint32_t flags = 0;
  EXPECT_EQ(session.group.status(&flags), ok());
  EXPECT_EQ(flags, 3u);
  const Outcome again = session.group.device(edu());
  ASSERT_EQ(again.error, 0);
  Device device(static_cast<int>(again.value));
  EXPECT_EQ(device.config(0, 4), 0x11e81234u);
  session.device.close();
  device.close();
  EXPECT_EQ(session.group.unset_container(), ok());
}

TEST(Group, GroupClosedBeforeItsDevice) {
  auto session = std::make_unique<Session>(edu());
  session->group.close();
  EXPECT_EQ(session->device.config(0, 4), 0x11e81234u);
  EXPECT_EQ(open_group(), failed(EBUSY));
  Memory memory(kPage);
  EXPECT_EQ(session->container.map(0, memory.address(), kPage), ok()) << "the device holds its group there";
  session->device.close();
  EXPECT_EQ(session->container.map(0x10000, memory.address(), kPage), failed(EINVAL)) << "the group has left";
  const Outcome reopened = open_group();
  EXPECT_EQ(reopened.error, 0);
  ::close(static_cast<int>(reopened.value));
}

TEST(Group, ComesBackToTheOldContainer) {
  Container container;
  Memory memory(kPage);
  for (unsigned long type : {VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU}) {
    Group group(edu_group());
    ASSERT_GE(group.fd(), 0) << "B83 B93";
    ASSERT_EQ(group.set_container(container), ok()) << "B84";
    ASSERT_EQ(container.ioctl(VFIO_SET_IOMMU, type), ok()) << "B85";
    EXPECT_EQ(container.live(), 0);
    ASSERT_EQ(container.map(0x10000, memory.address(), kPage), ok()) << "B86: nothing is left of before";
    const Outcome first = group.device(edu());
    ASSERT_EQ(first.error, 0);
    Device device(static_cast<int>(first.value));
    device.close();
    const Outcome second = group.device(edu());
    ASSERT_EQ(second.error, 0) << "B87 B88";
    device = Device(static_cast<int>(second.value));
    EXPECT_EQ(device.config(0, 4), 0x11e81234u);
    group.close();  // B79: before its device
  }
  Group group(edu_group());
  ASSERT_EQ(group.set_container(container), ok());
  container.close();
  EXPECT_EQ(group.unset_container(), ok()) << "B90";
  Container other;
  EXPECT_EQ(group.set_container(other), ok()) << "B91";
  EXPECT_EQ(other.ioctl(VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU), ok(1)) << "B92";
}

TEST(Group, BarMappingAloneKeepsTheGroupBusy) {
  auto session = std::make_unique<Session>(edu());
  if (!(session->device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, session->device.fd(), 0);
  ASSERT_NE(bar, MAP_FAILED);
  session.reset();
  EXPECT_EQ(Machine::edu_order(*static_cast<volatile std::uint32_t*>(bar)), 0x010000edu);
  EXPECT_EQ(open_group(), failed(EBUSY));
  ::munmap(bar, kPage);
  const Outcome reopened = open_group();
  EXPECT_EQ(reopened.error, 0);
  ::close(static_cast<int>(reopened.value));
}

TEST(Group, DuplicatesCountAsOneOpenFile) {
  Session session(edu());
  const Fd device(::dup(session.device.fd()));
  const Fd group(::fcntl(session.group.fd(), F_DUPFD_CLOEXEC, 200));
  ASSERT_GE(group.get(), 200);
  session.device.close();
  session.group.close();
  std::uint32_t id = 0;
  EXPECT_EQ(outcome_of(::pread(device.get(), &id, 4, std::int64_t{7} << 40)), ok(4));
  EXPECT_EQ(id, 0x11e81234u);
  EXPECT_EQ(open_group(), failed(EBUSY));
}

TEST(Group, EachClosedSetupLeavesNothing) {
  for (int round = 0; round < 20; ++round) {
    Session session(round % 2 ? edu() : Machine::get().nvme, round % 3 ? VFIO_TYPE1v2_IOMMU : VFIO_TYPE1_IOMMU);
    Memory memory(16 * kPage);
    ASSERT_EQ(session.container.map(0x10000, memory.address(), 16 * kPage), ok()) << round;
    EXPECT_EQ(session.container.live(), 1);
  }
}

}  // namespace
}  // namespace conformance
