// SPDX-License-Identifier: LGPL-2.1-or-later
// The functions behind the ones we wrap: what the program would have called.
//
// Found with RTLD_NEXT, so that other preloaded libraries and sanitizers keep
// their place in the chain, and calls stay cancellation points.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pviommu::vfio {

struct RealFunctions {
  int (*openat)(int, const char*, int, ...);
  int (*close)(int);
  int (*close_range)(unsigned, unsigned, int);
  int (*ioctl)(int, unsigned long, ...);
  int (*fcntl)(int, int, ...);
  int (*dup)(int);
  int (*dup2)(int, int);
  int (*dup3)(int, int, int);
  ssize_t (*read)(int, void*, size_t);
  ssize_t (*write)(int, const void*, size_t);
  ssize_t (*pread)(int, void*, size_t, off_t);
  ssize_t (*pwrite)(int, const void*, size_t, off_t);
  ssize_t (*readv)(int, const iovec*, int);
  ssize_t (*writev)(int, const iovec*, int);
  ssize_t (*preadv)(int, const iovec*, int, off_t);
  ssize_t (*preadv2)(int, const iovec*, int, off_t, int);
  ssize_t (*pwritev2)(int, const iovec*, int, off_t, int);
  ssize_t (*pwritev)(int, const iovec*, int, off_t);
  off_t (*lseek)(int, off_t, int);
  ssize_t (*sendfile)(int, int, off_t*, size_t);
  ssize_t (*splice)(int, off_t*, int, off_t*, size_t, unsigned);
  ssize_t (*copy_file_range)(int, off_t*, int, off_t*, size_t, unsigned);
  int (*ftruncate)(int, off_t);
  int (*fallocate)(int, int, off_t, off_t);
  int (*posix_fallocate)(int, off_t, off_t);
  int (*fsync)(int);
  int (*fdatasync)(int);
  int (*sync_file_range)(int, off_t, off_t, unsigned);
  ssize_t (*readahead)(int, off_t, size_t);
  void* (*mmap)(void*, size_t, int, int, int, off_t);
  int (*munmap)(void*, size_t);
  void* (*mremap)(void*, size_t, size_t, int, ...);
  int (*fstat)(int, struct stat*);
  int (*fstatat)(int, const char*, struct stat*, int);
  int (*statx)(int, const char*, int, unsigned, struct statx*);
  int (*faccessat)(int, const char*, int, int);
  ssize_t (*readlink)(const char*, char*, size_t);
  ssize_t (*readlinkat)(int, const char*, char*, size_t);
};

namespace real_detail {
extern RealFunctions functions;
extern std::atomic<bool> found;
void find();
void* find(const char* name);

template <std::size_t kSize>
struct Name {
  char text[kSize];
  consteval Name(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }
};
}  // namespace real_detail

/// A function that only one wrapper calls: real_named<"chdir", int(const char*)>().
template <real_detail::Name kName, class Function>
Function* real_named() {
  static constinit std::atomic<void*> found{nullptr};
  void* function = found.load(std::memory_order_relaxed);
  if (function == nullptr) [[unlikely]]
    found.store(function = real_detail::find(kName.text), std::memory_order_relaxed);
  return reinterpret_cast<Function*>(function);
}

inline const RealFunctions& real() {
  if (!real_detail::found.load(std::memory_order_acquire)) [[unlikely]]
    real_detail::find();
  return real_detail::functions;
}

}  // namespace pviommu::vfio
