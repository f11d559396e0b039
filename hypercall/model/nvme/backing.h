// SPDX-License-Identifier: LGPL-2.1-or-later
// What an NVMe namespace keeps its blocks in: a file, or anonymous memory.
#pragma once

#include <cstdint>
#include <string>

#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu::model::nvme {

class Backing {
 public:
  Backing() = default;

  /// Opens `path` as it is.  An error's sentence names the path and what would help.
  static Result<Backing> open_file(const std::string& path, bool read_only, unsigned lba_bytes);
  /// `bytes` of zeroed memory.  An error's sentence names the size.
  static Result<Backing> memory(std::uint64_t bytes, bool read_only, unsigned lba_bytes);

  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  std::uint64_t bytes() const { return bytes_; }
  bool read_only() const { return read_only_; }
  /// deallocate() works, and what it freed reads as zeroes.
  bool can_deallocate() const { return can_deallocate_; }

  /// Waits until all that was written is on stable storage; memory needs no waiting.
  Status sync();
  /// Frees the storage of a range, or does nothing when it cannot.
  Status deallocate(std::uint64_t offset, std::uint64_t bytes);
  /// Makes a range read as zeroes; `deallocate` allows to free its storage.
  Status zero(std::uint64_t offset, std::uint64_t bytes, bool deallocate);

 private:
  UniqueFd fd_;
  std::uint64_t bytes_ = 0;
  bool read_only_ = false;
  bool persistent_ = false;
  bool can_deallocate_ = false;
};

}  // namespace pviommu::model::nvme
