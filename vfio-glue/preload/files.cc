// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that take a descriptor.
//
// Each one looks into the table first: a descriptor that is not ours costs one
// load more than without us.  Paths are in paths.cc.
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>

#include "pviommu/locked_memory.h"
#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/run_member.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

/// A VFIO file for the time of one call; empty: `fd` is none of ours.
class FoundFile {
 public:
  explicit FoundFile(int fd, Cancellation cancellation = Cancellation::off)
      : call_(fd_table.contains(fd), cancellation), file_(fd_table.find(fd)) {}
  explicit operator bool() const { return static_cast<bool>(file_); }
  OpenFile* operator->() const { return &*file_; }
  OpenFile& operator*() const { return *file_; }
  const OpenFileRef& reference() const { return file_; }

 private:
  CallScope call_;    // ends when nothing is held any more
  OpenFileRef file_;
};

FoundFile find(int fd) { return FoundFile(fd); }

/// The same in functions that are cancellation points (pthreads(7)); the real ones are it themselves.
FoundFile find_or_be_cancelled(int fd) {
  if (fd_table.contains(fd)) ::pthread_testcancel();
  return FoundFile(fd);
}

// What the kernel does for every file before it asks the driver (do_vfs_ioctl()), and the
// stand-in answers as a device node does.
bool is_ioctl_of_every_file(std::uint32_t request) {
  return request == FIOCLEX || request == FIONCLEX || request == FIONBIO || request == FIOASYNC ||
         request == FIGETBSZ || request == FIFREEZE || request == FITHAW || request == FS_IOC_FIEMAP;
}

// readv() and writev(): one call a segment, as the kernel does for a file
// without an iterator; stops at the first short one.
template <class Transfer>
ssize_t each_segment(const OpenFile& file, const iovec* segments, int count, Transfer&& transfer) {
  // Only devices have something to read, which is looked at before the segments are.
  if (!file.has_content() || count < 0 || count > IOV_MAX) return -EINVAL;
  ssize_t total = 0;
  for (int i = 0; i < count; ++i) {
    iovec segment;
    if (!front_end().copy_in(&segment, reinterpret_cast<std::uintptr_t>(segments + i), sizeof segment))
      return total > 0 ? total : -EFAULT;
    if (segment.iov_len == 0) continue;
    const ssize_t done = transfer(segment, total);
    if (done < 0) return total > 0 ? total : done;
    total += done;
    if (static_cast<size_t>(done) < segment.iov_len) break;
  }
  return total;
}

// Files that cannot be read at all say so first (vfs_readv()).
long vectors_refused(int fd) {
  const FoundFile file = find(fd);
  return file && file->has_content() ? -EOPNOTSUPP : -EINVAL;
}

int close_or_hide(int fd) { return static_cast<int>(returned(front_end().close(fd))); }

int fcntl_common(int fd, int command, void* argument) {
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
    return static_cast<int>(returned(
        front_end().dup_above(fd, command, static_cast<int>(reinterpret_cast<std::intptr_t>(argument)))));
  if ((command == F_GET_SEALS || command == F_ADD_SEALS) && fd_table.contains(fd))
    return static_cast<int>(returned(-EINVAL));  // the stand-in's are no business of the program
  const int result = real().fcntl(fd, command, argument);
  if (command != F_GETFL || result < 0) return result;
  const FoundFile file = find(fd);
  if (!file) return result;
  // The stand-in is a memfd, always O_RDWR.  A device descriptor is an anonymous
  // inode and has no O_LARGEFILE, which fcntl.h defines as 0 here (asm-generic/fcntl.h,
  // and Power's own asm/fcntl.h).
#ifdef __powerpc__
  constexpr int kKernelLargeFile = 0200000;
#else
  constexpr int kKernelLargeFile = 0100000;
#endif
  const int flags = (result & ~O_ACCMODE) | file->access_mode();
  return file->has_node() ? flags | kKernelLargeFile : flags & ~kKernelLargeFile;
}

void* mmap_common(void* address, size_t bytes, int prot, int flags, int fd, off_t offset) {
  if ((flags & MAP_ANONYMOUS) == 0) {
    if (const FoundFile file = find(fd)) {
      const std::intptr_t result = front_end().mmap(file.reference(), address, bytes, prot, flags, offset);
      if (result >= 0 || result < -4095) return reinterpret_cast<void*>(result);
      errno = static_cast<int>(-result);
      return MAP_FAILED;
    }
  }
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  BarMappings& mappings = front_end().mappings();
  if ((flags & MAP_FIXED) == 0 || !mappings.may_overlap(at, bytes))
    return real().mmap(address, bytes, prot, flags, fd, offset);
  void* result = MAP_FAILED;
  FrontEnd::announce(mappings.remove_around(at, bytes, [&] {
    result = real().mmap(address, bytes, prot, flags, fd, offset);
    return result != MAP_FAILED;
  }));
  return result;
}

}  // namespace

extern "C" {

PVIOMMU_WRAP(int, wrap_close, close, (int fd)) {
  if (fd_table.contains(fd)) ::pthread_testcancel();
  return close_or_hide(fd);
}

PVIOMMU_WRAP(int, wrap_close_range, close_range, (unsigned first, unsigned last, int flags)) {
  return static_cast<int>(returned(front_end().close_range(first, last, flags)));
}

PVIOMMU_WRAP(void, wrap_closefrom, closefrom, (int lowest)) {
  const KeepErrno keep;
  front_end().close_range(static_cast<unsigned>(lowest < 0 ? 0 : lowest), ~0u, 0);
}

PVIOMMU_WRAP(int, wrap_ioctl, ioctl, (int fd, unsigned long request, ...)) {
  std::va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  // The two that count.  ioctl() is no cancellation point, and on their way there is none but
  // a message to Xen's guardian, once for many pins.
  const bool fast = request == VFIO_IOMMU_MAP_DMA || request == VFIO_IOMMU_UNMAP_DMA;
  if (const FoundFile file(fd, fast ? Cancellation::as_it_is : Cancellation::off); file) {
    const auto number = static_cast<std::uint32_t>(request);
    if (is_ioctl_of_every_file(number)) [[unlikely]]
      return real().ioctl(fd, request, argument);
    if (number == FIOQSIZE) return static_cast<int>(returned(-ENOTTY));  // of files and folders only
    return static_cast<int>(returned(front_end().ioctl(*file, request, argument)));
  }
  return real().ioctl(fd, request, argument);
}

PVIOMMU_WRAP(ssize_t, wrap_read, read, (int fd, void* buffer, size_t bytes)) {
  if (const FoundFile file = find_or_be_cancelled(fd)) return returned(front_end().read(*file, buffer, bytes));
  return real().read(fd, buffer, bytes);
}

PVIOMMU_WRAP(ssize_t, wrap_read_chk, __read_chk, (int fd, void* buffer, size_t bytes, size_t space)) {
  if (bytes > space) buffer_overflow_detected();
  return wrap_read(fd, buffer, bytes);
}

PVIOMMU_WRAP(ssize_t, wrap_write, write, (int fd, const void* buffer, size_t bytes)) {
  if (const FoundFile file = find_or_be_cancelled(fd)) return returned(front_end().write(*file, buffer, bytes));
  return real().write(fd, buffer, bytes);
}

PVIOMMU_WRAP(ssize_t, wrap_pread, pread, (int fd, void* buffer, size_t bytes, off_t offset)) {
  if (const FoundFile file = find_or_be_cancelled(fd)) return returned(front_end().pread(*file, buffer, bytes, offset));
  return real().pread(fd, buffer, bytes, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_pread64, pread64, (int fd, void* buffer, size_t bytes, off_t offset)) {
  return wrap_pread(fd, buffer, bytes, offset);
}

PVIOMMU_WRAP(ssize_t, wrap_pread_chk, __pread_chk, (int fd, void* buffer, size_t bytes, off_t offset, size_t space)) {
  if (bytes > space) buffer_overflow_detected();
  return wrap_pread(fd, buffer, bytes, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_pread64_chk, __pread64_chk,
             (int fd, void* buffer, size_t bytes, off_t offset, size_t space)) {
  return wrap_pread_chk(fd, buffer, bytes, offset, space);
}

PVIOMMU_WRAP(ssize_t, wrap_pwrite, pwrite, (int fd, const void* buffer, size_t bytes, off_t offset)) {
  if (const FoundFile file = find_or_be_cancelled(fd)) return returned(front_end().pwrite(*file, buffer, bytes, offset));
  return real().pwrite(fd, buffer, bytes, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_pwrite64, pwrite64, (int fd, const void* buffer, size_t bytes, off_t offset)) {
  return wrap_pwrite(fd, buffer, bytes, offset);
}

PVIOMMU_WRAP(ssize_t, wrap_readv, readv, (int fd, const iovec* segments, int count)) {
  if (const FoundFile file = find_or_be_cancelled(fd))
    return returned(each_segment(*file, segments, count, [&](const iovec& segment, ssize_t) {
      return front_end().read(*file, segment.iov_base, segment.iov_len);
    }));
  return real().readv(fd, segments, count);
}

PVIOMMU_WRAP(ssize_t, wrap_writev, writev, (int fd, const iovec* segments, int count)) {
  if (const FoundFile file = find_or_be_cancelled(fd))
    return returned(each_segment(*file, segments, count, [&](const iovec& segment, ssize_t) {
      return front_end().write(*file, segment.iov_base, segment.iov_len);
    }));
  return real().writev(fd, segments, count);
}

PVIOMMU_WRAP(ssize_t, wrap_preadv, preadv, (int fd, const iovec* segments, int count, off_t offset)) {
  if (const FoundFile file = find_or_be_cancelled(fd))
    return returned(each_segment(*file, segments, count, [&](const iovec& segment, ssize_t done) {
      return front_end().pread(*file, segment.iov_base, segment.iov_len, offset + done);
    }));
  return real().preadv(fd, segments, count, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_preadv64, preadv64, (int fd, const iovec* segments, int count, off_t offset)) {
  return wrap_preadv(fd, segments, count, offset);
}

PVIOMMU_WRAP(ssize_t, wrap_pwritev, pwritev, (int fd, const iovec* segments, int count, off_t offset)) {
  if (const FoundFile file = find_or_be_cancelled(fd))
    return returned(each_segment(*file, segments, count, [&](const iovec& segment, ssize_t done) {
      return front_end().pwrite(*file, segment.iov_base, segment.iov_len, offset + done);
    }));
  return real().pwritev(fd, segments, count, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_pwritev64, pwritev64, (int fd, const iovec* segments, int count, off_t offset)) {
  return wrap_pwritev(fd, segments, count, offset);
}

// The flags are hints, but for RWF_NOWAIT, which no VFIO file can promise, and
// RWF_APPEND, which means nothing without a size.  Offset -1 is the file's position.
PVIOMMU_WRAP(ssize_t, wrap_preadv2, preadv2, (int fd, const iovec* segments, int count, off_t offset, int flags)) {
  if (!fd_table.contains(fd)) return real().preadv2(fd, segments, count, offset, flags);
  if ((flags & ~RWF_HIPRI) != 0) return returned(vectors_refused(fd));
  return offset == -1 ? wrap_readv(fd, segments, count) : wrap_preadv(fd, segments, count, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_preadv64v2, preadv64v2,
             (int fd, const iovec* segments, int count, off_t offset, int flags)) {
  return wrap_preadv2(fd, segments, count, offset, flags);
}

PVIOMMU_WRAP(ssize_t, wrap_pwritev2, pwritev2, (int fd, const iovec* segments, int count, off_t offset, int flags)) {
  if (!fd_table.contains(fd)) return real().pwritev2(fd, segments, count, offset, flags);
  if ((flags & ~RWF_HIPRI) != 0) return returned(vectors_refused(fd));
  return offset == -1 ? wrap_writev(fd, segments, count) : wrap_pwritev(fd, segments, count, offset);
}
PVIOMMU_WRAP(ssize_t, wrap_pwritev64v2, pwritev64v2,
             (int fd, const iovec* segments, int count, off_t offset, int flags)) {
  return wrap_pwritev2(fd, segments, count, offset, flags);
}

PVIOMMU_WRAP(off_t, wrap_lseek, lseek, (int fd, off_t offset, int whence)) {
  if (fd_table.contains(fd)) return returned(whence < SEEK_SET || whence > SEEK_HOLE ? -EINVAL : -ESPIPE);
  return real().lseek(fd, offset, whence);
}
PVIOMMU_WRAP(off_t, wrap_lseek64, lseek64, (int fd, off_t offset, int whence)) { return wrap_lseek(fd, offset, whence); }

PVIOMMU_WRAP(int, wrap_dup, dup, (int fd)) { return static_cast<int>(returned(front_end().dup(fd))); }

PVIOMMU_WRAP(int, wrap_dup2, dup2, (int fd, int target)) { return static_cast<int>(returned(front_end().dup_onto(fd, target, -1))); }

PVIOMMU_WRAP(int, wrap_dup3, dup3, (int fd, int target, int flags)) {
  if (flags < 0) return static_cast<int>(returned(-EINVAL));  // means dup2 below
  return static_cast<int>(returned(front_end().dup_onto(fd, target, flags)));
}

PVIOMMU_WRAP(int, wrap_fcntl, fcntl, (int fd, int command, ...)) {
  std::va_list list;
  va_start(list, command);
  void* argument = va_arg(list, void*);
  va_end(list);
  return fcntl_common(fd, command, argument);
}
PVIOMMU_WRAP(int, wrap_fcntl64, fcntl64, (int fd, int command, ...)) {
  std::va_list list;
  va_start(list, command);
  void* argument = va_arg(list, void*);
  va_end(list);
  return fcntl_common(fd, command, argument);
}

PVIOMMU_WRAP(void*, wrap_mmap, mmap, (void* address, size_t bytes, int prot, int flags, int fd, off_t offset)) {
  return mmap_common(address, bytes, prot, flags, fd, offset);
}
PVIOMMU_WRAP(void*, wrap_mmap64, mmap64, (void* address, size_t bytes, int prot, int flags, int fd, off_t offset)) {
  return mmap_common(address, bytes, prot, flags, fd, offset);
}

PVIOMMU_WRAP(int, wrap_munmap, munmap, (void* address, size_t bytes)) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  BarMappings& mappings = front_end().mappings();
  if (!mappings.may_overlap(at, bytes)) [[likely]]
    return real().munmap(address, bytes);
  int result = -1;
  FrontEnd::announce(mappings.remove_around(at, bytes, [&] {
    result = real().munmap(address, bytes);
    return result == 0;
  }));
  return result;
}

PVIOMMU_WRAP(void*, wrap_mremap, mremap, (void* address, size_t bytes, size_t new_bytes, int flags, ...)) {
  std::va_list list;
  va_start(list, flags);
  void* wanted = (flags & MREMAP_FIXED) != 0 ? va_arg(list, void*) : nullptr;
  va_end(list);
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  BarMappings& mappings = front_end().mappings();
  const bool from_bar = mappings.may_overlap(at, bytes) && mappings.find(at, 1).open_file;
  const bool onto_bar =
      wanted != nullptr && mappings.may_overlap(reinterpret_cast<std::uintptr_t>(wanted), new_bytes);
  if (!from_bar && !onto_bar) return real().mremap(address, bytes, new_bytes, flags, wanted);
  if (from_bar && new_bytes > bytes) {  // VM_DONTEXPAND, Linux mm/mremap.c
    errno = EFAULT;
    return MAP_FAILED;
  }
  void* result = MAP_FAILED;
  FrontEnd::announce(mappings.move_around(at, bytes, new_bytes, [&]() -> std::uint64_t {
    result = real().mremap(address, bytes, new_bytes, flags, wanted);
    return result == MAP_FAILED ? 0 : reinterpret_cast<std::uintptr_t>(result);
  }));
  return result;
}

}  // extern "C"

namespace {

// Before other constructors of the program's libraries where possible; a
// wrapped function called even earlier finds what it needs by itself.
[[gnu::constructor(101)]] void begin() {
  real();
  incarnation();
  join_run();
  LockedMemory::on_refusal([](std::uint64_t limit) {
    front_end().complain("a DMA map is refused: RLIMIT_MEMLOCK lets this process hold " + std::to_string(limit >> 10) +
                         " KiB; raise it with ulimit -l, or LimitMEMLOCK= of the service");
  });
  front_end().open_given_view();
  ::pthread_atfork([] { front_end().before_fork(); }, [] { front_end().after_fork_in_parent(); },
                   [] { front_end().after_fork_in_child(); });
}

// After the program's atexit handlers, before libpviommu's own end.
[[gnu::destructor]] void end() { front_end().finish(); }

}  // namespace
}  // namespace pviommu::vfio
