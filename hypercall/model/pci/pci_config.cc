// SPDX-License-Identifier: LGPL-2.1-or-later
// The configuration space of a modelled function.
//
// Three masks of the same layout decide what a register does:
//
//   config_        what is read
//   writable_      bits that take the written value
//   write_clears_  bits that a written 1 clears (PCI "RW1C")
//
// Sizing of BARs needs no code: the address bits below the BAR's size are not
// writable and read 0, so all ones written read back as the size's complement
// (PCI Local Bus Specification 3.0, 6.2.5.1).
#include <cstring>

#include "hypercall/model/pci/pci_function.h"
#include "hypercall/model/pci/pci_function_entry.h"
#include "hypercall/model/pci/pci_registers.h"

namespace pviommu::model {
namespace {

constexpr std::size_t kHeader = 64;

}  // namespace

void PciFunction::put(std::size_t offset, unsigned width, std::uint32_t value) {
  for (unsigned i = 0; i < width; ++i) config_[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
}

std::uint32_t PciFunction::get(std::size_t offset, unsigned width) const {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= std::uint32_t{config_[offset + i]} << (8 * i);
  return value;
}

void PciFunction::allow(std::size_t offset, unsigned width, std::uint32_t mask) {
  for (unsigned i = 0; i < width; ++i) writable_[offset + i] |= static_cast<std::uint8_t>(mask >> (8 * i));
}

PciFunction::PciFunction(Bus& bus, Sbdf sbdf, FunctionIdentity identity)
    : bus_(bus), sbdf_(sbdf), identity_(std::move(identity)) {
  put(reg::kVendor, 2, identity_.vendor);
  put(reg::kDevice, 2, identity_.device);
  put(reg::kRevision, 1, identity_.revision);
  put(reg::kRevision + 1, 2, identity_.class_code);
  put(reg::kRevision + 3, 1, identity_.class_code >> 16);
  put(reg::kSubsystemVendor, 2, identity_.subsystem_vendor);
  put(reg::kSubsystem, 2, identity_.subsystem_device);
  // The I/O bit is there without ports, too, as on QEMU's devices.
  allow(reg::kCommand, 2, reg::kCommandIo | reg::kCommandMaster | reg::kCommandSerr);
  write_clears_[reg::kStatus + 1] = reg::kStatusErrors >> 8;
  allow(reg::kCacheLine, 1, 0xff);
  allow(reg::kInterruptLine, 1, 0xff);
  // What is in no capability is memory on QEMU's devices.
  std::memset(&writable_[kHeader], 0xff, writable_.size() - kHeader);
}

// PCI Express Base Specification, 7.5.3: the capability up to Link Status 2, as QEMU's
// devices have it.
void PciFunction::add_express(unsigned version) {
  std::array<std::uint8_t, reg::kExpressSize - 2> body{};
  std::array<std::uint8_t, reg::kExpressSize - 2> mask{};
  auto set = [](auto& bytes, std::size_t offset, unsigned width, std::uint32_t value) {
    for (unsigned i = 0; i < width; ++i) bytes[offset - 2 + i] = static_cast<std::uint8_t>(value >> (8 * i));
  };
  // On bus 0 a function is part of the root complex.
  set(body, reg::kExpressFlags, 2, (on_root_bus() ? 0x0090u : 0u) | version);
  set(body, reg::kExpressDevCap, 4, reg::kDevCapRoleBasedErrors | (identity_.flr ? reg::kDevCapFlr : 0));
  set(body, reg::kExpressLinkCap, 4, 0x0411);  // 2.5 GT/s, one lane, L0s
  set(body, reg::kExpressLinkSta, 2, 0x0011);
  if (version > 1) {
    set(body, reg::kExpressDevCap2, 4, reg::kDevCap2Prefixes);
    set(mask, reg::kExpressDevCtl2, 2, reg::kDevCtl2BlockPrefixes);
  }
  const std::size_t size = (version > 1 ? reg::kExpressSize : reg::kExpress1Size) - 2;
  express_ = add_capability(reg::kCapExpress, std::span(body).first(size), std::span(mask).first(size));
  write_clears_[express_ + reg::kExpressDevSta] = 0x0f;
}

void PciFunction::add_bar(unsigned index, std::uint64_t size, BarOptions options) {
  Bar& bar = bars_[index];
  bar.size = size;
  bar.options = options;
  const std::size_t offset = reg::kBar0 + 4 * index;
  const std::uint64_t address_bits = ~(size - 1);
  if (options.io) {
    put(offset, 4, 1);
    allow(offset, 4, static_cast<std::uint32_t>(address_bits) & ~3u);
    allow(reg::kCommand, 2, reg::kCommandIo);
    return;
  }
  put(offset, 4, (options.is_64bit ? 4u : 0u) | (options.prefetchable ? 8u : 0u));
  allow(offset, 4, static_cast<std::uint32_t>(address_bits) & ~15u);
  if (options.is_64bit) allow(offset + 4, 4, static_cast<std::uint32_t>(address_bits >> 32));
  allow(reg::kCommand, 2, reg::kCommandMemory);
  make_bar_memory(index);
}

void PciFunction::add_rom(std::vector<std::byte> rom) {
  rom_ = std::move(rom);
  allow(reg::kRom, 4, static_cast<std::uint32_t>(~(rom_.size() - 1)) | reg::kRomEnable);
  allow(reg::kCommand, 2, reg::kCommandMemory);
}

void PciFunction::set_interrupt_pin(unsigned pin) {
  put(reg::kInterruptPin, 1, pin);
  if (pin != 0) allow(reg::kCommand, 2, reg::kCommandIntxDisable);
}

std::uint8_t PciFunction::add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                         std::span<const std::uint8_t> write_mask) {
  const std::uint8_t offset = next_free_;
  put(offset, 1, id);
  std::memcpy(&config_[offset + 2u], body.data(), body.size());
  std::memset(&writable_[offset], 0, 2 + body.size());
  if (!write_mask.empty()) std::memcpy(&writable_[offset + 2u], write_mask.data(), write_mask.size());
  // Appended, so that the list has the order of the constructor's calls.
  put(last_capability_ == 0 ? reg::kCapabilities : last_capability_ + 1u, 1, offset);
  config_[reg::kStatus] |= reg::kStatusCapabilities;
  last_capability_ = offset;
  next_free_ = static_cast<std::uint8_t>((offset + 2 + body.size() + 3) & ~std::size_t{3});
  return offset;
}

void PciFunction::add_extended_capability(std::size_t offset, std::initializer_list<ExtendedWord> words) {
  for (const ExtendedWord& word : words) {
    put(offset, 4, word.value);
    std::memset(&writable_[offset], 0, 4);
    allow(offset, 4, word.writable);
    offset += 4;
  }
}

std::uint32_t PciFunction::config_read(std::size_t offset, unsigned width) {
  Entry entry(*this);
  return get(offset, width);
}

void PciFunction::config_write(std::size_t offset, unsigned width, std::uint32_t value) {
  Entry entry(*this);
  const bool messages_before = msi_enabled() || msix_enabled();
  for (unsigned i = 0; i < width; ++i) {
    const std::size_t at = offset + i;
    const auto byte = static_cast<std::uint8_t>(value >> (8 * i));
    config_[at] = static_cast<std::uint8_t>((config_[at] & ~writable_[at]) | (byte & writable_[at]));
    config_[at] &= static_cast<std::uint8_t>(~(byte & write_clears_[at]));
  }
  // Initiate Function Level Reset reads as 0 (7.5.3.4), so it is not stored.
  if (identity_.flr && express_ != 0 && offset <= express_ + reg::kExpressDevCtl + 1u &&
      express_ + reg::kExpressDevCtl + 1u < offset + width) {
    const std::size_t high = express_ + reg::kExpressDevCtl + 1u - offset;
    if (value >> (8 * high) & (reg::kDevCtlFlr >> 8)) {
      full_reset();
      return;
    }
  }
  decode_changed();
  update_pin();
  // What was held when messages were switched off has no vector any more.
  if (messages_before && !msi_enabled() && !msix_enabled()) drop_pending();
  send_pending();
}

void PciFunction::decode_changed() {
  const auto command = static_cast<std::uint16_t>(get(reg::kCommand, 2));
  const auto before = command_.exchange(command, std::memory_order_acq_rel);
  // Work that had to wait for bus mastering can go on.
  if (command & ~before & reg::kCommandMaster) kick();
  for (unsigned i = 0; i < kPciBars; ++i) {
    if (bars_[i].size == 0) continue;
    const std::size_t offset = reg::kBar0 + 4 * i;
    std::uint64_t address = get(offset, 4) & (bars_[i].options.io ? ~3u : ~15u);
    if (bars_[i].options.is_64bit) address |= std::uint64_t{get(offset + 4, 4)} << 32;
    bars_[i].address.store(address, std::memory_order_relaxed);
  }
}

void PciFunction::cold_reset() {
  Entry entry(*this);
  full_reset();
}

void PciFunction::reset() {
  Entry entry(*this);
  device_reset();
  drop_pending();
  level_ = false;
  update_pin();
}

// What the hardware does by itself: everything the software programmed is gone.
void PciFunction::full_reset() {
  device_reset();
  drop_pending();
  level_ = false;
  put(reg::kCommand, 2, 0);
  put(reg::kInterruptLine, 1, 0);
  put(reg::kCacheLine, 1, 0);
  for (std::size_t i = reg::kBar0; i < reg::kBar0 + 4 * kPciBars; ++i)
    config_[i] &= static_cast<std::uint8_t>(~writable_[i]);
  if (msi_ != 0)
    for (unsigned i = 2; i < reg::msi_size(msi_64bit_, msi_maskable_); ++i)
      config_[msi_ + i] &= static_cast<std::uint8_t>(~writable_[msi_ + i]);
  if (msix_ != 0) {
    config_[msix_ + 3u] &= static_cast<std::uint8_t>(~writable_[msix_ + 3u]);
    clear_msix_table();
  }
  if (express_ != 0) put(express_ + reg::kExpressDevCtl, 2, 0);
  decode_changed();
  update_pin();
}

}  // namespace pviommu::model
