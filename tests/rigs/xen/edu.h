// SPDX-License-Identifier: LGPL-2.1-or-later
// QEMU's edu (docs/specs/edu.txt) through the hypervisor interface, as the one who
// holds the device.
#pragma once

#include <linux/pci_regs.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "hypercall/hypervisor.h"

inline constexpr pviommu::Sbdf kFirstEdu{6 << 3};
inline constexpr pviommu::Sbdf kSecondEdu{7 << 3};

class Edu {
 public:
  static std::unique_ptr<Edu> open(pviommu::Hypervisor& hypervisor, pviommu::Sbdf sbdf) {
    auto device = hypervisor.open_device(sbdf);
    if (!device) {
      std::fprintf(stderr, "%s: %s\n", to_string(sbdf).c_str(), to_string(device.error()).c_str());
      return nullptr;
    }
    std::unique_ptr<Edu> edu(new Edu);
    edu->device_ = std::move(*device);
    for (unsigned at = edu->config(PCI_CAPABILITY_LIST, 1); at != 0; at = edu->config(at + 1, 1))
      if (edu->config(at, 1) == PCI_CAP_ID_MSI) edu->msi_ = at;
    return edu;
  }

  pviommu::PciDevice& device() { return *device_; }
  std::uint32_t config(std::size_t offset, unsigned width) {
    const auto value = device_->config_read(offset, width);
    return value ? *value : ~0u;
  }
  std::uint32_t command() { return config(PCI_COMMAND, 2); }
  void start() {
    (void)device_->config_write(PCI_COMMAND, 2,
                                PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
  }
  void stop() {
    (void)device_->config_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
    enable_msi(false);
  }
  void enable_msi(bool on) {
    const std::uint32_t control = config(msi_ + 2, 2);
    (void)device_->config_write(msi_ + 2, 2,
                                on ? control | PCI_MSI_FLAGS_ENABLE : control & ~PCI_MSI_FLAGS_ENABLE);
  }

  std::uint32_t read(std::uint64_t at, unsigned width = 4) {
    const auto value = device_->bar_read(0, at, width);
    return value ? static_cast<std::uint32_t>(*value) : ~0u;
  }
  void write(std::uint64_t at, std::uint32_t value) { (void)device_->bar_write(0, at, 4, value); }
  /// One message.
  void raise() { write(0x60, 1); }
  /// Between its buffer and `iova`; waits for the end.
  void dma_from_memory(std::uint64_t iova, std::uint32_t bytes) { dma(iova, kBuffer, bytes, 1); }
  void dma_to_memory(std::uint64_t iova, std::uint32_t bytes) { dma(kBuffer, iova, bytes, 3); }

 private:
  static constexpr std::uint64_t kBuffer = 0x40000;
  void dma(std::uint64_t source, std::uint64_t destination, std::uint32_t bytes, std::uint32_t go) {
    (void)device_->bar_write(0, 0x80, 8, source);
    (void)device_->bar_write(0, 0x88, 8, destination);
    (void)device_->bar_write(0, 0x90, 8, bytes);
    (void)device_->bar_write(0, 0x98, 8, go);
    for (int i = 0; i < 1000 && (read(0x98, 8) & 1) != 0; ++i) ::usleep(1000);
  }

  std::unique_ptr<pviommu::PciDevice> device_;
  unsigned msi_ = 0;
};
