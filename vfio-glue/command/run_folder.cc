// SPDX-License-Identifier: LGPL-2.1-or-later
// The folder of a run is locked as long as a process of the run has it open; a later run
// removes folders that nobody has locked.
#include "vfio-glue/command/run_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>

#include "vfio-glue/command/process_name.h"
#include "vfio-glue/engine/sysfs_view.h"

namespace pviommu::command {
namespace {

constexpr char kAlive[] = "/alive";
constexpr std::string_view kPrefix = "pviommu-";  // make_run_folder(): and six characters
constexpr time_t kSettled = 60;                   // seconds after which a run without its lock is dead

/// `type`: F_RDLCK by those who use the folder, F_WRLCK by who removes it.
bool lock(int fd, short type, int command = F_OFD_SETLK) {
  struct flock whole {};
  whole.l_type = type;
  whole.l_whence = SEEK_SET;
  return ::fcntl(fd, command, &whole) == 0;
}

/// True when a folder was a run's whose processes have all ended.
bool is_left_behind(const std::string& folder) {
  struct stat st {};
  if (::lstat(folder.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != ::geteuid()) return false;
  if (::time(nullptr) - st.st_mtime < kSettled) return false;  // perhaps just being made
  const int fd = ::open((folder + kAlive).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;  // no folder of ours, or one that is being removed
  const bool dead = lock(fd, F_WRLCK);
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
  // To be searched, not listed: the program may become another user.
  if (::chmod(path_.c_str(), 0711) != 0) return Error{errno, "folder of the run"};
  // The program inherits the descriptor and with it the lock: the folder is in
  // use until the last of its processes has ended, whatever became of us.  A
  // high number is out of everybody's way.
  const int fd = ::open((path_ + kAlive).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Error{errno, "folder of the run"};
  if (::fchmod(fd, 0644) != 0) return Error{errno, "folder of the run"};
  alive_ = ::fcntl(fd, F_DUPFD, 900);
  if (alive_ < 0) alive_ = ::fcntl(fd, F_DUPFD, 100);
  if (alive_ < 0 || !lock(alive_, F_RDLCK)) return Error{errno, "lock of the run"};
  ::close(fd);
  remove_left_behind(path_.substr(0, path_.rfind('/')));
  return {};
}

Status RunFolder::add_lock(const std::string& name) {
  const int fd = ::open((path_ + "/" + name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const bool made = fd >= 0 && ::fchmod(fd, 0666) == 0;
  const int code = errno;
  if (fd >= 0) ::close(fd);
  return made ? Status() : Status(Error{code, "lock in the folder of the run"});
}

void RunFolder::remove() const {
  vfio::SysfsView::remove(path_);
  if (!extra_tree_.empty()) vfio::SysfsView::remove(extra_tree_);
}

// In a process of its own: waits for the last process of the run, out of everybody's way.
void RunFolder::wait_and_remove(int fd) const {
  ::setsid();
  // Who ends a whole session or service does not keep the folder from being removed.
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  name_process("run-folder");
  // It may have one of the first numbers, where the program has no standard input or output.
  const int held = ::fcntl(fd, F_DUPFD, 4);
  const int null = ::open("/dev/null", O_RDWR);
  for (int i = 0; i < 3; ++i) ::dup2(null, i);
  if (held < 0 || ::dup2(held, 3) != 3) ::_exit(1);
  ::close_range(4, ~0u, 0);
  if (::chdir("/") != 0) ::_exit(1);
  while (!lock(3, F_WRLCK, F_OFD_SETLKW))
    if (errno != EINTR) ::_exit(1);
  remove();
  ::_exit(0);
}

void RunFolder::leave() {
  const int fd = ::open((path_ + kAlive).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return;  // somebody has removed it
  // Twice, and without the signal of a child that ends: the program must not find a trace of it.
  const auto between = static_cast<pid_t>(::syscall(SYS_clone, 0ul, nullptr, nullptr, nullptr, 0ul));
  if (between == 0) {
    if (::fork() == 0) wait_and_remove(fd);
    ::_exit(0);
  }
  while (between > 0 && ::waitpid(between, nullptr, __WALL) < 0 && errno == EINTR) continue;
  ::close(fd);
  if (between > 0) path_.clear();
}

RunFolder::~RunFolder() {
  if (path_.empty()) return;
  if (alive_ >= 0) ::close(alive_);
  const int fd = ::open((path_ + kAlive).c_str(), O_RDWR | O_CLOEXEC);
  constexpr int kPatience = 40;  // times 5 ms, for processes that are just ending
  bool last = fd < 0;
  for (int i = 0; i < kPatience && !last; ++i) {
    last = lock(fd, F_WRLCK);
    if (!last) ::usleep(5000);
  }
  // A daemon of the run goes on; who started us does not have to wait for it.
  if (!last && ::fork() == 0) wait_and_remove(fd);
  if (last) remove();
  if (fd >= 0) ::close(fd);
}

}  // namespace pviommu::command
