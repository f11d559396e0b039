// SPDX-License-Identifier: LGPL-2.1-or-later
// Finding edu by configuration cycles, giving it addresses, and its DMA and MSI.
#include "tests/rigs/papr/guest/edu.h"

#include "tests/rigs/papr/guest/runtime.h"

namespace guest {
namespace {

constexpr std::uint32_t kMsi = 0x05, kMsix = 0x11;  // capabilities
constexpr std::uint32_t kEduId = 0x11e81234;
constexpr std::uint64_t kIdentification = 0x010000ed;
enum : std::uint64_t {
  kId = 0x00,
  kRaise = 0x60,
  kAcknowledge = 0x64,
  kSource = 0x80,
  kDestination = 0x88,
  kCount = 0x90,
  kCommand = 0x98
};
constexpr std::uint64_t kBuffer = 0x40000;
constexpr std::uint64_t kRun = 1, kToMemory = 2;

std::uint32_t read_config(RtasPort& rtas, PciAddress function, std::uint32_t offset, std::uint32_t bytes) {
  const std::uint32_t in[] = {function.config | offset, high_cell(function.buid), low_cell(function.buid),
                              bytes};
  std::uint32_t out[1] = {};
  return rtas.rtas(RtasCall::read_pci_config, in, 4, out, 1) == kRtasSuccess ? out[0] : ~0u;
}

/// Offset of the capability; 0: the function has none such.
std::uint32_t find_capability(RtasPort& rtas, PciAddress function, std::uint32_t id) {
  std::uint32_t at = read_config(rtas, function, 0x34, 1);
  while (at != 0 && read_config(rtas, function, at, 1) != id) at = read_config(rtas, function, at + 1, 1);
  return at;
}

}  // namespace

std::uint32_t find_msix(RtasPort& rtas, const HostBridge& bridge, PciAddress& function) {
  for (std::uint32_t device = 0; device < 32; ++device) {
    function = {bridge.buid, device << 11};
    if (read_config(rtas, function, 0, 4) == ~0u) continue;
    if (const std::uint32_t at = find_capability(rtas, function, kMsix); at != 0)
      return (read_config(rtas, function, at + 2, 2) & 0x7ff) + 1;
  }
  return 0;
}

std::uint32_t Edu::config_read(std::uint32_t offset, std::uint32_t bytes) {
  return read_config(*rtas_, address_, offset, bytes);
}

void Edu::config_write(std::uint32_t offset, std::uint32_t bytes, std::uint32_t value) {
  const std::uint32_t in[] = {address_.config | offset, high_cell(address_.buid), low_cell(address_.buid),
                              bytes, value};
  if (rtas_->rtas(RtasCall::write_pci_config, in, 5, nullptr, 0) != kRtasSuccess)
    die("no write to configuration space");
}

// Memory of devices is out of reach in real mode but by these hcalls.
std::uint64_t Edu::load(std::uint64_t offset, std::size_t bytes) {
  const std::uint64_t in[kHcallRegisters] = {bytes, registers_ + offset};
  std::uint64_t out[kHcallRegisters] = {};
  if (port_->hcall(Hcall::logical_ci_load, in, out) != kSuccess) die("no load from the device");
  if (!swapped_) return out[0];
  return bytes == 4 ? swap(static_cast<std::uint32_t>(out[0])) : swap(out[0]);
}

void Edu::store(std::uint64_t offset, std::size_t bytes, std::uint64_t value) {
  if (swapped_) value = bytes == 4 ? swap(static_cast<std::uint32_t>(value)) : swap(value);
  const std::uint64_t in[kHcallRegisters] = {bytes, registers_ + offset, value};
  std::uint64_t out[kHcallRegisters];
  if (port_->hcall(Hcall::logical_ci_store, in, out) != kSuccess) die("no store to the device");
}

bool Edu::find(Port& port, RtasPort& rtas, const HostBridge& bridge) {
  port_ = &port;
  rtas_ = &rtas;
  window_ = bridge.window;
  address_.buid = bridge.buid;
  bool found = false;
  for (std::uint32_t device = 0; device < 32 && !found; ++device) {
    address_.config = device << 11;
    found = config_read(0, 4) == kEduId;
  }
  if (!found) return false;

  config_write(0x10, 4, static_cast<std::uint32_t>(bridge.mmio_bus));
  config_write(0x04, 2, 0x6);  // memory, bus master
  registers_ = bridge.mmio;
  // Its registers have the byte order of the machine that QEMU was built for.
  swapped_ = load(kId, 4) != kIdentification;
  if (load(kId, 4) != kIdentification) die("no edu behind its BAR");

  msi_ = find_capability(rtas, address_, kMsi);
  if (msi_ == 0) die("edu has no MSI capability");
  return true;
}

void Edu::transfer(std::uint64_t source, std::uint64_t destination, std::size_t bytes,
                   std::uint64_t command) {
  asm volatile("sync" ::: "memory");
  store(kSource, 8, source);
  store(kDestination, 8, destination);
  store(kCount, 8, bytes);
  store(kCommand, 8, command);
  // The engine takes 100 ms of the machine's time; the script bounds the whole.
  while ((load(kCommand, 8) & kRun) != 0) {
  }
  asm volatile("sync" ::: "memory");
}

void Edu::read_memory(Ioba from, std::size_t buffer_offset, std::size_t bytes) {
  transfer(from.raw(), kBuffer + buffer_offset, bytes, kRun);
}

void Edu::write_memory(Ioba to, std::size_t buffer_offset, std::size_t bytes) {
  transfer(kBuffer + buffer_offset, to.raw(), bytes, kRun | kToMemory);
}

void Edu::raise() {
  store(kRaise, 4, 1);
  store(kAcknowledge, 4, 1);
}

void Edu::enable_msi(bool on) {
  const std::uint32_t control = config_read(msi_ + 2, 2);
  config_write(msi_ + 2, 2, on ? control | 1 : control & ~1u);
  config_write(0x04, 2, 0x406);  // and no INTx
}

void Edu::msi_message(std::uint64_t& address, std::uint32_t& data) {
  address = config_read(msi_ + 4, 4) | std::uint64_t{config_read(msi_ + 8, 4)} << 32;
  data = config_read(msi_ + 12, 2);
}

}  // namespace guest
