// SPDX-License-Identifier: LGPL-2.1-or-later
// The driver's side of the virtio network card, for its tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "hypercall/model/devices/virtio_net.h"
#include "tests/unit/model_test_bus.h"

namespace pviommu::model::test {

inline constexpr std::uint64_t kBase = TestBus::kBase;
inline constexpr unsigned kSize = 256;
inline constexpr std::uint16_t kNext = 1, kWrite = 2, kIndirect = 4;
inline constexpr std::uint32_t kMergeable = 1u << 15, kIndirectFeature = 1u << 28;

/// The driver's end of one ring: 12 KiB at `base`, its buffers where the test likes.
struct Ring {
  TestBus* bus = nullptr;
  std::uint64_t base = 0;
  std::uint16_t avail = 0;  // idx as published
  std::uint16_t seen = 0;   // used elements taken

  struct Used {
    std::uint32_t id, bytes;
  };

  void descriptor(unsigned index, std::uint64_t address, std::uint32_t bytes, std::uint16_t flags = 0,
                  std::uint16_t next = 0) {
    at(base + 16 * index, address, bytes, flags, next);
  }
  void at(std::uint64_t place, std::uint64_t address, std::uint32_t bytes, std::uint16_t flags,
          std::uint16_t next) {
    bus->set<std::uint64_t>(place, address);
    bus->set<std::uint32_t>(place + 8, bytes);
    bus->set<std::uint16_t>(place + 12, flags);
    bus->set<std::uint16_t>(place + 14, next);
  }
  void offer(std::uint16_t head) {
    bus->set<std::uint16_t>(base + 4096 + 4 + 2 * (avail % kSize), head);
    set_avail(static_cast<std::uint16_t>(avail + 1));
  }
  void set_avail(std::uint16_t index) { bus->set<std::uint16_t>(base + 4096 + 2, avail = index); }
  void set_flags(std::uint16_t flags) { bus->set<std::uint16_t>(base + 4096, flags); }
  std::uint16_t used_flags() { return bus->get<std::uint16_t>(base + 8192); }
  std::uint16_t used_index() { return bus->get<std::uint16_t>(base + 8192 + 2); }
  unsigned ready() { return static_cast<std::uint16_t>(used_index() - seen); }
  Used take() {
    const std::uint64_t place = base + 8192 + 4 + 8 * (seen++ % kSize);
    return {bus->get<std::uint32_t>(place), bus->get<std::uint32_t>(place + 4)};
  }
};

class VirtioNetTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kRings = kBase;
  static constexpr std::uint64_t kTxBuffers = kBase + 0x10000;   // 2 KiB each
  static constexpr std::uint64_t kRxBuffers = kBase + 0x100000;  // 2 KiB each
  static constexpr std::uint32_t kBufferSize = 2048;

  VirtioNetTest() {
    net_.config_write(kCommand, 2, kCommandIo | kCommandMemory | kCommandMaster);
    for (unsigned i = 0; i < 3; ++i) ring_[i] = {&bus_, kRings + 0x4000 * i, 0, 0};
  }

  std::uint32_t in(std::uint64_t offset, unsigned width) {
    return static_cast<std::uint32_t>(net_.bar_read(0, offset, width));
  }
  void out(std::uint64_t offset, unsigned width, std::uint32_t value) {
    net_.bar_write(0, offset, width, value);
  }
  void notify(unsigned queue) { out(16, 2, queue); }

  void set_up_queue(unsigned queue) {
    out(14, 2, queue);
    out(8, 4, static_cast<std::uint32_t>(ring_[queue].base >> 12));
  }
  /// As a driver does it.
  void bring_up(std::uint32_t features = kMergeable | kIndirectFeature) {
    out(18, 1, 0);
    out(18, 1, 1);
    out(18, 1, 3);
    out(4, 4, features);
    header_ = features & kMergeable ? 12 : 10;
    for (unsigned i = 0; i < 3; ++i) {
      for (std::uint64_t at = 0; at < 0x4000; at += 8) bus_.set<std::uint64_t>(ring_[i].base + at, 0);
      ring_[i].avail = ring_[i].seen = 0;
      set_up_queue(i);
    }
    out(18, 1, 7);
  }
  void enable_msix() {
    const std::size_t msix = find_capability(net_, 0x11);
    ASSERT_NE(msix, 0u);
    for (unsigned i = 0; i < 3; ++i) {
      net_.program_message(VectorKind::msix, i, 0xfee01000, 0x40 + i);
      net_.mask_message(VectorKind::msix, i, false);
    }
    net_.config_write(msix + 2, 2, 0x8000);
  }

  void offer_receive(unsigned slot, std::uint32_t bytes = kBufferSize) {
    rx().descriptor(slot, kRxBuffers + slot * kBufferSize, bytes, kWrite);
    rx().offer(static_cast<std::uint16_t>(slot));
  }
  /// One descriptor for header and contents.
  void send(unsigned slot, std::uint32_t bytes, std::uint8_t seed) {
    const std::uint64_t at = kTxBuffers + slot * kBufferSize;
    for (std::uint32_t i = 0; i < header_; ++i) bus_.set<std::uint8_t>(at + i, 0xee);
    for (std::uint32_t i = 0; i < bytes; ++i) bus_.set<std::uint8_t>(at + header_ + i, pattern(seed, i));
    tx().descriptor(slot, at, header_ + bytes);
    tx().offer(static_cast<std::uint16_t>(slot));
  }
  static std::uint8_t pattern(std::uint8_t seed, std::uint32_t i) {
    return static_cast<std::uint8_t>(seed + i * 7 + (i >> 8));
  }
  bool holds(std::uint64_t at, std::uint32_t bytes, std::uint8_t seed, std::uint32_t from = 0) {
    for (std::uint32_t i = 0; i < bytes; ++i)
      if (bus_.get<std::uint8_t>(at + i) != pattern(seed, from + i)) return false;
    return true;
  }
  bool settle() { return Stepper::settle(net_); }

  Ring& rx() { return ring_[0]; }
  Ring& tx() { return ring_[1]; }
  Ring& control() { return ring_[2]; }

  TestBus bus_{4 << 20};
  VirtioNetOptions options_{{0x52, 0x54, 0, 0x12, 0x34, 0x56}};
  VirtioNet net_{bus_, make_sbdf(0, 0, 7, 0), options_};
  Ring ring_[3];
  std::uint32_t header_ = 12;
};

}  // namespace pviommu::model::test
