// SPDX-License-Identifier: LGPL-2.1-or-later
// Rules of the ioctls that few programs meet, on the engine without a front end.
#include <algorithm>
#include <array>
#include <vector>

#include "hypercall/statistics.h"
#include "vfio_engine_rig.h"

namespace pviommu::vfio {
namespace {

struct RulesTest : testing::Test {
  EngineRig rig;
  int container = -1, device = -1;
  UniqueFd eventfd{::eventfd(0, EFD_NONBLOCK)};

  /// The devices of the rig: nvme in group 0, edu in group 1.
  void open(unsigned group, const char* name) {
    container = rig.open_container();
    const int fd = rig.open_group(group);
    ASSERT_EQ(rig.client.ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container), 0);
    ASSERT_EQ(rig.client.file_of(container)->ioctl(rig.client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
    std::array<char, 16> text{};
    std::copy_n(name, std::strlen(name), text.begin());
    device = static_cast<int>(rig.client.ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, text.data()));
    ASSERT_GE(device, 0);
  }
  long set(std::uint32_t index, std::uint32_t flags, std::uint32_t count, std::int32_t data = 0) {
    struct {
      std::uint32_t argsz, flags, index, start, count;
      std::int32_t data;
    } call{sizeof call, flags, index, 0, count, data};
    return rig.client.ioctl(device, VFIO_DEVICE_SET_IRQS, &call);
  }
  std::uint64_t arrived() {
    eventfd_t value = 0;
    return ::eventfd_read(eventfd.get(), &value) == 0 ? value : 0;
  }
};

TEST_F(RulesTest, BooleansMaskAndUnmask) {
  open(1, "0000:00:06.0");
  constexpr std::uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX, kBool = VFIO_IRQ_SET_DATA_BOOL;
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_MASK, 1, 1), -EINVAL);  // not enabled
  ASSERT_EQ(set(kIntx, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 1, eventfd.get()), 0);
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_MASK, 1, 0), 0);
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_MASK, 1, 1), 0);
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_UNMASK, 1, 0), 0);
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_UNMASK, 1, 1), 0);
  EXPECT_EQ(set(kIntx, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_MASK, 1, eventfd.get()), -ENOTTY);
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 0), 0);
  EXPECT_EQ(arrived(), 0u);
  EXPECT_EQ(set(kIntx, kBool | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 1), 0);
  EXPECT_EQ(arrived(), 1u);
}

TEST_F(RulesTest, TheRequestInterruptIsOneEventfd) {
  open(1, "0000:00:06.0");
  constexpr std::uint32_t kReq = VFIO_PCI_REQ_IRQ_INDEX, kTrigger = VFIO_IRQ_SET_ACTION_TRIGGER;
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_NONE | kTrigger, 1), -EINVAL);  // there is none
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_EVENTFD | kTrigger, 1, -2), -EINVAL);  // 0 on Linux 6.1
  ASSERT_EQ(set(kReq, VFIO_IRQ_SET_DATA_EVENTFD | kTrigger, 1, eventfd.get()), 0);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_NONE | kTrigger, 1), 0);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_BOOL | kTrigger, 1, 1), 0);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_BOOL | kTrigger, 1, 0), 0);
  EXPECT_EQ(arrived(), 2u);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_BOOL | kTrigger, 0), -EINVAL);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_EVENTFD | kTrigger, 0), -EINVAL);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, 1), -ENOTTY);
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_NONE | kTrigger, 0), 0);  // takes it away
  EXPECT_EQ(set(kReq, VFIO_IRQ_SET_DATA_NONE | kTrigger, 1), -EINVAL);
}

TEST_F(RulesTest, NoRegisterWriteIntoTheMsixTable) {
  open(0, "0000:00:05.0");
  std::uint64_t table = 0;  // from the capability, as a program finds it
  for (std::uint64_t at = 0x34;;) {
    std::uint8_t next = 0;
    const std::uint64_t config = std::uint64_t{7} << 40;
    const auto read = [&](std::uint64_t from, void* to, std::size_t bytes) {
      const auto address = reinterpret_cast<std::uint64_t>(to);
      ASSERT_EQ(rig.client.file_of(device)->pread(rig.client, address, bytes,
                                                  static_cast<std::int64_t>(config + from)),
                static_cast<ssize_t>(bytes));
    };
    read(at, &next, 1);
    ASSERT_NE(next, 0);
    std::uint8_t id = 0;
    read(next, &id, 1);
    at = next + 1u;
    if (id != 0x11) continue;
    std::uint32_t where = 0;
    read(next + 4u, &where, 4);
    table = std::uint64_t{where & 7} << 40 | (where & ~7u);
    break;
  }
  vfio_device_ioeventfd call{};
  call.argsz = sizeof call;
  call.flags = VFIO_DEVICE_IOEVENTFD_32;
  call.fd = eventfd.get();
  call.offset = table + 4;
  EXPECT_EQ(rig.client.ioctl(device, VFIO_DEVICE_IOEVENTFD, &call), -EINVAL);
  call.offset = 0x14;
  EXPECT_EQ(rig.client.ioctl(device, VFIO_DEVICE_IOEVENTFD, &call), 0);
  EXPECT_EQ(rig.client.ioctl(device, VFIO_DEVICE_IOEVENTFD, &call), -EEXIST);
  call.fd = -1;
  EXPECT_EQ(rig.client.ioctl(device, VFIO_DEVICE_IOEVENTFD, &call), 0);
  EXPECT_EQ(rig.client.ioctl(device, VFIO_DEVICE_IOEVENTFD, &call), -ENODEV);
}

TEST_F(RulesTest, ANameHasAnEnd) {
  container = rig.open_container();
  const int group = rig.open_group(0);
  std::vector<char> name(kPageSize, 'x');
  EXPECT_EQ(rig.client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name.data()), -EINVAL);
  name.back() = 0;
  EXPECT_EQ(rig.client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name.data()), -ENODEV);
}

TEST_F(RulesTest, MoreRightsThanAskedForAreTold) {
  EngineRig direct("model:limits=xen,direct=on;edu");
  const int own = direct.open_container();
  const int group = direct.open_group(0);
  int fd = own;
  ASSERT_EQ(direct.client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &fd), 0);
  ASSERT_EQ(direct.client.file_of(own)->ioctl(direct.client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
  void* memory = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::uint64_t before = statistics().maps_widened;
  vfio_iommu_type1_dma_map map{.argsz = sizeof map,
                               .flags = VFIO_DMA_MAP_FLAG_READ,
                               .vaddr = reinterpret_cast<std::uint64_t>(memory),
                               .iova = 0x10000,
                               .size = kPageSize};
  EXPECT_EQ(direct.client.ioctl(own, VFIO_IOMMU_MAP_DMA, &map), 0);
  EXPECT_EQ(statistics().maps_widened, before + 1);
  EXPECT_EQ(direct.client.unmap(own, 0x10000, kPageSize), 0);
  ::munmap(memory, kPageSize);
}

}  // namespace
}  // namespace pviommu::vfio
