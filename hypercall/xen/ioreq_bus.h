// SPDX-License-Identifier: LGPL-2.1-or-later
// A guest's accesses to a function that we answer for: an I/O request server.
//
//   guest vCPU  --I/O--> Xen: whose?  pcidev and io_range tables of the servers
//        ^                 |
//        |                 v  slot of the vCPU in a shared page, event channel
//        +--answer--- serve(): config_read() ... memory_write()
//
// The guest's emulator (qemu-xen) is another such server.  It is not changed, and
// all accesses that are not for our function go to it.
// Source: Xen public/hvm/ioreq.h, dm_op.h.
#pragma once

#include <memory>
#include <vector>

#include "hypercall/guest_bus.h"
#include "hypercall/xen/guest.h"

extern "C" {
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
}

namespace pviommu::xen {

class IoreqBus final : public GuestBus {
 public:
  /// Makes the server, not yet for any function.  `guest` outlives it.
  static Result<std::unique_ptr<GuestBus>> open(XenCalls& calls, const Guest& guest);
  ~IoreqBus() override;

  Domid guest() const override { return guest_.domid; }
  Status add(Sbdf place, GuestFunction& function) override;
  Status trap(const IovaRange& range) override;
  Status untrap(const IovaRange& range) override;
  Result<End> serve(int stop_fd) override;

 private:
  explicit IoreqBus(const Guest& guest) : guest_(guest) {}
  Status start(XenCalls& calls);
  Status take_event();
  void answer(unsigned vcpu);

  const Guest& guest_;
  xendevicemodel_handle* model_ = nullptr;
  xenforeignmemory_handle* memory_ = nullptr;
  xenevtchn_handle* channels_ = nullptr;
  bool made_ = false;
  std::uint16_t server_ = 0;
  xenforeignmemory_resource_handle* resource_ = nullptr;
  struct Page;
  Page* page_ = nullptr;
  std::vector<evtchn_port_t> ports_;  ///< by vCPU
  GuestFunction* function_ = nullptr;
};

}  // namespace pviommu::xen
