// SPDX-License-Identifier: LGPL-2.1-or-later
// The module "libvirt": from a URI to devices and guests.
//
//   open_libvirt(URI) --> LibvirtConnection --> NodeDevices, Domains on one Connection
#include <memory>
#include <string>

#include "hypercall/backend.h"
#include "vfio-glue/host/connection.h"
#include "vfio-glue/host/libvirt/domains.h"
#include "vfio-glue/host/libvirt/node_devices.h"

namespace pviommu::host {
namespace {

class LibvirtConnection final : public HostConnection {
 public:
  explicit LibvirtConnection(const std::shared_ptr<Connection>& connection)
      : devices_(connection), domains_(connection) {}
  HostDevices& devices() override { return devices_; }
  GuestDomains& domains() override { return domains_; }

 private:
  NodeDevices devices_;
  Domains domains_;
};

Result<std::unique_ptr<HostConnection>> open_connection(const char* uri) {
  const auto connection = PVIOMMU_TRY(connect(uri));
  return std::unique_ptr<HostConnection>(new LibvirtConnection(connection));
}

void* open_libvirt(const pviommu_open_args* args, int* error) {
  return open_for_module<HostConnection>(args, error, &open_connection);
}

}  // namespace
}  // namespace pviommu::host

extern "C" __attribute__((visibility("default"))) const pviommu_module pviommu_module_entry = {
    sizeof(pviommu_module),
    PVIOMMU_MODULE_API_VERSION,
    PVIOMMU_MODULE_HOST,
    "libvirt",
    "devices and guests of a machine, by libvirt",
    &pviommu::host::open_libvirt,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};
