// SPDX-License-Identifier: LGPL-2.1-or-later
// The device's ways between its owners, and the vectors' calls that find the device first.
//
//   dom0 --attach()--> carrier or guest --detach()--> quarantine --> dom0
//    ^                                             ^ where a step failed, detach() goes on
//    open: out of quarantine, if it is there; close: back, if it was (quarantine.h)
//
// devices_lock_ of XenHypervisor covers the list of open devices and each one's owner.
#include "hypercall/xen/open_device.h"

#include <linux/pci_regs.h>
#include <poll.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "hypercall/sysfs_bus.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/pirqs.h"
#include "hypercall/xen/quarantine.h"
#include "hypercall/xen/reaper.h"

namespace pviommu::xen {

namespace {

/// A device of a dead program is its guardians' until the last of them has ended, which may be a moment
/// after the ledger has gone: that is waited for.  Errors of DeviceLock::acquire().
Result<DeviceLock> lock_device(Sbdf sbdf) {
  const std::string name = "xen-" + to_string(sbdf);
  for (unsigned waited = 0;; waited += kReapPollMilliseconds) {
    auto lock = DeviceLock::acquire(name);
    if (lock || lock.error().code != EBUSY || waited >= kReapMilliseconds) return lock;
    const auto owner = DeviceLock::owner(name);
    if (owner && *owner && !dead(static_cast<std::uint32_t>((*owner)->pid))) return lock;
    (void)::poll(nullptr, 0, kReapPollMilliseconds);
  }
}

}  // namespace

Result<std::unique_ptr<PciDevice>> XenHypervisor::OpenDevice::open(XenHypervisor& xen, Sbdf sbdf) {
  auto lock = PVIOMMU_TRY(lock_device(sbdf));
  std::unique_ptr<OpenDevice> device(new OpenDevice(xen, sbdf, std::move(lock)));
  PVIOMMU_TRY(device->start(sbdf, "xen"));
  device->opened_ = true;
  PVIOMMU_TRY(device->enter());
  return std::unique_ptr<PciDevice>(std::move(device));
}

/// Makes the function known to the guardian, the ledger and the list of open devices.
Status XenHypervisor::OpenDevice::enter() {
  PVIOMMU_TRY(find_messages());
  if (const auto same = PVIOMMU_TRY(same_requester(*xen_.calls_, sbdf_)); !same.empty()) {
    std::fprintf(stderr, "pviommu: the IOMMU cannot tell the DMA of %s from that of %s, behind the same bridge: it cannot be used\n",
                 to_string(sbdf_).c_str(), to_string(same.front()).c_str());
    return Error{EBUSY, "open_device: shares its bridge with a device of dom0"};
  }
  // The lock is the guardian's too: as long as it is cleaning up behind us the
  // device is taken.
  PVIOMMU_TRY(xen_.guardian_->hold(lock_.fd()));
  const std::lock_guard guard(xen_.devices_lock_);
  ledger_ = PVIOMMU_TRY(xen_.ledger_->add(sbdf_));
  ledger_->enabled_here = enabled_here() ? 1 : 0;
  // Whoever set it aside, or a domain that had it and ended, may have left it there.
  PVIOMMU_TRY(fetch_for_run(*xen_.calls_, *ledger_));
  vectors_.sbdf = sbdf_;
  vectors_.ledger = ledger_;
  xen_.devices_[sbdf_.raw()] = this;
  return {};
}

XenHypervisor::OpenDevice::~OpenDevice() {
  if (!opened_) {
    give_back();
    return;
  }
  // The last faults of the device are taken while it is known whose they are.  Twice,
  // because the second, quiet reading ends the waiting for a second line.
  xen_.read_console();
  xen_.read_console();
  bool clean = true;
  {
    const std::lock_guard guard(xen_.devices_lock_);
    if (const auto found = xen_.devices_.find(sbdf_.raw()); found != xen_.devices_.end() && found->second == this)
      xen_.devices_.erase(found);
    if (ledger_ != nullptr)
      clean = owner_ == Owner::dom0 && vectors_.slots.empty() && ledger_->prepared.load() == 0;
  }
  give_back();
  if (ledger_ != nullptr) {
    clean = clean && put_where_found(*xen_.calls_, *ledger_).ok();
    // What is left in the ledger is the guardian's to put back.
    const std::lock_guard guard(xen_.devices_lock_);
    if (clean) xen_.ledger_->remove(*ledger_);
  }
  if (clean)
    (void)xen_.guardian_->drop(lock_.fd());
  else
    std::fprintf(stderr, "pviommu: %s is left to the guardian\n", to_string(sbdf_).c_str());
}

/// Where MSI and MSI-X are (PCI Local Bus 3.0, 6.8).
Status XenHypervisor::OpenDevice::find_messages() {
  std::uint32_t at = 0;
  if (PVIOMMU_TRY(config_read(PCI_STATUS, 2)) & PCI_STATUS_CAP_LIST)
    at = PVIOMMU_TRY(config_read(PCI_CAPABILITY_LIST, 1)) & ~3u;
  for (int left = 48; at != 0 && left > 0; --left) {
    const std::uint32_t id = PVIOMMU_TRY(config_read(at, 1));
    const std::uint32_t control = PVIOMMU_TRY(config_read(at + 2, 2));
    if (id == PCI_CAP_ID_MSI) msi_ = MsiPlace{0, (control & PCI_MSI_FLAGS_MASKBIT) != 0};
    if (id == PCI_CAP_ID_MSIX) {
      const std::uint32_t table = PVIOMMU_TRY(config_read(at + PCI_MSIX_TABLE, 4));
      table_bar_ = table & PCI_MSIX_TABLE_BIR;
      table_offset_ = table & PCI_MSIX_TABLE_OFFSET;
      table_bytes_ = ((control & PCI_MSIX_FLAGS_QSIZE) + 1u) * PCI_MSIX_ENTRY_SIZE;
      if (table_bar_ < kPciBars) msix_ = MsiPlace{bar(table_bar_).address, true};
    }
    at = PVIOMMU_TRY(config_read(at + 1, 1)) & ~3u;
  }
  return {};
}

Result<MsiPlace> XenHypervisor::OpenDevice::place_of(VectorKind kind) const {
  const auto& place = kind == VectorKind::msix ? msix_ : msi_;
  if (kind == VectorKind::intx || !place) return Error{EOPNOTSUPP, "the device has no such vectors"};
  return *place;
}

Status XenHypervisor::OpenDevice::bar_write(unsigned index, std::uint64_t offset, unsigned width,
                                            std::uint64_t value) {
  // Whole pages: that is what Xen protects.
  constexpr std::uint64_t kMask = kPageSize - 1;
  if (msix_ && index == table_bar_ && offset + width > (table_offset_ & ~kMask) &&
      offset < ((table_offset_ + table_bytes_ + kMask) & ~kMask))
    return Error{EPERM, "bar_write: a page of the MSI-X table"};
  return SysfsDevice::bar_write(index, offset, width, value);
}

Status XenHypervisor::OpenDevice::reset() {
  PVIOMMU_TRY(SysfsDevice::reset());
  return restore_messages(*xen_.calls_, vectors_);
}

Status XenHypervisor::OpenDevice::hot_reset() {
  PVIOMMU_TRY(SysfsDevice::hot_reset());
  return restore_messages(*xen_.calls_, vectors_);
}

Status XenHypervisor::OpenDevice::attach(Domid carrier) {
  if (owner_ != Owner::dom0) return Error{EBUSY, "attach: the device is attached"};
  if (xen_.guest_ && msix_) PVIOMMU_TRY(prepare_msix(*xen_.calls_, *ledger_));
  ledger_->carrier.store(carrier.raw() + 1u);
  const Status assigned = assign_device(*xen_.calls_, carrier, sbdf_);
  if (!assigned) {
    ledger_->carrier.store(0);
    (void)release_msix(*xen_.calls_, *ledger_).ok();  // if not, the reaper does
    return assigned;
  }
  owner_ = Owner::carrier;
  return {};
}

Status XenHypervisor::OpenDevice::detach(Domid carrier) {
  if (xen_.guest_ && xen_.guest_->gone.load()) {
    guest_ended();
    if (owner_ == Owner::dom0) return {};
  }
  if (ledger_->carrier.load() != carrier.raw() + 1u)
    return Error{ENOENT, "detach: the device is not there"};
  if (owner_ == Owner::carrier) {
    PVIOMMU_TRY(deassign_device(*xen_.calls_, carrier, sbdf_));
    owner_ = Owner::quarantine;
  }
  if (owner_ == Owner::quarantine) {
    PVIOMMU_TRY(fetch_from_quarantine(*xen_.calls_, sbdf_));
    owner_ = Owner::dom0;
  }
  PVIOMMU_TRY(release_msix(*xen_.calls_, *ledger_));
  ledger_->carrier.store(0);
  return {};
}

void XenHypervisor::OpenDevice::guest_ended() {
  if (owner_ == Owner::dom0) return;
  const auto quiet = [&]() -> Status {
    const std::uint32_t command = PVIOMMU_TRY(config_read(PCI_COMMAND, 2));
    PVIOMMU_TRY(config_write(PCI_COMMAND, 2, command & ~std::uint32_t{PCI_COMMAND_MASTER}));
    return can_reset() ? SysfsDevice::reset() : Status{};
  };
  if (!quiet()) return;
  if (owner_ == Owner::carrier) {
    const Domid guest(static_cast<std::uint16_t>(ledger_->carrier.load() - 1));
    const Status status = deassign_device(*xen_.calls_, guest, sbdf_);
    if (!status && status.error().code != ENODEV && status.error().code != ESRCH) return;
    owner_ = Owner::quarantine;
  }
  if (!fetch_from_quarantine(*xen_.calls_, sbdf_)) return;
  (void)release_msix(*xen_.calls_, *ledger_).ok();  // with pirqs of the guest in the way, the reaper's
  owner_ = Owner::dom0;
  ledger_->carrier.store(0);
}

// ---- XenHypervisor: devices and vectors --------------------------------------------

XenHypervisor::OpenDevice* XenHypervisor::find(Sbdf sbdf) {
  const auto found = devices_.find(sbdf.raw());
  return found == devices_.end() ? nullptr : found->second;
}

Result<std::vector<PciDeviceInfo>> XenHypervisor::devices() { return list_pci_devices("xen"); }

Result<std::unique_ptr<PciDevice>> XenHypervisor::open_device(Sbdf sbdf) {
  PVIOMMU_TRY(activate());
  return OpenDevice::open(*this, sbdf);
}

Result<unsigned> XenHypervisor::allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) {
  const std::lock_guard guard(devices_lock_);
  OpenDevice* device = find(sbdf);
  if (device == nullptr) return Error{ENODEV, "allocate_vectors: the device is not open"};
  const MsiPlace place = PVIOMMU_TRY(device->place_of(kind));
  return vectors_->allocate(device->vectors(), *ledger_, kind, count, place);
}

Status XenHypervisor::free_vectors(Sbdf sbdf, VectorKind kind) {
  return with_vector(sbdf, kind, [&](DeviceVectors& device) { return vectors_->free(device); });
}

template <class Work>
auto XenHypervisor::with_vector(Sbdf sbdf, VectorKind kind, Work&& work) -> decltype(work(std::declval<DeviceVectors&>())) {
  const std::lock_guard guard(devices_lock_);
  OpenDevice* device = find(sbdf);
  if (device == nullptr) return Error{ENODEV, "the device is not open"};
  if (device->vectors().slots.empty() || device->vectors().kind != kind) return Error{ENOENT, "no such vector"};
  return work(device->vectors());
}

Status XenHypervisor::bind_vector(const Vector& vector, const Notification& notification) {
  return with_vector(vector.sbdf, vector.kind, [&](DeviceVectors& device) {
    return vectors_->bind(device, vector.index, notification);
  });
}

Status XenHypervisor::unbind_vector(const Vector& vector) {
  return with_vector(vector.sbdf, vector.kind, [&](DeviceVectors& device) {
    return vectors_->unbind(device, vector.index);
  });
}

Status XenHypervisor::mask_vector(const Vector& vector) {
  return with_vector(vector.sbdf, vector.kind,
                     [&](DeviceVectors& device) { return vectors_->mask(device, vector.index); });
}

Status XenHypervisor::unmask_vector(const Vector& vector) {
  return with_vector(vector.sbdf, vector.kind,
                     [&](DeviceVectors& device) { return vectors_->unmask(device, vector.index); });
}

Status XenHypervisor::raise_vector(const Vector& vector) {
  return with_vector(vector.sbdf, vector.kind,
                     [&](DeviceVectors& device) { return vectors_->raise(device, vector.index); });
}

Result<EventPort> XenHypervisor::event_port(const Vector& vector) {
  return with_vector(vector.sbdf, vector.kind,
                     [&](DeviceVectors& device) { return vectors_->port(device, vector.index); });
}

Result<bool> XenHypervisor::vector_pending(const Vector& vector) {
  return with_vector(vector.sbdf, vector.kind,
                     [&](DeviceVectors& device) { return vectors_->pending(device, vector.index); });
}

}  // namespace pviommu::xen
