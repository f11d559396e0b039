// SPDX-License-Identifier: LGPL-2.1-or-later
// Locks first, and looks for others afterwards: of two that come at once at most one stays.
#include "hypercall/model/image_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace pviommu::model {
namespace {

constexpr off_t kDoes = 100, kBearsNoOther = 200;
constexpr off_t kReads = 0, kWrites = 1, kResizes = 3;

struct flock lock_of(short type, off_t at) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = 1;
  return lock;
}

Status take(int fd, off_t at) {
  struct flock lock = lock_of(F_RDLCK, at);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  return Error{errno == EAGAIN || errno == EACCES ? EBUSY : errno, "lock of an image"};
}

/// Whether another open file has the byte locked.
Result<bool> is_others(int fd, off_t at) {
  struct flock lock = lock_of(F_WRLCK, at);
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) return Error{errno, "lock of an image"};
  return lock.l_type != F_UNLCK;
}

Status lock(int fd, bool read_only) {
  PVIOMMU_TRY(take(fd, kDoes + kReads));
  if (!read_only) PVIOMMU_TRY(take(fd, kDoes + kWrites));
  for (const off_t act : {kWrites, kResizes}) PVIOMMU_TRY(take(fd, kBearsNoOther + act));
  bool others = PVIOMMU_TRY(is_others(fd, kBearsNoOther + kReads));
  if (!read_only) others = others || PVIOMMU_TRY(is_others(fd, kBearsNoOther + kWrites));
  for (const off_t act : {kWrites, kResizes}) others = others || PVIOMMU_TRY(is_others(fd, kDoes + act));
  if (others) return Error{EBUSY, "image in use"};
  return {};
}

}  // namespace

Result<ImageLock> ImageLock::acquire(const std::string& path, bool read_only) {
  UniqueFd fd(::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  Status done = Error{errno, "open of an image"};
  if (fd) done = lock(fd.get(), read_only);
  if (done) return ImageLock(std::move(fd));
  switch (done.error().code) {
    case EINVAL:  // the file system has none
    case ENOLCK:
    case EOPNOTSUPP:
    case ENOSYS:
      return ImageLock(UniqueFd());
    case EBUSY:
      return done.error().with_sentence("file=" + path + " is in use by another program; end it, or give this one a copy");
    default:
      return done.error().with_sentence("file=" + path + ": " + std::strerror(done.error().code));
  }
}

}  // namespace pviommu::model
