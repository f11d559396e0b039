// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-glue/host/keepers.h"

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>

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
  // What was said about another hypervisor says nothing about this one.
  const auto [name, said] = split_name_conf(roots.hypervisor);
  const std::string conf(name == hypervisor ? said : std::string_view());
  if (!roots.keeper)
    roots.keeper = [hypervisor, conf](Sbdf sbdf) -> Result<Keeper> {
      const pviommu_module* module = module_of(hypervisor);
      if (module == nullptr) return Keeper::host;
      auto keeper = keeper_of(*module, conf, sbdf);
      if (!keeper && keeper.error().code == EOPNOTSUPP) return Keeper::host;
      return keeper;
    };
  if (!roots.set_keeper)
    roots.set_keeper = [hypervisor, conf](Sbdf sbdf, Keeper keeper) -> Result<bool> {
      const pviommu_module* module = module_of(hypervisor);
      if (module == nullptr) return Error{EOPNOTSUPP, "set_keeper: there is no hypervisor"};
      return set_keeper(*module, conf, sbdf, keeper);
    };
}

Status leave_quarantine(const HostRoots& roots, PciAddress function, HostSteps& steps) {
  const auto sbdf = function.sbdf();
  if (!sbdf) return {};
  const std::string address = to_string(*sbdf);
  const auto asked = roots.keeper(*sbdf);
  const Keeper keeper = asked ? *asked : Keeper::unknown;
  if (keeper == Keeper::host) return {};
  if (keeper == Keeper::space || keeper == Keeper::guest)
    return Error{EBUSY, "keeper"}.with_sentence(
        address + (keeper == Keeper::space ? " is in the address space of a program; pviommu reap helps if that has ended"
                                           : " belongs to a guest, which has to end first") +
        " (pviommu doctor --device=" + address + " says more)");
  // The step is done by the hypercall that this command makes, which needs no xenstore.
  const std::string command = "xl pci-assignable-remove " + address;
  const auto moved = std::make_shared<bool>(false);
  steps.push_back({keeper == Keeper::quarantine ? command : "# if it is in Xen's quarantine: " + command,
                   [=, set = roots.set_keeper]() -> Status {
                     const auto left = set(*sbdf, Keeper::host);
                     if (left) {
                       *moved = *left;
                       return {};
                     }
                     return left.error().with_sentence("taking " + address + " out of Xen's quarantine: " +
                                                       to_string(left.error()) +
                                                       "; this needs root and /dev/xen/privcmd (modprobe xen-privcmd)");
                   },
                   [=, set = roots.set_keeper]() -> Status {
                     if (!*moved) return {};
                     PVIOMMU_TRY(set(*sbdf, Keeper::quarantine));
                     return {};
                   }});
  return {};
}

}  // namespace pviommu::host
