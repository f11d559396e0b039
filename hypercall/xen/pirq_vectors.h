// SPDX-License-Identifier: LGPL-2.1-or-later
// MSI and MSI-X of dom0's devices, without a kernel driver.
//
//   map_pirq     Xen writes message and table entry, gives a pirq
//   bind_pirq    pirq -> event channel port of dom0
//   BIND_STATIC  port -> /dev/xen/evtchn of this process   (Linux >= 6.6)
//   unmask       the first arrival may come
//
//   arrival: Xen -> port -> kernel -> read() of the descriptor -> sink -> EOI where
//   the vector cannot be masked by hardware -> write() of the port: next, please
//
// map_pirq wants the device to be dom0's: before the assign, or in a bounce.
// The kernel does not close a port that was bound so; we do, and after our
// death the reaper does (the ledger knows the port).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "hypercall/hypervisor.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/ledger.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

/// Where the device keeps its messages.
struct MsiPlace {
  std::uint64_t table_base = 0;  ///< MSI-X: bus address of the BAR with the table
  bool maskable = true;          ///< hardware has mask bits
};

/// The vectors of one device.  Guarded by PirqVectors.
struct DeviceVectors {
  struct Slot {
    LedgerVector* ledger = nullptr;
    EventSink* sink = nullptr;
    bool masked = false;
    bool pending = false;
  };
  Sbdf sbdf;
  VectorKind kind = VectorKind::msi;
  MsiPlace place;
  LedgerDevice* ledger = nullptr;
  std::vector<Slot> slots;  ///< empty: none allocated
};

/// How an event channel of a pirq gets to this process.
enum class Delivery : std::uint8_t {
  none,
  bind_static,  ///< IOCTL_EVTCHN_BIND_STATIC, Linux >= 6.6
  /// A port of the kernel's is closed behind its back and the pirq bound in its
  /// place.  When another user of dom0 gets the number in between, dom0 crashes
  /// sooner or later (kernel BUG in its event channel driver).  Only on demand.
  swap_port,
};

/// Thread-safe.
class PirqVectors {
 public:
  /// `may_crash_dom0`: Delivery::swap_port where there is no better way.
  static Result<std::unique_ptr<PirqVectors>> open(XenCalls& calls, bool may_crash_dom0 = false);
  PirqVectors(const PirqVectors&) = delete;
  PirqVectors& operator=(const PirqVectors&) = delete;
  ~PirqVectors();

  Delivery delivery() const { return delivery_; }

  /// `ledger`: the device's, of `book`.  See Hypervisor::allocate_vectors().
  Result<unsigned> allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                            const MsiPlace& place);
  Status free(DeviceVectors& device);
  Status bind(DeviceVectors& device, unsigned index, EventSink& sink);
  Status unbind(DeviceVectors& device, unsigned index);
  Status mask(DeviceVectors& device, unsigned index);
  Status unmask(DeviceVectors& device, unsigned index);
  Result<bool> pending(DeviceVectors& device, unsigned index);
  /// After a reset of the device: Xen writes its messages again.
  Status restore(const DeviceVectors& device);

  /// /dev/xen/evtchn.
  int fd() const { return fd_.get(); }

  /// Starts the thread that takes arrivals to their sinks.  Before the first bind.
  Status start();

 private:
  struct Target {
    DeviceVectors* device = nullptr;
    unsigned index = 0;
  };

  explicit PirqVectors(XenCalls& calls) : calls_(calls) {}
  Status map_pirq(DeviceVectors& device, LedgerVector& vector, int type, unsigned entry);
  Status map_one(DeviceVectors& device, unsigned entry);
  Result<unsigned> map_block(DeviceVectors& device, unsigned count);
  Status static_bind(unsigned port);
  Status bind_port(LedgerVector& vector);
  Status swap_port(LedgerVector& vector);
  Status take_back(std::uint32_t port);
  DeviceVectors::Slot* find(DeviceVectors& device, unsigned index);
  void arrive(Target target);
  void deliver();

  XenCalls& calls_;
  UniqueFd fd_;
  Delivery delivery_ = Delivery::none;
  /// A channel of this process to itself, so that the thread, which waits in
  /// read() and nowhere else (a poll() costs a tenth of an arrival), can be told
  /// to end.
  std::uint32_t wake_port_ = 0, waker_port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
  std::mutex lock_;               ///< held while a sink is called
  std::vector<Target> targets_;   ///< by port
};

// For the reaper, which has only the ledger.  Both: nothing to do is no error.
Status close_ledger_port(XenCalls& calls, LedgerVector& vector);
Status unmap_ledger_pirq(XenCalls& calls, LedgerVector& vector);

}  // namespace pviommu::xen
