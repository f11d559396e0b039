// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel's VFIO, as this process calls it.
//
// An interface so that tests can stand in for a kernel, and make each call fail.
// The real one goes to the kernel by syscall(): the functions of the C library
// are wrapped by the preload front end, which would take these calls for the
// program's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu::spapr {

/// Thread-safe.  Errors carry the kernel's errno.
class VfioCalls {
 public:
  VfioCalls() = default;
  VfioCalls(const VfioCalls&) = delete;
  VfioCalls& operator=(const VfioCalls&) = delete;
  virtual ~VfioCalls() = default;

  virtual Result<UniqueFd> open(const std::string& path) = 0;
  /// `argument` by value or a pointer, as the request has it; answers what the
  /// kernel did (>= 0).
  virtual Result<int> ioctl(int fd, unsigned long request, std::uintptr_t argument) = 0;
  /// All of `bytes`, else EIO.
  virtual Status read(int fd, std::span<std::byte> bytes, std::uint64_t offset) = 0;
  virtual Status write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) = 0;

  template <class Argument>
  Result<int> ioctl(int fd, unsigned long request, Argument* argument) {
    return ioctl(fd, request, reinterpret_cast<std::uintptr_t>(argument));
  }
};

std::unique_ptr<VfioCalls> make_kernel_vfio_calls();

}  // namespace pviommu::spapr
