// SPDX-License-Identifier: LGPL-2.1-or-later
// A modelled PCI function: configuration space, BARs, interrupts, a thread.
//
// This is the hardware, not the program's view of it: BAR registers answer
// sizing, command bits gate what they gate, MSI and MSI-X capabilities hold the
// messages the hypervisor programmed.
//
// A mappable BAR lives in a memfd.  A program that mmaps it writes registers
// without telling anybody, so the function's thread looks at that memory
// (poll()) while a mapping exists; accesses by pread/pwrite arrive at once in
// mmio_read()/mmio_write().
//
// Locking: mmio_*, poll, device_reset run with lock() held.  They may use the
// bus; nothing on the bus calls back into a function.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "hypercall/model/bus.h"
#include "hypercall/notification.h"
#include "hypercall/pci_device.h"
#include "hypercall/unique_fd.h"

namespace pviommu::model {

/// What a concrete device is made of; all offsets are the constructor's choice.
struct FunctionIdentity {
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint16_t subsystem_vendor = 0;
  std::uint16_t subsystem_device = 0;
  std::uint32_t class_code = 0;
  std::uint8_t revision = 0;
  bool express = false;      ///< 4096 bytes of configuration space, PCIe capability
  bool flr = false;          ///< function-level reset (needs express)
  std::string description;
};

class PciFunction {
 public:
  PciFunction(Bus& bus, Sbdf sbdf, FunctionIdentity identity);
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;
  virtual ~PciFunction();  ///< the concrete class has called stop()

  Sbdf sbdf() const { return sbdf_; }
  const FunctionIdentity& identity() const { return identity_; }

  // ---- platform side (called by the model) --------------------------------
  BarInfo bar(unsigned index) const;
  std::size_t config_size() const { return identity_.express ? 4096 : 256; }
  std::uint32_t config_read(std::size_t offset, unsigned width);
  void config_write(std::size_t offset, unsigned width, std::uint32_t value);
  std::uint64_t bar_read(unsigned index, std::uint64_t offset, unsigned width);
  void bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value);
  Result<BarMapping> bar_mapping(unsigned index);
  void bar_mapped(unsigned index, bool mapped);
  bool can_reset() const { return identity_.flr; }
  /// Stops DMA, forgets all state, keeps BAR addresses and programmed messages
  /// as a function-level reset restored by the OS would.
  void reset();
  bool intx_asserted();

  /// The hypervisor programs and clears messages: MSI capability or MSI-X table entry.
  unsigned vector_count(VectorKind kind) const;  ///< 0: kind not implemented
  void program_message(VectorKind kind, unsigned index, std::uint64_t address, std::uint32_t data);
  /// Mask bit of a vector (MSI per-vector mask, MSI-X vector control); clearing
  /// it sends what was pending.
  void mask_message(VectorKind kind, unsigned index, bool masked);
  bool message_pending(VectorKind kind, unsigned index);

  /// Starts / ends the function's thread.  stop() is idempotent and must be
  /// called by the most derived destructor.
  void start();
  void stop();

 protected:
  // ---- construction -------------------------------------------------------
  struct BarOptions {
    bool io = false;
    bool is_64bit = false;
    bool prefetchable = false;
    bool mappable = false;
  };
  void add_bar(unsigned index, std::uint64_t size, BarOptions options);
  void set_interrupt_pin(unsigned pin);  ///< 1 = INTA
  /// Returns the capability's offset; `body` excludes the two header bytes.
  std::uint8_t add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                              std::span<const std::uint8_t> write_mask);
  void add_msi(unsigned vectors, bool address_64bit, bool per_vector_mask);
  void add_msix(unsigned vectors, unsigned table_bar, std::uint32_t table_offset, unsigned pba_bar,
                std::uint32_t pba_offset);

  // ---- device side --------------------------------------------------------
  std::mutex& lock() { return lock_; }
  bool bus_master() const;
  bool memory_enabled() const;
  /// Refused with EPERM (and a not_attached fault) while bus mastering is off.
  Status dma_read(Iova iova, std::span<std::byte> out);
  Status dma_write(Iova iova, std::span<const std::byte> in);
  Status dma_to_file(Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset);
  Status dma_from_file(Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset);
  /// Sends vector `index` by MSI-X or MSI, whichever is enabled; honours the
  /// masks (pending bit).  Nothing when neither is enabled.
  void raise(unsigned index);
  /// True when INTx is what the function must use.
  bool uses_intx() const;
  void set_intx(bool asserted);

  /// Memory of a mappable BAR, where the program's stores appear.  `offset` and
  /// width natural; relaxed atomics of width 1, 2, 4, 8.
  std::byte* bar_memory(unsigned index);
  /// True while the program has the BAR mapped.
  bool is_mapped(unsigned index) const;

  // ---- to be written by the device ----------------------------------------
  /// The MSI-X table and PBA are answered before these are asked.
  virtual std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) = 0;
  virtual void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) = 0;
  virtual void device_reset() = 0;
  /// Looks at mapped BAR memory and goes on with work; true when there was any.
  /// Called in a loop by the thread: closely while it returns true, ever more
  /// rarely while it does not and a BAR is mapped, not at all while no BAR is
  /// mapped and nobody kick()s.
  virtual bool poll() = 0;
  /// Wakes the thread (after mmio_write() left it something to do).
  void kick();

 private:
  Bus& bus_;
  const Sbdf sbdf_;
  FunctionIdentity identity_;
  std::mutex lock_;
  // implementation's members follow
};

}  // namespace pviommu::model
