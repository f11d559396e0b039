// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that open a path, or ask what is there.
//
// path_walk.h says where a path leads.  /dev/vfio/NODE is opened by the engine; all else that
// asks about it, and what the device tree has of /sys, is answered from the tree
// (sysfs_view.h).  What else there is to do with a path is in path_calls.cc, folders and
// walks through them are in folders.h and walks.cc.
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/path_walk.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

// Documentation/admin-guide/devices.txt: 10:196 is /dev/vfio/vfio; groups and devices have
// other dynamic ones; so has /dev/iommu, of the misc devices.
constexpr unsigned kMiscMajor = 10, kContainerMinor = 196, kIommuMinor = 125, kGroupMajor = 243;

dev_t number_of_node(std::string_view name) {
  using Kind = FrontEnd::Node::Kind;
  const FrontEnd::Node node = FrontEnd::node_of(name);
  const auto number = static_cast<unsigned>(std::max(node.number, 0));
  switch (node.kind) {
    case Kind::container:
      return makedev(kMiscMajor, kContainerMinor);
    case Kind::iommufd:
      return makedev(kMiscMajor, kIommuMinor);
    case Kind::device:
      return makedev(kDeviceNodeMajor, number);
    default:
      return makedev(kGroupMajor, number);
  }
}

bool takes_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

/// `st` is of the node's stand-in in the tree: owner and permissions are its.
void show_device_node(struct stat& st, std::string_view node) {
  st.st_mode = S_IFCHR | (st.st_mode & 07777);
  st.st_rdev = number_of_node(node);
  st.st_size = 0;
  st.st_blocks = 0;
  st.st_nlink = 1;
}

void show_open_file(struct stat& st, const OpenFile& file) {
  st.st_nlink = 1;
  st.st_size = 0;
  st.st_blocks = 0;
  st.st_mode = 0600;  // an anonymous inode: no type
  const std::string_view path = file.path();
  if (path[0] != '/') return;
  const std::string_view node = SysfsView::vfio_node(path).value_or("");
  struct stat stand_in {};
  const KeepErrno keep;
  if (const SysfsView* view = front_end().known_view();
      view != nullptr && real().fstatat(AT_FDCWD, (view->root() + std::string(path)).c_str(), &stand_in, 0) == 0) {
    st.st_mode = stand_in.st_mode;
    st.st_uid = stand_in.st_uid;
    st.st_gid = stand_in.st_gid;
  } else if (node == "vfio") {
    st.st_mode = 0666;
  }
  show_device_node(st, node);
}

/// The node whose stand-in `fd` has open (with O_PATH, or behind a stream); "": none.
std::string node_of_stand_in(int fd, const struct stat& st) {
  const SysfsView* view = front_end().known_view();
  if (view == nullptr || !S_ISREG(st.st_mode) || st.st_size != 0) return {};
  const auto shown = shown_folder(fd);
  const auto node = shown && shown->in_tree ? SysfsView::vfio_node(shown->path) : std::nullopt;
  return std::string(node.value_or(""));
}

int fstat_common(int fd, struct stat* st) {
  const int result = real().fstat(fd, st);
  if (result != 0) return result;
  if (const OpenFileRef file = fd_table.find(fd))
    show_open_file(*st, *file);
  else if (const std::string node = node_of_stand_in(fd, *st); !node.empty())
    show_device_node(*st, node);
  return result;
}

int stat_common(int folder, const char* path, struct stat* st, int flags) {
  if (path != nullptr && *path == '\0' && (flags & AT_EMPTY_PATH) != 0 && folder >= 0) return fstat_common(folder, st);
  const Place place = find_place(folder, path, last_of(flags));
  if (place.error != 0) return static_cast<int>(returned(-place.error));
  if (place.descriptor >= 0 && (flags & AT_SYMLINK_NOFOLLOW) == 0) return fstat_common(place.descriptor, st);
  const int result = real().fstatat(place.folder(folder), place.name(path), st, flags);
  if (result == 0 && !place.node.empty()) show_device_node(*st, place.node);
  return result;
}

/// The `__xstat` family of programs linked before glibc 2.33; the structure is the same.
int stat_of_version(int version, int folder, const char* path, struct stat* st, int flags) {
  if (version != 0 && version != 1) return static_cast<int>(returned(-EINVAL));
  return stat_common(folder, path, st, flags);
}

/// Whether the node's owner and mode let this process open it.
int permission_of(const Place& place, int flags) {
  if (place.path.empty()) return 0;
  const int mode = flags & O_ACCMODE;
  const int wanted = (mode != O_WRONLY ? R_OK : 0) | (mode != O_RDONLY ? W_OK : 0);
  return real().faccessat(AT_FDCWD, place.path.c_str(), wanted, AT_EACCESS) == 0 || errno != EACCES ? 0 : -EACCES;
}

int open_node(const Place& place, int flags) {
  ::pthread_testcancel();
  const CallScope call;
  const KeepErrno keep;
  if (const int refused = permission_of(place, flags)) return refused;
  return front_end().open_node(place.node, flags);
}

int open_common(int folder, const char* path, int flags, mode_t mode) {
  const bool keeps = (flags & O_NOFOLLOW) != 0 || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
  const Place place = find_place(folder, path, keeps ? LastLink::keep : LastLink::follow);
  if (place.error != 0) return static_cast<int>(returned(-place.error));
  if ((flags & O_PATH) == 0) {
    if (!place.node.empty()) return static_cast<int>(returned(open_node(place, flags)));
    if (place.descriptor >= 0 && !keeps)
      if (const OpenFileRef file = fd_table.find(place.descriptor)) {
        // Another open of the device node; an anonymous inode has none.
        const std::string node = file->path();
        if (node[0] != '/') return static_cast<int>(returned(-ENXIO));
        return static_cast<int>(returned(open_node(find_place(AT_FDCWD, node.c_str()), flags)));
      }
  }
  const int fd = real().openat(place.folder(folder), place.name(path), flags, mode);
  // A number of ours that was closed behind our back comes back as another file.
  if (fd_table.contains(fd)) [[unlikely]] {
    const KeepErrno keep;
    const OpenFileRef stale = fd_table.take(fd);
  }
  return fd;
}

ssize_t give(std::string_view text, char* buffer, size_t bytes) {
  const size_t length = std::min(text.size(), bytes);
  std::memcpy(buffer, text.data(), length);
  return static_cast<ssize_t>(length);
}

ssize_t readlink_common(int folder, const char* path, char* buffer, size_t bytes) {
  const Place place = find_place(folder, path, LastLink::keep);
  if (place.error != 0) return returned(-place.error);
  if (const OpenFileRef file = fd_table.find(place.descriptor)) return give(file->path(), buffer, bytes);
  const ssize_t length = real().readlinkat(place.folder(folder), place.name(path), buffer, bytes);
  // /proc's links to folders of the tree.
  const bool whole = length > 0 && static_cast<size_t>(length) < bytes;
  if (whole && buffer[0] == '/' && !place.led && !inside_engine() && front_end().known_view() != nullptr) {
    const KeepErrno keep;
    const EngineScope scope;
    if (const auto shown = shown_path({buffer, static_cast<size_t>(length)})) {
      std::memset(buffer, 0, static_cast<size_t>(length));
      return give(*shown, buffer, bytes);
    }
  }
  return length;
}

char* realpath_common(const char* path, char* resolved) {
  const Place place = find_place(AT_FDCWD, path);
  if (!place.led && place.error == 0) return real_named<"realpath", char*(const char*, char*)>()(path, resolved);
  if (place.error != 0 || real().faccessat(AT_FDCWD, place.path.c_str(), F_OK, 0) != 0) {
    if (place.error != 0) errno = place.error;
    return nullptr;
  }
  if (resolved == nullptr) return ::strdup(place.shown.c_str());
  std::memcpy(resolved, place.shown.c_str(), place.shown.size() + 1);
  return resolved;
}

int access_common(int folder, const char* path, int mode, int flags) {
  const Place place = find_place(folder, path, last_of(flags));
  if (place.error != 0) return static_cast<int>(returned(-place.error));
  return real().faccessat(place.folder(folder), place.name(path), mode, flags);
}

using Fopen = FILE*(const char*, const char*);
using Fdopen = FILE*(int, const char*);

/// open() flags of fopen()'s mode.
int flags_of(const char* mode) {
  const bool both = std::strchr(mode, '+') != nullptr;
  const int close_on_exec = std::strchr(mode, 'e') != nullptr ? O_CLOEXEC : 0;
  return close_on_exec | (both ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY);
}

FILE* fopen_common(const char* path, const char* mode) {
  const Place place = find_place(AT_FDCWD, path);
  if (place.error != 0) {
    errno = place.error;
    return nullptr;
  }
  if (place.node.empty()) return real_named<"fopen64", Fopen>()(place.name(path), mode);
  const int fd = static_cast<int>(returned(open_node(place, flags_of(mode))));
  if (fd < 0) return nullptr;
  FILE* stream = real_named<"fdopen", Fdopen>()(fd, mode);
  if (stream == nullptr) front_end().close(fd);
  return stream;
}

FILE* freopen_common(const char* path, const char* mode, FILE* stream) {
  using Freopen = FILE*(const char*, const char*, FILE*);
  const Place place = find_place(AT_FDCWD, path);
  const auto freopen = real_named<"freopen64", Freopen>();
  const int old = ::fileno(stream);
  if (path != nullptr && fd_table.contains(old)) {  // the stream closes its number without us
    const KeepErrno keep;
    const OpenFileRef gone = fd_table.take(old);
  }
  if (place.node.empty()) return freopen(place.name(path), mode, stream);  // "" is ENOENT
  const int fd = static_cast<int>(returned(open_node(place, flags_of(mode))));
  FILE* again = freopen(fd < 0 ? "" : "/dev/null", mode, stream);
  if (fd < 0) return again;
  if (again != nullptr) front_end().dup_onto(fd, ::fileno(again), flags_of(mode) & O_CLOEXEC);
  front_end().close(fd);
  return again;
}

mode_t mode_argument(int flags, std::va_list list) { return takes_mode(flags) ? va_arg(list, mode_t) : 0; }

}  // namespace

extern "C" {

#define PVIOMMU_DEFINE_OPEN(name)                                            \
  PVIOMMU_WRAP(int, wrap_##name, name, (const char* path, int flags, ...)) { \
    std::va_list list;                                                       \
    va_start(list, flags);                                                   \
    const mode_t mode = mode_argument(flags, list);                          \
    va_end(list);                                                            \
    return open_common(AT_FDCWD, path, flags, mode);                         \
  }
#define PVIOMMU_DEFINE_OPENAT(name)                                                      \
  PVIOMMU_WRAP(int, wrap_##name, name, (int folder, const char* path, int flags, ...)) { \
    std::va_list list;                                                                   \
    va_start(list, flags);                                                               \
    const mode_t mode = mode_argument(flags, list);                                      \
    va_end(list);                                                                        \
    return open_common(folder, path, flags, mode);                                       \
  }
PVIOMMU_DEFINE_OPEN(open)
PVIOMMU_DEFINE_OPEN(open64)
PVIOMMU_DEFINE_OPENAT(openat)
PVIOMMU_DEFINE_OPENAT(openat64)

// What _FORTIFY_SOURCE makes of open() without a mode.
PVIOMMU_WRAP(int, wrap_open_2, __open_2, (const char* path, int flags)) {
  if (takes_mode(flags)) buffer_overflow_detected();
  return open_common(AT_FDCWD, path, flags, 0);
}
PVIOMMU_WRAP(int, wrap_open64_2, __open64_2, (const char* path, int flags)) { return wrap_open_2(path, flags); }
PVIOMMU_WRAP(int, wrap_openat_2, __openat_2, (int folder, const char* path, int flags)) {
  if (takes_mode(flags)) buffer_overflow_detected();
  return open_common(folder, path, flags, 0);
}
PVIOMMU_WRAP(int, wrap_openat64_2, __openat64_2, (int folder, const char* path, int flags)) { return wrap_openat_2(folder, path, flags); }

PVIOMMU_WRAP(int, wrap_creat, creat, (const char* path, mode_t mode)) {
  return open_common(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
PVIOMMU_WRAP(int, wrap_creat64, creat64, (const char* path, mode_t mode)) { return wrap_creat(path, mode); }

PVIOMMU_WRAP(int, wrap_stat, stat, (const char* path, struct stat* st)) { return stat_common(AT_FDCWD, path, st, 0); }
PVIOMMU_WRAP(int, wrap_stat64, stat64, (const char* path, struct stat* st)) { return stat_common(AT_FDCWD, path, st, 0); }
PVIOMMU_WRAP(int, wrap_lstat, lstat, (const char* path, struct stat* st)) {
  return stat_common(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
PVIOMMU_WRAP(int, wrap_lstat64, lstat64, (const char* path, struct stat* st)) {
  return stat_common(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
PVIOMMU_WRAP(int, wrap_fstat, fstat, (int fd, struct stat* st)) { return fstat_common(fd, st); }
PVIOMMU_WRAP(int, wrap_fstat64, fstat64, (int fd, struct stat* st)) { return fstat_common(fd, st); }

PVIOMMU_WRAP(int, wrap_fstatat, fstatat, (int folder, const char* path, struct stat* st, int flags)) {
  return stat_common(folder, path, st, flags);
}
PVIOMMU_WRAP(int, wrap_fstatat64, fstatat64, (int folder, const char* path, struct stat* st, int flags)) {
  return stat_common(folder, path, st, flags);
}

#define PVIOMMU_DEFINE_OLD_STAT(suffix)                                                                       \
  PVIOMMU_WRAP(int, wrap_xstat##suffix, __xstat##suffix, (int version, const char* path, struct stat* st)) {   \
    return stat_of_version(version, AT_FDCWD, path, st, 0);                                                    \
  }                                                                                                            \
  PVIOMMU_WRAP(int, wrap_lxstat##suffix, __lxstat##suffix, (int version, const char* path, struct stat* st)) { \
    return stat_of_version(version, AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);                                  \
  }                                                                                                            \
  PVIOMMU_WRAP(int, wrap_fxstat##suffix, __fxstat##suffix, (int version, int fd, struct stat* st)) {           \
    return version != 0 && version != 1 ? static_cast<int>(returned(-EINVAL)) : fstat_common(fd, st);          \
  }                                                                                                            \
  PVIOMMU_WRAP(int, wrap_fxstatat##suffix, __fxstatat##suffix,                                                 \
               (int version, int folder, const char* path, struct stat* st, int flags)) {                      \
    return stat_of_version(version, folder, path, st, flags);                                                  \
  }
PVIOMMU_DEFINE_OLD_STAT()
PVIOMMU_DEFINE_OLD_STAT(64)

PVIOMMU_WRAP(int, wrap_statx, statx, (int folder, const char* path, int flags, unsigned mask, struct statx* stx)) {
  const Place place = find_place(folder, path, last_of(flags));
  if (place.error != 0) return static_cast<int>(returned(-place.error));
  const int result = real().statx(place.folder(folder), place.name(path), flags, mask, stx);
  if (result != 0) return result;
  const bool follows = (flags & AT_SYMLINK_NOFOLLOW) == 0;
  const int fd = path != nullptr && *path == '\0' ? folder : follows ? place.descriptor : -1;
  struct stat st {};
  st.st_mode = stx->stx_mode;
  st.st_uid = stx->stx_uid;
  st.st_gid = stx->stx_gid;
  st.st_size = static_cast<off_t>(stx->stx_size);
  std::string node = place.node;
  if (const OpenFileRef file = fd_table.find(fd))
    show_open_file(st, *file);
  else if (!node.empty() || (fd >= 0 && !(node = node_of_stand_in(fd, st)).empty()))
    show_device_node(st, node);
  else
    return result;
  stx->stx_mode = static_cast<std::uint16_t>(st.st_mode);
  stx->stx_uid = st.st_uid;
  stx->stx_gid = st.st_gid;
  stx->stx_rdev_major = major(st.st_rdev);
  stx->stx_rdev_minor = minor(st.st_rdev);
  stx->stx_nlink = 1;
  return result;
}

PVIOMMU_WRAP(int, wrap_access, access, (const char* path, int mode)) { return access_common(AT_FDCWD, path, mode, 0); }
PVIOMMU_WRAP(int, wrap_eaccess, eaccess, (const char* path, int mode)) {
  return access_common(AT_FDCWD, path, mode, AT_EACCESS);
}
PVIOMMU_WRAP(int, wrap_euidaccess, euidaccess, (const char* path, int mode)) {
  return access_common(AT_FDCWD, path, mode, AT_EACCESS);
}
PVIOMMU_WRAP(int, wrap_faccessat, faccessat, (int folder, const char* path, int mode, int flags)) {
  return access_common(folder, path, mode, flags);
}

PVIOMMU_WRAP(ssize_t, wrap_readlink, readlink, (const char* path, char* buffer, size_t bytes)) {
  return readlink_common(AT_FDCWD, path, buffer, bytes);
}
PVIOMMU_WRAP(ssize_t, wrap_readlinkat, readlinkat, (int folder, const char* path, char* buffer, size_t bytes)) {
  return readlink_common(folder, path, buffer, bytes);
}
PVIOMMU_WRAP(ssize_t, wrap_readlink_chk, __readlink_chk, (const char* path, char* buffer, size_t bytes, size_t space)) {
  if (bytes > space) buffer_overflow_detected();
  return readlink_common(AT_FDCWD, path, buffer, bytes);
}
PVIOMMU_WRAP(ssize_t, wrap_readlinkat_chk, __readlinkat_chk,
             (int folder, const char* path, char* buffer, size_t bytes, size_t space)) {
  if (bytes > space) buffer_overflow_detected();
  return readlink_common(folder, path, buffer, bytes);
}

PVIOMMU_WRAP(char*, wrap_realpath, realpath, (const char* path, char* resolved)) { return realpath_common(path, resolved); }
PVIOMMU_WRAP(char*, wrap_realpath_chk, __realpath_chk, (const char* path, char* resolved, size_t space)) {
  if (space < PATH_MAX) buffer_overflow_detected();
  return realpath_common(path, resolved);
}
PVIOMMU_WRAP(char*, wrap_canonicalize_file_name, canonicalize_file_name, (const char* path)) { return realpath_common(path, nullptr); }

PVIOMMU_WRAP(FILE*, wrap_fopen, fopen, (const char* path, const char* mode)) { return fopen_common(path, mode); }
PVIOMMU_WRAP(FILE*, wrap_fopen64, fopen64, (const char* path, const char* mode)) { return fopen_common(path, mode); }

PVIOMMU_WRAP(FILE*, wrap_freopen, freopen, (const char* path, const char* mode, FILE* stream)) {
  return freopen_common(path, mode, stream);
}
PVIOMMU_WRAP(FILE*, wrap_freopen64, freopen64, (const char* path, const char* mode, FILE* stream)) {
  return freopen_common(path, mode, stream);
}

}  // extern "C"
}  // namespace pviommu::vfio
