// SPDX-License-Identifier: LGPL-2.1-or-later
// `sc 1` for hcalls, RTAS through the hcall that stands for firmware, and memory handed out
// once.
#include "tests/rigs/papr/guest/machine.h"

#include "tests/rigs/papr/guest/runtime.h"

namespace guest {
namespace {

constexpr std::uint32_t kNoToken = 0;

std::uint64_t real(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

std::uint64_t time_base() {
  std::uint64_t value;
  asm volatile("mftb %0" : "=r"(value));
  return value;
}

}  // namespace

Rc MachinePort::hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  return hypervisor_call(static_cast<std::uint64_t>(op), in, out);
}

Rc MachinePort::put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) {
  alignas(kPageSize) static std::uint64_t list[kTcesPerCall];
  for (std::size_t i = 0; i < count; ++i) list[i] = swap(tces[i]);
  const std::uint64_t in[kHcallRegisters] = {liobn.raw(), ioba.raw(), real(list), count};
  std::uint64_t out[kHcallRegisters];
  return hcall(Hcall::put_tce_indirect, in, out);
}

void MachinePort::wait(std::uint32_t milliseconds) {
  const std::uint64_t until = time_base() + std::uint64_t{milliseconds} * 512000;  // 512 MHz on all pseries
  while (time_base() < until) {
  }
}

MachineRtas::MachineRtas(Port& port, const Fdt& tree) : port_(port) {
  const Node node = tree.child(tree.root(), "rtas");
  for (std::size_t i = 0; i < kRtasCalls; ++i) {
    const char* name = name_of(static_cast<RtasCall>(i));
    Property token = tree.property(node, name);
    // The configuration calls are known under their first names too.
    if (!token) token = tree.property(node, name + 4);
    tokens_[i] = token.cell(0);
  }
  set_power_off_token(tree.property(node, "power-off").cell(0));
}

// token | inputs | outputs | in.. | status | out..
RtasStatus MachineRtas::rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                             std::size_t outs) {
  alignas(64) static std::uint32_t block[32];
  const std::uint32_t token = tokens_[static_cast<std::size_t>(call)];
  if (token == kNoToken) return kRtasAbsent;
  if (3 + ins + 1 + outs > sizeof block / sizeof block[0]) return kRtasParameter;
  block[0] = swap(token);
  block[1] = swap(static_cast<std::uint32_t>(ins));
  block[2] = swap(static_cast<std::uint32_t>(1 + outs));
  for (std::size_t i = 0; i < ins; ++i) block[3 + i] = swap(in[i]);
  for (std::size_t i = 0; i <= outs; ++i) block[3 + ins + i] = 0;
  const std::uint64_t registers[kHcallRegisters] = {real(block)};
  std::uint64_t answer[kHcallRegisters];
  asm volatile("" ::: "memory");
  const Rc rc = port_.hcall(Hcall::rtas, registers, answer);
  asm volatile("" ::: "memory");
  if (rc != kSuccess && static_cast<std::int32_t>(swap(block[3 + ins])) == kRtasSuccess) return kRtasHardware;
  for (std::size_t i = 0; i < outs; ++i) out[i] = swap(block[4 + ins + i]);
  return static_cast<RtasStatus>(swap(block[3 + ins]));
}

std::uint8_t* Memory::take(std::size_t bytes, std::size_t alignment) {
  const std::uintptr_t at = (next_ + alignment - 1) & ~(alignment - 1);
  if (at > last_ || last_ - at < bytes) die("out of memory");
  next_ = at + bytes;
  return reinterpret_cast<std::uint8_t*>(at);
}

HostBridge read_host_bridge(const Fdt& tree, Node node) {
  HostBridge bridge;
  bridge.buid = Buid(tree.property(node, "reg").cells2(0));
  const Property window = tree.property(node, "ibm,dma-window");
  bridge.window.liobn = Liobn(window.cell(0));
  bridge.window.first = Ioba(window.cells2(1));
  bridge.window.entries = window.cells2(3) >> kTcePageShift;
  bridge.dynamic_windows = static_cast<bool>(tree.property(node, "ibm,ddw-applicable"));
  // phys.hi, two cells of bus address, two of real address, two of size; space 2 is
  // memory of 32 bits.
  const Property ranges = tree.property(node, "ranges");
  for (std::uint32_t i = 0; i + 7 <= ranges.cells(); i += 7)
    if ((ranges.cell(i) >> 24 & 3) == 2) {
      bridge.mmio_bus = ranges.cells2(i + 1);
      bridge.mmio = ranges.cells2(i + 3);
    }
  return bridge;
}

std::uint64_t memory_bytes(const Fdt& tree) {
  return tree.property(tree.child(tree.root(), "memory@0"), "reg").cells2(2);
}

}  // namespace guest
