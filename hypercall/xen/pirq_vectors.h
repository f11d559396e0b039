// SPDX-License-Identifier: LGPL-2.1-or-later
// MSI and MSI-X of dom0's devices, without a kernel driver.
//
//   map_pirq     Xen writes message and table entry, gives a pirq (pirqs.h)
//   bind_pirq    pirq -> event channel port of dom0
//   BIND_STATIC  port -> /dev/xen/evtchn of this process   (Linux >= 6.6)
//   unmask       the first arrival may come
//
//   arrival: Xen -> port -> kernel -> read() of the descriptor -> target -> EOI where
//   the vector cannot be masked by hardware -> write() of the port: next, please
//
//   target    sink             EventSink::event()
//             event channel    EVTCHNOP_send; or the pirq's own port, handed over:
//                              on a second descriptor, which its consumer reads
//             guest vector     XEN_DMOP_inject_msi
//
// A target is replaced under the lock that arrivals take.  A port that is handed
// over or taken back is masked in between: what arrives then waits in Xen.
//
// That descriptor (Interrupts::event_fd()) is for passing on: to another process by
// SCM_RIGHTS or pidfd_getfd().  The consumer does not bind the port itself: a port has
// one descriptor at a time, which is ours.  So taking back needs nobody's consent.
//
// map_pirq wants the device to be dom0's: before the assign, or in a bounce.
// The kernel does not close a port that was bound so; we do, and after our
// death the reaper does (the ledger knows the port).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "hypercall/delivery_thread.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/vectors.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// How an event channel of a pirq gets to this process.
enum class Delivery : std::uint8_t {
  none,
  bind_static,  ///< IOCTL_EVTCHN_BIND_STATIC, Linux >= 6.6
  /// The pirq takes the place of a port that the kernel has (port_swap.cc).  Kernels
  /// were not made for this, and dom0 may not survive it: only on demand.
  swap_port,
};

/// Thread-safe.
class PirqVectors final : public Vectors {
 public:
  /// `may_crash_dom0`: Delivery::swap_port where there is no better way.
  static Result<std::unique_ptr<PirqVectors>> open(XenCalls& calls, bool may_crash_dom0 = false);
  PirqVectors(const PirqVectors&) = delete;
  PirqVectors& operator=(const PirqVectors&) = delete;
  ~PirqVectors() override;

  Delivery delivery() const { return delivery_; }

  Result<unsigned> allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                            const MsiPlace& place) override;
  Status free(DeviceVectors& device) override;
  Status bind(DeviceVectors& device, unsigned index, const Notification& target) override;
  Status unbind(DeviceVectors& device, unsigned index) override;
  Status mask(DeviceVectors& device, unsigned index) override;
  Status unmask(DeviceVectors& device, unsigned index) override;
  /// EOPNOTSUPP: handed over.
  Result<bool> pending(DeviceVectors& device, unsigned index) override;
  /// EOPNOTSUPP: handed over; Xen sends nothing to a pirq's port for us.
  Status raise(DeviceVectors& device, unsigned index) override;
  Result<EventPort> port(DeviceVectors& device, unsigned index) override;

  /// /dev/xen/evtchn: ours, and that of who consumes what is handed over.
  int fd() const { return fd_.get(); }
  int consumer_fd() const { return consumer_fd_.get(); }

  /// Starts the thread that takes arrivals to their targets.  Before the first bind.
  Status start();

 private:
  struct Target {
    DeviceVectors* device = nullptr;
    unsigned index = 0;
  };

  explicit PirqVectors(XenCalls& calls) : calls_(calls) {}
  // Lock held by all.
  Status check(const Notification& target) const;
  static Status static_bind(const UniqueFd& fd, unsigned port);
  Status bind_port(LedgerVector& vector);
  Status swap_port(LedgerVector& vector);
  Status take_back(std::uint32_t port);
  Status first_bind(DeviceVectors& device, unsigned index, bool to_consumer);
  Status open_port(const UniqueFd& fd, unsigned port);
  Status receive(DeviceVectors& device, unsigned index, unsigned port);
  Status let_go(unsigned port, std::unique_lock<std::mutex>& guard);
  Status hand_over(unsigned port);
  Status take_from_consumer(unsigned port);
  Status open_send_port(const Notification& target, DeviceVectors::Slot& slot);
  void close_send_port(DeviceVectors::Slot& slot);
  Status pass_on(DeviceVectors::Slot& slot, const Vector& vector);
  void arrive(Target target);
  void deliver();

  XenCalls& calls_;
  UniqueFd fd_, consumer_fd_;
  Delivery delivery_ = Delivery::none;
  /// A channel of this process to itself, so that the thread, which waits in
  /// read() and nowhere else (a poll() costs a tenth of an arrival), can be told
  /// to end, or that somebody waits for it.
  std::uint32_t wake_port_ = 0, waker_port_ = 0;
  std::atomic<bool> stop_{false};
  DeliveryThread thread_;
  std::mutex lock_;              ///< held while a sink is called
  std::vector<Target> targets_;  ///< by port
  std::condition_variable fence_;
  std::atomic<std::uint64_t> fences_asked_{0};
  std::uint64_t fences_done_ = 0;
  bool broken_ = false;  ///< the thread has ended
};

}  // namespace pviommu::xen
