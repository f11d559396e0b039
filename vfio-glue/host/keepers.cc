// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-glue/host/keepers.h"

#include <cerrno>

#include "hypercall/backend.h"
#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {
namespace {

/// Null: there is none.
const pviommu_module* module_of(const std::string& hypervisor) {
  if (hypervisor.empty()) return nullptr;
  const auto module = find_module(hypervisor, PVIOMMU_MODULE_HYPERVISOR);
  return module ? *module : nullptr;
}

}  // namespace

void add_keepers(HostRoots& roots) {
  const std::string hypervisor = first_line_of(roots.sysfs + "/hypervisor/type");
  if (!roots.keeper)
    roots.keeper = [hypervisor](Sbdf sbdf) -> Result<Keeper> {
      const pviommu_module* module = module_of(hypervisor);
      if (module == nullptr) return Keeper::host;
      auto keeper = keeper_of(*module, sbdf);
      if (!keeper && keeper.error().code == EOPNOTSUPP) return Keeper::host;
      return keeper;
    };
  if (!roots.set_keeper)
    roots.set_keeper = [hypervisor](Sbdf sbdf, Keeper keeper) -> Result<bool> {
      const pviommu_module* module = module_of(hypervisor);
      if (module == nullptr) return Error{EOPNOTSUPP, "set_keeper: there is no hypervisor"};
      return set_keeper(*module, sbdf, keeper);
    };
}

}  // namespace pviommu::host
