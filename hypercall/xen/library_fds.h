// SPDX-License-Identifier: LGPL-2.1-or-later
// Descriptors that the Xen libraries open and do not show.
//
// Programs close what they do not know; ours are in the table of
// hypercall/unique_fd.h and kept from that.  libxencall has two (privcmd and its
// buffers) and shows one, libxenforeignmemory shows none that matter.  So what
// is new under /dev/xen after an open call is taken to be the library's.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "hypercall/unique_fd.h"

namespace pviommu::xen {

class LibraryFds {
 public:
  LibraryFds() = default;
  /// Gives the numbers up; before the library closes them.
  ~LibraryFds() { forget(); }
  void forget() {
    for (UniqueFd& fd : fds_) (void)fd.release();
    fds_.clear();
  }

  /// Calls `open` and takes note of what it has opened.  Another thread that
  /// opens something under /dev/xen in that moment would be taken for it.
  template <class Open>
  auto watch(Open&& open) {
    static std::mutex lock;
    const std::lock_guard guard(lock);
    const std::set<int> before = under_dev_xen();
    auto result = open();
    for (const int fd : under_dev_xen())
      if (!before.contains(fd)) fds_.emplace_back(fd);
    return result;
  }

 private:
  static std::set<int> under_dev_xen() {
    std::set<int> found;
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir("/proc/self/fd"), &::closedir);
    if (!entries) return found;
    while (const dirent* entry = ::readdir(entries.get())) {
      char target[32];
      const std::string path = std::string("/proc/self/fd/") + entry->d_name;
      const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
      if (length > 9 && std::strncmp(target, "/dev/xen/", 9) == 0) found.insert(std::atoi(entry->d_name));
    }
    return found;
  }

  std::vector<UniqueFd> fds_;
};

}  // namespace pviommu::xen
