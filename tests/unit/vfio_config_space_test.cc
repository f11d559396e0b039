// SPDX-License-Identifier: LGPL-2.1-or-later
// Configuration space over devices no model has: broken lists, capabilities that lie
// over each other, reads that fail.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "msi/capabilities.h"
#include "msi/virtual_capability.h"
#include "tests/unit/fake_pci_device.h"
#include "vfio-glue/engine/config_space.h"

namespace pviommu::vfio {
namespace {

class PaperDevice final : public test::FakePciDevice {
 public:
  void clear(std::size_t size) { config.assign(size, 0); }

  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    if (fail_in && --fail_in == 0) return Error{EIO, "config_read"};
    return FakePciDevice::config_read(offset, width);
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    if (fail_in && --fail_in == 0) return Error{EIO, "config_write"};
    ++writes;
    return FakePciDevice::config_write(offset, width, value);
  }

  /// The list in the order given: {offset, id}.
  void list(const std::vector<std::pair<unsigned, std::uint8_t>>& capabilities) {
    config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    std::size_t link = PCI_CAPABILITY_LIST;
    for (const auto& [at, id] : capabilities) {
      config[link] = static_cast<std::uint8_t>(at);
      config[at] = id;
      link = at + PCI_CAP_LIST_NEXT;
    }
    config[link] = 0;
  }

  unsigned fail_in = 0;  ///< the n-th access from now on fails
  unsigned writes = 0;
};

class Effects final : public ConfigEffects, public msi::CapabilityEffects {
 public:
  void intx_disable_changed(bool disabled) override { told.push_back(disabled); }
  void function_level_reset() override { ++resets; }
  bool msi_configured() const override { return false; }
  bool msix_configured() const override { return false; }
  unsigned msi_queue_limit() const override { return 0; }
  Status set_delivery(bool) override { return {}; }
  std::uint32_t mask_bits() const override { return 0; }
  void set_mask_bits(std::uint32_t) override {}
  std::uint32_t pending_bits() const override { return 0; }

  std::vector<bool> told;
  unsigned resets = 0;
};

struct ConfigSpaceTest : testing::Test {
  PaperDevice device;
  Effects effects;
  std::unique_ptr<msi::VirtualCapability> view;
  std::optional<ConfigSpace> space;

  void open() {
    const auto capabilities = msi::read_capabilities(device);
    ASSERT_TRUE(capabilities.ok());
    view = std::make_unique<msi::VirtualCapability>(*capabilities, effects);
    auto made = ConfigSpace::create(device, effects, *view);
    ASSERT_TRUE(made.ok());
    space.emplace(std::move(*made));
  }
  std::uint32_t get(std::size_t at, unsigned bytes) {
    std::uint32_t value = 0;
    EXPECT_TRUE(space->read(at, &value, bytes).ok());
    return value;
  }
  void set(std::size_t at, unsigned bytes, std::uint32_t value) {
    EXPECT_TRUE(space->write(at, &value, bytes).ok());
  }
  std::string ids() {
    std::string all;
    for (unsigned at = get(PCI_CAPABILITY_LIST, 1); at && all.size() < 200; at = get(at + 1, 1))
      all += std::to_string(get(at, 1)) + " ";
    return all;
  }
};

TEST_F(ConfigSpaceTest, CapabilitiesThatDoNotFitHaveNoRegisters) {
  for (const std::uint8_t id :
       {PCI_CAP_ID_PM, PCI_CAP_ID_EXP, PCI_CAP_ID_VPD, PCI_CAP_ID_AF, PCI_CAP_ID_VNDR}) {
    device.clear(256);
    device.list({{0xfc, id}});
    device.config[0xfe] = 40;  // a vendor's length
    device.config[0xff] = 0x77;
    open();
    EXPECT_EQ(ids(), std::to_string(id) + " ");
    EXPECT_FALSE(space->is_express());
    EXPECT_TRUE(space->powered());
    set(0xfe, 2, 0x1234);
    EXPECT_EQ(device.config[0xff], id == PCI_CAP_ID_VNDR ? 0x12 : 0x77) << unsigned{id};
  }
}

TEST_F(ConfigSpaceTest, OneCapabilityEndsWhereAnotherBegins) {
  device.list({{0x40, PCI_CAP_ID_VNDR}, {0x48, PCI_CAP_ID_PM}, {0x4c, PCI_CAP_ID_EXP}});
  device.config[0x42] = 0x30;
  device.put16(0x4c + PCI_EXP_DEVCAP + 2, PCI_EXP_DEVCAP_FLR >> 16);
  open();
  const std::string before = ids();
  EXPECT_EQ(before, "9 1 16 ");
  for (std::size_t at = 0x40; at < 0x100; at += 4) set(at, 4, ~0u);
  for (std::size_t at = 0x40; at < 0x100; at += 4) set(at, 4, 0);
  EXPECT_EQ(ids(), before);
  EXPECT_TRUE(space->powered());  // no power state of a capability that is cut off
  EXPECT_EQ(effects.resets, 1u);
}

TEST_F(ConfigSpaceTest, HiddenCapabilitiesAreLeftOut) {
  device.list({{0x60, 0x0d}, {0x40, PCI_CAP_ID_VPD}, {0x50, 0x13 + 1}, {0x70, PCI_CAP_ID_VNDR}});
  device.config[0x72] = 0;  // a vendor's capability of no length
  open();
  EXPECT_EQ(ids(), "3 ");
  device.list({{0x60, 0x0d}});
  open();
  EXPECT_EQ(get(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0u);
  EXPECT_EQ(get(PCI_CAPABILITY_LIST, 1), 0u);
}

TEST_F(ConfigSpaceTest, HeaderInsideMsi) {
  device.list({{0x40, PCI_CAP_ID_MSI}, {0x44, PCI_CAP_ID_PM}});
  open();
  device.put16(0x46, 0x5a5a);
  EXPECT_EQ(ids(), "5 1 ");
  EXPECT_EQ(get(0x46, 2), 0u);  // the message, not the power capability
  set(0x44, 4, 0xffffffff);
  EXPECT_EQ(ids(), "5 1 ");
  EXPECT_EQ(device.writes, 0u);
}

TEST_F(ConfigSpaceTest, BarsAnswerTheirSize) {
  device.bars[0] = {.size = 0x1000, .is_64bit = true, .prefetchable = true};
  device.bars[2] = {.size = 0x20, .is_io = true};
  device.bars[3] = {.size = std::uint64_t{1} << 33, .is_64bit = true};
  device.bars[kPciRomIndex] = {.size = 0x800};
  open();
  for (std::size_t at = PCI_BASE_ADDRESS_0; at <= PCI_BASE_ADDRESS_5; at += 4) set(at, 4, ~0u);
  set(PCI_ROM_ADDRESS, 4, ~0u);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_0, 4), 0xfffff00cu);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_1, 4), 0xffffffffu);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_2, 4), 0xffffffe1u);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_3, 4), 4u);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_4, 4), 0xfffffffeu);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_5, 4), 0u);
  EXPECT_EQ(get(PCI_ROM_ADDRESS, 4), 0xfffff801u);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_2, 1), 0xe1u);
  EXPECT_EQ(get(PCI_BASE_ADDRESS_2 + 1, 2), 0xffffu);
  EXPECT_EQ(device.writes, 0u);
}

TEST_F(ConfigSpaceTest, OddAccessesAreNaturalOnes) {
  for (std::size_t i = 0x80; i < 0xa0; ++i) device.config[i] = static_cast<std::uint8_t>(i);
  open();
  std::array<std::uint8_t, 11> some{};
  ASSERT_TRUE(space->read(0x81, some.data(), some.size()).ok());
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_EQ(some[i], 0x81 + i);
  ASSERT_TRUE(space->write(0x91, some.data(), some.size()).ok());
  EXPECT_EQ(device.writes, 4u);  // 1, 2, 4, 4
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_EQ(device.config[0x91 + i], 0x81 + i);
}

TEST_F(ConfigSpaceTest, EveryFailingAccessIsReported) {
  device.clear(4096);
  device.list(
      {{0x40, PCI_CAP_ID_EXP}, {0x80, PCI_CAP_ID_PM}, {0x90, PCI_CAP_ID_MSI}, {0xb0, PCI_CAP_ID_VNDR}});
  device.config[0xb2] = 8;
  const auto capabilities = msi::read_capabilities(device);
  ASSERT_TRUE(capabilities.ok());
  msi::VirtualCapability interrupts(*capabilities, effects);
  unsigned n = 1;
  for (;; ++n) {
    device.fail_in = n;
    if (ConfigSpace::create(device, effects, interrupts).ok()) break;
    ASSERT_LT(n, 2000u);
  }
  // Express, MSI and the vendor's are asked for their length, power management is woken.
  EXPECT_EQ(n, 4096u / 4 + 4 + 1);
  device.fail_in = 0;
  open();
  const auto fails = [&](unsigned nth, auto&& access) {
    device.fail_in = nth;
    const bool failed = !access().ok();
    device.fail_in = 0;
    return failed;
  };
  std::uint32_t value = 0;
  EXPECT_TRUE(fails(1, [&] { return space->read(0xb4, &value, 4); }));
  EXPECT_TRUE(fails(1, [&] { return space->write(0xb4, &value, 4); }));
  EXPECT_TRUE(fails(2, [&] { return space->write(0xb4, &value, 4); }));
  EXPECT_TRUE(fails(1, [&] { return space->set_bus_master(true); }));
  EXPECT_TRUE(fails(2, [&] { return space->set_bus_master(true); }));
  EXPECT_TRUE(fails(1, [&] { return space->restore(); }));
  EXPECT_TRUE(fails(2, [&] { return space->restore(); }));
}

TEST_F(ConfigSpaceTest, ExtendedCapabilitiesAtTheEnd) {
  for (unsigned id = 0; id < 48; ++id) {
    device.clear(4096);
    device.list({{0x40, PCI_CAP_ID_EXP}});
    device.put16(0x100, PCI_EXT_CAP_ID_DSN);
    device.put16(0x102, 0xffc << 4 | 1);
    device.put16(0xffc, id);
    device.put16(0xffe, 1);
    open();
    for (std::size_t at = 0x100; at < 0x1000; at += 4) set(at, 4, ~0u);
    EXPECT_EQ(get(0x100, 2), unsigned{PCI_EXT_CAP_ID_DSN}) << id;
  }
}

TEST_F(ConfigSpaceTest, PowerAndReset) {
  device.list({{0x40, PCI_CAP_ID_EXP}, {0x80, PCI_CAP_ID_PM}});
  device.put16(0x40 + PCI_EXP_DEVCAP + 2, PCI_EXP_DEVCAP_FLR >> 16);
  open();
  EXPECT_TRUE(space->is_express());
  set(0x80 + PCI_PM_CTRL, 2, 3);
  EXPECT_FALSE(space->powered());
  ASSERT_TRUE(space->restore().ok());
  EXPECT_TRUE(space->powered());
  EXPECT_EQ(get(0x80 + PCI_PM_CTRL, 2) & 3, 0u);
  set(0x40 + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(effects.resets, 1u);
  EXPECT_EQ(get(0x40 + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0u);
  set(0x40 + PCI_EXP_DEVCTL, 1, 0xff);  // the bit is in the other byte
  EXPECT_EQ(effects.resets, 1u);
  set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
  EXPECT_TRUE(space->memory_enabled());
  set(PCI_COMMAND + 1, 1, 0);
  EXPECT_EQ(effects.told, (std::vector<bool>{true, false}));
}

}  // namespace
}  // namespace pviommu::vfio
