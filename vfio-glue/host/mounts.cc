// SPDX-License-Identifier: LGPL-2.1-or-later
// What is mounted for all to see is in the namespace of process 1, whatever ours is.
#include "vfio-glue/host/mounts.h"

#include <sstream>

#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string block_name(const std::string& source) {
  if (!source.starts_with("/dev/")) return {};
  const std::filesystem::path real = resolved(source);
  return (real.empty() ? std::filesystem::path(source) : real).filename();
}

/// proc(5): 36 35 98:0 /root /point options [optional...] - type source options
Result<std::vector<Mount>> read_mounts(const HostRoots& roots) {
  std::vector<Mount> out;
  for (const char* process : {"self", "1"}) {
    std::ifstream in(roots.proc + '/' + process + "/mountinfo");
    if (!in && process == std::string_view("self")) return Error{errno, "read mountinfo"};
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string skip;
      Mount mount;
      words >> skip >> skip >> mount.number >> skip >> mount.point;
      while (words >> skip && skip != "-") {
      }
      words >> mount.type >> mount.source >> mount.options;
      mount.point = unescaped(mount.point);
      mount.source = unescaped(mount.source);
      out.push_back(std::move(mount));
    }
  }
  return out;
}

}  // namespace pviommu::host
