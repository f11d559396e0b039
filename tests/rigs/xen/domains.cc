// SPDX-License-Identifier: LGPL-2.1-or-later
// rig_domains: Xen's own list of domains, one "DOMID UUID [dying]" a line.
// rig_domains devices: its own list of PCI devices, one "SSSS:BB:DD.F OWNER" a line, which is what its
// debug key Q writes into the console ring.  An OWNER is d0, d1 ... or DomIO, the quarantine.
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

namespace {

/// A buffer that Xen can reach.
template <class T>
T* shared(xencall_handle* xen, std::size_t count = 1) {
  return static_cast<T*>(xencall_alloc_buffer(xen, sizeof(T) * count));
}

/// sysctl's number is found by asking.  False with a line on stderr.
bool sysctl(xencall_handle* xen, xen_sysctl* op, const char* name) {
  static std::uint32_t number = 0x10;
  for (;; ++number) {
    op->interface_version = number;
    if (xencall1(xen, __HYPERVISOR_sysctl, reinterpret_cast<std::uintptr_t>(op)) >= 0) return true;
    if (errno == EACCES && number < 0x40) continue;
    std::fprintf(stderr, "rig_domains: %s: %s\n", name, std::strerror(errno));
    return false;
  }
}

bool list_domains(xencall_handle* xen) {
  auto* op = shared<xen_sysctl>(xen);
  auto* info = shared<xen_domctl_getdomaininfo>(xen);
  // One domain a call, which needs nothing but the call's promise: the first at or above a number.
  for (std::uint32_t next = 0; next < DOMID_FIRST_RESERVED;) {
    std::memset(op, 0, sizeof *op);
    op->cmd = XEN_SYSCTL_getdomaininfolist;
    op->u.getdomaininfolist.first_domain = static_cast<domid_t>(next);
    op->u.getdomaininfolist.max_domains = 1;
    set_xen_guest_handle_raw(op->u.getdomaininfolist.buffer, info);
    if (!sysctl(xen, op, "XEN_SYSCTL_getdomaininfolist")) return false;
    if (op->u.getdomaininfolist.num_domains == 0) break;
    std::printf("%u ", unsigned{info->domain});
    for (const unsigned byte : info->handle) std::printf("%02x", byte);
    std::printf("%s\n", (info->flags & XEN_DOMINF_dying) != 0 ? " dying" : "");
    next = info->domain + 1u;
  }
  return true;
}

bool list_devices(xencall_handle* xen) {
  constexpr std::uint32_t kRing = 1 << 20;
  auto* op = shared<xen_sysctl>(xen);
  char* text = shared<char>(xen, kRing + 1);
  std::memset(op, 0, sizeof *op);
  op->cmd = XEN_SYSCTL_debug_keys;
  text[0] = 'Q';
  set_xen_guest_handle_raw(op->u.debug_keys.keys, text);
  op->u.debug_keys.nr_keys = 1;
  if (!sysctl(xen, op, "XEN_SYSCTL_debug_keys")) return false;
  std::memset(op, 0, sizeof *op);
  op->cmd = XEN_SYSCTL_readconsole;
  set_xen_guest_handle_raw(op->u.readconsole.buffer, text);
  op->u.readconsole.count = kRing;
  if (!sysctl(xen, op, "XEN_SYSCTL_readconsole")) return false;
  text[op->u.readconsole.count] = '\0';
  const char* line = text;
  for (const char* later = line; (later = std::strstr(later + 1, "==== PCI devices ====")) != nullptr;) line = later;
  // "(XEN) 0000:00:05.0 - d0 - node -1  - MSIs < 24 >"
  bool any = false;
  for (; (line = std::strchr(line, '\n')) != nullptr && *++line != '\0';) {
    char device[16], owner[16];
    const char* begin = std::strstr(line, "(XEN) ");
    if (begin == nullptr || std::sscanf(begin, "(XEN) %15[0-9a-f:.] - %15[^ :]", device, owner) != 2) continue;
    std::printf("%s %s\n", device, owner);
    any = true;
  }
  if (!any) std::fprintf(stderr, "rig_domains: no device in what Xen wrote\n");
  return any;
}

}  // namespace

int main(int argc, char** argv) {
  xencall_handle* xen = xencall_open(nullptr, 0);
  if (xen == nullptr) {
    std::fprintf(stderr, "rig_domains: no /dev/xen/hypercall\n");
    return 1;
  }
  const bool devices = argc == 2 && std::strcmp(argv[1], "devices") == 0;
  const bool good = devices ? list_devices(xen) : list_domains(xen);
  xencall_close(xen);
  return good ? 0 : 1;
}
