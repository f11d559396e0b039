// SPDX-License-Identifier: LGPL-2.1-or-later
// A network card in loopback: virtio-net by the legacy interface (virtio 0.9.5).
//
// Every packet sent comes back, as if the cable were plugged into itself; a
// packet that finds no receive buffer is dropped and counted.  Address filters
// do not matter on such a cable, so promiscuous and all-multicast mode are
// accepted and change nothing.
//
// BAR0 (I/O, 64 bytes), the header of 2.2.2; device configuration follows at 20,
// or at 24 while MSI-X is enabled and has its two registers in between:
//
//    0  host features   4 RO     14  queue select    2 RW     20  config vector  2 RW
//    4  guest features  4 RW     16  queue notify    2 WO     22  queue vector   2 RW
//    8  queue address   4 RW     18  status          1 RW
//   12  queue size      2 RO     19  interrupt status 1 RO, reading clears
//
//   device configuration: MAC 6 RW, link status 2 RO
//
// BAR1 (memory, 4 KiB): MSI-X table and pending bits of 3 vectors.
//
// The thread looks at the transmit queue for a while after the last packet, with
// notifications switched off meanwhile, so that a busy driver rings no doorbells.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hypercall/conf.h"
#include "hypercall/model/pci/pci_function.h"
#include "hypercall/model/devices/virtio_net_queue.h"

namespace pviommu::model {

using MacAddress = std::array<std::uint8_t, 6>;

struct VirtioNetOptions {
  MacAddress mac{};
  bool mergeable = true;  ///< offer VIRTIO_NET_F_MRG_RXBUF
  bool indirect = true;   ///< offer VIRTIO_RING_F_INDIRECT_DESC

  /// Keys mac, mrg_rxbuf, indirect_desc; without mac= one is made from the
  /// function's number.  EINVAL: a bad address.
  static Result<VirtioNetOptions> from(Sbdf sbdf, ConfReader& conf);
};

class VirtioNet final : public PciFunction, private DmaPort {
 public:
  enum Queue : unsigned { kReceive, kTransmit, kControl, kQueues };

  VirtioNet(Bus& bus, Sbdf sbdf, const VirtioNetOptions& options);
  ~VirtioNet() override;

  struct Counters {
    std::uint64_t packets = 0;  ///< delivered
    std::uint64_t bytes = 0;    ///< of them, without headers
    std::uint64_t dropped_no_buffer = 0;
    std::uint64_t dropped_too_big = 0;  ///< for the buffer, without mergeable buffers
    std::uint64_t commands = 0;         ///< on the control queue
    std::uint64_t stopped_queues = 0;   ///< ring broke a rule, or the bus refused
  };
  /// Since construction.  Any thread.
  Counters counters();
  /// Why the queue was stopped, null while it was not.  Any thread.
  const char* queue_error(Queue queue);

 private:
  struct NetQueue {
    NetQueue(DmaPort& port) : ring(port) {}
    VirtioQueue ring;
    std::uint16_t vector = 0;
    bool notified = false;
    bool stop_counted = false;
  };

  // PciFunction
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override;
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  void device_reset() override;
  bool poll() override;
  // DmaPort
  Status read(Iova iova, std::span<std::byte> out) override { return dma_read(iova, out); }
  Status write(Iova iova, std::span<const std::byte> in) override { return dma_write(iova, in); }

  std::uint64_t device_config() const;
  std::uint32_t host_features() const;
  void set_guest_features(std::uint32_t features);
  void set_queue_address(std::uint32_t page_frame);
  void set_status(std::uint8_t status);
  void write_device_config(std::uint64_t offset, unsigned width, std::uint64_t value);
  std::size_t header_size() const;

  bool loop_back();
  bool transmit_one();
  void deliver(std::span<std::byte> frame);
  bool run_commands();
  std::uint8_t command(std::span<const std::byte> bytes);
  void finish(NetQueue& queue, bool no_notify);

  const VirtioNetOptions options_;
  MacAddress mac_{};
  std::uint32_t guest_features_ = 0;
  std::uint16_t selected_ = 0;
  std::uint8_t status_ = 0;
  std::uint8_t interrupt_status_ = 0;
  std::uint16_t config_vector_ = 0;
  std::array<NetQueue, kQueues> queues_;

  bool watching_ = false;  ///< notifications are off; the thread looks by itself
  std::chrono::steady_clock::time_point last_work_{};

  // Kept for their memory.
  std::vector<std::byte> frame_;
  VirtioChain sent_;
  std::vector<VirtioChain> buffers_;
  unsigned receive_waiting_ = 0;

  Counters counters_;
};

}  // namespace pviommu::model
