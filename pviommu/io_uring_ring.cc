// SPDX-License-Identifier: LGPL-2.1-or-later
// How a transfer avoids the kernel's worker threads.
//
// io_uring tries a request without blocking first and hands it to a worker
// thread if the file cannot do that: tmpfs (memfd) never can, ext4 cannot for
// buffered writes.  A worker costs about 3 us, several times the copy.  A pipe
// always can.  So a request is tried with RWF_NOWAIT, and a file that refuses
// is served through a pipe of our own:
//
//   to_file     pinned pages --WRITE_FIXED--> pipe --read--> bounce --pwrite--> file
//   from_file   file --splice--> pipe --READ_FIXED--> pinned pages
//
// Which descriptors refuse is remembered by number, as a hint only: when it is
// wrong the transfer is slower, not different.
#include "pviommu/io_uring_ring.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace pviommu {
namespace {

constexpr std::size_t kStageBytes = std::size_t{64} << 10;  ///< what a new pipe takes
constexpr std::size_t kMostBytes = std::size_t{1} << 30;    ///< one request

class NowaitHints {
 public:
  /// True when the descriptor refused lately.
  bool refused(bool writing, int fd) {
    auto& hint = at(writing, fd);
    const std::uint8_t left = hint.load(std::memory_order_relaxed);
    if (left == 0) return false;
    hint.store(left - 1, std::memory_order_relaxed);  // it may be another file by now
    return true;
  }
  void set_refused(bool writing, int fd) { at(writing, fd).store(255, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint8_t>& at(bool writing, int fd) {
    return hints_[static_cast<unsigned>(fd) % 512 * 2 + (writing ? 1 : 0)];
  }
  std::array<std::atomic<std::uint8_t>, 1024> hints_{};
};
constinit NowaitHints hints;

}  // namespace

Result<std::unique_ptr<PinRing>> PinRing::create() {
  std::unique_ptr<PinRing> ring;
  try {
    ring.reset(new PinRing);
    ring->free_slots_.reserve(kSlots);
  } catch (const std::bad_alloc&) {
    return Error{ENOMEM, "io_uring"};
  }
  // One request at a time; the completion queue is twice as long.
  io_uring_params params{};
  int rc = ::io_uring_queue_init_params(2, &ring->uring_, &params);
  if (rc < 0) return Error{-rc, "io_uring_setup"};
  ring->fd_.reset(ring->uring_.ring_fd);
  ::io_uring_ring_dontfork(&ring->uring_);
  rc = ::io_uring_register_buffers_sparse(&ring->uring_, kSlots);
  if (rc < 0) return Error{-rc, "io_uring_register: sparse buffers"};
  for (unsigned slot = kSlots; slot-- > 0;) ring->free_slots_.push_back(static_cast<std::uint16_t>(slot));
  return ring;
}

PinRing::~PinRing() {
  if (!fd_) return;  // not made, or the parent's
  fd_.release();  // closed by liburing
  ::io_uring_queue_exit(&uring_);
}

unsigned PinRing::take_slot() {
  const unsigned slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void PinRing::give_slot(unsigned slot) { free_slots_.push_back(static_cast<std::uint16_t>(slot)); }

Status PinRing::fill(unsigned slot, HvaRange range) {
  const iovec buffer{reinterpret_cast<void*>(range.first().raw()), range.size()};
  int rc;
  do {
    rc = ::io_uring_register_buffers_update_tag(&uring_, slot, &buffer, nullptr, 1);
  } while (rc == -EINTR);
  if (rc == 1) return {};
  // The kernel says EOPNOTSUPP for some file mappings and EOVERFLOW for the top
  // of the address space; VFIO knows EFAULT.
  return Error{rc == -ENOMEM ? ENOMEM : EFAULT, "io_uring: pin", rc};
}

void PinRing::empty(unsigned slot) {
  if (!fd_) return;
  const iovec nothing{nullptr, 0};
  while (::io_uring_register_buffers_update_tag(&uring_, slot, &nothing, nullptr, 1) == -EINTR) {
  }
}

void PinRing::abandon() {
  dead_.store(true, std::memory_order_release);
  fd_.reset();
  pipe_read_.reset();
  pipe_write_.reset();
}

long PinRing::run(Direction direction, unsigned slot, int fd, std::uint64_t file_offset, std::uint64_t address,
                  std::size_t bytes, int flags) {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&uring_);
  if (sqe == nullptr) return -EBUSY;
  auto* memory = reinterpret_cast<void*>(address);
  const auto length = static_cast<unsigned>(bytes);
  if (direction == Direction::to_file)
    ::io_uring_prep_write_fixed(sqe, fd, memory, length, file_offset, static_cast<int>(slot));
  else
    ::io_uring_prep_read_fixed(sqe, fd, memory, length, file_offset, static_cast<int>(slot));
  sqe->rw_flags = flags;
  int rc;
  do {
    rc = ::io_uring_submit_and_wait(&uring_, 1);
  } while (rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
  if (rc < 0) {
    // The request is still in the queue, so no later completion could be trusted.
    dead_.store(true, std::memory_order_release);
    return rc;
  }
  io_uring_cqe* cqe = nullptr;
  while ((rc = ::io_uring_wait_cqe(&uring_, &cqe)) == -EINTR) {
  }
  if (rc < 0) {
    dead_.store(true, std::memory_order_release);
    return rc;
  }
  const long result = cqe->res;
  ::io_uring_cqe_seen(&uring_, cqe);
  return result;
}

Status PinRing::transfer(Direction direction, unsigned slot, int fd, std::uint64_t file_offset,
                         std::uint64_t address, std::size_t bytes) {
  if (fd < 0) return Error{EBADF, "transfer"};
  if (!usable()) return Error{EFAULT, "transfer: ring is gone"};
  const std::lock_guard guard(lock_);
  const bool writing = direction == Direction::to_file;
  while (bytes != 0) {
    std::size_t done = 0;
    if (!hints.refused(writing, fd)) {
      const long n = run(direction, slot, fd, file_offset, address, std::min(bytes, kMostBytes), RWF_NOWAIT);
      if (n == 0) return Error{EIO, "transfer: file ends"};
      if (n < 0 && n != -EAGAIN && n != -EOPNOTSUPP && n != -EINTR)
        return Error{static_cast<int>(-n), "transfer", n};
      if (n == -EOPNOTSUPP) hints.set_refused(writing, fd);
      done = n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    if (done == 0) {
      auto staged_bytes = staged(direction, slot, fd, file_offset, address, std::min(bytes, kStageBytes));
      if (!staged_bytes) {
        // Whatever is left in the pipe must not be taken for the next transfer.
        pipe_read_.reset();
        pipe_write_.reset();
        return staged_bytes.error();
      }
      done = *staged_bytes;
    }
    file_offset += done;
    address += done;
    bytes -= done;
  }
  return {};
}

Status PinRing::open_stage() {
  if (!pipe_read_) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return Error{errno, "transfer: pipe"};
    pipe_read_.reset(ends[0]);
    pipe_write_.reset(ends[1]);
  }
  if (!bounce_) bounce_.reset(new (std::nothrow) std::byte[kStageBytes]);
  if (!bounce_) return Error{ENOMEM, "transfer"};
  return {};
}

Result<std::size_t> PinRing::staged(Direction direction, unsigned slot, int fd, std::uint64_t file_offset,
                                    std::uint64_t address, std::size_t bytes) {
  PVIOMMU_TRY(open_stage());
  constexpr auto kNoOffset = ~std::uint64_t{0};
  if (direction == Direction::from_file) {
    const std::size_t ready = PVIOMMU_TRY(fill_pipe(fd, file_offset, bytes));
    for (std::size_t done = 0; done < ready;) {
      const long n = run(direction, slot, pipe_read_.get(), kNoOffset, address + done, ready - done, 0);
      if (n <= 0) return Error{n < 0 ? static_cast<int>(-n) : EIO, "transfer", n};
      done += static_cast<std::size_t>(n);
    }
    return ready;
  }

  const long out = run(direction, slot, pipe_write_.get(), kNoOffset, address, bytes, 0);
  if (out <= 0) return Error{out < 0 ? static_cast<int>(-out) : EIO, "transfer", out};
  const auto ready = static_cast<std::size_t>(out);
  for (std::size_t got = 0; got < ready;) {
    const ssize_t n = ::read(pipe_read_.get(), bounce_.get() + got, ready - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{n < 0 ? errno : EIO, "transfer: pipe"};
    got += static_cast<std::size_t>(n);
  }
  for (std::size_t done = 0; done < ready;) {
    ssize_t n = ::pwrite(fd, bounce_.get() + done, ready - done, static_cast<off_t>(file_offset + done));
    if (n < 0 && errno == ESPIPE) n = ::write(fd, bounce_.get() + done, ready - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{n < 0 ? errno : EIO, "transfer: file"};
    done += static_cast<std::size_t>(n);
  }
  return ready;
}

/// Moves bytes of the file into the pipe, which is empty; returns how many.
Result<std::size_t> PinRing::fill_pipe(int fd, std::uint64_t file_offset, std::size_t bytes) {
  auto offset = static_cast<off64_t>(file_offset);
  ssize_t n;
  do {
    n = ::splice(fd, &offset, pipe_write_.get(), nullptr, bytes, 0);
    if (n < 0 && errno == ESPIPE) n = ::splice(fd, nullptr, pipe_write_.get(), nullptr, bytes, 0);
  } while (n < 0 && errno == EINTR);
  if (n > 0) return static_cast<std::size_t>(n);
  if (n == 0) return Error{EIO, "transfer: file ends"};
  if (errno != EINVAL) return Error{errno, "transfer: file"};

  // This file cannot be spliced from.
  do {
    n = ::pread(fd, bounce_.get(), bytes, static_cast<off_t>(file_offset));
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return Error{n < 0 ? errno : EIO, "transfer: file"};
  const auto ready = static_cast<std::size_t>(n);
  for (std::size_t done = 0; done < ready;) {
    n = ::write(pipe_write_.get(), bounce_.get() + done, ready - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{n < 0 ? errno : EIO, "transfer: pipe"};
    done += static_cast<std::size_t>(n);
  }
  return ready;
}

}  // namespace pviommu
