// SPDX-License-Identifier: LGPL-2.1-or-later
// A function with everything: memory and I/O BARs, a ROM, MSI and MSI-X, PCI Express.
// The letters name cases of the reference answers.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <sys/mman.h>

#include <array>
#include <optional>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

class E1000e : public testing::Test {
 protected:
  void SetUp() override {
    if (name.empty()) GTEST_SKIP() << "this machine has no e1000e";
    session.emplace(name);
    device = &session->device;
  }
  Outcome loopback(std::uint32_t start, std::uint32_t count) {
    return device->set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, start, count);
  }
  bool mappable() { return device->region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP; }
  const std::string name = extra_device("CONFORMANCE_E1000E");
  std::optional<Session> session;
  Device* device = nullptr;
};

TEST_F(E1000e, Regions) {
  if (!mappable()) GTEST_SKIP() << "BARs cannot be mapped on this machine";
  struct {
    std::uint64_t size;
    std::uint32_t flags;
  } const expected[] = {{0x20000, 7}, {0x20000, 7}, {0x20, 3}, {0x4000, 0xf}, {0, 0}, {0, 0}, {0x40000, 1}, {4096, 3}};
  for (std::uint32_t index = 0; index < 8; ++index) {
    const Region region = device->region(index);
    EXPECT_EQ(region.outcome, ok()) << "D10 " << index;
    EXPECT_EQ(region.info.size, expected[index].size) << "D10 " << index;
    EXPECT_EQ(region.info.flags, expected[index].flags) << "D10 " << index;
    EXPECT_EQ(region.info.offset, std::uint64_t{index} << 40) << "D10 " << index;
    EXPECT_EQ(region.info.cap_offset, index == 3 ? 32u : 0u) << "D10 " << index;
  }
  for (std::uint32_t index : {8u, 9u, 10u}) EXPECT_EQ(device->region(index).outcome, failed(EINVAL)) << "D10 " << index;
  for (std::uint32_t argsz : {16u, 31u}) EXPECT_EQ(device->region(0, argsz).outcome, failed(EINVAL)) << "D13 " << argsz;
  for (std::uint32_t argsz : {32u, 39u, 40u}) {
    EXPECT_EQ(device->region(0, argsz).outcome, ok()) << "D13";
    EXPECT_EQ(device->region(0, argsz).info.argsz, argsz) << "D13: no chain";
  }
}

TEST_F(E1000e, Info) {
  for (std::uint32_t argsz : {0u, 8u, 15u, 16u, 19u, 20u, 64u}) {
    struct {
      vfio_device_info info;
      std::uint8_t rest[64];  // of an answer that is longer than this header's
    } answer;
    std::memset(&answer, 0xcc, sizeof answer);
    auto& info = answer.info;
    info.argsz = argsz;
    const Outcome outcome = device->ioctl(VFIO_DEVICE_GET_INFO, reinterpret_cast<std::uint64_t>(&answer));
    EXPECT_EQ(outcome, argsz < 16 ? failed(EINVAL) : ok()) << "D12 " << argsz;
    if (argsz < 16) continue;
    EXPECT_EQ(info.flags, 3u) << "D12";
    EXPECT_EQ(info.num_regions, 9u) << "D12";
    EXPECT_EQ(info.num_irqs, 5u) << "D12";
    EXPECT_EQ(info.cap_offset, argsz >= 20 ? 0 : argsz == 16 || linux_before(6, 12) ? 0xcccccccc : 0xcc000000) << "D12";
  }
}

TEST_F(E1000e, HotReset) {
  std::array<std::uint32_t, 64> words{};
  const auto address = reinterpret_cast<std::uint64_t>(words.data());
  for (std::uint32_t argsz : {0u, 8u, 11u, 12u, 20u, 24u, 140u}) {
    words = {argsz};
    EXPECT_EQ(device->ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, address), failed(argsz < 12 ? EINVAL : ENODEV)) << "E50";
  }
  for (std::uint32_t count : {0u, 1u, 1000u}) {
    words = {256, 0, count, static_cast<std::uint32_t>(session->group.fd())};
    EXPECT_EQ(device->ioctl(VFIO_DEVICE_PCI_HOT_RESET, address),
              failed(count == 0 && !linux_before(6, 12) ? EINVAL : ENODEV)) << "E51 E56 E57";
  }
  words = {256, 0, 1, ~0u};
  EXPECT_EQ(device->ioctl(VFIO_DEVICE_PCI_HOT_RESET, address), failed(ENODEV)) << "E54";
  words = {256, 0, 1, static_cast<std::uint32_t>(session->container.fd())};
  EXPECT_EQ(device->ioctl(VFIO_DEVICE_PCI_HOT_RESET, address), failed(ENODEV)) << "E55";
  words = {256, 1, 0};
  EXPECT_EQ(device->ioctl(VFIO_DEVICE_PCI_HOT_RESET, address), failed(EINVAL)) << "E53";
}

TEST_F(E1000e, ErrorIndexAndOthers) {
  const Fd event(::eventfd(0, EFD_NONBLOCK));
  constexpr std::uint32_t kLoop = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
  EXPECT_EQ(device->eventfds(VFIO_PCI_ERR_IRQ_INDEX, 0, {event.get()}), ok()) << "E38";
  EXPECT_EQ(device->set_irqs(VFIO_PCI_ERR_IRQ_INDEX, kLoop, 0, 1), ok()) << "E39";
  EXPECT_EQ(take(event.get()), 1u) << "E39";
  EXPECT_EQ(device->eventfds(VFIO_PCI_ERR_IRQ_INDEX, 0, {-1}), ok()) << "E40";
  constexpr std::uint32_t kMsix = VFIO_PCI_MSIX_IRQ_INDEX;
  EXPECT_EQ(device->eventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, {event.get()}), ok()) << "E37";
  EXPECT_EQ(device->irqs_off(VFIO_PCI_INTX_IRQ_INDEX), ok()) << "E37b";
  EXPECT_EQ(device->eventfds(kMsix, 0, {event.get(), event.get()}), ok()) << "E41";
  EXPECT_EQ(loopback(0, 2), ok()) << "E42";
  EXPECT_EQ(take(event.get()), 2u) << "E42";
  EXPECT_EQ(device->irqs_off(kMsix), ok()) << "E36a";
  EXPECT_EQ(device->eventfds(kMsix, 0, {event.get(), -1, -1, -1}), ok()) << "E28b";
  EXPECT_EQ(device->eventfds(kMsix, 1, {event.get()}), ok()) << "E31";
  EXPECT_EQ(device->eventfds(kMsix, 0, {event.get(), -1, -1, 9999}), failed(EBADF)) << "E32";
  EXPECT_EQ(loopback(0, 4), ok()) << "E33";
  EXPECT_EQ(take_soon(event.get()), 0u) << "E33";
  EXPECT_EQ(device->set_irqs(kMsix, kLoop, 2, 0), ok()) << "E28e";
  EXPECT_EQ(device->irqs_off(kMsix), failed(EINVAL)) << "E28f";
}

TEST_F(E1000e, MappingsFollowDecodingAndPower) {
  if (!mappable()) GTEST_SKIP() << "BARs cannot be mapped on this machine";
  // BAR3: the page of the MSI-X table is another file than the rest.
  const auto map = [&](std::uint64_t bar, std::size_t bytes) {
    return static_cast<volatile std::uint32_t*>(
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd(), static_cast<off_t>(bar << 40)));
  };
  auto *registers = map(0, kPage), *vectors = map(3, 0x4000);
  ASSERT_NE(registers, MAP_FAILED);
  ASSERT_NE(vectors, MAP_FAILED);
  const auto all_answer = [&](bool answer, const char* when) {
    EXPECT_EQ(load_or_fault(registers).has_value(), answer) << when;
    for (std::size_t at = 0; at < 0x4000; at += kPage) EXPECT_EQ(load_or_fault(vectors + at / 4).has_value(), answer) << when << " " << at;
  };
  all_answer(true, "at first");
  const std::uint32_t command = device->config(PCI_COMMAND, 2);
  device->set_config(PCI_COMMAND, 2, 0);
  all_answer(false, "E46");
  device->set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  all_answer(true, "E47");
  EXPECT_EQ(vectors[3], 1u) << "the table is the shadow again";
  const unsigned pm = device->capability(PCI_CAP_ID_PM);
  device->set_config(pm + PCI_PM_CTRL, 2, 3);
  all_answer(false, "D3hot");
  device->set_config(pm + PCI_PM_CTRL, 2, 0);
  all_answer(true, "D0");
  device->set_config(PCI_COMMAND, 2, command);
  EXPECT_EQ(device->ioctl(VFIO_DEVICE_RESET), ok());
  all_answer(true, "after a reset");
  ::munmap(const_cast<std::uint32_t*>(registers), kPage);
  ::munmap(const_cast<std::uint32_t*>(vectors), 0x4000);
}

TEST_F(E1000e, Irqs) {
  vfio_irq_info info;
  const std::uint32_t counts[] = {1, 1, 5, 1, 1};
  for (std::uint32_t index = 0; index < 5; ++index) {
    EXPECT_EQ(device->irq_info(index, &info), ok()) << "D11 " << index;
    EXPECT_EQ(info.count, counts[index]) << "D11 " << index;
    const bool grows = index == VFIO_PCI_MSIX_IRQ_INDEX && !linux_before(6, 12);
    EXPECT_EQ(info.flags, index == 0 ? 7u : grows ? 1u : 9u) << "D11 " << index;
  }
  EXPECT_EQ(device->irq_info(5, &info), failed(EINVAL)) << "D11";
  for (std::uint32_t argsz : {0u, 15u}) EXPECT_EQ(device->irq_info(0, &info, argsz), failed(EINVAL)) << "D14";
}

TEST_F(E1000e, Config) {
  EXPECT_EQ(device->config(PCI_VENDOR_ID, 4), 0x10d38086u) << "D20";
  EXPECT_EQ(device->config(PCI_CLASS_REVISION, 4) >> 8, 0x020000u) << "D20";
  EXPECT_EQ(device->config(PCI_INTERRUPT_PIN, 1), 1u) << "D20";
  const unsigned pm = device->capability(PCI_CAP_ID_PM), express = device->capability(PCI_CAP_ID_EXP);
  const unsigned msix = device->capability(PCI_CAP_ID_MSIX);
  ASSERT_NE(pm, 0u) << "E04";
  ASSERT_NE(express, 0u) << "E04";
  ASSERT_NE(msix, 0u) << "E04";
  EXPECT_NE(device->capability(PCI_CAP_ID_MSI), 0u) << "E04";
  EXPECT_EQ(device->config(msix + PCI_MSIX_FLAGS, 2), 4u) << "D20";
  EXPECT_EQ(device->config(msix + PCI_MSIX_TABLE, 4), 3u) << "E04";
  EXPECT_EQ(device->config(msix + PCI_MSIX_PBA, 4), 0x2003u) << "E04";
  EXPECT_EQ(device->config(pm + PCI_PM_CTRL, 2), 0u) << "D20";
  EXPECT_EQ(device->config(pm + PCI_PM_PMC, 2), 0x22u) << "D20: PME is hidden";
  std::array<std::uint8_t, 4096> all;
  EXPECT_EQ(device->read(7, 0, all.data(), all.size()), ok(4096)) << "E01";
  EXPECT_EQ(device->read(7, 4096, all.data(), 4), failed(EFAULT)) << "E02";
  EXPECT_EQ(device->config(0x100, 4) & 0xffff, 1u) << "E03: advanced error reporting";
  device->set_config(pm + PCI_PM_CTRL, 2, PCI_PM_CTRL_PME_ENABLE);
  EXPECT_EQ(device->config(pm + PCI_PM_CTRL, 2), 0u) << "E13";
  device->set_config(pm + PCI_PM_CTRL, 2, 3);
  std::uint32_t word = 0;
  EXPECT_EQ(device->read(0, 0, &word, 4), failed(EIO)) << "E11";
  device->set_config(pm + PCI_PM_CTRL, 2, 0);
  EXPECT_EQ(device->config(pm + PCI_PM_CTRL, 2), 0u) << "E12";
  device->set_config(express + PCI_EXP_DEVCTL, 2, 0x5000);
  EXPECT_EQ(device->config(express + PCI_EXP_DEVCTL, 2), 0x5000u) << "E15";
  EXPECT_FALSE(device->config(express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR) << "E16";
}

TEST_F(E1000e, RomAndIo) {
  std::array<std::uint8_t, 16> bytes{};
  EXPECT_EQ(device->read(6, 0, bytes.data(), 2), ok(2));
  EXPECT_EQ(bytes[0] | bytes[1] << 8, 0xaa55) << "the ROM's signature";
  EXPECT_EQ(device->write(6, 0, bytes.data(), 4), failed(EINVAL)) << "E61";
  EXPECT_EQ(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, device->fd(), static_cast<off_t>(std::uint64_t{6} << 40)), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL) << "E62";
  EXPECT_EQ(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, device->fd(), static_cast<off_t>(std::uint64_t{2} << 40)), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL) << "an I/O BAR";
  EXPECT_EQ(device->read(2, 0, bytes.data(), 8), ok(8)) << "E64";
  EXPECT_EQ(device->read(2, 0x20, bytes.data(), 4), failed(EINVAL));
  device->set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(device->read(2, 0, bytes.data(), 4), ok(4)) << "E67: I/O decoding is not looked at";
  device->set_config(PCI_COMMAND, 2, 3);
  device->set_config(PCI_ROM_ADDRESS, 4, 1);
  EXPECT_EQ(device->config(PCI_ROM_ADDRESS, 4), 1u) << "E69";
  device->set_config(PCI_ROM_ADDRESS, 4, ~0u);
  EXPECT_EQ(device->config(PCI_ROM_ADDRESS, 4), 0xfffc0001u);
  device->set_config(PCI_BASE_ADDRESS_2, 4, ~0u);
  EXPECT_EQ(device->config(PCI_BASE_ADDRESS_2, 4), 0xffffffe1u) << "E70";
}

TEST_F(E1000e, MsixTable) {
  if (!mappable()) GTEST_SKIP() << "BARs cannot be mapped on this machine";
  std::array<std::uint32_t, 4> entry{};
  EXPECT_EQ(device->read(3, 0, entry.data(), 16), ok(16));
  for (std::uint32_t word : entry) EXPECT_EQ(word, ~0u) << "E05";
  auto* table = static_cast<volatile std::uint32_t*>(
      ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, device->fd(), static_cast<off_t>(std::uint64_t{3} << 40)));
  ASSERT_NE(table, MAP_FAILED) << "E07";
  EXPECT_EQ(table[3], 1u) << "E08: masked";
  ::munmap(const_cast<std::uint32_t*>(table), kPage);
}

TEST_F(E1000e, MsixLifeCycle) {
  const auto flags = [&] { return device->config(device->capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2); };
  const Fd e[4] = {Fd(::eventfd(0, EFD_NONBLOCK)), Fd(::eventfd(0, EFD_NONBLOCK)), Fd(::eventfd(0, EFD_NONBLOCK)),
                   Fd(::eventfd(0, EFD_NONBLOCK))};
  constexpr std::uint32_t kMsix = VFIO_PCI_MSIX_IRQ_INDEX;
  ASSERT_EQ(device->eventfds(kMsix, 0, {e[0].get(), e[1].get()}), ok()) << "E20";
  EXPECT_EQ(flags(), 0x8004u) << "E20";
  EXPECT_EQ(loopback(0, 2), ok()) << "E21";
  EXPECT_EQ(take(e[0].get()), 1u) << "E21";
  EXPECT_EQ(take(e[1].get()), 1u) << "E21";
  if (linux_before(6, 12)) {
    EXPECT_EQ(loopback(1, 2), failed(EINVAL)) << "E22";
    EXPECT_EQ(loopback(2, 2), failed(EINVAL)) << "E24";
  } else {
    EXPECT_EQ(loopback(1, 2), ok()) << "E22";
    EXPECT_EQ(take(e[1].get()), 1u) << "E22";
    EXPECT_EQ(device->eventfds(kMsix, 2, {e[2].get(), e[3].get()}), ok()) << "E23";
    EXPECT_EQ(loopback(2, 2), ok()) << "E24";
    EXPECT_EQ(take(e[2].get()), 1u) << "E24";
    EXPECT_EQ(take(e[3].get()), 1u) << "E24";
    EXPECT_EQ(device->eventfds(kMsix, 2, {-1, -1}), ok());
  }
  EXPECT_EQ(device->eventfds(kMsix, 0, {e[2].get(), e[3].get()}), ok()) << "E24b";
  EXPECT_EQ(loopback(0, 2), ok()) << "E24c";
  EXPECT_EQ(take(e[2].get()), 1u) << "E24c";
  EXPECT_EQ(take(e[3].get()), 1u) << "E24c";
  EXPECT_EQ(take_soon(e[0].get()), 0u) << "E24c";
  EXPECT_EQ(device->eventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, {e[0].get()}), failed(EINVAL)) << "E34";
  EXPECT_EQ(device->eventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, {e[0].get()}), failed(EINVAL)) << "E35";
  EXPECT_EQ(device->irqs_off(kMsix), ok()) << "E25";
  EXPECT_EQ(flags(), 4u) << "E25";
  EXPECT_EQ(device->set_irqs(kMsix, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 0), failed(EINVAL)) << "E25b";
  EXPECT_EQ(device->eventfds(kMsix, 0, {e[0].get(), e[1].get(), e[2].get(), 9999}), failed(EBADF)) << "E36";
  EXPECT_EQ(flags(), 4u) << "E36";
  EXPECT_EQ(device->eventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, {e[0].get()}), ok()) << "the other kind";
  EXPECT_EQ(device->eventfds(kMsix, 0, {e[1].get()}), failed(EINVAL));
  EXPECT_EQ(device->irqs_off(VFIO_PCI_MSI_IRQ_INDEX), ok());
  ASSERT_EQ(device->eventfds(kMsix, 0, {e[0].get()}), ok());
  EXPECT_EQ(device->ioctl(VFIO_DEVICE_RESET), ok()) << "E43";
  EXPECT_EQ(flags(), 0x8004u) << "E43";
  EXPECT_EQ(loopback(0, 1), ok()) << "E44";
  EXPECT_EQ(take(e[0].get()), 1u) << "E44";
  EXPECT_EQ(device->irqs_off(kMsix), ok()) << "E45";
}

}  // namespace
}  // namespace conformance
