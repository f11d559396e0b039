// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu reap: what programs that died still hold of the hypervisor is put back.
#include <cerrno>
#include <cstdio>

#include "hypercall/backend.h"
#include "vfio-glue/command/command.h"
#include "vfio-glue/command/json.h"

namespace pviommu::command {

int reap(const ReapOptions& options) {
  const auto [name, conf] = split_name_conf(options.engine.hypervisor);
  const auto module = find_module(name, PVIOMMU_MODULE_HYPERVISOR);
  if (!module) {
    complain(to_string(module.error()));
    return kBadInput;
  }
  std::vector<Reaped> rows;
  const Status reaped = pviommu::reap(**module, conf, options.dry_run, rows);
  // Without a reaper its state is in the program's process and went with it.
  const bool failed = !reaped && reaped.error().code != EOPNOTSUPP;
  bool clean = !failed;
  Json array = Json::array();
  for (const Reaped& row : rows) {
    clean &= row.state == ReapedState::put_back;
    if (options.json)
      array.push_back({{"state", to_string(row.state)}, {"what", row.what}});
    else
      std::printf("%-9s %s\n", to_string(row.state), row.what.c_str());
  }
  if (options.json)
    std::puts(array.text().c_str());
  else if (rows.empty() && !failed)
    std::puts("nothing to be done");
  // Behind the rows: what was put back before the error is not found again.
  if (failed) complain(std::string(name) + ": " + to_string(reaped.error()) + "; pviommu doctor says more");
  return clean ? 0 : kFailed;
}

}  // namespace pviommu::command
