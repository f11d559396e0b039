// SPDX-License-Identifier: LGPL-2.1-or-later
// A process has two names: the kernel's of 15 characters, and the words of its command line,
// which lie in its memory.
#include "vfio-glue/command/process_name.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace pviommu::command {

void name_process(const char* name) {
  ::prctl(PR_SET_NAME, name);
  char words[4096];
  const int fd = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd >= 0 ? ::read(fd, words, sizeof words) : -1;
  if (fd >= 0) ::close(fd);
  const std::size_t size = std::strlen(name) + 1;
  if (length < static_cast<ssize_t>(size)) return;
  // One behind the other from argv[0] on.
  std::memset(program_invocation_name, 0, static_cast<std::size_t>(length));
  std::memcpy(program_invocation_name, name, size);
}

}  // namespace pviommu::command
