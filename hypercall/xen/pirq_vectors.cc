// SPDX-License-Identifier: LGPL-2.1-or-later
// Binding, handing over, and the thread that takes arrivals to their targets.
//
// lock_ covers the table of ports and each vector's target; a sink is called with it held.
// The thread waits in read() without it.  let_go() is the fence: whoever takes a port out of
// the thread's hands waits until a read that began later has emptied the kernel's ring, so
// that what arrived before has gone to the old target.
#include "hypercall/xen/pirq_vectors.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "hypercall/msi_message.h"
#include "hypercall/pci_device.h"
#include "hypercall/xen/evtchn_static.h"
#include "hypercall/xen/pirqs.h"

namespace pviommu::xen {
namespace {

constexpr std::size_t kPortsAtOnce = 64;

/// The descriptors of this process, which a forked child closes: its copy would keep ports
/// bound in the kernel when we are dead.  Number + 1; 0: none.
std::array<std::atomic<int>, 8> descriptors;

void note_descriptor(int fd) {
  static const bool registered = [] {
    ::pthread_atfork(nullptr, nullptr, [] {
      for (auto& slot : descriptors) UniqueFd(slot.exchange(0) - 1).reset();
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

}  // namespace

Result<std::unique_ptr<PirqVectors>> PirqVectors::open(XenCalls& calls, bool may_crash_dom0) {
  std::unique_ptr<PirqVectors> vectors(new PirqVectors(calls));
  vectors->fd_.reset(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC));
  if (!vectors->fd_) return Error{errno, "open /dev/xen/evtchn"};
  note_descriptor(vectors->fd_.get());
  vectors->consumer_fd_.reset(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!vectors->consumer_fd_) return Error{errno, "open /dev/xen/evtchn"};
  note_descriptor(vectors->consumer_fd_.get());
  // A kernel that knows the request looks at its argument first.
  if (::ioctl(vectors->fd_.get(), IOCTL_EVTCHN_BIND_STATIC, nullptr) != 0 && errno == EFAULT)
    vectors->delivery_ = Delivery::bind_static;
  else if (may_crash_dom0)
    vectors->delivery_ = Delivery::swap_port;
  return vectors;
}

PirqVectors::~PirqVectors() {
  thread_.end([this] {
    stop_.store(true);
    ioctl_evtchn_notify notify{waker_port_};
    (void)::ioctl(fd_.get(), IOCTL_EVTCHN_NOTIFY, &notify);
  });
  if (fd_) forget_descriptor(fd_.get());
  if (consumer_fd_) forget_descriptor(consumer_fd_.get());
}

Status PirqVectors::start() {
  if (thread_.running()) return {};
  ioctl_evtchn_bind_unbound_port here{DOMID_SELF};
  const int port = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &here);
  if (port < 0) return Error{errno, "IOCTL_EVTCHN_BIND_UNBOUND_PORT"};
  ioctl_evtchn_bind_interdomain there{DOMID_SELF, static_cast<unsigned>(port)};
  const int waker = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_INTERDOMAIN, &there);
  if (waker < 0) return Error{errno, "IOCTL_EVTCHN_BIND_INTERDOMAIN"};
  wake_port_ = static_cast<std::uint32_t>(port);
  waker_port_ = static_cast<std::uint32_t>(waker);
  return thread_.start("thread", [this] { deliver(); });
}

// ---- event channels ------------------------------------------------------------

Status PirqVectors::static_bind(const UniqueFd& fd, unsigned port) {
  ioctl_evtchn_bind bind{port};
  if (::ioctl(fd.get(), IOCTL_EVTCHN_BIND_STATIC, &bind) < 0) return Error{errno, "IOCTL_EVTCHN_BIND_STATIC"};
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
  } else if (const auto done =
                 calls_.event_channel_in_place(EVTCHNOP_bind_pirq, &vector.bind, "EVTCHNOP_bind_pirq");
             !done) {
    bound = done.error();
  }
  vector.state.store(bound ? LedgerVector::bound : LedgerVector::mapped, std::memory_order_release);
  return bound;
}

Result<unsigned> PirqVectors::allocate(DeviceVectors& device, Ledger& book, VectorKind kind, unsigned count,
                                       const MsiPlace& place) {
  const std::lock_guard guard(lock_);
  if (delivery_ == Delivery::none) return Error{EOPNOTSUPP, "allocate_vectors: kind not offered"};
  return map_pirqs(calls_, device, book, DOMID_SELF, kind, count, place);
}

Status PirqVectors::free(DeviceVectors& device) {
  const std::lock_guard guard(lock_);
  return unmap_pirqs(calls_, device);
}

/// Binds the port to one of our descriptors and opens it: what has arrived since it was
/// masked comes now.
Status PirqVectors::open_port(const UniqueFd& fd, unsigned port) {
  if (delivery_ == Delivery::bind_static) PVIOMMU_TRY(static_bind(fd, port));
  evtchn_unmask unmask{};
  unmask.port = port;
  const auto done = calls_.event_channel(EVTCHNOP_unmask, &unmask, sizeof unmask, "EVTCHNOP_unmask");
  if (done) return {};
  ioctl_evtchn_unbind unbind{port};
  (void)::ioctl(fd.get(), IOCTL_EVTCHN_UNBIND, &unbind);
  return done.error();
}

Status PirqVectors::receive(DeviceVectors& device, unsigned index, unsigned port) {
  try {
    if (targets_.size() <= port) targets_.resize(port + 1);
  } catch (const std::bad_alloc&) {
    return Error{ENOMEM, "bind_vector"};
  }
  targets_[port] = {&device, index};
  const Status opened = open_port(fd_, port);
  if (!opened) targets_[port] = {};
  return opened;
}

Status PirqVectors::hand_over(unsigned port) { return open_port(consumer_fd_, port); }

/// The kernel lets go of the port, which is masked from then on; what it had
/// passed on already goes where arrivals went until now.
Status PirqVectors::let_go(unsigned port, std::unique_lock<std::mutex>& guard) {
  ioctl_evtchn_unbind unbind{port};
  if (::ioctl(fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind) < 0) return Error{errno, "IOCTL_EVTCHN_UNBIND"};
  // The thread may have more to read than one read gives: it ends a fence only
  // behind a read that began after we asked and that emptied the kernel's ring.
  const std::uint64_t ticket = fences_asked_.fetch_add(1) + 1;
  ioctl_evtchn_notify notify{waker_port_};
  (void)::ioctl(fd_.get(), IOCTL_EVTCHN_NOTIFY, &notify);
  fence_.wait(guard, [&] { return fences_done_ >= ticket || broken_; });
  targets_[port] = {};
  return {};
}

/// The consumer's descriptor lets go of the port.  Arrivals that are in its ring already
/// stay the consumer's.
Status PirqVectors::take_from_consumer(unsigned port) {
  ioctl_evtchn_unbind unbind{port};
  if (::ioctl(consumer_fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind) < 0)
    return Error{errno, "IOCTL_EVTCHN_UNBIND"};
  return {};
}

namespace {

bool handed_over(const Notification& target) {
  return target.kind == NotificationKind::event_channel && target.domid == kDomidSelf &&
         target.port == EventPort(0);
}

}  // namespace

Status PirqVectors::check(const Notification& target) const {
  switch (target.kind) {
    case NotificationKind::sink:
      if (target.sink != nullptr) return {};
      return Error{EINVAL, "bind_vector: no sink"};
    case NotificationKind::event_channel:
      if (handed_over(target) && delivery_ != Delivery::bind_static)
        return Error{EOPNOTSUPP, "bind_vector: this kernel gives event channels to nobody (Linux 6.6 does)"};
      return {};
    case NotificationKind::guest_vector:
      // The APIC's first sixteen are reserved (Intel SDM 3A, 10.8.5).
      if (target.gvec >= 16) return {};
      if (target.gvec == 0)
        return Error{EOPNOTSUPP, "bind_vector: a guest's pirq, and the device is not the guest's"};
      return Error{EINVAL, "bind_vector: no vector of an APIC"};
  }
  return Error{EOPNOTSUPP, "bind_vector: notification kind"};
}

/// Opens a port of our own whose other end is the target's.
Status PirqVectors::open_send_port(const Notification& target, DeviceVectors::Slot& slot) {
  const std::uint32_t port = target.port.raw();
  if (target.domid == kDomidSelf) {
    evtchn_status state{};
    state.dom = DOMID_SELF;
    state.port = port;
    const auto known = calls_.event_channel(EVTCHNOP_status, &state, sizeof state, "EVTCHNOP_status");
    if (!known) return known.error();
    if (state.status == EVTCHNSTAT_interdomain) {
      slot.send_port = port;
      return {};
    }
    if (state.status != EVTCHNSTAT_unbound)
      return Error{EINVAL, "bind_vector: nothing can be sent to that event channel"};
  }
  const unsigned domid = target.domid == kDomidSelf ? DOMID_SELF : target.domid.raw();
  ioctl_evtchn_bind_interdomain bind{domid, port};
  const int ours = ::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_INTERDOMAIN, &bind);
  if (ours < 0) return Error{errno, "EVTCHNOP_bind_interdomain"};
  slot.send_port = static_cast<std::uint32_t>(ours);
  slot.own_send_port = true;
  return {};
}

void PirqVectors::close_send_port(DeviceVectors::Slot& slot) {
  if (slot.own_send_port) {
    ioctl_evtchn_unbind unbind{slot.send_port};
    (void)::ioctl(fd_.get(), IOCTL_EVTCHN_UNBIND, &unbind);
  }
  slot.own_send_port = false;
  slot.send_port = 0;
}

Status PirqVectors::bind(DeviceVectors& device, unsigned index, const Notification& target) {
  std::unique_lock guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr) return Error{ENOENT, "bind_vector: no such vector"};
  PVIOMMU_TRY(check(target));
  const bool to_consumer = handed_over(target);
  if (to_consumer && slot->masked) return Error{EBUSY, "bind_vector: masked"};
  DeviceVectors::Slot sends;
  if (target.kind == NotificationKind::event_channel && !to_consumer)
    PVIOMMU_TRY(open_send_port(target, sends));

  const unsigned port = slot->ledger->bind.port;
  const bool from_consumer = slot->bound && handed_over(slot->target);
  Status status;
  if (!slot->bound) {
    status = first_bind(device, index, to_consumer);
  } else if (to_consumer && !from_consumer) {
    status = let_go(port, guard);
    if (status) status = hand_over(port);
    if (!status) (void)receive(device, index, port);
  } else if (from_consumer && !to_consumer) {
    status = take_from_consumer(port);
    if (status) {
      // From here on arrivals wait for the lock that we have.
      status = receive(device, index, port);
      if (!status) (void)hand_over(port);
    }
  }
  if (!status) {
    close_send_port(sends);
    return status;
  }
  if (!slot->bound) slot->masked = slot->pending = false;
  close_send_port(*slot);
  slot->send_port = sends.send_port;
  slot->own_send_port = sends.own_send_port;
  slot->target = target;
  slot->bound = true;
  slot->told = false;
  return {};
}

Status PirqVectors::first_bind(DeviceVectors& device, unsigned index, bool to_consumer) {
  LedgerVector& vector = *device.find(index)->ledger;
  PVIOMMU_TRY(bind_port(vector));
  const Status status = to_consumer ? hand_over(vector.bind.port) : receive(device, index, vector.bind.port);
  for (int again = 0; !status && again < 3; ++again)
    if (close_ledger_port(calls_, vector)) break;
  return status;
}

Status PirqVectors::unbind(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr || !slot->bound) return Error{ENOENT, "unbind_vector: not bound"};
  const unsigned port = slot->ledger->bind.port;
  const bool consumer_has = handed_over(slot->target);
  // The kernel lets go first, Xen second: at no moment may the kernel have a port
  // that Xen has given to somebody else.
  if (consumer_has ? !slot->masked : port < targets_.size() && targets_[port].device != nullptr) {
    ioctl_evtchn_unbind unbind{port};
    if (::ioctl((consumer_has ? consumer_fd_ : fd_).get(), IOCTL_EVTCHN_UNBIND, &unbind) < 0 &&
        errno != ENOTCONN)
      return Error{errno, "IOCTL_EVTCHN_UNBIND"};
    if (!consumer_has) targets_[port] = {};
  }
  if (const Status closed = close_ledger_port(calls_, *slot->ledger); !closed) {
    // As before, then.  When not even that works, the next unbind goes on from here.
    if (delivery_ == Delivery::bind_static)
      (void)(consumer_has ? hand_over(port) : receive(device, index, port));
    return closed;
  }
  close_send_port(*slot);
  slot->bound = slot->masked = slot->pending = false;
  slot->target = {};
  return {};
}

Status PirqVectors::mask(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr) return Error{ENOENT, "mask_vector"};
  // A port that no descriptor has is masked, and keeps what arrives.
  if (slot->bound && handed_over(slot->target) && !slot->masked)
    PVIOMMU_TRY(take_from_consumer(slot->ledger->bind.port));
  slot->masked = true;
  return {};
}

Status PirqVectors::unmask(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr) return Error{ENOENT, "unmask_vector"};
  if (slot->bound && handed_over(slot->target) && slot->masked)
    PVIOMMU_TRY(hand_over(slot->ledger->bind.port));
  slot->masked = false;
  if (!slot->pending || !slot->bound) return {};
  slot->pending = false;
  return pass_on(*slot, {device.sbdf, device.kind, index});
}

Result<bool> PirqVectors::pending(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr) return Error{ENOENT, "vector_pending"};
  if (slot->bound && handed_over(slot->target))
    return Error{EOPNOTSUPP, "vector_pending: the event channel is its consumer's"};
  return slot->pending;
}

Status PirqVectors::raise(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr || !slot->bound) return Error{ENOENT, "raise_vector: not bound"};
  if (slot->target.kind == NotificationKind::sink) return Error{EOPNOTSUPP, "raise_vector: bound to a sink"};
  if (handed_over(slot->target))
    return Error{EOPNOTSUPP,
                 "raise_vector: only the device can send to an event channel that was handed over"};
  return pass_on(*slot, {device.sbdf, device.kind, index});
}

Result<EventPort> PirqVectors::port(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  DeviceVectors::Slot* slot = device.find(index);
  if (slot == nullptr || !slot->bound || slot->target.kind != NotificationKind::event_channel)
    return Error{ENOENT, "event_port: bound to none"};
  return EventPort(handed_over(slot->target) ? slot->ledger->bind.port : slot->send_port);
}

// ---- arrivals --------------------------------------------------------------------

Status PirqVectors::pass_on(DeviceVectors::Slot& slot, const Vector& vector) {
  Status status;
  if (slot.target.kind == NotificationKind::sink) {
    slot.target.sink->event(vector);
  } else if (slot.target.kind == NotificationKind::event_channel) {
    evtchn_send send{slot.send_port};
    if (const auto sent = calls_.event_channel(EVTCHNOP_send, &send, sizeof send, "EVTCHNOP_send"); !sent)
      status = sent.error();
  } else {
    const MsiMessage message = message_of(slot.target.gvec, slot.target.gflags);
    status = calls_.inject_msi(slot.target.domid.raw(), message.address, message.data);
  }
  if (!status && !std::exchange(slot.told, true))
    std::fprintf(stderr, "pviommu: %s: interrupts do not get to their target any more: %s\n",
                 to_string(vector.sbdf).c_str(), to_string(status.error()).c_str());
  return status;
}

void PirqVectors::arrive(Target target) {
  DeviceVectors::Slot* slot = target.device->find(target.index);
  if (slot == nullptr || !slot->bound) return;
  if (slot->masked)
    slot->pending = true;
  else
    (void)pass_on(*slot, {target.device->sbdf, target.device->kind, target.index});
  if (target.device->place.maskable) return;
  physdev_eoi eoi{};
  eoi.irq = static_cast<std::uint32_t>(slot->ledger->map.pirq);
  // Refused only for a pirq that is not bound: then nobody waits for it either.
  (void)calls_.physdev(PHYSDEVOP_eoi, &eoi, sizeof eoi, "PHYSDEVOP_eoi");
}

void PirqVectors::deliver() {
  std::uint32_t ports[kPortsAtOnce];
  while (!stop_.load(std::memory_order_relaxed)) {
    const std::uint64_t asked = fences_asked_.load();
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
        (void)!::write(fd_.get(), &wake_port_, sizeof wake_port_);
        continue;
      }
      std::fprintf(stderr, "pviommu: no interrupts any more: /dev/xen/evtchn: %s\n", std::strerror(errno));
      const std::lock_guard guard(lock_);
      broken_ = true;
      fence_.notify_all();
      return;
    }
    const std::size_t count = static_cast<std::size_t>(got) / sizeof ports[0];
    bool fences_left = false;
    {
      const std::lock_guard guard(lock_);
      for (std::size_t i = 0; i < count; ++i)
        if (ports[i] < targets_.size() && targets_[ports[i]].device != nullptr) arrive(targets_[ports[i]]);
      if (count < kPortsAtOnce && fences_done_ < asked) {
        fences_done_ = asked;
        fence_.notify_all();
      }
      fences_left = fences_done_ < fences_asked_.load();
    }
    // The kernel passes over ports that are no longer ours.
    (void)!::write(fd_.get(), ports, count * sizeof ports[0]);
    if (fences_left) {
      ioctl_evtchn_notify notify{waker_port_};
      (void)::ioctl(fd_.get(), IOCTL_EVTCHN_NOTIFY, &notify);
    }
  }
}

}  // namespace pviommu::xen
