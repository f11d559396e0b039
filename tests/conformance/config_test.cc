// SPDX-License-Identifier: LGPL-2.1-or-later
// Configuration space, field by field.  The letters name cases of the reference answers.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <sys/uio.h>

#include <array>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

constexpr std::uint64_t kConfig = std::uint64_t{VFIO_PCI_CONFIG_REGION_INDEX} << 40;

class EduConfig : public testing::Test {
 protected:
  Session session{Machine::get().edu};
  Device& device = session.device;
};
class NvmeConfig : public testing::Test {
 protected:
  Session session{Machine::get().nvme};
  Device& device = session.device;
};

TEST_F(EduConfig, Header) {
  EXPECT_EQ(device.config(PCI_CLASS_REVISION, 4), 0x00ff0010u) << "D20";
  EXPECT_EQ(device.config(PCI_HEADER_TYPE, 1), 0u) << "D20";
  EXPECT_EQ(device.config(PCI_BIST, 1), 0u) << "D20";
  EXPECT_EQ(device.config(PCI_STATUS, 2), 0x10u) << "D70";
  const std::uint32_t bar = device.config(PCI_BASE_ADDRESS_0, 4);
  EXPECT_EQ(bar & 0xfffff, 0u) << "D20";
  for (unsigned at = PCI_BASE_ADDRESS_1; at <= PCI_CARDBUS_CIS; at += 4) EXPECT_EQ(device.config(at, 4), 0u) << at;
  EXPECT_EQ(device.config(PCI_ROM_ADDRESS, 4), 0u) << "D20";
  EXPECT_EQ(device.config(PCI_CAPABILITY_LIST, 4), 0x40u) << "D20";
  EXPECT_EQ(device.config(PCI_MIN_GNT, 2), 0u) << "D20";
  EXPECT_EQ(device.config(0x40, 1), PCI_CAP_ID_MSI + 0u) << "D20";
  EXPECT_EQ(device.config(0x41, 1), 0u) << "the last one";
}

TEST_F(EduConfig, ReadsOfEverySize) {
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t size : {1u, 2u, 3u, 4u, 8u, 16u}) {
    bytes.fill(0xee);
    EXPECT_EQ(device.read(7, 0, bytes.data(), size), ok(static_cast<long>(size))) << "D30";
    const std::uint8_t id[] = {0x34, 0x12, 0xe8, 0x11};
    EXPECT_EQ(std::memcmp(bytes.data(), id, std::min<std::size_t>(size, 4)), 0) << "D30 " << size;
    if (size < bytes.size()) {
      EXPECT_EQ(bytes[size], 0xee) << "D30: nothing behind it";
    }
  }
  EXPECT_EQ(device.read(7, 1, bytes.data(), 4), ok(4));
  EXPECT_EQ(bytes[0], 0x12) << "D31";
  EXPECT_EQ(bytes[2], 0x11) << "D31";
  EXPECT_EQ(device.read(7, 0, bytes.data(), 0), ok(0));
  std::array<std::uint8_t, 4096> page{};
  EXPECT_EQ(device.read(7, 0, page.data(), page.size()), failed(EFAULT)) << "D35b";
  // Vectors, and the file's own position, which begins at BAR 0.
  std::array<std::uint8_t, 4> parts{};
  const iovec two[] = {{parts.data(), 2}, {parts.data() + 2, 2}};
  EXPECT_EQ(outcome_of(::preadv(device.fd(), two, 2, static_cast<off_t>(kConfig))), ok(4)) << "D40";
  EXPECT_EQ(parts, (std::array<std::uint8_t, 4>{0x34, 0x12, 0xe8, 0x11})) << "D40";
  std::uint32_t word = 0;
  device.set_bar0(4, 0x12345678);
  for (std::uint32_t expected : {0x010000edu, 0xedcba987u}) {
    EXPECT_EQ(outcome_of(::read(device.fd(), &word, 4)), ok(4)) << "D38";
    EXPECT_EQ(Machine::edu_order(word), expected) << "D38";
  }
}

TEST_F(EduConfig, SmallRegisters) {
  device.set_config(PCI_CACHE_LINE_SIZE, 1, 0x10);
  EXPECT_EQ(device.config(PCI_CACHE_LINE_SIZE, 1), 0x10u) << "D49";
  device.set_config(PCI_CACHE_LINE_SIZE, 1, 0);
  device.set_config(PCI_LATENCY_TIMER, 1, 0x40);
  EXPECT_EQ(device.config(PCI_LATENCY_TIMER, 1), 0u) << "D49b";
  device.set_config(PCI_CLASS_REVISION, 4, ~0u);
  EXPECT_EQ(device.config(PCI_CLASS_REVISION, 4), 0x00ff0010u);
  device.set_config(PCI_SUBSYSTEM_VENDOR_ID, 4, ~0u);
  EXPECT_NE(device.config(PCI_SUBSYSTEM_VENDOR_ID, 4), ~0u);
  device.set_config(PCI_STATUS, 2, 0xffff);
  EXPECT_EQ(device.config(PCI_STATUS, 2), 0x10u) << "D71";
  device.set_config(PCI_MIN_GNT, 2, 0xffff);
  EXPECT_EQ(device.config(PCI_MIN_GNT, 2), 0u);
}

TEST_F(EduConfig, CommandTakesWhatTheDeviceHas) {
  // The IO bit is there on QEMU's devices even without an IO BAR.
  constexpr std::uint32_t kWithoutIo = 0xffff & ~PCI_COMMAND_IO;
  device.set_config(PCI_COMMAND, 2, 0);
  EXPECT_EQ(device.config(PCI_COMMAND, 2), 0u) << "D61";
  device.set_config(PCI_COMMAND, 2, 2);
  EXPECT_EQ(device.config(PCI_COMMAND, 2), 2u) << "D66";
  device.set_config(PCI_COMMAND, 2, 0xffff);
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & kWithoutIo, 0x506u) << "D68";
  // By bytes.
  device.set_config(PCI_COMMAND + 1, 1, 0);
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & kWithoutIo, 6u);
  device.set_config(PCI_COMMAND, 1, 2);
  EXPECT_EQ(device.config(PCI_COMMAND, 2), 2u);
  device.set_config(PCI_COMMAND + 1, 1, PCI_COMMAND_INTX_DISABLE >> 8);
  EXPECT_EQ(device.config(PCI_COMMAND, 2), 0x402u);
}

TEST_F(EduConfig, BarsByParts) {
  device.set_config(PCI_BASE_ADDRESS_0, 4, 0);
  device.set_config(PCI_BASE_ADDRESS_0 + 3, 1, 0x12);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0x12000000u) << "D55";
  device.set_config(PCI_BASE_ADDRESS_0 + 2, 2, 0xffff);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0xfff00000u);
  device.set_config(PCI_BASE_ADDRESS_0, 2, 0xffff);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0xfff00000u) << "low bits are the type's";
  EXPECT_EQ(device.bar0(0), 0x010000edu) << "D56";
  // All of them in one call.
  std::array<std::uint32_t, 6> all;
  all.fill(~0u);
  EXPECT_EQ(device.write(7, PCI_BASE_ADDRESS_0, all.data(), sizeof all), ok(sizeof all));
  EXPECT_EQ(device.read(7, PCI_BASE_ADDRESS_0, all.data(), sizeof all), ok(sizeof all));
  EXPECT_EQ(all, (std::array<std::uint32_t, 6>{0xfff00000, 0, 0, 0, 0, 0})) << "D57";
  device.set_config(PCI_ROM_ADDRESS, 4, ~0u);
  EXPECT_EQ(device.config(PCI_ROM_ADDRESS, 4), 0u) << "D58";
}

TEST_F(EduConfig, MsiCapability) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  const unsigned msi = device.capability(PCI_CAP_ID_MSI);
  const auto flags = [&] { return device.config(msi + PCI_MSI_FLAGS, 2); };
  EXPECT_EQ(flags(), 0x80u) << "D143";
  EXPECT_EQ(device.config(msi + PCI_MSI_ADDRESS_LO, 4), 0u) << "D143";
  EXPECT_EQ(device.config(msi + PCI_MSI_ADDRESS_HI, 4), 0u) << "D143";
  EXPECT_EQ(device.config(msi + PCI_MSI_DATA_64, 2), 0u) << "D143";
  const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_EQ(device.eventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, {event.get()}), ok());
  EXPECT_EQ(flags(), 0x80u) << "D124: the program did not write it";
  device.set_config(msi + PCI_MSI_DATA_64, 2, 0x4041);
  EXPECT_EQ(device.config(msi + PCI_MSI_DATA_64, 2), 0x4041u) << "D148";
  device.set_config(msi + PCI_MSI_ADDRESS_HI, 4, 0x12345678);
  EXPECT_EQ(device.config(msi + PCI_MSI_ADDRESS_HI, 4), 0x12345678u);
  device.set_config(msi + PCI_MSI_FLAGS, 2, 0xffff);
  EXPECT_EQ(flags(), 0x8fu) << "D149";
  device.set_bus_master(true);
  Edu edu(device);
  edu.raise();
  EXPECT_EQ(take(event.get()), 1u) << "D150";
  edu.acknowledge();
  device.set_config(msi + PCI_MSI_FLAGS, 2, 0);
  EXPECT_EQ(flags() & 1, 0u) << "D145";
  edu.raise();
  EXPECT_EQ(take_soon(event.get()), 0u) << "D146";
  edu.acknowledge();
  device.set_config(msi + PCI_MSI_FLAGS, 2, 0xffff);
  EXPECT_EQ(device.irqs_off(VFIO_PCI_MSI_IRQ_INDEX), ok());
  EXPECT_EQ(flags(), 0x8fu) << "D151: as it was left";
  device.set_config(msi + PCI_MSI_FLAGS, 2, 1);
  EXPECT_EQ(flags() & 1, 0u) << "D152";
  device.set_config(msi, 2, 0);
  EXPECT_EQ(device.config(msi, 1), PCI_CAP_ID_MSI + 0u) << "id and next are read-only";
}

TEST_F(NvmeConfig, Header) {
  EXPECT_EQ(device.config(PCI_CLASS_REVISION, 4) >> 8, 0x010802u) << "D20";
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 1), 4u) << "D20: a 64-bit BAR";
  for (unsigned at = PCI_BASE_ADDRESS_2; at <= PCI_CARDBUS_CIS; at += 4) EXPECT_EQ(device.config(at, 4), 0u) << "D20";
  EXPECT_EQ(device.config(PCI_ROM_ADDRESS, 4), 0u) << "D20";
  EXPECT_EQ(device.config(0x100, 4), 0u) << "E03: no extended capability";
  std::uint32_t word = 0;
  EXPECT_EQ(device.read(7, 0xffc, &word, 4), ok(4)) << "E01";
  EXPECT_EQ(device.write(7, 0x1000, &word, 4), failed(EFAULT)) << "E02";
}

TEST_F(NvmeConfig, CapabilityRegisters) {
  const unsigned msix = device.capability(PCI_CAP_ID_MSIX), express = device.capability(PCI_CAP_ID_EXP);
  ASSERT_NE(msix, 0u) << "E04";
  ASSERT_NE(express, 0u) << "E04";
  EXPECT_EQ(device.capability(PCI_CAP_ID_MSI), 0u) << "E04";
  const std::uint32_t table = device.config(msix + PCI_MSIX_TABLE, 4), pba = device.config(msix + PCI_MSIX_PBA, 4);
  EXPECT_EQ(table, 0x2000u) << "E04";
  EXPECT_EQ(pba, 0x3000u) << "E04";
  device.set_config(msix + PCI_MSIX_TABLE, 4, ~0u);
  device.set_config(msix + PCI_MSIX_PBA, 4, ~0u);
  EXPECT_EQ(device.config(msix + PCI_MSIX_TABLE, 4), table);
  EXPECT_EQ(device.config(msix + PCI_MSIX_PBA, 4), pba);
  device.set_config(msix + PCI_MSIX_FLAGS, 2, 0xffff);
  EXPECT_FALSE(device.config(msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE) << "E09";

  if (const unsigned pm = device.capability(PCI_CAP_ID_PM)) {
    EXPECT_EQ(device.config(pm + PCI_PM_PMC, 2) & PCI_PM_CAP_PME_MASK, 0u) << "E14";
    EXPECT_EQ(device.config(pm + PCI_PM_PMC, 2) & PCI_PM_CAP_VER_MASK, 3u) << "E14";
    device.set_config(pm + PCI_PM_CTRL, 2, PCI_PM_CTRL_PME_ENABLE);
    EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2), device.config(pm + PCI_PM_CTRL, 2) & ~PCI_PM_CTRL_PME_ENABLE) << "E13";
    device.set_config(pm + PCI_PM_PMC, 2, 0);
    EXPECT_EQ(device.config(pm + PCI_PM_PMC, 2) & PCI_PM_CAP_VER_MASK, 3u);
  }
  EXPECT_TRUE(device.config(express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR) << "E16";
  device.set_config(express + PCI_EXP_DEVCTL, 2, 0x5000);
  EXPECT_EQ(device.config(express + PCI_EXP_DEVCTL, 2), 0x5000u) << "E15";
  device.set_config(express + PCI_EXP_DEVCTL, 2, 0x00e0);
  EXPECT_EQ(device.config(express + PCI_EXP_DEVCTL, 2) & 0x70e0, 0x00e0u) << "payload size is virtual too";
  device.set_config(express + PCI_EXP_LNKCTL, 2, 3);
  EXPECT_EQ(device.config(express + PCI_EXP_LNKCTL, 2), 0u) << "E16c";
  device.set_config(express + PCI_EXP_DEVCAP, 4, 0);
  EXPECT_TRUE(device.config(express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
}

TEST_F(NvmeConfig, LevelResetByTheCapability) {
  const unsigned express = device.capability(PCI_CAP_ID_EXP);
  device.set_config(PCI_INTERRUPT_LINE, 1, 0x55);
  device.set_config(express + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(device.config(express + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0u) << "E16b";
  EXPECT_EQ(device.bar0(0x1c) & 1, 0u) << "E16b: CSTS.RDY";
  EXPECT_EQ(device.config(PCI_INTERRUPT_LINE, 1), 0x55u) << "what is virtual stays";
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY, 2u);
}

TEST_F(NvmeConfig, PowerStates) {
  const unsigned pm = device.capability(PCI_CAP_ID_PM);
  if (pm == 0) GTEST_SKIP() << "this machine's NVMe has no power management";
  std::uint32_t word = 0;
  for (unsigned state : {1u, 2u, 3u}) {
    device.set_config(pm + PCI_PM_CTRL, 2, state);
    const std::uint32_t now = device.config(pm + PCI_PM_CTRL, 2) & 3;
    if (state == 3) {
      EXPECT_EQ(now, 3u) << "E10";
    }
    EXPECT_EQ(device.read(0, 8, &word, 4), now == 0 ? ok(4) : failed(EIO)) << "E11";
    device.set_config(pm + PCI_PM_CTRL, 2, 0);
    EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 0u) << "E12";
    EXPECT_EQ(device.read(0, 8, &word, 4), ok(4)) << "E12";
  }
}

// From there on the host decides; what it suspends comes back in D0.
TEST_F(NvmeConfig, LowPowerEntryEndsAPowerState) {
  const unsigned pm = device.capability(PCI_CAP_ID_PM);
  if (pm == 0) GTEST_SKIP() << "this machine's NVMe has no power management";
  const auto feature = [&](std::uint32_t number) {
    vfio_device_feature request{sizeof request, VFIO_DEVICE_FEATURE_SET | number};
    return device.ioctl(VFIO_DEVICE_FEATURE, reinterpret_cast<std::uint64_t>(&request));
  };
  device.set_config(pm + PCI_PM_CTRL, 2, 3);
  ASSERT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 3u);
  ASSERT_EQ(feature(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY), ok());
  ::usleep(200'000);
  EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 0u);
  device.set_config(pm + PCI_PM_CTRL, 2, 3);
  ::usleep(200'000);
  EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 0u) << "suspended once more";
  EXPECT_EQ(feature(VFIO_DEVICE_FEATURE_LOW_POWER_EXIT), ok());
  device.set_config(pm + PCI_PM_CTRL, 2, 3);
  ::usleep(200'000);
  EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 3u) << "the program's again";
  device.set_config(pm + PCI_PM_CTRL, 2, 0);
}

// Whatever is written anywhere, the program cannot do harm, and reads what it read before.
TEST_F(EduConfig, ReadOnlyBitsSurviveAnyWrite) {
  std::array<std::uint8_t, 256> before{}, ones;
  ASSERT_EQ(device.read(7, 0, before.data(), before.size()), ok(256));
  ones.fill(0xff);
  EXPECT_EQ(device.write(7, 0, ones.data(), 64), ok(64));
  std::array<std::uint8_t, 64> after{};
  ASSERT_EQ(device.read(7, 0, after.data(), after.size()), ok(64));
  for (unsigned at : {0u, 1u, 2u, 3u, 8u, 9u, 10u, 11u, 14u, 0x2cu, 0x2du, 0x2eu, 0x2fu, 0x34u, 0x3du, 0x3eu, 0x3fu})
    EXPECT_EQ(after[at], before[at]) << std::hex << at;
  EXPECT_EQ(device.write(7, 0, before.data(), 64), ok(64));
  EXPECT_EQ(device.bar0(0), 0x010000edu);
}

}  // namespace
}  // namespace conformance
