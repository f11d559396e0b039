// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupts from the kernel module, taken to sinks.
//
//   device -> kernel (MSI by ibm,change-msi) -> read() of /dev/pviommu-papr -> sink
//
// The kernel masks nothing: a masked arrival is held here, one bit.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "hypercall/delivery_thread.h"
#include "hypercall/notification.h"
#include "hypercall/papr/module/calls.h"

namespace pviommu::papr {

/// Thread-safe.  Contracts as in Hypervisor; ENODEV: no vectors of the device.
class ModuleVectors {
 public:
  explicit ModuleVectors(ModuleCalls& calls) : calls_(calls) {}
  ModuleVectors(const ModuleVectors&) = delete;
  ModuleVectors& operator=(const ModuleVectors&) = delete;
  ~ModuleVectors();

  Result<unsigned> allocate(Sbdf sbdf, VectorKind kind, unsigned count);
  Status free(Sbdf sbdf, VectorKind kind);
  Status bind(const Vector& vector, EventSink& sink);
  Status unbind(const Vector& vector);
  Status mask(const Vector& vector);
  Status unmask(const Vector& vector);
  Result<bool> pending(const Vector& vector);
  /// The device is given back: what is left of its vectors is forgotten.
  void forget(Sbdf sbdf);

 private:
  struct Slot {
    EventSink* sink = nullptr;
    bool masked = false;
    bool pending = false;
  };
  struct Device {
    VectorKind kind = VectorKind::msi;
    std::vector<Slot> slots;
  };

  Status start();
  Slot* find(const Vector& vector);
  void arrive(const pviommu_papr_arrival& arrival);
  void deliver();

  ModuleCalls& calls_;
  std::mutex start_lock_;  ///< the thread is started once
  UniqueFd wake_;
  std::atomic<bool> stop_{false};
  DeliveryThread thread_;
  std::mutex lock_;  ///< held while a sink is called
  std::map<Sbdf, Device> devices_;
};

}  // namespace pviommu::papr
