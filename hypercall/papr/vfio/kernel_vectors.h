// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupts of the kernel's VFIO devices, taken to sinks.
//
//   device -> kernel -> eventfd (one for each vector) -> thread in epoll_wait() -> sink
//
// The kernel asks the hypervisor for them (ibm,change-msi) and masks nothing but
// INTx; for message vectors a masked arrival is held here.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "hypercall/delivery_thread.h"
#include "hypercall/notification.h"
#include "hypercall/unique_fd.h"
#include "hypercall/papr/vfio/vfio_calls.h"

namespace pviommu::spapr {

/// The vectors of one device.  Guarded by KernelVectors.
struct DeviceVectors {
  struct Slot {
    UniqueFd eventfd;
    std::uint64_t key = 0;  ///< what epoll knows it by
    EventSink* sink = nullptr;
    bool masked = false;
    bool pending = false;
  };
  Sbdf sbdf;
  int fd = -1;  ///< the VFIO device
  VectorKind kind = VectorKind::msi;
  std::vector<Slot> slots;  ///< empty: none allocated
};

/// Thread-safe.  Contracts as in Hypervisor.
class KernelVectors {
 public:
  static Result<std::unique_ptr<KernelVectors>> open(VfioCalls& calls);
  ~KernelVectors();
  KernelVectors(const KernelVectors&) = delete;
  KernelVectors& operator=(const KernelVectors&) = delete;

  Result<unsigned> allocate(DeviceVectors& device, VectorKind kind, unsigned count);
  Status free(DeviceVectors& device);
  /// Before `device` goes, with what vectors it may have still; the kernel has it closed.
  void close(DeviceVectors& device) noexcept;
  Status bind(DeviceVectors& device, unsigned index, EventSink& sink);
  Status unbind(DeviceVectors& device, unsigned index);
  Status mask(DeviceVectors& device, unsigned index);
  Status unmask(DeviceVectors& device, unsigned index);
  Result<bool> pending(DeviceVectors& device, unsigned index);

 private:
  struct Target {
    DeviceVectors* device = nullptr;
    unsigned index = 0;
  };
  explicit KernelVectors(VfioCalls& calls) : calls_(calls) {}
  Status start();
  Status set_irqs(const DeviceVectors& device, std::uint32_t flags, const std::vector<std::int32_t>& eventfds);
  Result<unsigned> enable(DeviceVectors& device, std::vector<DeviceVectors::Slot>& slots);
  void forget(std::vector<DeviceVectors::Slot>& slots);
  DeviceVectors::Slot* find(DeviceVectors& device, unsigned index);
  void arrive(std::uint64_t key);
  void deliver();

  VfioCalls& calls_;
  UniqueFd epoll_, wake_;
  std::atomic<bool> stop_{false};
  DeliveryThread thread_;
  std::mutex lock_;  ///< held while a sink is called; guards all below and the DeviceVectors
  std::map<std::uint64_t, Target> targets_;
  std::uint64_t next_key_ = 1;
};

}  // namespace pviommu::spapr
