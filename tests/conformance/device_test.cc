// SPDX-License-Identifier: LGPL-2.1-or-later
// Device info, regions, configuration space, BAR access and mmap.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <array>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

class EduDevice : public testing::Test {
 protected:
  Session session{Machine::get().edu};
  Device& device = session.device;
};
class NvmeDevice : public testing::Test {
 protected:
  Session session{Machine::get().nvme};
  Device& device = session.device;
};

vfio_device_info info_of(const Device& device, std::uint32_t argsz, Outcome* outcome) {
  // The answer may be longer than this header's structure: 24 bytes since Linux 6.12.
  struct {
    vfio_device_info info;
    std::uint8_t rest[64];
  } answer;
  std::memset(&answer, 0xcc, sizeof answer);
  answer.info.argsz = argsz;
  *outcome = device.ioctl(VFIO_DEVICE_GET_INFO, reinterpret_cast<std::uint64_t>(&answer));
  return answer.info;
}

// cap_offset in memory of 0xcc, when the answer has `argsz` bytes.
std::uint32_t cap_offset_of(std::uint32_t argsz) {
  if (argsz >= 20) return 0;
  return argsz == 16 || linux_before(6, 12) ? 0xcccccccc : 0xcc000000;
}

TEST_F(EduDevice, Info) {
  Outcome outcome;
  for (std::uint32_t argsz : {0u, 8u, 15u}) {
    (void)info_of(device, argsz, &outcome);
    EXPECT_EQ(outcome, failed(EINVAL)) << argsz;
  }
  for (std::uint32_t argsz : {16u, 19u, 20u, 24u, 64u}) {
    const auto info = info_of(device, argsz, &outcome);
    EXPECT_EQ(outcome, ok());
    EXPECT_EQ(info.argsz, argsz);
    EXPECT_EQ(info.flags, VFIO_DEVICE_FLAGS_PCI + 0u) << "no reset";
    EXPECT_EQ(info.num_regions, 9u);
    EXPECT_EQ(info.num_irqs, 5u);
    EXPECT_EQ(info.cap_offset, cap_offset_of(argsz));
  }
}

TEST_F(NvmeDevice, InfoHasReset) {
  Outcome outcome;
  for (std::uint32_t argsz : {0u, 8u, 15u}) {
    (void)info_of(device, argsz, &outcome);
    EXPECT_EQ(outcome, failed(EINVAL)) << argsz;
  }
  for (std::uint32_t argsz : {16u, 19u, 20u, 24u, 64u}) {
    const auto info = info_of(device, argsz, &outcome);
    EXPECT_EQ(outcome, ok());
    EXPECT_EQ(info.argsz, argsz);
    EXPECT_EQ(info.flags, VFIO_DEVICE_FLAGS_PCI + VFIO_DEVICE_FLAGS_RESET + 0u);
    EXPECT_EQ(info.num_regions, 9u);
    EXPECT_EQ(info.num_irqs, 5u);
    EXPECT_EQ(info.cap_offset, cap_offset_of(argsz));
  }
}

TEST_F(EduDevice, Regions) {
  for (std::uint32_t argsz : {0u, 16u, 31u}) EXPECT_EQ(device.region(0, argsz).outcome, failed(EINVAL)) << argsz;
  for (std::uint32_t index = 0; index < 8; ++index) {
    const Region region = device.region(index);
    ASSERT_EQ(region.outcome, ok()) << index;
    EXPECT_EQ(region.info.offset, std::uint64_t{index} << 40);
    if (index == 0) {
      EXPECT_EQ(region.info.size, 0x100000u);
      EXPECT_EQ(region.info.flags & 3, 3u);
    } else if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
      EXPECT_EQ(region.info.size, 256u);
      EXPECT_EQ(region.info.flags, 3u);
    } else {
      EXPECT_EQ(region.info.size, 0u) << index;
      EXPECT_EQ(region.info.flags, 0u) << index;
    }
  }
  for (std::uint32_t index : {8u, 9u, 10u, ~0u}) EXPECT_EQ(device.region(index).outcome, failed(EINVAL)) << index;
}

TEST_F(NvmeDevice, Regions) {
  for (std::uint32_t argsz : {0u, 16u, 31u}) EXPECT_EQ(device.region(0, argsz).outcome, failed(EINVAL)) << argsz;
  for (std::uint32_t index = 1; index < 7; ++index) {
    const Region region = device.region(index);
    EXPECT_EQ(region.outcome, ok()) << index;
    EXPECT_EQ(region.info.offset, std::uint64_t{index} << 40) << index;
    EXPECT_EQ(region.info.size, 0u) << index;
    EXPECT_EQ(region.info.flags, 0u) << index;
  }
  for (std::uint32_t index : {8u, 9u, 10u}) EXPECT_EQ(device.region(index).outcome, failed(EINVAL)) << index;
}

TEST_F(NvmeDevice, RegionsNameTheMsixTable) {
  const Region bar = device.region(0);
  ASSERT_EQ(bar.outcome, ok());
  EXPECT_EQ(bar.info.size, 0x4000u);
  if (!(bar.info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  EXPECT_EQ(bar.info.flags, 0xfu);
  const std::uint16_t capability =
      without("table-pages") ? VFIO_REGION_INFO_CAP_SPARSE_MMAP : VFIO_REGION_INFO_CAP_MSIX_MAPPABLE;
  EXPECT_EQ(bar.capabilities, std::vector<std::uint16_t>{capability});
  // Areas before and behind the table's page, or a capability that says nothing else.
  const std::uint32_t whole = without("table-pages") ? 80 : 40;
  for (std::uint32_t argsz : {32u, 39u}) {
    const Region small = device.region(0, argsz);
    EXPECT_EQ(small.outcome, ok());
    EXPECT_EQ(small.info.argsz, whole);
    EXPECT_EQ(small.info.cap_offset, 0u);
  }
  EXPECT_EQ(device.region(0, whole).info.cap_offset, 32u);
  EXPECT_EQ(device.region(VFIO_PCI_CONFIG_REGION_INDEX).info.size, 4096u);
}

TEST_F(EduDevice, Irqs) {
  vfio_irq_info info;
  EXPECT_EQ(device.irq_info(0, &info, 15), failed(EINVAL));
  EXPECT_EQ(device.irq_info(VFIO_PCI_INTX_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.flags, 7u);
  EXPECT_EQ(info.count, without("intx") ? 0u : 1u);
  EXPECT_EQ(device.irq_info(VFIO_PCI_MSI_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.flags, 9u);
  EXPECT_EQ(info.count, without("interrupts") ? 0u : 1u);
  EXPECT_EQ(device.irq_info(VFIO_PCI_MSIX_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.count, 0u);
  const bool only_express = linux_before(7, 0);
  EXPECT_EQ(device.irq_info(VFIO_PCI_ERR_IRQ_INDEX, &info), only_express ? failed(EINVAL) : ok());
  EXPECT_EQ(info.count, only_express ? 0u : 1u);
  EXPECT_EQ(device.irq_info(VFIO_PCI_REQ_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.count, 1u);
  EXPECT_EQ(device.irq_info(5, &info), failed(EINVAL));
}

TEST_F(NvmeDevice, Irqs) {
  vfio_irq_info info;
  for (std::uint32_t argsz : {0u, 15u}) {
    EXPECT_EQ(device.irq_info(0, &info, argsz), failed(EINVAL)) << argsz;
    EXPECT_EQ(info.count, 0u) << argsz;
  }
  EXPECT_EQ(device.irq_info(VFIO_PCI_INTX_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.flags, 7u);
  EXPECT_EQ(info.count, without("intx") ? 0u : 1u);
  EXPECT_EQ(device.irq_info(VFIO_PCI_MSI_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.flags, 9u);
  EXPECT_EQ(info.count, 0u);
  EXPECT_EQ(device.irq_info(VFIO_PCI_REQ_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.flags, 9u);
  EXPECT_EQ(info.count, 1u);
  EXPECT_EQ(device.irq_info(5, &info), failed(EINVAL));
  EXPECT_EQ(device.irq_info(VFIO_PCI_MSIX_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.flags, without("growing") || linux_before(6, 12) ? 9u : 1u);
  if (without("interrupts"))
    EXPECT_EQ(info.count, 0u);
  else
    EXPECT_EQ(info.count, (device.config(device.capability(PCI_CAP_ID_MSIX) + 2, 2) & 0x7ff) + 1);
  EXPECT_EQ(device.irq_info(VFIO_PCI_ERR_IRQ_INDEX, &info), ok());
  EXPECT_EQ(info.count, 1u);
}

TEST_F(EduDevice, ConfigTakesAnySizeAndAlignment) {
  std::array<std::uint8_t, 300> bytes{};
  ASSERT_EQ(device.read(7, 0, bytes.data(), 256), ok(256));
  for (std::size_t offset : {0u, 1u, 2u, 3u, 5u, 62u, 63u})
    for (std::size_t size : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 16u}) {
      std::array<std::uint8_t, 16> part{};
      ASSERT_EQ(device.read(7, offset, part.data(), size), ok(static_cast<long>(size)));
      EXPECT_EQ(std::memcmp(part.data(), bytes.data() + offset, size), 0) << offset << " " << size;
    }
  EXPECT_EQ(device.read(7, 0xfc, bytes.data(), 8), failed(EFAULT)) << "crosses the end";
  EXPECT_EQ(device.read(7, 0x100, bytes.data(), 4), failed(EFAULT));
  EXPECT_EQ(device.write(7, 0x100, bytes.data(), 4), failed(EFAULT));
  EXPECT_EQ(device.read(7, 0, bytes.data(), 300), failed(EFAULT));
  EXPECT_EQ(device.read(7, 0, reinterpret_cast<void*>(8), 4), failed(EFAULT));
  EXPECT_EQ(device.write(7, PCI_CACHE_LINE_SIZE, reinterpret_cast<void*>(8), 1), failed(EFAULT));
  EXPECT_EQ(device.read(8, 0, bytes.data(), 4), failed(EINVAL)) << "VGA";
  EXPECT_EQ(device.read(9, 0, bytes.data(), 4), failed(EINVAL));
  EXPECT_EQ(device.read(6, 0, bytes.data(), 4), failed(EINVAL)) << "no ROM";
  EXPECT_EQ(outcome_of(::pread(device.fd(), bytes.data(), 4, -4096)), failed(EINVAL));
}

TEST_F(EduDevice, ConfigRegisters) {
  EXPECT_EQ(device.config(PCI_VENDOR_ID, 4), 0x11e81234u);
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), PCI_COMMAND_MEMORY + 0u)
      << "decoding on, bus mastering off";
  device.set_config(PCI_VENDOR_ID, 4, 0xffffffff);
  EXPECT_EQ(device.config(PCI_VENDOR_ID, 4), 0x11e81234u);
  device.set_config(PCI_INTERRUPT_LINE, 1, 0x55);
  EXPECT_EQ(device.config(PCI_INTERRUPT_LINE, 1), 0x55u);
  device.set_config(PCI_INTERRUPT_PIN, 1, 3);
  EXPECT_EQ(device.config(PCI_INTERRUPT_PIN, 1), without("intx") ? 0u : 1u);
  device.set_config(PCI_CAPABILITY_LIST, 1, 0x90);
  EXPECT_EQ(device.config(PCI_CAPABILITY_LIST, 1), 0x40u);
  EXPECT_TRUE(device.config(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
  device.set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & (PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE), 0x402u);
}

TEST_F(EduDevice, BarsAnswerSizing) {
  device.set_config(PCI_BASE_ADDRESS_0, 4, 0xffffffff);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0xfff00000u);
  device.set_config(PCI_BASE_ADDRESS_0 + 3, 1, 0x12);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0x12f00000u) << "a byte of it";
  EXPECT_EQ(device.bar0(0), 0x010000edu) << "the real BAR has not moved";
  for (unsigned bar = 1; bar < 6; ++bar) {
    device.set_config(PCI_BASE_ADDRESS_0 + 4 * bar, 4, 0xffffffff);
    EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0 + 4 * bar, 4), 0u) << bar;
  }
  device.set_config(PCI_ROM_ADDRESS, 4, 0xffffffff);
  EXPECT_EQ(device.config(PCI_ROM_ADDRESS, 4), 0u);
}

TEST_F(NvmeDevice, BarsAnswerSizing64) {
  device.set_config(PCI_BASE_ADDRESS_0, 4, 0xffffffff);
  device.set_config(PCI_BASE_ADDRESS_1, 4, 0xffffffff);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0xffffc004u);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_1, 4), 0xffffffffu);
  device.set_config(PCI_BASE_ADDRESS_0, 4, 0x12345678);
  EXPECT_EQ(device.config(PCI_BASE_ADDRESS_0, 4), 0x12344004u);
}

TEST_F(NvmeDevice, ConfigIs4096Bytes) {
  std::array<std::uint8_t, 4096> bytes{};
  EXPECT_EQ(device.read(7, 0, bytes.data(), 4096), ok(4096));
  EXPECT_EQ(device.read(7, 0x1000, bytes.data(), 4), failed(EFAULT));
  EXPECT_EQ(device.read(7, 0xffe, bytes.data(), 4), failed(EFAULT));
}

TEST_F(NvmeDevice, Capabilities) {
  const unsigned msix = device.capability(PCI_CAP_ID_MSIX);
  ASSERT_NE(msix, 0u);
  const unsigned control = device.config(msix + 2, 2);
  device.set_config(msix + 2, 2, control | PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  EXPECT_EQ(device.config(msix + 2, 2), control) << "the enable bit is SET_IRQS' business";
  if (const unsigned pm = device.capability(PCI_CAP_ID_PM)) {
    device.set_config(pm + PCI_PM_CTRL, 2, 3);
    EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 3u);
    std::uint32_t word;
    EXPECT_EQ(device.read(0, 0, &word, 4), failed(EIO)) << "no BAR access in D3hot";
    device.set_config(pm + PCI_PM_CTRL, 2, 0);
    EXPECT_EQ(device.config(pm + PCI_PM_CTRL, 2) & 3, 0u);
    EXPECT_EQ(device.read(0, 0, &word, 4), ok(4));
  }
  const unsigned express = device.capability(PCI_CAP_ID_EXP);
  ASSERT_NE(express, 0u);
  device.set_config(express + PCI_EXP_DEVCTL, 2, 0x5000);
  EXPECT_EQ(device.config(express + PCI_EXP_DEVCTL, 2) & 0x7000, 0x5000u);
  device.set_config(express + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(device.config(express + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0u);
}

TEST_F(EduDevice, BarAccess) {
  std::uint32_t word = Machine::edu_order(0x12345678);
  EXPECT_EQ(device.write(0, 4, &word, 4), ok(4));
  EXPECT_EQ(device.bar0(4), 0xedcba987u) << "liveness register";
  std::array<std::uint8_t, 8> bytes{};
  EXPECT_EQ(device.read(0, 0, bytes.data(), 8), ok(8));
  EXPECT_EQ(device.read(0, 1, bytes.data(), 4), ok(4));
  EXPECT_EQ(device.read(0, 0x100000 - 4, bytes.data(), 4), ok(4));
  EXPECT_EQ(device.read(0, 0x100000 - 4, bytes.data(), 8), ok(4)) << "cut at the end";
  EXPECT_EQ(device.read(0, 0x100000, bytes.data(), 4), failed(EINVAL));
  EXPECT_EQ(device.read(1, 0, bytes.data(), 4), failed(EINVAL)) << "no such BAR";
  EXPECT_EQ(device.read(0, 0, reinterpret_cast<void*>(8), 4), failed(EFAULT));
}

TEST_F(EduDevice, BarAccessNeedsDecoding) {
  std::uint32_t word = 0;
  device.set_config(PCI_COMMAND, 2, 0);
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & 3, 0u);
  EXPECT_EQ(device.read(0, 0, &word, 4), failed(EIO));
  EXPECT_EQ(device.write(0, 4, &word, 4), failed(EIO));
  device.set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(device.bar0(0), 0x010000edu);
}

TEST_F(NvmeDevice, MsixTableIsNotReadable) {
  const unsigned msix = device.capability(PCI_CAP_ID_MSIX);
  const std::uint32_t table = device.config(msix + 4, 4);
  ASSERT_EQ(table & 7, 0u);
  std::array<std::uint32_t, 4> entry{};
  EXPECT_EQ(device.read(0, table & ~7u, entry.data(), 16), ok(16));
  for (std::uint32_t word : entry) EXPECT_EQ(word, 0xffffffffu);
  entry.fill(0xfee00000);
  EXPECT_EQ(device.write(0, table & ~7u, entry.data(), 16), ok(16)) << "dropped";
  EXPECT_EQ(device.read(0, table & ~7u, entry.data(), 16), ok(16));
  for (std::uint32_t word : entry) EXPECT_EQ(word, 0xffffffffu);
}

TEST_F(NvmeDevice, Mmap) {
  if (!(device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  const auto map = [&](std::size_t bytes, int flags, std::uint64_t offset, int prot = PROT_READ | PROT_WRITE) {
    void* address = ::mmap(nullptr, bytes, prot, flags, device.fd(), static_cast<off_t>(offset));
    if (address == MAP_FAILED) return failed(errno);
    ::munmap(address, bytes);
    return ok();
  };
  EXPECT_EQ(map(0x4000, MAP_SHARED, 0), without("table-pages") ? failed(EINVAL) : ok());
  EXPECT_EQ(map(kPage, MAP_SHARED, 0x3000), ok()) << "last page";
  EXPECT_EQ(map(0x4000, MAP_PRIVATE, 0), failed(EINVAL));
  EXPECT_EQ(map(0x5000, MAP_SHARED, 0), failed(EINVAL)) << "larger than the BAR";
  EXPECT_EQ(map(2 * kPage, MAP_SHARED, 0x3000), failed(EINVAL));
  for (std::uint64_t region : {1, 6, 7, 8, 9}) EXPECT_EQ(map(kPage, MAP_SHARED, region << 40), failed(EINVAL)) << region;
  EXPECT_EQ(map(kPage, MAP_SHARED, 0, PROT_NONE), ok());

  if (without("table-pages")) return;
  // The whole BAR at once: registers are the device's, the MSI-X table is dead memory.
  auto* bar = static_cast<volatile std::uint32_t*>(
      ::mmap(nullptr, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0));
  ASSERT_NE(bar, MAP_FAILED);
  EXPECT_EQ(bar[8 / 4], device.bar0(8)) << "version register";
  EXPECT_NE(bar[8 / 4], 0u);
  const std::uint32_t table = device.config(device.capability(PCI_CAP_ID_MSIX) + 4, 4) & ~7u;
  EXPECT_EQ(bar[table / 4 + 3], 1u) << "vector control after reset: masked";
  ::munmap(const_cast<std::uint32_t*>(bar), 0x4000);
}

TEST_F(NvmeDevice, Reset) {
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_RESET), ok());
  EXPECT_EQ(device.bar0(0x1c) & 1, 0u) << "CSTS.RDY";
  EXPECT_EQ(device.config(PCI_COMMAND, 2) & 2, 2u) << "decoding as before";
}

TEST_F(EduDevice, OtherCalls) {
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_RESET), failed(EINVAL)) << "has none";
  EXPECT_EQ(device.ioctl(VFIO_GET_API_VERSION), failed(ENOTTY));
  EXPECT_EQ(device.ioctl(_IO(VFIO_TYPE, 255)), failed(ENOTTY));
  EXPECT_EQ(outcome_of(::lseek(device.fd(), 0, SEEK_SET)), failed(ESPIPE));
  std::array<std::uint32_t, 64> words{};
  const auto address = reinterpret_cast<std::uint64_t>(words.data());
  for (std::uint32_t argsz : {0u, 8u, 11u}) {
    words = {argsz};
    EXPECT_EQ(device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, address), failed(EINVAL)) << argsz;
  }
  words = {36};
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, address), failed(ENODEV));
  words = {36, 1};
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_PCI_HOT_RESET, address), failed(EINVAL));
  words = {36, 0};
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_PCI_HOT_RESET, address), failed(linux_before(6, 12) ? ENODEV : EINVAL));
}

TEST_F(EduDevice, FeatureProbes) {
  const auto feature = [&](std::uint32_t flags, std::uint32_t argsz = 16) {
    std::uint32_t words[4] = {argsz, flags};
    return device.ioctl(VFIO_DEVICE_FEATURE, reinterpret_cast<std::uint64_t>(words));
  };
  constexpr std::uint32_t kGet = 1 << 16, kSet = 1 << 17, kProbe = 1 << 18;
  EXPECT_EQ(feature(kProbe, 4), failed(EINVAL));
  EXPECT_EQ(feature(0x80010001), failed(EINVAL)) << "unknown flag";
  for (std::uint32_t number : {1u, 2u, 6u, 7u, 8u, 9u}) {
    EXPECT_EQ(feature(kProbe | kSet | number), failed(ENOTTY)) << number;
    EXPECT_EQ(feature(kProbe | number), failed(ENOTTY)) << number;
  }
  for (std::uint32_t number : {3u, 4u, 5u}) {
    EXPECT_EQ(feature(kProbe | kGet | number), failed(EINVAL)) << number;
    EXPECT_EQ(feature(kProbe | kSet | number), ok()) << number;
    EXPECT_EQ(feature(kProbe | number), ok()) << number;
  }
}

}  // namespace
}  // namespace conformance
