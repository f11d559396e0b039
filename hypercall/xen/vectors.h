// SPDX-License-Identifier: LGPL-2.1-or-later
// Who takes a device's messages: dom0's event channels (pirq_vectors.h), or a
// guest's own interrupt controllers (guest_vectors.h).
//
//   DeviceVectors            slots[index] --> LedgerVector: what Xen was asked for
//     one for each device         |
//                                 v
//                            target, mask and pending bit while it is bound
#pragma once

#include <cstdint>
#include <vector>

#include "hypercall/notification.h"
#include "hypercall/result.h"
#include "hypercall/xen/ledger.h"

namespace pviommu::xen {

/// Where the device keeps its messages.
struct MsiPlace {
  std::uint64_t table_base = 0;  ///< MSI-X: bus address of the BAR with the table
  bool maskable = true;          ///< hardware has mask bits
};

/// The vectors of one device.  Guarded by the Vectors that allocated them.
struct DeviceVectors {
  struct Slot {
    LedgerVector* ledger = nullptr;
    bool bound = false;
    Notification target;  ///< while bound
    std::uint32_t send_port =
        0;  ///< target event_channel: what EVTCHNOP_send names; 0: the pirq's own is handed over
    bool own_send_port = false;  ///< made by us for the binding
    bool masked = false;
    bool pending = false;
    bool told = false;  ///< that the target cannot be reached
  };
  Sbdf sbdf;
  VectorKind kind = VectorKind::msi;
  MsiPlace place;
  LedgerDevice* ledger = nullptr;
  std::vector<Slot> slots;  ///< empty: none allocated

  /// Null: there is no such vector.
  Slot* find(unsigned index) { return index < slots.size() ? &slots[index] : nullptr; }
};

/// Thread-safe.  All as the methods of like name of pviommu::Interrupts.
class Vectors {
 public:
  virtual ~Vectors() = default;
  /// `device.ledger` is of `book`.
  virtual Result<unsigned> allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                                    const MsiPlace& place) = 0;
  virtual Status free(DeviceVectors& device) = 0;
  virtual Status bind(DeviceVectors& device, unsigned index, const Notification& target) = 0;
  virtual Status unbind(DeviceVectors& device, unsigned index) = 0;
  virtual Status mask(DeviceVectors& device, unsigned index) = 0;
  virtual Status unmask(DeviceVectors& device, unsigned index) = 0;
  virtual Result<bool> pending(DeviceVectors& device, unsigned index) = 0;
  virtual Status raise(DeviceVectors& device, unsigned index) = 0;
  virtual Result<EventPort> port(DeviceVectors& device, unsigned index) = 0;
};

}  // namespace pviommu::xen
