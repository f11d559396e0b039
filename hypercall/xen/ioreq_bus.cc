// SPDX-License-Identifier: LGPL-2.1-or-later
// The server's life: start() makes it and binds one event channel for each vCPU, serve()
// waits, answer() does one access, the destructor takes it all back.  A request's state field
// is the only synchronisation of the shared page: READY is ours to read, RESPONSE is ours to
// write, and all else is Xen's.
#include "hypercall/xen/ioreq_bus.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "hypercall/xen/xen_hypervisor.h"

#include <xen/hvm/dm_op.h>
#include <xen/hvm/ioreq.h>
#include <xen/memory.h>

namespace pviommu::xen {

struct IoreqBus::Page : shared_iopage {};

namespace {

Status refused(const char* what) { return Error{errno, what}; }

/// How many vCPUs the guest can have; Xen knows.
Result<unsigned> vcpus_of(XenCalls& calls, const Guest& guest) {
  xen_domctl op{};
  op.cmd = XEN_DOMCTL_getdomaininfo;
  op.domain = guest.domid.raw();
  (void)PVIOMMU_TRY(calls.domctl(op, "getdomaininfo"));
  if (op.domain != guest.domid.raw()) return Error{ESRCH, "the guest has ended"};
  return op.u.getdomaininfo.max_vcpu_id + 1;
}

}  // namespace

Result<std::unique_ptr<GuestBus>> IoreqBus::open(XenCalls& calls, const Guest& guest) {
  std::unique_ptr<IoreqBus> bus(new IoreqBus(guest));
  PVIOMMU_TRY(bus->start(calls));  // undone by the destructor
  return std::unique_ptr<GuestBus>(std::move(bus));
}

Status IoreqBus::start(XenCalls& calls) {
  const std::uint16_t domid = guest_.domid.raw();
  const unsigned vcpus = PVIOMMU_TRY(vcpus_of(calls, guest_));
  model_ = ::xendevicemodel_open(nullptr, 0);
  if (model_ == nullptr) return refused("xendevicemodel_open");
  memory_ = ::xenforeignmemory_open(nullptr, 0);
  if (memory_ == nullptr) return refused("xenforeignmemory_open");
  channels_ = ::xenevtchn_open(nullptr, 0);
  if (channels_ == nullptr) return refused("xenevtchn_open");

  ioservid_t server = 0;
  if (::xendevicemodel_create_ioreq_server(model_, domid, HVM_IOREQSRV_BUFIOREQ_OFF, &server) != 0)
    return refused("create_ioreq_server");
  server_ = server;
  made_ = true;
  void* page = nullptr;
  resource_ = ::xenforeignmemory_map_resource(memory_, domid, XENMEM_resource_ioreq_server, server_,
                                              XENMEM_resource_ioreq_server_frame_ioreq(0), 1, &page,
                                              PROT_READ | PROT_WRITE, 0);
  if (resource_ == nullptr) return refused("map_resource of the request page");
  page_ = static_cast<Page*>(page);
  if (::xendevicemodel_set_ioreq_server_state(model_, domid, server_, 1) != 0)
    return refused("set_ioreq_server_state");
  for (unsigned vcpu = 0; vcpu < vcpus; ++vcpu) {
    const int port = ::xenevtchn_bind_interdomain(channels_, domid, page_->vcpu_ioreq[vcpu].vp_eport);
    if (port < 0) return refused("event channel of a vCPU");
    ports_.push_back(static_cast<evtchn_port_t>(port));
  }
  return {};
}

IoreqBus::~IoreqBus() {
  // A guest that ends stays as a zombie as long as its page is mapped here.
  if (made_) (void)::xendevicemodel_set_ioreq_server_state(model_, guest_.domid.raw(), server_, 0);
  for (const evtchn_port_t port : ports_) (void)::xenevtchn_unbind(channels_, port);
  if (resource_ != nullptr) (void)::xenforeignmemory_unmap_resource(memory_, resource_);
  if (made_) (void)::xendevicemodel_destroy_ioreq_server(model_, guest_.domid.raw(), server_);
  if (channels_ != nullptr) ::xenevtchn_close(channels_);
  if (memory_ != nullptr) ::xenforeignmemory_close(memory_);
  if (model_ != nullptr) ::xendevicemodel_close(model_);
}

Status IoreqBus::add(Sbdf place, GuestFunction& function) {
  const std::uint32_t at = place.raw();
  if (::xendevicemodel_map_pcidev_to_ioreq_server(model_, guest_.domid.raw(), server_,
                                                  static_cast<std::uint16_t>(at >> 16),
                                                  static_cast<std::uint8_t>(at >> 8),
                                                  static_cast<std::uint8_t>(at >> 3 & 31),
                                                  static_cast<std::uint8_t>(at & 7)) != 0)
    return errno == EEXIST ? Error{EBUSY, "the guest's bus: something else is there"} : refused("map_pcidev");
  function_ = &function;
  return {};
}

Status IoreqBus::trap(const IovaRange& range) {
  if (::xendevicemodel_map_io_range_to_ioreq_server(model_, guest_.domid.raw(), server_, 1, range.first().raw(),
                                                    range.last().raw()) != 0)
    return refused("map_io_range");
  return {};
}

Status IoreqBus::untrap(const IovaRange& range) {
  if (::xendevicemodel_unmap_io_range_from_ioreq_server(model_, guest_.domid.raw(), server_, 1, range.first().raw(),
                                                        range.last().raw()) != 0)
    return refused("unmap_io_range");
  return {};
}

Result<GuestBus::End> IoreqBus::serve(int stop_fd) {
  pollfd ready[3] = {{::xenevtchn_fd(channels_), POLLIN, 0}, {stop_fd, POLLIN, 0}, {guest_.end.get(), POLLIN, 0}};
  for (;;) {
    const int count = ::poll(ready, 3, -1);
    if (count < 0 && errno != EINTR) return Error{errno, "poll"};
    if (count < 0) continue;
    if (ready[1].revents != 0) return End::stopped;
    if (ready[0].revents != 0) PVIOMMU_TRY(take_event());
    if (ready[0].revents == 0 && ready[2].revents != 0) return End::guest_gone;
  }
}

Status IoreqBus::take_event() {
  const int port = ::xenevtchn_pending(channels_);
  if (port < 0) return refused("event channel");
  if (::xenevtchn_unmask(channels_, static_cast<evtchn_port_t>(port)) != 0) return refused("event channel");
  const auto found = std::find(ports_.begin(), ports_.end(), static_cast<evtchn_port_t>(port));
  if (found == ports_.end()) return {};
  answer(static_cast<unsigned>(found - ports_.begin()));
  return {};
}

void IoreqBus::answer(unsigned vcpu) {
  ioreq& request = page_->vcpu_ioreq[vcpu];
  // The state is the page's only synchronisation; it lies in a bit field.
  if (request.state != STATE_IOREQ_READY) return;
  std::atomic_thread_fence(std::memory_order_acquire);
  request.state = STATE_IOREQ_INPROCESS;
  const bool read = request.dir == IOREQ_READ;
  const bool plain = !request.data_is_ptr && request.count <= 1;
  const auto width = request.size;
  if (request.type == IOREQ_TYPE_PCI_CONFIG && plain && width <= 4) {
    const auto offset = static_cast<std::size_t>(request.addr & 0xffffffff);
    if (read)
      request.data = function_->config_read(offset, width);
    else
      function_->config_write(offset, width, static_cast<std::uint32_t>(request.data));
  } else if (request.type == IOREQ_TYPE_COPY && plain && width <= 8) {
    if (read)
      request.data = function_->memory_read(Iova(request.addr), width);
    else
      function_->memory_write(Iova(request.addr), width, request.data);
  } else if (request.type == IOREQ_TYPE_PCI_CONFIG || request.type == IOREQ_TYPE_COPY) {
    // String instructions on a table of interrupts: no driver does that.
    static std::atomic_flag told;
    if (!told.test_and_set())
      std::fprintf(stderr, "pviommu: the guest copies to or from its device's MSI-X table by a string instruction at "
                           "0x%llx, which is not supported: it reads all ones\n",
                   static_cast<unsigned long long>(request.addr));
    if (read && !request.data_is_ptr) request.data = ~std::uint64_t{0};
  }
  std::atomic_thread_fence(std::memory_order_release);
  request.state = STATE_IORESP_READY;
  (void)::xenevtchn_notify(channels_, ports_[vcpu]);
}

Result<std::unique_ptr<GuestBus>> XenHypervisor::guest_bus() {
  if (!guest_) return Error{EOPNOTSUPP, "guest_bus: opened without domain="};
  return IoreqBus::open(*calls_, *guest_);
}

}  // namespace pviommu::xen
