// SPDX-License-Identifier: LGPL-2.1-or-later
// Which process owns a device, across processes.
//
// Backends that live in the program's process (the model) or act for it under
// their own privilege have nobody to keep two programs off one device.  A lock
// file does: one file a name, locked for as long as the owner holds it open.
// The lock is the kernel's (an open-file-description lock), so an owner that
// crashed blocks nothing; the file that stays behind means nothing.
//
// The folder, made with mode 0700 when it is missing:
//   $PVIOMMU_RUN_DIR, else /run/pviommu for root, else $XDG_RUNTIME_DIR/pviommu,
//   else /tmp/pviommu-UID
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu {

struct DeviceOwner {
  pid_t pid = 0;
  std::string comm;  ///< /proc/PID/comm when it took the device
};

/// Held from acquire() to destruction.  The descriptor is close-on-exec; a child
/// made by fork() shares the lock until it closes the descriptor or ends, as it
/// would share an open VFIO group.
class DeviceLock {
 public:
  /// `name` is a file name ("model-0000:00:05.0").  EBUSY: held, in this process or
  /// another.  EINVAL: not a file name.  EPERM: the folder is a symbolic link,
  /// somebody else's, or writable by others.
  static Result<DeviceLock> acquire(std::string_view name);
  /// The same in another folder than the common one: what is only of concern
  /// to those who know that folder.  It may be another user's, with the file in it.
  static Result<DeviceLock> acquire(std::string_view name, const std::string& folder);

  /// Who holds `name`; empty when nobody does.  Thread-safe, takes nothing.
  static Result<std::optional<DeviceOwner>> owner(std::string_view name);

  /// The common folder, made if it is missing.  EPERM as above.
  static Result<std::string> folder();

  /// Who has a copy of this descriptor holds the lock too.
  int fd() const { return fd_.get(); }

 private:
  explicit DeviceLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace pviommu
