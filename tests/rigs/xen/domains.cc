// SPDX-License-Identifier: LGPL-2.1-or-later
// rig_domains: Xen's own list of domains, one "DOMID UUID [dying]" a line.
//
// It shares no code with what it checks: not the product's list, not its choice of an interface
// number, not its idea of what a carrier is.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define __XEN_TOOLS__ 1
extern "C" {
#include <xencall.h>
#include <xen/xen.h>
#include <xen/sysctl.h>
}

int main() {
  xencall_handle* xen = xencall_open(nullptr, 0);
  if (xen == nullptr) {
    std::fprintf(stderr, "rig_domains: no /dev/xen/hypercall\n");
    return 1;
  }
  auto* op = static_cast<xen_sysctl*>(xencall_alloc_buffer(xen, sizeof(xen_sysctl)));
  auto* info = static_cast<xen_domctl_getdomaininfo*>(xencall_alloc_buffer(xen, sizeof(xen_domctl_getdomaininfo)));
  // One domain a call, which needs nothing but the call's promise: the first at or above a number.
  for (std::uint32_t next = 0, number = 0x10; next < DOMID_FIRST_RESERVED;) {
    std::memset(op, 0, sizeof *op);
    op->cmd = XEN_SYSCTL_getdomaininfolist;
    op->interface_version = number;
    op->u.getdomaininfolist.first_domain = static_cast<domid_t>(next);
    op->u.getdomaininfolist.max_domains = 1;
    set_xen_guest_handle_raw(op->u.getdomaininfolist.buffer, info);
    if (xencall1(xen, __HYPERVISOR_sysctl, reinterpret_cast<std::uintptr_t>(op)) < 0) {
      if (errno == EACCES && ++number < 0x40) continue;
      std::fprintf(stderr, "rig_domains: XEN_SYSCTL_getdomaininfolist: %s\n", std::strerror(errno));
      return 1;
    }
    if (op->u.getdomaininfolist.num_domains == 0) break;
    std::printf("%u ", unsigned{info->domain});
    for (const unsigned byte : info->handle) std::printf("%02x", byte);
    std::printf("%s\n", (info->flags & XEN_DOMINF_dying) != 0 ? " dying" : "");
    next = info->domain + 1u;
  }
  xencall_close(xen);
  return 0;
}
