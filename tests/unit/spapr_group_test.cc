// SPDX-License-Identifier: LGPL-2.1-or-later
// Opening: what there is, groups with their windows, devices.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include "spapr_rig.h"

namespace pviommu::spapr {
namespace {

IovaRange window(std::uint64_t first, std::uint64_t bytes) {
  return IovaRange::from_size(Iova(first), bytes).value();
}

/// What is written to stderr by `work`.
template <class Work>
std::string told(Work&& work) {
  testing::internal::CaptureStderr();
  work();
  return testing::internal::GetCapturedStderr();
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// ---- open() ------------------------------------------------------------------------

using SpaprOpenTest = SpaprTest;

TEST_F(SpaprOpenTest, WhatIsMissingIsSaid) {
  kernel_.has_vfio = false;
  EXPECT_EQ(open_error(), ENOENT);
  EXPECT_TRUE(says(message_, "/dev/vfio/vfio") && says(message_, "modprobe vfio-pci")) << message_;
  kernel_.has_vfio = true;
  kernel_.has_spapr = false;
  EXPECT_EQ(open_error(), ENODEV);
  EXPECT_TRUE(says(message_, "vfio_iommu_spapr_tce")) << message_;
  kernel_.has_spapr = true;
  kernel_.fail_at(1, EACCES);
  EXPECT_EQ(open_error(), EACCES);
  EXPECT_FALSE(says(message_, "modprobe")) << message_;
  kernel_.fail_at(2);
  EXPECT_EQ(open_error(), ENODEV);
  config_.sysfs += "/nothing";
  EXPECT_NE(open_error(), 0);
  EXPECT_TRUE(says(message_, "no PCI bus")) << message_;
}

TEST_F(SpaprOpenTest, NothingIsTakenYet) {
  EXPECT_EQ(spapr().name(), "papr");
  EXPECT_TRUE(kernel_.is_empty());
  EXPECT_EQ(spapr().event_fd(), -1);
}

TEST_F(SpaprOpenTest, TheLimitsAreThoseOfTheWindow) {
  const Capabilities& can = spapr().capabilities();
  EXPECT_EQ(can.iova_ranges, (std::vector<IovaRange>{window(0, kGiB)}));
  EXPECT_EQ(can.page_sizes, kPageSize);
  EXPECT_TRUE(can.pins_memory);
  EXPECT_EQ(can.notifications, bit(NotificationKind::sink));
  EXPECT_FALSE(can.peer_to_peer);
}

TEST_F(SpaprOpenTest, OfSeveralWindowsWhatTheyHaveInCommon) {
  sysfs_.add_bridge("pci@1", 0x10000000, kGiB);
  sysfs_.add_bridge("pci@2", 0, kGiB);
  EXPECT_EQ(spapr().capabilities().iova_ranges,
            (std::vector<IovaRange>{window(0x10000000, kGiB - 0x10000000)}));
}

TEST_F(SpaprOpenTest, NothingInCommon) {
  sysfs_.add_bridge("pci@1", 0x80000000, kGiB);
  EXPECT_EQ(open_error(), EOPNOTSUPP);
  EXPECT_TRUE(says(message_, "nothing in common")) << message_;
  // Who cannot be used does not count.
  sysfs_.set_driver(kFirst, "nvme");
  EXPECT_EQ(open_error(), 0);
  EXPECT_EQ(spapr().capabilities().iova_ranges, (std::vector<IovaRange>{window(0, kGiB)}));
}

TEST_F(SpaprOpenTest, WindowsThatTouchHaveNothingInCommon) {
  sysfs_.add_bridge("pci@1", kGiB, kGiB);
  EXPECT_EQ(open_error(), EOPNOTSUPP);
}

TEST_F(SpaprOpenTest, NobodyCanBeUsed) {
  for (const Sbdf sbdf : {kFirst, kSecond, kOther}) sysfs_.set_driver(sbdf, "nvme");
  sysfs_.add_bridge("pci@2", 0x1000, 0x10000);
  EXPECT_EQ(spapr().capabilities().iova_ranges, (std::vector<IovaRange>{window(0x1000, 0x10000)}));
  spapr_.reset();
  for (const Sbdf sbdf : {kFirst, kSecond, kOther}) sysfs_.remove(sbdf);
  EXPECT_EQ(spapr().capabilities().iova_ranges, (std::vector<IovaRange>{window(0, kGiB)}));
  EXPECT_TRUE(spapr().devices()->empty());
}

TEST_F(SpaprOpenTest, DevicesAndTheirGroups) {
  sysfs_.add(make_sbdf(3, 0, 0, 0), "pci@3", "3");  // no window
  sysfs_.add(make_sbdf(2, 0, 2, 0), "pci@2", "");   // no group
  auto all = spapr().devices();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3u);
  EXPECT_EQ((*all)[0].sbdf, kFirst);
  EXPECT_EQ((*all)[1].group, 1u);
  EXPECT_EQ((*all)[2].group, 2u);
  for (const PciDeviceInfo& info : *all) {
    EXPECT_TRUE(info.viable);
    EXPECT_EQ(info.driver, "vfio-pci");
    EXPECT_TRUE(info.lock.empty()) << "the kernel sees to it";
  }
  // A member with no driver or a harmless one is in nobody's way.
  for (const char* harmless : {"", "pci-stub", "pcieport"}) {
    sysfs_.set_driver(kSecond, harmless);
    all = spapr().devices();
    EXPECT_TRUE((*all)[0].viable) << harmless;
    EXPECT_FALSE((*all)[1].viable) << harmless;
  }
  sysfs_.set_driver(kSecond, "nvme");
  all = spapr().devices();
  EXPECT_FALSE((*all)[0].viable);
  EXPECT_TRUE((*all)[2].viable);
}

TEST_F(SpaprOpenTest, TheModelOfTheMachine) {
  EXPECT_EQ(machine_model(sysfs_.path()), "");
  sysfs_.write("firmware/devicetree/base/model", std::string("IBM pSeries\0", 12));
  EXPECT_EQ(machine_model(sysfs_.path()), "");
  sysfs_.write("firmware/devicetree/base/device_type", std::string("chrp\0", 5));
  EXPECT_EQ(machine_model(sysfs_.path()), "IBM pSeries");
}

// ---- groups ------------------------------------------------------------------------

class SpaprGroupTest : public SpaprTest {
 protected:
  /// The errno of opening group 1, of which nothing is left.
  int group_error() {
    int code = 0;
    told_ = told([&] {
      const auto space = spapr().create_space({"", {kFirst}});
      if (!space)
        code = space.error().code;
      else
        EXPECT_TRUE(spapr().destroy_space(*space));
    });
    EXPECT_TRUE(kernel_.is_empty());
    return code;
  }
  FakeKernel::Group& group() { return kernel_.groups[1]; }
  std::string told_;
};

TEST_F(SpaprGroupTest, WhatIsWrongWithAGroupIsTold) {
  EXPECT_EQ(group_error(), 0);
  EXPECT_EQ(told_, "");
  group().viable = false;
  EXPECT_EQ(group_error(), EBUSY);
  EXPECT_TRUE(says(told_, "group 1: not viable")) << told_;
  group().viable = true;
  group().set_iommu_error = EPERM;
  EXPECT_EQ(group_error(), EOPNOTSUPP);
  EXPECT_TRUE(says(told_, "6.11") && says(told_, "via=module")) << told_;
  group().set_iommu_error = 0;
  group().is_open = true;
  EXPECT_EQ(group_error(), EBUSY);
  EXPECT_EQ(told_, "") << "an ordinary answer";
  group().is_open = false;
  kernel_.fail_at(1, EACCES);
  EXPECT_EQ(group_error(), EACCES);
  EXPECT_TRUE(says(told_, "/dev/vfio/1")) << told_;
  kernel_.fail_at(1, ENOENT);
  EXPECT_EQ(group_error(), ENODEV);
  EXPECT_TRUE(says(told_, "vfio-pci")) << told_;
}

TEST_F(SpaprGroupTest, TheKernelsWindowIsAtLeastTheDeviceTrees) {
  group().bytes = 2 * kGiB;
  EXPECT_EQ(group_error(), 0);
  group().bytes = kGiB - kPageSize;
  EXPECT_EQ(group_error(), EIO);
  EXPECT_TRUE(says(told_, "default window is 0x0")) << told_;
  group().bytes = kGiB;
  group().first = kPageSize;
  EXPECT_EQ(group_error(), EIO);
  group().first = 0;
  group().bytes = 0;
  EXPECT_EQ(group_error(), EIO) << "none at all";
}

TEST_F(SpaprGroupTest, AFailureAtEveryCallOfOpening) {
  for (const ContainerType type : {ContainerType::v1, ContainerType::v2}) {
    spapr_.reset();
    config_.container = type;
    config_.window = {type == ContainerType::v2 ? kGiB : 0, 16};
    (void)spapr();
    unsigned n = 1;
    for (;; ++n) {
      kernel_.fail_at(n, EMFILE);
      const int code = group_error();
      if (!kernel_.has_failed()) break;
      EXPECT_TRUE(code == EMFILE || code == EOPNOTSUPP) << n << ": " << code;
    }
    kernel_.fail_at(0);
    EXPECT_EQ(n, 8u);
  }
}

TEST_F(SpaprGroupTest, TheFirstTypeIsEnabled) {
  config_.container = ContainerType::v1;
  EXPECT_EQ(group_error(), 0);
  EXPECT_EQ(kernel_.count(VFIO_IOMMU_ENABLE), 1u);
  kernel_.most_bytes = kGiB - 1;
  EXPECT_EQ(group_error(), ENOMEM);
  EXPECT_TRUE(says(told_, "ulimit -l")) << told_;
}

TEST_F(SpaprGroupTest, ASecondWindow) {
  config_.window = {4 * kGiB, 16};
  const Capabilities& can = spapr().capabilities();
  EXPECT_EQ(can.iova_ranges,
            (std::vector<IovaRange>{window(0, kGiB), window(WindowChoice::kStart, 4 * kGiB)}));
  EXPECT_EQ(can.page_sizes, kPageSize | 0x10000);
  const SpaceId space = space_of({kFirst});
  EXPECT_EQ(kernel_.count(VFIO_IOMMU_SPAPR_TCE_CREATE), 1u);
  NamedMemory memory(kMemory, 32);
  ASSERT_TRUE(pin(memory));
  const std::uint64_t dfn = WindowChoice::kStart >> 12;
  ASSERT_TRUE(map(space, run(memory, dfn + 0x20)));
  EXPECT_EQ(kernel_.entries(1).size(), 2u) << "of 64 KiB";
  EXPECT_EQ(kernel_.reach(1, WindowChoice::kStart + 0x21234), reinterpret_cast<std::byte*>(kMemory + 0x1234));
  ASSERT_TRUE(map(space, run(memory, 0x20)));
  EXPECT_EQ(kernel_.entries(1).size(), 2u + 32u);
  EXPECT_EQ(map(space, {Dfn(dfn + 1), Mfn(kMemory >> 12), 1, Access::read}).error().code, EINVAL);
  EXPECT_EQ(map(space, {Dfn(dfn + 0x100000), Mfn(kMemory >> 12), 16, Access::read}).error().code, EINVAL)
      << "behind its end";
  ASSERT_TRUE(unmap(space, removal(run(memory, dfn + 0x20))));
  EXPECT_EQ(kernel_.entries(1).size(), 32u);
  ASSERT_TRUE(spapr().destroy_space(space));
  spapr().forget_frames(memory);
}

TEST_F(SpaprGroupTest, ASecondWindowThatCannotBe) {
  config_.window = {kGiB, 24};
  EXPECT_EQ(group_error(), 0);
  group().page_sizes = 0x11000;
  EXPECT_EQ(group_error(), EOPNOTSUPP);
  EXPECT_TRUE(says(told_, "4K 64K, not 16M")) << told_;
  group().page_sizes = 0;
  EXPECT_EQ(group_error(), EOPNOTSUPP);
  EXPECT_TRUE(says(told_, "leave window= out")) << told_;
  group().page_sizes = 0x1000000;
  group().second_window = kGiB;
  EXPECT_EQ(group_error(), EOPNOTSUPP);
  EXPECT_TRUE(says(told_, "0x40000000 and not at 0x800000000000000")) << told_;
  group().second_window = WindowChoice::kStart;
  kernel_.fail_request(VFIO_IOMMU_SPAPR_TCE_CREATE, 1, ENOSPC);
  EXPECT_EQ(group_error(), ENOSPC);
  EXPECT_TRUE(says(told_, "a window of 1024M with pages of 16M")) << told_;
}

// ---- devices -----------------------------------------------------------------------

class SpaprDeviceTest : public SpaprTest {
 protected:
  SpaprDeviceTest() {
    // BAR 0 and 1: 64 KiB, 64-bit, prefetchable; BAR 2: ports; BAR 3: 256 bytes, 32-bit.
    put(PCI_BASE_ADDRESS_0, 0x2000000c);
    put(PCI_BASE_ADDRESS_1, 0x00000210);
    put(PCI_BASE_ADDRESS_2, 0x0000c001);
    put(PCI_BASE_ADDRESS_3, 0xfeb00500);
    fake().regions[0].assign(0x10000, 0);
    fake().regions[2].assign(0x20, 0);
    fake().regions[3].assign(0x100, 0);
    fake().regions[6].assign(0x800, 0x55);
  }
  FakeKernel::Device& fake() { return kernel_.devices.at(kFirst); }
  void put(std::size_t at, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) fake().config[at + i] = static_cast<std::uint8_t>(value >> 8 * i);
  }
};

TEST_F(SpaprDeviceTest, ItsRegions) {
  auto device = open_device(kFirst);
  EXPECT_EQ(device->info().sbdf, kFirst);
  EXPECT_EQ(device->info().group, 1u);
  EXPECT_EQ(device->config_size(), 256u);
  const BarInfo wide = device->bar(0);
  EXPECT_EQ(wide.size, 0x10000u);
  EXPECT_TRUE(wide.is_64bit && wide.prefetchable && wide.mappable && !wide.is_io);
  EXPECT_EQ(wide.address, 0x21020000000u);
  EXPECT_EQ(device->bar(1).size, 0u);
  EXPECT_TRUE(device->bar(2).is_io && !device->bar(2).mappable);
  EXPECT_EQ(device->bar(2).address, 0xc000u);
  EXPECT_TRUE(!device->bar(3).is_io && !device->bar(3).is_64bit && !device->bar(3).prefetchable &&
              !device->bar(3).mappable);
  EXPECT_EQ(device->bar(3).address, 0xfeb00500u);
  EXPECT_EQ(device->bar(6).size, 0x800u);
  EXPECT_EQ(device->bar(7).size, 0u);
  const auto mapping = device->bar_mapping(0);
  ASSERT_TRUE(mapping);
  EXPECT_GE(mapping->fd, 0);
  EXPECT_EQ(mapping->offset, 0u);
  EXPECT_EQ(device->bar_mapping(3).error().code, EOPNOTSUPP);
  EXPECT_EQ(device->bar_mapping(9).error().code, EOPNOTSUPP);
}

TEST_F(SpaprDeviceTest, ItsRegisters) {
  auto device = open_device(kFirst);
  ASSERT_TRUE(device->config_write(PCI_COMMAND, 2, 0x0107));
  EXPECT_EQ(fake().config[4], 0x07);
  EXPECT_EQ(fake().config[5], 0x01);
  EXPECT_EQ(device->config_read(PCI_COMMAND, 1).value(), 0x07u);
  EXPECT_EQ(device->config_read(PCI_COMMAND, 2).value(), 0x0107u);
  EXPECT_EQ(device->config_read(PCI_BASE_ADDRESS_3, 4).value(), 0xfeb00500u);
  EXPECT_EQ(device->config_read(256, 4).error().code, EINVAL);
  ASSERT_TRUE(device->bar_write(0, 0x10, 8, 0x1122334455667788));
  EXPECT_EQ(fake().regions[0][0x10], 0x88);
  EXPECT_EQ(device->bar_read(0, 0x14, 4).value(), 0x11223344u);
  ASSERT_TRUE(device->bar_write(2, 3, 1, 0xab));
  EXPECT_EQ(fake().regions[2][3], 0xab);
  EXPECT_EQ(device->bar_read(6, 0, 2).value(), 0x5555u);
  kernel_.fail_at(1);
  EXPECT_EQ(device->bar_read(0, 0, 4).error().code, EIO);
  kernel_.fail_at(1);
  EXPECT_EQ(device->config_write(PCI_COMMAND, 2, 0).error().code, EIO);
  EXPECT_FALSE(device->intx_asserted());
  fake().config[PCI_STATUS] = PCI_STATUS_INTERRUPT;
  EXPECT_TRUE(device->intx_asserted());
  kernel_.fail_at(1);
  EXPECT_FALSE(device->intx_asserted());
}

TEST_F(SpaprDeviceTest, ItsReset) {
  {
    auto device = open_device(kFirst);
    EXPECT_TRUE(device->can_reset());
    EXPECT_TRUE(device->reset());
    EXPECT_EQ(fake().reset_count, 1u);
    kernel_.fail_at(1, EAGAIN);
    EXPECT_EQ(device->reset().error().code, EAGAIN);
  }
  fake().resets = false;
  auto device = open_device(kFirst);
  EXPECT_FALSE(device->can_reset());
  EXPECT_EQ(device->reset().error().code, ENOTTY);
}

TEST_F(SpaprDeviceTest, OpeningTwiceAndClosing) {
  EXPECT_EQ(spapr().open_device(make_sbdf(9, 0, 0, 0)).error().code, ENODEV);
  auto device = open_device(kFirst), sibling = open_device(kSecond);
  EXPECT_EQ(kernel_.open_files(), 4u) << "one group, one container";
  EXPECT_EQ(spapr().open_device(kFirst).error().code, EBUSY);
  device.reset();
  EXPECT_EQ(kernel_.open_files(), 3u);
  device = open_device(kFirst);
  sibling.reset();
  device.reset();
  EXPECT_TRUE(kernel_.is_empty());
  fake().is_pci = false;
  EXPECT_EQ(spapr().open_device(kFirst).error().code, ENODEV);
  EXPECT_TRUE(kernel_.is_empty());
}

TEST_F(SpaprDeviceTest, AFailureAtEveryCallOfOpening) {
  (void)spapr();
  unsigned n = 1;
  testing::internal::CaptureStderr();
  for (;; ++n) {
    kernel_.fail_at(n, EMFILE);
    auto device = spapr().open_device(kFirst);
    if (!kernel_.has_failed()) {
      EXPECT_TRUE(device);
      break;
    }
    ASSERT_FALSE(device) << n;
    EXPECT_TRUE(kernel_.is_empty()) << n;
  }
  kernel_.fail_at(0);
  testing::internal::GetCapturedStderr();
  EXPECT_GT(n, 18u);
}

TEST_F(SpaprDeviceTest, AnotherSpacesGroupIsKeptByItsDevice) {
  auto device = open_device(kFirst);
  const SpaceId space = space_of({kFirst});
  device.reset();
  EXPECT_EQ(kernel_.open_files(), 2u) << "the space has it";
  ASSERT_TRUE(spapr().destroy_space(space));
  EXPECT_TRUE(kernel_.is_empty());
}

}  // namespace
}  // namespace pviommu::spapr
