// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupt vectors of the model: the hypervisor's side.
//
//   Model::..._vector() --> MsiRouting (who gets it) and PciFunction (message, mask bit)
//
// A vector is masked in the function where the function can do that, so that
// its pending bit shows what hardware would show; where it cannot (INTx, MSI
// without mask bits) the routing holds arrivals back.
#include <algorithm>
#include <bit>

#include "hypercall/model/model.h"

namespace pviommu::model {

Status Model::check_vector(const Vector& vector, Device*& device) const {
  device = find(vector.sbdf);
  if (device == nullptr) return Error{ENODEV, "no such device"};
  VectorKind kind{};
  const unsigned count = routing_.count(vector.sbdf, kind);
  if (count == 0 || kind != vector.kind || vector.index >= count) return Error{ENOENT, "no such vector"};
  return {};
}

Result<unsigned> Model::allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) {
  CallLog::Call call(calls_, HypercallOp::allocate_vectors, sbdf.raw());
  return call.run([&]() -> Result<unsigned> {
    Device* device = find(sbdf);
    if (device == nullptr) return Error{ENODEV, "allocate_vectors: no such device"};
    PVIOMMU_TRY(do_allocate(*device, kind, count));
    return count;
  });
}

Status Model::do_allocate(Device& device, VectorKind kind, unsigned& count) {
  if (count == 0) return Error{EINVAL, "allocate_vectors: 0 vectors"};
  if (capabilities().vectors_before_attach) {
    std::shared_lock dma(device.dma);
    if (device.space != nullptr) return Error{ENODEV, "allocate_vectors: the device is attached"};
  }
  PciFunction& function = *device.function;
  const unsigned implemented = function.vector_count(kind);
  if (implemented == 0) return Error{EOPNOTSUPP, "allocate_vectors: kind not implemented by the device"};
  count = std::min(count, implemented);
  if (options_.most_vectors != 0) count = std::min(count, options_.most_vectors);

  std::lock_guard guard(device.vectors);
  VectorKind before{};
  const unsigned there = routing_.count(device.sbdf, before);
  if (there > 0 && !capabilities().vectors_grow) return Error{EBUSY, "allocate_vectors: there are some"};
  PVIOMMU_TRY(routing_.allocate(device.sbdf, kind, count));
  count = std::max(count, there);
  if (kind == VectorKind::intx) return {};
  if (kind == VectorKind::msi)
    function.set_msi_block(static_cast<unsigned>(std::bit_width(std::bit_ceil(count)) - 1));
  for (unsigned i = there; i < count; ++i) {
    const auto message = routing_.message({device.sbdf, kind, i});
    function.program_message(kind, i, message->address, message->data);
    if (function.can_mask(kind)) function.mask_message(kind, i, false);
  }
  return {};
}

Status Model::free_vectors(Sbdf sbdf, VectorKind kind) {
  CallLog::Call call(calls_, HypercallOp::free_vectors, sbdf.raw());
  return call.run([&]() -> Status {
    Device* device = find(sbdf);
    if (device == nullptr) return Error{ENODEV, "free_vectors: no such device"};
    return do_free(*device, kind);
  });
}

Status Model::do_free(Device& device, VectorKind kind) {
  std::lock_guard guard(device.vectors);
  VectorKind allocated{};
  const unsigned count = routing_.count(device.sbdf, allocated);
  PVIOMMU_TRY(routing_.free(device.sbdf, kind));
  for (unsigned i = 0; i < count && kind != VectorKind::intx; ++i) {
    if (device.function->can_mask(kind)) device.function->mask_message(kind, i, true);
    device.function->program_message(kind, i, 0, 0);
  }
  return {};
}

Status Model::bind_vector(const Vector& vector, const Notification& notification) {
  CallLog::Call call(calls_, HypercallOp::bind_vector, vector.sbdf.raw());
  return call.run([&]() -> Status {
    if ((capabilities().notifications & bit(notification.kind)) == 0)
      return Error{EOPNOTSUPP, "bind_vector: notification kind"};
    return routing_.bind(vector, notification);
  });
}

Status Model::unbind_vector(const Vector& vector) {
  CallLog::Call call(calls_, HypercallOp::unbind_vector, vector.sbdf.raw());
  return call.run([&]() -> Status {
    PVIOMMU_TRY(routing_.unbind(vector));
    Device* device = find(vector.sbdf);
    if (device->function->can_mask(vector.kind)) device->function->forget_message(vector.kind, vector.index);
    return {};
  });
}

Status Model::mask_vector(const Vector& vector) {
  CallLog::Call call(calls_, HypercallOp::mask_vector, vector.sbdf.raw());
  return call.run([&]() -> Status {
    Device* device = nullptr;
    PVIOMMU_TRY(check_vector(vector, device));
    if (!device->function->can_mask(vector.kind)) return routing_.mask(vector);
    device->function->mask_message(vector.kind, vector.index, true);
    return {};
  });
}

Status Model::unmask_vector(const Vector& vector) {
  CallLog::Call call(calls_, HypercallOp::unmask_vector, vector.sbdf.raw());
  return call.run([&]() -> Status {
    Device* device = nullptr;
    PVIOMMU_TRY(check_vector(vector, device));
    if (!device->function->can_mask(vector.kind)) return routing_.unmask(vector);
    device->function->mask_message(vector.kind, vector.index, false);
    return {};
  });
}

Result<bool> Model::vector_pending(const Vector& vector) {
  Device* device = nullptr;
  PVIOMMU_TRY(check_vector(vector, device));
  if (device->function->can_mask(vector.kind))
    return device->function->message_pending(vector.kind, vector.index);
  return routing_.pending(vector);
}

Status Model::raise_vector(const Vector& vector) {
  CallLog::Call call(calls_, HypercallOp::raise_vector, vector.sbdf.raw());
  return call.run([&] { return routing_.raise(vector); });
}

Result<EventPort> Model::event_port(const Vector& vector) { return routing_.event_port(vector); }

Result<std::unique_ptr<GuestBus>> Model::guest_bus() { return Error{EOPNOTSUPP, "guest_bus: the model has no guests"}; }

}  // namespace pviommu::model
