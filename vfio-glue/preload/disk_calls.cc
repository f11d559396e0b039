// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions for files on disks, and for copies between descriptors.
//
// A VFIO descriptor refuses them; its stand-in, a memfd, would do them.  The order of
// the refusals is the kernel's (fs/read_write.c, fs/splice.c, fs/open.c, fs/sync.c,
// mm/readahead.c).
#undef _FORTIFY_SOURCE  // as in files.cc
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cerrno>

#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

bool is_ours(int fd) { return fd_table.contains(fd); }

/// O_RDONLY, O_WRONLY or O_RDWR of a descriptor; -1: it is not open.
int access_mode(int fd) {
  const KeepErrno keep;
  const int flags = ::fcntl(fd, F_GETFL);  // through our wrapper, which knows the mode of VFIO's
  return flags < 0 ? -1 : flags & O_ACCMODE;
}
bool is_open(int fd) { return access_mode(fd) >= 0; }
bool is_readable(int fd) {
  const int mode = access_mode(fd);
  return mode == O_RDONLY || mode == O_RDWR;
}
bool is_writable(int fd) {
  const int mode = access_mode(fd);
  return mode == O_WRONLY || mode == O_RDWR;
}

long sendfile_refused(int to, int from, size_t bytes) {
  if (!is_readable(from) || !is_writable(to)) return -EBADF;
  return is_ours(from) || bytes != 0 ? -EINVAL : 0;  // what cannot seek is refused before nothing is copied
}

long splice_refused(int from, int to, size_t bytes, unsigned flags) {
  constexpr unsigned kKnown = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
  if (bytes == 0) return 0;
  if ((flags & ~kKnown) != 0) return -EINVAL;
  return is_readable(from) && is_writable(to) ? -EINVAL : -EBADF;
}

long copy_refused(int from, int to) {
  return is_open(from) && is_open(to) ? -EINVAL : -EBADF;
}

long allocation_refused(int fd, int mode, off_t offset, off_t bytes) {
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
                         FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
  if (offset < 0 || bytes <= 0) return -EINVAL;
  if ((mode & ~kKnown) != 0) return -EOPNOTSUPP;
  return is_writable(fd) ? -ENODEV : -EBADF;
}

}  // namespace

extern "C" {

PVIOMMU_WRAP(ssize_t, wrap_sendfile, sendfile, (int to, int from, off_t* offset, size_t bytes)) {
  if (is_ours(to) || is_ours(from)) return returned(sendfile_refused(to, from, bytes));
  return real().sendfile(to, from, offset, bytes);
}
PVIOMMU_WRAP(ssize_t, wrap_sendfile64, sendfile64, (int to, int from, off_t* offset, size_t bytes)) {
  return wrap_sendfile(to, from, offset, bytes);
}

PVIOMMU_WRAP(ssize_t, wrap_splice, splice,
             (int from, off_t* from_offset, int to, off_t* to_offset, size_t bytes, unsigned flags)) {
  if (is_ours(to) || is_ours(from)) return returned(splice_refused(from, to, bytes, flags));
  return real().splice(from, from_offset, to, to_offset, bytes, flags);
}

PVIOMMU_WRAP(ssize_t, wrap_copy_file_range, copy_file_range,
             (int from, off_t* from_offset, int to, off_t* to_offset, size_t bytes, unsigned flags)) {
  if (is_ours(to) || is_ours(from)) return returned(copy_refused(from, to));
  return real().copy_file_range(from, from_offset, to, to_offset, bytes, flags);
}

PVIOMMU_WRAP(int, wrap_ftruncate, ftruncate, (int fd, off_t bytes)) {
  if (is_ours(fd)) return static_cast<int>(returned(-EINVAL));
  return real().ftruncate(fd, bytes);
}
PVIOMMU_WRAP(int, wrap_ftruncate64, ftruncate64, (int fd, off_t bytes)) { return wrap_ftruncate(fd, bytes); }

PVIOMMU_WRAP(int, wrap_fallocate, fallocate, (int fd, int mode, off_t offset, off_t bytes)) {
  if (is_ours(fd)) return static_cast<int>(returned(allocation_refused(fd, mode, offset, bytes)));
  return real().fallocate(fd, mode, offset, bytes);
}
PVIOMMU_WRAP(int, wrap_fallocate64, fallocate64, (int fd, int mode, off_t offset, off_t bytes)) { return wrap_fallocate(fd, mode, offset, bytes); }

// Returns the error, and leaves errno alone.
PVIOMMU_WRAP(int, wrap_posix_fallocate, posix_fallocate, (int fd, off_t offset, off_t bytes)) {
  if (is_ours(fd)) return static_cast<int>(-allocation_refused(fd, 0, offset, bytes));
  return real().posix_fallocate(fd, offset, bytes);
}
PVIOMMU_WRAP(int, wrap_posix_fallocate64, posix_fallocate64, (int fd, off_t offset, off_t bytes)) { return wrap_posix_fallocate(fd, offset, bytes); }

PVIOMMU_WRAP(int, wrap_fsync, fsync, (int fd)) {
  if (is_ours(fd)) return static_cast<int>(returned(-EINVAL));
  return real().fsync(fd);
}
PVIOMMU_WRAP(int, wrap_fdatasync, fdatasync, (int fd)) {
  if (is_ours(fd)) return static_cast<int>(returned(-EINVAL));
  return real().fdatasync(fd);
}

PVIOMMU_WRAP(int, wrap_sync_file_range, sync_file_range, (int fd, off_t offset, off_t bytes, unsigned flags)) {
  constexpr unsigned kKnown = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (is_ours(fd))
    return static_cast<int>(returned((flags & ~kKnown) != 0 || offset < 0 || bytes < 0 ? -EINVAL : -ESPIPE));
  return real().sync_file_range(fd, offset, bytes, flags);
}

PVIOMMU_WRAP(ssize_t, wrap_readahead, readahead, (int fd, off_t offset, size_t bytes)) {
  if (is_ours(fd)) return returned(is_readable(fd) ? -EINVAL : -EBADF);
  return real().readahead(fd, offset, bytes);
}

}  // extern "C"
}  // namespace pviommu::vfio
