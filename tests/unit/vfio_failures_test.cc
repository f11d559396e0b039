// SPDX-License-Identifier: LGPL-2.1-or-later
// Every hypercall of a program's whole life fails once, for every one of them (vfio_life.h).
#include <tuple>

#include "vfio_life.h"

namespace pviommu::vfio {
namespace {

class ContainerLife : Life {
 public:
  explicit ContainerLife(EngineRig& rig) : Life(rig), event_(::eventfd(0, EFD_NONBLOCK)) {}
  ~ContainerLife() { ::close(event_); }

  /// Runs all steps; returns how many met a failure.
  int run() {
    container_ = rig_.open_container();
    group_ = rig_.open_group(group_number());
    step("SET_CONTAINER", [&] { return rig_.client.ioctl(group_, VFIO_GROUP_SET_CONTAINER, &container_); });
    step("SET_IOMMU", [&] {
      return rig_.client.ioctl(container_, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU));
    });
    // One page, scattered pages, more than one hypercall takes.
    step("MAP 1", [&] { return map(0x10000, kPageSize); });
    step("GET_DEVICE_FD", [&] {
      const long fd = rig_.client.ioctl(group_, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>("0000:00:06.0"));
      if (fd >= 0) device_ = static_cast<int>(fd);
      return fd < 0 ? fd : 0;
    });
    step("MAP 300", [&] { return map(0x400000, 300 * kPageSize); });
    step("MSI on", [&] { return set_irqs(VFIO_PCI_MSI_IRQ_INDEX, true); });
    step("MSI off", [&] { return set_irqs(VFIO_PCI_MSI_IRQ_INDEX, false); });
    step("INTx on", [&] { return set_irqs(VFIO_PCI_INTX_IRQ_INDEX, true); });
    step("INTx mask", [&] { return intx(VFIO_IRQ_SET_ACTION_MASK); });
    step("INTx unmask", [&] { return intx(VFIO_IRQ_SET_ACTION_UNMASK); });
    step("UNMAP 300", [&] { return unmap(0x400000, 300 * kPageSize); });
    step("MAP again", [&] { return map(0x400000, 300 * kPageSize); });
    // Teardown answers nobody: it has to cope.
    rig_.client.close(device_);
    rig_.client.close(group_);
    rig_.client.close(container_);
    return failures_;
  }

 private:
  unsigned group_number() {
    for (const auto& info : *rig_.engine->hypervisor().devices())
      if (info.vendor == 0x1234) return info.group;
    return ~0u;
  }

  long map(std::uint64_t iova, std::uint64_t size) { return rig_.client.map(container_, iova, memory_, size); }
  long unmap(std::uint64_t iova, std::uint64_t size) { return rig_.client.unmap(container_, iova, size); }
  long set_irqs(std::uint32_t index, bool on) { return rig_.client.set_irqs(device_, index, on, event_); }
  long intx(std::uint32_t action) {
    vfio_irq_set set{.argsz = sizeof set,
                     .flags = VFIO_IRQ_SET_DATA_NONE | action,
                     .index = VFIO_PCI_INTX_IRQ_INDEX,
                     .start = 0,
                     .count = 1};
    return rig_.client.ioctl(device_, VFIO_DEVICE_SET_IRQS, &set);
  }

  int event_ = -1;
  int container_ = -1, group_ = -1, device_ = -1;
};

class Failures : public testing::TestWithParam<const char*> {};

TEST_P(Failures, EveryHypercallOnce) {
  fail_every_hypercall_once<ContainerLife>(std::string("model:") + GetParam() + "edu,addr=0000:00:06.0");
}

INSTANTIATE_TEST_SUITE_P(Machines, Failures, testing::Values("", "frames=scattered;", "limits=xen;"));

TEST(Engine, DeviceIsGivenBackWhenTheDescriptorCannotBeMade) {
  EngineRig rig("model:edu,addr=0000:00:06.0");
  const int container = rig.open_container();
  const int group = rig.open_group(0);
  int fd = container;
  ASSERT_EQ(rig.client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &fd), 0);
  ASSERT_EQ(rig.client.ioctl(container, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1_IOMMU)), 0);
  rig.client.fail_install = true;
  EXPECT_EQ(rig.client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>("0000:00:06.0")), -EMFILE);
  EXPECT_EQ(rig.client.ioctl(group, VFIO_GROUP_UNSET_CONTAINER, nullptr), 0) << "no device is left open";
  rig.client.fail_install = false;
}

TEST(Engine, MappedMsixTableIsNotTheRealOne) {
  EngineRig rig("model:nvme,size=1M,addr=0000:00:05.0");
  int container = rig.open_container();
  const int group = rig.open_group(0);
  ASSERT_EQ(rig.client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
  ASSERT_EQ(rig.client.ioctl(container, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1_IOMMU)), 0);
  const long fd = rig.client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>("0000:00:05.0"));
  ASSERT_GE(fd, 0);
  const FileRef device = rig.client.file_of(static_cast<int>(fd));
  // BAR 0: registers, doorbells, the table at 0x2000, pending bits at 0x3000.
  const auto pieces = device->mmap(0, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED);
  ASSERT_TRUE(pieces.ok());
  ASSERT_EQ(pieces->size(), 4u);
  const auto& [registers, doorbells, table, behind] = std::tie((*pieces)[0], (*pieces)[1], (*pieces)[2], (*pieces)[3]);
  for (const MmapPiece& piece : *pieces) EXPECT_EQ(piece.bytes, 0x1000u);
  EXPECT_EQ(registers.fd, behind.fd);
  EXPECT_EQ(registers.fd, doorbells.fd);
  EXPECT_NE(table.fd, registers.fd) << "a program could write messages";
  using Kind = MmapPiece::Kind;
  EXPECT_EQ(registers.kind, Kind::watched);
  EXPECT_EQ(doorbells.kind, Kind::direct);
  EXPECT_EQ(table.kind, Kind::table) << "it is not alone in its page";
  EXPECT_EQ(behind.kind, Kind::watched);
  const auto alone = device->mmap(0x2000, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED);
  ASSERT_TRUE(alone.ok());
  EXPECT_EQ((*alone)[0].fd, table.fd);

  // Accesses by a mapping, one by one: registers are the device's, entries of the table nobody's.
  std::uint64_t capabilities = 0;
  ASSERT_TRUE(device->load(0, &capabilities, 8));
  EXPECT_NE(capabilities, 0u);
  std::uint32_t half = 0;
  ASSERT_TRUE(device->load(4, &half, 4));
  EXPECT_EQ(half, capabilities >> 32);
  std::uint32_t word = 0x1234;
  ASSERT_TRUE(device->store(0x2000, &word, 4));
  ASSERT_TRUE(device->load(0x2000, &word, 4));
  EXPECT_EQ(word, 0x1234u) << "dead memory";
  EXPECT_EQ(device->load(0x4000, &word, 4).error().code, EIO) << "behind the BAR";

  // This client does not trap, so the page of the table is left out of what can be mapped.
  struct {
    vfio_region_info info;
    vfio_info_cap_header header;
    __u32 nr_areas, reserved;
    vfio_region_sparse_mmap_area areas[2];
  } region{};
  region.info.argsz = sizeof region;
  ASSERT_EQ(rig.client.ioctl(static_cast<int>(fd), VFIO_DEVICE_GET_REGION_INFO, &region), 0);
  EXPECT_EQ(region.header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  EXPECT_EQ(region.header.next, 0u) << "nor is it called MSIX_MAPPABLE";
  ASSERT_EQ(region.nr_areas, 2u);
  EXPECT_EQ(region.areas[0].offset, 0u);
  EXPECT_EQ(region.areas[0].size, 0x2000u);
  EXPECT_EQ(region.areas[1].offset, 0x3000u);
  EXPECT_EQ(region.areas[1].size, 0x1000u);
}

TEST(Engine, BusyGroupIsNotViable) {
  EngineRig rig("model:edu,addr=0000:00:06.0,busy=on");
  const int container = rig.open_container();
  const int group = rig.open_group(0);
  vfio_group_status status{.argsz = sizeof status, .flags = 0xff};
  ASSERT_EQ(rig.client.ioctl(group, VFIO_GROUP_GET_STATUS, &status), 0);
  EXPECT_EQ(status.flags, 0u);
  int fd = container;
  EXPECT_EQ(rig.client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &fd), -EPERM);
}

}  // namespace
}  // namespace pviommu::vfio
