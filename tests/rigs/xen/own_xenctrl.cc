// SPDX-License-Identifier: LGPL-2.1-or-later
// librig-xenctrl.so: what pviommu and the rig's programs ask of libxenctrl, for a hypervisor that
// somebody built without its tools (XEN=FILE).  dom0's /init gives it the name that the running
// Xen's own one would have.
//
// The functions have libxenctrl's promises.  Numbers of interfaces are found by trying: Xen
// answers EACCES to all others.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

extern "C" {
#include <xen/version.h>
#include <xencall.h>
#include <xenctrl.h>
}

struct xc_interface_core {
  xencall_handle* calls;
  std::uint32_t domctl;
  std::uint32_t sysctl;
};

namespace {

/// Memory that a hypercall may read and write.
class Buffer {
 public:
  Buffer(xc_interface* xen, std::size_t size) : calls_(xen->calls), at_(::xencall_alloc_buffer(calls_, size ? size : 1)) {}
  ~Buffer() { ::xencall_free_buffer(calls_, at_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* get() const { return at_; }

 private:
  xencall_handle* calls_;
  void* at_;
};

template <class Operation>
int call(xc_interface* xen, unsigned number, Operation& op) {
  const Buffer buffer(xen, sizeof op);
  if (buffer.get() == nullptr) return -1;
  std::memcpy(buffer.get(), &op, sizeof op);
  const int rc = ::xencall1(xen->calls, number, reinterpret_cast<std::uintptr_t>(buffer.get()));
  std::memcpy(&op, buffer.get(), sizeof op);
  return rc;
}
int call(xc_interface* xen, xen_domctl& op) {
  op.interface_version = xen->domctl;
  return call(xen, __HYPERVISOR_domctl, op);
}
int call(xc_interface* xen, xen_sysctl& op) {
  op.interface_version = xen->sysctl;
  return call(xen, __HYPERVISOR_sysctl, op);
}
int memory(xc_interface* xen, unsigned command, void* argument, std::size_t size) {
  const Buffer buffer(xen, size);
  if (buffer.get() == nullptr) return -1;
  std::memcpy(buffer.get(), argument, size);
  const int rc = ::xencall2(xen->calls, __HYPERVISOR_memory_op, command, reinterpret_cast<std::uintptr_t>(buffer.get()));
  std::memcpy(argument, buffer.get(), size);
  return rc;
}
xen_domctl domctl(std::uint32_t command, std::uint32_t domid) {
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = command;
  op.domain = static_cast<domid_t>(domid);
  return op;
}
xen_sysctl sysctl(std::uint32_t command) {
  xen_sysctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = command;
  return op;
}
template <class Operation>
bool find_number(xc_interface* xen, std::uint32_t& number, Operation op) {
  for (number = 0x10; number < 0x40; ++number) {
    Operation attempt = op;
    if (call(xen, attempt) >= 0) return true;
    if (errno != EACCES) return false;
  }
  return false;
}

}  // namespace

extern "C" {

xc_interface* xc_interface_open(xentoollog_logger*, xentoollog_logger*, unsigned) {
  xencall_handle* calls = ::xencall_open(nullptr, 0);
  if (calls == nullptr) return nullptr;
  auto* xen = new xc_interface{calls, 0, 0};
  if (find_number(xen, xen->domctl, domctl(XEN_DOMCTL_getdomaininfo, 0)) &&
      find_number(xen, xen->sysctl, sysctl(XEN_SYSCTL_physinfo)))
    return xen;
  const int why = errno;
  ::xc_interface_close(xen);
  errno = why;
  return nullptr;
}
int xc_interface_close(xc_interface* xen) {
  if (xen == nullptr) return 0;
  (void)::xencall_close(xen->calls);
  delete xen;
  return 0;
}

// ---- the machine -----------------------------------------------------------------

int xc_version(xc_interface* xen, int command, void* argument) {
  // As long as what Xen writes at most.
  std::size_t size = 0;
  switch (command) {
    case XENVER_extraversion: size = sizeof(xen_extraversion_t); break;
    case XENVER_compile_info: size = sizeof(xen_compile_info_t); break;
    case XENVER_capabilities: size = sizeof(xen_capabilities_info_t); break;
    case XENVER_changeset: size = sizeof(xen_changeset_info_t); break;
    case XENVER_platform_parameters: size = sizeof(xen_platform_parameters_t); break;
    case XENVER_get_features: size = sizeof(xen_feature_info_t); break;
    case XENVER_guest_handle: size = sizeof(xen_domain_handle_t); break;
    case XENVER_commandline: size = sizeof(xen_commandline_t); break;
    default: break;
  }
  const Buffer buffer(xen, size);
  if (size != 0) std::memcpy(buffer.get(), argument, size);
  const int rc = ::xencall2(xen->calls, __HYPERVISOR_xen_version, static_cast<unsigned>(command),
                            size != 0 ? reinterpret_cast<std::uintptr_t>(buffer.get()) : 0);
  if (size != 0) std::memcpy(argument, buffer.get(), size);
  return rc;
}
int xc_physinfo(xc_interface* xen, xc_physinfo_t* info) {
  xen_sysctl op = sysctl(XEN_SYSCTL_physinfo);
  const int rc = call(xen, op);
  *info = op.u.physinfo;
  return rc;
}
int xc_send_debug_keys(xc_interface* xen, const char* keys) {
  const Buffer text(xen, std::strlen(keys));
  std::memcpy(text.get(), keys, std::strlen(keys));
  xen_sysctl op = sysctl(XEN_SYSCTL_debug_keys);
  set_xen_guest_handle_raw(op.u.debug_keys.keys, static_cast<char*>(text.get()));
  op.u.debug_keys.nr_keys = static_cast<std::uint32_t>(std::strlen(keys));
  return call(xen, op);
}
int xc_maximum_ram_page(xc_interface* xen, unsigned long* frame) {
  const long rc = ::xencall2L(xen->calls, __HYPERVISOR_memory_op, XENMEM_maximum_ram_page, 0);
  if (rc < 0) return -1;
  *frame = static_cast<unsigned long>(rc);
  return 0;
}
int xc_reserved_device_memory_map(xc_interface* xen, uint32_t flags, uint16_t segment, uint8_t bus, uint8_t devfn,
                                  struct xen_reserved_device_memory entries[], uint32_t* count) {
  const Buffer found(xen, *count * sizeof *entries);
  xen_reserved_device_memory_map map;
  std::memset(&map, 0, sizeof map);
  map.flags = flags;
  map.dev.pci.seg = segment;
  map.dev.pci.bus = bus;
  map.dev.pci.devfn = devfn;
  map.nr_entries = *count;
  set_xen_guest_handle_raw(map.buffer, static_cast<xen_reserved_device_memory*>(found.get()));
  const int rc = memory(xen, XENMEM_reserved_device_memory_map, &map, sizeof map);
  if (rc >= 0) std::memcpy(entries, found.get(), map.nr_entries * sizeof *entries);
  *count = map.nr_entries;
  return rc;
}
int xc_get_device_group(xc_interface* xen, uint32_t domid, uint32_t sbdf, uint32_t most, uint32_t* count, uint32_t* found) {
  const Buffer array(xen, most * sizeof *found);
  xen_domctl op = domctl(XEN_DOMCTL_get_device_group, domid);
  op.u.get_device_group.machine_sbdf = sbdf;
  op.u.get_device_group.max_sdevs = most;
  set_xen_guest_handle_raw(op.u.get_device_group.sdev_array, static_cast<std::uint32_t*>(array.get()));
  const int rc = call(xen, op);
  *count = op.u.get_device_group.num_sdevs;
  if (rc == 0 && *count <= most) std::memcpy(found, array.get(), *count * sizeof *found);
  return rc;
}

// ---- domains ---------------------------------------------------------------------

int xc_domain_getinfolist(xc_interface* xen, uint32_t first, unsigned int most, xc_domaininfo_t* info) {
  const Buffer list(xen, most * sizeof *info);
  xen_sysctl op = sysctl(XEN_SYSCTL_getdomaininfolist);
  op.u.getdomaininfolist.first_domain = static_cast<domid_t>(first);
  op.u.getdomaininfolist.max_domains = most;
  set_xen_guest_handle_raw(op.u.getdomaininfolist.buffer, static_cast<xc_domaininfo_t*>(list.get()));
  if (call(xen, op) < 0) return -1;
  std::memcpy(info, list.get(), op.u.getdomaininfolist.num_domains * sizeof *info);
  return static_cast<int>(op.u.getdomaininfolist.num_domains);
}
int xc_domain_create(xc_interface* xen, uint32_t* domid, struct xen_domctl_createdomain* create) {
  xen_domctl op = domctl(XEN_DOMCTL_createdomain, *domid);
  // All of it: the argument is longer on newer Xens than in the headers.
  std::memcpy(&op.u, create, sizeof *create + 16);
  if (call(xen, op) < 0) return -1;
  *domid = op.domain;
  return 0;
}
int xc_domain_max_vcpus(xc_interface* xen, uint32_t domid, unsigned int most) {
  xen_domctl op = domctl(XEN_DOMCTL_max_vcpus, domid);
  op.u.max_vcpus.max = most;
  return call(xen, op);
}
int xc_domain_setmaxmem(xc_interface* xen, uint32_t domid, uint64_t kib) {
  xen_domctl op = domctl(XEN_DOMCTL_max_mem, domid);
  op.u.max_mem.max_memkb = kib;
  return call(xen, op);
}
int xc_set_paging_mempool_size(xc_interface* xen, uint32_t domid, uint64_t size) {
  xen_domctl op = domctl(XEN_DOMCTL_set_paging_mempool_size, domid);
  op.u.paging_mempool.size = size;
  return call(xen, op);
}
int xc_domain_unpause(xc_interface* xen, uint32_t domid) {
  xen_domctl op = domctl(XEN_DOMCTL_unpausedomain, domid);
  return call(xen, op);
}
int xc_domain_destroy(xc_interface* xen, uint32_t domid) {
  for (;;) {
    xen_domctl op = domctl(XEN_DOMCTL_destroydomain, domid);
    if (const int rc = call(xen, op); rc == 0 || errno != EAGAIN) return rc;
  }
}
int xc_domain_hvm_getcontext(xc_interface* xen, uint32_t domid, uint8_t* context, uint32_t size) {
  const Buffer buffer(xen, size);
  xen_domctl op = domctl(XEN_DOMCTL_gethvmcontext, domid);
  op.u.hvmcontext.size = size;
  if (context != nullptr) set_xen_guest_handle_raw(op.u.hvmcontext.buffer, static_cast<std::uint8_t*>(buffer.get()));
  if (call(xen, op) < 0) return -1;
  if (context != nullptr) std::memcpy(context, buffer.get(), size);
  return static_cast<int>(op.u.hvmcontext.size);
}
int xc_domain_hvm_setcontext(xc_interface* xen, uint32_t domid, uint8_t* context, uint32_t size) {
  const Buffer buffer(xen, size);
  std::memcpy(buffer.get(), context, size);
  xen_domctl op = domctl(XEN_DOMCTL_sethvmcontext, domid);
  op.u.hvmcontext.size = size;
  set_xen_guest_handle_raw(op.u.hvmcontext.buffer, static_cast<std::uint8_t*>(buffer.get()));
  return call(xen, op);
}
int xc_domain_populate_physmap_exact(xc_interface* xen, uint32_t domid, unsigned long count, unsigned int order,
                                     unsigned int flags, xen_pfn_t* frames) {
  const Buffer array(xen, count * sizeof *frames);
  std::memcpy(array.get(), frames, count * sizeof *frames);
  xen_memory_reservation reservation;
  std::memset(&reservation, 0, sizeof reservation);
  reservation.nr_extents = count;
  reservation.extent_order = order;
  reservation.mem_flags = flags;
  reservation.domid = static_cast<domid_t>(domid);
  set_xen_guest_handle_raw(reservation.extent_start, static_cast<xen_pfn_t*>(array.get()));
  const int rc = memory(xen, XENMEM_populate_physmap, &reservation, sizeof reservation);
  if (rc == static_cast<int>(count)) return 0;
  if (rc >= 0) errno = EBUSY;
  return -1;
}
int xc_domain_add_to_physmap(xc_interface* xen, uint32_t domid, unsigned int space, unsigned long index, xen_pfn_t frame) {
  xen_add_to_physmap add;
  std::memset(&add, 0, sizeof add);
  add.domid = static_cast<domid_t>(domid);
  add.space = space;
  add.idx = index;
  add.gpfn = frame;
  return memory(xen, XENMEM_add_to_physmap, &add, sizeof add);
}

}  // extern "C"
