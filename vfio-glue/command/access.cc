// SPDX-License-Identifier: LGPL-2.1-or-later
// What more than one subcommand opens: the hypervisor, the preload front end's file.
#include <cstdlib>

#include "hypercall/backend.h"
#include "vfio-glue/command/command.h"

namespace pviommu::command {

std::string preload_library() {
  if (const char* path = std::getenv("PVIOMMU_PRELOAD"); path != nullptr && *path != '\0') return path;
  return PVIOMMU_MODULE_DIR "/libpviommu-preload.so";
}

std::unique_ptr<Hypervisor> open(const vfio::EngineConfig& config) {
  if (config.hypervisor.empty()) {
    complain("--hypervisor has no value; pviommu info lists the names there are");
    return nullptr;
  }
  auto opened = open_hypervisor(config.hypervisor);
  if (opened) return std::move(*opened);
  complain(to_string(opened.error()));
  return nullptr;
}

}  // namespace pviommu::command
