// SPDX-License-Identifier: LGPL-2.1-or-later
//   domctl(), physdev(), ...   argument --> bounce buffer --> libxencall --> back
//   ..._in_place()             argument in locked memory of the caller, as it is
//   Batch                      up to 64 domctls in one multicall
//
// fail=N (for tests) counts here, below everything that counts hypercalls for people.
#include "hypercall/xen/xen_calls.h"

#include <cerrno>
#include <cstring>
#include <new>

#include <xen/hvm/dm_op.h>

namespace pviommu::xen {
namespace {

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

Result<std::unique_ptr<XenCalls>> XenCalls::open() {
  std::unique_ptr<XenCalls> calls(new XenCalls);
  calls->handle_ = calls->fds_.watch([] { return ::xencall_open(nullptr, 0); });
  if (calls->handle_ == nullptr) return Error{errno != 0 ? errno : ENODEV, "open /dev/xen/privcmd"};
  return calls;
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
  // A domctl has its command inside the structure.
  const long rc = hypercall == __HYPERVISOR_domctl
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
  op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
  return issue(__HYPERVISOR_domctl, 0, &op, sizeof op, name);
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
  op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
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

Result<std::size_t> XenCalls::read_console(std::span<char> out, std::uint32_t& index) {
  // This call comes by the clock, so it does not count among those that a test makes fail.
  const Bounce text(handle_, out.size()), bounce(handle_, sizeof(xen_sysctl));
  if (text.get() == nullptr || bounce.get() == nullptr) return Error{ENOMEM, "XEN_SYSCTL_readconsole"};
  auto& op = *new (bounce.get()) xen_sysctl;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_SYSCTL_readconsole;
  op.interface_version = XEN_SYSCTL_INTERFACE_VERSION;
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
  op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
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
