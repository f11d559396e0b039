// SPDX-License-Identifier: LGPL-2.1-or-later
// A modelled PCI function: configuration space, BARs, interrupts, a thread.
//
// This is the hardware, not the program's view of it: BAR registers answer
// sizing, command bits gate what they gate, MSI and MSI-X capabilities hold the
// messages the hypervisor programmed.
//
// A mappable BAR lives in a memfd.  Where a program stores there without telling
// anybody the function's thread looks at that memory (poll()) while a mapping
// exists: in pages of doorbells, and in all others where the front end has no way
// to make a mapping's accesses itself (vfio-glue/preload/traps.h).  Accesses by
// pread, pwrite and such a front end arrive at once in mmio_read()/mmio_write().
//
// Locking: mmio_*, poll, device_reset run with lock() held, and the methods of
// the "device side" below are called with it held.  They may use the bus;
// nothing on the bus calls back into a function: another device's access to a
// BAR (peer to peer) goes to its memory, as a program's store does.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "hypercall/delivery_thread.h"
#include "hypercall/model/pci/bus.h"
#include "hypercall/notification.h"
#include "hypercall/pci_device.h"
#include "hypercall/unique_fd.h"

namespace pviommu::model {

/// What a concrete device says of itself.
struct FunctionIdentity {
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint16_t subsystem_vendor = 0;
  std::uint16_t subsystem_device = 0;
  std::uint32_t class_code = 0;
  std::uint8_t revision = 0;
  bool express = false;  ///< 4096 bytes of configuration space; has add_express()
  bool flr = false;      ///< function-level reset (needs express)
  std::string description;
  bool soft_reset = false;  ///< is reset by going from D3hot to D0
};

class PciFunction {
 public:
  PciFunction(Bus& bus, Sbdf sbdf, FunctionIdentity identity);
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;
  virtual ~PciFunction();  ///< the concrete class has called stop()

  Sbdf sbdf() const { return sbdf_; }
  const FunctionIdentity& identity() const { return identity_; }
  /// Whether it is part of the root complex: then no port above can reset its bus.
  bool on_root_bus() const { return (sbdf_.raw() >> 8 & 0xff) == 0; }

  // ---- platform side (called by the model) --------------------------------
  BarInfo bar(unsigned index) const;
  std::size_t config_size() const { return identity_.express ? 4096 : 256; }
  std::uint32_t config_read(std::size_t offset, unsigned width);
  void config_write(std::size_t offset, unsigned width, std::uint32_t value);
  std::uint64_t bar_read(unsigned index, std::uint64_t offset, unsigned width);
  void bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value);
  Result<BarMapping> bar_mapping(unsigned index);
  void bar_mapped(unsigned index, bool mapped);
  /// Declares all BARs not mappable, whatever the constructor said.  Before start().
  void forbid_mapping();
  /// Memory of a mappable BAR for another device's access; null when it is not
  /// mappable or memory decoding is off.  Call peer_written() after a store.
  std::byte* peer_memory(unsigned index);
  void peer_written() { kick(); }
  /// Whether the piece of a BAR touches the MSI-X table, which is the hypervisor's.
  bool in_msix_table(unsigned index, std::uint64_t offset, unsigned width) const;
  bool can_reset() const { return identity_.flr || identity_.soft_reset; }
  /// Stops DMA, forgets all state, keeps BAR addresses and programmed messages
  /// as a function-level reset restored by the OS would.
  void reset();
  /// The reset the hardware does by itself: BAR addresses, command register and
  /// programmed messages are gone, too.
  void cold_reset();
  /// Level of the pin: asserted by the device and not disabled.
  bool intx_asserted();

  /// The hypervisor programs and clears messages: MSI capability or MSI-X table
  /// entry.  MSI has one message for all its vectors, vector n sends data + n:
  /// program index 0 with data aligned to the block, the block's size with
  /// set_msi_block().
  unsigned vector_count(VectorKind kind) const;  ///< 0: kind not implemented
  void program_message(VectorKind kind, unsigned index, std::uint64_t address, std::uint32_t data);
  /// Mask bit of a vector (MSI per-vector mask, MSI-X vector control); clearing
  /// it sends what was pending.
  void mask_message(VectorKind kind, unsigned index, bool masked);
  bool message_pending(VectorKind kind, unsigned index);
  /// Unmasks the vector and drops what is pending.
  void forget_message(VectorKind kind, unsigned index);
  /// True when the function can hold back single vectors of the kind itself.
  bool can_mask(VectorKind kind) const;
  /// Multiple Message Enable: 2^log2_vectors vectors may be used.
  void set_msi_block(unsigned log2_vectors);

  /// Starts / ends the function's thread.  start() fails with EAGAIN when there
  /// can be no more threads.  stop() is idempotent and must be called by the
  /// most derived destructor.
  Status start();
  void stop();

 protected:
  // ---- construction -------------------------------------------------------
  struct BarOptions {
    bool io = false;
    bool is_64bit = false;
    bool prefetchable = false;
    bool mappable = false;
    /// Whole pages that are memory to a program that maps them: of doorbells (only the last
    /// value counts, and nothing is read there), or without any effects.
    std::uint64_t direct_offset = 0;
    std::uint64_t direct_bytes = 0;
  };
  void add_bar(unsigned index, std::uint64_t size, BarOptions options);
  /// Bytes of the expansion ROM, a power of two of them; region 6, read-only.
  void add_rom(std::vector<std::byte> rom);
  void set_interrupt_pin(unsigned pin);  ///< 1 = INTA
  /// Where the next capability lies; without it, behind the one before.
  void next_capability_at(std::uint8_t offset) { next_free_ = offset; }
  /// Returns the capability's offset; `body` excludes the two header bytes.
  std::uint8_t add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                              std::span<const std::uint8_t> write_mask);
  struct ExtendedWord {
    std::uint32_t value = 0, writable = 0;
  };
  /// An extended capability (from 0x100 on): its header and what follows.
  void add_extended_capability(std::size_t offset, std::initializer_list<ExtendedWord> words);
  void add_express(unsigned version = 2);
  void add_msi(unsigned vectors, bool address_64bit, bool per_vector_mask);
  void add_msix(unsigned vectors, unsigned table_bar, std::uint32_t table_offset, unsigned pba_bar,
                std::uint32_t pba_offset);

  // ---- device side --------------------------------------------------------
  std::mutex& lock() { return lock_; }
  bool bus_master() const;
  bool memory_enabled() const;
  /// Accesses to memory, through the bus.  EPERM, and a not_attached fault: bus mastering
  /// is off.
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

  /// Memory of a memory BAR, zero at first; in a mappable one the program's
  /// stores appear here, so access it with relaxed atomics of natural width.
  /// Null for I/O BARs.  The MSI-X table and PBA lie in it at their offsets.
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
  struct Bar {
    std::uint64_t size = 0;
    BarOptions options;
    std::atomic<std::uint64_t> address{0};
    UniqueFd file;                ///< of a mappable BAR
    std::byte* memory = nullptr;  ///< of every memory BAR
    std::size_t memory_bytes = 0;
  };
  /// Lets the thread step back while somebody waits for the lock.
  class Entry;

  // pci_config.cc
  void put(std::size_t offset, unsigned width, std::uint32_t value);
  std::uint32_t get(std::size_t offset, unsigned width) const;
  void allow(std::size_t offset, unsigned width, std::uint32_t mask);
  void decode_changed();
  void full_reset();

  // pci_interrupts.cc
  std::uint32_t* msix_entry(unsigned index) const;
  std::uint32_t* msix_pending_word(unsigned index) const;
  void clear_msix_table();
  bool msi_enabled() const;
  bool msix_enabled() const;
  bool msix_masked(unsigned index) const;
  void send(std::uint64_t address, std::uint32_t data);
  void send_msi(unsigned index);
  void send_msix(unsigned index);
  void send_pending();
  void drop_pending();
  void update_pin();
  bool in_msix_pba(unsigned index, std::uint64_t offset, unsigned width) const;

  // pci_function.cc
  void make_bar_memory(unsigned index);
  bool decodes(unsigned index) const;
  Status may_master(Iova iova, Access access);
  void run();

  Bus& bus_;
  const Sbdf sbdf_;
  FunctionIdentity identity_;
  std::mutex lock_;
  std::atomic<int> entering_{0};

  // Configuration space: bytes, which bits a write changes, which it clears by 1.
  std::array<std::uint8_t, 4096> config_{};
  std::array<std::uint8_t, 4096> writable_{};
  std::array<std::uint8_t, 4096> write_clears_{};
  std::atomic<std::uint16_t> command_{0};  ///< copy of the register, read without the lock
  std::uint8_t last_capability_ = 0;
  std::uint8_t next_free_ = 0x40;
  std::uint8_t express_ = 0;  ///< offsets of the capabilities, 0: none
  std::uint8_t msi_ = 0;
  std::uint8_t msix_ = 0;

  std::array<Bar, kPciBars> bars_;
  std::vector<std::byte> rom_;
  std::atomic<std::uint32_t> mapped_bars_{0};

  bool level_ = false;         ///< what the device wants of the pin
  bool pin_asserted_ = false;  ///< what the bus was told
  unsigned msi_vectors_ = 0;
  bool msi_64bit_ = false;
  bool msi_maskable_ = false;
  unsigned msix_vectors_ = 0;
  unsigned msix_table_bar_ = 0;
  unsigned msix_pba_bar_ = 0;
  std::uint32_t msix_table_offset_ = 0;
  std::uint32_t msix_pba_offset_ = 0;

  std::mutex wake_lock_;  ///< taken after lock_, or alone
  std::condition_variable wake_;
  bool kicked_ = false;
  std::atomic<bool> stopping_{false};
  DeliveryThread thread_;
};

}  // namespace pviommu::model
