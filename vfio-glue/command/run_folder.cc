// SPDX-License-Identifier: LGPL-2.1-or-later
// The folder of a run is locked as long as a process of the run has it open; a later run
// removes folders that nobody has locked.
#include "vfio-glue/command/run_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "vfio-glue/engine/sysfs_view.h"

namespace pviommu::command {
namespace {

constexpr char kAlive[] = "/alive";
constexpr std::string_view kPrefix = "pviommu-";  // make_run_folder(): and six characters
constexpr time_t kSettled = 60;                   // seconds after which a run without its lock is dead

bool lock(int fd) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return ::fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

/// True when a folder was a run's whose processes have all ended.
bool is_left_behind(const std::string& folder) {
  struct stat st {};
  if (::lstat(folder.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != ::geteuid()) return false;
  if (::time(nullptr) - st.st_mtime < kSettled) return false;  // perhaps just being made
  const int fd = ::open((folder + kAlive).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;  // no folder of ours, or one that is being removed
  const bool dead = lock(fd);
  ::close(fd);
  return dead;
}

void remove_left_behind(const std::string& base) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(base.c_str()), &::closedir);
  if (!entries) return;
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name.size() != kPrefix.size() + 6 || !name.starts_with(kPrefix)) continue;
    const std::string folder = base + "/" + std::string(name);
    if (is_left_behind(folder)) vfio::SysfsView::remove(folder);
  }
}

}  // namespace

Status RunFolder::make() {
  path_ = PVIOMMU_TRY(vfio::make_run_folder());
  // The program inherits the descriptor and with it the lock: the folder is in
  // use until the last of its processes has ended, whatever became of us.  A
  // high number is out of everybody's way.
  const int fd = ::open((path_ + kAlive).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Error{errno, "folder of the run"};
  int inherited = ::fcntl(fd, F_DUPFD, 900);
  if (inherited < 0) inherited = ::fcntl(fd, F_DUPFD, 100);
  if (inherited < 0 || !lock(inherited)) return Error{errno, "lock of the run"};
  ::close(fd);
  remove_left_behind(path_.substr(0, path_.rfind('/')));
  return {};
}

RunFolder::~RunFolder() {
  if (!path_.empty()) vfio::SysfsView::remove(path_);
  if (!extra_tree_.empty()) vfio::SysfsView::remove(extra_tree_);
}

}  // namespace pviommu::command
