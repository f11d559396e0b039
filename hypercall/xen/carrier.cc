// SPDX-License-Identifier: LGPL-2.1-or-later
// One function for each hypercall of a carrier's life; create_carrier() is all or nothing.
// Rights to memory are given once for all of RAM, with holes where Xen refuses a frame.
#include "hypercall/xen/carrier.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hypercall/xen/domain_list.h"

namespace pviommu::xen {
namespace {

constexpr char kMagic[8] = {'p', 'v', 'i', 'o', 'm', 'm', 'u', 1};  // the last: version of the layout
constexpr char kKernelsHandle[16] = {'p', 'v', 'i', 'o', 'm', 'm', 'u', 2};  // kernel/carrier.c

// Xen's interrupt controllers and the MSI window, which no domain may map.
constexpr std::uint64_t kHoleFirst = 0xfec00;
constexpr std::uint64_t kHoleEnd = 0x100000;

/// Room for a few thousand scattered mappings; grows when it is used up.
constexpr std::uint64_t kFirstPool = 4 << 20;

xen_domctl make(std::uint32_t command, Domid domid) {
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = command;
  op.domain = domid.raw();
  return op;
}

Status done(const Result<long>& result) {
  if (!result) return result.error();
  return {};
}

Status device_call(XenCalls& calls, std::uint32_t command, Domid domid, Sbdf sbdf, const char* name) {
  xen_domctl op = make(command, domid);
  op.u.assign_device.dev = XEN_DOMCTL_DEV_PCI;
  op.u.assign_device.u.pci.machine_sbdf = sbdf.raw();
  return done(calls.domctl(op, name));
}

Status set_up(XenCalls& calls, Domid domid, Mfn max_mfn) {
  xen_domctl op = make(XEN_DOMCTL_max_vcpus, domid);
  op.u.max_vcpus.max = 1;
  PVIOMMU_TRY(calls.domctl(op, "XEN_DOMCTL_max_vcpus"));
  PVIOMMU_TRY(set_table_pool(calls, domid, kFirstPool));
  // Once for all of RAM.  Rights page by page would cost a hypercall each, and a
  // page that is mapped at two addresses would lose its right with the first.
  const std::uint64_t end = max_mfn.raw() + 1;
  PVIOMMU_TRY(permit_frames(calls, domid, Mfn(0), std::min(end, kHoleFirst)));
  if (end > kHoleEnd) PVIOMMU_TRY(permit_frames(calls, domid, Mfn(kHoleEnd), end - kHoleEnd));
  return {};
}

}  // namespace

DomainHandle handle_of(const CarrierTag& tag) {
  DomainHandle handle{};
  std::memcpy(handle.data(), kMagic, sizeof kMagic);
  std::memcpy(handle.data() + 8, &tag.pid, 4);
  std::memcpy(handle.data() + 12, &tag.ledger, 2);
  std::memcpy(handle.data() + 14, &tag.serial, 2);
  return handle;
}

bool parse_handle(const std::uint8_t* handle, CarrierTag& tag) {
  if (std::memcmp(handle, kMagic, sizeof kMagic) != 0) return false;
  std::memcpy(&tag.pid, handle + 8, 4);
  std::memcpy(&tag.ledger, handle + 12, 2);
  std::memcpy(&tag.serial, handle + 14, 2);
  return true;
}

bool is_kernels_handle(const std::uint8_t* handle) {
  return std::memcmp(handle, kKernelsHandle, sizeof kKernelsHandle) == 0;
}

Result<Domid> create_carrier(XenCalls& calls, const CarrierTag& tag, Mfn max_mfn) {
  xen_domctl op = make(XEN_DOMCTL_createdomain, Domid(PVIOMMU_XEN_DOMID_ANY));
  xen_domctl_createdomain& create = op.u.createdomain;
  const DomainHandle handle = handle_of(tag);
  std::memcpy(create.handle, handle.data(), handle.size());
  create.flags = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap | XEN_DOMCTL_CDF_iommu;
  // The domain has I/O page tables of its own even where Xen could share the CPU's,
  // because nobody runs in it.
  create.iommu_opts = XEN_DOMCTL_IOMMU_no_sharept;
  create.max_vcpus = 1;
  create.max_evtchn_port = 15;
  create.max_grant_frames = 1;  // 0 is EINVAL
  create.max_maptrack_frames = 1;
  create.grant_opts = XEN_DOMCTL_GRANT_version(1);
  const std::uint32_t emulation = XEN_X86_EMU_LAPIC;
  std::memcpy(reinterpret_cast<char*>(&create) + calls.interface().layout->emulation_flags, &emulation, sizeof emulation);
  PVIOMMU_TRY(calls.domctl(op, "XEN_DOMCTL_createdomain"));
  const Domid domid(op.domain);
  const Status ready = set_up(calls, domid, max_mfn);
  if (ready) return domid;
  for (int again = 0; again < 3; ++again)
    if (destroy_carrier(calls, domid)) break;
  return ready.error();
}

Status destroy_carrier(XenCalls& calls, Domid domid) {
  xen_domctl op = make(XEN_DOMCTL_destroydomain, domid);
  return done(calls.domctl(op, "XEN_DOMCTL_destroydomain"));
}

Result<std::uint64_t> table_pool(XenCalls& calls, Domid domid) {
  xen_domctl op = make(XEN_DOMCTL_get_paging_mempool_size, domid);
  PVIOMMU_TRY(calls.domctl(op, "XEN_DOMCTL_get_paging_mempool_size"));
  return std::uint64_t{op.u.paging_mempool.size};
}

Status set_table_pool(XenCalls& calls, Domid domid, std::uint64_t bytes) {
  xen_domctl op = make(XEN_DOMCTL_set_paging_mempool_size, domid);
  op.u.paging_mempool.size = bytes;
  return done(calls.domctl(op, "XEN_DOMCTL_set_paging_mempool_size"));
}

Status assign_device(XenCalls& calls, Domid domid, Sbdf sbdf) {
  return device_call(calls, XEN_DOMCTL_assign_device, domid, sbdf, "XEN_DOMCTL_assign_device");
}

Status deassign_device(XenCalls& calls, Domid domid, Sbdf sbdf) {
  return device_call(calls, XEN_DOMCTL_deassign_device, domid, sbdf, "XEN_DOMCTL_deassign_device");
}

Status fetch_from_quarantine(XenCalls& calls, Sbdf sbdf) {
  const Status status = deassign_device(calls, Domid(DOMID_IO), sbdf);
  // Without quarantine (iommu=no-quarantine) a device goes to dom0 at once.
  if (!status && status.error().code == ENODEV && status.error().raw != 0) return {};
  return status;
}

Status permit_frames(XenCalls& calls, Domid domid, Mfn first, std::uint64_t frames) {
  if (frames == 0) return {};
  xen_domctl op = make(XEN_DOMCTL_iomem_permission, domid);
  op.u.iomem_permission.first_mfn = first.raw();
  op.u.iomem_permission.nr_mfns = frames;
  op.u.iomem_permission.allow_access = 1;
  const Result<long> permitted = calls.domctl(op, "XEN_DOMCTL_iomem_permission");
  if (permitted) return {};
  // Something in the range is not dom0's to give, such as an IOMMU's registers: the
  // parts around it are given.
  if (permitted.error().code != EPERM || permitted.error().raw == 0) return permitted.error();
  if (frames == 1) return {};
  PVIOMMU_TRY(permit_frames(calls, domid, first, frames / 2));
  return permit_frames(calls, domid, first + frames / 2, frames - frames / 2);
}

Result<std::vector<CarrierInfo>> list_carriers(XenCalls& calls) {
  std::vector<CarrierInfo> found;
  const auto domains = PVIOMMU_TRY(list_domains(calls));
  for (const xen_domctl_getdomaininfo& info : domains) {
    CarrierInfo carrier;
    if (!parse_handle(info.handle, carrier.tag)) continue;
    carrier.domid = Domid(info.domain);
    carrier.dying = (info.flags & XEN_DOMINF_dying) != 0;
    found.push_back(carrier);
  }
  return found;
}

}  // namespace pviommu::xen
