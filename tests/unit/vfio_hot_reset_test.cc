// SPDX-License-Identifier: LGPL-2.1-or-later
// Hot reset of a bus with more than one function; a bus with one is asked for by the
// conformance program.
#include <linux/pci_regs.h>

#include <array>

#include "vfio_engine_rig.h"

namespace pviommu::vfio {
namespace {

constexpr const char* kMachine =
    "model:edu,addr=0000:01:00.0,group=3;e1000e,addr=0000:01:00.1,group=4;edu,addr=0000:01:01.0,group=4;edu,addr=0000:00:06.0,group=9";

class HotReset : public testing::Test {
 protected:
  HotReset() {
    for (auto [group, number] : {std::pair{&three, 3}, {&four, 4}, {&nine, 9}}) {
      *group = rig.open_group(static_cast<unsigned>(number));
      EXPECT_EQ(rig.client.ioctl(*group, VFIO_GROUP_SET_CONTAINER, &container), 0);
      if (number != 3) continue;
      EXPECT_EQ(rig.client.ioctl(container, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU)), 0);
    }
    edu = open(three, "0000:01:00.0");
    card = open(four, "0000:01:00.1");
  }
  int open(int group, const char* name) {
    return static_cast<int>(rig.client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>(name)));
  }
  long reset(int device, const std::vector<int>& groups) {
    std::array<std::uint32_t, 16> words{sizeof words, 0, static_cast<std::uint32_t>(groups.size())};
    for (std::size_t i = 0; i < groups.size(); ++i) words[3 + i] = static_cast<std::uint32_t>(groups[i]);
    return rig.client.ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, words.data());
  }
  std::uint32_t access(int device, std::uint64_t offset, std::uint32_t value, bool write, std::size_t bytes = 4) {
    const FileRef file = rig.client.file_of(device);
    const auto at = reinterpret_cast<std::uint64_t>(&value);
    const auto place = static_cast<std::int64_t>(offset);
    const ssize_t done = write ? file->pwrite(rig.client, at, bytes, place) : file->pread(rig.client, at, bytes, place);
    EXPECT_EQ(done, static_cast<ssize_t>(bytes));
    return value;
  }
  static constexpr std::uint64_t kConfig = std::uint64_t{7} << 40, kLive = 4;

  EngineRig rig{kMachine};
  int container = rig.open_container();
  int three = -1, four = -1, nine = -1, edu = -1, card = -1;
};

TEST_F(HotReset, InfoNamesAllFunctionsOfTheBus) {
  struct {
    std::uint32_t argsz, flags, count;  // vfio_pci_hot_reset_info
    vfio_pci_dependent_device devices[4];
  } info{};
  constexpr std::uint32_t kHead = 12;
  for (std::uint32_t room : {0u, 2u}) {
    info = {};
    info.argsz = static_cast<std::uint32_t>(kHead + room * sizeof info.devices[0]);
    EXPECT_EQ(rig.client.ioctl(card, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), -ENOSPC);
    EXPECT_EQ(info.count, 3u);
    EXPECT_EQ(info.devices[0].group_id, 0u) << "nothing behind it is written";
  }
  info.argsz = kHead + 3 * sizeof info.devices[0];
  EXPECT_EQ(rig.client.ioctl(card, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), 0);
  EXPECT_EQ(info.count, 3u);
  const std::array<std::array<unsigned, 3>, 3> expected{{{3, 1, 0x00}, {4, 1, 0x01}, {4, 1, 0x08}}};
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(info.devices[i].group_id, expected[i][0]) << i;
    EXPECT_EQ(info.devices[i].segment, 0u) << i;
    EXPECT_EQ(info.devices[i].bus, expected[i][1]) << i;
    EXPECT_EQ(info.devices[i].devfn, expected[i][2]) << i;
  }
}

TEST_F(HotReset, WantsEveryGroupOfTheBus) {
  EXPECT_EQ(reset(edu, {three}), -EINVAL);
  EXPECT_EQ(reset(edu, {four}), -EINVAL);
  EXPECT_EQ(reset(edu, {three, three}), -EINVAL);
  EXPECT_EQ(reset(edu, {three, container}), -EINVAL);
  EXPECT_EQ(reset(edu, {three, 4711}), -EBADF);
  EXPECT_EQ(reset(edu, {}), -EINVAL);
  EXPECT_EQ(reset(edu, {three, four, three, four}), -EINVAL) << "more than there are functions";
  EXPECT_EQ(reset(edu, {three, four}), 0);
  EXPECT_EQ(reset(card, {four, three}), 0);
  EXPECT_EQ(reset(card, {four, nine, three}), 0) << "one more does no harm";
  EXPECT_EQ(reset(open(nine, "0000:00:06.0"), {nine}), -ENODEV) << "on the root bus";
}

TEST_F(HotReset, ReachesAllFunctionsAndLeavesTheirConfiguration) {
  (void)access(card, 0x10, 0x12345678, true);
  (void)access(edu, kConfig + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, true, 2);
  (void)access(edu, 8, 3, true);
  ASSERT_EQ(access(card, 0x10, 0, false), 0x12345678u);
  const std::uint32_t bar = access(edu, kConfig + PCI_BASE_ADDRESS_0, 0, false);
  ASSERT_NE(bar, 0u);
  EXPECT_EQ(reset(edu, {three, four}), 0);
  EXPECT_EQ(access(card, 0x10, 0, false), 0u) << "the other function was reset";
  EXPECT_EQ(access(edu, kConfig + PCI_COMMAND, 0, false, 2) & 6u, 6u);
  EXPECT_EQ(access(edu, kConfig + PCI_BASE_ADDRESS_0, 0, false), bar);
  // From D3hot it comes back to D0.
  const std::uint64_t power = kConfig + 0xc8 + PCI_PM_CTRL;
  (void)access(card, power, 3, true, 2);
  EXPECT_TRUE(rig.client.file_of(card)->mappings_fault());
  EXPECT_EQ(reset(edu, {three, four}), 0);
  EXPECT_EQ(access(card, power, 0, false, 2) & 3u, 0u);
  EXPECT_FALSE(rig.client.file_of(card)->mappings_fault());
}

}  // namespace
}  // namespace pviommu::vfio
