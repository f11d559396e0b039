// SPDX-License-Identifier: LGPL-2.1-or-later
// Hypercalls of a Xen control domain, by libxencall.
//
// libxenctrl's wrappers hide the errno of some calls behind an undo of their
// own (xc_domain_memory_mapping) and make one call a page; so the calls that
// matter are issued here, with Xen's own return value.  And libxencall's name is
// the same on every Xen; libxenctrl's is not (control.h).
//
// open() asks Xen which interface it has, and every domctl and sysctl carries that
// number: one binary for all in interface_table.h.
//
// A call's argument is copied into a hypercall-safe buffer and back.  Arguments
// that must survive us, because Xen writes into them what only they name, lie
// in locked memory of their own instead (ledger.h) and are passed as they are.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

// The tools' view of the public headers: domctl.h is only for those.
#ifndef __XEN_TOOLS__
#define __XEN_TOOLS__ 1
#endif
extern "C" {  // these headers do not say so themselves
#include <xencall.h>
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>
}
#include <xen/event_channel.h>

#include "hypercall/result.h"
#include "hypercall/xen/interface.h"
#include "hypercall/xen/library_fds.h"

namespace pviommu::xen {

/// Thread-safe.  An error has the errno as its code and Xen's value as `raw`; `raw` 0 means
/// that the call did not get as far as Xen.
class XenCalls {
 public:
  /// ENOENT and others when there is no /dev/xen/privcmd.  EPROTONOSUPPORT: Xen's interface is
  /// not known, and is not the one `assumed` (interface.h).  EPERM: this is no control domain.
  static Result<std::unique_ptr<XenCalls>> open(const std::optional<InterfaceNumbers>& assumed = {});
  /// Only asks which interface Xen has, known or not.
  static Result<InterfaceNumbers> ask_interface();
  ~XenCalls();
  XenCalls(const XenCalls&) = delete;
  XenCalls& operator=(const XenCalls&) = delete;

  const Interface& interface() const { return interface_; }
  /// Major << 16 | minor, of the Xen that runs (XENVER_version).
  Result<std::uint32_t> version();

  /// XEN_DOMCTL_*: `op.interface_version` is filled in; what Xen wrote is in
  /// `op` afterwards.  The value is Xen's, 0 or positive.  `name` is static.
  Result<long> domctl(xen_domctl& op, const char* name);
  /// The same, as the one member of a multicall whose entry is `note`, in locked memory: Xen writes
  /// its answer (0, or a negative errno) to `note.result`, also when the caller is killed meanwhile.
  Result<long> domctl_noted(xen_domctl& op, multicall_entry& note, const char* name);
  /// XEN_SYSCTL_*, in the same way.
  Result<long> sysctl(xen_sysctl& op, const char* name);
  Result<long> physdev(unsigned command, void* argument, std::size_t bytes, const char* name);
  Result<long> event_channel(unsigned command, void* argument, std::size_t bytes, const char* name);

  /// Replaces each guest frame number by its type, XEN_DOMCTL_PFINFO_*, at most kPageTypes
  /// in a call (XEN_DOMCTL_getpageframeinfo3).
  static constexpr std::size_t kPageTypes = 1024;
  Status page_types(std::uint16_t domid, std::span<std::uint64_t> frames);
  /// Sends a message to the domain's interrupt controllers (XEN_DMOP_inject_msi).
  Status inject_msi(std::uint16_t domid, std::uint64_t address, std::uint32_t data);

  /// Domains from the number `first` on, ascending, as many as there are and `out` has room
  /// for; their count (XEN_SYSCTL_getdomaininfolist).
  Result<std::size_t> domains(std::uint16_t first, std::span<xen_domctl_getdomaininfo> out);

  /// Copies new text of Xen's console ring to `out`, from `index` on, and moves `index`.
  /// Returns the bytes copied; 0: there is nothing new.
  Result<std::size_t> read_console(std::span<char> out, std::uint32_t& index);

  /// The same calls with an argument in locked memory, into which Xen writes.
  Result<long> physdev_in_place(unsigned command, void* argument, const char* name);
  Result<long> event_channel_in_place(unsigned command, void* argument, const char* name);

  /// Closes `port` and binds a pirq in one entry to the hypervisor, so that the
  /// pirq gets the same port unless another CPU of dom0 takes it in between.
  Status close_and_bind(std::uint32_t port, evtchn_bind_pirq& bind);

  /// Several domctls in one entry to the hypervisor (multicall): clear(), add() each,
  /// run(), result() of each.  Not thread-safe; the owner serialises.
  class Batch {
   public:
    static constexpr unsigned kCalls = 64;  ///< more is hardly faster: 5.37 k-instructions a page, 5.35 with 256
    static Result<std::unique_ptr<Batch>> make(XenCalls& calls);
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void clear() { count_ = 0; }
    bool full() const { return count_ == kCalls; }
    unsigned count() const { return count_; }
    /// A zeroed domctl for `domid`, to be filled by the caller.
    xen_domctl& add(std::uint32_t command, std::uint16_t domid);
    xen_domctl& call(unsigned i) { return domctls_[i]; }
    /// Issues all of them.  After an error nobody knows which were done.
    Status run();
    /// What the i-th one answered, after run(): 0 or positive, or a negative errno.
    long result(unsigned i) const { return static_cast<long>(entries_[i].result); }

   private:
    explicit Batch(XenCalls& calls) : calls_(calls) {}
    XenCalls& calls_;
    xen_domctl* domctls_ = nullptr;
    multicall_entry* entries_ = nullptr;
    unsigned count_ = 0;
  };

  /// For tests: the n-th call from now (1: the next) fails with EIO; each member of a
  /// batch counts as one.  0: none fails.  `calls_made()` counts all.
  void fail_call(std::uint64_t n) { fail_at_.store(n == 0 ? 0 : made_.load() + n); }
  std::uint64_t calls_made() const { return made_.load(std::memory_order_relaxed); }

 private:
  XenCalls() = default;
  static Result<std::unique_ptr<XenCalls>> open_library();
  /// Which numbers Xen takes, by a harmless call with each.
  Result<InterfaceNumbers> probe();
  /// Counts a call; true when it is the one to fail.
  bool fails();
  Result<long> issue(unsigned hypercall, unsigned command, void* argument, std::size_t bytes, const char* name);
  Result<long> issue_in_place(unsigned hypercall, unsigned command, void* argument, const char* name);

  LibraryFds fds_;
  xencall_handle* handle_ = nullptr;
  Interface interface_;
  std::atomic<std::uint64_t> made_{0};
  std::atomic<std::uint64_t> fail_at_{0};
};

}  // namespace pviommu::xen
