// SPDX-License-Identifier: LGPL-2.1-or-later
// An owned file descriptor, known to be ours.
//
// The library lives inside other people's processes, and programs close
// descriptors they do not know (daemonising, close_range).  Every UniqueFd is
// therefore entered in a table that the preload front end asks before it lets
// the program close a number.  Closing goes to the kernel directly, not
// through the front end's own close().
#pragma once

#include <utility>

namespace pviommu {

/// True when `fd` is held by some UniqueFd of this process.  Lock-free.
bool is_internal_fd(int fd);
/// The lowest such descriptor that is not below `from`; -1: there is none.
int next_internal_fd(int from);

class UniqueFd {
 public:
  UniqueFd() = default;
  /// Takes ownership of `fd`; a negative number makes an empty one.
  explicit UniqueFd(int fd) { reset(fd); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Gives the number up; it is no longer internal.
  int release();
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

}  // namespace pviommu
