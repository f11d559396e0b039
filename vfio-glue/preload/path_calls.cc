// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that do something else with a path: be there, change its owner or
// its mode, ask for its filesystem, its attributes, its events.
//
// Nearly all are one row each: the same call, with the path of the place (path_walk.h).
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/path_walk.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

/// `call(folder, path)`, of what is really meant; `call` returns -1 and errno, as the kernel.
template <class Call>
auto at_place(int folder, const char* path, LastLink last, Call&& call) {
  const Place place = find_place(folder, path, last);
  if (place.error == 0) return call(place.folder(folder), place.name(path));
  errno = place.error;
  return decltype(call(folder, path)){-1};
}

/// The stand-in in the tree of the device node that `fd` has open; "": it has none.
std::string stand_in_of(int fd) {
  const OpenFileRef file = fd_table.find(fd);
  const SysfsView* view = front_end().known_view();
  if (!file || view == nullptr || file->path()[0] != '/') return {};
  const KeepErrno keep;
  return view->root() + file->path();
}

/// The filesystem of a place of the tree is that of the real folder it lies over.
template <class Answer>
int filesystem(Answer* answer, const std::string& shown, int (*call)(const char*, Answer*)) {
  const bool sys = shown.starts_with("/sys");
  const int result = call(sys ? "/sys" : "/dev", answer);
  if constexpr (requires { answer->f_type; })
    if (result == 0 && sys) answer->f_type = SYSFS_MAGIC;  // a machine without /sys
  return result;
}

template <class Answer>
int filesystem_at(const char* path, Answer* answer, int (*call)(const char*, Answer*)) {
  const Place place = find_place(AT_FDCWD, path);
  if (place.error != 0) return static_cast<int>(returned(-place.error));
  const int result = call(place.name(path), answer);
  return result == 0 && place.in_tree ? filesystem(answer, place.shown, call) : result;
}

template <class Answer>
int filesystem_of(int fd, Answer* answer, int (*by_path)(const char*, Answer*), int (*by_fd)(int, Answer*)) {
  if (front_end().known_view() != nullptr && !inside_engine()) {
    if (const OpenFileRef file = fd_table.find(fd); file && file->path()[0] == '/')
      return filesystem<Answer>(answer, file->path(), by_path);
    const auto shown = shown_folder(fd);
    if (shown && shown->in_tree) return filesystem(answer, shown->path, by_path);
  }
  return by_fd(fd, answer);
}

}  // namespace

extern "C" {

// ---- the working folder -----------------------------------------------------

PVIOMMU_WRAP(int, wrap_chdir, chdir, (const char* path)) {
  return at_place(AT_FDCWD, path, LastLink::follow, [](int, const char* at) { return real_named<"chdir", int(const char*)>()(at); });
}

PVIOMMU_WRAP(char*, wrap_getcwd, getcwd, (char* buffer, size_t bytes)) {
  using Getcwd = char*(char*, size_t);
  char* found = real_named<"getcwd", Getcwd>()(buffer, bytes);
  if (found == nullptr || inside_engine()) return found;
  const KeepErrno keep;
  std::optional<std::string> shown;
  {
    const EngineScope scope;
    shown = shown_path(found);
  }
  if (!shown) return found;
  if (buffer == nullptr) {
    std::free(found);
    return bytes == 0 || shown->size() < bytes ? ::strdup(shown->c_str()) : nullptr;
  }
  std::memcpy(buffer, shown->c_str(), std::min(shown->size() + 1, bytes));  // shorter: the tree lies deeper
  return buffer;
}
PVIOMMU_WRAP(char*, wrap_getcwd_chk, __getcwd_chk, (char* buffer, size_t bytes, size_t space)) {
  if (bytes > space) buffer_overflow_detected();
  return wrap_getcwd(buffer, bytes);
}
PVIOMMU_WRAP(char*, wrap_getwd, getwd, (char* buffer)) { return wrap_getcwd(buffer, PATH_MAX); }
PVIOMMU_WRAP(char*, wrap_getwd_chk, __getwd_chk, (char* buffer, size_t space)) {
  return wrap_getcwd_chk(buffer, PATH_MAX, space);
}
// The shell's $PWD when it is the working folder, which the program's stat() knows.
PVIOMMU_WRAP(char*, wrap_get_current_dir_name, get_current_dir_name, ()) {
  const char* given = std::getenv("PWD");
  struct stat here {}, there {};
  if (given != nullptr && given[0] == '/' && ::stat(".", &here) == 0 && ::stat(given, &there) == 0 &&
      here.st_dev == there.st_dev && here.st_ino == there.st_ino)
    return ::strdup(given);
  return wrap_getcwd(nullptr, 0);
}

// ---- owner, mode and times --------------------------------------------------

PVIOMMU_WRAP(int, wrap_fchmodat, fchmodat, (int folder, const char* path, mode_t mode, int flags)) {
  return at_place(folder, path, last_of(flags), [&](int in, const char* at) {
    return real_named<"fchmodat", int(int, const char*, mode_t, int)>()(in, at, mode, flags);
  });
}
PVIOMMU_WRAP(int, wrap_chmod, chmod, (const char* path, mode_t mode)) { return wrap_fchmodat(AT_FDCWD, path, mode, 0); }
PVIOMMU_WRAP(int, wrap_fchmod, fchmod, (int fd, mode_t mode)) {
  if (const std::string path = stand_in_of(fd); !path.empty()) return wrap_chmod(path.c_str(), mode);
  return real_named<"fchmod", int(int, mode_t)>()(fd, mode);
}

PVIOMMU_WRAP(int, wrap_fchown, fchown, (int fd, uid_t user, gid_t group));
PVIOMMU_WRAP(int, wrap_fchownat, fchownat, (int folder, const char* path, uid_t user, gid_t group, int flags)) {
  if (path != nullptr && *path == '\0' && (flags & AT_EMPTY_PATH) != 0 && fd_table.contains(folder))
    return wrap_fchown(folder, user, group);
  return at_place(folder, path, last_of(flags), [&](int in, const char* at) {
    return real_named<"fchownat", int(int, const char*, uid_t, gid_t, int)>()(in, at, user, group, flags);
  });
}
PVIOMMU_WRAP(int, wrap_chown, chown, (const char* path, uid_t user, gid_t group)) {
  return wrap_fchownat(AT_FDCWD, path, user, group, 0);
}
PVIOMMU_WRAP(int, wrap_lchown, lchown, (const char* path, uid_t user, gid_t group)) {
  return wrap_fchownat(AT_FDCWD, path, user, group, AT_SYMLINK_NOFOLLOW);
}
int wrap_fchown(int fd, uid_t user, gid_t group) {
  if (const std::string path = stand_in_of(fd); !path.empty()) return wrap_chown(path.c_str(), user, group);
  return real_named<"fchown", int(int, uid_t, gid_t)>()(fd, user, group);
}

PVIOMMU_WRAP(int, wrap_utimensat, utimensat, (int folder, const char* path, const timespec* times, int flags)) {
  return at_place(folder, path, last_of(flags), [&](int in, const char* at) {
    return real_named<"utimensat", int(int, const char*, const timespec*, int)>()(in, at, times, flags);
  });
}
PVIOMMU_WRAP(int, wrap_utimes, utimes, (const char* path, const timeval* times)) {
  return at_place(AT_FDCWD, path, LastLink::follow, [&](int, const char* at) {
    return real_named<"utimes", int(const char*, const timeval*)>()(at, times);
  });
}
PVIOMMU_WRAP(int, wrap_lutimes, lutimes, (const char* path, const timeval* times)) {
  return at_place(AT_FDCWD, path, LastLink::keep, [&](int, const char* at) {
    return real_named<"lutimes", int(const char*, const timeval*)>()(at, times);
  });
}
PVIOMMU_WRAP(int, wrap_utime, utime, (const char* path, const utimbuf* times)) {
  return at_place(AT_FDCWD, path, LastLink::follow, [&](int, const char* at) {
    return real_named<"utime", int(const char*, const utimbuf*)>()(at, times);
  });
}

// ---- filesystems ------------------------------------------------------------

#define PVIOMMU_DEFINE_FILESYSTEM(type, name)                                                  \
  PVIOMMU_WRAP(int, wrap_##name, name, (const char* path, struct type* answer)) {               \
    return filesystem_at(path, answer, real_named<#name, int(const char*, struct type*)>());    \
  }                                                                                             \
  PVIOMMU_WRAP(int, wrap_f##name, f##name, (int fd, struct type* answer)) {                     \
    return filesystem_of(fd, answer, real_named<#name, int(const char*, struct type*)>(),       \
                         real_named<"f" #name, int(int, struct type*)>());                      \
  }
PVIOMMU_DEFINE_FILESYSTEM(statfs, statfs)
PVIOMMU_DEFINE_FILESYSTEM(statfs64, statfs64)
PVIOMMU_DEFINE_FILESYSTEM(statvfs, statvfs)
PVIOMMU_DEFINE_FILESYSTEM(statvfs64, statvfs64)

PVIOMMU_WRAP(long, wrap_pathconf, pathconf, (const char* path, int name)) {
  return at_place(AT_FDCWD, path, LastLink::follow,
                  [&](int, const char* at) { return real_named<"pathconf", long(const char*, int)>()(at, name); });
}

// ---- attributes (ls -l asks for access control lists) and events ------------

PVIOMMU_WRAP(ssize_t, wrap_getxattr, getxattr, (const char* path, const char* name, void* value, size_t bytes)) {
  return at_place(AT_FDCWD, path, LastLink::follow, [&](int, const char* at) {
    return real_named<"getxattr", ssize_t(const char*, const char*, void*, size_t)>()(at, name, value, bytes);
  });
}
PVIOMMU_WRAP(ssize_t, wrap_lgetxattr, lgetxattr, (const char* path, const char* name, void* value, size_t bytes)) {
  return at_place(AT_FDCWD, path, LastLink::keep, [&](int, const char* at) {
    return real_named<"lgetxattr", ssize_t(const char*, const char*, void*, size_t)>()(at, name, value, bytes);
  });
}
PVIOMMU_WRAP(ssize_t, wrap_listxattr, listxattr, (const char* path, char* list, size_t bytes)) {
  return at_place(AT_FDCWD, path, LastLink::follow, [&](int, const char* at) {
    return real_named<"listxattr", ssize_t(const char*, char*, size_t)>()(at, list, bytes);
  });
}
PVIOMMU_WRAP(ssize_t, wrap_llistxattr, llistxattr, (const char* path, char* list, size_t bytes)) {
  return at_place(AT_FDCWD, path, LastLink::keep, [&](int, const char* at) {
    return real_named<"llistxattr", ssize_t(const char*, char*, size_t)>()(at, list, bytes);
  });
}

PVIOMMU_WRAP(int, wrap_inotify_add_watch, inotify_add_watch, (int fd, const char* path, std::uint32_t mask)) {
  return at_place(AT_FDCWD, path, (mask & IN_DONT_FOLLOW) != 0 ? LastLink::keep : LastLink::follow, [&](int, const char* at) {
    return real_named<"inotify_add_watch", int(int, const char*, std::uint32_t)>()(fd, at, mask);
  });
}

}  // extern "C"
}  // namespace pviommu::vfio
