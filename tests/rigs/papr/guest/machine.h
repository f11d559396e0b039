// SPDX-License-Identifier: LGPL-2.1-or-later
// This machine: its device tree, its hcalls and RTAS, its memory and host bridges.
#pragma once

#include "hypercall/papr/core/rtas.h"
#include "hypercall/papr/core/tce_window.h"
#include "tests/rigs/papr/guest/fdt.h"

namespace guest {

using namespace pviommu;
using namespace pviommu::papr;

/// Hcalls by `sc 1`.
class MachinePort final : public Port {
 public:
  Rc hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) override;
  Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) override;
  void wait(std::uint32_t milliseconds) override;
};

/// RTAS by the hcall that KVM and QEMU have for it.
class MachineRtas final : public RtasPort {
 public:
  /// Takes the tokens from /rtas.
  MachineRtas(Port& port, const Fdt& tree);
  RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                  std::size_t outs) override;
  void wait(std::uint32_t milliseconds) override { port_.wait(milliseconds); }

 private:
  Port& port_;
  std::uint32_t tokens_[kRtasCalls] = {};
};

/// Memory from `first` upwards; zeroed, because the machine is fresh.
class Memory {
 public:
  Memory(std::uintptr_t first, std::uintptr_t last) : next_(first), last_(last) {}
  std::uint8_t* take(std::size_t bytes, std::size_t alignment);
  RealAddress last() const { return RealAddress(last_); }

 private:
  std::uintptr_t next_;
  std::uintptr_t last_;
};

/// A PCI host bridge: /pci@BUID.
struct HostBridge {
  Buid buid;
  WindowGeometry window;         ///< ibm,dma-window
  bool dynamic_windows = false;  ///< ibm,ddw-applicable
  std::uint64_t mmio = 0;        ///< real address behind the first address of its 32-bit range
  std::uint64_t mmio_bus = 0;
};

HostBridge read_host_bridge(const Fdt& tree, Node node);
/// Bytes of /memory@0.
std::uint64_t memory_bytes(const Fdt& tree);

}  // namespace guest
