// SPDX-License-Identifier: LGPL-2.1-or-later
// Keeps programs off an image that another one writes.
//
// The locks are those that QEMU has on its images: read locks of an open file description on
// single bytes, which say what its owner does to the image and what it bears of others.
//
//   100 + n   somebody does n          n: 0 reads, 1 writes, 3 changes the size
//   200 + n   somebody bears no other that does n
//
// They belong to the file, not to its name or to a user, and end with the descriptor.
#pragma once

#include <string>
#include <utility>

#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu::model {

/// Held from acquire() to destruction.
class ImageLock {
 public:
  /// Locks the image at `path` for a writer, or for a reader (`read_only`) that bears no writer.
  /// EBUSY: another program's use of it excludes ours, or ours it.  ENOENT and others: it cannot be
  /// opened.  On a file system that has no such locks nothing is locked.  The error's sentence names
  /// the path.
  static Result<ImageLock> acquire(const std::string& path, bool read_only);

 private:
  explicit ImageLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace pviommu::model
