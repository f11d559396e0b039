// SPDX-License-Identifier: LGPL-2.1-or-later
// A device of the model on the bus of a guest that the test plays: it finds the
// BARs, places them, and programs MSI and MSI-X as a kernel does.
#include <linux/pci_regs.h>

#include <set>

#include "hypercall/statistics.h"
#include "vfio-glue/guest/guest_device.h"
#include "vfio_engine_rig.h"

namespace pviommu::vfio {
namespace {

struct FakeBus final : GuestBus {
  Domid guest() const override { return Domid(7); }
  Status add(Sbdf, GuestFunction&) override { return {}; }
  Status trap(const IovaRange& range) override {
    if (refuse) return Error{ENOSPC, "trap"};
    EXPECT_TRUE(trapped.emplace(range.first().raw(), range.size()).second);
    return {};
  }
  Status untrap(const IovaRange& range) override {
    return trapped.erase({range.first().raw(), range.size()}) ? Status() : Status(Error{ENOENT, "untrap"});
  }
  Result<End> serve(int) override { return End::stopped; }
  std::set<std::pair<std::uint64_t, std::uint64_t>> trapped;
  bool refuse = false;
};

constexpr Domid kGuest{7};

struct Guest {
  explicit Guest(const char* name) {
    auto opened = GuestDevice::open(*rig.engine, bus, *parse_sbdf(name), kGuest);
    EXPECT_TRUE(opened) << to_string(opened.error());
    if (opened) device = std::move(*opened);
  }
  std::uint32_t read(std::size_t offset, unsigned width = 4) { return device->config_read(offset, width); }
  void write(std::size_t offset, unsigned width, std::uint32_t value) { device->config_write(offset, width, value); }
  std::size_t capability(std::uint8_t id) {
    for (std::size_t at = read(PCI_CAPABILITY_LIST, 1); at != 0; at = read(at + 1, 1))
      if (read(at, 1) == id) return at;
    return 0;
  }
  std::uint64_t interrupts(std::uint8_t gvec) {
    std::uint64_t sum = 0;
    for (const auto& interrupt : rig.model->guest_interrupts(kGuest))
      if (interrupt.gvec == gvec) sum += interrupt.count;
    return sum;
  }
  /// Arrivals at the guest's event channel of a pirq.
  std::uint64_t channel(std::uint32_t pirq) {
    for (const auto& interrupt : rig.model->guest_interrupts(kGuest))
      if (interrupt.gvec == 0 && interrupt.gflags == pirq) return interrupt.count;
    return 0;
  }
  std::uint64_t pages() const { return statistics().live_pages(); }

  EngineRig rig;
  FakeBus bus;
  std::unique_ptr<GuestDevice> device;
};

TEST(GuestDevice, IsFoundAndSized) {
  Guest guest("0000:00:05.0");
  EXPECT_EQ(guest.read(PCI_VENDOR_ID, 2), 0x1b36u);
  EXPECT_EQ(guest.read(PCI_INTERRUPT_PIN, 1), 0u);
  EXPECT_EQ(guest.read(PCI_ROM_ADDRESS), 0u);
  guest.write(PCI_BASE_ADDRESS_0, 4, ~0u);
  EXPECT_EQ(guest.read(PCI_BASE_ADDRESS_0), 0xffffc004u);
  EXPECT_EQ(guest.read(0xffe, 4), ~0u) << "behind the end";
}

TEST(GuestDevice, BarsFollowDecodingAndAddress) {
  Guest guest("0000:00:05.0");
  const std::uint64_t before = guest.pages();
  guest.write(PCI_COMMAND, 2, 0);
  guest.write(PCI_BASE_ADDRESS_0 + 4, 4, 0);
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0000000);
  EXPECT_EQ(guest.pages(), before);
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  // Registers, the table's page, pending bits.
  EXPECT_EQ(guest.pages(), before + 3);
  EXPECT_EQ(guest.bus.trapped, (std::set<std::pair<std::uint64_t, std::uint64_t>>{{0xf0002000, 0x1000}}));
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0010000);
  EXPECT_EQ(guest.bus.trapped, (std::set<std::pair<std::uint64_t, std::uint64_t>>{{0xf0012000, 0x1000}}));
  // Asked for its size while it decodes: not a place.
  guest.write(PCI_BASE_ADDRESS_0, 4, ~0u);
  EXPECT_EQ(guest.pages(), before);
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0010000);
  EXPECT_EQ(guest.pages(), before + 3);
  guest.write(PCI_COMMAND, 2, 0);
  EXPECT_EQ(guest.pages(), before);
  EXPECT_TRUE(guest.bus.trapped.empty());

  guest.bus.refuse = true;
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(guest.pages(), before) << "all or nothing";
  guest.bus.refuse = false;
  guest.write(PCI_COMMAND, 2, 0);
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  guest.device.reset();
  EXPECT_EQ(guest.pages(), before);
  EXPECT_TRUE(guest.bus.trapped.empty());
}

TEST(GuestDevice, Msi) {
  Guest guest("0000:00:06.0");
  const std::size_t msi = guest.capability(PCI_CAP_ID_MSI);
  ASSERT_NE(msi, 0u);
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0000000);
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  EXPECT_TRUE(guest.bus.trapped.empty());
  guest.write(msi + 4, 4, 0xfee01004);
  guest.write(msi + 8, 4, 0);
  guest.write(msi + 12, 2, 0x4051);
  EXPECT_EQ(guest.read(msi + 4), 0xfee01004u);
  guest.write(msi + 2, 2, PCI_MSI_FLAGS_ENABLE);
  EXPECT_EQ(guest.read(msi + 2, 2) & PCI_MSI_FLAGS_ENABLE, 1u);
  // Not through the guest's own way to the registers, which is the hypervisor's.
  const auto fire = [&] {
    guest.device->memory_write(Iova(0xf0000060), 4, 1);
    guest.device->memory_write(Iova(0xf0000064), 4, 1);
  };
  fire();
  EXPECT_EQ(guest.interrupts(0x51), 1u);
  const auto seen = guest.rig.model->guest_interrupts(kGuest);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].gflags, 0x01u | 0x200u) << "destination 1, logical";
  // Another processor, while it is on.
  guest.write(msi + 12, 2, 0x4060);
  fire();
  EXPECT_EQ(guest.interrupts(0x60), 1u);
  EXPECT_EQ(guest.interrupts(0x51), 1u);
  guest.write(msi + 2, 2, 0);
  fire();
  EXPECT_EQ(guest.interrupts(0x60), 1u);
}

TEST(GuestDevice, MsixByItsTable) {
  Guest guest("0000:00:05.0");
  const std::size_t msix = guest.capability(PCI_CAP_ID_MSIX);
  ASSERT_NE(msix, 0u);
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0000000);
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  const auto table = [](unsigned entry, unsigned word) { return Iova(0xf0002000 + 16 * entry + 4 * word); };
  EXPECT_EQ(guest.device->memory_read(table(3, 3), 4), 1u) << "masked";
  guest.write(msix + 2, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  EXPECT_EQ(guest.read(msix + 2, 2) & 0xc000, 0xc000u);
  guest.device->memory_write(table(3, 0), 8, 0xfee00000);
  guest.device->memory_write(table(3, 2), 4, 0x71);
  guest.device->memory_write(table(3, 3), 4, 0);
  EXPECT_EQ(guest.device->memory_read(table(3, 2), 8), 0x71u);
  EXPECT_EQ(guest.device->memory_read(table(3, 0), 4), 0xfee00000u);

  const auto raise = [&](unsigned vector) {
    return guest.rig.model->raise_vector({*parse_sbdf("0000:00:05.0"), VectorKind::msix, vector});
  };
  EXPECT_FALSE(raise(3)) << "the function is masked";
  guest.write(msix + 2, 2, PCI_MSIX_FLAGS_ENABLE);
  EXPECT_TRUE(raise(3));
  EXPECT_EQ(guest.interrupts(0x71), 1u);
  EXPECT_FALSE(raise(2));
  guest.device->memory_write(table(3, 3), 4, 1);
  EXPECT_FALSE(raise(3));
  guest.device->memory_write(table(3, 2), 4, 0x72);
  guest.device->memory_write(table(3, 3), 4, 0);
  EXPECT_TRUE(raise(3));
  EXPECT_EQ(guest.interrupts(0x72), 1u);
  // One beyond those that were taken: all go on.
  guest.device->memory_write(table(9, 0), 8, 0xfee00000);
  guest.device->memory_write(table(9, 2), 4, 0x79);
  guest.device->memory_write(table(9, 3), 4, 0);
  EXPECT_TRUE(raise(9));
  EXPECT_TRUE(raise(3));
  EXPECT_EQ(guest.interrupts(0x79), 1u);
  EXPECT_EQ(guest.interrupts(0x72), 2u);
  guest.write(msix + 2, 2, 0);
  EXPECT_FALSE(raise(3));
}

// Linux as a guest on Xen: vector 0, the pirq where the destination would be.
constexpr std::uint32_t kExtInt = 0x700;
constexpr std::uint64_t message_of_pirq(std::uint32_t pirq) {
  return 0xfee00000u | (pirq & 0xff) << 12 | std::uint64_t{pirq & ~0xffu} << 32;
}

TEST(GuestDevice, MsiOfAPirq) {
  Guest guest("0000:00:06.0");
  const std::size_t msi = guest.capability(PCI_CAP_ID_MSI);
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0000000);
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  const auto fire = [&] {
    guest.device->memory_write(Iova(0xf0000060), 4, 1);
    guest.device->memory_write(Iova(0xf0000064), 4, 1);
  };
  const auto ask = [&](std::uint32_t pirq) {
    guest.write(msi + 2, 2, 0);
    guest.write(msi + 4, 4, static_cast<std::uint32_t>(message_of_pirq(pirq)));
    guest.write(msi + 8, 4, static_cast<std::uint32_t>(message_of_pirq(pirq) >> 32));
    guest.write(msi + 12, 2, kExtInt);
    guest.write(msi + 2, 2, PCI_MSI_FLAGS_ENABLE);
    fire();
  };
  ask(55);
  EXPECT_EQ(guest.channel(55), 1u);
  EXPECT_EQ(guest.read(msi + 4), 0xfee37000u);
  ask(0x4a7);
  EXPECT_EQ(guest.channel(0x4a7), 1u) << "more than eight bits";
  ask(0);
  EXPECT_EQ(guest.rig.model->guest_interrupts(kGuest).size(), 2u) << "no pirq, no vector";
  guest.write(msi + 12, 2, 0x51);
  fire();
  EXPECT_EQ(guest.interrupts(0x51), 1u);
  EXPECT_EQ(guest.channel(55), 1u);
}

TEST(GuestDevice, MsixOfPirqs) {
  Guest guest("0000:00:05.0");
  const std::size_t msix = guest.capability(PCI_CAP_ID_MSIX);
  guest.write(PCI_BASE_ADDRESS_0, 4, 0xf0000000);
  guest.write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  const auto write = [&](unsigned entry, std::uint32_t pirq) {
    const Iova at(0xf0002000 + 16 * entry);
    guest.device->memory_write(at, 8, message_of_pirq(pirq));
    guest.device->memory_write(Iova(at.raw() + 8), 4, kExtInt);
  };
  const auto raise = [&](unsigned vector) {
    return guest.rig.model->raise_vector({*parse_sbdf("0000:00:05.0"), VectorKind::msix, vector});
  };
  constexpr std::uint32_t kMasked = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
  // The order of Linux, which leaves the entries' mask bits set.
  guest.write(msix + 2, 2, kMasked);
  for (unsigned i = 0; i < 3; ++i) write(i, 55 - i);
  EXPECT_FALSE(raise(0)) << "the function is masked";
  const auto allocations = [] {
    return statistics().hypercalls[static_cast<std::size_t>(HypercallOp::allocate_vectors)].count.load();
  };
  const std::uint64_t before = allocations();
  guest.write(msix + 2, 2, PCI_MSIX_FLAGS_ENABLE);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_TRUE(raise(i));
    EXPECT_EQ(guest.channel(55 - i), 1u);
  }
  EXPECT_EQ(allocations(), before + 1) << "taken again, a vector is no longer its event channel's";
  // Fewer, the next time: what is left in the table is of pirqs that the guest has given back.
  guest.write(msix + 2, 2, 0);
  EXPECT_FALSE(raise(0));
  guest.write(msix + 2, 2, kMasked);
  write(0, 54);
  guest.write(msix + 2, 2, PCI_MSIX_FLAGS_ENABLE);
  EXPECT_TRUE(raise(0));
  EXPECT_EQ(guest.channel(54), 2u);
  EXPECT_FALSE(raise(1));
  // Beside them one of the local APIC's, with its mask bit.
  guest.device->memory_write(Iova(0xf0002010), 8, 0xfee00000);
  guest.device->memory_write(Iova(0xf0002018), 4, 0x71);
  EXPECT_FALSE(raise(1));
  guest.device->memory_write(Iova(0xf000201c), 4, 0);
  EXPECT_TRUE(raise(1));
  EXPECT_EQ(guest.interrupts(0x71), 1u);
}

TEST(GuestDevice, WhatCannotBeAttached) {
  EngineRig rig;
  FakeBus bus;
  const auto open = [&](const char* name) { return GuestDevice::open(*rig.engine, bus, *parse_sbdf(name), kGuest); };
  const auto nosuch = open("0000:00:09.0");
  ASSERT_FALSE(nosuch);
  EXPECT_EQ(nosuch.error().code, ENODEV);
  EXPECT_EQ(to_string(nosuch.error()), "there is no device 0000:00:09.0; `pviommu list` shows those there are");
  const auto first = open("0000:00:05.0");
  ASSERT_TRUE(first);
  const auto second = open("0000:00:05.0");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
  EXPECT_EQ(to_string(second.error()), "0000:00:05.0: its group cannot be had: Device or resource busy");
}

}  // namespace
}  // namespace pviommu::vfio
