// SPDX-License-Identifier: LGPL-2.1-or-later
// The educational PCI device, as QEMU documents it in docs/specs/edu.rst.
//
//   0x00000  identification          RO   0x010000ed
//   0x00004  liveness                RW   answers ~x
//   0x00008  factorial               RW   n in, n! (mod 2^32) out
//   0x00020  status                  RW   0x01 computing (RO), 0x80 interrupt when done
//   0x00024  interrupt status        RO
//   0x00060  interrupt raise         WO   ORed into the interrupt status
//   0x00064  interrupt acknowledge   WO   cleared from the interrupt status
//   0x00080  DMA source              RW   64 bits
//   0x00088  DMA destination         RW   64 bits
//   0x00090  DMA count               RW   bytes
//   0x00098  DMA command             RW   1 run, 2 towards memory, 4 interrupt 0x100 when done
//   0x40000  4 KiB, the device's own end of a transfer; not readable by the program
//
// Registers below 0x80 take accesses of 4 bytes, those above 4 or 8.  A narrower
// access reads 0; a wide one below 0x80, and every place that is not documented,
// reads all ones; such writes are ignored.  That is what QEMU answers.
//
// The BAR can be mapped.  Where a mapping's accesses are not trapped the function's
// thread watches it then.  That is enough for DMA and interrupts, and it has the limits
// of watching: an answer (liveness, factorial) appears some time after the store, a
// store of what the register holds already is no store, and of two stores to one
// register in quick succession the device may see only the last.  Accesses by
// bar_read() and bar_write() have none of these limits, and see earlier mapped stores.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "hypercall/conf.h"
#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model {

struct EduOptions {
  /// Address bits that the DMA engine has.  It cuts the others off, as QEMU does.
  std::uint64_t dma_mask = (std::uint64_t{1} << 28) - 1;
  /// Time from the run bit to the transfer (QEMU: 100 ms).
  std::chrono::milliseconds dma_delay{0};

  /// Keys dma_mask, dma-delay (milliseconds, at most one minute).  What is not a
  /// number shows in conf.finish(); EINVAL: one is out of range.
  static Result<EduOptions> from(ConfReader& conf);
};

class Edu final : public PciFunction {
 public:
  Edu(Bus& bus, Sbdf sbdf, const EduOptions& options);
  ~Edu() override;

  /// What the DMA engine did since construction.  Any thread.
  struct Counters {
    std::uint64_t transfers = 0;  ///< completed
    std::uint64_t failed = 0;     ///< the bus refused
    std::uint64_t refused = 0;    ///< outside of the device's 4 KiB
    std::uint64_t clamped = 0;    ///< address above dma_mask
  };
  Counters counters();

 private:
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override;
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  void device_reset() override;
  bool poll() override;

  bool look();
  // `in_memory` is what is in the register's place: the published value, or what
  // the program stored there.
  void write_liveness(std::uint32_t value, std::uint32_t in_memory);
  void write_factorial(std::uint32_t value, std::uint32_t in_memory);
  void write_status(std::uint32_t value, std::uint32_t in_memory);
  void set_status(std::uint32_t status, std::uint32_t in_memory);
  void set_interrupt_status(std::uint32_t status);
  void raise_interrupt(std::uint32_t value);
  void acknowledge(std::uint32_t value);
  void start_transfer(std::uint64_t command, std::uint64_t in_memory);
  void compute();
  void transfer();

  template <class T>
  T load(std::uint64_t offset) const;
  template <class T>
  void store(std::uint64_t offset, T value);
  template <class T>
  T exchange(std::uint64_t offset, T value);
  template <class T>
  void replace(std::uint64_t offset, T expected, T value);

  static constexpr std::size_t kBufferSize = 4096;

  const EduOptions options_;
  std::byte* registers_ = nullptr;  ///< the BAR's memory

  // What the device published there; a difference in memory is a program's store.
  std::uint32_t liveness_ = 0;
  std::uint32_t factorial_ = 0;
  std::uint32_t status_ = 0;
  std::uint32_t interrupt_status_ = 0;
  std::uint64_t command_ = 0;

  // The transfer under way: latched when the run bit was seen.
  std::uint64_t source_ = 0;
  std::uint64_t destination_ = 0;
  std::uint64_t count_ = 0;
  std::chrono::steady_clock::time_point due_{};

  std::array<std::byte, kBufferSize> buffer_{};
  Counters counters_;
};

}  // namespace pviommu::model
