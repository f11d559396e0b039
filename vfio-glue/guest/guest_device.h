// SPDX-License-Identifier: LGPL-2.1-or-later
// A device of this machine on the PCI bus of a guest.
//
// A VFIO program in small, on an engine of its own: what the guest does to the
// function's configuration space and to its MSI-X table becomes VFIO calls.
//
//   command, BARs    VFIO_IOMMU_MAP_DMA of the BAR at the guest's address
//   MSI, MSI-X       SET_IRQS with guest vectors (vfio_notification.h), or, of a message
//                    as Linux on Xen writes it, with the guest's event channel of a pirq
//   the rest         the device file's configuration region
//
// The memory of the guest is the device's by the hypervisor (guest mode); reads
// and writes of BARs do not come here, except in the pages of the MSI-X table.
// Not shown to the guest: BARs of I/O ports, the expansion ROM, INTx.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hypercall/guest_bus.h"
#include "msi/capabilities.h"
#include "vfio-glue/engine/engine.h"
#include "vfio-glue/vfio_notification.h"

namespace pviommu::vfio {

/// The second front end of the engine: a program of its own, with a Client (Program) and
/// the Files of one device.  Not thread-safe; GuestBus::serve() calls it, one access at a
/// time.
class GuestDevice final : public GuestFunction {
 public:
  /// Opens the device for `guest`.  `engine` and `bus` outlive it.  Errors that do
  /// not name the device themselves have no sentence.
  static Result<std::unique_ptr<GuestDevice>> open(Engine& engine, GuestBus& bus, Sbdf sbdf, Domid guest);
  ~GuestDevice();  ///< interrupts off, BARs out of the guest, the device closed

  std::uint32_t config_read(std::size_t offset, unsigned width) override;
  void config_write(std::size_t offset, unsigned width, std::uint32_t value) override;
  std::uint64_t memory_read(Iova address, unsigned width) override;
  void memory_write(Iova address, unsigned width, std::uint64_t value) override;

 private:
  class Program;
  struct Bar {
    std::uint64_t size = 0;  ///< bytes; 0: not shown
    bool is_64bit = false;
    bool mappable = false;
    std::optional<Iova> at;  ///< where the guest has it now
  };
  /// A piece of a BAR: mapped into the guest, or trapped.
  struct Piece {
    std::uint64_t offset, bytes;
    bool trapped;
  };
  struct Entry {  ///< of the MSI-X table
    std::array<std::uint32_t, 4> words{0, 0, 0, 1};
    bool written = false;           ///< the message, since MSI-X was off
    pviommu_notification target{};  ///< as it was set last
  };

  GuestDevice(Engine& engine, GuestBus& bus, Sbdf sbdf, Domid guest);
  Status start();
  Status read_layout();
  /// Keeps a register here instead of asking the device: `value`, of which the guest can
  /// write the bits in `writable`.
  void keep(std::size_t offset, unsigned width, std::uint32_t value, std::uint32_t writable);
  std::uint32_t kept(std::size_t offset, unsigned width) const;

  std::uint32_t device_config(std::size_t offset, unsigned width);
  void update_bars();
  std::vector<Piece> pieces(unsigned bar) const;
  Status place(unsigned bar, Iova at);
  void take_out(unsigned bar);
  void update_msi();
  void update_msix();
  void update_entry(unsigned index);
  bool has_message(const Entry& entry) const;
  Status enable_msix(unsigned count);
  pviommu_notification wanted(const Entry& entry) const;
  pviommu_notification target_of(std::uint64_t address, std::uint32_t data) const;
  Status set_irqs(std::uint32_t index, std::uint32_t start, std::span<pviommu_notification> targets);
  Status disable(std::uint32_t index) { return set_irqs(index, 0, {}); }
  void complain(const char* what, const Status& status) const;
  void complain_of_target(const char* what, const pviommu_notification& target, const Status& status) const;
  /// The word of the MSI-X table at a place of a BAR; null: something else is there.
  std::uint32_t* table_word(unsigned bar, std::uint64_t offset);

  const Sbdf sbdf_;
  const Domid guest_;
  GuestBus& bus_;
  std::unique_ptr<Program> program_;
  std::array<Bar, kPciBars> bars_;
  msi::InterruptCapabilities capabilities_;
  std::array<std::uint8_t, 256> value_{}, writable_{};
  std::array<bool, 256> kept_{};
  std::vector<pviommu_notification> msi_;  ///< as they were set last; empty: off
  std::vector<Entry> table_;
  bool msix_on_ = false;  ///< by the guest's word
  unsigned vectors_ = 0;  ///< of MSI-X, that the hypervisor has given
};

}  // namespace pviommu::vfio
