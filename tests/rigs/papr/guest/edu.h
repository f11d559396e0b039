// SPDX-License-Identifier: LGPL-2.1-or-later
// QEMU's edu device (docs/specs/edu.txt) behind a host bridge that nobody has set up.
#pragma once

#include "tests/papr/platform.h"
#include "tests/rigs/papr/guest/machine.h"

namespace guest {

/// The vectors of the first function on bus 0 that has MSI-X; 0: there is none.
std::uint32_t find_msix(RtasPort& rtas, const HostBridge& bridge, PciAddress& function);

class Edu final : public papr_suite::Device {
 public:
  Edu() = default;
  /// Looks for one on bus 0 of the bridge and brings it up: BAR, memory, bus master.
  bool find(Port& port, RtasPort& rtas, const HostBridge& bridge);

  PciAddress address() const override { return address_; }
  const WindowGeometry& window() const override { return window_; }
  void read_memory(Ioba from, std::size_t buffer_offset, std::size_t bytes) override;
  void write_memory(Ioba to, std::size_t buffer_offset, std::size_t bytes) override;
  void raise() override;
  void enable_msi(bool on) override;
  void msi_message(std::uint64_t& address, std::uint32_t& data) override;

 private:
  std::uint32_t config_read(std::uint32_t offset, std::uint32_t bytes);
  void config_write(std::uint32_t offset, std::uint32_t bytes, std::uint32_t value);
  std::uint64_t load(std::uint64_t offset, std::size_t bytes);
  void store(std::uint64_t offset, std::size_t bytes, std::uint64_t value);
  void transfer(std::uint64_t source, std::uint64_t destination, std::size_t bytes, std::uint64_t command);

  Port* port_ = nullptr;
  RtasPort* rtas_ = nullptr;
  PciAddress address_;
  WindowGeometry window_;
  std::uint64_t registers_ = 0;
  std::uint32_t msi_ = 0;  ///< offset of the capability
  bool swapped_ = false;
};

}  // namespace guest
