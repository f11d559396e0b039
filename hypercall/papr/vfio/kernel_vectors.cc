// SPDX-License-Identifier: LGPL-2.1-or-later
// Slots are published to the thread last and taken from it first: an arrival that finds none
// leaves the count in its eventfd, and epoll comes again.
#include "hypercall/papr/vfio/kernel_vectors.h"

#include <linux/vfio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace pviommu::spapr {
namespace {

constexpr std::uint64_t kWakeKey = 0;

std::uint32_t irq_index(VectorKind kind) {
  switch (kind) {
    case VectorKind::intx:
      return VFIO_PCI_INTX_IRQ_INDEX;
    case VectorKind::msi:
      return VFIO_PCI_MSI_IRQ_INDEX;
    case VectorKind::msix:
      break;
  }
  return VFIO_PCI_MSIX_IRQ_INDEX;
}

}  // namespace

Result<std::unique_ptr<KernelVectors>> KernelVectors::open(VfioCalls& calls) {
  std::unique_ptr<KernelVectors> vectors(new KernelVectors(calls));
  PVIOMMU_TRY(vectors->start());
  return vectors;
}

Status KernelVectors::start() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return Error{errno, "interrupts: epoll"};
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return Error{errno, "interrupts: eventfd"};
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeKey;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return Error{errno, "interrupts: epoll"};
  return thread_.start("interrupts: thread", [this] { deliver(); });
}

KernelVectors::~KernelVectors() {
  stop_ = true;
  thread_.end(wake_);
}

Status KernelVectors::set_irqs(const DeviceVectors& device, std::uint32_t flags,
                               const std::vector<std::int32_t>& eventfds) {
  std::vector<std::byte> buffer(sizeof(vfio_irq_set) + eventfds.size() * sizeof(std::int32_t));
  vfio_irq_set set{};
  set.argsz = static_cast<std::uint32_t>(buffer.size());
  set.flags = flags;
  set.index = irq_index(device.kind);
  set.count = static_cast<std::uint32_t>(eventfds.size());
  // Masking by DATA_NONE names one vector; switching off names none.
  if (eventfds.empty() && (flags & VFIO_IRQ_SET_ACTION_TRIGGER) == 0) set.count = 1;
  std::memcpy(buffer.data(), &set, sizeof set);
  if (!eventfds.empty()) std::memcpy(buffer.data() + sizeof set, eventfds.data(), eventfds.size() * sizeof(std::int32_t));
  const int done = PVIOMMU_TRY(calls_.ioctl(device.fd, VFIO_DEVICE_SET_IRQS, buffer.data()));
  // Positive: so many there would be (the kernel asked ibm,change-msi).
  if (done > 0) return Error{ENOSPC, "set irqs", done};
  return {};
}

/// Takes as many as the kernel grants; slots are cut to them.
Result<unsigned> KernelVectors::enable(DeviceVectors& device, std::vector<DeviceVectors::Slot>& slots) {
  std::vector<std::int32_t> fds;
  for (const auto& slot : slots) fds.push_back(slot.eventfd.get());
  while (true) {
    const Status set = set_irqs(device, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, fds);
    if (set) return static_cast<unsigned>(fds.size());
    if (set.error().code != ENOSPC || set.error().raw <= 0 || set.error().raw >= static_cast<std::int64_t>(fds.size()))
      return Error{set.error().code, "allocate_vectors", set.error().raw};
    fds.resize(static_cast<std::size_t>(set.error().raw));
  }
}

Result<unsigned> KernelVectors::allocate(DeviceVectors& device, VectorKind kind, unsigned count) {
  const std::lock_guard guard(lock_);
  if (!device.slots.empty()) return Error{EBUSY, "allocate_vectors: there are vectors"};
  if (count == 0 || (kind == VectorKind::intx && count > 1)) return Error{EINVAL, "allocate_vectors: count"};
  std::vector<DeviceVectors::Slot> slots(count);
  Result<unsigned> granted = 0u;
  for (unsigned i = 0; i < count && granted; ++i) {
    auto& slot = slots[i];
    slot.eventfd.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    slot.key = next_key_++;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = slot.key;
    if (!slot.eventfd || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, slot.eventfd.get(), &event) != 0)
      granted = Error{errno, "allocate_vectors: eventfd"};
    else
      targets_[slot.key] = Target{&device, i};
  }
  if (granted) {
    device.kind = kind;
    granted = enable(device, slots);
  }
  if (!granted) {
    forget(slots);
    return granted;
  }
  std::vector<DeviceVectors::Slot> rest(std::make_move_iterator(slots.begin() + *granted),
                                        std::make_move_iterator(slots.end()));
  slots.resize(*granted);
  forget(rest);
  device.slots = std::move(slots);
  return granted;
}

/// Taken out of epoll by name: closing does it only while no fork has a copy.
void KernelVectors::forget(std::vector<DeviceVectors::Slot>& slots) {
  for (const auto& slot : slots)
    if (targets_.erase(slot.key) != 0) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, slot.eventfd.get(), nullptr);
  slots.clear();
}

void KernelVectors::close(DeviceVectors& device) noexcept {
  const std::lock_guard guard(lock_);
  forget(device.slots);
}

Status KernelVectors::free(DeviceVectors& device) {
  const std::lock_guard guard(lock_);
  if (std::ranges::any_of(device.slots, [](const auto& slot) { return slot.sink != nullptr; }))
    return Error{EBUSY, "free_vectors: bound"};
  PVIOMMU_TRY(set_irqs(device, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, {}));
  forget(device.slots);
  return {};
}

DeviceVectors::Slot* KernelVectors::find(DeviceVectors& device, unsigned index) {
  return index < device.slots.size() ? &device.slots[index] : nullptr;
}

Status KernelVectors::bind(DeviceVectors& device, unsigned index, EventSink& sink) {
  const std::lock_guard guard(lock_);
  auto* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "bind_vector: no such vector"};
  slot->sink = &sink;
  if (slot->pending && !slot->masked) {
    slot->pending = false;
    sink.event({device.sbdf, device.kind, index});
  }
  return {};
}

Status KernelVectors::unbind(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  auto* slot = find(device, index);
  if (slot == nullptr || slot->sink == nullptr) return Error{ENOENT, "unbind_vector: not bound"};
  slot->sink = nullptr;
  return {};
}

Status KernelVectors::mask(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  auto* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "mask_vector: no such vector"};
  if (device.kind == VectorKind::intx) PVIOMMU_TRY(set_irqs(device, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, {}));
  slot->masked = true;
  return {};
}

Status KernelVectors::unmask(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  auto* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "unmask_vector: no such vector"};
  if (device.kind == VectorKind::intx) {
    // The kernel looks at the line and comes again when it is asserted.
    slot->pending = false;
    slot->masked = false;
    const Status unmasked = set_irqs(device, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, {});
    if (!unmasked) slot->masked = true;
    return unmasked;
  }
  slot->masked = false;
  if (slot->pending && slot->sink != nullptr) {
    slot->pending = false;
    slot->sink->event({device.sbdf, device.kind, index});
  }
  return {};
}

Result<bool> KernelVectors::pending(DeviceVectors& device, unsigned index) {
  const std::lock_guard guard(lock_);
  const auto* slot = find(device, index);
  if (slot == nullptr) return Error{ENOENT, "vector_pending: no such vector"};
  return slot->pending;
}

void KernelVectors::arrive(std::uint64_t key) {
  const std::lock_guard guard(lock_);
  const auto found = targets_.find(key);
  if (found == targets_.end()) return;
  const auto [device, index] = found->second;
  // Allocated but not published yet: the eventfd keeps the count, epoll comes again.
  if (index >= device->slots.size()) return;
  auto& slot = device->slots[index];
  std::uint64_t arrivals = 0;
  if (::syscall(SYS_read, slot.eventfd.get(), &arrivals, sizeof arrivals) != sizeof arrivals) return;
  if (slot.sink == nullptr || slot.masked) {
    slot.pending = true;
    return;
  }
  for (; arrivals != 0; --arrivals) slot.sink->event({device->sbdf, device->kind, index});
}

void KernelVectors::deliver() {
  std::array<epoll_event, 64> events;
  while (!stop_) {
    const int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < ready; ++i)
      if (events[i].data.u64 != kWakeKey) arrive(events[i].data.u64);
  }
}

}  // namespace pviommu::spapr
