// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu reap: what programs that died still hold of the hypervisor is put back.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "hypercall/backend.h"
#include "vfio-glue/command/command.h"

namespace pviommu::command {

int reap(const ReapOptions& options) {
  const auto [name, conf] = split_name_conf(options.engine.hypervisor);
  OpenFailure failure;
  const pviommu_module* module = find_module(name, PVIOMMU_MODULE_HYPERVISOR, failure);
  if (module == nullptr) {
    complain(failure.message);
    return kBadInput;
  }
  const auto text = pviommu::reap(*module, conf, options.dry_run);
  if (!text && text.error().code == EOPNOTSUPP) {
    // Its state is in the program's process and went with it.
    std::puts(options.json ? "[]" : "nothing to be done");
    return 0;
  }
  if (!text) {
    complain(std::string(name) + ": " + to_string(text.error()) + "; pviommu doctor says more");
    return kFailed;
  }
  const auto list = nlohmann::json::parse(*text, nullptr, false);
  if (!list.is_array()) {
    complain(std::string(name) + ": its answer cannot be read");
    return kFailed;
  }
  if (options.json) std::puts(list.dump(2).c_str());
  if (list.empty() && !options.json) std::puts("nothing to be done");
  bool clean = true;
  for (const auto& item : list) {
    const std::string state = item.value("state", "");
    clean &= state == "put back";
    if (!options.json) std::printf("%-9s %s\n", state.c_str(), item.value("what", "").c_str());
  }
  return clean ? 0 : kFailed;
}

}  // namespace pviommu::command
