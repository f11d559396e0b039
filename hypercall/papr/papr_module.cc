// SPDX-License-Identifier: LGPL-2.1-or-later
// The module "papr": CONF -> one of the two ways.
#include <unistd.h>

#include <algorithm>

#include "hypercall/backend.h"
#include "hypercall/papr/kernel/pviommu_papr.h"
#include "hypercall/papr/module/open.h"
#include "hypercall/papr/vfio/doctor.h"
#include "hypercall/papr/papr_conf.h"
#include "hypercall/papr/vfio/spapr_hypervisor.h"

namespace pviommu::spapr {
namespace {

/// Somebody gave a device to vfio-pci: that is the way meant.
bool vfio_has_devices() {
  const auto devices = list_platform_devices();
  return devices && std::ranges::any_of(*devices, [](const auto& device) { return device.info.driver == "vfio-pci"; });
}

Result<std::unique_ptr<Hypervisor>> open_choice(std::string_view conf) {
  const Choice choice = PVIOMMU_TRY(parse_conf_text(conf));
  if (choice.via == "module" || (choice.via == "auto" && ::access(PVIOMMU_PAPR_DEVICE, F_OK) == 0 && !vfio_has_devices())) {
    if (choice.window.size != 0)
      return Error{EINVAL, "papr"}.with_sentence("papr:" + std::string(conf) + ": window= and page= are for via=vfio: the module has the windows that there are");
    return papr::open_over_module("");
  }
  auto opened = PVIOMMU_TRY(SpaprHypervisor::open({choice.container, choice.window, "/sys", "/proc/self/pagemap"}, make_kernel_vfio_calls()));
  return std::unique_ptr<Hypervisor>(std::move(opened));
}

void* open_papr(const pviommu_open_args* args, int* error) {
  return open_for_module<Hypervisor>(args, error, &open_choice);
}

}  // namespace
}  // namespace pviommu::spapr

extern "C" __attribute__((visibility("default"))) const pviommu_module pviommu_module_entry = {
    sizeof(pviommu_module),
    PVIOMMU_MODULE_API_VERSION,
    PVIOMMU_MODULE_HYPERVISOR,
    "papr",
    "a Power LPAR: the kernel's VFIO sPAPR v2, or the module pviommu_papr",
    &pviommu::spapr::open_papr,
    &pviommu::spapr::diagnose,
    nullptr,  // nothing survives a program: kernels clean up
    nullptr,  // nor is a device set aside
    nullptr,
};
