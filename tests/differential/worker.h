// SPDX-License-Identifier: LGPL-2.1-or-later
// Executes operations with nothing but system calls: against whatever /dev/vfio is for
// this process, the kernel's or the one a front end carries.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/differential/operation.h"

namespace differential {

/// Where operations find memory.  All at fixed addresses, so that both sides see the
/// same ones.  Each arena is followed by a hole.
///
///   m0 m1  anonymous, read-write        m4  a memfd, shared, read-only
///   m2     anonymous, read-only         m5  2 pages of a memfd, mapped as 64
///   m3     a memfd, shared, read-write  m6  PROT_NONE             m7  nothing
///   b0     for bitmaps
inline constexpr std::uint64_t kArenas = 0x300000000000;
inline constexpr std::uint64_t kArenaStride = 0x1000000;
inline constexpr std::uint64_t kArenaBytes = 64 * 4096;
/// Where structures and data are, with a hole behind.
inline constexpr std::uint64_t kBuffer = kArenas + 17 * kArenaStride;
inline constexpr std::uint64_t kBufferBytes = 4 * 4096;
inline constexpr std::uint8_t kFill = 0xa5;  ///< of what is not given

class Worker {
 public:
  Worker();
  /// One line: the value, the errno's name, what was written where.
  std::string execute(const Operation& operation);
  /// Gives everything back, as the end of a program would.
  void finish();

 private:
  using Bytes = std::vector<std::uint8_t>;
  struct Answer {
    long value = 0;
    int error = 0;
    std::string more;
  };
  struct Mapping {
    std::uint64_t bytes = 0;
  };

  Answer run(const Operation& operation);
  Answer run_object(const Operation& operation);
  Answer run_container(const Operation& operation);
  Answer run_device(const Operation& operation);
  Answer access(const Operation& operation, bool write);
  Answer map_region(const Operation& operation);
  Answer set_irqs(const Operation& operation);
  Answer hot_reset(const Operation& operation);
  Answer wait(const Operation& operation);
  Answer raise(const Operation& operation);

  int slot(const std::string& name) const;
  Answer put(const std::string& name, long fd, bool eventfd = false);
  std::uint64_t address(const std::string& text) const;
  /// ioctl with a structure that begins with `bytes`, placed as at= says.
  Answer call(const Operation& operation, unsigned long request, const Bytes& bytes);
  void normalise(int device);

  std::map<std::string, int> slots_;
  std::set<std::string> eventfds_;  ///< slots of which the contents are a count
  std::map<std::string, Mapping> mappings_;
  bool watched_ = false;  ///< somebody waits for an eventfd: the device's side, on the program's behalf
  std::vector<std::string> order_;  ///< slots as they were filled
};

/// The loop of --worker: sequences on stdin, answers on stdout.
int serve();

}  // namespace differential
