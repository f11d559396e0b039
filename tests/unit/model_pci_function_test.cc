// SPDX-License-Identifier: LGPL-2.1-or-later
// Configuration space, BARs, interrupts and thread of a modelled function.
#include <chrono>
#include <thread>

#include "tests/unit/model_test_machine.h"

namespace pviommu::model {
namespace {

/// Records what the function puts on the bus.
class RecordingBus final : public Bus {
 public:
  Status read(Sbdf, Iova, std::span<std::byte>) override { return {}; }
  Status write(Sbdf, Iova, std::span<const std::byte>) override { return {}; }
  Status read_to_file(Sbdf, Iova, std::size_t, int, std::uint64_t) override { return {}; }
  Status write_from_file(Sbdf, Iova, std::size_t, int, std::uint64_t) override { return {}; }
  void message(Sbdf, std::uint64_t address, std::uint32_t data) override {
    messages.push_back({address, data});
  }
  void bus_master_off(Sbdf, Iova, Access) override { ++refused; }
  void intx(Sbdf, bool asserted) override { pin.push_back(asserted); }

  std::vector<std::pair<std::uint64_t, std::uint32_t>> messages;
  std::vector<bool> pin;
  unsigned refused = 0;
};

class ModelPciFunction : public ::testing::Test {
 protected:
  std::uint8_t capability(std::uint8_t id) {
    for (std::uint8_t at = probe.config_read(0x34, 1); at != 0; at = probe.config_read(at + 1u, 1))
      if (probe.config_read(at, 1) == id) return at;
    return 0;
  }
  RecordingBus bus;
  Probe probe{bus, make_sbdf(0, 0, 5, 0), {}};
};

TEST_F(ModelPciFunction, Header) {
  EXPECT_EQ(probe.config_read(0, 4), 0x56781234u);
  EXPECT_EQ(probe.config_read(8, 4), 0x01080207u);
  EXPECT_EQ(probe.config_read(0x2c, 4), 0xdef09abcu);
  EXPECT_EQ(probe.config_read(6, 2) & 0x10u, 0x10u);
  EXPECT_EQ(probe.config_read(0x3d, 1), 1u);
  probe.config_write(0, 4, 0xffffffff);
  EXPECT_EQ(probe.config_read(0, 4), 0x56781234u);
  probe.config_write(0x3c, 2, 0xff0b);
  EXPECT_EQ(probe.config_read(0x3c, 2), 0x010bu);
  EXPECT_EQ(probe.config_size(), 4096u);
  EXPECT_EQ(probe.config_read(0x100, 4), 0u);
}

TEST_F(ModelPciFunction, BarSizing) {
  const std::uint32_t expected[6] = {0xffff000c, 0xffffffff, 0xffffffe1, 0xfffff000, 0, 0};
  for (unsigned i = 0; i < 6; ++i) {
    probe.config_write(0x10 + 4 * i, 4, 0xffffffff);
    EXPECT_EQ(probe.config_read(0x10 + 4 * i, 4), expected[i]) << i;
  }
  probe.config_write(0x10, 4, 0xe0001234);
  probe.config_write(0x14, 4, 0x12);
  EXPECT_EQ(probe.bar(0).address, 0x12e0000000u);
  probe.config_write(0x18, 4, 0xc0ff);
  EXPECT_EQ(probe.bar(2).address, 0xc0e0u);
  // One byte at a time, as some firmware does.
  probe.config_write(0x1e, 1, 0xab);
  EXPECT_EQ(probe.config_read(0x1c, 4), 0xffabf000u);
  EXPECT_EQ(probe.bar(6).size, 0u);
  EXPECT_TRUE(probe.bar(0).mappable);
  EXPECT_FALSE(probe.bar(3).mappable);
}

TEST_F(ModelPciFunction, CommandAndStatusBits) {
  probe.config_write(4, 2, 0xffff);
  EXPECT_EQ(probe.config_read(4, 2), 0x0507u);
  probe.config_write(6, 2, 0xffff);
  EXPECT_EQ(probe.config_read(6, 2), 0x0010u);
}

TEST_F(ModelPciFunction, DecodingOff) {
  probe.config_write(4, 2, 2);
  probe.bar_write(0, 8, 4, 0x11223344);
  probe.bar_write(2, 4, 1, 0x55);  // ports are not decoded
  EXPECT_EQ(probe.bar_read(0, 8, 4), 0x11223344u);
  EXPECT_EQ(probe.bar_read(2, 4, 1), 0xffu);
  probe.config_write(4, 2, 1);
  EXPECT_EQ(probe.bar_read(0, 8, 4), 0xffffffffu);
  EXPECT_EQ(probe.bar_read(0, 8, 8), ~std::uint64_t{0});
  probe.bar_write(0, 8, 4, 0);
  EXPECT_EQ(probe.bar_read(2, 4, 1), 0u);
  probe.config_write(4, 2, 3);
  EXPECT_EQ(probe.bar_read(0, 8, 4), 0x11223344u);
}

TEST_F(ModelPciFunction, MappedMemoryIsTheBarsAndSealed) {
  const auto mapping = probe.bar_mapping(0);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(code(probe.bar_mapping(3)), EOPNOTSUPP);
  void* at = ::mmap(nullptr, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, mapping->fd, 0);
  ASSERT_NE(at, MAP_FAILED);
  probe.config_write(4, 2, 2);
  probe.bar_write(0, 0x10, 4, 77);
  EXPECT_EQ(static_cast<std::uint32_t*>(at)[4], 77u);
  EXPECT_NE(::ftruncate(mapping->fd, 0), 0);
  ::munmap(at, 0x10000);
  probe.forbid_mapping();
  EXPECT_EQ(code(probe.bar_mapping(0)), EOPNOTSUPP);
  EXPECT_FALSE(probe.bar(0).mappable);
}

TEST_F(ModelPciFunction, MsixMasksAndPending) {
  const std::uint8_t cap = capability(0x11);
  ASSERT_NE(cap, 0);
  EXPECT_EQ(probe.config_read(cap + 2u, 2), 69u);
  EXPECT_EQ(probe.config_read(cap + 4u, 4), 0x4000u);
  probe.config_write(4, 2, 6);
  probe.program_message(VectorKind::msix, 69, 0xfee01000, 42);
  EXPECT_EQ(probe.bar_read(0, 0x4000 + 69 * 16, 8), 0xfee01000u);
  EXPECT_EQ(probe.bar_read(0, 0x4000 + 69 * 16 + 8, 8), 42u | std::uint64_t{1} << 32);  // masked
  probe.fire(69);  // MSI-X is off: nothing
  EXPECT_FALSE(probe.message_pending(VectorKind::msix, 69));
  probe.config_write(cap + 2u, 2, 0x8000);
  EXPECT_FALSE(probe.would_use_intx());
  probe.fire(69);
  EXPECT_TRUE(probe.message_pending(VectorKind::msix, 69));
  EXPECT_EQ(probe.bar_read(0, 0x8008, 8), 1u << 5);
  probe.bar_write(0, 0x8008, 8, 0);  // the PBA is read-only
  EXPECT_TRUE(bus.messages.empty());
  probe.mask_message(VectorKind::msix, 69, false);
  ASSERT_EQ(bus.messages.size(), 1u);
  EXPECT_EQ(bus.messages[0], std::make_pair(std::uint64_t{0xfee01000}, 42u));
  EXPECT_FALSE(probe.message_pending(VectorKind::msix, 69));
  // The function mask holds all of them, whatever their own says.
  probe.config_write(cap + 2u, 2, 0xc000);
  probe.fire(69);
  EXPECT_TRUE(probe.message_pending(VectorKind::msix, 69));
  probe.config_write(cap + 2u, 2, 0x8000);
  EXPECT_EQ(bus.messages.size(), 2u);
  // Unmasking through the table, as an operating system does.
  probe.bar_write(0, 0x4000 + 69 * 16 + 12, 4, 1);
  probe.fire(69);
  EXPECT_EQ(bus.messages.size(), 2u);
  probe.bar_write(0, 0x4000 + 69 * 16 + 12, 4, 0);
  EXPECT_EQ(bus.messages.size(), 3u);
  probe.fire(70);  // there is none
  EXPECT_EQ(bus.messages.size(), 3u);
  // Switching off forgets what is held.
  probe.mask_message(VectorKind::msix, 69, true);
  probe.fire(69);
  probe.config_write(cap + 2u, 2, 0);
  EXPECT_FALSE(probe.message_pending(VectorKind::msix, 69));
}

TEST_F(ModelPciFunction, MessagesNeedBusMastering) {
  const std::uint8_t cap = capability(0x11);
  probe.config_write(4, 2, 2);
  probe.config_write(cap + 2u, 2, 0x8000);
  probe.mask_message(VectorKind::msix, 0, false);
  probe.fire(0);
  EXPECT_TRUE(bus.messages.empty());
  EXPECT_EQ(bus.refused, 1u);
  EXPECT_EQ(code(probe.put<std::uint32_t>(0, 1)), EPERM);
  EXPECT_EQ(bus.refused, 2u);
}

TEST_F(ModelPciFunction, MsiBlockMaskAndPending) {
  const std::uint8_t cap = capability(0x05);
  ASSERT_NE(cap, 0);
  EXPECT_EQ(probe.config_read(cap + 2u, 2), 0x0184u);
  probe.config_write(4, 2, 4);
  probe.program_message(VectorKind::msi, 0, 0xfee02000, 0x40);
  probe.set_msi_block(2);
  probe.config_write(cap + 2u, 1, probe.config_read(cap + 2u, 1) | 1);
  probe.fire(3);
  ASSERT_EQ(bus.messages.size(), 1u);
  EXPECT_EQ(bus.messages[0], std::make_pair(std::uint64_t{0xfee02000}, 0x43u));
  probe.mask_message(VectorKind::msi, 2, true);
  probe.fire(2);
  probe.fire(2);
  EXPECT_EQ(bus.messages.size(), 1u);
  EXPECT_TRUE(probe.message_pending(VectorKind::msi, 2));
  EXPECT_EQ(probe.config_read(cap + 0x14u, 4), 4u);
  probe.config_write(cap + 0x10u, 4, 0);
  ASSERT_EQ(bus.messages.size(), 2u);
  EXPECT_EQ(bus.messages[1].second, 0x42u);
  // With one vector granted all of them share it.
  probe.set_msi_block(0);
  probe.fire(3);
  EXPECT_EQ(bus.messages.back().second, 0x40u);
}

TEST_F(ModelPciFunction, Msi32WithoutMask) {
  Probe plain(bus, make_sbdf(0, 0, 6, 0), {.msix = 0, .msi = 1, .msi_mask = false, .express = false});
  EXPECT_EQ(plain.config_size(), 256u);
  EXPECT_FALSE(plain.can_reset());
  EXPECT_FALSE(plain.can_mask(VectorKind::msi));
  const std::uint8_t cap = plain.config_read(0x34, 1);
  EXPECT_EQ(plain.config_read(cap, 1), 5u);
  EXPECT_EQ(plain.config_read(cap + 2u, 2), 0u);
  plain.config_write(4, 2, 4);
  plain.program_message(VectorKind::msi, 0, 0xfee03000, 0x99);
  plain.config_write(cap + 2u, 2, 1);
  plain.fire(0);
  ASSERT_EQ(bus.messages.size(), 1u);
  EXPECT_EQ(bus.messages[0], std::make_pair(std::uint64_t{0xfee03000}, 0x99u));
}

TEST_F(ModelPciFunction, IntxStatusDisableAndMessages) {
  EXPECT_TRUE(probe.would_use_intx());
  probe.level(true);
  EXPECT_TRUE(probe.intx_asserted());
  EXPECT_EQ(probe.config_read(6, 2) & 8u, 8u);
  probe.config_write(4, 2, 0x400);
  EXPECT_FALSE(probe.intx_asserted());
  EXPECT_EQ(probe.config_read(6, 2) & 8u, 8u);  // the device still wants it
  probe.config_write(4, 2, 0);
  const std::uint8_t cap = capability(0x11);
  probe.config_write(cap + 2u, 2, 0x8000);
  EXPECT_FALSE(probe.intx_asserted());
  probe.config_write(cap + 2u, 2, 0);
  probe.level(false);
  EXPECT_EQ(bus.pin, (std::vector<bool>{true, false, true, false, true, false}));
}

TEST_F(ModelPciFunction, Resets) {
  const std::uint8_t express = capability(0x10);
  ASSERT_NE(express, 0);
  EXPECT_EQ(probe.config_read(express + 4u, 4) >> 28 & 1, 1u);
  const std::uint8_t msix = capability(0x11);
  const auto prepare = [&] {
    probe.config_write(0x10, 4, 0xe0000000);
    probe.config_write(4, 2, 6);
    probe.program_message(VectorKind::msix, 3, 0xfee01000, 42);
    probe.config_write(msix + 2u, 2, 0x8000);
    probe.fire(3);  // masked: pending
    EXPECT_TRUE(probe.message_pending(VectorKind::msix, 3));
  };
  prepare();
  probe.reset();
  EXPECT_EQ(probe.resets, 1u);
  EXPECT_EQ(probe.bar(0).address, 0xe0000000u);
  EXPECT_EQ(probe.config_read(4, 2), 6u);
  EXPECT_FALSE(probe.message_pending(VectorKind::msix, 3));
  EXPECT_EQ(probe.bar_read(0, 0x4000 + 3 * 16, 4), 0xfee01000u);

  // By the bit in Device Control, one byte or two wide.
  for (const unsigned width : {2u, 1u}) {
    prepare();
    if (width == 2)
      probe.config_write(express + 8u, 2, 0x8000);
    else
      probe.config_write(express + 9u, 1, 0x80);
    EXPECT_EQ(probe.bar(0).address, 0u);
    EXPECT_EQ(probe.config_read(4, 2), 0u);
    EXPECT_EQ(probe.config_read(express + 8u, 2), 0u);
    EXPECT_EQ(probe.config_read(msix + 2u, 2), 69u);
    probe.config_write(4, 2, 2);
    EXPECT_EQ(probe.bar_read(0, 0x4000 + 3 * 16, 8), 0u);
    EXPECT_EQ(probe.bar_read(0, 0x4000 + 3 * 16 + 12, 4), 1u);
  }
  EXPECT_EQ(probe.resets, 3u);
}

TEST_F(ModelPciFunction, ThreadSleepsAndWakes) {
  using namespace std::chrono_literals;
  ASSERT_TRUE(probe.start());
  // Nothing mapped: it comes to rest.
  const auto resting = [&] {
    for (int i = 0; i < 200; ++i) {
      const unsigned before = probe.polls;
      std::this_thread::sleep_for(10ms);
      if (probe.polls == before) return true;
    }
    return false;
  };
  EXPECT_TRUE(resting());
  const unsigned before = probe.polls;
  probe.wake();
  for (int i = 0; i < 1000 && probe.polls == before; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_GT(probe.polls, before);
  // A store of the program is seen without anybody telling.
  probe.bar_mapped(0, true);
  std::this_thread::sleep_for(20ms);
  __atomic_store_n(reinterpret_cast<unsigned*>(probe.memory(0)), 99u, __ATOMIC_RELAXED);
  for (int i = 0; i < 1000 && probe.seen != 99; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(probe.seen, 99u);
  probe.bar_mapped(0, false);
  EXPECT_TRUE(resting());
  probe.stop();
  probe.stop();
  ASSERT_TRUE(probe.start());
}

}  // namespace
}  // namespace pviommu::model
