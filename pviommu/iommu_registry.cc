// SPDX-License-Identifier: LGPL-2.1-or-later
// Choosing an IOMMU driver by NAME:CONF.
#include <cerrno>
#include <cstdio>

#include "hypercall/hypervisor.h"
#include "hypercall/module.h"
#include "pviommu/hypercall_iommu.h"
#include "pviommu/iommu_driver.h"

namespace pviommu {

namespace {

void* open_hypercall_iommu(const pviommu_open_args* args, int* error) {
  auto& hypervisor = *static_cast<Hypervisor*>(args->hypervisor);
  if (*args->conf == 0) return make_hypercall_iommu(hypervisor.spaces(), hypervisor.capabilities()).release();
  std::snprintf(args->message, args->message_size, "it takes no configuration, but was given \"%s\"",
                args->conf);
  *error = EINVAL;
  return nullptr;
}

const pviommu_module kEntry = {sizeof(pviommu_module),
                               PVIOMMU_MODULE_API_VERSION,
                               PVIOMMU_MODULE_IOMMU_DRIVER,
                               "hypercall",
                               "every mapping is a hypercall to the hypervisor (the default)",
                               &open_hypercall_iommu,
                               nullptr,
                               nullptr,
                               nullptr,
                               nullptr};

const bool registered = (register_builtin_module(&kEntry), true);

}  // namespace

Result<std::unique_ptr<IommuDriver>> open_iommu_driver(std::string_view name_conf, Hypervisor& hypervisor) {
  const auto [name, conf] = split_name_conf(name_conf.empty() ? "hypercall" : name_conf);
  const pviommu_module* entry = PVIOMMU_TRY(find_module(name, PVIOMMU_MODULE_IOMMU_DRIVER));
  void* instance = PVIOMMU_TRY(open_instance(*entry, conf, &hypervisor));
  return std::unique_ptr<IommuDriver>(static_cast<IommuDriver*>(instance));
}

}  // namespace pviommu
