// SPDX-License-Identifier: LGPL-2.1-or-later
// One counter for the process.  A thread with CAP_IPC_LOCK adds without looking; others
// compare with the limit under a lock, together with what mlock() has locked (VmLck).
#include "pviommu/locked_memory.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "hypercall/strong.h"
#include "hypercall/unique_fd.h"

namespace pviommu {
namespace {

// Pages of all address spaces of the process.  Only threads that are limited take the lock.
std::mutex lock;
std::atomic<std::uint64_t> held_pages = 0;
constinit std::atomic<LockedMemory::Refused> listener{nullptr};

bool has_ipc_lock() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

/// What the process locked by mlock(), in pages (VmLck of /proc/self/status); 0 where that
/// cannot be read.
std::uint64_t mlocked_pages() {
  const UniqueFd fd(static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0)));
  if (!fd) return 0;
  char text[4096];
  const auto length = ::syscall(SYS_read, fd.get(), text, sizeof text - 1);
  if (length <= 0) return 0;
  text[length] = 0;
  const char* line = std::strstr(text, "\nVmLck:");
  if (line == nullptr) return 0;
  return std::strtoull(line + 7, nullptr, 10) / (kPageSize / 1024);
}

}  // namespace

bool LockedMemory::limited() { return !has_ipc_lock(); }

Status LockedMemory::add(std::uint64_t pages) {
  // A thread may give the capability up at any time; what it held before counts.
  if (has_ipc_lock()) {
    held_pages.fetch_add(pages, std::memory_order_relaxed);
    return {};
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::lock_guard guard(lock);
  if (limit.rlim_cur != RLIM_INFINITY) {
    const std::uint64_t most = limit.rlim_cur >> kPageShift;
    // Reading VmLck takes longer than all the rest, but nobody tells us of mlock().
    const std::uint64_t held = held_pages.load(std::memory_order_relaxed);
    if (pages > most || held > most - pages || held + pages + mlocked_pages() > most) {
      if (const auto tell = listener.load(); tell != nullptr) tell(limit.rlim_cur);
      return Error{ENOMEM, "RLIMIT_MEMLOCK"};
    }
  }
  held_pages.fetch_add(pages, std::memory_order_relaxed);
  return {};
}

void LockedMemory::on_refusal(Refused tell) { listener.store(tell); }

void LockedMemory::remove(std::uint64_t pages) noexcept { held_pages.fetch_sub(pages, std::memory_order_relaxed); }

}  // namespace pviommu
