// SPDX-License-Identifier: LGPL-2.1-or-later
// The bits of the command register and of the MSI and MSI-X control words.
#include "msi/interrupt_registers.h"

#include <bit>

namespace pviommu::msi {
namespace {

constexpr std::size_t kCommand = 0x04;
constexpr std::uint16_t kCommandMemory = 1 << 1;
constexpr std::uint16_t kCommandIntxDisable = 1 << 10;

Result<std::uint16_t> read_word(PciDevice& device, std::size_t offset) {
  return static_cast<std::uint16_t>(PVIOMMU_TRY(device.config_read(offset, 2)));
}

}  // namespace

std::size_t InterruptRegisters::control_offset(VectorKind kind) const {
  return (kind == VectorKind::msi ? capabilities_.msi->offset : capabilities_.msix->offset) + 2u;
}

Result<std::uint16_t> InterruptRegisters::read_command() { return read_word(device_, kCommand); }

Result<InterruptRegisters::Values> InterruptRegisters::read(VectorKind kind) {
  Values values;
  values.command = PVIOMMU_TRY(read_command());
  if (kind != VectorKind::intx) values.control = PVIOMMU_TRY(read_word(device_, control_offset(kind)));
  return values;
}

Status InterruptRegisters::write_command(std::uint16_t command) { return device_.config_write(kCommand, 2, command); }

Status InterruptRegisters::write_control(VectorKind kind, std::uint16_t control) {
  if (kind == VectorKind::intx) return {};
  return device_.config_write(control_offset(kind), 2, control);
}

Status InterruptRegisters::restore_intx_disable(std::uint16_t model) {
  const std::uint16_t command = PVIOMMU_TRY(read_command());
  const std::uint16_t wanted = with_intx_disable_of(model, command);
  if (wanted == command) return {};
  return write_command(wanted);
}

Result<std::uint16_t> InterruptRegisters::open_table(VectorKind kind, std::uint16_t command) {
  if (kind != VectorKind::msix || (command & kCommandMemory) != 0) return command;
  const auto open = static_cast<std::uint16_t>(command | kCommandMemory);
  PVIOMMU_TRY(write_command(open));
  return open;
}

InterruptRegisters::Values InterruptRegisters::running(VectorKind kind, unsigned count, Values values) {
  switch (kind) {
    case VectorKind::intx:
      values.command &= static_cast<std::uint16_t>(~kCommandIntxDisable);
      return values;
    case VectorKind::msi:
      values.control &= static_cast<std::uint16_t>(~kMsiQueueSize);
      values.control |= static_cast<std::uint16_t>(kMsiEnable | queue_size(count) << kMsiQueueSizeShift);
      break;
    default:
      values.control &= static_cast<std::uint16_t>(~kMsixMaskAll);
      values.control |= kMsixEnable;
  }
  values.command |= kCommandIntxDisable;
  return values;
}

std::uint16_t InterruptRegisters::with_intx_disable_of(std::uint16_t model, std::uint16_t command) {
  return static_cast<std::uint16_t>((command & ~kCommandIntxDisable) | (model & kCommandIntxDisable));
}

std::uint16_t InterruptRegisters::with_msi_enabled(std::uint16_t control, bool enabled) {
  return static_cast<std::uint16_t>((control & ~kMsiEnable) | (enabled ? kMsiEnable : 0));
}

unsigned InterruptRegisters::queue_size(unsigned count) { return static_cast<unsigned>(std::bit_width(count - 1)); }

}  // namespace pviommu::msi
