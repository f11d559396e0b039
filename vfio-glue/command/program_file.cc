// SPDX-License-Identifier: LGPL-2.1-or-later
// What the dynamic loader looks at (ld.so(8), LD_PRELOAD): an interpreter in the program
// headers, and whether the program runs with privileges that its caller does not have.
#include "vfio-glue/command/program_file.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "hypercall/unique_fd.h"

namespace pviommu::command {

std::string in_path(const std::string& program, int mode) {
  if (program.find('/') != std::string::npos) return program;
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    std::string full = std::string(folder.empty() ? "." : folder) + "/" + program;
    if (::access(full.c_str(), mode) == 0) return full;
  }
  return {};
}

namespace {

/// The interpreter that a script names in its first line; "": it is none.
std::string interpreter_of(std::string_view beginning) {
  if (!beginning.starts_with("#!")) return {};
  beginning.remove_prefix(2);
  beginning = beginning.substr(0, beginning.find('\n'));
  const std::size_t first = beginning.find_first_not_of(" \t");
  if (first == beginning.npos) return {};
  beginning.remove_prefix(first);
  return std::string(beginning.substr(0, beginning.find_first_of(" \t")));
}

bool is_static(int fd, const Elf64_Ehdr& header) {
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  const auto bytes = static_cast<ssize_t>(segments.size() * sizeof segments[0]);
  if (header.e_phentsize != sizeof segments[0] || ::pread(fd, segments.data(), static_cast<std::size_t>(bytes), static_cast<off_t>(header.e_phoff)) != bytes)
    return false;
  for (const Elf64_Phdr& segment : segments)
    if (segment.p_type == PT_INTERP) return false;
  return true;
}

/// What the kernel tells the loader with AT_SECURE.
bool gains_privileges(const std::string& path, const struct stat& st) {
  if (::geteuid() == 0) return false;
  if ((st.st_mode & S_ISUID) != 0 && st.st_uid != ::geteuid()) return true;
  if ((st.st_mode & S_ISGID) != 0 && (st.st_mode & S_IXGRP) != 0 && st.st_gid != ::getegid()) return true;
  return ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

std::string why_not(const std::string& program, int scripts) {
  const std::string path = in_path(program, X_OK);
  const UniqueFd fd(path.empty() ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  const std::string ends = ", and what is preloaded does not get into it: it will find no VFIO devices; run ";
  if (gains_privileges(path, st))
    return path + " runs with privileges of its own (set-user-ID or capabilities)" + ends + "it as the user it becomes";
  union {
    char text[256];
    Elf64_Ehdr header;
  } beginning{};
  const ssize_t got = ::pread(fd.get(), beginning.text, sizeof beginning.text, 0);
  if (got < 2) return {};
  const std::string interpreter = interpreter_of({beginning.text, static_cast<std::size_t>(got)});
  if (!interpreter.empty()) return scripts > 0 ? why_not(interpreter, scripts - 1) : std::string();
  const Elf64_Ehdr& header = beginning.header;
  if (got < static_cast<ssize_t>(sizeof header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return {};
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return path + " is a 32-bit program" + ends + "a 64-bit build";
  if (is_static(fd.get(), header)) return path + " is statically linked" + ends + "a dynamically linked build";
  return {};
}

}  // namespace

std::string why_not_reached(const std::string& program) {
  constexpr int kScripts = 4;  // BINPRM_MAX_RECURSION, fs/exec.c
  return why_not(program, kScripts);
}

}  // namespace pviommu::command
