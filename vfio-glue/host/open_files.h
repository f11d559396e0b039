// SPDX-License-Identifier: LGPL-2.1-or-later
// Which process has a file open, by /proc/PID/fd.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

struct OpenFile {
  std::string process;           ///< its number
  std::filesystem::path link;    ///< /proc/PID/fd/N; following it reaches the file itself
  std::filesystem::path target;  ///< its name, or "socket:[N]" and the like
};

/// Calls `visit` for each open file of each process that may be looked at, until it says false.
void visit_open_files(const HostRoots& roots, const std::function<bool(const OpenFile&)>& visit);

/// "process 77 (qemu)".
std::string described_process(const HostRoots& roots, const std::string& process);

}  // namespace pviommu::host
