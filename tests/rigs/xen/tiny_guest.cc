// SPDX-License-Identifier: LGPL-2.1-or-later
// The guest's code as bytes, its making by the host's libxenctrl, and dom0's view of its memory.
#include "tiny_guest.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <vector>

extern "C" {
#include <xen/event_channel.h>
#include <xen/hvm/save.h>
#include <xenctrl.h>
#include <xendevicemodel.h>
}

#include "host_control.h"

namespace tiny {
namespace {

constexpr std::uint32_t kCode = 0x1000, kIdt = 0x2000, kGdt = 0x3000, kCounts = 0x4000, kTimes = 0x5000,
                        kChannel = 0x6000, kStackEnd = 0x7000, kHandlers = 0x8000, kHandlerBytes = 64;

void need(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "tiny guest: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

/// The hypercall's argument as the Xen that runs has it, whichever headers this is built with.
struct CreateDomain {
  xen_domctl_createdomain common{};
  char longer[64]{};
  void emulate(unsigned offset, std::uint32_t flags) {
    std::memcpy(reinterpret_cast<char*>(this) + offset, &flags, sizeof flags);
  }
};

/// Machine code, appended.
struct Code {
  std::uint8_t* at;
  Code& bytes(std::initializer_list<int> list) {
    for (const int byte : list) *at++ = static_cast<std::uint8_t>(byte);
    return *this;
  }
  Code& word(std::uint32_t value) {
    std::memcpy(at, &value, 4);
    at += 4;
    return *this;
  }
};

void write_image(std::uint8_t* memory) {
  // mov dword [0xfee000f0], 0x1ff (spurious vector 0xff, APIC on); sti; hlt; jmp to the hlt
  Code{memory + kCode}.bytes({0xc7, 0x05}).word(0xfee000f0).word(0x1ff).bytes({0xfb, 0xf4, 0xeb, 0xfd});
  const std::uint64_t gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
  std::memcpy(memory + kGdt, gdt, sizeof gdt);
  for (std::uint32_t vector = 0; vector < 256; ++vector) {
    const std::uint32_t handler = kHandlers + vector * kHandlerBytes;
    const std::uint64_t gate =
        (handler & 0xffff) | 8 << 16 | std::uint64_t{0x8e00} << 32 | std::uint64_t{handler >> 16} << 48;
    std::memcpy(memory + kIdt + 8 * vector, &gate, 8);
    Code code{memory + handler};
    code.bytes({0x50, 0x52, 0x0f, 0x31, 0xa3})
        .word(kTimes + 8 * vector)  // push eax, edx; rdtsc; mov [], eax
        .bytes({0x89, 0x15})
        .word(kTimes + 8 * vector + 4)  // mov [], edx
        .bytes({0xf0, 0xff, 0x05})
        .word(kCounts + 4 * vector);  // lock inc dword []
    if (vector >= 0x70 && vector < 0x80)
      code.bytes(
              {0x53, 0x51, 0x6a, 32, 0x58})  // push ebx, ecx; eax: event_channel_op; ebx: which; ecx: of what
          .bytes({0x6a, vector == 0x70 ? EVTCHNOP_bind_interdomain : EVTCHNOP_send, 0x5b, 0xb9})
          .word(vector == 0x70 ? kChannel : kChannel + 8)
          .bytes({0x0f, 0x01, 0xd9, 0x59, 0x5b});  // vmmcall; pop ecx, ebx
    code.bytes({0xc7, 0x05})
        .word(0xfee000b0)
        .word(0)                     // end of interrupt
        .bytes({0x5a, 0x58, 0xcf});  // pop edx, eax; iret
  }
}

void set_vcpu(const HostControl& control, std::uint32_t domid) {
  const int size = control.call(HOST_CONTROL(xc_domain_hvm_getcontext), domid, nullptr, 0);
  need(size > 0, "xc_domain_hvm_getcontext");
  std::vector<std::uint8_t> full(static_cast<std::size_t>(size));
  need(control.call(HOST_CONTROL(xc_domain_hvm_getcontext), domid, full.data(), static_cast<std::uint32_t>(size)) > 0,
       "xc_domain_hvm_getcontext");
  struct {
    hvm_save_descriptor header_d;
    HVM_SAVE_TYPE(HEADER) header;
    hvm_save_descriptor cpu_d;
    HVM_SAVE_TYPE(CPU) cpu;
    hvm_save_descriptor end_d;
  } context{};
  std::memcpy(&context, full.data(), sizeof(hvm_save_descriptor) + sizeof context.header);
  context.cpu_d = {HVM_SAVE_CODE(CPU), 0, HVM_SAVE_LENGTH(CPU)};
  context.end_d = {HVM_SAVE_CODE(END), 0, 0};
  auto& cpu = context.cpu;
  cpu.cs_sel = 8;
  cpu.ds_sel = cpu.es_sel = cpu.fs_sel = cpu.gs_sel = cpu.ss_sel = 16;
  cpu.cs_limit = cpu.ds_limit = cpu.es_limit = cpu.fs_limit = cpu.gs_limit = cpu.ss_limit = ~0u;
  cpu.cs_arbytes = 0xc9b;
  cpu.ds_arbytes = cpu.es_arbytes = cpu.fs_arbytes = cpu.gs_arbytes = cpu.ss_arbytes = 0xc93;
  cpu.tr_limit = 0x67;
  cpu.tr_arbytes = 0x8b;
  cpu.idtr_base = kIdt;
  cpu.idtr_limit = 256 * 8 - 1;
  cpu.gdtr_base = kGdt;
  cpu.gdtr_limit = 3 * 8 - 1;
  cpu.cr0 = 0x11;  // PE, ET
  cpu.dr6 = 0xffff0ff0;
  cpu.dr7 = 0x400;
  cpu.rflags = 2;
  cpu.rip = kCode;
  cpu.rsp = kStackEnd;
  need(control.call(HOST_CONTROL(xc_domain_hvm_setcontext), domid, reinterpret_cast<std::uint8_t*>(&context),
                    sizeof context) == 0,
       "xc_domain_hvm_setcontext");
}

}  // namespace

std::uint32_t Guest::make(const Kind& kind) {
  const HostControl control;
  CreateDomain argument;
  xen_domctl_createdomain& create = argument.common;
  create.handle[6] = 0x40;
  create.handle[8] = 0x80;
  create.handle[15] = kind.uuid_last;
  if (kind.hvm) {
    create.flags = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap;
    argument.emulate(control.interface().layout->emulation_flags, XEN_X86_EMU_LAPIC);
  }
  if (kind.iommu) {
    create.flags |= XEN_DOMCTL_CDF_iommu;
    // Intel's IOMMU with AMD's paging, which QEMU emulates, cannot share tables.
    create.iommu_opts = XEN_DOMCTL_IOMMU_no_sharept;
  }
  create.max_vcpus = 1;
  create.max_evtchn_port = 63;
  create.max_grant_frames = 1;
  create.max_maptrack_frames = 1;
  create.grant_opts = XEN_DOMCTL_GRANT_version(1);
  std::uint32_t domid = PVIOMMU_XEN_DOMID_ANY;
  need(control.call(HOST_CONTROL(xc_domain_create), &domid, &create) == 0, "xc_domain_create");
  need(control.call(HOST_CONTROL(xc_domain_max_vcpus), domid, 1) == 0, "xc_domain_max_vcpus");
  if (!kind.hvm) return domid;
  need(control.call(HOST_CONTROL(xc_set_paging_mempool_size), domid, 4 << 20) == 0, "xc_set_paging_mempool_size");
  need(control.call(HOST_CONTROL(xc_domain_setmaxmem), domid, (kPages + 64) * 4) == 0, "xc_domain_setmaxmem");
  std::vector<xen_pfn_t> frames(kPages);
  for (unsigned i = 0; i < kPages; ++i) frames[i] = i;
  need(control.call(HOST_CONTROL(xc_domain_populate_physmap_exact), domid, kPages, 0, 0, frames.data()) == 0,
       "xc_domain_populate_physmap_exact");
  {
    const Guest guest(domid);
    std::memset(guest.memory(), 0, kPages * 4096);
    write_image(guest.memory());
  }
  set_vcpu(control, domid);
  need(control.call(HOST_CONTROL(xc_domain_unpause), domid) == 0, "xc_domain_unpause");
  return domid;
}

void Guest::destroy(std::uint32_t domid) {
  const HostControl control;
  need(control.call(HOST_CONTROL(xc_domain_destroy), domid) == 0, "xc_domain_destroy");
}

bool Guest::alive(std::uint32_t domid) {
  const HostControl control;
  xc_domaininfo_t info{};
  return control.call(HOST_CONTROL(xc_domain_getinfolist), domid, 1, &info) == 1 && info.domain == domid &&
         (info.flags & (XEN_DOMINF_dying | XEN_DOMINF_shutdown | XEN_DOMINF_paused)) == 0;
}

Guest::Guest(std::uint32_t domid) : domid_(domid), foreign_(::xenforeignmemory_open(nullptr, 0)) {
  need(foreign_ != nullptr, "xenforeignmemory_open");
  xen_pfn_t frames[kPages];
  for (unsigned i = 0; i < kPages; ++i) frames[i] = i;
  memory_ = static_cast<std::uint8_t*>(
      ::xenforeignmemory_map(foreign_, domid, PROT_READ | PROT_WRITE, kPages, frames, nullptr));
  need(memory_ != nullptr, "xenforeignmemory_map");
}

Guest::~Guest() {
  if (memory_ != nullptr) (void)::xenforeignmemory_unmap(foreign_, memory_, kPages);
  (void)::xenforeignmemory_close(foreign_);
}

void Guest::answer_to(std::uint32_t port) {
  const evtchn_bind_interdomain bind{.remote_dom = 0, .remote_port = port, .local_port = 0};
  std::memcpy(memory_ + kChannel, &bind, sizeof bind);
  // A message of dom0's own, to the vector that makes the call.
  xendevicemodel_handle* model = ::xendevicemodel_open(nullptr, 0);
  need(model != nullptr &&
           ::xendevicemodel_inject_msi(model, static_cast<domid_t>(domid_), 0xfee00000, 0x70) == 0,
       "XEN_DMOP_inject_msi");
  (void)::xendevicemodel_close(model);
  need(await(0x70, count(0x70) + 1, 500) != 0, "the guest's EVTCHNOP_bind_interdomain");
}

std::uint32_t Guest::await(unsigned vector, std::uint32_t wanted, unsigned milliseconds) const {
  for (unsigned waited = 0; count(vector) < wanted && waited < milliseconds * 20; ++waited) ::usleep(50);
  return count(vector);
}

}  // namespace tiny
