// SPDX-License-Identifier: LGPL-2.1-or-later
// The file is opened below a folder that is checked first: it must be ours, and writable by
// nobody else.  The owner's line is written after the lock is taken, for messages only.
#include "hypercall/device_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>

namespace pviommu {
namespace {

std::string run_folder() {
  if (const char* folder = ::secure_getenv("PVIOMMU_RUN_DIR"); folder != nullptr && *folder != '\0')
    return folder;
  if (::geteuid() == 0) return "/run/pviommu";
  if (const char* folder = ::secure_getenv("XDG_RUNTIME_DIR"); folder != nullptr && *folder != '\0')
    return std::string(folder) + "/pviommu";
  return "/tmp/pviommu-" + std::to_string(::geteuid());
}

enum class Owner { us, anybody };

/// The folder opened, or an error: in /tmp anybody could have put something of
/// that name first, so it must be a real folder, ours, and ours alone to write.
/// That of a run, which its processes were told, may be another user's.
Result<UniqueFd> open_folder(bool make, const std::string& folder = run_folder(), Owner owner = Owner::us) {
  if (make && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return Error{errno, "device lock: make folder"};
  const int access = owner == Owner::us ? O_RDONLY : O_PATH;  // which another user may search only
  UniqueFd fd(::open(folder.c_str(), access | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    const int code = errno;
    return Error{code == ELOOP || code == ENOTDIR ? EPERM : code, "device lock: open folder"};
  }
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return Error{errno, "device lock: folder"};
  if ((owner == Owner::us && st.st_uid != ::geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return Error{EPERM, "device lock: folder belongs to others"};
  return fd;
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name.front() != '.' && name.size() <= 200 && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

/// The whole file; l_pid stays 0 as F_OFD_* demands.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

std::string own_comm() {
  std::array<char, 64> text{};
  const UniqueFd fd(::open("/proc/self/comm", O_RDONLY | O_CLOEXEC));
  const ssize_t got = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  std::string comm(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!comm.empty() && comm.back() == '\n') comm.pop_back();
  return comm;
}

Result<UniqueFd> locked(std::string_view name, const std::string& folder_path, Owner owner) {
  if (!is_file_name(name)) return Error{EINVAL, "device lock: name"};
  const UniqueFd folder = PVIOMMU_TRY(open_folder(true, folder_path, owner));
  UniqueFd fd(
      ::openat(folder.get(), std::string(name).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return Error{errno, "device lock: open"};

  // The file is never removed: removing it would let one process lock the old
  // file and another a new one of the same name.
  struct flock lock = whole_file();
  if (::fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    const int code = errno;
    return Error{code == EAGAIN || code == EACCES ? EBUSY : code, "device lock"};
  }
  // One write over the former owner's line, then cut: a reader in between sees
  // the pid right.
  const std::string line = std::to_string(::getpid()) + ' ' + own_comm() + '\n';
  if (::pwrite(fd.get(), line.data(), line.size(), 0) != static_cast<ssize_t>(line.size()) ||
      ::ftruncate(fd.get(), static_cast<off_t>(line.size())) != 0)
    return Error{errno, "device lock: write"};
  return fd;
}

}  // namespace

Result<std::string> DeviceLock::folder() {
  std::string path = run_folder();
  PVIOMMU_TRY(open_folder(true, path));
  return path;
}

Result<DeviceLock> DeviceLock::acquire(std::string_view name) {
  return DeviceLock(PVIOMMU_TRY(locked(name, run_folder(), Owner::us)));
}

Result<DeviceLock> DeviceLock::acquire(std::string_view name, const std::string& folder) {
  return DeviceLock(PVIOMMU_TRY(locked(name, folder, Owner::anybody)));
}

Result<std::optional<DeviceOwner>> DeviceLock::owner(std::string_view name) {
  if (!is_file_name(name)) return Error{EINVAL, "device lock: name"};
  const Result<UniqueFd> folder = open_folder(false);
  if (!folder) {
    if (folder.error().code == ENOENT) return std::optional<DeviceOwner>();
    return folder.error();
  }
  const UniqueFd fd(::openat(folder->get(), std::string(name).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return std::optional<DeviceOwner>();
    return Error{errno, "device lock: open"};
  }
  struct flock lock = whole_file();
  if (::fcntl(fd.get(), F_OFD_GETLK, &lock) != 0) return Error{errno, "device lock: ask"};
  if (lock.l_type == F_UNLCK) return std::optional<DeviceOwner>();

  std::array<char, 256> text{};
  const ssize_t got = ::pread(fd.get(), text.data(), text.size(), 0);
  if (got < 0) return Error{errno, "device lock: read"};
  std::string_view line(text.data(), static_cast<std::size_t>(got));
  line = line.substr(0, line.find('\n'));
  DeviceOwner owner;
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), owner.pid);
  line.remove_prefix(static_cast<std::size_t>(parsed.ptr - line.data()));
  owner.comm = line.substr(line.empty() ? 0 : 1);
  return std::optional<DeviceOwner>(std::move(owner));
}

}  // namespace pviommu
