// SPDX-License-Identifier: LGPL-2.1-or-later
// The folder of one `pviommu run`, gone when the run is.
//
//   RUN/alive         locked as long as any process of the run lives
//   RUN/sys/          the device tree (sysfs_view.h), unless --sysfs
//   RUN/group-N       locks: which process of the run has the group open
//   RUN/statistics    hypercall/statistics.h's block, shared with the program;
//                     survives it, however it ends
#pragma once

#include <string>

#include "hypercall/result.h"

namespace pviommu::command {

class RunFolder {
 public:
  RunFolder() = default;
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();

  /// Makes the folder, and removes those of this user whose run was killed
  /// before it could remove its own.
  Status make();
  const std::string& path() const { return path_; }
  /// Another tree that goes with the folder.
  void also_remove(const std::string& tree) { extra_tree_ = tree; }

 private:
  std::string path_;
  std::string extra_tree_;
};

}  // namespace pviommu::command
