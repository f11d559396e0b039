// SPDX-License-Identifier: LGPL-2.1-or-later
// A device that this process has: its sysfs side, its owner in Xen, its vectors.
#pragma once

#include <memory>
#include <mutex>

#include "hypercall/sysfs_device.h"
#include "hypercall/xen/xen_hypervisor.h"

namespace pviommu::xen {

/// What Hypervisor::open_device() returns.
class XenHypervisor::OpenDevice final : public SysfsDevice {
 public:
  static Result<std::unique_ptr<PciDevice>> open(XenHypervisor& xen, Sbdf sbdf);
  ~OpenDevice() override;

  /// EPERM: the pages of the MSI-X table.  Xen has made them read-only, so they are
  /// refused here and not touched.
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  /// The function's reset takes its messages; Xen writes them again.
  Status reset() override;
  Status hot_reset() override;

  /// dom0 -> carrier or guest, and back.  After an error detach() goes on where it stopped.
  Status attach(Domid carrier);
  Status detach(Domid carrier);
  /// Xen has put the device into quarantine: from there to dom0, quiet.  Tried again
  /// at the next call when that is not possible yet.  devices_lock_ held.
  void guest_ended();

  DeviceVectors& vectors() { return vectors_; }
  /// EOPNOTSUPP: the device has none of the kind.
  Result<MsiPlace> place_of(VectorKind kind) const;

 private:
  OpenDevice(XenHypervisor& xen, Sbdf sbdf, DeviceLock lock) : xen_(xen), sbdf_(sbdf), lock_(std::move(lock)) {}
  Status enter();
  Status find_messages();

  enum class Owner { dom0, carrier, quarantine };

  XenHypervisor& xen_;
  const Sbdf sbdf_;
  DeviceLock lock_;
  bool opened_ = false;  ///< start() was successful
  LedgerDevice* ledger_ = nullptr;
  DeviceVectors vectors_;
  Owner owner_ = Owner::dom0;

  std::optional<MsiPlace> msi_, msix_;
  unsigned table_bar_ = 0;
  std::uint64_t table_offset_ = 0;
  std::uint64_t table_bytes_ = 0;
};

}  // namespace pviommu::xen
