// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupt vectors of a device and the places their arrivals can go to.
#pragma once

#include <cstdint>

#include "hypercall/strong.h"

namespace pviommu {

/// In the order of VFIO_PCI_*_IRQ_INDEX.
enum class VectorKind : std::uint8_t { intx = 0, msi = 1, msix = 2 };
const char* to_string(VectorKind kind);
using VectorKinds = std::uint8_t;  ///< set of bit(VectorKind)
constexpr VectorKinds bit(VectorKind kind) { return static_cast<VectorKinds>(1u << static_cast<unsigned>(kind)); }

/// One vector of one device; `index` is VFIO's subindex (MSI-X: table entry).
struct Vector {
  Sbdf sbdf;
  VectorKind kind = VectorKind::msi;
  unsigned index = 0;
  friend bool operator==(const Vector&, const Vector&) = default;
};

/// Local event channel port.
using EventPort = Strong<struct EventPortTag, std::uint32_t>;

/// Receives arrivals in this process.  Called from the backend's own threads,
/// possibly from several at once; must not block and must not call back into
/// the hypervisor.  unbind_vector() returns only when no call is under way.
class EventSink {
 public:
  virtual void event(const Vector& vector) noexcept = 0;

 protected:
  ~EventSink() = default;
};

enum class NotificationKind : std::uint8_t {
  sink = 1 << 0,           ///< an EventSink of this process (VFIO: the program's eventfd)
  event_channel = 1 << 1,  ///< a port of this domain or of another one
  guest_vector = 1 << 2,   ///< a vector in a guest's interrupt controller
};
/// Domid of an event channel of the domain that this process runs in.
inline constexpr Domid kDomidSelf{0x7ff0};
using NotificationKinds = std::uint8_t;  ///< set of NotificationKind bits
constexpr NotificationKinds bit(NotificationKind kind) { return static_cast<NotificationKinds>(kind); }

struct Notification {
  NotificationKind kind = NotificationKind::sink;
  EventSink* sink = nullptr;   ///< kind sink; outlives the binding
  Domid domid{};               ///< kinds event_channel, guest_vector
  /// Kind event_channel.  Of kDomidSelf: a port of this domain that is sent to; 0: one is made, of which
  /// Interrupts::event_port() tells the number and that its consumer takes.  Of another domain: a port that
  /// it has made for this one.
  EventPort port{};
  /// Kind guest_vector: vector in the guest's APIC; 0: the event channel that the guest has bound, or will bind,
  /// to its pirq `gflags`.
  std::uint8_t gvec = 0;
  std::uint32_t gflags = 0;    ///< kind guest_vector: delivery mode and destination (msi_message.h)
  friend bool operator==(const Notification&, const Notification&) = default;
};

}  // namespace pviommu
