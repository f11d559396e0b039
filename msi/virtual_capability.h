// SPDX-License-Identifier: LGPL-2.1-or-later
// The MSI and MSI-X capabilities as a program sees them.
//
// The messages belong to the hypervisor: a program never reads the real ones
// and never writes them.  What it reads back is what it wrote, as under the
// kernel's VFIO (drivers/vfio/pci/vfio_pci_config.c):
//
//   MSI    control, low byte   the program's, all of it (QMAX and the 64-bit flag
//                              too); enable and QSIZE are cut to what is configured
//          control, high byte  read-only: per-vector masking
//          address, data       the program's
//          mask, pending       effective: delivery is held, pending reads it
//   MSI-X  everything          read-only; enable shows whether vectors are configured
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "hypercall/result.h"
#include "msi/capabilities.h"

namespace pviommu::msi {

/// What a program's configuration accesses act upon: the vector router.
class CapabilityEffects {
 public:
  virtual bool msi_configured() const = 0;   ///< SET_IRQS has MSI vectors enabled
  virtual bool msix_configured() const = 0;  ///< the same for MSI-X
  /// log2 of the vectors last configured, rounded up; 0 before: the limit for QSIZE.
  virtual unsigned msi_queue_limit() const = 0;
  /// The enable bit of the MSI control word while msi_configured().
  virtual Status set_delivery(bool enabled) = 0;
  /// Bit n: MSI vector n.  Unmasking delivers what was held.
  virtual std::uint32_t mask_bits() const = 0;
  virtual void set_mask_bits(std::uint32_t bits) = 0;
  virtual std::uint32_t pending_bits() const = 0;

 protected:
  ~CapabilityEffects() = default;
};

/// Accesses are byte by byte, so that those of any size and alignment come out as the
/// kernel's do.  Not thread-safe: the caller holds the lock of the configuration space.
class VirtualCapability {
 public:
  VirtualCapability(const InterruptCapabilities& capabilities, CapabilityEffects& effects);

  /// True for the bytes behind the two-byte header (id, next) of either
  /// capability; the header stays with the configuration space's list.
  bool covers(std::size_t offset) const;
  /// `offset` into configuration space; covers(offset).
  std::uint8_t read(std::size_t offset) const;
  /// Errors are those of set_delivery(); the byte is unchanged then.
  Status write(std::size_t offset, std::uint8_t value);

 private:
  std::uint8_t read_msi(unsigned offset) const;
  Status write_msi(unsigned offset, std::uint8_t value);
  std::uint8_t read_msix(unsigned offset) const;

  InterruptCapabilities capabilities_;
  CapabilityEffects& effects_;
  std::array<std::uint8_t, 24> msi_{};  ///< by offset into the capability
};

}  // namespace pviommu::msi
