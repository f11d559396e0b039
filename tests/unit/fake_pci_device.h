// SPDX-License-Identifier: LGPL-2.1-or-later
// A PCI function that is its configuration space and nothing behind it.
//
//   FakePciDevice        bytes, read and written as they are
//     msi_fake.h             a function with interrupts, in a script that can refuse a step
//     vfio_config_space_test.cc, tests/fuzz/config_space_fuzz.cc
//
// Tests derive from it what they watch or refuse.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "hypercall/pci_device.h"

namespace pviommu::test {

class FakePciDevice : public PciDevice {
 public:
  explicit FakePciDevice(std::size_t config_size = 256) : config(config_size) {}

  std::vector<std::uint8_t> config;
  std::array<BarInfo, kPciBars + 1> bars{};

  void put16(std::size_t offset, unsigned value) {
    config[offset] = static_cast<std::uint8_t>(value);
    config[offset + 1] = static_cast<std::uint8_t>(value >> 8);
  }
  void put32(std::size_t offset, std::uint32_t value) {
    put16(offset, value & 0xffff);
    put16(offset + 2, value >> 16);
  }
  std::uint16_t get16(std::size_t offset) const {
    return static_cast<std::uint16_t>(config[offset] | config[offset + 1] << 8);
  }

  const PciDeviceInfo& info() const override { return info_; }
  BarInfo bar(unsigned index) const override { return bars[index]; }
  std::size_t config_size() const override { return config.size(); }
  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= std::uint32_t{config.at(offset + i)} << 8 * i;
    return value;
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    for (unsigned i = 0; i < width; ++i) config.at(offset + i) = static_cast<std::uint8_t>(value >> 8 * i);
    return {};
  }
  Result<std::uint64_t> bar_read(unsigned, std::uint64_t, unsigned) override { return Error{EIO, "bar_read"}; }
  Status bar_write(unsigned, std::uint64_t, unsigned, std::uint64_t) override { return Error{EIO, "bar_write"}; }
  Result<BarMapping> bar_mapping(unsigned) override { return Error{EOPNOTSUPP, "bar_mapping"}; }
  void bar_mapped(unsigned, bool) override {}
  bool can_reset() const override { return false; }
  Status reset() override { return Error{ENOTTY, "reset"}; }
  Result<std::vector<HotResetMember>> hot_reset_members() override { return Error{ENODEV, "hot reset"}; }
  Status hot_reset() override { return Error{ENODEV, "hot reset"}; }
  bool intx_asserted() override { return false; }

 protected:
  PciDeviceInfo info_;
};

}  // namespace pviommu::test
