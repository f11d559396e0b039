// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that take a path.
//
// /dev/vfio/NODE is opened by the engine; all else that asks about it, and what
// the device tree has of /sys, is answered from the tree (sysfs_view.h).  Only
// absolute paths are led: a descriptor of a folder of the tree is a real one,
// and what is relative to it is found without us.
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

// Documentation/admin-guide/devices.txt: 10:196 is /dev/vfio/vfio; groups have
// a dynamic major number.
constexpr unsigned kContainerMajor = 10, kContainerMinor = 196, kGroupMajor = 243;

struct Route {
  bool ours = false;
  std::string path;  ///< in the tree
  std::string node;  ///< of /dev/vfio/NODE, else empty
};

const char* skip_slashes(const char* p) {
  while (*p == '/' || (p[0] == '.' && p[1] == '/')) ++p;
  return p;
}

bool is_component(const char* p, std::string_view name) {
  return std::strncmp(p, name.data(), name.size()) == 0 && (p[name.size()] == '/' || p[name.size()] == '\0');
}

// Decides for nearly every path of a program by a few characters.
bool may_be_ours(const char* path) {
  if (path == nullptr || path[0] != '/') return false;
  const char* first = skip_slashes(path);
  const bool sys = is_component(first, "sys");
  if (!sys && !is_component(first, "dev")) return false;
  const char* second = skip_slashes(first + 3);
  if (!sys) return is_component(second, "vfio");
  return is_component(second, "bus") || is_component(second, "kernel") || is_component(second, "module") ||
         is_component(second, "devices");
}

// The tree may have to be made for this, which takes a hypervisor: only for
// what a tree can hold.
bool is_tree_path(std::string_view normalised) {
  for (const std::string_view prefix :
       {"/dev/vfio", "/sys/bus/pci", "/sys/kernel/iommu_groups", "/sys/module/vfio", "/sys/devices/pci"})
    if (normalised.substr(0, prefix.size()) == prefix) return true;
  return false;
}

Route route(const char* path) {
  if (!may_be_ours(path) || inside_engine()) [[likely]]
    return {};
  const KeepErrno keep;
  const std::string name = SysfsView::normalise(path);
  if (!is_tree_path(name)) return {};
  Route result;
  if (const auto node = SysfsView::vfio_node(name)) {
    result.node = *node;
    result.ours = true;
  }
  const SysfsView* view = front_end().view();
  if (view == nullptr) return result;
  const EngineScope scope;
  if (auto led = view->resolve(name)) {
    result.ours = true;
    result.path = std::move(*led);
  }
  return result;
}

// Without a tree (the hypervisor cannot be opened) there is nothing.
const char* in_tree(const Route& route) { return route.path.empty() ? "" : route.path.c_str(); }

unsigned group_of(const std::string& node) {
  unsigned group = 0;
  std::from_chars(node.data(), node.data() + node.size(), group);
  return group;
}

bool takes_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

void show_device_node(struct stat& st, const std::string& node) {
  const bool container = node == "vfio";
  st.st_mode = S_IFCHR | (container ? 0666 : 0600);
  st.st_rdev = container ? makedev(kContainerMajor, kContainerMinor) : makedev(kGroupMajor, group_of(node));
  st.st_size = 0;
  st.st_blocks = 0;
}

void show_open_file(struct stat& st, const OpenFile& file) {
  st.st_nlink = 1;
  st.st_size = 0;
  st.st_blocks = 0;
  if (file.path()[0] == '/')
    show_device_node(st, std::strrchr(file.path(), '/') + 1);
  else
    st.st_mode = 0600;  // an anonymous inode: no type
}

int stat_common(int folder, const char* path, struct stat* st, int flags) {
  const Route led = route(path);
  if (!led.ours) return real().fstatat(folder, path, st, flags);
  const int result = real().fstatat(AT_FDCWD, in_tree(led), st, flags);
  if (result == 0 && !led.node.empty()) show_device_node(*st, led.node);
  return result;
}

int fstat_common(int fd, struct stat* st) {
  const int result = real().fstat(fd, st);
  if (result != 0) return result;
  if (const OpenFileRef file = fd_table.find(fd)) show_open_file(*st, *file);
  return result;
}

// /proc/self/fd/N, /proc/<pid>/fd/N -> N, else -1.
int number_of_proc_link(const char* path) {
  constexpr std::string_view kProc = "/proc/";
  if (path == nullptr || std::strncmp(path, kProc.data(), kProc.size()) != 0) return -1;
  const char* at = path + kProc.size();
  if (is_component(at, "self")) {
    at += 4;
  } else {
    int pid = 0;
    const auto [rest, problem] = std::from_chars(at, at + std::strlen(at), pid);
    if (problem != std::errc() || pid != owner_pid()) return -1;
    at = rest;
  }
  if (std::strncmp(at, "/fd/", 4) != 0) return -1;
  at += 4;
  int fd = -1;
  const char* end = at + std::strlen(at);
  const auto [rest, problem] = std::from_chars(at, end, fd);
  return problem == std::errc() && rest == end ? fd : -1;
}

int open_common(int folder, const char* path, int flags, mode_t mode) {
  if (const int linked = number_of_proc_link(path); linked >= 0 && (flags & O_PATH) == 0)
    if (const OpenFileRef file = fd_table.find(linked)) {
      const std::string_view node = file->path();
      // Another open of the device node; an anonymous inode has none.
      return static_cast<int>(
          returned(node[0] == '/' ? front_end().open_node(node.substr(node.rfind('/') + 1), flags) : -ENXIO));
    }
  const Route led = route(path);
  if (led.ours && !led.node.empty() && (flags & O_PATH) == 0)
    return static_cast<int>(returned(front_end().open_node(led.node, flags)));
  const int fd = led.ours ? real().openat(AT_FDCWD, in_tree(led), flags, mode)
                          : real().openat(folder, path, flags, mode);
  // A number of ours that was closed behind our back comes back as another file.
  if (fd_table.contains(fd)) [[unlikely]] {
    const KeepErrno keep;
    const OpenFileRef stale = fd_table.take(fd);
  }
  return fd;
}

ssize_t readlink_common(int folder, const char* path, char* buffer, size_t bytes) {
  if (const int fd = number_of_proc_link(path); fd >= 0)
    if (const OpenFileRef file = fd_table.find(fd)) {
      const size_t length = std::min(std::strlen(file->path()), bytes);
      std::memcpy(buffer, file->path(), length);
      return static_cast<ssize_t>(length);
    }
  const Route led = route(path);
  return led.ours ? real().readlinkat(AT_FDCWD, in_tree(led), buffer, bytes)
                  : real().readlinkat(folder, path, buffer, bytes);
}

char* realpath_common(const char* path, char* resolved) {
  const Route led = route(path);
  if (!led.ours) return real().realpath(path, resolved);
  char* result = real().realpath(in_tree(led), resolved);
  if (result == nullptr) return nullptr;
  const KeepErrno keep;
  const EngineScope scope;
  // A program that asked about /sys is answered about /sys.
  const SysfsView* view = front_end().known_view();
  const auto shown = view != nullptr ? view->unresolve(result) : std::nullopt;
  if (!shown || shown->size() >= PATH_MAX) return result;
  if (resolved == nullptr) {
    char* copy = ::strdup(shown->c_str());
    std::free(result);
    return copy;
  }
  std::memcpy(resolved, shown->c_str(), shown->size() + 1);
  return resolved;
}

int access_common(int folder, const char* path, int mode, int flags) {
  const Route led = route(path);
  return led.ours ? real().faccessat(AT_FDCWD, in_tree(led), mode, flags)
                  : real().faccessat(folder, path, mode, flags);
}

int scandir_common(const char* path, dirent*** names, int (*filter)(const dirent*),
                   int (*compare)(const dirent**, const dirent**)) {
  const Route led = route(path);
  return real().scandir(led.ours ? in_tree(led) : path, names, filter, compare);
}

FILE* fopen_common(const char* path, const char* mode) {
  const Route led = route(path);
  return real().fopen(led.ours ? in_tree(led) : path, mode);
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
  if (path != nullptr && *path == '\0' && (flags & AT_EMPTY_PATH) != 0 && fd_table.contains(folder))
    return fstat_common(folder, st);
  return stat_common(folder, path, st, flags);
}
PVIOMMU_WRAP(int, wrap_fstatat64, fstatat64, (int folder, const char* path, struct stat* st, int flags)) {
  return wrap_fstatat(folder, path, st, flags);
}

PVIOMMU_WRAP(int, wrap_statx, statx, (int folder, const char* path, int flags, unsigned mask, struct statx* stx)) {
  const Route led = route(path);
  const int result = led.ours ? real().statx(AT_FDCWD, in_tree(led), flags, mask, stx)
                              : real().statx(folder, path, flags, mask, stx);
  if (result != 0) return result;
  struct stat st {};
  const bool empty = path != nullptr && *path == '\0';
  const OpenFileRef file = empty ? fd_table.find(folder) : OpenFileRef();
  if (file)
    show_open_file(st, *file);
  else if (!led.node.empty())
    show_device_node(st, led.node);
  else
    return result;
  stx->stx_mode = static_cast<std::uint16_t>(st.st_mode);
  stx->stx_rdev_major = major(st.st_rdev);
  stx->stx_rdev_minor = minor(st.st_rdev);
  stx->stx_nlink = 1;
  return result;
}

PVIOMMU_WRAP(int, wrap_access, access, (const char* path, int mode)) {
  const Route led = route(path);
  return led.ours ? real().access(in_tree(led), mode) : real().access(path, mode);
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

PVIOMMU_WRAP(DIR*, wrap_opendir, opendir, (const char* path)) {
  const Route led = route(path);
  return real().opendir(led.ours ? in_tree(led) : path);
}

PVIOMMU_WRAP(int, wrap_scandir, scandir,
             (const char* path, dirent*** names, int (*filter)(const dirent*), int (*compare)(const dirent**, const dirent**))) {
  return scandir_common(path, names, filter, compare);
}
PVIOMMU_WRAP(int, wrap_scandir64, scandir64,
             (const char* path, dirent*** names, int (*filter)(const dirent*), int (*compare)(const dirent**, const dirent**))) {
  return scandir_common(path, names, filter, compare);
}

PVIOMMU_WRAP(FILE*, wrap_fopen, fopen, (const char* path, const char* mode)) { return fopen_common(path, mode); }
PVIOMMU_WRAP(FILE*, wrap_fopen64, fopen64, (const char* path, const char* mode)) { return fopen_common(path, mode); }

// ls -l asks for access control lists.
PVIOMMU_WRAP(ssize_t, wrap_getxattr, getxattr, (const char* path, const char* name, void* value, size_t bytes)) {
  const Route led = route(path);
  return real().getxattr(led.ours ? in_tree(led) : path, name, value, bytes);
}
PVIOMMU_WRAP(ssize_t, wrap_lgetxattr, lgetxattr, (const char* path, const char* name, void* value, size_t bytes)) {
  const Route led = route(path);
  return real().lgetxattr(led.ours ? in_tree(led) : path, name, value, bytes);
}

}  // extern "C"
}  // namespace pviommu::vfio
