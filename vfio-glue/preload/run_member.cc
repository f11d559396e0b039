// SPDX-License-Identifier: LGPL-2.1-or-later
// The descriptor is not close-on-exec, and has the same number in all programs of the run
// where that is free.
#include "vfio-glue/preload/run_member.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "hypercall/unique_fd.h"

namespace pviommu::vfio {
namespace {

// Never closed.
UniqueFd& descriptor() {
  static UniqueFd& fd = *new UniqueFd;
  return fd;
}

}  // namespace

void join_run() {
  const char* folder = std::getenv("PVIOMMU_SESSION");
  const char* number = std::getenv("PVIOMMU_ALIVE");
  if (folder == nullptr || number == nullptr) return;
  const std::string path = std::string(folder) + "/alive";
  const int wanted = std::atoi(number);
  struct stat file {}, open {};
  if (::syscall(SYS_newfstatat, AT_FDCWD, path.c_str(), &file, 0) != 0) return;
  if (::syscall(SYS_fstat, wanted, &open) == 0 && open.st_dev == file.st_dev && open.st_ino == file.st_ino) {
    descriptor().reset(wanted);
    return;
  }
  const UniqueFd again(static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC)));
  if (!again) return;
  struct flock whole {};
  whole.l_type = F_RDLCK;
  whole.l_whence = SEEK_SET;
  if (::syscall(SYS_fcntl, again.get(), F_OFD_SETLK, &whole) != 0) return;
  descriptor().reset(static_cast<int>(::syscall(SYS_fcntl, again.get(), F_DUPFD, wanted)));
}

int run_descriptor() { return descriptor().get(); }

}  // namespace pviommu::vfio
