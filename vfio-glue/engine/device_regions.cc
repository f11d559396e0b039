// SPDX-License-Identifier: LGPL-2.1-or-later
// read and write of a device's regions.
//
// An access of any size and alignment is cut into the widest natural ones, in
// ascending order, as Linux does: of at most 8 bytes in memory BARs (since 6.11),
// of at most 4 in I/O ports and configuration space.  A load or store by a mapping, which
// comes here where a front end traps it, is one access of up to 8 bytes, as on the bus.
#include <algorithm>
#include <array>
#include <cstring>

#include "vfio-glue/engine/device.h"

namespace pviommu::vfio {
namespace {

constexpr std::size_t kChunk = 512;

}  // namespace

Result<std::size_t> Device::read(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t offset) {
  if (!user_range(buffer, bytes)) return Error{EFAULT, "region access: buffer"};
  if (bytes == 0) return std::size_t{0};  // wherever it is
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
      return Error{EINVAL, "access of a region that there is not"};
  }
}

Result<std::size_t> Device::write(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t offset) {
  if (!user_range(buffer, bytes)) return Error{EFAULT, "region access: buffer"};
  if (bytes == 0) return std::size_t{0};  // wherever it is
  const std::uint64_t at = within_region(offset);
  const std::lock_guard guard(lock_);
  switch (region_index(offset)) {
    case VFIO_PCI_BAR0_REGION_INDEX ... VFIO_PCI_BAR5_REGION_INDEX:
      return access_bar(client, static_cast<unsigned>(region_index(offset)), buffer, bytes, at, true);
    case VFIO_PCI_CONFIG_REGION_INDEX:
      return access_config(client, buffer, bytes, at, true);
    default:
      return Error{EINVAL, "access of a region that there is not"};
  }
}

Result<std::size_t> Device::access_config(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t at,
                                          bool write) {
  if (at >= config_->size() || bytes > config_->size() - at) return Error{EFAULT, "access beyond configuration space"};
  std::array<std::uint8_t, kChunk> chunk;
  std::size_t done = 0;
  while (done < bytes) {
    // Chunks begin where the access began modulo 4, so that cutting it up does
    // not change the widths.
    const std::size_t step = std::min(bytes - done, kChunk - (at + done) % 4);
    if (write) {
      PVIOMMU_TRY(client.copy_in(chunk.data(), buffer + done, step));
      const Status written = config_->write(at + done, chunk.data(), step);
      follow_decoding(client);
      PVIOMMU_TRY(written);
    } else {
      PVIOMMU_TRY(config_->read(at + done, chunk.data(), step));
      PVIOMMU_TRY(client.copy_out(buffer + done, chunk.data(), step));
    }
    done += step;
  }
  return done;
}

Result<std::size_t> Device::access_bar(Client& client, unsigned bar, std::uint64_t buffer, std::size_t bytes,
                                       std::uint64_t at, bool write) {
  const BarInfo info = hardware_->bar(bar);
  if (at >= info.size) return Error{EINVAL, "access beyond the BAR"};
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
    const unsigned width = natural_width(here, static_cast<std::size_t>(stretch), info.is_io ? 4 : 8);
    std::uint64_t value = ~std::uint64_t{0};
    if (write) {
      value = 0;
      PVIOMMU_TRY(client.copy_in(&value, buffer + done, width));
      if (!shadowed && deaf) return Error{EIO, "write to a BAR that does not decode"};
      if (!shadowed) PVIOMMU_TRY(hardware_->bar_write(bar, here, width, value));
    } else {
      if (!shadowed) {
        if (deaf) return Error{EIO, "read of a BAR that does not decode"};
        value = PVIOMMU_TRY(hardware_->bar_read(bar, here, width));
      }
      PVIOMMU_TRY(client.copy_out(buffer + done, &value, width));
    }
    done += width;
  }
  return done;
}

/// `access(at, width, done)` for each natural access of it, which is inside of one BAR; `at` is
/// an offset into the BAR, `done` bytes have been before.
template <class Access>
Status Device::access_mapped(std::uint64_t offset, std::size_t bytes, Access&& access) {
  const std::uint64_t index = region_index(offset);
  const std::uint64_t at = within_region(offset);
  if (index >= kPciBars) return Error{EIO, "access by a mapping of what is no BAR"};
  const auto bar = static_cast<unsigned>(index);
  const std::lock_guard guard(lock_);
  if (!accessible_) return Error{EIO, "access by a mapping of a BAR that does not decode"};
  const std::uint64_t size = hardware_->bar(bar).size;
  for (std::size_t done = 0; done < bytes;) {
    if (at + done >= size) return Error{EIO, "access by a mapping behind the BAR"};
    const unsigned width = natural_width(at + done, bytes - done, 8);
    PVIOMMU_TRY(access(bar, at + done, width, done));
    done += width;
  }
  return {};
}

Status Device::load(std::uint64_t offset, void* to, std::size_t bytes) {
  auto* out = static_cast<std::byte*>(to);
  return access_mapped(offset, bytes, [&](unsigned bar, std::uint64_t at, unsigned width, std::size_t done) -> Status {
    if (shadow_ && shadow_->front(bar, at, width).shadowed) return shadow_->load(at, out + done, width);
    const std::uint64_t value = PVIOMMU_TRY(hardware_->bar_read(bar, at, width));
    std::memcpy(out + done, &value, width);  // little endian, as every machine that traps
    return {};
  });
}

Status Device::store(std::uint64_t offset, const void* from, std::size_t bytes) {
  const auto* in = static_cast<const std::byte*>(from);
  return access_mapped(offset, bytes, [&](unsigned bar, std::uint64_t at, unsigned width, std::size_t done) -> Status {
    if (shadow_ && shadow_->front(bar, at, width).shadowed) return shadow_->store(at, in + done, width);
    std::uint64_t value = 0;
    std::memcpy(&value, in + done, width);
    return hardware_->bar_write(bar, at, width, value);
  });
}

Result<std::size_t> Device::access_rom(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t at) {
  const BarInfo rom = hardware_->bar(kPciRomIndex);
  if (at >= rom.size) return Error{EINVAL, "access beyond the expansion ROM"};
  bytes = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, rom.size - at));
  // Linux maps a ROM by its signature, which is not there while nothing decodes.
  if (!config_->memory_enabled()) return Error{ENOMEM, "expansion ROM with memory decoding off"};
  if (!config_->powered()) return Error{EIO, "expansion ROM of a device that sleeps"};
  for (std::size_t done = 0; done < bytes;) {
    const unsigned width = natural_width(at + done, bytes - done);
    const auto value = static_cast<std::uint32_t>(PVIOMMU_TRY(hardware_->bar_read(kPciRomIndex, at + done, width)));
    PVIOMMU_TRY(client.copy_out(buffer + done, &value, width));
    done += width;
  }
  return bytes;
}

}  // namespace pviommu::vfio
