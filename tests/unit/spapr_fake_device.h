// SPDX-License-Identifier: LGPL-2.1-or-later
// A device as the kernel's vfio-pci has it, for spapr_fake_kernel.h.
#pragma once

#include <gtest/gtest.h>
#include <linux/vfio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu::spapr {

/// With `why` it is nothing that a caller should ever do.
inline Error refuse(int code, const char* why = nullptr) {
  if (why != nullptr) ADD_FAILURE() << "the kernel was asked wrongly: " << why;
  return Error{code, why == nullptr ? "fake" : why, code};
}

template <class T>
T* structure(std::uintptr_t argument) {
  T* what = reinterpret_cast<T*>(argument);
  if (what->argsz < sizeof(T)) ADD_FAILURE() << "argsz " << what->argsz;
  return what;
}

struct FakeDevice {
  struct Irqs {
    unsigned limit = 0, grant = ~0u;  ///< `grant`: what the hypervisor has
    std::vector<int> eventfds;        ///< empty: off
  };
  static constexpr unsigned kRegionShift = 40;  // as vfio-pci's offsets

  FakeDevice() {
    irqs[VFIO_PCI_INTX_IRQ_INDEX].limit = 1;
    irqs[VFIO_PCI_MSI_IRQ_INDEX].limit = 4;
    irqs[VFIO_PCI_MSIX_IRQ_INDEX].limit = 16;
  }

  bool is_pci = true, resets = true;
  unsigned reset_count = 0;
  std::array<std::uint8_t, 256> config{};
  std::array<std::vector<std::uint8_t>, 9> regions;  ///< BARs, ROM; config space is `config`
  std::array<Irqs, VFIO_PCI_NUM_IRQS> irqs;
  bool line = false, intx_masked = false;
  unsigned masks = 0, unmasks = 0;

  void raise(unsigned index, unsigned vector, std::uint64_t times) {
    if (vector < irqs[index].eventfds.size()) signal(irqs[index].eventfds[vector], times);
  }
  Result<int> ioctl(unsigned long request, std::uintptr_t argument) {
    switch (request) {
      case VFIO_DEVICE_GET_INFO: {
        auto* info = reinterpret_cast<vfio_device_info*>(argument);
        info->flags = (is_pci ? VFIO_DEVICE_FLAGS_PCI : 0) | (resets ? VFIO_DEVICE_FLAGS_RESET : 0);
        info->num_regions = VFIO_PCI_NUM_REGIONS;
        info->num_irqs = VFIO_PCI_NUM_IRQS;
        return 0;
      }
      case VFIO_DEVICE_GET_REGION_INFO: {
        auto* info = structure<vfio_region_info>(argument);
        if (info->index >= regions.size()) return refuse(EINVAL, "no such region");
        const bool is_config = info->index == VFIO_PCI_CONFIG_REGION_INDEX;
        info->offset = std::uint64_t{info->index} << kRegionShift;
        info->size = is_config ? config.size() : regions[info->index].size();
        info->flags = info->size == 0 ? 0 : VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        if (!is_config && info->size >= kPageSize) info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
        return 0;
      }
      case VFIO_DEVICE_RESET:
        if (!resets) return refuse(EINVAL, "resets what cannot be");
        ++reset_count;
        return 0;
      case VFIO_DEVICE_SET_IRQS:
        return set_irqs(*reinterpret_cast<vfio_irq_set*>(argument));
    }
    return refuse(ENOTTY, "request of a device");
  }
  /// As vfio_set_irqs_validate_and_prepare() and vfio_pci_intrs.c have it.
  Result<int> set_irqs(const vfio_irq_set& set) {
    if (set.index >= irqs.size()) return refuse(EINVAL, "no such interrupt");
    Irqs& mine = irqs[set.index];
    const std::uint32_t type = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK,
                        action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    const bool eventfds = type == VFIO_IRQ_SET_DATA_EVENTFD;
    if (set.argsz != sizeof set + (eventfds ? set.count * sizeof(std::int32_t) : 0))
      return refuse(EINVAL, "argsz of irqs");
    if (set.start != 0 || set.count > mine.limit) return refuse(EINVAL);
    if (action == VFIO_IRQ_SET_ACTION_TRIGGER && type == VFIO_IRQ_SET_DATA_NONE) {
      if (set.count != 0) return refuse(EINVAL, "triggers an interrupt");
      if (mine.eventfds.empty()) return refuse(EINVAL, "switches off what is off");
      mine.eventfds.clear();
      return 0;
    }
    if (action == VFIO_IRQ_SET_ACTION_TRIGGER && eventfds) {
      if (set.count == 0) return refuse(EINVAL, "no eventfd");
      if (std::ranges::any_of(irqs, [](const Irqs& one) { return !one.eventfds.empty(); }))
        return refuse(EINVAL, "interrupts are on");
      if (mine.grant == 0) return refuse(ENOSPC);
      if (mine.grant < set.count) return static_cast<int>(mine.grant);
      mine.eventfds.resize(set.count);
      std::memcpy(mine.eventfds.data(), &set + 1, set.count * sizeof(std::int32_t));
      if (set.index == VFIO_PCI_INTX_IRQ_INDEX) {
        intx_masked = false;
        look_at_line();
      }
      return 0;
    }
    if (set.index != VFIO_PCI_INTX_IRQ_INDEX || type != VFIO_IRQ_SET_DATA_NONE)
      return refuse(EINVAL, "masks messages");
    if (set.count != 1 || mine.eventfds.empty()) return refuse(EINVAL, "masks what is off");
    const bool mask = action == VFIO_IRQ_SET_ACTION_MASK;
    ++(mask ? masks : unmasks);
    intx_masked = mask;
    look_at_line();
    return 0;
  }
  /// The handler masks the line until somebody has looked after the device.
  void look_at_line() {
    Irqs& mine = irqs[VFIO_PCI_INTX_IRQ_INDEX];
    if (!line || intx_masked || mine.eventfds.empty()) return;
    intx_masked = true;
    signal(mine.eventfds[0], 1);
  }
  static void signal(int eventfd, std::uint64_t times) {
    EXPECT_EQ(::write(eventfd, &times, sizeof times), 8);
  }

  Status access(std::size_t bytes, std::uint64_t offset, const std::function<void(std::byte*)>& copy) {
    const std::uint64_t index = offset >> kRegionShift,
                        at = offset & ((std::uint64_t{1} << kRegionShift) - 1);
    const bool is_config = index == VFIO_PCI_CONFIG_REGION_INDEX;
    if (!is_config && index >= regions.size()) return refuse(EINVAL, "no such region");
    std::uint8_t* region = is_config ? config.data() : regions[index].data();
    const std::size_t size = is_config ? config.size() : regions[index].size();
    if (at >= size || bytes > size - at) return refuse(EINVAL);
    copy(reinterpret_cast<std::byte*>(region + at));
    return {};
  }
};

}  // namespace pviommu::spapr
