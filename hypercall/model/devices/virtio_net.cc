// SPDX-License-Identifier: LGPL-2.1-or-later
//   doorbell --> poll(): loop_back()      transmit queue --> frame_ --> receive buffers
//                        run_commands()   control queue: accepted, and nothing changes
//                        finish()         used elements become visible, then the interrupt
//
// All of it runs with the function's lock held, on the function's thread but for the
// registers.  The queues' own rules are in virtio_net_queue.cc.
#include "hypercall/model/devices/virtio_net.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

#include "hypercall/model/devices/device_factory.h"

namespace pviommu::model {
namespace {

constexpr unsigned kRegisterBar = 0;
constexpr unsigned kMsixBar = 1;
constexpr std::uint64_t kRegisterBarSize = 64;
constexpr std::uint64_t kMsixBarSize = 4096;
constexpr std::uint32_t kPendingOffset = 0x800;
constexpr unsigned kVectors = 3;
constexpr std::uint16_t kNoVector = 0xffff;

constexpr std::uint64_t kHostFeatures = 0;
constexpr std::uint64_t kGuestFeatures = 4;
constexpr std::uint64_t kQueueAddress = 8;
constexpr std::uint64_t kQueueSize = 12;
constexpr std::uint64_t kQueueSelect = 14;
constexpr std::uint64_t kQueueNotify = 16;
constexpr std::uint64_t kStatus = 18;
constexpr std::uint64_t kInterruptStatus = 19;
constexpr std::uint64_t kConfigVector = 20;
constexpr std::uint64_t kQueueVector = 22;

constexpr std::uint8_t kDriverOk = 4;
constexpr std::uint8_t kQueueInterrupt = 1;
constexpr std::uint16_t kLinkUp = 1;

constexpr std::uint32_t kFeatureMac = 1u << 5;
constexpr std::uint32_t kFeatureMergeable = 1u << 15;
constexpr std::uint32_t kFeatureStatus = 1u << 16;
constexpr std::uint32_t kFeatureControlQueue = 1u << 17;
constexpr std::uint32_t kFeatureControlRx = 1u << 18;
constexpr std::uint32_t kFeatureAnyLayout = 1u << 27;
constexpr std::uint32_t kFeatureIndirect = 1u << 28;

// struct virtio_net_hdr; num_buffers follows with mergeable buffers.
constexpr std::size_t kHeader = 10;
constexpr std::size_t kMergeableHeader = 12;
constexpr std::size_t kBuffersOffset = 10;
constexpr std::size_t kMaxFrame = 65'550;  // 64 KiB of IP and an Ethernet header with a VLAN tag

constexpr std::size_t kMaxCommand = 4096;
constexpr std::uint8_t kClassRx = 0;
constexpr std::uint8_t kRxAllMulticast = 1;  // 0: promiscuous
constexpr std::uint8_t kAckOk = 0;
constexpr std::uint8_t kAckError = 1;

/// How many packets are handled at most while the lock is held.
constexpr unsigned kBatch = 64;
constexpr auto kWatchTime = std::chrono::microseconds(50);

FunctionIdentity virtio_identity() {
  FunctionIdentity identity;
  identity.vendor = 0x1af4;
  identity.device = 0x1000;
  identity.subsystem_vendor = 0x1af4;
  identity.subsystem_device = 0x0001;
  identity.class_code = 0x020000;
  identity.revision = 0;
  identity.description = "legacy virtio network card in loopback";
  return identity;
}

bool parse_mac(const std::string& text, MacAddress& mac) {
  unsigned bytes[6];
  int end = 0;
  if (std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
                  &bytes[4], &bytes[5], &end) != 6)
    return false;
  if (static_cast<std::size_t>(end) != text.size() || text.size() != 17 || (bytes[0] & 1) != 0) return false;
  std::copy(std::begin(bytes), std::end(bytes), mac.begin());
  return true;
}

}  // namespace

Result<VirtioNetOptions> VirtioNetOptions::from(Sbdf sbdf, ConfReader& conf) {
  VirtioNetOptions options;
  const std::string mac = conf.text("mac", "");
  const std::uint32_t number = sbdf.raw();
  options.mac = {0x52,
                 0x54,
                 static_cast<std::uint8_t>(number >> 24),
                 static_cast<std::uint8_t>(number >> 16),
                 static_cast<std::uint8_t>(number >> 8),
                 static_cast<std::uint8_t>(number)};
  if (!mac.empty() && !parse_mac(mac, options.mac))
    return Error{EINVAL, "virtio-net"}.with_sentence("mac=" + mac +
                                                     " is not an address of one card, like 52:54:00:12:34:56");
  options.mergeable = conf.flag("mrg_rxbuf", options.mergeable);
  options.indirect = conf.flag("indirect_desc", options.indirect);
  return options;
}

Result<std::unique_ptr<PciFunction>> make_virtio_net(Bus& bus, Sbdf sbdf, ConfReader& conf) {
  const VirtioNetOptions options = PVIOMMU_TRY(VirtioNetOptions::from(sbdf, conf));
  return std::unique_ptr<PciFunction>(std::make_unique<VirtioNet>(bus, sbdf, options));
}

VirtioNet::VirtioNet(Bus& bus, Sbdf sbdf, const VirtioNetOptions& options)
    : PciFunction(bus, sbdf, virtio_identity()), options_(options), queues_{*this, *this, *this} {
  BarOptions registers;
  registers.io = true;
  add_bar(kRegisterBar, kRegisterBarSize, registers);
  add_bar(kMsixBar, kMsixBarSize, BarOptions());
  set_interrupt_pin(1);
  add_msix(kVectors, kMsixBar, 0, kMsixBar, kPendingOffset);
  device_reset();
}

VirtioNet::~VirtioNet() { stop(); }

VirtioNet::Counters VirtioNet::counters() {
  std::lock_guard guard(lock());
  return counters_;
}

const char* VirtioNet::queue_error(Queue queue) {
  std::lock_guard guard(lock());
  return queues_[queue].ring.error();
}

void VirtioNet::device_reset() {
  mac_ = options_.mac;
  guest_features_ = 0;
  selected_ = 0;
  status_ = 0;
  interrupt_status_ = 0;
  config_vector_ = kNoVector;
  for (NetQueue& queue : queues_) {
    queue.ring.set_up(0);
    queue.ring.allow_indirect(false);
    queue.vector = kNoVector;
    queue.notified = false;
    queue.stop_counted = false;
  }
  watching_ = false;
  receive_waiting_ = 0;
  set_intx(false);
}

// ---- registers ---------------------------------------------------------------

std::uint64_t VirtioNet::device_config() const { return uses_intx() ? 20 : 24; }

std::uint32_t VirtioNet::host_features() const {
  return kFeatureMac | kFeatureStatus | kFeatureControlQueue | kFeatureControlRx | kFeatureAnyLayout |
         (options_.mergeable ? kFeatureMergeable : 0) | (options_.indirect ? kFeatureIndirect : 0);
}

std::size_t VirtioNet::header_size() const {
  return guest_features_ & kFeatureMergeable ? kMergeableHeader : kHeader;
}

std::uint64_t VirtioNet::mmio_read(unsigned bar, std::uint64_t offset, unsigned width) {
  if (bar != kRegisterBar) return 0;
  // Any part of the registers can be read, so they are laid out first.
  std::array<std::uint8_t, kRegisterBarSize + 8> image{};
  auto put = [&image](std::uint64_t at, unsigned bytes, std::uint32_t value) {
    for (unsigned i = 0; i < bytes; ++i) image[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  };
  const bool queue_exists = selected_ < kQueues;
  put(kHostFeatures, 4, host_features());
  put(kGuestFeatures, 4, guest_features_);
  put(kQueueAddress, 4, queue_exists ? queues_[selected_].ring.page_frame() : 0);
  put(kQueueSize, 2, queue_exists ? VirtioQueue::kSize : 0);
  put(kQueueSelect, 2, selected_);
  put(kStatus, 1, status_);
  put(kInterruptStatus, 1, interrupt_status_);
  if (!uses_intx()) {
    put(kConfigVector, 2, config_vector_);
    put(kQueueVector, 2, queue_exists ? queues_[selected_].vector : kNoVector);
  }
  std::copy(mac_.begin(), mac_.end(), image.begin() + static_cast<std::ptrdiff_t>(device_config()));
  put(device_config() + mac_.size(), 2, kLinkUp);

  if (offset <= kInterruptStatus && kInterruptStatus < offset + width && interrupt_status_ != 0) {
    interrupt_status_ = 0;
    set_intx(false);
  }
  std::uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= std::uint64_t{image[offset + i]} << (8 * i);
  return value;
}

void VirtioNet::mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (bar != kRegisterBar) return;
  if (offset >= device_config()) return write_device_config(offset - device_config(), width, value);
  // A register takes its own width and nothing else.
  const std::uint64_t place = offset << 4 | width;
  const auto half = static_cast<std::uint16_t>(value);
  switch (place) {
    case kGuestFeatures << 4 | 4:
      return set_guest_features(static_cast<std::uint32_t>(value));
    case kQueueAddress << 4 | 4:
      return set_queue_address(static_cast<std::uint32_t>(value));
    case kQueueSelect << 4 | 2:
      selected_ = half;
      return;
    case kQueueNotify << 4 | 2:
      if (half >= kQueues) return;
      queues_[half].notified = true;
      return kick();
    case kStatus << 4 | 1:
      return set_status(static_cast<std::uint8_t>(value));
    case kConfigVector << 4 | 2:
      config_vector_ = half < kVectors ? half : kNoVector;
      return;
    case kQueueVector << 4 | 2:
      if (selected_ < kQueues) queues_[selected_].vector = half < kVectors ? half : kNoVector;
      return;
    default:
      return;
  }
}

void VirtioNet::write_device_config(std::uint64_t offset, unsigned width, std::uint64_t value) {
  for (unsigned i = 0; i < width && offset + i < mac_.size(); ++i)
    mac_[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
}

void VirtioNet::set_guest_features(std::uint32_t features) {
  guest_features_ = features & host_features();
  for (NetQueue& queue : queues_) queue.ring.allow_indirect(guest_features_ & kFeatureIndirect);
}

void VirtioNet::set_queue_address(std::uint32_t page_frame) {
  if (selected_ >= kQueues) return;
  NetQueue& queue = queues_[selected_];
  queue.ring.set_up(page_frame);
  queue.stop_counted = false;
  if (selected_ == kReceive) receive_waiting_ = 0;
}

void VirtioNet::set_status(std::uint8_t status) {
  if (status == 0) return device_reset();
  status_ = status;
  if (status_ & kDriverOk) kick();
}

// ---- work of the thread ------------------------------------------------------

bool VirtioNet::poll() {
  if (!bus_master()) return false;
  bool worked = run_commands();
  if (status_ & kDriverOk) worked = loop_back() || worked;

  NetQueue& transmit = queues_[kTransmit];
  if (worked) {
    last_work_ = std::chrono::steady_clock::now();
  } else if (watching_ && std::chrono::steady_clock::now() - last_work_ > kWatchTime) {
    // Notifications on first, then one more look: what was sent before the
    // driver saw them on is found here, what is sent later is announced.
    watching_ = false;
    transmit.ring.publish(/*no_notify=*/false);
    worked = transmit.ring.waiting() != 0;
  } else if (watching_) {
    worked = transmit.ring.usable();
  }

  for (NetQueue& queue : queues_) {
    if (queue.ring.error() == nullptr || queue.stop_counted) continue;
    queue.stop_counted = true;
    ++counters_.stopped_queues;
  }
  return worked;
}

bool VirtioNet::loop_back() {
  NetQueue& transmit = queues_[kTransmit];
  const unsigned count = std::min(transmit.ring.waiting(), kBatch);
  if (count == 0) return false;
  for (unsigned i = 0; i < count; ++i)
    if (!transmit_one()) break;
  watching_ = true;
  // Received before sent: a program that waits for its buffer to come back can
  // rely on the packet being there.  Receive buffers are looked up when they are
  // needed, so nobody has to announce them.
  finish(queues_[kReceive], /*no_notify=*/true);
  finish(transmit, /*no_notify=*/true);
  return true;
}

/// Takes one packet from the transmit queue.  False: the queue was stopped.
bool VirtioNet::transmit_one() {
  VirtioQueue& ring = queues_[kTransmit].ring;
  if (!ring.peek(0, sent_)) return false;
  if (!sent_.writable.empty()) return ring.stop("transmit buffer is writable");
  if (sent_.readable_bytes <= header_size()) return ring.stop("packet without contents");
  if (sent_.readable_bytes > header_size() + kMaxFrame) return ring.stop("packet is too long");
  frame_.resize(sent_.readable_bytes);
  if (!ring.copy_out(sent_, frame_)) return false;
  deliver(frame_);
  ring.take(1);
  return ring.add_used(sent_.head, 0);
}

/// Puts a packet with its header into receive buffers.
void VirtioNet::deliver(std::span<std::byte> frame) {
  VirtioQueue& ring = queues_[kReceive].ring;
  const bool mergeable = guest_features_ & kFeatureMergeable;
  std::uint64_t room = 0;
  unsigned buffers = 0;
  while (room < frame.size()) {
    if (buffers != 0 && !mergeable) {
      ++counters_.dropped_too_big;
      return;
    }
    if (buffers == receive_waiting_) receive_waiting_ = ring.waiting();
    if (buffers == receive_waiting_) {
      ++counters_.dropped_no_buffer;
      return;
    }
    if (buffers == buffers_.size()) buffers_.emplace_back();
    VirtioChain& buffer = buffers_[buffers];
    if (!ring.peek(buffers, buffer)) break;
    if (!buffer.readable.empty() || (buffers == 0 && buffer.writable_bytes < header_size())) {
      ring.stop("receive buffer is readable, or too small for the header");
      break;
    }
    room += buffer.writable_bytes;
    ++buffers;
  }
  if (!ring.usable()) {
    receive_waiting_ = 0;
    ++counters_.dropped_no_buffer;
    return;
  }

  // No offload was negotiated: the header says nothing but the number of buffers.
  std::memset(frame.data(), 0, header_size());
  const auto number = static_cast<std::uint16_t>(buffers);
  if (mergeable) std::memcpy(&frame[kBuffersOffset], &number, sizeof(number));

  const std::size_t payload = frame.size() - header_size();
  for (unsigned i = 0; i < buffers; ++i) {
    const auto part = frame.first(std::min<std::uint64_t>(buffers_[i].writable_bytes, frame.size()));
    frame = frame.subspan(part.size());
    if (!ring.copy_in(buffers_[i], part) ||
        !ring.add_used(buffers_[i].head, static_cast<std::uint32_t>(part.size()))) {
      receive_waiting_ = 0;
      ++counters_.dropped_no_buffer;
      return;
    }
  }
  ring.take(buffers);
  receive_waiting_ -= buffers;
  ++counters_.packets;
  counters_.bytes += payload;
}

bool VirtioNet::run_commands() {
  NetQueue& queue = queues_[kControl];
  if (!queue.notified) return false;
  queue.notified = false;
  const unsigned count = queue.ring.waiting();
  for (unsigned i = 0; i < count; ++i) {
    if (!queue.ring.peek(0, sent_)) break;
    if (sent_.readable_bytes > kMaxCommand || sent_.writable_bytes == 0) {
      queue.ring.stop("command is too long, or has no place for the answer");
      break;
    }
    frame_.resize(sent_.readable_bytes);
    if (!queue.ring.copy_out(sent_, frame_)) break;
    const std::byte answer{command(frame_)};
    if (!queue.ring.copy_in(sent_, std::span(&answer, 1))) break;
    queue.ring.take(1);
    if (!queue.ring.add_used(sent_.head, 1)) break;
    ++counters_.commands;
  }
  finish(queue, /*no_notify=*/false);
  return count != 0;
}

std::uint8_t VirtioNet::command(std::span<const std::byte> bytes) {
  if (bytes.size() != 3) return kAckError;  // class, command, on or off
  const bool known = std::to_integer<std::uint8_t>(bytes[0]) == kClassRx &&
                     std::to_integer<std::uint8_t>(bytes[1]) <= kRxAllMulticast;
  return known ? kAckOk : kAckError;
}

/// Publishes what was used and interrupts, if the driver wants that.
void VirtioNet::finish(NetQueue& queue, bool no_notify) {
  const bool news = queue.ring.unpublished();
  if (!queue.ring.publish(no_notify) || !news || !queue.ring.wants_interrupt()) return;
  interrupt_status_ |= kQueueInterrupt;
  if (uses_intx()) {
    set_intx(true);
  } else if (queue.vector != kNoVector) {
    raise(queue.vector);
  }
}

}  // namespace pviommu::model
