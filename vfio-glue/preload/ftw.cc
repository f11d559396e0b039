// SPDX-License-Identifier: LGPL-2.1-or-later
// ftw() and nftw() of folders that can lead into the device tree.
//
// The C library's call its own opendir() and stat(), which do not come by here.  So a walk
// that starts at, above or below /sys or /dev is made here, by the functions that the program
// has; every other one is left to the C library.
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hypercall/unique_fd.h"
#include "vfio-glue/preload/path_walk.h"
#include "vfio-glue/preload/process.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

using Visit = int (*)(const char*, const struct stat*, int);
using VisitMore = int (*)(const char*, const struct stat*, int, FTW*);

class FileWalk {
 public:
  /// One of the two functions is null.
  FileWalk(Visit visit, VisitMore visit_more, int flags) : visit_(visit), visit_more_(visit_more), flags_(flags) {}

  int run(const char* start) {
    if ((flags_ & FTW_CHDIR) != 0) {
      origin_.reset(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!origin_) return -1;
    }
    path_ = start;
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
    const int result = walk_from_start();
    const int error = errno;
    if (origin_ && ::fchdir(origin_.get()) != 0 && result == 0) return -1;
    errno = error;
    return (flags_ & FTW_ACTIONRETVAL) != 0 && (result == FTW_SKIP_SIBLINGS || result == FTW_SKIP_SUBTREE) ? 0 : result;
  }

 private:
  bool physical() const { return (flags_ & FTW_PHYS) != 0; }
  int folder() const { return origin_ ? origin_.get() : AT_FDCWD; }
  int look(struct stat& st, bool follow) const {
    return ::fstatat(folder(), path_.c_str(), &st, follow ? 0 : AT_SYMLINK_NOFOLLOW);
  }

  int walk_from_start() {
    struct stat st {};
    if (look(st, !physical()) != 0) {
      const int error = errno;
      if (error != ENOENT || physical() || look(st, false) != 0 || !S_ISLNK(st.st_mode)) {
        errno = error;
        return -1;
      }
      return tell(st, FTW_SLN, 0);
    }
    device_ = st.st_dev;
    return walk(st, 0);
  }

  int enter(int level) {
    struct stat st {};
    if (look(st, !physical()) != 0) {
      if (errno != EACCES && errno != ENOENT) return -1;
      const bool dangling = !physical() && look(st, false) == 0 && S_ISLNK(st.st_mode);
      return tell(st, dangling ? FTW_SLN : FTW_NS, level);
    }
    if ((flags_ & FTW_MOUNT) != 0 && st.st_dev != device_) return 0;
    return walk(st, level);
  }

  int walk(const struct stat& st, int level) {
    if (!S_ISDIR(st.st_mode)) return tell(st, S_ISLNK(st.st_mode) ? FTW_SL : FTW_F, level);
    // Following links, a folder is walked once.
    if (!physical() && !walked_.insert({st.st_dev, st.st_ino}).second) return 0;
    std::vector<std::string> names;
    if (!list(names)) return errno == EACCES ? tell(st, FTW_DNR, level) : -1;
    if ((flags_ & FTW_DEPTH) == 0)
      if (const int result = tell(st, FTW_D, level); result != 0)
        return (flags_ & FTW_ACTIONRETVAL) != 0 && result == FTW_SKIP_SUBTREE ? 0 : result;
    const std::size_t size = path_.size();
    for (const std::string& name : names) {
      if (path_ != "/") path_ += '/';
      path_ += name;
      const int result = enter(level + 1);
      path_.resize(size);
      if (result == 0) continue;
      if ((flags_ & FTW_ACTIONRETVAL) == 0 || result == FTW_STOP || result == -1) return result;
      if (result == FTW_SKIP_SIBLINGS) break;
    }
    return (flags_ & FTW_DEPTH) != 0 ? tell(st, FTW_DP, level) : 0;
  }

  bool list(std::vector<std::string>& names) {
    const int fd = ::openat(folder(), path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* stream = fd < 0 ? nullptr : ::fdopendir(fd);
    if (stream == nullptr) return false;
    while (const dirent* entry = ::readdir(stream)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    ::closedir(stream);
    return true;
  }

  int tell(const struct stat& st, int type, int level) {
    const std::size_t slash = path_.rfind('/');
    const std::size_t base = slash == std::string::npos || path_.size() == 1 ? 0 : slash + 1;
    if (origin_) {
      const std::string parent = base == 0 ? "." : base == 1 ? "/" : path_.substr(0, base - 1);
      if (::fchdir(origin_.get()) != 0 || ::chdir(parent.c_str()) != 0) return -1;
    }
    if (visit_more_ != nullptr) {
      FTW place{static_cast<int>(base), level};
      return visit_more_(path_.c_str(), &st, type, &place);
    }
    return visit_(path_.c_str(), &st, type == FTW_SLN ? FTW_NS : type == FTW_SL ? FTW_F : type);
  }

  const Visit visit_;
  const VisitMore visit_more_;
  const int flags_;
  UniqueFd origin_;  // where paths begin, with FTW_CHDIR
  dev_t device_ = 0;
  std::string path_;
  std::set<std::pair<dev_t, ino_t>> walked_;
};

int ftw_common(const char* start, Visit visit, int descriptors) {
  if (inside_engine() || !may_lead_into_tree(start))
    return real_named<"ftw64", int(const char*, Visit, int)>()(start, visit, descriptors);
  return FileWalk(visit, nullptr, 0).run(start);
}

int nftw_common(const char* start, VisitMore visit, int descriptors, int flags) {
  constexpr int kKnown = FTW_PHYS | FTW_MOUNT | FTW_CHDIR | FTW_DEPTH | FTW_ACTIONRETVAL;
  if ((flags & ~kKnown) != 0 || inside_engine() || !may_lead_into_tree(start))
    return real_named<"nftw64", int(const char*, VisitMore, int, int)>()(start, visit, descriptors, flags);
  return FileWalk(nullptr, visit, flags).run(start);
}

}  // namespace

extern "C" {

PVIOMMU_WRAP(int, wrap_ftw, ftw, (const char* start, Visit visit, int descriptors)) {
  return ftw_common(start, visit, descriptors);
}
PVIOMMU_WRAP(int, wrap_ftw64, ftw64, (const char* start, Visit visit, int descriptors)) {
  return ftw_common(start, visit, descriptors);
}
PVIOMMU_WRAP(int, wrap_nftw, nftw, (const char* start, VisitMore visit, int descriptors, int flags)) {
  return nftw_common(start, visit, descriptors, flags);
}
PVIOMMU_WRAP(int, wrap_nftw64, nftw64, (const char* start, VisitMore visit, int descriptors, int flags)) {
  return nftw_common(start, visit, descriptors, flags);
}

}  // extern "C"
}  // namespace pviommu::vfio
