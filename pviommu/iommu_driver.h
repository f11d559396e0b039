// SPDX-License-Identifier: LGPL-2.1-or-later
// The IOMMU driver interface: what an address space is filled through.
//
// The built-in driver "hypercall" (hypercall_iommu.h) turns domains and runs
// into calls of a Hypervisor.  Others come from modules (hypercall/module.h,
// PVIOMMU_MODULE_IOMMU_DRIVER) and are chosen with --iommu-driver=NAME:CONF; a
// driver may work on the hypervisor it is given, or on something else
// altogether (kernel VFIO's sPAPR v2 container).
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "hypercall/backend.h"
#include "hypercall/hypervisor.h"

namespace pviommu {

/// One device address space.  Calls are serialised by the owner.
class IommuDomain {
 public:
  IommuDomain() = default;
  IommuDomain(const IommuDomain&) = delete;
  IommuDomain& operator=(const IommuDomain&) = delete;
  /// All devices detached.  What is still mapped goes with the domain.
  virtual ~IommuDomain() = default;

  virtual Status attach(Sbdf sbdf) = 0;
  virtual Status detach(Sbdf sbdf) = 0;

  /// All or nothing: after an error none of `runs` is mapped.  EEXIST when a
  /// target is not empty.  Any number of runs: the driver splits.
  virtual Status map(std::span<const MapRun> runs) = 0;
  /// Removes all of `runs`; when it returns without error no device reaches
  /// the pages any more.  After an error all of `runs` are mapped as before;
  /// EIO with Error::operation "unmap: state lost" when that could not be
  /// restored, then the frames must be taken as reachable until the domain is
  /// gone.
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
Opened<IommuDriver> open_iommu_driver(std::string_view name_conf, Hypervisor& hypervisor);

}  // namespace pviommu
