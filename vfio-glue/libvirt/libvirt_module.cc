// SPDX-License-Identifier: LGPL-2.1-or-later
// The module "libvirt": a URI -> devices and guests.
#include <cstdio>
#include <exception>
#include <new>

#include "hypercall/module.h"
#include "vfio-glue/host_connection.h"
#include "vfio-glue/libvirt/domains.h"
#include "vfio-glue/libvirt/node_devices.h"

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

void* open_libvirt(const pviommu_open_args* args, int* error) {
  std::string message;
  try {
    auto connection = connect(args->conf, message);
    if (connection) return static_cast<HostConnection*>(new LibvirtConnection(*connection));
    *error = connection.error().code;
  } catch (const std::bad_alloc&) {
    *error = ENOMEM;
  } catch (const std::exception& exception) {
    *error = EIO;
    message = exception.what();
  }
  if (args->message_size != 0) std::snprintf(args->message, args->message_size, "%s", message.c_str());
  return nullptr;
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
};
