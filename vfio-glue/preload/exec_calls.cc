// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that execute a program.
//
// The environment carries this library and what it needs to know from one program of a run to
// the next.  A launcher that clears it (env -i, sudo, a service manager) would cut the next
// one off, which a kernel's VFIO does not care about: what is missing is put back.  A program
// that takes LD_PRELOAD alone away means us, and has its way.
#undef _FORTIFY_SOURCE  // as in files.cc
#include <alloca.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

/// Of the environment of a run.
constexpr std::array kNames = {std::string_view("LD_PRELOAD="),          std::string_view("PVIOMMU_HYPERVISOR="),
                               std::string_view("PVIOMMU_IOMMU_DRIVER="), std::string_view("PVIOMMU_FRAMES="),
                               std::string_view("PVIOMMU_MAX_MAPPINGS="), std::string_view("PVIOMMU_STRICT="),
                               std::string_view("PVIOMMU_QUIET="),        std::string_view("PVIOMMU_SYSFS="),
                               std::string_view("PVIOMMU_SESSION="),      std::string_view("PVIOMMU_ALIVE="),
                               std::string_view("PVIOMMU_STATS_FILE="),   std::string_view("PVIOMMU_RUN_DIR="),
                               std::string_view("PVIOMMU_MODULE_PATH="),  std::string_view("PVIOMMU_INTERFACE="),
                               std::string_view("SYSFS_PCI_DEVICES=")};
constexpr std::string_view kOfARun = "PVIOMMU_SESSION=";

// "NAME=VALUE" as they were when this library was loaded; null: not set.
constinit std::array<char*, kNames.size()> kept{};

const char* find(char* const* environment, std::string_view name) {
  for (; environment != nullptr && *environment != nullptr; ++environment)
    if (std::string_view(*environment).starts_with(name)) return *environment;
  return nullptr;
}

bool belongs_to_run() { return kept[0] != nullptr && std::ranges::any_of(kept, [](const char* one) { return one != nullptr && std::string_view(one).starts_with(kOfARun); }); }

/// `call(environment)`, with what a run needs.  Neither allocates nor takes a lock, for a
/// vfork()ed child may call it: the new list lies on the stack.
template <class Call>
auto with_environment(char* const* given, Call&& call) {
  if (!belongs_to_run() || find(given, kOfARun) != nullptr) return call(given);
  std::size_t count = 0;
  while (given != nullptr && given[count] != nullptr) ++count;
  const auto list = static_cast<char**>(alloca((count + kept.size() + 1) * sizeof(char*)));
  std::size_t end = 0;
  for (std::size_t i = 0; i < count; ++i)
    if (!std::string_view(given[i]).starts_with(kNames[0])) list[end++] = given[i];
  for (std::size_t i = 0; i < kept.size(); ++i)
    if (kept[i] != nullptr && (i == 0 || find(given, kNames[i]) == nullptr)) list[end++] = kept[i];
  list[end] = nullptr;
  return call(list);
}

[[gnu::constructor(102)]] void keep_environment() {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (const char* found = find(environ, kNames[i])) kept[i] = ::strdup(found);
}

/// Counts the words of execl() behind the first, with the null pointer.
std::size_t count_words(const char* first, std::va_list list) {
  std::size_t count = 1;
  if (first != nullptr)
    for (++count; va_arg(list, const char*) != nullptr;) ++count;
  return count;
}

}  // namespace

extern "C" {

using Execve = int(const char*, char* const*, char* const*);

PVIOMMU_WRAP(int, wrap_execve, execve, (const char* path, char* const* words, char* const* environment)) {
  return with_environment(environment, [&](char* const* full) { return real_named<"execve", Execve>()(path, words, full); });
}
PVIOMMU_WRAP(int, wrap_execv, execv, (const char* path, char* const* words)) { return wrap_execve(path, words, environ); }
PVIOMMU_WRAP(int, wrap_execvpe, execvpe, (const char* file, char* const* words, char* const* environment)) {
  return with_environment(environment, [&](char* const* full) { return real_named<"execvpe", Execve>()(file, words, full); });
}
PVIOMMU_WRAP(int, wrap_execvp, execvp, (const char* file, char* const* words)) { return wrap_execvpe(file, words, environ); }
PVIOMMU_WRAP(int, wrap_fexecve, fexecve, (int fd, char* const* words, char* const* environment)) {
  return with_environment(environment, [&](char* const* full) {
    return real_named<"fexecve", int(int, char* const*, char* const*)>()(fd, words, full);
  });
}

// The words lie behind each other as arguments; they are made a list on the stack.
#define PVIOMMU_WORDS(list, first, words)                                             \
  std::va_list list;                                                                  \
  va_start(list, first);                                                              \
  const std::size_t words##_count = count_words(first, list);                         \
  va_end(list);                                                                       \
  const auto words = static_cast<char**>(alloca(words##_count * sizeof(char*)));      \
  words[0] = const_cast<char*>(first);                                                \
  va_start(list, first);                                                              \
  for (std::size_t i = 1; i < words##_count; ++i) words[i] = va_arg(list, char*)

PVIOMMU_WRAP(int, wrap_execl, execl, (const char* path, const char* first, ...)) {
  PVIOMMU_WORDS(list, first, words);
  va_end(list);
  return wrap_execve(path, words, environ);
}
PVIOMMU_WRAP(int, wrap_execlp, execlp, (const char* file, const char* first, ...)) {
  PVIOMMU_WORDS(list, first, words);
  va_end(list);
  return wrap_execvpe(file, words, environ);
}
PVIOMMU_WRAP(int, wrap_execle, execle, (const char* path, const char* first, ...)) {
  PVIOMMU_WORDS(list, first, words);
  char* const* environment = va_arg(list, char* const*);
  va_end(list);
  return wrap_execve(path, words, environment);
}

using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const*, char* const*);

PVIOMMU_WRAP(int, wrap_posix_spawn, posix_spawn,
             (pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
              char* const* words, char* const* environment)) {
  return with_environment(environment, [&](char* const* full) {
    return real_named<"posix_spawn", Spawn>()(pid, path, actions, attributes, words, full);
  });
}
PVIOMMU_WRAP(int, wrap_posix_spawnp, posix_spawnp,
             (pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
              char* const* words, char* const* environment)) {
  return with_environment(environment, [&](char* const* full) {
    return real_named<"posix_spawnp", Spawn>()(pid, file, actions, attributes, words, full);
  });
}

}  // extern "C"
}  // namespace pviommu::vfio
