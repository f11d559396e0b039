// SPDX-License-Identifier: LGPL-2.1-or-later
// dlsym(RTLD_NEXT) of each name, at the first need of any of them.
#include "vfio-glue/preload/real.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace pviommu::vfio::real_detail {

constinit RealFunctions functions{};
constinit std::atomic<bool> found{false};

void* find(const char* name) {
  void* symbol = ::dlsym(RTLD_NEXT, name);
  if (symbol == nullptr) {
    static constexpr char kText[] = "pviommu: the C library has no function ";
    if (::syscall(SYS_write, 2, kText, sizeof kText - 1) >= 0)
      ::syscall(SYS_write, 2, name, std::strlen(name));
    ::syscall(SYS_write, 2, "\n", 1L);
    std::abort();
  }
  return symbol;
}

namespace {

template <class Function>
void look_up(Function& function, const char* name) {
  void* symbol = find(name);
  std::memcpy(&function, &symbol, sizeof function);
}

}  // namespace

// May run several times at once when threads race to it; all write the same.
void find() {
  RealFunctions f{};
  look_up(f.openat, "openat");
  look_up(f.close, "close");
  look_up(f.close_range, "close_range");
  look_up(f.ioctl, "ioctl");
  look_up(f.fcntl, "fcntl64");
  look_up(f.dup, "dup");
  look_up(f.dup2, "dup2");
  look_up(f.dup3, "dup3");
  look_up(f.read, "read");
  look_up(f.write, "write");
  look_up(f.pread, "pread64");
  look_up(f.pwrite, "pwrite64");
  look_up(f.readv, "readv");
  look_up(f.writev, "writev");
  look_up(f.preadv, "preadv64");
  look_up(f.preadv2, "preadv64v2");
  look_up(f.pwritev2, "pwritev64v2");
  look_up(f.pwritev, "pwritev64");
  look_up(f.lseek, "lseek64");
  look_up(f.sendfile, "sendfile64");
  look_up(f.splice, "splice");
  look_up(f.copy_file_range, "copy_file_range");
  look_up(f.ftruncate, "ftruncate64");
  look_up(f.fallocate, "fallocate64");
  look_up(f.posix_fallocate, "posix_fallocate64");
  look_up(f.fsync, "fsync");
  look_up(f.fdatasync, "fdatasync");
  look_up(f.sync_file_range, "sync_file_range");
  look_up(f.readahead, "readahead");
  look_up(f.mmap, "mmap64");
  look_up(f.munmap, "munmap");
  look_up(f.mremap, "mremap");
  look_up(f.fstat, "fstat64");
  look_up(f.fstatat, "fstatat64");
  look_up(f.statx, "statx");
  look_up(f.faccessat, "faccessat");
  look_up(f.readlink, "readlink");
  look_up(f.readlinkat, "readlinkat");
  functions = f;
  found.store(true, std::memory_order_release);
}

}  // namespace pviommu::vfio::real_detail
