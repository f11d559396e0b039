// SPDX-License-Identifier: LGPL-2.1-or-later
// A process may end while it is looked at, and others may not be looked at: both have no files.
#include "vfio-glue/host/open_files.h"

#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {

namespace fs = std::filesystem;

void visit_open_files(const HostRoots& roots, const std::function<bool(const OpenFile&)>& visit) {
  for (const std::string& process : names_in(roots.proc)) {
    if (process.find_first_not_of("0123456789") != process.npos) continue;
    const fs::path folder = fs::path(roots.proc) / process / "fd";
    for (const std::string& fd : names_in(folder)) {
      std::error_code error;
      const OpenFile file{process, folder / fd, fs::read_symlink(folder / fd, error)};
      if (!error && !visit(file)) return;
    }
  }
}

std::string described_process(const HostRoots& roots, const std::string& process) {
  return "process " + process + " (" + first_line_of(fs::path(roots.proc) / process / "comm") + ")";
}

}  // namespace pviommu::host
