// SPDX-License-Identifier: LGPL-2.1-or-later
// The hypercalls by which a device's messages get pirqs.  Arguments lie in the ledger and Xen
// writes its answer there (ledger.h), so every function begins with the note and ends with
// clearing it, and can be called again by whoever finds a note left behind.
#include "hypercall/xen/pirqs.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>

namespace pviommu::xen {
namespace {

unsigned bus_and_segment(Sbdf sbdf) { return (sbdf.raw() >> 8 & 0xff) | (sbdf.raw() >> 16) << 16; }
unsigned devfn(Sbdf sbdf) { return sbdf.raw() & 0xff; }

physdev_pci_device place_of(Sbdf sbdf) {
  physdev_pci_device place{};
  place.seg = static_cast<std::uint16_t>(sbdf.raw() >> 16);
  place.bus = static_cast<std::uint8_t>(sbdf.raw() >> 8);
  place.devfn = static_cast<std::uint8_t>(sbdf.raw());
  return place;
}

/// Whether the error says that Xen has no more to give, and not that something went wrong.
bool shortage(const Error& error) {
  return error.raw != 0 && (error.code == ENOSPC || error.code == ENFILE);
}

/// `entry`: for MSI-X the entry of the table, for several MSIs how many there are.  `pirq`: a
/// free one; -1: any.  Xen writes the pirq (or how many it gave) into the ledger.
Status map_pirq(XenCalls& calls, const DeviceVectors& device, LedgerVector& vector, std::uint16_t domid, int type,
                unsigned entry, int pirq) {
  std::memset(&vector.map, 0, sizeof vector.map);
  vector.guest_bound = 0;
  vector.map.domid = domid;
  vector.map.type = type;
  vector.map.index = -1;
  vector.map.pirq = pirq;
  vector.map.bus = static_cast<int>(bus_and_segment(device.sbdf));
  vector.map.devfn = static_cast<int>(devfn(device.sbdf));
  vector.map.entry_nr = static_cast<int>(entry);
  vector.map.table_base = device.kind == VectorKind::msix ? device.place.table_base : 0;
  vector.state.store(LedgerVector::mapping, std::memory_order_release);
  const auto mapped = calls.physdev_in_place(PHYSDEVOP_map_pirq, &vector.map, "PHYSDEVOP_map_pirq");
  vector.state.store(mapped ? LedgerVector::mapped : LedgerVector::none, std::memory_order_release);
  if (!mapped) return mapped.error();
  return {};
}

Status map_one(XenCalls& calls, const DeviceVectors& device, std::uint16_t domid, unsigned entry,
               int pirq = -1) {
  return map_pirq(calls, device, device.ledger->vector[entry], domid, MAP_PIRQ_TYPE_MSI_SEG, entry, pirq);
}

/// Several MSIs are one allocation; Xen says in entry_nr how many it would give.
Result<unsigned> map_block(XenCalls& calls, const DeviceVectors& device, std::uint16_t domid, unsigned count) {
  LedgerVector& vector = device.ledger->vector[0];
  const Status mapped = map_pirq(calls, device, vector, domid, MAP_PIRQ_TYPE_MULTI_MSI, count, -1);
  if (mapped) return count;
  const int available = vector.map.entry_nr;
  if (shortage(mapped.error()) && available > 0 && static_cast<unsigned>(available) < count)
    return static_cast<unsigned>(available);
  return mapped.error();
}

/// Whether the error means that the guest is gone, and its pirqs with it.
bool gone(const LedgerVector& vector, const Error& error) {
  return vector.map.domid != DOMID_SELF && error.code == ESRCH && error.raw != 0;
}

}  // namespace

Status prepare_msix(XenCalls& calls, LedgerDevice& device) {
  physdev_pci_device place = place_of(Sbdf(device.sbdf));
  device.prepared.store(1);
  const auto done = calls.physdev(PHYSDEVOP_prepare_msix, &place, sizeof place, "PHYSDEVOP_prepare_msix");
  if (done) return {};
  device.prepared.store(0);
  // xen-pciback has prepared what `xl pci-assignable-add` set aside, and that stays as it was found.
  if (done.error().code == EBUSY && done.error().raw != 0) return {};
  return done.error();
}

Status release_msix(XenCalls& calls, LedgerDevice& device) {
  if (device.prepared.load() == 0) return {};
  physdev_pci_device place = place_of(Sbdf(device.sbdf));
  const auto done = calls.physdev(PHYSDEVOP_release_msix, &place, sizeof place, "PHYSDEVOP_release_msix");
  // EBUSY: nothing was prepared.
  if (!done && !(done.error().code == EBUSY && done.error().raw != 0)) return done.error();
  device.prepared.store(0);
  return {};
}

Result<unsigned> map_pirqs(XenCalls& calls, DeviceVectors& device, Ledger& book, std::uint16_t domid,
                           VectorKind kind, unsigned count, const MsiPlace& place) {
  if (!device.slots.empty()) return Error{EBUSY, "allocate_vectors: the device has vectors"};
  if (kind == VectorKind::intx) return Error{EOPNOTSUPP, "allocate_vectors: kind not offered"};
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
      const auto block = map_block(calls, device, domid, ask);
      if (!block) return block.error();
      if (*block == ask) {
        granted = ask;
        const LedgerVector& first = device.ledger->vector[0];
        for (unsigned i = 1; i < granted; ++i) {
          device.ledger->vector[i].map = first.map;
          device.ledger->vector[i].map.pirq = first.map.pirq + static_cast<int>(i);
          device.ledger->vector[i].guest_bound = 0;
        }
      } else {
        ask = *block;
      }
    }
  }
  for (; granted < (kind == VectorKind::msi ? 1 : count); ++granted) {
    status = map_one(calls, device, domid, granted);
    if (!status) break;
  }
  if (!status && (granted == 0 || !shortage(status.error()))) {
    while (granted > 0)
      if (!unmap_ledger_pirq(calls, device.ledger->vector[--granted])) break;
    return status.error();
  }
  try {
    device.slots.resize(granted);
  } catch (const std::bad_alloc&) {
    for (unsigned i = 0; i < granted; ++i) (void)unmap_ledger_pirq(calls, device.ledger->vector[i]);
    return Error{ENOMEM, "allocate_vectors"};
  }
  for (unsigned i = 0; i < granted; ++i) device.slots[i].ledger = &device.ledger->vector[i];
  return granted;
}

Status unmap_pirqs(XenCalls& calls, DeviceVectors& device) {
  if (device.slots.empty()) return Error{ENOENT, "free_vectors: none"};
  for (const auto& slot : device.slots)
    if (slot.bound) return Error{EBUSY, "free_vectors: bound"};
  // Of several MSIs only the first is unmapped, and takes the others along.
  // Otherwise the last goes first; should one refuse, the ones behind it are
  // mapped again: all or nothing.
  const std::uint16_t domid = device.slots[0].ledger->map.domid;
  for (std::size_t i = device.kind == VectorKind::msi ? 1 : device.slots.size(); i-- > 0;) {
    const Status status = unmap_ledger_pirq(calls, *device.slots[i].ledger);
    if (status) continue;
    for (std::size_t back = i + 1; back < device.slots.size() && device.kind == VectorKind::msix; ++back)
      (void)map_one(calls, device, domid, static_cast<unsigned>(back));
    return status;
  }
  device.slots.clear();
  device.ledger->vectors.store(0);
  return {};
}

Status unmap_ledger_pirq(XenCalls& calls, LedgerVector& vector) {
  const std::uint32_t state = vector.state.load(std::memory_order_acquire);
  // A process that was killed in map_pirq has left -1, the pirq, or the one that it asked for.
  if (state == LedgerVector::none || vector.map.pirq < 0) {
    vector.state.store(LedgerVector::none, std::memory_order_release);
    return {};
  }
  physdev_unmap_pirq unmap{};
  unmap.domid = vector.map.domid;
  unmap.pirq = vector.map.pirq;
  vector.state.store(LedgerVector::unmapping, std::memory_order_release);
  const auto done = calls.physdev(PHYSDEVOP_unmap_pirq, &unmap, sizeof unmap, "PHYSDEVOP_unmap_pirq");
  // A process that was killed in its call, or right before or after it, has left a state that is
  // not so.  EINVAL: there is no such pirq.
  const bool uncertain = state == LedgerVector::unmapping || state == LedgerVector::mapping;
  if (!done && !(uncertain && done.error().code == EINVAL) && !gone(vector, done.error())) {
    vector.state.store(state, std::memory_order_release);
    return done.error();
  }
  vector.state.store(LedgerVector::none, std::memory_order_release);
  return {};
}

Status restore_messages(XenCalls& calls, const DeviceVectors& device) {
  if (device.slots.empty()) return {};
  physdev_pci_device place{};
  place.seg = static_cast<std::uint16_t>(device.sbdf.raw() >> 16);
  place.bus = static_cast<std::uint8_t>(device.sbdf.raw() >> 8);
  place.devfn = static_cast<std::uint8_t>(device.sbdf.raw());
  const auto done = calls.physdev(PHYSDEVOP_restore_msi_ext, &place, sizeof place, "PHYSDEVOP_restore_msi_ext");
  if (!done) return done.error();
  return {};
}

// ---- into a guest ----------------------------------------------------------------

namespace {

Result<long> guest_vector_call(XenCalls& calls, const LedgerVector& vector, std::uint32_t command, std::uint8_t gvec,
                               std::uint32_t gflags, const char* name) {
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = command;
  op.domain = vector.map.domid;
  op.u.bind_pt_irq.machine_irq = static_cast<std::uint32_t>(vector.map.pirq);
  op.u.bind_pt_irq.irq_type = PT_IRQ_TYPE_MSI;
  op.u.bind_pt_irq.u.msi.gvec = gvec;
  op.u.bind_pt_irq.u.msi.gflags = gflags;
  return calls.domctl(op, name);
}

}  // namespace

Status check_guest_pirq(XenCalls& calls, const DeviceVectors& device, std::uint32_t pirq) {
  // Several MSIs have consecutive pirqs.
  if (device.kind == VectorKind::msi && device.slots.size() > 1)
    return Error{EOPNOTSUPP, "bind_vector: pirqs of the guest's choice for several MSIs"};
  if (pirq == 0 || pirq > INT_MAX) return Error{EINVAL, "bind_vector: no pirq"};
  // map_pirq of a pirq that is mapped does nothing and says that it is done.  bind_pt_irq tells
  // the two cases apart: it looks whether the pirq is mapped before it looks at the type, and
  // this request has no valid type.
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_DOMCTL_bind_pt_irq;
  op.domain = device.slots[0].ledger->map.domid;
  op.u.bind_pt_irq.machine_irq = pirq;
  op.u.bind_pt_irq.irq_type = static_cast<decltype(op.u.bind_pt_irq.irq_type)>(~0u);
  const auto bound = calls.domctl(op, "XEN_DOMCTL_bind_pt_irq");
  if (!bound && bound.error().raw != 0 && bound.error().code == EPERM) return {};
  if (!bound && !(bound.error().raw != 0 && bound.error().code == EOPNOTSUPP)) return bound.error();
  return Error{EEXIST, "bind_vector: another interrupt has the guest's pirq"};
}

Status move_to_pirq(XenCalls& calls, DeviceVectors& device, unsigned index, int pirq) {
  LedgerVector& vector = *device.slots[index].ledger;
  const std::uint16_t domid = vector.map.domid;
  PVIOMMU_TRY(unbind_guest_vector(calls, vector));
  PVIOMMU_TRY(unmap_ledger_pirq(calls, vector));
  PVIOMMU_TRY(map_one(calls, device, domid, index, pirq));
  // With the only message of MSI Xen has switched MSI off.
  return device.kind == VectorKind::msi ? restore_messages(calls, device) : Status{};
}

Status bind_guest_vector(XenCalls& calls, LedgerVector& vector, std::uint8_t gvec, std::uint32_t gflags) {
  // The note comes first, because unbinding what was never bound is harmless.
  vector.guest_bound = 1;
  const auto bound = guest_vector_call(calls, vector, XEN_DOMCTL_bind_pt_irq, gvec,
                                       gflags | XEN_DOMCTL_VMSI_X86_UNMASKED, "XEN_DOMCTL_bind_pt_irq");
  if (!bound) return bound.error();
  return {};
}

Status unbind_guest_vector(XenCalls& calls, LedgerVector& vector) {
  if (vector.guest_bound == 0) return {};
  const auto unbound =
      guest_vector_call(calls, vector, XEN_DOMCTL_unbind_pt_irq, 0, 0, "XEN_DOMCTL_unbind_pt_irq");
  // EINVAL: it was not bound, or not any more.
  if (!unbound && !(unbound.error().code == EINVAL && unbound.error().raw != 0) && !gone(vector, unbound.error()))
    return unbound.error();
  vector.guest_bound = 0;
  return {};
}

// ---- event channels --------------------------------------------------------------

Status close_ledger_port(XenCalls& calls, LedgerVector& vector) {
  const std::uint32_t state = vector.state.load(std::memory_order_acquire);
  if (state != LedgerVector::binding && state != LedgerVector::bound && state != LedgerVector::closing) return {};
  if (vector.bind.port != 0 && vector.kernel_closes == 0) {
    if (state == LedgerVector::closing) {
      // The process was killed in the call: it may be done, and the port be another's by now.
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


}  // namespace pviommu::xen
