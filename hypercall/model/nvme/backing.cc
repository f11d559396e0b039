// SPDX-License-Identifier: LGPL-2.1-or-later
// Files and memory behind one descriptor: anonymous memory is a memfd, so that reads, writes
// and holes are the same system calls for both.
#include "hypercall/model/nvme/backing.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

namespace pviommu::model::nvme {
namespace {

std::string suggest_truncate(const std::string& path, std::uint64_t bytes) {
  return "try: truncate -s " + std::to_string(bytes) + " " + path;
}

Error wrong(int code, const std::string& what) { return Error{code, "nvme"}.with_sentence(what); }

Error not_opened(const std::string& path, bool read_only, int error) {
  std::string line = "file=" + path + ": " + std::strerror(error);
  if (error == ENOENT) {
    line += "; make it first, for example: truncate -s 64M " + path;
  } else if ((error == EACCES || error == EROFS || error == EPERM) && !read_only) {
    line += "; readonly=on needs less";
  }
  return wrong(error, line);
}

}  // namespace

Result<Backing> Backing::open_file(const std::string& path, bool read_only, unsigned lba_bytes) {
  Backing backing;
  UniqueFd fd(::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!fd) return not_opened(path, read_only, errno);
  struct stat about;
  if (::fstat(fd.get(), &about) != 0) return not_opened(path, read_only, errno);
  if (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode))
    return wrong(ENOTBLK, "file=" + path + ": neither a file nor a block device");
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  if (end < 0) return not_opened(path, read_only, errno);
  const auto bytes = static_cast<std::uint64_t>(end);
  if (bytes == 0)
    return wrong(EINVAL, "file=" + path + " is empty; " + suggest_truncate(path, 64 << 20));
  if (bytes % lba_bytes != 0)
    return wrong(EINVAL, "file=" + path + " has " + std::to_string(bytes) + " bytes, not a multiple of lba=" +
                             std::to_string(lba_bytes) + "; " +
                             suggest_truncate(path, (bytes + lba_bytes - 1) / lba_bytes * lba_bytes));
  backing.fd_ = std::move(fd);
  backing.bytes_ = bytes;
  backing.read_only_ = read_only;
  backing.persistent_ = true;
  // Punching behind the end changes nothing, but tells whether the filesystem can.
  backing.can_deallocate_ =
      !read_only && S_ISREG(about.st_mode) &&
      ::fallocate(backing.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0;
  return backing;
}

Result<Backing> Backing::memory(std::uint64_t bytes, bool read_only, unsigned lba_bytes) {
  Backing backing;
  if (bytes == 0 || bytes % lba_bytes != 0)
    return wrong(EINVAL, "size=" + std::to_string(bytes) + " is not a positive multiple of lba=" +
                             std::to_string(lba_bytes));
  UniqueFd fd(::memfd_create("pviommu-nvme", MFD_CLOEXEC));
  if (!fd || bytes > INT64_MAX || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    const int error = fd && bytes > INT64_MAX ? EFBIG : errno;
    return wrong(error, "size=" + std::to_string(bytes) + ": " + std::strerror(error));
  }
  backing.fd_ = std::move(fd);
  backing.bytes_ = bytes;
  backing.read_only_ = read_only;
  backing.can_deallocate_ = true;
  return backing;
}

Status Backing::sync() {
  if (persistent_ && !read_only_ && ::fdatasync(fd()) != 0) return Error{errno, "fdatasync"};
  return {};
}

Status Backing::deallocate(std::uint64_t offset, std::uint64_t bytes) {
  if (!can_deallocate_ || bytes == 0) return {};
  if (::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(bytes)) != 0) {
    return Error{errno, "fallocate"};
  }
  return {};
}

Status Backing::zero(std::uint64_t offset, std::uint64_t bytes, bool deallocate) {
  if (bytes == 0) return {};
  const int mode = (deallocate && can_deallocate_ ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
  if (::fallocate(fd(), mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) return {};
  if (errno != EOPNOTSUPP && errno != ENODEV && errno != EINVAL) return Error{errno, "fallocate"};
  // Not every filesystem has it (tmpfs cannot ZERO_RANGE).
  static constexpr std::array<std::byte, 1 << 16> kZeroes{};
  while (bytes > 0) {
    const ssize_t n = ::pwrite(fd(), kZeroes.data(), std::min<std::uint64_t>(bytes, kZeroes.size()),
                               static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{n < 0 ? errno : EIO, "pwrite"};
    offset += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::uint64_t>(n);
  }
  return {};
}

}  // namespace pviommu::model::nvme
