// SPDX-License-Identifier: LGPL-2.1-or-later
// The folder of one `pviommu run`, gone with the last process of the run.
//
//   RUN/alive         locked as long as any process of the run lives
//   RUN/sys/          the device tree (sysfs_view.h), unless --sysfs
//   RUN/group-N       locks: which process of the run has the group open; there from the
//                     beginning, as the process may be another user's
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
  /// Removes the folder; when processes of the run go on, another process does that after the
  /// last of them.
  ~RunFolder();

  /// Makes the folder, and removes those of this user whose run was killed
  /// before it could remove its own.
  Status make();
  const std::string& path() const { return path_; }
  /// The descriptor that programs inherit, and with it the lock.
  int alive() const { return alive_; }
  /// Makes a file for a lock that processes of any user can take.
  Status add_lock(const std::string& name);
  /// Another tree that goes with the folder.
  void also_remove(const std::string& tree) { extra_tree_ = tree; }
  /// From now on a process of its own removes the folder, after the last process of the run;
  /// it is nobody's child, and this process can become the program.
  void leave();

 private:
  void remove() const;
  [[noreturn]] void wait_and_remove(int fd) const;

  int alive_ = -1;
  std::string path_;
  std::string extra_tree_;
};

}  // namespace pviommu::command
