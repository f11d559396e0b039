// SPDX-License-Identifier: LGPL-2.1-or-later
// The PCI functions of this machine and the kernel drivers that have them: how
// `pviommu bind` takes one, and how `pviommu unbind` gives it back.
//
// Two implementations: sysfs (make_sysfs_devices(), always there) and libvirt
// (libvirt/, by connection.h).  Neither changes anything itself:
// they name steps, which the command prints (a dry run) or takes, and takes back
// in reverse order when one fails.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/keeper.h"
#include "hypercall/result.h"
#include "vfio-glue/host/pci_address.h"

namespace pviommu::host {

struct HostDevice {
  PciAddress address;
  std::uint32_t class_code = 0;  ///< 24 bits, as in configuration space
  std::uint16_t vendor = 0, device = 0;
  std::string driver;               ///< of the host's kernel; empty: none
  std::string driver_override;      ///< what alone may take it; empty: any driver, or not known
  std::optional<unsigned> group;    ///< the kernel's IOMMU group, where there is one
  std::vector<PciAddress> group_members;  ///< the other functions of that group
  std::string description;
};

/// One change.  `run` and `undo` may be called once each, and `undo` only after a `run`
/// that succeeded.
struct HostStep {
  std::string text;  ///< what a dry run prints: the shell command or the call
  std::function<Status()> run;
  std::function<Status()> undo;
};
using HostSteps = std::vector<HostStep>;

/// Not thread-safe: one thread calls all methods.
class HostDevices {
 public:
  virtual ~HostDevices() = default;
  /// What stands before the colon in messages: "sysfs", or the URI.
  virtual const std::string& name() const = 0;
  /// Whether these are the functions of this machine's /sys, so that it can be looked up
  /// there what depends on them (holders.h).
  virtual bool is_this_machine() const = 0;
  /// All functions with a type 0 header, ordered by address; bridges are left out.  Those above
  /// domain ffff (PciAddress::sbdf() is empty) can be shown only: no steps may be asked for them.
  virtual Result<std::vector<HostDevice>> list() = 0;
  /// The driver that bind_steps() takes when none is named; "none": no driver.
  virtual std::string default_driver() const = 0;
  /// The steps that take the device from its driver to `driver`; none: it is there already.
  virtual Result<HostSteps> bind_steps(const HostDevice& device, const std::string& driver) = 0;
  /// The steps that give it back to whichever driver of the host wants it; none: it has
  /// one already.
  virtual Result<HostSteps> unbind_steps(const HostDevice& device) = 0;
  /// The steps of a reset, to be taken while no driver of the host has the device.
  virtual Result<HostSteps> reset_steps(const HostDevice& device) = 0;
};

/// Where a kernel is looked at and written to; tests have their own.
struct HostRoots {
  std::string sysfs = "/sys";
  std::string proc = "/proc";
  /// Writes an attribute; empty: the file itself.
  std::function<Status(const std::string& path, std::string_view text)> write;
  /// Has a block device for itself for a moment; empty: claim_disk() of disk_holders.h.
  std::function<Status(const std::string& name, const std::string& number)> claim;
  /// Where the hypervisor has a function, and moving it between host and quarantine (false: it was
  /// there already); empty: by its module (keepers.h).
  std::function<Result<Keeper>(Sbdf sbdf)> keeper;
  std::function<Result<bool>(Sbdf sbdf, Keeper keeper)> set_keeper;
  std::string modules = "/lib/modules";  ///< a folder for each kernel
  std::string udev_rules = "/etc/udev/rules.d";
  std::string hypervisor;  ///< NAME:CONF, for those two where NAME is the hypervisor that runs; may be empty
};

std::unique_ptr<HostDevices> make_sysfs_devices(HostRoots roots);

/// Whether the driver only keeps a device for others than this kernel.  Variants of
/// vfio-pci are named mlx5_vfio_pci and the like.
inline bool is_parking_driver(std::string_view driver) {
  return driver == "pciback" || driver == "pci-stub" || driver == "pviommu-papr" ||
         driver.ends_with("vfio-pci") || driver.ends_with("vfio_pci");
}

/// Takes all steps, or none: after an error the steps that were taken are undone in
/// reverse order, and the sentence names the step, the reason, and what could not be undone.
Status take_steps(HostSteps& steps);

}  // namespace pviommu::host
