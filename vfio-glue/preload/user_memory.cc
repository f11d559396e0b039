// SPDX-License-Identifier: LGPL-2.1-or-later
// process_vm_readv() and process_vm_writev() on ourselves, which say EFAULT; where a sandbox
// forbids them, the way through a memfd, which says so as well.  What lies on this thread's
// own stack, above our frame, is copied directly.
#include "vfio-glue/preload/user_memory.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "vfio-glue/preload/large_stack.h"
#include "vfio-glue/preload/process.h"

namespace pviommu::vfio {
namespace {

// The stack of this thread, [low, high).  high 1: could not be found out.
struct StackBounds {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
};
thread_local StackBounds stack __attribute__((tls_model("initial-exec")));

void find_stack() {
  stack = {0, 1};
  pthread_attr_t attributes;
  // Reads /proc/self/maps for the main thread, so only once.
  const EngineScope scope;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* address = nullptr;
  std::size_t size = 0;
  if (pthread_attr_getstack(&attributes, &address, &size) == 0) {
    const auto low = reinterpret_cast<std::uintptr_t>(address);
    stack = {low, low + size};
  }
  pthread_attr_destroy(&attributes);
}

constinit std::atomic<bool> vm_calls_forbidden{false};

Status fault(const char* operation) { return Error{EFAULT, operation}; }

enum class Direction { from_program, to_program };

// ENOSYS when the kernel does not let us.
Status copy_by_kernel(Direction direction, void* ours, std::uint64_t theirs, std::size_t bytes) {
  iovec local{ours, bytes};
  iovec remote{reinterpret_cast<void*>(theirs), bytes};
  const int call = direction == Direction::from_program ? SYS_process_vm_readv : SYS_process_vm_writev;
  const long done = ::syscall(call, owner_pid(), &local, 1L, &remote, 1L, 0L);
  if (done == static_cast<long>(bytes)) return {};
  if (done < 0 && (errno == ENOSYS || errno == EPERM)) return Error{ENOSYS, "process_vm_readv"};
  return fault("copy of program memory");
}

constexpr std::size_t kPiece = 64 * 1024;

// A memfd as a copy without our touching the program's memory: the kernel
// copies on write() and read() and answers EFAULT.
class Transfer {
 public:
  Transfer() : fd_(static_cast<int>(::syscall(SYS_memfd_create, "pviommu-copy", MFD_CLOEXEC))) {}
  ~Transfer() {
    if (fd_ >= 0) ::syscall(SYS_close, fd_);
  }
  bool ok() const { return fd_ >= 0; }
  bool in(std::uint64_t address, std::size_t bytes) {
    return ::syscall(SYS_pwrite64, fd_, address, bytes, 0L) == static_cast<long>(bytes);
  }
  bool out(std::uint64_t address, std::size_t bytes) {
    return ::syscall(SYS_pread64, fd_, address, bytes, 0L) == static_cast<long>(bytes);
  }

 private:
  int fd_;
};

Status copy_by_file(std::uint64_t to, std::uint64_t from, std::size_t bytes) {
  Transfer transfer;
  if (!transfer.ok()) return Error{ENOMEM, "memfd for a copy of program memory"};
  for (std::size_t done = 0; done < bytes; done += kPiece) {
    const std::size_t piece = std::min(kPiece, bytes - done);
    if (!transfer.in(from + done, piece) || !transfer.out(to + done, piece))
      return fault("copy of program memory");
  }
  return {};
}

}  // namespace

[[gnu::noinline]] bool on_own_stack(std::uint64_t address, std::size_t bytes) {
  if (stack.high == 0) [[unlikely]]
    find_stack();
  // Below our own frame there is nothing the caller can mean; a frame outside
  // of the thread's stack is a coroutine or an alternate signal stack.
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return frame >= stack.low && address >= frame && address < stack.high && bytes <= stack.high - address;
}

[[gnu::noinline]] std::size_t stack_left() {
  if (stack.high == 0) [[unlikely]]
    find_stack();
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (frame >= stack.low && frame < stack.high) [[likely]]
    return frame - stack.low;
  stack_t signals{};
  ::syscall(SYS_sigaltstack, nullptr, &signals);
  return (signals.ss_flags & SS_ONSTACK) != 0 ? 0 : ~std::size_t{0};
}

Status copy_from_program_by_file(void* to, std::uint64_t from, std::size_t bytes) {
  return copy_by_file(reinterpret_cast<std::uintptr_t>(to), from, bytes);
}

Status copy_to_program_by_file(std::uint64_t to, const void* from, std::size_t bytes) {
  return copy_by_file(to, reinterpret_cast<std::uintptr_t>(from), bytes);
}

Status copy_from_program(void* to, std::uint64_t from, std::size_t bytes) {
  if (bytes == 0) return {};
  if (on_own_stack(from, bytes)) {
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return {};
  }
  if (!vm_calls_forbidden.load(std::memory_order_relaxed)) {
    const Status done = copy_by_kernel(Direction::from_program, to, from, bytes);
    if (done || done.error().code != ENOSYS) return done;
    vm_calls_forbidden.store(true, std::memory_order_relaxed);
  }
  return copy_from_program_by_file(to, from, bytes);
}

Status copy_to_program(std::uint64_t to, const void* from, std::size_t bytes) {
  if (bytes == 0) return {};
  if (on_own_stack(to, bytes)) {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return {};
  }
  if (!vm_calls_forbidden.load(std::memory_order_relaxed)) {
    const Status done = copy_by_kernel(Direction::to_program, const_cast<void*>(from), to, bytes);
    if (done || done.error().code != ENOSYS) return done;
    vm_calls_forbidden.store(true, std::memory_order_relaxed);
  }
  return copy_to_program_by_file(to, from, bytes);
}

}  // namespace pviommu::vfio
