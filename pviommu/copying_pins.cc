// SPDX-License-Identifier: LGPL-2.1-or-later
// The source for kernels without io_uring.  Nothing holds the pages: a transfer copies by the
// program's address at the time of the transfer (process_vm_readv(), process_vm_writev()), so
// memory that is not there any more is EFAULT, and what has taken its address is reached.
#include "pviommu/copying_pins.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "hypercall/statistics.h"
#include "pviommu/locked_memory.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace pviommu {
namespace {

constexpr std::size_t kBounceBytes = std::size_t{64} << 10;

void* pointer(std::uint64_t address) { return reinterpret_cast<void*>(address); }

/// Faults the pages in as the device's access would (Linux 5.14).  EINVAL:
/// the kernel does not know the request.
int populate(HvaRange range, Access access) {
  // Any memory that can be written but not read (PROT_WRITE alone) is readable
  // to the kernel on machines that have no such right, as to VFIO.
  const int advice = allows(access, Access::write) ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  return ::madvise(pointer(range.first().raw()), range.size(), advice) == 0 ? 0 : errno;
}

/// For kernels without populate(): reads one byte of each page, and writes it back where
/// `access` says so.  Only a store that the program makes in between could be lost.
int touch(HvaRange range, Access access) {
  const pid_t self = ::getpid();
  for (std::uint64_t at = range.first().raw();; at += kPageSize) {
    std::byte byte;
    const iovec local{&byte, 1};
    const iovec remote{pointer(at), 1};
    if (::process_vm_readv(self, &local, 1, &remote, 1, 0) != 1) return errno;
    if (allows(access, Access::write) && ::process_vm_writev(self, &local, 1, &remote, 1, 0) != 1) return errno;
    if (range.last().raw() - at < kPageSize) return 0;
  }
}

class CopyingPin final : public PinnedMemory {
 public:
  explicit CopyingPin(HvaRange range) : PinnedMemory(range) {
    statistics().pinned_pages.fetch_add(pages(), std::memory_order_relaxed);
  }
  ~CopyingPin() override { statistics().pinned_pages.fetch_sub(pages(), std::memory_order_relaxed); }

  bool holds_pages() const override { return false; }
  int holder_fd() const override { return -1; }

  Status from_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) override {
    return transfer(offset, bytes, [&](std::uint64_t address, std::byte* bounce, std::size_t part) -> Status {
      PVIOMMU_TRY(whole(part, [&](std::size_t done) {
        return ::pread(fd, bounce + done, part - done, static_cast<off_t>(file_offset + done));
      }));
      const iovec local{bounce, part};
      const iovec remote{pointer(address), part};
      file_offset += part;
      return reached(::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0), part);
    });
  }

  Status to_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) override {
    return transfer(offset, bytes, [&](std::uint64_t address, std::byte* bounce, std::size_t part) -> Status {
      const iovec local{bounce, part};
      const iovec remote{pointer(address), part};
      PVIOMMU_TRY(reached(::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0), part));
      PVIOMMU_TRY(whole(part, [&](std::size_t done) {
        return ::pwrite(fd, bounce + done, part - done, static_cast<off_t>(file_offset + done));
      }));
      file_offset += part;
      return {};
    });
  }

 private:
  template <class Part>
  Status transfer(std::uint64_t offset, std::size_t bytes, Part part) {
    if (offset > range().size() || bytes > range().size() - offset)
      return Error{EFAULT, "transfer beyond the pinned memory"};
    alignas(64) std::byte small[4096];
    std::vector<std::byte> large;
    std::byte* bounce = small;
    std::size_t most = sizeof small;
    if (bytes > sizeof small) {
      large.resize(most = std::min(bytes, kBounceBytes));
      bounce = large.data();
    }
    while (bytes != 0) {
      const std::size_t now = std::min(bytes, most);
      PVIOMMU_TRY(part(range().first().raw() + offset, bounce, now));
      offset += now;
      bytes -= now;
    }
    return {};
  }
  /// Repeats a short read or write until it is whole.
  template <class Call>
  static Status whole(std::size_t bytes, Call call) {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t n = call(done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Error{errno, "transfer: file"};
      if (n == 0) return Error{EIO, "transfer: file ends"};
      done += static_cast<std::size_t>(n);
    }
    return {};
  }
  static Status reached(ssize_t n, std::size_t bytes) {
    if (n == static_cast<ssize_t>(bytes)) return {};
    // A partial count means that the address ends in the middle.
    return Error{n < 0 && errno != EFAULT ? errno : EFAULT, "transfer: memory"};
  }
};

class CopyingSource final : public FrameSource {
 public:
  std::string_view name() const override { return "copy"; }
  bool holds_pages() const override { return false; }
  Result<std::unique_ptr<PinnedMemory>> pin(HvaRange range, Access access) override {
    return make_copying_pin(range, access);
  }
  // Nothing is locked, but a program must not come to depend on that.
  Status count(std::uint64_t pages) override { return locked_.add(pages); }
  void uncount(std::uint64_t pages) noexcept override { locked_.remove(pages); }

 private:
  LockedMemory locked_;
};

}  // namespace

Result<std::unique_ptr<PinnedMemory>> make_copying_pin(HvaRange range, Access access) {
  if (range.size() == 0 || range.size() > PinnedMemory::kMaxBytes || !page_aligned(range.first().raw()) ||
      !page_aligned(range.size()))
    return Error{EINVAL, "pin"};
  int error = populate(range, access);
  if (error == EINVAL) error = touch(range, access);
  // What is not there or lacks the right is EFAULT to VFIO, also where the
  // kernel tells more (ENOMEM: a hole; EINVAL: a special mapping).
  if (error != 0) return Error{EFAULT, "pin", error};
  try {
    return std::unique_ptr<PinnedMemory>(new CopyingPin(range));
  } catch (const std::bad_alloc&) {
    return Error{ENOMEM, "pin"};
  }
}

std::unique_ptr<FrameSource> make_copying_source() { return std::make_unique<CopyingSource>(); }

}  // namespace pviommu
