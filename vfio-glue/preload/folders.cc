// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that list folders: streams, scandir() and glob().
//
// A folder of the device tree is listed as it is, but for its entries' types.  A real folder
// that the tree adds something to (/dev has vfio, /sys/bus may have no pci) is listed in two
// parts, the real one first.  Of these streams a list is kept here; all others are the C
// library's alone, at the price of one load.
//
// The C library's own callers of opendir() do not come by here: scandir() and glob() are
// given our functions, the walks are in walks.cc.
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/path_walk.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

dirent* next_of(DIR* stream) { return real_named<"readdir64", dirent*(DIR*)>()(stream); }
DIR* open_real(const char* path) { return real_named<"opendir", DIR*(const char*)>()(path); }
int close_real(DIR* stream) { return real_named<"closedir", int(DIR*)>()(stream); }
void rewind_real(DIR* stream) { real_named<"rewinddir", void(DIR*)>()(stream); }

/// A stream whose entries are not what the kernel says.
struct Listing {
  DIR* stream = nullptr;
  std::string shown;      ///< the folder, as the program sees it
  bool in_tree = false;
  DIR* more = nullptr;    ///< the tree's part of a real folder
  bool in_more = false;   ///< the real part is at its end
};

std::mutex mutex;
std::list<Listing>& listings() {
  static std::list<Listing>& all = *new std::list<Listing>;  // used to the end of the process
  return all;
}
constinit std::atomic<int> count{0};

/// Nobody but the stream's owner uses what is found.
Listing* find(DIR* stream) {
  if (count.load(std::memory_order_acquire) == 0) [[likely]]
    return nullptr;
  const std::scoped_lock lock(mutex);
  const auto at = std::ranges::find(listings(), stream, &Listing::stream);
  return at == listings().end() ? nullptr : &*at;
}

bool may_add_to(const std::string& shown) { return shown == "/dev" || shown == "/sys" || shown.starts_with("/sys/"); }

/// Enters a new stream if its entries need us.
DIR* notice(DIR* stream) {
  const SysfsView* view = front_end().known_view();
  if (stream == nullptr || view == nullptr || inside_engine()) return stream;
  const KeepErrno keep;
  const auto folder = shown_folder(::dirfd(stream));
  if (!folder || (!folder->in_tree && !may_add_to(folder->path))) return stream;
  Listing listing{stream, folder->path, folder->in_tree};
  if (!folder->in_tree) {
    const bool dev = folder->path == "/dev";
    listing.more = open_real((view->root() + (dev ? "/dev" : folder->path.substr(4))).c_str());
    if (listing.more == nullptr) return stream;
  }
  const std::scoped_lock lock(mutex);
  listings().push_back(std::move(listing));
  count.fetch_add(1, std::memory_order_release);
  return stream;
}

void forget(DIR* stream) {
  Listing* listing = find(stream);
  if (listing == nullptr) return;
  const KeepErrno keep;
  if (listing->more != nullptr) close_real(listing->more);
  const std::scoped_lock lock(mutex);
  listings().remove_if([&](const Listing& one) { return &one == listing; });
  count.fetch_sub(1, std::memory_order_release);
}

bool is_dots(const char* name) { return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0; }

/// The type that lstat() would say.  In the tree a device node is an ordinary file, and what
/// is really there a link.
void show_type(const Listing& listing, dirent& entry) {
  if (is_dots(entry.d_name) || (entry.d_type != DT_REG && entry.d_type != DT_LNK)) return;
  const KeepErrno keep;
  struct stat st {};
  const std::string path = listing.shown + "/" + entry.d_name;
  if (SysfsView::vfio_node(path))
    entry.d_type = DT_CHR;
  else if (entry.d_type == DT_LNK && ::lstat(path.c_str(), &st) == 0)  // through our own
    entry.d_type = IFTODT(st.st_mode);
}

dirent* read_listing(Listing& listing) {
  if (!listing.in_more) {
    const int before = errno;
    errno = 0;
    if (dirent* entry = next_of(listing.stream)) {
      if (listing.in_tree) show_type(listing, *entry);
      errno = before;
      return entry;
    }
    if (errno != 0 || listing.more == nullptr) {
      if (errno == 0) errno = before;
      return nullptr;
    }
    errno = before;
    listing.in_more = true;
  }
  while (dirent* entry = next_of(listing.more)) {
    const KeepErrno keep;
    struct stat st {};
    if (is_dots(entry->d_name)) continue;
    if (real().fstatat(::dirfd(listing.stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) continue;  // both
    show_type(listing, *entry);
    return entry;
  }
  return nullptr;
}

dirent* readdir_common(DIR* stream) {
  Listing* listing = find(stream);
  return listing == nullptr ? next_of(stream) : read_listing(*listing);
}

using Filter = int (*)(const dirent*);
using Compare = int (*)(const dirent**, const dirent**);

int scandirat_common(int folder, const char* path, dirent*** names, Filter filter, Compare compare) {
  const int fd = ::openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = fd < 0 ? nullptr : ::fdopendir(fd);
  if (stream == nullptr) {
    const KeepErrno keep;
    if (fd >= 0) ::close(fd);
    return -1;
  }
  // A system call that is looked at with errno: as in the C library, 0 before it.
  const int before = errno;
  errno = 0;
  std::vector<dirent*> found;
  while (const dirent* entry = ::readdir(stream)) {
    if (filter != nullptr && filter(entry) == 0) continue;
    auto* copy = static_cast<dirent*>(std::malloc(entry->d_reclen));
    if (copy == nullptr) {
      errno = ENOMEM;
      break;
    }
    found.push_back(static_cast<dirent*>(std::memcpy(copy, entry, entry->d_reclen)));
    errno = 0;  // a filter may have changed it
  }
  const int problem = errno;
  ::closedir(stream);
  const auto list = static_cast<dirent**>(problem == 0 ? std::malloc((found.size() + 1) * sizeof(dirent*)) : nullptr);
  if (list == nullptr) {
    for (dirent* entry : found) std::free(entry);
    errno = problem != 0 ? problem : ENOMEM;
    return -1;
  }
  std::ranges::copy(found, list);
  // Through the type that qsort() has: the function is the program's, in C.
  if (compare != nullptr)
    std::qsort(list, found.size(), sizeof *list, reinterpret_cast<int (*)(const void*, const void*)>(compare));
  *names = list;
  errno = before;
  return static_cast<int>(found.size());
}

}  // namespace

extern "C" {

PVIOMMU_WRAP(DIR*, wrap_opendir, opendir, (const char* path)) {
  const Place place = find_place(AT_FDCWD, path);
  if (place.error != 0) {
    errno = place.error;
    return nullptr;
  }
  return notice(open_real(place.name(path)));
}
PVIOMMU_WRAP(DIR*, wrap_fdopendir, fdopendir, (int fd)) { return notice(real_named<"fdopendir", DIR*(int)>()(fd)); }
PVIOMMU_WRAP(int, wrap_closedir, closedir, (DIR* stream)) {
  forget(stream);
  return close_real(stream);
}

PVIOMMU_WRAP(dirent*, wrap_readdir, readdir, (DIR* stream)) { return readdir_common(stream); }
PVIOMMU_WRAP(dirent*, wrap_readdir64, readdir64, (DIR* stream)) { return readdir_common(stream); }

// Returns the error, and leaves errno alone.
PVIOMMU_WRAP(int, wrap_readdir_r, readdir_r, (DIR* stream, dirent* entry, dirent** result)) {
  if (find(stream) == nullptr)
    return real_named<"readdir64_r", int(DIR*, dirent*, dirent**)>()(stream, entry, result);
  const KeepErrno keep;
  errno = 0;
  const dirent* next = readdir_common(stream);
  *result = next != nullptr ? static_cast<dirent*>(std::memcpy(entry, next, next->d_reclen)) : nullptr;
  return next != nullptr ? 0 : errno;
}
PVIOMMU_WRAP(int, wrap_readdir64_r, readdir64_r, (DIR* stream, dirent* entry, dirent** result)) {
  return wrap_readdir_r(stream, entry, result);
}

PVIOMMU_WRAP(void, wrap_rewinddir, rewinddir, (DIR* stream)) {
  if (Listing* listing = find(stream)) {
    if (listing->more != nullptr) rewind_real(listing->more);
    listing->in_more = false;
  }
  rewind_real(stream);
}
// A position is one of the real part; the tree's is read again from its beginning.
PVIOMMU_WRAP(void, wrap_seekdir, seekdir, (DIR* stream, long position)) {
  if (Listing* listing = find(stream)) {
    if (listing->more != nullptr) rewind_real(listing->more);
    listing->in_more = false;
  }
  real_named<"seekdir", void(DIR*, long)>()(stream, position);
}

PVIOMMU_WRAP(int, wrap_scandirat, scandirat, (int folder, const char* path, dirent*** names, Filter filter, Compare compare)) {
  return scandirat_common(folder, path, names, filter, compare);
}
PVIOMMU_WRAP(int, wrap_scandirat64, scandirat64, (int folder, const char* path, dirent*** names, Filter filter, Compare compare)) {
  return scandirat_common(folder, path, names, filter, compare);
}
PVIOMMU_WRAP(int, wrap_scandir, scandir, (const char* path, dirent*** names, Filter filter, Compare compare)) {
  return scandirat_common(AT_FDCWD, path, names, filter, compare);
}
PVIOMMU_WRAP(int, wrap_scandir64, scandir64, (const char* path, dirent*** names, Filter filter, Compare compare)) {
  return scandirat_common(AT_FDCWD, path, names, filter, compare);
}

// With a program's own functions for folders it is theirs to find what there is.
PVIOMMU_WRAP(int, wrap_glob, glob, (const char* pattern, int flags, int (*on_error)(const char*, int), glob_t* found)) {
  const auto libc = real_named<"glob64", int(const char*, int, int (*)(const char*, int), glob_t*)>();
  if ((flags & GLOB_ALTDIRFUNC) != 0 || inside_engine()) return libc(pattern, flags, on_error, found);
  glob_t ours = *found;
  ours.gl_closedir = [](void* stream) { ::closedir(static_cast<DIR*>(stream)); };
  ours.gl_readdir = [](void* stream) { return ::readdir(static_cast<DIR*>(stream)); };
  ours.gl_opendir = [](const char* path) -> void* { return ::opendir(path); };
  ours.gl_lstat = [](const char* path, struct stat* st) { return ::lstat(path, st); };
  ours.gl_stat = [](const char* path, struct stat* st) { return ::stat(path, st); };
  const int result = libc(pattern, flags | GLOB_ALTDIRFUNC, on_error, &ours);
  found->gl_pathc = ours.gl_pathc;
  found->gl_pathv = ours.gl_pathv;
  found->gl_offs = ours.gl_offs;
  found->gl_flags = ours.gl_flags & ~GLOB_ALTDIRFUNC;
  return result;
}
PVIOMMU_WRAP(int, wrap_glob64, glob64, (const char* pattern, int flags, int (*on_error)(const char*, int), glob_t* found)) {
  return wrap_glob(pattern, flags, on_error, found);
}

}  // extern "C"
}  // namespace pviommu::vfio
