// SPDX-License-Identifier: LGPL-2.1-or-later
// A vector's life here: allocate() takes handles, bind() names a target, arrive() and line()
// are the device's side, deliver() decides between target, pending bit and drop.
//
//   arrive(source, address, data) --> handle --> route of that source? --> deliver()
//   line(source, asserted) ------------------> INTx route of the source -'   |
//                                              masked or unbound: pending <--'--> target
#include "hypercall/model/msi_routing.h"

#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cstdio>

#include "hypercall/statistics.h"

namespace pviommu::model {

struct MsiRouting::Route {
  Vector vector;
  unsigned handle = 0;
  std::mutex lock;  ///< of what follows
  bool bound = false;
  bool masked = false;
  bool pending = false;  ///< arrived while masked
  bool level = false;    ///< INTx
  Notification target;
};

namespace {

Counter& counter_of(VectorKind kind) {
  Statistics& all = statistics();
  switch (kind) {
    case VectorKind::intx:
      return all.interrupts_intx;
    case VectorKind::msi:
      return all.interrupts_msi;
    case VectorKind::msix:
      break;
  }
  return all.interrupts_msix;
}

/// A port that no other vector has: INTx has no handle, but is alone on its device.
EventPort own_port(const Vector& vector, unsigned handle) {
  return EventPort(vector.kind == VectorKind::intx ? 0xc0000000 | vector.sbdf.raw() : 0x80000000 | handle);
}

}  // namespace

MsiRouting::MsiRouting() : by_handle_(kHandles, nullptr) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return;
  event_fd_.reset(ends[0]);
  post_fd_.reset(ends[1]);
}

MsiRouting::~MsiRouting() = default;

Status MsiRouting::allocate(Sbdf sbdf, VectorKind kind, unsigned count) {
  std::unique_lock table(table_);
  if (const auto there = blocks_.find(sbdf); there != blocks_.end()) {
    if (kind != VectorKind::msix || there->second.kind != kind) return Error{EBUSY, "vectors are allocated already"};
    return grow(there->second, sbdf, count);
  }
  Block block;
  block.kind = kind;
  if (kind != VectorKind::intx) {
    // Round and round, so that a handle rests as long as possible before it
    // means something else.  All 16 bits of it are tried once.
    const unsigned size = std::bit_ceil(count);
    unsigned at = next_handle_;
    bool found = false;
    for (unsigned tried = 0; tried < 2 * kHandles && !found;) {
      const unsigned aligned = (at + size - 1) & ~(size - 1);
      tried += aligned - at + size;
      at = aligned;
      // The data has the handle's low 8 bits: a block of MSI stays within them.
      if (at + size > kHandles) {
        at = kFirstHandle;
        continue;
      }
      found = std::all_of(&by_handle_[at], &by_handle_[at] + size, [](Route* r) { return r == nullptr; });
      if (!found) at += size;
    }
    if (!found) return Error{ENOSPC, "no interrupt handles left"};
    block.first = at;
    block.handles = size;
    next_handle_ = at + size < kHandles ? at + size : kFirstHandle;
  }
  for (unsigned i = 0; i < count; ++i) {
    auto route = std::make_unique<Route>();
    route->vector = {sbdf, kind, i};
    route->handle = block.first + i;
    if (kind == VectorKind::intx) {
      std::lock_guard lines(lines_lock_);
      route->level = lines_[sbdf];
    } else {
      by_handle_[route->handle] = route.get();
    }
    block.routes.push_back(std::move(route));
  }
  blocks_.emplace(sbdf, std::move(block));
  return {};
}

// Each entry of an MSI-X table has a message of its own, so that any handle does.
Status MsiRouting::grow(Block& block, Sbdf sbdf, unsigned count) {
  const std::size_t before = block.routes.size();
  unsigned at = next_handle_, tried = 0;
  while (block.routes.size() < count && tried++ < kHandles) {
    if (at >= kHandles) at = kFirstHandle;
    const unsigned handle = at++;
    if (by_handle_[handle] != nullptr) continue;
    auto route = std::make_unique<Route>();
    route->vector = {sbdf, block.kind, static_cast<unsigned>(block.routes.size())};
    route->handle = handle;
    by_handle_[handle] = route.get();
    block.routes.push_back(std::move(route));
  }
  next_handle_ = at < kHandles ? at : kFirstHandle;
  if (block.routes.size() >= count) return {};
  for (std::size_t i = before; i < block.routes.size(); ++i) by_handle_[block.routes[i]->handle] = nullptr;
  block.routes.resize(before);
  return Error{ENOSPC, "no interrupt handles left"};
}

Status MsiRouting::free(Sbdf sbdf, VectorKind kind) {
  std::unique_lock table(table_);
  const auto found = blocks_.find(sbdf);
  if (found == blocks_.end() || found->second.kind != kind) return Error{ENOENT, "no vectors of that kind"};
  for (const auto& route : found->second.routes)
    if (route->bound) return Error{EBUSY, "a vector is bound"};
  if (kind != VectorKind::intx)
    for (const auto& route : found->second.routes) by_handle_[route->handle] = nullptr;
  blocks_.erase(found);
  return {};
}

MsiRouting::Route* MsiRouting::find(const Vector& vector) const {
  const auto found = blocks_.find(vector.sbdf);
  if (found == blocks_.end() || found->second.kind != vector.kind ||
      vector.index >= found->second.routes.size())
    return nullptr;
  return found->second.routes[vector.index].get();
}

Result<Message> MsiRouting::message(const Vector& vector) const {
  std::shared_lock table(table_);
  const Route* route = find(vector);
  if (route == nullptr || vector.kind == VectorKind::intx) return Error{ENOENT, "no such vector"};
  return Message{kMsiWindowFirst | (route->handle >> 8) << 12, route->handle & 0xff};
}

unsigned MsiRouting::count(Sbdf sbdf, VectorKind& kind) const {
  std::shared_lock table(table_);
  const auto found = blocks_.find(sbdf);
  if (found == blocks_.end()) return 0;
  kind = found->second.kind;
  return static_cast<unsigned>(found->second.routes.size());
}

Status MsiRouting::bind(const Vector& vector, const Notification& notification) {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  if (notification.kind == NotificationKind::sink && notification.sink == nullptr)
    return Error{EINVAL, "binding without a sink"};
  std::lock_guard guard(route->lock);
  route->target = notification;
  if (notification.kind == NotificationKind::event_channel && notification.port == EventPort{})
    route->target.port = own_port(vector, route->handle);
  route->bound = true;
  // A line that was asserted before anybody listened.
  if (route->level && !route->masked) deliver(*route);
  return {};
}

Status MsiRouting::unbind(const Vector& vector) {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  std::lock_guard guard(route->lock);
  if (!route->bound) return Error{ENOENT, "vector is not bound"};
  route->bound = false;
  route->pending = false;
  route->masked = false;  // whoever masked it is gone; the next one starts afresh
  return {};
}

Status MsiRouting::mask(const Vector& vector) {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  std::lock_guard guard(route->lock);
  route->masked = true;
  return {};
}

Status MsiRouting::unmask(const Vector& vector) {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  std::lock_guard guard(route->lock);
  route->masked = false;
  if (route->pending || route->level) {
    route->pending = false;
    deliver(*route);
  }
  return {};
}

Result<bool> MsiRouting::pending(const Vector& vector) const {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  std::lock_guard guard(route->lock);
  return route->masked && (route->pending || route->level);
}

Status MsiRouting::raise(const Vector& vector) {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  std::lock_guard guard(route->lock);
  if (!route->bound) return Error{ENOENT, "raise_vector: not bound"};
  if (route->target.kind == NotificationKind::sink) return Error{EOPNOTSUPP, "raise_vector: bound to a sink"};
  deliver(*route);
  return {};
}

Result<EventPort> MsiRouting::event_port(const Vector& vector) const {
  std::shared_lock table(table_);
  Route* route = find(vector);
  if (route == nullptr) return Error{ENOENT, "no such vector"};
  std::lock_guard guard(route->lock);
  if (!route->bound || route->target.kind != NotificationKind::event_channel)
    return Error{ENOENT, "event_port: not bound to an event channel"};
  return route->target.port;
}

MsiRouting::Arrival MsiRouting::deliver(Route& route) {
  if (!route.bound) return Arrival::unbound;
  if (route.masked) {
    route.pending = route.vector.kind != VectorKind::intx;
    statistics().interrupts_held.fetch_add(1, std::memory_order_relaxed);
    return Arrival::held;
  }
  // A level stays until the program has quietened the device: one delivery each
  // time it unmasks.
  if (route.vector.kind == VectorKind::intx) route.masked = true;
  counter_of(route.vector.kind).fetch_add(1, std::memory_order_relaxed);
  switch (route.target.kind) {
    case NotificationKind::sink:
      route.target.sink->event(route.vector);
      break;
    case NotificationKind::event_channel:
      post_event(route.target.port);
      break;
    case NotificationKind::guest_vector: {
      std::lock_guard guard(guests_lock_);
      auto& seen = guests_[route.target.domid];
      const auto same = std::find_if(seen.begin(), seen.end(), [&](const GuestInterrupt& i) {
        return i.gvec == route.target.gvec && i.gflags == route.target.gflags;
      });
      if (same != seen.end())
        ++same->count;
      else
        seen.push_back({route.target.gvec, route.target.gflags, 1});
      break;
    }
  }
  return Arrival::delivered;
}

MsiRouting::Arrival MsiRouting::arrive(Sbdf source, std::uint64_t address, std::uint32_t data) {
  const std::uint64_t high = address >> 12 & 0xff;
  if (address != (kMsiWindowFirst | high << 12) || data > 0xff) return Arrival::unknown;
  std::shared_lock table(table_);
  Route* route = by_handle_[high << 8 | data];
  // The source is part of the lookup: a device cannot raise another's vector.
  if (route == nullptr || route->vector.sbdf != source) return Arrival::unknown;
  std::lock_guard guard(route->lock);
  return deliver(*route);
}

void MsiRouting::line(Sbdf source, bool asserted) {
  std::shared_lock table(table_);
  {
    std::lock_guard lines(lines_lock_);
    lines_[source] = asserted;
  }
  Route* route = find({source, VectorKind::intx, 0});
  if (route == nullptr) return;
  std::lock_guard guard(route->lock);
  route->level = asserted;
  if (asserted) deliver(*route);
}

void MsiRouting::post_event(EventPort port) {
  std::lock_guard guard(events_lock_);
  // What readers have written back is for Xen, which holds a port until then.
  std::array<std::uint32_t, 64> written_back;
  while (::recv(post_fd_.get(), written_back.data(), sizeof written_back, 0) > 0) {
  }
  const std::size_t seen = peek_events();
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(seen);
  if (std::find(waiting_.begin(), end, port.raw()) != end) return;
  const std::uint32_t number = port.raw();
  if (::send(post_fd_.get(), &number, sizeof number, MSG_NOSIGNAL) == sizeof number) return;
  // Each message takes a buffer of its own, and a socket has a few hundred: all in one.
  const ssize_t got = ::recv(event_fd_.get(), waiting_.data(), seen * sizeof number, 0);
  const std::size_t taken = got > 0 ? static_cast<std::size_t>(got) / sizeof number : 0;
  waiting_[taken] = number;
  if (::send(post_fd_.get(), waiting_.data(), (taken + 1) * sizeof number, MSG_NOSIGNAL) < 0)
    std::fprintf(stderr, "pviommu: model: event channels are lost, which nobody reads\n");
}

/// How many ports wait, which are the first of waiting_; it has room for one more.  Lock held.
std::size_t MsiRouting::peek_events() {
  for (;; waiting_.resize(waiting_.size() * 2)) {
    const std::size_t room = waiting_.size() * sizeof waiting_[0];
    const ssize_t got = ::recv(event_fd_.get(), waiting_.data(), room, MSG_PEEK);
    if (got < 0) return 0;
    if (static_cast<std::size_t>(got) < room) return static_cast<std::size_t>(got) / sizeof waiting_[0];
  }
}

std::size_t MsiRouting::read_events(std::span<EventPort> out) {
  std::size_t taken = 0;
  for (std::uint32_t port; taken < out.size(); out[taken++] = EventPort(port))
    if (::recv(event_fd_.get(), &port, sizeof port, 0) != sizeof port) break;
  return taken;
}

std::vector<GuestInterrupt> MsiRouting::guest_interrupts(Domid domid) const {
  std::lock_guard guard(guests_lock_);
  const auto found = guests_.find(domid);
  return found == guests_.end() ? std::vector<GuestInterrupt>() : found->second;
}

}  // namespace pviommu::model
