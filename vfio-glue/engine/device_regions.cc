// SPDX-License-Identifier: LGPL-2.1-or-later
// read and write of a device's regions.
//
// An access of any size and alignment is cut into the widest natural ones of at
// most 4 bytes, in ascending order, as Linux 6.1 does; drivers rely on it for
// 64-bit registers written as two halves.
#include <algorithm>
#include <array>
#include <cstring>

#include "vfio-glue/engine/device.h"

namespace pviommu::vfio {
namespace {

constexpr std::size_t kChunk = 512;

}  // namespace

ssize_t Device::read(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t offset) {
  if (!user_range(buffer, bytes)) return -EFAULT;
  if (bytes == 0) return 0;  // wherever it is
  const std::uint64_t at = within_region(offset);
  const std::lock_guard guard(lock_);
  switch (region_index(offset)) {
    case VFIO_PCI_BAR0_REGION_INDEX ... VFIO_PCI_BAR5_REGION_INDEX:
      return access_bar(client, static_cast<unsigned>(region_index(offset)), buffer, bytes, at, false);
    case VFIO_PCI_ROM_REGION_INDEX:
      return access_rom(client, buffer, bytes, at);
    case VFIO_PCI_CONFIG_REGION_INDEX:
      return access_config(client, buffer, bytes, at, false);
    default:
      return -EINVAL;
  }
}

ssize_t Device::write(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t offset) {
  if (!user_range(buffer, bytes)) return -EFAULT;
  if (bytes == 0) return 0;  // wherever it is
  const std::uint64_t at = within_region(offset);
  const std::lock_guard guard(lock_);
  switch (region_index(offset)) {
    case VFIO_PCI_BAR0_REGION_INDEX ... VFIO_PCI_BAR5_REGION_INDEX:
      return access_bar(client, static_cast<unsigned>(region_index(offset)), buffer, bytes, at, true);
    case VFIO_PCI_CONFIG_REGION_INDEX:
      return access_config(client, buffer, bytes, at, true);
    default:
      return -EINVAL;
  }
}

ssize_t Device::access_config(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t at, bool write) {
  if (at >= config_->size() || bytes > config_->size() - at) return -EFAULT;
  std::array<std::uint8_t, kChunk> chunk;
  std::size_t done = 0;
  while (done < bytes) {
    // Chunks begin where the access began modulo 4, so that cutting it up does
    // not change the widths.
    const std::size_t step = std::min(bytes - done, kChunk - (at + done) % 4);
    if (write) {
      if (!client.copy_in(chunk.data(), buffer + done, step)) return -EFAULT;
      const Status status = config_->write(at + done, chunk.data(), step);
      follow_decoding(client);
      if (!status) return -status.error().code;
    } else {
      if (const Status status = config_->read(at + done, chunk.data(), step); !status) return -status.error().code;
      if (!client.copy_out(buffer + done, chunk.data(), step)) return -EFAULT;
    }
    done += step;
  }
  return static_cast<ssize_t>(done);
}

ssize_t Device::access_bar(Client& client, unsigned bar, std::uint64_t buffer, std::size_t bytes, std::uint64_t at,
                           bool write) {
  const BarInfo info = hardware_->bar(bar);
  if (at >= info.size) return -EINVAL;
  bytes = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, info.size - at));
  // The MSI-X table answers without the device.
  const bool deaf = !info.is_io && (!config_->memory_enabled() || !config_->powered());

  std::size_t done = 0;
  while (done < bytes) {
    std::uint64_t here = at + done;
    std::uint64_t stretch = bytes - done;
    bool shadowed = false;
    if (shadow_) {
      const msi::BarPiece piece = shadow_->front(bar, here, stretch);
      stretch = piece.bytes;
      shadowed = piece.shadowed;
    }
    const unsigned width = natural_width(here, static_cast<std::size_t>(stretch));
    std::uint32_t value = ~std::uint32_t{0};
    if (write) {
      value = 0;
      if (!client.copy_in(&value, buffer + done, width)) return -EFAULT;
      if (!shadowed && deaf) return -EIO;
      if (!shadowed)
        if (const Status status = hardware_->bar_write(bar, here, width, value); !status) return -status.error().code;
    } else {
      if (!shadowed) {
        if (deaf) return -EIO;
        const auto read = hardware_->bar_read(bar, here, width);
        if (!read) return -read.error().code;
        value = static_cast<std::uint32_t>(*read);
      }
      if (!client.copy_out(buffer + done, &value, width)) return -EFAULT;
    }
    done += width;
  }
  return static_cast<ssize_t>(done);
}

ssize_t Device::access_rom(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t at) {
  const BarInfo rom = hardware_->bar(kPciRomIndex);
  if (at >= rom.size) return -EINVAL;
  bytes = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, rom.size - at));
  // Linux maps a ROM by its signature, which is not there while nothing decodes.
  if (!config_->memory_enabled()) return -ENOMEM;
  if (!config_->powered()) return -EIO;
  for (std::size_t done = 0; done < bytes;) {
    const unsigned width = natural_width(at + done, bytes - done);
    const auto read = hardware_->bar_read(kPciRomIndex, at + done, width);
    if (!read) return -read.error().code;
    const auto value = static_cast<std::uint32_t>(*read);
    if (!client.copy_out(buffer + done, &value, width)) return -EFAULT;
    done += width;
  }
  return static_cast<ssize_t>(bytes);
}

}  // namespace pviommu::vfio
