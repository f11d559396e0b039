// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypercall/xen/pirq_vectors.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/sys/evtchn.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace pviommu::xen {
namespace {

// include/uapi/xen/evtchn.h of Linux 6.6; Xen 4.17's copy is older.
#ifndef IOCTL_EVTCHN_BIND_STATIC
struct ioctl_evtchn_bind {
  unsigned int port;
};
#define IOCTL_EVTCHN_BIND_STATIC _IOC(_IOC_NONE, 'E', 7, sizeof(struct ioctl_evtchn_bind))
#endif

constexpr std::size_t kPortsAtOnce = 64;

unsigned bus_and_segment(Sbdf sbdf) { return (sbdf.raw() >> 8 & 0xff) | (sbdf.raw() >> 16) << 16; }
unsigned devfn(Sbdf sbdf) { return sbdf.raw() & 0xff; }

/// The descriptors of this process, for its children: a copy left there keeps
/// ports bound in the kernel when we are dead.  Number + 1; 0: none.
std::array<std::atomic<int>, 8> descriptors;

void note_descriptor(int fd) {
  static const bool registered = [] {
    ::pthread_atfork(nullptr, nullptr, [] {
      for (auto& slot : descriptors)
        UniqueFd(slot.exchange(0) - 1).reset();
    });
    return true;
  }();
  (void)registered;
  for (auto& slot : descriptors) {
    int none = 0;
    if (slot.compare_exchange_strong(none, fd + 1)) return;
  }
}

void forget_descriptor(int fd) {
  for (auto& slot : descriptors) {
    int ours = fd + 1;
    if (slot.compare_exchange_strong(ours, 0)) return;
  }
}

/// Xen has no more to give, as opposed to: something went wrong.
bool shortage(const Error& error) {
  return error.raw != 0 && (error.code == ENOSPC || error.code == ENFILE);
}

}  // namespace

Result<std::unique_ptr<PirqVectors>> PirqVectors::open(XenCalls& calls, bool may_crash_dom0) {
  std::unique_ptr<PirqVectors> vectors(new PirqVectors(calls));
  vectors->fd_.reset(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC));
  if (!vectors->fd_) return Error{errno, "open /dev/xen/evtchn"};
  note_descriptor(vectors->fd_.get());
  // A kernel that knows the request looks at its argument first.
  if (::ioctl(vectors->fd_.get(), IOCTL_EVTCHN_BIND_STATIC, nullptr) != 0 && errno == EFAULT)
    vectors->delivery_ = Delivery::bind_static;
  else if (may_crash_dom0)
    vectors->delivery_ = Delivery::swap_port;
  return vectors;
}

PirqVectors::~PirqVectors() {
  if (thread_.joinable()) {
    stop_.store(true);
    ioctl_evtchn_notify notify{waker_port_};
    (void)::ioctl(fd_.get(), IOCTL_EVTCHN_NOTIFY, &notify);
    thread_.join();
  }
  if (fd_) forget_descriptor(fd_.get());
}

Status PirqVectors::start() {
  if (thread_.joinable()) return {};
  ioctl_evtchn_bind_unbound_port here{DOMID_SELF};
  const int port = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &here);
  if (port < 0) return Error{errno, "IOCTL_EVTCHN_BIND_UNBOUND_PORT"};
  ioctl_evtchn_bind_interdomain there{DOMID_SELF, static_cast<unsigned>(port)};
  const int waker = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_INTERDOMAIN, &there);
  if (waker < 0) return Error{errno, "IOCTL_EVTCHN_BIND_INTERDOMAIN"};
  wake_port_ = static_cast<std::uint32_t>(port);
  waker_port_ = static_cast<std::uint32_t>(waker);
  // The thread takes none of the program's signals.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Status status;
  try {
    thread_ = std::thread([this] { deliver(); });
  } catch (const std::system_error& error) {
    status = Error{error.code().value(), "thread"};
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

// ---- pirqs -------------------------------------------------------------------

/// `entry`: of MSI-X, the table's; of several MSIs, how many.  Xen writes the
/// pirq (or how many there are) where the ledger keeps it.
Status PirqVectors::map_pirq(DeviceVectors& device, LedgerVector& vector, int type, unsigned entry) {
  std::memset(&vector.map, 0, sizeof vector.map);
  vector.map.domid = DOMID_SELF;
  vector.map.type = type;
  vector.map.index = -1;
  vector.map.pirq = -1;
  vector.map.bus = static_cast<int>(bus_and_segment(device.sbdf));
  vector.map.devfn = static_cast<int>(devfn(device.sbdf));
  vector.map.entry_nr = static_cast<int>(entry);
  vector.map.table_base = device.kind == VectorKind::msix ? device.place.table_base : 0;
  vector.state.store(LedgerVector::mapping, std::memory_order_release);
  const auto mapped = calls_.physdev_in_place(PHYSDEVOP_map_pirq, &vector.map, "PHYSDEVOP_map_pirq");
  vector.state.store(mapped ? LedgerVector::mapped : LedgerVector::none, std::memory_order_release);
  if (!mapped) return mapped.error();
  return {};
}

Status PirqVectors::map_one(DeviceVectors& device, unsigned entry) {
  return map_pirq(device, device.ledger->vector[entry], MAP_PIRQ_TYPE_MSI_SEG, entry);
}

/// Several MSIs are one allocation; what can be had comes back in entry_nr.
Result<unsigned> PirqVectors::map_block(DeviceVectors& device, unsigned count) {
  LedgerVector& vector = device.ledger->vector[0];
  const Status mapped = map_pirq(device, vector, MAP_PIRQ_TYPE_MULTI_MSI, count);
  if (mapped) return count;
  const int available = vector.map.entry_nr;
  if (shortage(mapped.error()) && available > 0 && static_cast<unsigned>(available) < count)
    return static_cast<unsigned>(available);
  return mapped.error();
}

Status unmap_ledger_pirq(XenCalls& calls, LedgerVector& vector) {
  const std::uint32_t state = vector.state.load(std::memory_order_acquire);
  // A map_pirq that was cut short has left -1 or the pirq.
  if (state == LedgerVector::none || vector.map.pirq < 0) {
    vector.state.store(LedgerVector::none, std::memory_order_release);
    return {};
  }
  physdev_unmap_pirq unmap{};
  unmap.domid = DOMID_SELF;
  unmap.pirq = vector.map.pirq;
  vector.state.store(LedgerVector::unmapping, std::memory_order_release);
  const auto done = calls.physdev(PHYSDEVOP_unmap_pirq, &unmap, sizeof unmap, "PHYSDEVOP_unmap_pirq");
  // A process that was killed right after its call has left the state behind it.
  if (!done && !(state == LedgerVector::unmapping && done.error().code == EINVAL)) {
    vector.state.store(state, std::memory_order_release);
    return done.error();
  }
  vector.state.store(LedgerVector::none, std::memory_order_release);
  return {};
}

Result<unsigned> PirqVectors::allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                                       const MsiPlace& place) {
  const std::lock_guard guard(lock_);
  if (!device.slots.empty()) return Error{EBUSY, "allocate_vectors: the device has vectors"};
  if (kind == VectorKind::intx || delivery_ == Delivery::none) return Error{EOPNOTSUPP, "allocate_vectors: kind not offered"};
  if (count == 0) return Error{EINVAL, "allocate_vectors: 0 vectors"};
  count = std::min(count, LedgerDevice::kVectors);
  PVIOMMU_TRY(book.lock_vectors(*device.ledger, count));
  device.kind = kind;
  device.place = place;
  if (kind == VectorKind::msix) device.place.maskable = true;
  for (unsigned i = 0; i < count; ++i) device.ledger->vector[i].state.store(LedgerVector::none);
  device.ledger->vectors.store(count);

  unsigned granted = 0;
  Status status;
  if (kind == VectorKind::msi && count > 1) {
    for (unsigned ask = count; ask > 1 && granted == 0;) {
      const auto block = map_block(device, ask);
      if (!block) return block.error();
      if (*block == ask) {
        granted = ask;
        const int first = device.ledger->vector[0].map.pirq;
        for (unsigned i = 1; i < granted; ++i) device.ledger->vector[i].map.pirq = first + static_cast<int>(i);
      } else {
        ask = *block;
      }
    }
  }
  for (; granted < (kind == VectorKind::msi ? 1 : count); ++granted) {
    status = map_one(device, granted);
    if (!status) break;
  }
  if (!status && (granted == 0 || !shortage(status.error()))) {
    while (granted > 0)
      if (!unmap_ledger_pirq(calls_, device.ledger->vector[--granted])) break;
    return status.error();
  }
  try {
    device.slots.resize(granted);
  } catch (const std::bad_alloc&) {
    for (unsigned i = 0; i < granted; ++i) (void)unmap_ledger_pirq(calls_, device.ledger->vector[i]);
    return Error{ENOMEM, "allocate_vectors"};
  }
  for (unsigned i = 0; i < granted; ++i) device.slots[i].ledger = &device.ledger->vector[i];
  return granted;
}

Status PirqVectors::free(DeviceVectors& device) {
  const std::lock_guard guard(lock_);
  if (device.slots.empty()) return Error{ENOENT, "free_vectors: none"};
  for (const auto& slot : device.slots)
    if (slot.sink != nullptr) return Error{EBUSY, "free_vectors: bound"};
  // Of several MSIs only the first is unmapped, and takes the others along.
  // Otherwise the last goes first; should one refuse, the ones behind it are
  // mapped again: all or nothing.
  for (std::size_t i = device.kind == VectorKind::msi ? 1 : device.slots.size(); i-- > 0;) {
    const Status status = unmap_ledger_pirq(calls_, *device.slots[i].ledger);
    if (status) continue;
    for (std::size_t back = i + 1; back < device.slots.size() && device.kind == VectorKind::msix; ++back)
      (void)map_one(device, static_cast<unsigned>(back));
    return status;
  }
  device.slots.clear();
  device.ledger->vectors.store(0);
  return {};
}

Status PirqVectors::restore(const DeviceVectors& device) {
  if (device.slots.empty()) return {};
  physdev_pci_device place{};
  place.seg = static_cast<std::uint16_t>(device.sbdf.raw() >> 16);
  place.bus = static_cast<std::uint8_t>(device.sbdf.raw() >> 8);
  place.devfn = static_cast<std::uint8_t>(device.sbdf.raw());
  const auto done =
      calls_.physdev(PHYSDEVOP_restore_msi_ext, &place, sizeof place, "PHYSDEVOP_restore_msi_ext");
  if (!done) return done.error();
  return {};
}

// ---- event channels ------------------------------------------------------------

DeviceVectors::Slot* PirqVectors::find(DeviceVectors& device, unsigned index) {
  return index < device.slots.size() ? &device.slots[index] : nullptr;
}

Status close_ledger_port(XenCalls& calls, LedgerVector& vector) {
  const std::uint32_t state = vector.state.load(std::memory_order_acquire);
  if (state != LedgerVector::binding && state != LedgerVector::bound && state != LedgerVector::closing) return {};
  if (vector.bind.port != 0 && vector.kernel_closes == 0) {
    if (state == LedgerVector::closing) {
      // Killed in the call: it may be done, and the port another's.
      evtchn_status port{};
      port.dom = DOMID_SELF;
      port.port = vector.bind.port;
      const auto known = calls.event_channel(EVTCHNOP_status, &port, sizeof port, "EVTCHNOP_status");
      if (!known) return known.error();
      if (port.status != EVTCHNSTAT_pirq || port.u.pirq != static_cast<std::uint32_t>(vector.map.pirq)) {
        vector.state.store(LedgerVector::mapped, std::memory_order_release);
        return {};
      }
    }
    vector.state.store(LedgerVector::closing, std::memory_order_release);
    evtchn_close close{};
    close.port = vector.bind.port;
    const auto done = calls.event_channel(EVTCHNOP_close, &close, sizeof close, "EVTCHNOP_close");
    if (!done) {
      vector.state.store(state, std::memory_order_release);
      return done.error();
    }
  }
  vector.state.store(LedgerVector::mapped, std::memory_order_release);
  return {};
}

Status PirqVectors::static_bind(unsigned port) {
  ioctl_evtchn_bind bind{port};
  if (::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_STATIC, &bind) < 0) return Error{errno, "IOCTL_EVTCHN_BIND_STATIC"};
  return {};
}

Status PirqVectors::bind_port(LedgerVector& vector) {
  vector.bind = {};
  vector.bind.pirq = static_cast<std::uint32_t>(vector.map.pirq);
  vector.kernel_closes = delivery_ == Delivery::swap_port ? 1 : 0;
  vector.state.store(LedgerVector::binding, std::memory_order_release);
  Status bound;
  if (delivery_ == Delivery::swap_port) {
    bound = swap_port(vector);
  } else if (const auto done = calls_.event_channel_in_place(EVTCHNOP_bind_pirq, &vector.bind, "EVTCHNOP_bind_pirq");
             !done) {
    bound = done.error();
  }
  vector.state.store(bound ? LedgerVector::bound : LedgerVector::mapped, std::memory_order_release);
  return bound;
}

/// A port that the kernel has bound for us becomes the pirq's.  Xen gives the
/// lowest free port: the one just closed, unless somebody was faster.
Status PirqVectors::swap_port(LedgerVector& vector) {
  ioctl_evtchn_bind_unbound_port unbound{DOMID_SELF};
  const int port = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
  if (port < 0) return Error{errno, "IOCTL_EVTCHN_BIND_UNBOUND_PORT"};
  evtchn_bind_pirq bind{};
  bind.pirq = vector.bind.pirq;
  Status status = calls_.close_and_bind(static_cast<std::uint32_t>(port), bind);
  if (status && bind.port != static_cast<std::uint32_t>(port)) {
    evtchn_close close{};
    close.port = bind.port;
    (void)calls_.event_channel(EVTCHNOP_close, &close, sizeof close, "EVTCHNOP_close");
    status = Error{EAGAIN, "the port was lost to another user of dom0"};
  }
  if (status) {
    vector.bind.port = static_cast<std::uint32_t>(port);
    return {};
  }
  // The kernel still has the port: it must be somebody's in Xen before it is
  // given back.
  if (const Status back = take_back(static_cast<std::uint32_t>(port)); !back)
    std::fprintf(stderr, "pviommu: event channel %d: %s; dom0's kernel may not survive its end\n", port,
                 to_string(back.error()).c_str());
  ioctl_evtchn_unbind unbind{static_cast<unsigned>(port)};
  (void)::ioctl(fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind);
  return status;
}

/// Makes `port` a port of ours in Xen, where it is free or already is.
Status PirqVectors::take_back(std::uint32_t port) {
  std::vector<std::uint32_t> others;
  Status status = Error{EBUSY, "the port is another user's now"};
  for (int tries = 0; tries < 64; ++tries) {
    evtchn_status state{};
    state.dom = DOMID_SELF;
    state.port = port;
    if (calls_.event_channel(EVTCHNOP_status, &state, sizeof state, "EVTCHNOP_status") &&
        state.status == EVTCHNSTAT_unbound) {
      status = {};
      break;
    }
    evtchn_alloc_unbound alloc{};
    alloc.dom = alloc.remote_dom = DOMID_SELF;
    if (!calls_.event_channel(EVTCHNOP_alloc_unbound, &alloc, sizeof alloc, "EVTCHNOP_alloc_unbound")) continue;
    if (alloc.port != port) others.push_back(alloc.port);
  }
  for (const std::uint32_t other : others) {
    evtchn_close close{};
    close.port = other;
    (void)calls_.event_channel(EVTCHNOP_close, &close, sizeof close, "EVTCHNOP_close");
  }
  return status;
}

Status PirqVectors::bind(DeviceVectors& device, unsigned index, EventSink& sink) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "bind_vector: no such vector"};
  if (slot->sink != nullptr) {
    slot->sink = &sink;
    return {};
  }
  LedgerVector& vector = *slot->ledger;
  PVIOMMU_TRY(bind_port(vector));
  const unsigned port = vector.bind.port;
  Status status;
  try {
    if (targets_.size() <= port) targets_.resize(port + 1);
  } catch (const std::bad_alloc&) {
    status = Error{ENOMEM, "bind_vector"};
  }
  if (status && delivery_ == Delivery::bind_static) status = static_bind(port);
  if (status) {
    slot->sink = &sink;
    slot->masked = slot->pending = false;
    targets_[port] = {&device, index};
    evtchn_unmask unmask{};
    unmask.port = port;
    const auto done = calls_.event_channel(EVTCHNOP_unmask, &unmask, sizeof unmask, "EVTCHNOP_unmask");
    if (done) return {};
    status = done.error();
    slot->sink = nullptr;
    targets_[port] = {};
    ioctl_evtchn_unbind unbind{port};
    (void)::ioctl(fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind);
  }
  for (int again = 0; again < 3; ++again)
    if (close_ledger_port(calls_, vector)) break;
  return status;
}

Status PirqVectors::unbind(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = find(device, index);
  if (slot == nullptr || slot->sink == nullptr) return Error{ENOENT, "unbind_vector: not bound"};
  const unsigned port = slot->ledger->bind.port;
  // The kernel lets go first: a port that it still has and that Xen has given
  // away again is a crash of dom0.
  if (targets_[port].device != nullptr) {
    ioctl_evtchn_unbind unbind{port};
    if (::ioctl(fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind) < 0) return Error{errno, "IOCTL_EVTCHN_UNBIND"};
    targets_[port] = {};
  }
  if (const Status closed = close_ledger_port(calls_, *slot->ledger); !closed) {
    // As before, then.  When not even that works, the next unbind goes on from here.
    if (delivery_ == Delivery::bind_static && static_bind(port)) {
      targets_[port] = {&device, index};
      evtchn_unmask unmask{};
      unmask.port = port;
      (void)calls_.event_channel(EVTCHNOP_unmask, &unmask, sizeof unmask, "EVTCHNOP_unmask");
    }
    return closed;
  }
  slot->sink = nullptr;
  slot->masked = slot->pending = false;
  return {};
}

Status PirqVectors::mask(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "mask_vector"};
  slot->masked = true;
  return {};
}

Status PirqVectors::unmask(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "unmask_vector"};
  slot->masked = false;
  if (slot->pending && slot->sink != nullptr) {
    slot->pending = false;
    slot->sink->event({device.sbdf, device.kind, index});
  }
  return {};
}

Result<bool> PirqVectors::pending(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "vector_pending"};
  return slot->pending;
}

void PirqVectors::arrive(Target target) {
  DeviceVectors::Slot* slot = find(*target.device, target.index);
  if (slot == nullptr || slot->sink == nullptr) return;
  if (slot->masked)
    slot->pending = true;
  else
    slot->sink->event({target.device->sbdf, target.device->kind, target.index});
  if (target.device->place.maskable) return;
  physdev_eoi eoi{};
  eoi.irq = static_cast<std::uint32_t>(slot->ledger->map.pirq);
  // Refused only for a pirq that is not bound: then nobody waits for it either.
  (void)calls_.physdev(PHYSDEVOP_eoi, &eoi, sizeof eoi, "PHYSDEVOP_eoi");
}

void PirqVectors::deliver() {
  std::uint32_t ports[kPortsAtOnce];
  while (!stop_.load(std::memory_order_relaxed)) {
    const ssize_t got = ::read(fd_.get(), ports, sizeof ports);
    if (got <= 0) {
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EFBIG) {
        // More at once than the kernel's ring holds: some were dropped, and are
        // masked.  All are taken as arrived.
        (void)::ioctl(fd_.get(), IOCTL_EVTCHN_RESET);
        const std::lock_guard guard(lock_);
        for (std::uint32_t port = 0; port < targets_.size(); ++port) {
          if (targets_[port].device == nullptr) continue;
          arrive(targets_[port]);
          (void)!::write(fd_.get(), &port, sizeof port);
        }
        continue;
      }
      std::fprintf(stderr, "pviommu: no interrupts any more: /dev/xen/evtchn: %s\n", std::strerror(errno));
      return;
    }
    const std::size_t count = static_cast<std::size_t>(got) / sizeof ports[0];
    const std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < count; ++i)
      if (ports[i] < targets_.size() && targets_[ports[i]].device != nullptr) arrive(targets_[ports[i]]);
    // Ports that are no longer ours the kernel passes over.
    (void)!::write(fd_.get(), ports, count * sizeof ports[0]);
  }
}

}  // namespace pviommu::xen
