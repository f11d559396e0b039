// SPDX-License-Identifier: LGPL-2.1-or-later
// The calls by their numbers and byte offsets in Xen's public headers, not by the headers of the
// machine that this is built on: those are of one version.
#include "xen_fake.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

extern "C" {
#include <xencall.h>
#include <xenstore.h>
}

namespace fake {
namespace {

constexpr unsigned kVersion = 17, kSysctl = 35, kDomctl = 36;                     // hypercalls
constexpr std::uint32_t kCreate = 1, kDestroy = 2, kInfo = 5, kMaxVcpus = 15;     // domctls
constexpr std::uint32_t kIomem = 20, kTestAssign = 45, kGetPool = 85, kSetPool = 86;
constexpr std::uint32_t kPhysinfo = 3, kInfoList = 6;                             // sysctls
constexpr std::size_t kInfoBytes = 112;

Xen the_xen;

template <class T>
T get(const unsigned char* at, std::size_t offset) {
  T value;
  std::memcpy(&value, at + offset, sizeof value);
  return value;
}
template <class T>
void put(unsigned char* at, std::size_t offset, T value) {
  std::memcpy(at + offset, &value, sizeof value);
}

int refuse(int code) {
  errno = code;
  return -1;
}

void put_info(unsigned char* at, std::uint16_t domid, const Domain& domain) {
  std::memset(at, 0, kInfoBytes);
  put<std::uint16_t>(at, 0, domid);
  put<std::uint32_t>(at, 4, domain.flags);
  std::memcpy(at + 76, domain.handle.data(), 16);
}

int create(unsigned char* op) {
  Xen& xen = the_xen;
  const unsigned char* u = op + 16;
  Created asked;
  asked.domid_asked = get<std::uint16_t>(op, 8);
  std::memcpy(asked.handle.data(), u + 4, 16);
  asked.flags = get<std::uint32_t>(u, 20);
  asked.iommu_opts = get<std::uint32_t>(u, 24);
  asked.max_vcpus = get<std::uint32_t>(u, 28);
  asked.max_grant_frames = get<std::uint32_t>(u, 36);
  asked.grant_opts = get<std::uint32_t>(u, 44);
  const bool has_altp2m = xen.minor >= 19;
  asked.altp2m = has_altp2m ? get<std::uint32_t>(u, 48) : 0;
  asked.vmtrace_size = get<std::uint32_t>(u, has_altp2m ? 52 : 48);
  asked.emulation_flags = get<std::uint32_t>(u, has_altp2m ? 60 : 56);
  xen.created.push_back(asked);
  // Until 4.20: 0 and reserved numbers mean "choose"; 4.21: 0 or DOMID_INVALID and beyond the
  // range; from 4.22 on DOMID_ANY alone.
  const bool choose = asked.domid_asked == 0x7ff5 || (xen.minor < 22 && (asked.domid_asked == 0 || asked.domid_asked >= 0x7ff0));
  const std::uint16_t domid = choose ? xen.next_domid++ : asked.domid_asked;
  if (xen.domains.contains(domid)) return refuse(EEXIST);
  xen.domains[domid] = {asked.handle, 0, {}};
  put<std::uint16_t>(op, 8, domid);
  return 0;
}

int domctl(unsigned char* op) {
  Xen& xen = the_xen;
  if (get<std::uint32_t>(op, 4) != xen.domctl) {
    ++xen.other_numbers;
    return refuse(EACCES);
  }
  if (xen.refuse != 0) return refuse(xen.refuse);
  const std::uint32_t command = get<std::uint32_t>(op, 0);
  const std::uint16_t domid = get<std::uint16_t>(op, 8);
  if (command == kCreate) return create(op);
  auto found = xen.domains.find(domid);
  if (command == kInfo) {
    // Exact from 4.18 on; before it the next one above.
    if (found == xen.domains.end() && xen.minor < 18) found = xen.domains.upper_bound(domid);
    if (found == xen.domains.end()) return refuse(ESRCH);
    put<std::uint16_t>(op, 8, found->first);
    put_info(op + 16, found->first, found->second);
    return 0;
  }
  if (found == xen.domains.end()) return refuse(ESRCH);
  switch (command) {
    case kDestroy:
      xen.destroyed.push_back(domid);
      xen.domains.erase(found);
      return 0;
    case kMaxVcpus: case kIomem: case kGetPool: case kSetPool:
      return 0;
    case kTestAssign:
      return refuse(ENODEV);
    default:
      return refuse(ENOSYS);
  }
}

int sysctl(unsigned char* op) {
  Xen& xen = the_xen;
  if (get<std::uint32_t>(op, 4) != xen.sysctl) {
    ++xen.other_numbers;
    return refuse(EACCES);
  }
  if (xen.refuse != 0) return refuse(xen.refuse);
  switch (get<std::uint32_t>(op, 0)) {
    case kPhysinfo:
      return 0;
    case kInfoList: {
      // first_domain 0, max_domains 4, buffer 8, num_domains 16.
      ++xen.lists;
      auto* out = reinterpret_cast<unsigned char*>(get<std::uintptr_t>(op, 16));
      const std::uint32_t most = get<std::uint32_t>(op, 12);
      std::uint32_t count = 0;
      for (auto at = xen.domains.lower_bound(get<std::uint16_t>(op, 8)); at != xen.domains.end() && count < most; ++at)
        put_info(out + kInfoBytes * count++, at->first, at->second);
      put<std::uint32_t>(op, 24, count);
      return 0;
    }
    default:
      return refuse(ENOSYS);
  }
}

long hypercall(unsigned op, std::uint64_t first) {
  auto* argument = reinterpret_cast<unsigned char*>(first);
  if (op == kDomctl) return domctl(argument);
  if (op == kSysctl) return sysctl(argument);
  if (op == kVersion && first == 0) return static_cast<long>(the_xen.major << 16 | the_xen.minor);
  return refuse(ENOSYS);
}

}  // namespace

Xen& Xen::get() { return the_xen; }
void Xen::reset() {
  the_xen = {};
  the_xen.domains[0] = {{}, 0, "Domain-0"};
}

}  // namespace fake

extern "C" {

xencall_handle* xencall_open(xentoollog_logger*, unsigned) {
  ++fake::the_xen.handles;
  return reinterpret_cast<xencall_handle*>(&fake::the_xen);
}
int xencall_close(xencall_handle*) {
  --fake::the_xen.handles;
  return 0;
}
void* xencall_alloc_buffer(xencall_handle*, std::size_t bytes) {
  ++fake::the_xen.buffers;
  return std::malloc(bytes);
}
void xencall_free_buffer(xencall_handle*, void* memory) {
  --fake::the_xen.buffers;
  std::free(memory);
}
int xencall1(xencall_handle*, unsigned op, std::uint64_t first) { return static_cast<int>(fake::hypercall(op, first)); }
int xencall2(xencall_handle*, unsigned, std::uint64_t, std::uint64_t) { return fake::refuse(ENOSYS); }
long xencall2L(xencall_handle*, unsigned op, std::uint64_t first, std::uint64_t) { return fake::hypercall(op, first); }
int xencall3(xencall_handle*, unsigned, std::uint64_t, std::uint64_t, std::uint64_t) { return fake::refuse(ENOSYS); }

// ---- xenstore: names, and the ends of domains ----------------------------------------

xs_handle* xs_open(unsigned long) {
  ++fake::the_xen.handles;
  return reinterpret_cast<xs_handle*>(&fake::the_xen);
}
void xs_close(xs_handle*) { --fake::the_xen.handles; }
void* xs_read(xs_handle*, xs_transaction_t, const char* path, unsigned* length) {
  // /local/domain/DOMID/name
  constexpr std::size_t kPrefix = sizeof "/local/domain/" - 1;
  const auto found = fake::the_xen.domains.find(static_cast<std::uint16_t>(std::strtoul(path + kPrefix, nullptr, 10)));
  if (found == fake::the_xen.domains.end() || found->second.name.empty()) return nullptr;
  *length = static_cast<unsigned>(found->second.name.size());
  return ::strdup(found->second.name.c_str());
}
bool xs_watch(xs_handle*, const char* path, const char*) { return fake::the_xen.store_there && std::strcmp(path, "@releaseDomain") == 0; }
int xs_fileno(xs_handle*) { return -1; }
char** xs_check_watch(xs_handle*) {
  if (fake::the_xen.domain_ends == 0) {
    errno = fake::the_xen.store_there ? EAGAIN : EINVAL;
    return nullptr;
  }
  --fake::the_xen.domain_ends;
  return static_cast<char**>(std::malloc(sizeof(char*)));
}

}  // extern "C"
