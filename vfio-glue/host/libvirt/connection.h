// SPDX-License-Identifier: LGPL-2.1-or-later
// One connection to libvirt.
#pragma once

#include <libvirt/libvirt.h>

#include <memory>
#include <string>

#include "hypercall/result.h"

namespace pviommu::host {

/// Owned libvirt objects: each ends by the function that libvirt has for it.
template <class T, int (*Free)(T*)>
struct VirFree {
  void operator()(T* object) const { (void)Free(object); }
};
using VirConnect = std::unique_ptr<virConnect, VirFree<virConnect, virConnectClose>>;
using VirDomain = std::unique_ptr<virDomain, VirFree<virDomain, virDomainFree>>;
using VirNodeDevice = std::unique_ptr<virNodeDevice, VirFree<virNodeDevice, virNodeDeviceFree>>;

/// The connection and what messages call it; shared by devices, domains and steps.
struct Connection {
  VirConnect handle;
  std::string uri;   ///< as libvirt says it, of its choice where none was given
  std::string type;  ///< "Xen", "QEMU", "TEST": the driver behind it
  bool is_remote = false;
};

/// An empty `uri`: libvirt's default.  EINVAL: no such URI; ECONNREFUSED: nobody answers.
Result<std::shared_ptr<Connection>> connect(const std::string& uri);

/// libvirt's latest error of this thread as an errno; the sentence is
/// "what: libvirt's words".
Error last_error(const std::string& what);

}  // namespace pviommu::host
