// SPDX-License-Identifier: LGPL-2.1-or-later
// Info of the device, its regions and its interrupts, with every argsz that matters.
#include "tests/conformance/answers/device.h"

#include <linux/pci_regs.h>

#include <array>
#include <cstdio>

namespace conformance::answers {
namespace {

struct Shown {
  Outcome outcome;
  vfio_region_info info{};
  std::string capabilities;
};

Shown region(const Device& device, std::uint32_t index, std::uint32_t argsz) {
  alignas(8) std::array<std::uint8_t, 512> bytes{};
  auto& info = *reinterpret_cast<vfio_region_info*>(bytes.data());
  info.argsz = argsz;
  info.index = index;
  Shown shown;
  shown.outcome = device.ioctl(VFIO_DEVICE_GET_REGION_INFO, address_of(info));
  shown.info = info;
  std::uint32_t offset = shown.outcome.error ? 0 : info.cap_offset;
  for (unsigned hops = 0; offset && offset + 8 <= argsz && hops < 8; ++hops) {
    vfio_info_cap_header header;
    std::memcpy(&header, bytes.data() + offset, sizeof header);
    shown.capabilities += format(" cap[id=%u ver=%u next=%u]", header.id, header.version, header.next);
    offset = header.next;
  }
  return shown;
}

}  // namespace

void common(const Device& device, const std::string& label) {
  const char* name = label.c_str();
  for (std::uint32_t index = 0; index < 11; ++index) {
    const Shown shown = region(device, index, 512);
    const std::string text = shown.outcome.error ? "-" : format("argsz=%u size=0x%llx offset=0x%llx flags=0x%x cap_offset=%u", shown.info.argsz, shown.info.size, shown.info.offset, shown.info.flags, shown.info.cap_offset) + shown.capabilities;
    answer(format("D10 %s REGION_INFO %u", name, index), shown.outcome, text);
  }
  for (std::uint32_t index = 0; index < 6; ++index) {
    vfio_irq_info info;
    const Outcome outcome = device.irq_info(index, &info);
    answer(format("D11 %s IRQ_INFO %u", name, index), outcome, format("flags=0x%x count=%u", info.flags, info.count));
  }
  for (std::uint32_t argsz : {0u, 8u, 15u, 16u, 19u, 20u, 24u, 64u}) {
    struct {
      vfio_device_info info;
      std::uint32_t behind[16];
    } room{};
    room.info.argsz = argsz;
    room.info.cap_offset = 0xcccccccc;
    const Outcome outcome = device.ioctl(VFIO_DEVICE_GET_INFO, address_of(room));
    answer(format("D12 %s DEVICE_GET_INFO argsz=%u", name, argsz), outcome,
           format("argsz=%u flags=0x%x regions=%u irqs=%u cap_offset=%x", room.info.argsz, room.info.flags, room.info.num_regions, room.info.num_irqs, room.info.cap_offset));
  }
  for (std::uint32_t argsz : {0u, 16u, 31u, 32u, 39u, 40u}) {
    const Shown shown = region(device, 0, argsz);
    answer(format("D13 %s REGION_INFO 0 argsz=%u", name, argsz), shown.outcome,
           format("argsz=%u flags=0x%x cap_offset=%u size=0x%llx", shown.info.argsz, shown.info.flags, shown.info.cap_offset, shown.info.size));
  }
  for (std::uint32_t argsz : {0u, 15u}) {
    vfio_irq_info info;
    const Outcome outcome = device.irq_info(0, &info, argsz);
    answer(format("D14 %s IRQ_INFO 0 argsz=%u", name, argsz), outcome, format("argsz=%u count=%u", info.argsz, info.count));
  }
}

void config_rows(const Device& device, const std::string& label) {
  std::array<std::uint8_t, 256> bytes{};
  std::string upper_half;  // of a 64-bit BAR: an address
  for (unsigned row = 0; row < 256; row += 16) {
    const Outcome outcome = device.read(7, row, bytes.data() + row, 16);
    std::string text = bytes_of(bytes.data() + row, 16);
    for (unsigned at = row; at < row + 16; at += 4) {
      const bool is_bar = at >= PCI_BASE_ADDRESS_0 && at <= PCI_BASE_ADDRESS_5, is_rom = at == PCI_ROM_ADDRESS;
      const std::string word = bytes_of(bytes.data() + at, 4);
      if (is_bar && !upper_half.empty()) {
        text.replace((at - row) * 2, 8, upper_half);
        upper_half.clear();
      } else if ((is_bar || is_rom) && word != "00000000") {
        text.replace((at - row) * 2 + 2, 6, "......");
        if (is_bar && (bytes[at] & 1)) text.replace((at - row) * 2, 2, format("%02x", bytes[at] & 3u));
        if (is_bar && (bytes[at] & 7) == PCI_BASE_ADDRESS_MEM_TYPE_64) upper_half = "........";
      }
      if (at == PCI_INTERRUPT_LINE) text.replace((at - row) * 2, 2, "..");
    }
    answer(format("D20 %s config %02x", label.c_str(), row), outcome, text);
  }
}

void write_and_read(const Device& device, const std::string& name, std::size_t offset, unsigned width, std::uint32_t value,
                    std::size_t read_offset, unsigned read_width, const char* form) {
  const Outcome outcome = device.write(7, offset, &value, width);
  char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  std::snprintf(text, sizeof text, form, device.config(read_offset, read_width));
#pragma GCC diagnostic pop
  answer(name, outcome, text);
}

}  // namespace conformance::answers
