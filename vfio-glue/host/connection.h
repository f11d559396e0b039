// SPDX-License-Identifier: LGPL-2.1-or-later
// Devices and guests of a machine through one service: libvirt, by a URI.
//
//   HostConnection --> HostDevices    devices.h         bind, unbind, list --host
//                  --> GuestDomains   guest_domains.h   attach
#pragma once

#include <string_view>

#include "hypercall/backend.h"
#include "vfio-glue/host/guest_domains.h"
#include "vfio-glue/host/devices.h"

namespace pviommu::host {

/// What open() of a module of kind PVIOMMU_MODULE_HOST returns.
class HostConnection {
 public:
  virtual ~HostConnection() = default;
  virtual HostDevices& devices() = 0;
  virtual GuestDomains& domains() = 0;
};

/// By the module "libvirt".  An empty URI: libvirt's default.  Errors have a sentence:
/// the module is not there, the URI is wrong, nobody answers.
Result<std::unique_ptr<HostConnection>> open_host_connection(std::string_view uri);

}  // namespace pviommu::host
