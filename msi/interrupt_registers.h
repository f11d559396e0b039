// SPDX-License-Identifier: LGPL-2.1-or-later
// The two registers of a device that decide about its interrupts.
//
//   command register           ... | INTx disable | ... | memory space | ...
//                                    bit 10               bit 1
//   control word of MSI        ... | vectors enabled (log2), 6:4 | ... | enable, bit 0
//   control word of MSI-X      enable, bit 15 | mask all, bit 14 | table size
//
// (PCI Local Bus 3.0, 6.2.2, 6.8.1.3, 6.8.2.3.)  What they hold while a kind of
// vectors is active is computed here; when it is written, and what is undone when
// a later step fails, is the business of the vector router.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hypercall/notification.h"
#include "hypercall/pci_device.h"
#include "hypercall/result.h"
#include "msi/capabilities.h"

namespace pviommu::msi {

/// Holds no values and no lock: a caller that changes single bits keeps other
/// writers of the command register away.  Errors are those of
/// PciDevice::config_read() and config_write().  A kind is one that the device has.
class InterruptRegisters {
 public:
  struct Values {
    std::uint16_t command = 0;  ///< of it, the INTx-disable bit is the router's
    std::uint16_t control = 0;  ///< control word of the capability; INTx: 0
  };

  /// Both outlive this object.
  InterruptRegisters(PciDevice& device, const InterruptCapabilities& capabilities)
      : device_(device), capabilities_(capabilities) {}

  Result<Values> read(VectorKind kind);
  Result<std::uint16_t> read_command();
  Status write_command(std::uint16_t command);
  Status write_control(VectorKind kind, std::uint16_t control);  ///< INTx has none: nothing is done

  /// The INTx-disable bit as in `model`; the other bits of the register stay.
  Status restore_intx_disable(std::uint16_t model);
  /// The hypervisor masks and writes entries of the MSI-X table, which answers
  /// only while memory decoding is on (vfio_pci_memory_lock_and_enable() of the
  /// kernel).  Switches it on if need be, and answers what the command register
  /// holds then; `command`, which it held before, is the caller's to put back.
  Result<std::uint16_t> open_table(VectorKind kind, std::uint16_t command);

  /// `values` as they are to be while the device uses `count` vectors of the kind.
  static Values running(VectorKind kind, unsigned count, Values values);
  /// `command`, but with the INTx-disable bit, which is the router's, as in `model`.
  static std::uint16_t with_intx_disable_of(std::uint16_t model, std::uint16_t command);
  /// MSI's control word with its enable bit on or off.
  static std::uint16_t with_msi_enabled(std::uint16_t control, bool enabled);
  /// log2 of the number of messages, rounded up: what QSIZE of the MSI control word holds.
  static unsigned queue_size(unsigned count);

 private:
  std::size_t control_offset(VectorKind kind) const;

  PciDevice& device_;
  const InterruptCapabilities& capabilities_;
};

}  // namespace pviommu::msi
