// SPDX-License-Identifier: LGPL-2.1-or-later
// One io_uring with a table of registered buffers, and transfers on them.
//
//   table   slot 0 | slot 1 | ... | slot 1023      a filled slot holds its pages
//   transfer   file <--READ_FIXED, WRITE_FIXED--> pages of one slot
#pragma once

#include <liburing.h>

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu {

/// Thread-safe, except that the pool serialises take_slot(), give_slot() and has_room().
class PinRing : public boost::intrusive::list_base_hook<> {
 public:
  static constexpr unsigned kSlots = 1024;

  /// ENOSYS and other errors as the kernel says them.
  static Result<std::unique_ptr<PinRing>> create();
  ~PinRing();
  PinRing(const PinRing&) = delete;
  PinRing& operator=(const PinRing&) = delete;

  /// False after abandon(), or when a request was lost: the ring takes no further pins.
  bool usable() const { return !dead_.load(std::memory_order_acquire); }
  int fd() const { return fd_.get(); }
  bool has_room() const { return !free_slots_.empty(); }
  unsigned take_slot();
  void give_slot(unsigned slot);

  /// Pins `range` in the slot, which is empty.  EFAULT: the kernel does not pin this memory.
  /// ENOMEM: RLIMIT_MEMLOCK, or no memory is left.
  Status fill(unsigned slot, HvaRange range);
  /// Unpins what is in the slot; a transfer under way keeps the pages until it is done.
  void empty(unsigned slot);

  enum class Direction { from_file, to_file };
  /// Moves `bytes` between the file, from `file_offset` on, and the memory at `address`,
  /// which lies in the slot's range.  EIO: the file ends; others: the file's own errors.
  Status transfer(Direction direction, unsigned slot, int fd, std::uint64_t file_offset, std::uint64_t address,
                  std::size_t bytes);

  /// For the child of a fork: gives the descriptors up.  Every later call fails.
  void abandon();

 private:
  PinRing() = default;
  /// One READ_FIXED or WRITE_FIXED; bytes done or a negative errno.
  long run(Direction direction, unsigned slot, int fd, std::uint64_t file_offset, std::uint64_t address,
           std::size_t bytes, int flags);
  /// Through the pipe, at most kStageBytes; bytes done.
  Result<std::size_t> staged(Direction direction, unsigned slot, int fd, std::uint64_t file_offset,
                             std::uint64_t address, std::size_t bytes);
  Result<std::size_t> fill_pipe(int fd, std::uint64_t file_offset, std::size_t bytes);
  Status open_stage();

  io_uring uring_{};
  UniqueFd fd_;
  std::atomic<bool> dead_{false};
  std::vector<std::uint16_t> free_slots_;

  std::mutex lock_;  ///< one request at a time; guards all below
  UniqueFd pipe_read_;
  UniqueFd pipe_write_;
  std::unique_ptr<std::byte[]> bounce_;
};

}  // namespace pviommu
