// SPDX-License-Identifier: LGPL-2.1-or-later
//   open()                     which interface has this Xen? tried number by number
//   domctl(), physdev(), ...   argument --> bounce buffer --> libxencall --> back
//   ..._in_place()             argument in locked memory of the caller, as it is
//   Batch                      up to 64 domctls in one multicall
//
// fail=N (for tests) counts here, below everything that counts hypercalls for people.
#include "hypercall/xen/xen_calls.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

#include <xen/hvm/dm_op.h>
#include <xen/version.h>

namespace pviommu::xen {
namespace {

// What interface_table.h says is the same in all versions.  That is so in the headers this is
// built with, whichever they are.
static_assert(sizeof(xen_domctl) == 144 && offsetof(xen_domctl, domain) == 8 && offsetof(xen_domctl, u) == 16);
static_assert(sizeof(xen_domctl_getdomaininfo) == 112 && offsetof(xen_domctl_getdomaininfo, handle) == 76 &&
              offsetof(xen_domctl_getdomaininfo, shared_info_frame) == 48 &&
              offsetof(xen_domctl_getdomaininfo, max_vcpu_id) == 68);
static_assert(sizeof(xen_sysctl) == 136 && offsetof(xen_sysctl, u) == 8 &&
              offsetof(xen_sysctl_physinfo, capabilities) == 28);
static_assert(offsetof(xen_domctl_createdomain, handle) == 4 &&
              offsetof(xen_domctl_createdomain, grant_opts) == 44);

/// Hypercall-safe memory for the time of one call.
class Bounce {
 public:
  Bounce(xencall_handle* handle, std::size_t bytes)
      : handle_(handle), memory_(::xencall_alloc_buffer(handle, bytes)) {}
  ~Bounce() {
    if (memory_ != nullptr) ::xencall_free_buffer(handle_, memory_);
  }
  Bounce(const Bounce&) = delete;
  Bounce& operator=(const Bounce&) = delete;
  void* get() const { return memory_; }

 private:
  xencall_handle* handle_;
  void* memory_;
};

std::uint64_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

Result<std::unique_ptr<XenCalls>> XenCalls::open_library() {
  std::unique_ptr<XenCalls> calls(new XenCalls);
  calls->handle_ = calls->fds_.watch([] { return ::xencall_open(nullptr, 0); });
  if (calls->handle_ == nullptr) return Error{errno != 0 ? errno : ENODEV, "open /dev/xen/privcmd"};
  return calls;
}

Result<std::unique_ptr<XenCalls>> XenCalls::open(const std::optional<InterfaceNumbers>& assumed) {
  auto calls = PVIOMMU_TRY(open_library());
  calls->interface_ = PVIOMMU_TRY(choose_interface(PVIOMMU_TRY(calls->probe()), assumed));
  return calls;
}

Result<InterfaceNumbers> XenCalls::ask_interface() { return PVIOMMU_TRY(open_library())->probe(); }

namespace {

/// The number that `ask` does not refuse with EACCES, those that are known first; 0: none.
template <class Ask>
Result<std::uint32_t> find_number(NumberRange known, Ask&& ask) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t n = known.last; n >= known.first; --n) numbers.push_back(n);
  for (std::uint32_t n = 1; n <= kNumbersBeyond; ++n) numbers.push_back(known.last + n);
  for (std::uint32_t n = 1; n <= kNumbersBeyond && n < known.first; ++n) numbers.push_back(known.first - n);
  for (const std::uint32_t number : numbers) {
    const Result<long> asked = ask(number);
    if (asked) return number;
    // Xen looks at the number before anything else, so any other error is an answer to it.
    if (asked.error().code == EPERM)
      return asked.error().with_sentence("this domain may not control others: run pviommu as root in dom0");
    if (asked.error().code != EACCES) return asked.error();
  }
  return std::uint32_t{0};
}

}  // namespace

Result<InterfaceNumbers> XenCalls::probe() {
  InterfaceNumbers found;
  found.domctl = PVIOMMU_TRY(find_number(known_domctls(), [&](std::uint32_t number) {
    xen_domctl op;
    std::memset(&op, 0, sizeof op);
    op.cmd = XEN_DOMCTL_getdomaininfo;
    interface_.numbers.domctl = number;
    return domctl(op, "XEN_DOMCTL_getdomaininfo");
  }));
  found.sysctl = PVIOMMU_TRY(find_number(known_sysctls(), [&](std::uint32_t number) {
    xen_sysctl op;
    std::memset(&op, 0, sizeof op);
    op.cmd = XEN_SYSCTL_physinfo;
    interface_.numbers.sysctl = number;
    return sysctl(op, "XEN_SYSCTL_physinfo");
  }));
  return found;
}

XenCalls::~XenCalls() {
  fds_.forget();
  if (handle_ != nullptr) ::xencall_close(handle_);
}

bool XenCalls::fails() {
  const std::uint64_t number = made_.fetch_add(1, std::memory_order_relaxed) + 1;
  return number == fail_at_.load(std::memory_order_relaxed);
}

Result<long> XenCalls::issue(unsigned hypercall, unsigned command, void* argument, std::size_t bytes,
                             const char* name) {
  if (fails()) return Error{EIO, name};
  const Bounce bounce(handle_, bytes);
  if (bounce.get() == nullptr) return Error{ENOMEM, name};
  std::memcpy(bounce.get(), argument, bytes);
  // A domctl or sysctl has its command inside the structure.
  const long rc = hypercall == __HYPERVISOR_domctl || hypercall == __HYPERVISOR_sysctl
                      ? ::xencall1(handle_, hypercall, address(bounce.get()))
                      : ::xencall2L(handle_, hypercall, command, address(bounce.get()));
  const int code = errno;
  std::memcpy(argument, bounce.get(), bytes);
  if (rc < 0) return Error{code, name, -code};
  return rc;
}

Result<long> XenCalls::issue_in_place(unsigned hypercall, unsigned command, void* argument, const char* name) {
  if (fails()) return Error{EIO, name};
  // Locked memory can still be away for a moment, while the kernel moves the
  // page; Xen looks at the page tables once and says EFAULT.
  for (int again = 0;; ++again) {
    const long rc = ::xencall2L(handle_, hypercall, command, address(argument));
    if (rc >= 0) return rc;
    if (errno != EFAULT || again == 8) return Error{errno, name, -errno};
    auto* byte = static_cast<volatile char*>(argument);
    *byte = *byte;
  }
}

Result<long> XenCalls::domctl(xen_domctl& op, const char* name) {
  op.interface_version = interface_.numbers.domctl;
  return issue(__HYPERVISOR_domctl, 0, &op, sizeof op, name);
}

Result<long> XenCalls::domctl_noted(xen_domctl& op, multicall_entry& note, const char* name) {
  if (fails()) return Error{EIO, name};
  const Bounce bounce(handle_, sizeof op);
  if (bounce.get() == nullptr) return Error{ENOMEM, name};
  op.interface_version = interface_.numbers.domctl;
  std::memcpy(bounce.get(), &op, sizeof op);
  note.op = __HYPERVISOR_domctl;
  note.args[0] = address(bounce.get());
  // As in issue_in_place().
  for (int again = 0; ::xencall2(handle_, __HYPERVISOR_multicall, address(&note), 1) < 0; ++again) {
    if (errno != EFAULT || again == 8) return Error{errno, "multicall", -errno};
    auto& op_in_memory = *reinterpret_cast<volatile xen_ulong_t*>(&note.op);
    op_in_memory = op_in_memory;
  }
  std::memcpy(&op, bounce.get(), sizeof op);
  const long rc = static_cast<long>(note.result);
  if (rc < 0) return Error{static_cast<int>(-rc), name, rc};
  return rc;
}

Result<long> XenCalls::sysctl(xen_sysctl& op, const char* name) {
  op.interface_version = interface_.numbers.sysctl;
  return issue(__HYPERVISOR_sysctl, 0, &op, sizeof op, name);
}

Result<std::uint32_t> XenCalls::version() {
  const long version = ::xencall2L(handle_, __HYPERVISOR_xen_version, XENVER_version, 0);
  if (version < 0) return Error{errno, "XENVER_version", -errno};
  return static_cast<std::uint32_t>(version);
}

Result<long> XenCalls::physdev(unsigned command, void* argument, std::size_t bytes, const char* name) {
  return issue(__HYPERVISOR_physdev_op, command, argument, bytes, name);
}

Result<long> XenCalls::event_channel(unsigned command, void* argument, std::size_t bytes, const char* name) {
  return issue(__HYPERVISOR_event_channel_op, command, argument, bytes, name);
}

Status XenCalls::close_and_bind(std::uint32_t port, evtchn_bind_pirq& bind) {
  if (fails()) return Error{EIO, "EVTCHNOP_close, EVTCHNOP_bind_pirq"};
  struct Calls {
    multicall_entry entry[2];
    evtchn_close close;
    evtchn_bind_pirq bind;
  };
  const Bounce bounce(handle_, sizeof(Calls));
  if (bounce.get() == nullptr) return Error{ENOMEM, "multicall"};
  auto& calls = *new (bounce.get()) Calls{};
  calls.close.port = port;
  calls.bind = bind;
  calls.entry[0].op = calls.entry[1].op = __HYPERVISOR_event_channel_op;
  calls.entry[0].args[0] = EVTCHNOP_close;
  calls.entry[0].args[1] = address(&calls.close);
  calls.entry[1].args[0] = EVTCHNOP_bind_pirq;
  calls.entry[1].args[1] = address(&calls.bind);
  if (::xencall2(handle_, __HYPERVISOR_multicall, address(calls.entry), 2) < 0)
    return Error{errno, "multicall", -errno};
  bind = calls.bind;
  for (const multicall_entry& entry : calls.entry)
    if (const long result = static_cast<long>(entry.result); result < 0)
      return Error{static_cast<int>(-result), "EVTCHNOP_close, EVTCHNOP_bind_pirq", result};
  return {};
}

Status XenCalls::page_types(std::uint16_t domid, std::span<std::uint64_t> frames) {
  constexpr const char* kName = "XEN_DOMCTL_getpageframeinfo3";
  if (fails()) return Error{EIO, kName};
  const Bounce array(handle_, frames.size_bytes()), bounce(handle_, sizeof(xen_domctl));
  if (array.get() == nullptr || bounce.get() == nullptr) return Error{ENOMEM, kName};
  std::memcpy(array.get(), frames.data(), frames.size_bytes());
  auto& op = *new (bounce.get()) xen_domctl;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_DOMCTL_getpageframeinfo3;
  op.interface_version = interface_.numbers.domctl;
  op.domain = domid;
  op.u.getpageframeinfo3.num = frames.size();
  set_xen_guest_handle_raw(op.u.getpageframeinfo3.array, static_cast<xen_pfn_t*>(array.get()));
  if (::xencall1(handle_, __HYPERVISOR_domctl, address(bounce.get())) < 0) return Error{errno, kName, -errno};
  std::memcpy(frames.data(), array.get(), frames.size_bytes());
  return {};
}

Status XenCalls::inject_msi(std::uint16_t domid, std::uint64_t message_address, std::uint32_t data) {
  constexpr const char* kName = "XEN_DMOP_inject_msi";
  if (fails()) return Error{EIO, kName};
  struct Call {
    xen_dm_op_buf buffer;
    xen_dm_op op;
  };
  const Bounce bounce(handle_, sizeof(Call));
  if (bounce.get() == nullptr) return Error{ENOMEM, kName};
  auto& call = *new (bounce.get()) Call;
  std::memset(&call, 0, sizeof call);
  call.op.op = XEN_DMOP_inject_msi;
  call.op.u.inject_msi.addr = message_address;
  call.op.u.inject_msi.data = data;
  set_xen_guest_handle_raw(call.buffer.h, static_cast<void*>(&call.op));
  call.buffer.size = sizeof call.op;
  if (::xencall3(handle_, __HYPERVISOR_dm_op, domid, 1, address(&call.buffer)) < 0)
    return Error{errno, kName, -errno};
  return {};
}

Result<std::size_t> XenCalls::domains(std::uint16_t first, std::span<xen_domctl_getdomaininfo> out) {
  constexpr const char* kName = "XEN_SYSCTL_getdomaininfolist";
  const Bounce list(handle_, out.size_bytes());
  if (list.get() == nullptr) return Error{ENOMEM, kName};
  xen_sysctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_SYSCTL_getdomaininfolist;
  op.u.getdomaininfolist.first_domain = first;
  op.u.getdomaininfolist.max_domains = static_cast<std::uint32_t>(out.size());
  set_xen_guest_handle_raw(op.u.getdomaininfolist.buffer, static_cast<xen_domctl_getdomaininfo*>(list.get()));
  PVIOMMU_TRY(sysctl(op, kName));
  const std::size_t count = op.u.getdomaininfolist.num_domains;
  std::memcpy(out.data(), list.get(), count * sizeof out[0]);
  return count;
}

Result<std::size_t> XenCalls::read_console(std::span<char> out, std::uint32_t& index) {
  // This call comes by the clock, so it does not count among those that a test makes fail.
  const Bounce text(handle_, out.size()), bounce(handle_, sizeof(xen_sysctl));
  if (text.get() == nullptr || bounce.get() == nullptr) return Error{ENOMEM, "XEN_SYSCTL_readconsole"};
  auto& op = *new (bounce.get()) xen_sysctl;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_SYSCTL_readconsole;
  op.interface_version = interface_.numbers.sysctl;
  op.u.readconsole.incremental = 1;
  op.u.readconsole.index = index;
  op.u.readconsole.count = static_cast<std::uint32_t>(out.size());
  set_xen_guest_handle_raw(op.u.readconsole.buffer, static_cast<char*>(text.get()));
  if (::xencall1(handle_, __HYPERVISOR_sysctl, address(bounce.get())) < 0)
    return Error{errno, "XEN_SYSCTL_readconsole", -errno};
  index = op.u.readconsole.index;
  std::memcpy(out.data(), text.get(), op.u.readconsole.count);
  return std::size_t{op.u.readconsole.count};
}

Result<long> XenCalls::physdev_in_place(unsigned command, void* argument, const char* name) {
  return issue_in_place(__HYPERVISOR_physdev_op, command, argument, name);
}

Result<long> XenCalls::event_channel_in_place(unsigned command, void* argument, const char* name) {
  return issue_in_place(__HYPERVISOR_event_channel_op, command, argument, name);
}

// ---- batches -------------------------------------------------------------------

Result<std::unique_ptr<XenCalls::Batch>> XenCalls::Batch::make(XenCalls& calls) {
  std::unique_ptr<Batch> batch(new (std::nothrow) Batch(calls));
  if (!batch) return Error{ENOMEM, "multicall"};
  batch->domctls_ =
      static_cast<xen_domctl*>(::xencall_alloc_buffer(calls.handle_, kCalls * sizeof(xen_domctl)));
  batch->entries_ =
      static_cast<multicall_entry*>(::xencall_alloc_buffer(calls.handle_, kCalls * sizeof(multicall_entry)));
  if (batch->domctls_ == nullptr || batch->entries_ == nullptr) return Error{ENOMEM, "multicall"};
  return batch;
}

XenCalls::Batch::~Batch() {
  if (domctls_ != nullptr) ::xencall_free_buffer(calls_.handle_, domctls_);
  if (entries_ != nullptr) ::xencall_free_buffer(calls_.handle_, entries_);
}

xen_domctl& XenCalls::Batch::add(std::uint32_t command, std::uint16_t domid) {
  xen_domctl& op = domctls_[count_];
  std::memset(&op, 0, sizeof op);
  op.cmd = command;
  op.interface_version = calls_.interface_.numbers.domctl;
  op.domain = domid;
  multicall_entry& entry = entries_[count_];
  entry.op = __HYPERVISOR_domctl;
  entry.result = 0;
  entry.args[0] = address(&op);
  ++count_;
  return op;
}

Status XenCalls::Batch::run() {
  for (unsigned i = 0; i < count_; ++i) {
    // Xen itself refuses the member: there is no such hypercall.
    if (calls_.fails()) entries_[i].op = ~std::uint32_t{0};
  }
  const int rc = ::xencall2(calls_.handle_, __HYPERVISOR_multicall, address(entries_), count_);
  if (rc < 0) return Error{errno, "multicall", -errno};
  return {};
}

}  // namespace pviommu::xen
