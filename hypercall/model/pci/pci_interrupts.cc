// SPDX-License-Identifier: LGPL-2.1-or-later
// INTx, MSI and MSI-X of a modelled function.
//
// The MSI-X table and the pending bit array lie in BAR memory, where hardware
// has them; whoever can store there changes what is sent, which is why the bus
// checks every message (Bus::message).
#include <algorithm>
#include <bit>

#include "hypercall/model/pci/pci_function.h"
#include "hypercall/model/pci/pci_function_entry.h"
#include "hypercall/model/pci/pci_registers.h"
#include "hypercall/statistics.h"

namespace pviommu::model {
namespace {

std::uint32_t load(const std::uint32_t* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
void store(std::uint32_t* word, std::uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

}  // namespace

void PciFunction::add_msi(unsigned vectors, bool address_64bit, bool per_vector_mask) {
  const unsigned log2 = static_cast<unsigned>(std::countr_zero(std::bit_ceil(vectors)));
  msi_vectors_ = 1u << log2;
  msi_64bit_ = address_64bit;
  msi_maskable_ = per_vector_mask;
  std::array<std::uint8_t, 0x18> body{};
  const std::uint16_t control = static_cast<std::uint16_t>(log2 << 1 | (address_64bit ? reg::kMsi64 : 0) |
                                                           (per_vector_mask ? reg::kMsiMaskable : 0));
  body[0] = static_cast<std::uint8_t>(control);
  body[1] = static_cast<std::uint8_t>(control >> 8);
  const std::size_t size = reg::msi_size(address_64bit, per_vector_mask) - 2;
  msi_ = add_capability(reg::kCapMsi, std::span(body).first(size), {});
  allow(msi_ + reg::kMsiControl, 2, reg::kMsiEnable | 0x70);
  allow(msi_ + reg::kMsiAddress, 4, ~3u);
  if (address_64bit) allow(msi_ + reg::kMsiAddress + 4, 4, ~0u);
  allow(msi_ + reg::msi_data(address_64bit), 2, 0xffff);
  if (per_vector_mask)
    allow(msi_ + reg::msi_mask(address_64bit), 4, msi_vectors_ == 32 ? ~0u : (1u << msi_vectors_) - 1);
}

void PciFunction::add_msix(unsigned vectors, unsigned table_bar, std::uint32_t table_offset, unsigned pba_bar,
                           std::uint32_t pba_offset) {
  msix_vectors_ = vectors;
  msix_table_bar_ = table_bar;
  msix_table_offset_ = table_offset;
  msix_pba_bar_ = pba_bar;
  msix_pba_offset_ = pba_offset;
  const std::array<std::uint8_t, 10> body{};
  msix_ = add_capability(reg::kCapMsix, body, {});
  put(msix_ + reg::kMsixControl, 2, vectors - 1);
  put(msix_ + reg::kMsixTable, 4, table_offset | table_bar);
  put(msix_ + reg::kMsixPba, 4, pba_offset | pba_bar);
  allow(msix_ + reg::kMsixControl, 2, reg::kMsixEnable | reg::kMsixFunctionMask);
  clear_msix_table();
}

void PciFunction::clear_msix_table() {
  for (unsigned i = 0; i < msix_vectors_; ++i) {
    std::uint32_t* entry = msix_entry(i);
    for (unsigned word = 0; word < 3; ++word) store(&entry[word], 0);
    store(&entry[3], reg::kMsixEntryMasked);  // state after reset (7.7.2.6)
  }
}

std::uint32_t* PciFunction::msix_entry(unsigned index) const {
  return reinterpret_cast<std::uint32_t*>(bars_[msix_table_bar_].memory + msix_table_offset_ +
                                          index * reg::kMsixEntrySize);
}

std::uint32_t* PciFunction::msix_pending_word(unsigned index) const {
  return reinterpret_cast<std::uint32_t*>(bars_[msix_pba_bar_].memory + msix_pba_offset_) + index / 32;
}

bool PciFunction::in_msix_table(unsigned index, std::uint64_t offset, unsigned width) const {
  return msix_ != 0 && index == msix_table_bar_ && offset + width > msix_table_offset_ &&
         offset < msix_table_offset_ + std::uint64_t{msix_vectors_} * reg::kMsixEntrySize;
}

bool PciFunction::in_msix_pba(unsigned index, std::uint64_t offset, unsigned width) const {
  return msix_ != 0 && index == msix_pba_bar_ && offset + width > msix_pba_offset_ &&
         offset < msix_pba_offset_ + std::uint64_t{(msix_vectors_ + 63) / 64} * 8;
}

bool PciFunction::msi_enabled() const {
  return msi_ != 0 && (get(msi_ + reg::kMsiControl, 2) & reg::kMsiEnable) != 0;
}

bool PciFunction::msix_enabled() const {
  return msix_ != 0 && (get(msix_ + reg::kMsixControl, 2) & reg::kMsixEnable) != 0;
}

bool PciFunction::msix_masked(unsigned index) const {
  return (get(msix_ + reg::kMsixControl, 2) & reg::kMsixFunctionMask) != 0 ||
         (load(&msix_entry(index)[3]) & reg::kMsixEntryMasked) != 0;
}

// A message is a memory write like any other: no bus mastering, no message.
void PciFunction::send(std::uint64_t address, std::uint32_t data) {
  if (!bus_master()) {
    bus_.bus_master_off(sbdf_, Iova(address), Access::write);
    return;
  }
  bus_.message(sbdf_, address, data);
}

void PciFunction::send_msix(unsigned index) {
  const std::uint32_t* entry = msix_entry(index);
  send(std::uint64_t{load(&entry[1])} << 32 | load(&entry[0]), load(&entry[2]));
}

void PciFunction::send_msi(unsigned index) {
  std::uint64_t address = get(msi_ + reg::kMsiAddress, 4);
  if (msi_64bit_) address |= std::uint64_t{get(msi_ + reg::kMsiAddress + 4, 4)} << 32;
  send(address, get(msi_ + reg::msi_data(msi_64bit_), 2) + index);
}

void PciFunction::raise(unsigned index) {
  if (msix_enabled()) {
    if (index >= msix_vectors_) return;
    if (msix_masked(index)) {
      std::uint32_t* word = msix_pending_word(index);
      store(word, load(word) | 1u << index % 32);
      statistics().interrupts_held.fetch_add(1, std::memory_order_relaxed);
    } else {
      send_msix(index);
    }
    return;
  }
  if (!msi_enabled()) return;
  // With fewer vectors granted than implemented the function shares them (7.7.1.2).
  const unsigned granted = std::min(msi_vectors_, 1u << (get(msi_ + reg::kMsiControl, 2) >> 4 & 7));
  index &= granted - 1;
  if (msi_maskable_ && (get(msi_ + reg::msi_mask(msi_64bit_), 4) >> index & 1) != 0) {
    const std::size_t pending = msi_ + reg::msi_pending(msi_64bit_);
    put(pending, 4, get(pending, 4) | 1u << index);
    statistics().interrupts_held.fetch_add(1, std::memory_order_relaxed);
  } else {
    send_msi(index);
  }
}

// After anything that may have unmasked a vector.
void PciFunction::send_pending() {
  if (msix_enabled()) {
    for (unsigned i = 0; i < msix_vectors_; ++i) {
      std::uint32_t* word = msix_pending_word(i);
      if ((load(word) >> i % 32 & 1) == 0 || msix_masked(i)) continue;
      store(word, load(word) & ~(1u << i % 32));
      send_msix(i);
    }
  } else if (msi_enabled() && msi_maskable_) {
    const std::size_t pending = msi_ + reg::msi_pending(msi_64bit_);
    std::uint32_t ready = get(pending, 4) & ~get(msi_ + reg::msi_mask(msi_64bit_), 4);
    put(pending, 4, get(pending, 4) & ~ready);
    for (; ready != 0; ready &= ready - 1) send_msi(static_cast<unsigned>(std::countr_zero(ready)));
  }
}

void PciFunction::drop_pending() {
  for (unsigned i = 0; i < msix_vectors_; i += 32) store(msix_pending_word(i), 0);
  if (msi_maskable_) put(msi_ + reg::msi_pending(msi_64bit_), 4, 0);
}

unsigned PciFunction::vector_count(VectorKind kind) const {
  switch (kind) {
    case VectorKind::intx:
      return config_[reg::kInterruptPin] != 0 ? 1 : 0;
    case VectorKind::msi:
      return msi_vectors_;
    case VectorKind::msix:
      return msix_vectors_;
  }
  return 0;
}

bool PciFunction::can_mask(VectorKind kind) const {
  return kind == VectorKind::msix ? msix_ != 0 : kind == VectorKind::msi && msi_maskable_;
}

void PciFunction::program_message(VectorKind kind, unsigned index, std::uint64_t address,
                                  std::uint32_t data) {
  Entry entry(*this);
  if (kind == VectorKind::msix && index < msix_vectors_) {
    std::uint32_t* words = msix_entry(index);
    store(&words[0], static_cast<std::uint32_t>(address));
    store(&words[1], static_cast<std::uint32_t>(address >> 32));
    store(&words[2], data);
  } else if (kind == VectorKind::msi && msi_ != 0 && index == 0) {
    put(msi_ + reg::kMsiAddress, 4, static_cast<std::uint32_t>(address));
    if (msi_64bit_) put(msi_ + reg::kMsiAddress + 4, 4, static_cast<std::uint32_t>(address >> 32));
    put(msi_ + reg::msi_data(msi_64bit_), 2, data);
  }
}

void PciFunction::set_msi_block(unsigned log2_vectors) {
  Entry entry(*this);
  if (msi_ == 0) return;
  put(msi_ + reg::kMsiControl, 2, (get(msi_ + reg::kMsiControl, 2) & ~0x70u) | log2_vectors << 4);
}

void PciFunction::mask_message(VectorKind kind, unsigned index, bool masked) {
  Entry entry(*this);
  if (kind == VectorKind::msix && index < msix_vectors_) {
    std::uint32_t* control = &msix_entry(index)[3];
    store(control, (load(control) & ~reg::kMsixEntryMasked) | (masked ? reg::kMsixEntryMasked : 0));
  } else if (kind == VectorKind::msi && msi_maskable_ && index < msi_vectors_) {
    const std::size_t mask = msi_ + reg::msi_mask(msi_64bit_);
    put(mask, 4, (get(mask, 4) & ~(1u << index)) | (masked ? 1u << index : 0));
  }
  if (!masked) send_pending();
}

bool PciFunction::message_pending(VectorKind kind, unsigned index) {
  Entry entry(*this);
  if (kind == VectorKind::msix && index < msix_vectors_)
    return (load(msix_pending_word(index)) >> index % 32 & 1) != 0;
  if (kind == VectorKind::msi && msi_maskable_ && index < msi_vectors_)
    return (get(msi_ + reg::msi_pending(msi_64bit_), 4) >> index & 1) != 0;
  return false;
}

void PciFunction::forget_message(VectorKind kind, unsigned index) {
  Entry entry(*this);
  if (kind == VectorKind::msix && index < msix_vectors_) {
    std::uint32_t* word = msix_pending_word(index);
    store(word, load(word) & ~(1u << index % 32));
    std::uint32_t* control = &msix_entry(index)[3];
    store(control, load(control) & ~reg::kMsixEntryMasked);
  } else if (kind == VectorKind::msi && msi_maskable_ && index < msi_vectors_) {
    const std::size_t mask = msi_ + reg::msi_mask(msi_64bit_), pending = msi_ + reg::msi_pending(msi_64bit_);
    put(mask, 4, get(mask, 4) & ~(1u << index));
    put(pending, 4, get(pending, 4) & ~(1u << index));
  }
}

bool PciFunction::uses_intx() const {
  return config_[reg::kInterruptPin] != 0 && !msi_enabled() && !msix_enabled();
}

void PciFunction::set_intx(bool asserted) {
  level_ = asserted;
  update_pin();
}

// The status bit shows what the device wants; the disable bit and the message
// capabilities only keep it from the pin (PCI 3.0, 6.2.3).
void PciFunction::update_pin() {
  config_[reg::kStatus] = static_cast<std::uint8_t>((config_[reg::kStatus] & ~reg::kStatusInterrupt) |
                                                    (level_ ? reg::kStatusInterrupt : 0));
  const bool asserted = level_ && uses_intx() && (get(reg::kCommand, 2) & reg::kCommandIntxDisable) == 0;
  if (asserted == pin_asserted_) return;
  pin_asserted_ = asserted;
  bus_.intx(sbdf_, asserted);
}

bool PciFunction::intx_asserted() {
  Entry entry(*this);
  return pin_asserted_;
}

}  // namespace pviommu::model
