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

std::string open_problem(const std::string& path, bool read_only, int error) {
  std::string line = "nvme: file=" + path + ": " + std::strerror(error);
  if (error == ENOENT) {
    line += "; make it first, for example: truncate -s 64M " + path;
  } else if ((error == EACCES || error == EROFS || error == EPERM) && !read_only) {
    line += "; readonly=on needs less";
  }
  return line;
}

}  // namespace

Backing Backing::open_file(const std::string& path, bool read_only, unsigned lba_bytes, std::string& problem) {
  Backing backing;
  UniqueFd fd(::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!fd) {
    problem = open_problem(path, read_only, errno);
    return backing;
  }
  struct stat about;
  if (::fstat(fd.get(), &about) != 0) {
    problem = open_problem(path, read_only, errno);
    return backing;
  }
  if (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode)) {
    problem = "nvme: file=" + path + ": neither a file nor a block device";
    return backing;
  }
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  if (end < 0) {
    problem = open_problem(path, read_only, errno);
    return backing;
  }
  const auto bytes = static_cast<std::uint64_t>(end);
  if (bytes == 0) {
    problem = "nvme: file=" + path + " is empty; " + suggest_truncate(path, 64 << 20);
    return backing;
  }
  if (bytes % lba_bytes != 0) {
    problem = "nvme: file=" + path + " has " + std::to_string(bytes) + " bytes, not a multiple of lba=" +
              std::to_string(lba_bytes) + "; " +
              suggest_truncate(path, (bytes + lba_bytes - 1) / lba_bytes * lba_bytes);
    return backing;
  }
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

Backing Backing::memory(std::uint64_t bytes, bool read_only, unsigned lba_bytes, std::string& problem) {
  Backing backing;
  if (bytes == 0 || bytes % lba_bytes != 0) {
    problem = "nvme: size=" + std::to_string(bytes) + " is not a positive multiple of lba=" +
              std::to_string(lba_bytes);
    return backing;
  }
  UniqueFd fd(::memfd_create("pviommu-nvme", MFD_CLOEXEC));
  if (!fd || bytes > INT64_MAX || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    const int error = fd && bytes > INT64_MAX ? EFBIG : errno;
    problem = "nvme: size=" + std::to_string(bytes) + ": " + std::strerror(error);
    return backing;
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
