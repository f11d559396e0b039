// SPDX-License-Identifier: LGPL-2.1-or-later
//   load()    the capability list, once: which bytes are virtual, which can be written
//   read()    cut into natural widths --> capability of msi/ | shadow | hardware
//   write()   the same way, then after_write(): command, BARs, power state, resets
//
// Tables of what is writable follow Linux's vfio_pci_config.c; extended capabilities are in
// config_extended.cc.  The device's lock is held by the caller.
#include "vfio-glue/engine/config_space.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstring>

#include "msi/virtual_capability.h"

namespace pviommu::vfio {
namespace {

constexpr std::size_t kStandardSize = 256;
constexpr std::uint16_t kDecodeBits = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;

/// Length of a standard capability the program may see; 0: hidden.  Lengths as
/// far as the PCI specifications fix them; `device` is asked for the others.
Result<std::size_t> capability_length(PciDevice& device, std::uint8_t id, std::size_t at) {
  switch (id) {
    case PCI_CAP_ID_PM:
      return std::size_t{PCI_PM_SIZEOF};
    case PCI_CAP_ID_VPD:
      return std::size_t{PCI_CAP_VPD_SIZEOF};
    case PCI_CAP_ID_MSI: {
      const auto flags = PVIOMMU_TRY(device.config_read(at + PCI_MSI_FLAGS, 2));
      return std::size_t{10} + (flags & PCI_MSI_FLAGS_64BIT ? 4u : 0u) +
             (flags & PCI_MSI_FLAGS_MASKBIT ? 10u : 0u);
    }
    case PCI_CAP_ID_VNDR:
      return std::size_t { PVIOMMU_TRY(device.config_read(at + PCI_CAP_FLAGS, 1)) };
    case PCI_CAP_ID_EXP: {
      const auto flags = PVIOMMU_TRY(device.config_read(at + PCI_EXP_FLAGS, 2));
      const bool integrated = (flags & PCI_EXP_FLAGS_TYPE) >> 4 == PCI_EXP_TYPE_RC_END;
      if ((flags & PCI_EXP_FLAGS_VERS) == 1) return std::size_t{integrated ? 0x0cu : 0x14u};
      return std::size_t{integrated ? 0x2cu : 0x3cu};
    }
    case PCI_CAP_ID_MSIX:
      return std::size_t{PCI_CAP_MSIX_SIZEOF};
    case PCI_CAP_ID_AF:
      return std::size_t{PCI_CAP_AF_SIZEOF};
    default:
      return std::size_t{0};
  }
}

bool touches(std::size_t offset, unsigned width, std::size_t reg, std::size_t reg_bytes) {
  return offset < reg + reg_bytes && reg < offset + width;
}

std::uint32_t bar_flags(const BarInfo& bar) {
  if (bar.is_io) return PCI_BASE_ADDRESS_SPACE_IO;
  return (bar.prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0u) |
         (bar.is_64bit ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0u);
}

}  // namespace

ConfigSpace::ConfigSpace(PciDevice& device, ConfigEffects& effects, msi::VirtualCapability& interrupts)
    : device_(&device),
      effects_(&effects),
      interrupts_(&interrupts),
      shadow_(device.config_size()),
      virt_(device.config_size()),
      // Bytes in no capability are the hardware's: some devices keep registers there.
      write_(device.config_size(), 0xff) {}

Result<ConfigSpace> ConfigSpace::create(PciDevice& device, ConfigEffects& effects,
                                        msi::VirtualCapability& interrupts) {
  ConfigSpace space(device, effects, interrupts);
  PVIOMMU_TRY(space.load());
  return space;
}

void ConfigSpace::set8(std::size_t offset, std::uint8_t virt, std::uint8_t write) {
  virt_[offset] = virt;
  write_[offset] = write;
}
void ConfigSpace::set16(std::size_t offset, std::uint16_t virt, std::uint16_t write) {
  set8(offset, static_cast<std::uint8_t>(virt), static_cast<std::uint8_t>(write));
  set8(offset + 1, static_cast<std::uint8_t>(virt >> 8), static_cast<std::uint8_t>(write >> 8));
}
void ConfigSpace::set32(std::size_t offset, std::uint32_t virt, std::uint32_t write) {
  set16(offset, static_cast<std::uint16_t>(virt), static_cast<std::uint16_t>(write));
  set16(offset + 2, static_cast<std::uint16_t>(virt >> 16), static_cast<std::uint16_t>(write >> 16));
}

std::uint16_t ConfigSpace::shadow16(std::size_t offset) const {
  return static_cast<std::uint16_t>(shadow_[offset] | shadow_[offset + 1] << 8);
}
std::uint32_t ConfigSpace::shadow32(std::size_t offset) const {
  return shadow16(offset) | static_cast<std::uint32_t>(shadow16(offset + 2)) << 16;
}
void ConfigSpace::store32(std::size_t offset, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) shadow_[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
}

Status ConfigSpace::load() {
  for (std::size_t offset = 0; offset < shadow_.size(); offset += 4)
    store32(offset, PVIOMMU_TRY(device_->config_read(offset, 4)));

  // The type 0 header (PCI 3.0, section 6.1).
  for (std::size_t offset = 0; offset < PCI_STD_HEADER_SIZEOF; offset += 4) set32(offset, 0, 0);
  set32(PCI_VENDOR_ID, ~0u, 0);
  set16(PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 0xffff);
  set16(PCI_STATUS, PCI_STATUS_CAP_LIST, 0);
  set8(PCI_CACHE_LINE_SIZE, 0, 0xff);
  set8(PCI_LATENCY_TIMER, 0, 0xff);
  set8(PCI_BIST, 0, 0xff);
  for (std::size_t bar = PCI_BASE_ADDRESS_0; bar <= PCI_BASE_ADDRESS_5; bar += 4) set32(bar, ~0u, ~0u);
  set32(PCI_ROM_ADDRESS, ~0u, ~0u);
  set8(PCI_CAPABILITY_LIST, 0xff, 0);
  set8(PCI_INTERRUPT_LINE, 0xff, 0xff);
  set8(PCI_INTERRUPT_PIN, 0xff, 0);

  real_command_ = shadow16(PCI_COMMAND) & kDecodeBits;
  // INTx disable is ours to use; the program starts with it clear.
  shadow_[PCI_COMMAND + 1] &= static_cast<std::uint8_t>(~(PCI_COMMAND_INTX_DISABLE >> 8));

  PVIOMMU_TRY(load_capabilities());
  return load_extended_capabilities();
}

void ConfigSpace::hide_intx() { shadow_[PCI_INTERRUPT_PIN] = 0; }

Status ConfigSpace::load_capabilities() {
  if (!(shadow16(PCI_STATUS) & PCI_STATUS_CAP_LIST)) return {};
  struct Listed {
    std::uint8_t at, id;
    std::size_t length = 0;
  };
  std::vector<Listed> list;
  std::bitset<kStandardSize> heads;
  for (std::size_t at = shadow_[PCI_CAPABILITY_LIST] & ~3u; at >= PCI_STD_HEADER_SIZEOF && !heads[at];
       at = shadow_[at + PCI_CAP_LIST_NEXT] & ~3u) {
    heads.set(at);
    list.push_back({static_cast<std::uint8_t>(at), shadow_[at]});
  }
  // Where the offset of the next capability is kept; moves on past shown ones.
  std::size_t link = PCI_CAPABILITY_LIST;
  for (Listed& one : list) {
    one.length = std::min(PVIOMMU_TRY(capability_length(*device_, one.id, one.at)), kStandardSize - one.at);
    for (std::size_t i = 0; i < one.length; ++i) set8(one.at + i, 0, 0);
    if (one.length == 0) continue;
    headers_.set(one.at);
    headers_.set(one.at + PCI_CAP_LIST_NEXT);
    shadow_[link] = one.at;
    link = one.at + PCI_CAP_LIST_NEXT;
  }
  if (headers_.none()) shadow_[PCI_STATUS] &= static_cast<std::uint8_t>(~PCI_STATUS_CAP_LIST);
  shadow_[link] = 0;
  for (Listed& one : list) {
    if (one.length == 0) continue;
    // A broken device may have one inside another: it ends there.
    std::size_t whole = std::min<std::size_t>(one.length, 4);
    while (whole < one.length && !heads[one.at + whole]) ++whole;
    PVIOMMU_TRY(load_capability(one.id, one.at, whole));
    set16(one.at, 0xffff, 0);
  }
  return {};
}

/// `length` bytes of it are there; without its registers it is but a read-only entry.
Status ConfigSpace::load_capability(std::uint8_t id, std::size_t at, std::size_t length) {
  switch (id) {
    case PCI_CAP_ID_PM:
      if (length < PCI_PM_SIZEOF) break;
      pm_ = at;
      // Awake, and nothing selected: what the last program left does not stay, as the
      // kernel's pci_power_up() sees to when a device is opened.
      if (!interrupts_->covers(at + PCI_PM_CTRL)) PVIOMMU_TRY(device_->config_write(at + PCI_PM_CTRL, 2, 0));
      // The state is changed by us, on the program's behalf (after_write).
      set16(at + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS,
            static_cast<std::uint16_t>(
                  ~(PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS | PCI_PM_CTRL_STATE_MASK)));
      set16(at + PCI_PM_PMC, PCI_PM_CAP_PME_MASK, 0);
      shadow_[at + PCI_PM_PMC + 1] &= static_cast<std::uint8_t>(~(PCI_PM_CAP_PME_MASK >> 8));
      shadow_[at + PCI_PM_CTRL] &= static_cast<std::uint8_t>(~PCI_PM_CTRL_STATE_MASK);
      shadow_[at + PCI_PM_CTRL + 1] &= 0x7e;  // PME enable and status read as 0
      break;
    case PCI_CAP_ID_EXP:
      if (length < PCI_EXP_DEVCTL + 2) break;
      express_ = at;
      flr_ = shadow32(at + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR;
      // Payload and read request size are virtual: their right values depend
      // on the whole fabric.  Phantom functions would confuse the IOMMU.
      set16(at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ,
            static_cast<std::uint16_t>(~PCI_EXP_DEVCTL_PHANTOM));
      if (length > PCI_EXP_DEVCTL2 + 1)
        set16(at + PCI_EXP_DEVCTL2, 0, static_cast<std::uint16_t>(~PCI_EXP_DEVCTL2_ARI));
      break;
    case PCI_CAP_ID_VPD:
      if (length < PCI_CAP_VPD_SIZEOF) break;
      // The hardware's interface is slow and shared; nothing behind it is shown.
      set16(at + PCI_VPD_ADDR, 0xffff, 0xffff);
      set32(at + PCI_VPD_DATA, ~0u, ~0u);
      break;
    case PCI_CAP_ID_VNDR:
      for (std::size_t i = PCI_CAP_FLAGS; i < length; ++i) set8(at + i, 0, 0xff);
      break;
    case PCI_CAP_ID_AF:
      if (length >= PCI_CAP_AF_SIZEOF) set8(at + PCI_AF_CTRL, PCI_AF_CTRL_FLR, 0);
      break;
    default:
      break;  // MSI and MSI-X: msi::VirtualCapability
  }
  return {};
}

bool ConfigSpace::memory_enabled() const { return real_command_ & PCI_COMMAND_MEMORY; }

/// Bytes of MSI and MSI-X that no capability laid over them has its header in.
bool ConfigSpace::interrupts_own(std::size_t offset) const {
  return interrupts_->covers(offset) && !headers_[offset];
}

/// Makes the virtual BARs answer like the real ones: size bits zero, type bits set.
void ConfigSpace::fix_bars() {
  for (unsigned i = 0; i < kPciBars; ++i) {
    const std::size_t reg = PCI_BASE_ADDRESS_0 + 4 * i;
    const BarInfo bar = device_->bar(i);
    if (bar.size == 0) {
      store32(reg, 0);
      continue;
    }
    const std::uint64_t mask = ~(bar.size - 1);
    store32(reg, (shadow32(reg) & static_cast<std::uint32_t>(mask)) | bar_flags(bar));
    if (bar.is_64bit && i + 1 < kPciBars) {
      store32(reg + 4, shadow32(reg + 4) & static_cast<std::uint32_t>(mask >> 32));
      ++i;
    }
  }
  const BarInfo rom = device_->bar(kPciRomIndex);
  const std::uint32_t rom_mask = static_cast<std::uint32_t>(~(rom.size - 1)) | PCI_ROM_ADDRESS_ENABLE;
  store32(PCI_ROM_ADDRESS, rom.size == 0 ? 0 : shadow32(PCI_ROM_ADDRESS) & rom_mask);
}

/// The natural access at `offset` that leaves the bytes of MSI and MSI-X out.
unsigned ConfigSpace::uncovered_width(std::size_t offset, std::size_t bytes) const {
  const auto clear = [&](unsigned width) {
    for (unsigned i = 1; i < width; ++i)
      if (interrupts_own(offset + i)) return false;
    return true;
  };
  unsigned width = natural_width(offset, bytes);
  while (!clear(width)) width /= 2;
  return width;
}

Status ConfigSpace::read(std::size_t offset, void* out, std::size_t bytes) {
  auto* to = static_cast<std::uint8_t*>(out);
  while (bytes) {
    if (interrupts_own(offset)) {
      *to = interrupts_->read(offset);
      ++to, ++offset, --bytes;
      continue;
    }
    const unsigned width = uncovered_width(offset, bytes);
    const std::uint32_t value = PVIOMMU_TRY(read_natural(offset, width));
    for (unsigned i = 0; i < width; ++i) *to++ = static_cast<std::uint8_t>(value >> (8 * i));
    offset += width;
    bytes -= width;
  }
  return {};
}

Status ConfigSpace::write(std::size_t offset, const void* in, std::size_t bytes) {
  const auto* from = static_cast<const std::uint8_t*>(in);
  while (bytes) {
    if (interrupts_own(offset)) {
      PVIOMMU_TRY(interrupts_->write(offset, *from));
      ++from, ++offset, --bytes;
      continue;
    }
    const unsigned width = uncovered_width(offset, bytes);
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= static_cast<std::uint32_t>(*from++) << (8 * i);
    PVIOMMU_TRY(write_natural(offset, width, value));
    offset += width;
    bytes -= width;
  }
  return {};
}

Result<std::uint32_t> ConfigSpace::read_natural(std::size_t offset, unsigned width) {
  if (touches(offset, width, PCI_BASE_ADDRESS_0, 24) || touches(offset, width, PCI_ROM_ADDRESS, 4))
    fix_bars();
  std::uint32_t shadow = 0, virt = 0;
  for (unsigned i = 0; i < width; ++i) {
    shadow |= static_cast<std::uint32_t>(shadow_[offset + i]) << (8 * i);
    virt |= static_cast<std::uint32_t>(virt_[offset + i]) << (8 * i);
  }
  const std::uint32_t full = width == 4 ? ~0u : (1u << (8 * width)) - 1;
  if (virt == full) return shadow;
  const std::uint32_t hardware = PVIOMMU_TRY(device_->config_read(offset, width));
  return (hardware & ~virt) | (shadow & virt);
}

Status ConfigSpace::write_natural(std::size_t offset, unsigned width, std::uint32_t value) {
  std::uint32_t to_hardware = 0;
  for (unsigned i = 0; i < width; ++i) {
    const auto byte = static_cast<std::uint8_t>(value >> (8 * i));
    const std::uint8_t virt = virt_[offset + i], write = write_[offset + i];
    shadow_[offset + i] =
        static_cast<std::uint8_t>((shadow_[offset + i] & ~(virt & write)) | (byte & virt & write));
    to_hardware |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(~virt & write)) << (8 * i);
  }
  if (to_hardware) {
    const std::uint32_t old = PVIOMMU_TRY(device_->config_read(offset, width));
    PVIOMMU_TRY(device_->config_write(offset, width, (old & ~to_hardware) | (value & to_hardware)));
  }
  return after_write(offset, width, value);
}

Status ConfigSpace::after_write(std::size_t offset, unsigned width, std::uint32_t value) {
  if (touches(offset, width, PCI_COMMAND, 2)) {
    if (offset == PCI_COMMAND) real_command_ = static_cast<std::uint16_t>(value & kDecodeBits);
    const bool disabled = shadow16(PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
    if (disabled != intx_disabled_) {
      intx_disabled_ = disabled;
      effects_->intx_disable_changed(disabled);
    }
  }
  if (pm_ && offset == pm_ + PCI_PM_CTRL) set_power_state(value & PCI_PM_CTRL_STATE_MASK);
  if (express_ && touches(offset, width, express_ + PCI_EXP_DEVCTL + 1, 1)) {
    // The initiate bit reads as zero (PCIe 4.0, 7.5.3.4).
    constexpr std::uint8_t kInitiate = PCI_EXP_DEVCTL_BCR_FLR >> 8;
    std::uint8_t& high = shadow_[express_ + PCI_EXP_DEVCTL + 1];
    const bool initiate = high & kInitiate;
    high &= static_cast<std::uint8_t>(~kInitiate);
    if (initiate && flr_) effects_->function_level_reset();
  }
  return {};
}

/// States that the device has not, and a way up that does not lead to D0, are not gone:
/// Linux's pci_set_power_state().
void ConfigSpace::set_power_state(unsigned state) {
  const std::uint16_t supported = shadow16(pm_ + PCI_PM_PMC);
  if (state != 0 && state < power_state_) return;
  if ((state == 1 && !(supported & PCI_PM_CAP_D1)) || (state == 2 && !(supported & PCI_PM_CAP_D2))) return;
  power_state_ = state;
  std::uint8_t& control = shadow_[pm_ + PCI_PM_CTRL];
  control = static_cast<std::uint8_t>((control & ~PCI_PM_CTRL_STATE_MASK) | state);
}

Status ConfigSpace::set_bus_master(bool on) {
  const std::uint32_t command = PVIOMMU_TRY(device_->config_read(PCI_COMMAND, 2));
  return device_->config_write(
      PCI_COMMAND, 2, on ? command | PCI_COMMAND_MASTER : command & ~std::uint32_t{PCI_COMMAND_MASTER});
}

void ConfigSpace::wake() {
  power_state_ = 0;
  if (pm_) shadow_[pm_ + PCI_PM_CTRL] &= static_cast<std::uint8_t>(~PCI_PM_CTRL_STATE_MASK);
}

Status ConfigSpace::restore() {
  const std::uint32_t command = PVIOMMU_TRY(device_->config_read(PCI_COMMAND, 2));
  wake();
  return device_->config_write(PCI_COMMAND, 2, (command & ~std::uint32_t{kDecodeBits}) | real_command_);
}

}  // namespace pviommu::vfio
