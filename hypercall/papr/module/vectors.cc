// SPDX-License-Identifier: LGPL-2.1-or-later
// One thread reads arrivals, many in a read(), and calls the sinks with lock_ held; so a sink
// is not called any more once unbind() has returned.
#include "hypercall/papr/module/vectors.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

namespace pviommu::papr {

ModuleVectors::~ModuleVectors() {
  stop_.store(true);
  thread_.end(wake_);
}

Status ModuleVectors::start() {
  const std::lock_guard guard(start_lock_);
  if (thread_.running()) return {};
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!wake_) return Error{errno, "eventfd"};
  return thread_.start("thread", [this] { deliver(); });
}

Result<unsigned> ModuleVectors::allocate(Sbdf sbdf, VectorKind kind, unsigned count) {
  if (kind == VectorKind::intx) return Error{EOPNOTSUPP, "allocate_vectors: kind not offered"};
  if (count == 0) return Error{EINVAL, "allocate_vectors: 0 vectors"};
  PVIOMMU_TRY(start());
  const std::lock_guard guard(lock_);
  if (devices_.contains(sbdf)) return Error{EBUSY, "allocate_vectors: the device has vectors"};
  Device& device = devices_[sbdf];
  device.kind = kind;
  const auto granted = calls_.vectors(sbdf, kind, std::min(count, PVIOMMU_PAPR_MAX_VECTORS));
  if (!granted) {
    devices_.erase(sbdf);
    return granted;
  }
  try {
    device.slots.resize(*granted);
  } catch (const std::bad_alloc&) {
    devices_.erase(sbdf);
    (void)calls_.vectors(sbdf, kind, 0);
    return Error{ENOMEM, "allocate_vectors"};
  }
  return granted;
}

Status ModuleVectors::free(Sbdf sbdf, VectorKind kind) {
  const std::lock_guard guard(lock_);
  const auto found = devices_.find(sbdf);
  if (found == devices_.end() || found->second.kind != kind) return Error{ENOENT, "free_vectors: none"};
  for (const Slot& slot : found->second.slots)
    if (slot.sink != nullptr) return Error{EBUSY, "free_vectors: bound"};
  const auto freed = calls_.vectors(sbdf, kind, 0);
  if (!freed) return freed.error();
  devices_.erase(found);
  return {};
}

void ModuleVectors::forget(Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  devices_.erase(sbdf);
}

ModuleVectors::Slot* ModuleVectors::find(const Vector& vector) {
  const auto found = devices_.find(vector.sbdf);
  if (found == devices_.end() || found->second.kind != vector.kind || vector.index >= found->second.slots.size())
    return nullptr;
  return &found->second.slots[vector.index];
}

Status ModuleVectors::bind(const Vector& vector, EventSink& sink) {
  const std::lock_guard guard(lock_);
  Slot* slot = find(vector);
  if (slot == nullptr) return Error{ENOENT, "bind_vector: no such vector"};
  if (slot->sink == nullptr) *slot = {};
  slot->sink = &sink;
  return {};
}

Status ModuleVectors::unbind(const Vector& vector) {
  const std::lock_guard guard(lock_);
  Slot* slot = find(vector);
  if (slot == nullptr || slot->sink == nullptr) return Error{ENOENT, "unbind_vector: not bound"};
  *slot = {};
  return {};
}

Status ModuleVectors::mask(const Vector& vector) {
  const std::lock_guard guard(lock_);
  Slot* slot = find(vector);
  if (slot == nullptr) return Error{ENOENT, "mask_vector"};
  slot->masked = true;
  return {};
}

Status ModuleVectors::unmask(const Vector& vector) {
  const std::lock_guard guard(lock_);
  Slot* slot = find(vector);
  if (slot == nullptr) return Error{ENOENT, "unmask_vector"};
  slot->masked = false;
  if (slot->pending && slot->sink != nullptr) {
    slot->pending = false;
    slot->sink->event(vector);
  }
  return {};
}

Result<bool> ModuleVectors::pending(const Vector& vector) {
  const std::lock_guard guard(lock_);
  const Slot* slot = find(vector);
  if (slot == nullptr) return Error{ENOENT, "vector_pending"};
  return slot->pending;
}

/// With lock_.  Several arrivals in a record are several events: an eventfd counts.
void ModuleVectors::arrive(const pviommu_papr_arrival& arrival) {
  const auto found = devices_.find(Sbdf(arrival.sbdf));
  if (found == devices_.end() || arrival.vector >= found->second.slots.size()) return;
  Slot& slot = found->second.slots[arrival.vector];
  if (slot.sink == nullptr) return;
  if (slot.masked) {
    slot.pending = true;
    return;
  }
  for (std::uint64_t i = 0; i < arrival.count; ++i)
    slot.sink->event({Sbdf(arrival.sbdf), found->second.kind, arrival.vector});
}

void ModuleVectors::deliver() {
  std::array<pviommu_papr_arrival, 16> arrivals;
  std::array<pollfd, 2> waiting{{{calls_.fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
  while (!stop_.load()) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) break;
    if ((waiting[0].revents & (POLLERR | POLLNVAL)) != 0) break;
    const auto got = calls_.read(arrivals);
    if (!got) break;
    const std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < *got; ++i) arrive(arrivals[i]);
  }
  if (!stop_.load()) std::fprintf(stderr, "pviommu: no interrupts any more: " PVIOMMU_PAPR_DEVICE " cannot be read\n");
}

}  // namespace pviommu::papr
