// SPDX-License-Identifier: LGPL-2.1-or-later
// The IOMMU driver interface: what an address space is filled through.
//
// The built-in driver "hypercall" (hypercall_iommu.h) turns domains and runs
// into calls of Spaces.  Others come from modules (hypercall/module.h,
// PVIOMMU_MODULE_IOMMU_DRIVER) and are chosen with --iommu-driver=NAME:CONF; a
// driver may work on the hypervisor it is given (tests/dropin has one that counts), or
// on something else altogether.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "hypercall/backend.h"
#include "hypercall/capabilities.h"
#include "hypercall/spaces.h"

namespace pviommu {

/// One device address space.  Calls are serialised by the owner.
class IommuDomain {
 public:
  IommuDomain() = default;
  IommuDomain(const IommuDomain&) = delete;
  IommuDomain& operator=(const IommuDomain&) = delete;
  /// All devices detached.  What is still mapped goes with the domain.
  virtual ~IommuDomain() = default;

  // An error may have Error::state_lost: devices may reach some of the frames of the
  // request until the domain is gone, whatever later calls say, and its memory stays
  // pinned.  A driver sets it when it cannot restore what the error promises, with code
  // EIO unless it has a better one, and passes a hypervisor's on even if its own undo
  // was successful.  The address space looks at nothing else.  None of these throws.

  /// After an error the device is where it was; with state_lost every frame mapped in
  /// the domain is one of the request.
  virtual Status attach(Sbdf sbdf) = 0;
  virtual Status detach(Sbdf sbdf) = 0;

  /// All or nothing: after an error none of `runs` is mapped, but for state_lost.
  /// EEXIST when a target is not empty.  Any number of runs: the driver splits.
  virtual Status map(std::span<const MapRun> runs) = 0;
  /// Removes all of `runs`; when it returns without error no device reaches
  /// the pages any more.  After an error all of `runs` are mapped as before, but for
  /// state_lost.
  virtual Status unmap(std::span<const MapRun> runs) = 0;
};

class IommuDriver {
 public:
  IommuDriver() = default;
  IommuDriver(const IommuDriver&) = delete;
  IommuDriver& operator=(const IommuDriver&) = delete;
  virtual ~IommuDriver() = default;  ///< after its domains

  virtual std::string_view name() const = 0;
  /// What address spaces of this driver can hold; may be narrower than the
  /// hypervisor's.
  virtual const Capabilities& capabilities() const = 0;
  virtual Result<std::unique_ptr<IommuDomain>> create_domain(const SpaceConfig& config) = 0;
};

/// By name: "hypercall" is built in and the default for an empty name.  Errors
/// as for open_hypervisor().  `hypervisor` outlives the driver.
Result<std::unique_ptr<IommuDriver>> open_iommu_driver(std::string_view name_conf, Hypervisor& hypervisor);

}  // namespace pviommu
