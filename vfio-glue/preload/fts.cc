// SPDX-License-Identifier: LGPL-2.1-or-later
// fts(3) of folders that can lead into the device tree; every other one is the C library's,
// for the reason that ftw.cc gives.
//
// The states are fts's of 4.4BSD: an entry has an instruction of the program's (fts_instr)
// and what it is (fts_info); fts_read() goes on from there.  The working folder is never
// changed, as with FTS_NOCHDIR: fts_accpath is fts_path, which the program cannot tell from
// the other way as long as it opens what it is given.
#undef _FORTIFY_SOURCE  // the definitions here are behind the checked ones
#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/path_walk.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

using Compare = int (*)(const FTSENT**, const FTSENT**);

FTSENT* new_entry(const std::string& path, std::string_view name, FTSENT* parent) {
  // The entry, its name in it, and behind that what it points to.
  const std::size_t head = (sizeof(FTSENT) + name.size() + 1 + 15) & ~std::size_t{15};
  char* memory = static_cast<char*>(std::calloc(1, head + sizeof(struct stat) + path.size() + 1));
  if (memory == nullptr) return nullptr;
  auto* entry = reinterpret_cast<FTSENT*>(memory);
  entry->fts_statp = reinterpret_cast<struct stat*>(memory + head);
  entry->fts_path = memory + head + sizeof(struct stat);
  entry->fts_accpath = entry->fts_path;
  entry->fts_pathlen = static_cast<unsigned short>(path.size());
  entry->fts_namelen = static_cast<unsigned short>(name.size());
  std::memcpy(entry->fts_path, path.c_str(), path.size() + 1);
  std::memcpy(entry->fts_name, name.data(), name.size());
  entry->fts_parent = parent;
  entry->fts_level = static_cast<short>(parent->fts_level + 1);
  entry->fts_instr = FTS_NOINSTR;
  return entry;
}

void free_list(FTSENT* head) {
  while (head != nullptr) std::free(std::exchange(head, head->fts_link));
}

/// What the program holds is its FTS, of which it may look at the options and the compare function.
class Walk {
 public:
  Walk(int options, Compare compare) {
    stream_.fts_options = options;
    stream_.fts_compar = reinterpret_cast<int (*)(const void*, const void*)>(compare);
    above_ = new_entry("", "", &start_);
    above_->fts_level = FTS_ROOTPARENTLEVEL;
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;
  ~Walk() {
    free_list(child_);
    free_list(roots_);
    for (FTSENT* entry = current_; entry != nullptr && entry != above_;) {
      FTSENT* parent = entry->fts_parent;
      free_list(entry);
      entry = parent;
    }
    std::free(above_);
  }
  FTS* stream() { return &stream_; }

  bool add_roots(char* const* paths) {
    std::vector<FTSENT*> roots;
    for (; *paths != nullptr; ++paths) {
      if (**paths == '\0') {
        for (FTSENT* root : roots) std::free(root);
        errno = ENOENT;
        return false;
      }
      const std::string_view path = *paths;
      FTSENT* root = new_entry(std::string(path), path, above_);
      root->fts_info = look(root, (stream_.fts_options & FTS_COMFOLLOW) != 0);
      if (root->fts_info == FTS_DOT) root->fts_info = FTS_D;
      roots.push_back(root);
    }
    roots_ = chain(roots);
    return true;
  }

  FTSENT* read() {
    if (ended_) return nullptr;
    if (current_ == nullptr) return begin(std::exchange(roots_, nullptr));
    FTSENT* entry = current_;
    const int instruction = std::exchange(entry->fts_instr, FTS_NOINSTR);
    if (instruction == FTS_AGAIN) {
      entry->fts_info = look(entry, false);
      return entry;
    }
    if (instruction == FTS_FOLLOW && (entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE)) {
      entry->fts_info = look(entry, true);
      return entry;
    }
    if (entry->fts_info == FTS_D) {
      const bool elsewhere = (stream_.fts_options & FTS_XDEV) != 0 && entry->fts_dev != stream_.fts_dev;
      if (instruction == FTS_SKIP || elsewhere) {
        free_list(std::exchange(child_, nullptr));
        entry->fts_info = FTS_DP;
        return entry;
      }
      if (child_ == nullptr) child_ = list(entry);
      if (child_ == nullptr) {
        if (entry->fts_info == FTS_D) entry->fts_info = FTS_DP;
        return entry;
      }
      return visit(std::exchange(child_, nullptr));
    }
    return next(entry);
  }

  FTSENT* children(int how) {
    errno = 0;
    if (ended_) return nullptr;
    if (current_ == nullptr) return roots_;
    if (how != 0 && how != FTS_NAMEONLY) {
      errno = EINVAL;
      return nullptr;
    }
    if (current_->fts_info != FTS_D) return nullptr;
    free_list(child_);
    return child_ = list(current_);
  }

 private:
  FTSENT* begin(FTSENT* root) {
    if (root == nullptr) return end();
    stream_.fts_dev = root->fts_dev;
    return current_ = root;
  }

  FTSENT* end() {
    ended_ = true;
    errno = 0;
    return current_ = nullptr;
  }

  FTSENT* visit(FTSENT* entry) {
    for (; entry != nullptr; entry = entry->fts_link) {
      current_ = entry;
      if (entry->fts_instr == FTS_SKIP) return next(entry);
      if (entry->fts_instr == FTS_FOLLOW) {
        entry->fts_info = look(entry, true);
        entry->fts_instr = FTS_NOINSTR;
      }
      return entry;
    }
    return nullptr;
  }

  FTSENT* next(FTSENT* entry) {
    FTSENT* link = entry->fts_link;
    FTSENT* parent = entry->fts_parent;
    std::free(entry);
    current_ = nullptr;
    if (link != nullptr) return link->fts_level == FTS_ROOTLEVEL ? begin(link) : visit(link);
    if (parent == above_) return end();
    parent->fts_info = parent->fts_errno != 0 ? FTS_ERR : FTS_DP;
    return current_ = parent;
  }

  FTSENT* list(FTSENT* folder) {
    DIR* stream = ::opendir(folder->fts_path);
    if (stream == nullptr) {
      folder->fts_info = FTS_DNR;
      folder->fts_errno = errno;
      return nullptr;
    }
    std::vector<FTSENT*> entries;
    std::string path = folder->fts_path;
    if (path.back() != '/') path += '/';
    while (const dirent* found = ::readdir(stream)) {
      const std::string_view name = found->d_name;
      const bool dots = name == "." || name == "..";
      if (dots && (stream_.fts_options & FTS_SEEDOT) == 0) continue;
      FTSENT* entry = new_entry(path + std::string(name), name, folder);
      const bool folders_only = (stream_.fts_options & FTS_NOSTAT) != 0 && found->d_type != DT_DIR &&
                                found->d_type != DT_UNKNOWN && (stream_.fts_options & FTS_PHYSICAL) != 0;
      entry->fts_info = folders_only ? FTS_NSOK : look(entry, false);
      entries.push_back(entry);
    }
    ::closedir(stream);
    return chain(entries);
  }

  FTSENT* chain(std::vector<FTSENT*>& entries) {
    if (stream_.fts_compar != nullptr) std::qsort(entries.data(), entries.size(), sizeof(FTSENT*), stream_.fts_compar);
    FTSENT* head = nullptr;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      (*entry)->fts_link = head;
      head = *entry;
    }
    return head;
  }

  unsigned short look(FTSENT* entry, bool follow) {
    struct stat& st = *entry->fts_statp;
    const bool follows = follow || (stream_.fts_options & FTS_LOGICAL) != 0;
    if ((follows ? ::stat(entry->fts_path, &st) : ::lstat(entry->fts_path, &st)) != 0) {
      const int error = errno;
      if (follows && ::lstat(entry->fts_path, &st) == 0) return FTS_SLNONE;
      entry->fts_errno = error;
      st = {};
      return FTS_NS;
    }
    entry->fts_dev = st.st_dev;
    entry->fts_ino = st.st_ino;
    entry->fts_nlink = st.st_nlink;
    if (S_ISLNK(st.st_mode)) return FTS_SL;
    if (S_ISREG(st.st_mode)) return FTS_F;
    if (!S_ISDIR(st.st_mode)) return FTS_DEFAULT;
    const std::string_view name = entry->fts_name;
    if (name == "." || name == "..") return FTS_DOT;
    for (FTSENT* above = entry->fts_parent; above != above_; above = above->fts_parent)
      if (above->fts_ino == st.st_ino && above->fts_dev == st.st_dev) {
        entry->fts_cycle = above;
        return FTS_DC;
      }
    return FTS_D;
  }

  FTS stream_{};
  FTSENT start_{};  // parent of `above_` while that is made
  FTSENT* above_ = nullptr;
  FTSENT* roots_ = nullptr;    // before the first fts_read()
  FTSENT* current_ = nullptr;  // its siblings behind it, its parents above
  FTSENT* child_ = nullptr;    // of `current_`, by fts_children()
  bool ended_ = false;
};

std::mutex mutex;
std::vector<std::unique_ptr<Walk>>& walks() {
  static auto& all = *new std::vector<std::unique_ptr<Walk>>;  // used to the end of the process
  return all;
}
constinit std::atomic<int> count{0};

Walk* find(FTS* stream) {
  if (count.load(std::memory_order_acquire) == 0) [[likely]]
    return nullptr;
  const std::scoped_lock lock(mutex);
  const auto at = std::ranges::find_if(walks(), [&](const auto& walk) { return walk->stream() == stream; });
  return at == walks().end() ? nullptr : at->get();
}

FTS* open_common(char* const* paths, int options, Compare compare) {
  bool ours = false;
  if (!inside_engine() && (options & ~FTS_OPTIONMASK) == 0)
    for (char* const* path = paths; *path != nullptr; ++path) ours = ours || may_lead_into_tree(*path);
  if (!ours) return real_named<"fts_open", FTS*(char* const*, int, Compare)>()(paths, options, compare);
  auto walk = std::make_unique<Walk>(options, compare);
  if (!walk->add_roots(paths)) return nullptr;
  const std::scoped_lock lock(mutex);
  count.fetch_add(1, std::memory_order_release);
  return walks().emplace_back(std::move(walk))->stream();
}

FTSENT* read_common(FTS* stream) {
  if (Walk* walk = find(stream)) return walk->read();
  return real_named<"fts_read", FTSENT*(FTS*)>()(stream);
}

FTSENT* children_common(FTS* stream, int how) {
  if (Walk* walk = find(stream)) return walk->children(how);
  return real_named<"fts_children", FTSENT*(FTS*, int)>()(stream, how);
}

int close_common(FTS* stream) {
  if (find(stream) == nullptr) return real_named<"fts_close", int(FTS*)>()(stream);
  const std::scoped_lock lock(mutex);
  std::erase_if(walks(), [&](const auto& walk) { return walk->stream() == stream; });
  count.fetch_sub(1, std::memory_order_release);
  return 0;
}

}  // namespace

extern "C" {

// fts_set() works on the entry alone.
#define PVIOMMU_DEFINE_FTS(prefix)                                                                              \
  PVIOMMU_WRAP(FTS*, wrap_##prefix##_open, prefix##_open, (char* const* paths, int options, Compare compare)) { \
    return open_common(paths, options, compare);                                                                \
  }                                                                                                             \
  PVIOMMU_WRAP(FTSENT*, wrap_##prefix##_read, prefix##_read, (FTS* stream)) { return read_common(stream); }     \
  PVIOMMU_WRAP(FTSENT*, wrap_##prefix##_children, prefix##_children, (FTS* stream, int how)) {                  \
    return children_common(stream, how);                                                                        \
  }                                                                                                             \
  PVIOMMU_WRAP(int, wrap_##prefix##_close, prefix##_close, (FTS* stream)) { return close_common(stream); }
PVIOMMU_DEFINE_FTS(fts)
PVIOMMU_DEFINE_FTS(fts64)

}  // extern "C"
}  // namespace pviommu::vfio
