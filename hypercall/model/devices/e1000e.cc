// SPDX-License-Identifier: LGPL-2.1-or-later
// The registers of QEMU's e1000e without a network behind them: a function that has
// what PCI functions can have.
//
//   BAR0, BAR1   128 KiB of memory     configuration space 4096 bytes: Express, PM,
//   BAR2         32 I/O ports          MSI (1), MSI-X (5), AER
//   BAR3         16 KiB, MSI-X table   resets by going from D3hot to D0
//   ROM          256 KiB
//
// What is written is read back; nothing else happens.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "hypercall/model/devices/device_factory.h"
#include "hypercall/model/pci/pci_registers.h"

namespace pviommu::model {
namespace {

constexpr unsigned kRegisters = 0, kFlash = 1, kPorts = 2, kVectors = 3;
constexpr std::uint64_t kRegistersSize = 0x20000, kFlashSize = 0x20000, kPortsSize = 0x20, kVectorsSize = 0x4000;
constexpr std::size_t kRomSize = 0x40000;
constexpr std::uint32_t kErrorReporting = 0x14020001;  // AER, version 2, next at 0x140
constexpr std::uint32_t kSerialNumber = 0x00010003;    // with the MAC address in it

FunctionIdentity identity_of_82574l() {
  FunctionIdentity identity;
  identity.vendor = 0x8086;
  identity.device = 0x10d3;
  identity.subsystem_vendor = 0x8086;
  identity.class_code = 0x020000;
  identity.express = true;
  identity.soft_reset = true;
  identity.description = "registers of an 82574L network card";
  return identity;
}

class E1000e final : public PciFunction {
 public:
  E1000e(Bus& bus, Sbdf sbdf) : PciFunction(bus, sbdf, identity_of_82574l()) {
    add_bar(kRegisters, kRegistersSize, {.mappable = true, .direct_bytes = kRegistersSize});
    add_bar(kFlash, kFlashSize, {.mappable = true, .direct_bytes = kFlashSize});
    add_bar(kPorts, kPortsSize, {.io = true});
    add_bar(kVectors, kVectorsSize, {.mappable = true, .direct_bytes = kVectorsSize});
    set_interrupt_pin(1);
    // Where QEMU's card has its capabilities.
    // PCI Power Management 1.2: version 2, PME from D0 and D3hot; state, PME enable, data select.
    constexpr std::array<std::uint8_t, 6> kPower{0x22, 0xc8}, kPowerWritable{0, 0, 0x03, 0x1f};
    next_capability_at(0xc8);
    add_capability(reg::kCapPower, kPower, kPowerWritable);
    add_msi(1, /*address_64bit=*/true, /*per_vector_mask=*/false);
    add_express(/*version=*/1);
    next_capability_at(0xa0);
    add_msix(5, kVectors, 0, kVectors, 0x2000);
    // Status, mask (QEMU has none) and severity of what is fatal, status and mask of what can be
    // corrected, ECRC, logs (PCIe 5.0, 7.8.4).
    constexpr std::uint32_t kFatal = 0x03fff030, kCorrectable = 0x0000f1c1;
    add_extended_capability(0x100, {{kErrorReporting}, {}, {}, {0x00462030, kFatal}, {}, {0x0000e000, kCorrectable},
                                    {0x000000a0, 0x140}, {}, {}, {}, {}, {}, {}, {}, {}, {}});
    add_extended_capability(0x140, {{kSerialNumber}, {0xff123456}, {0x525400ff}});
    std::vector<std::byte> rom(kRomSize);
    rom[0] = std::byte{0x55};
    rom[1] = std::byte{0xaa};
    add_rom(std::move(rom));
  }
  ~E1000e() override { stop(); }

 private:
  // Byte by byte: the program may store into the memory at the same time.
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i)
      value |= std::uint64_t{place(bar, offset + i).load(std::memory_order_relaxed)} << (8 * i);
    return value;
  }
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override {
    for (unsigned i = 0; i < width; ++i)
      place(bar, offset + i).store(static_cast<std::uint8_t>(value >> (8 * i)), std::memory_order_relaxed);
  }
  void device_reset() override {
    ports_.fill(0);
    auto* registers = reinterpret_cast<std::uint64_t*>(bar_memory(kRegisters));
    for (std::size_t i = 0; i < kRegistersSize / sizeof *registers; ++i)
      std::atomic_ref(registers[i]).store(0, std::memory_order_relaxed);
  }
  bool poll() override { return false; }

  std::atomic_ref<std::uint8_t> place(unsigned bar, std::uint64_t offset) {
    std::uint8_t* memory = bar == kPorts ? ports_.data() : reinterpret_cast<std::uint8_t*>(bar_memory(bar));
    return std::atomic_ref<std::uint8_t>(memory[offset]);
  }

  std::array<std::uint8_t, kPortsSize> ports_{};
};

}  // namespace

Result<std::unique_ptr<PciFunction>> make_e1000e(Bus& bus, Sbdf sbdf, ConfReader&) {
  return std::unique_ptr<PciFunction>(std::make_unique<E1000e>(bus, sbdf));
}

}  // namespace pviommu::model
