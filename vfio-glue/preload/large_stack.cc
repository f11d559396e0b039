// SPDX-License-Identifier: LGPL-2.1-or-later
// A context of its own (swapcontext()) on a mapping with a guard below.
// A few stacks are kept for the next call.
#include "vfio-glue/preload/large_stack.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <new>

namespace pviommu::vfio {
namespace {

/// At the upper end of the mapping, for contexts are large themselves.
struct Contexts {
  ucontext_t there, back;
  void (*run)(void*) = nullptr;
  void* argument = nullptr;
};
constexpr std::size_t kGuard = 64 << 10;  // Power's pages have that size
constexpr std::size_t kWhole = kGuard + kStackForCalls + (64 << 10);

constinit std::array<std::atomic<char*>, 8> spare{};

char* take_stack() {
  for (auto& one : spare)
    if (char* stack = one.exchange(nullptr)) return stack;
  const long made = ::syscall(SYS_mmap, nullptr, kWhole, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0L);
  if (made < 0 && made >= -4095) return nullptr;
  char* stack = reinterpret_cast<char*>(made);
  if (::syscall(SYS_mprotect, stack, kGuard, PROT_NONE) == 0) return stack;
  ::syscall(SYS_munmap, stack, kWhole);
  return nullptr;
}

void give(char* stack) {
  for (auto& one : spare) {
    char* none = nullptr;
    if (one.compare_exchange_strong(none, stack)) return;
  }
  ::syscall(SYS_munmap, stack, kWhole);
}

void run_there(unsigned high, unsigned low) {
  auto* contexts = reinterpret_cast<Contexts*>(std::uint64_t{high} << 32 | low);
  contexts->run(contexts->argument);
}

}  // namespace

bool run_on_large_stack(void (*run)(void*), void* argument) {
  char* stack = take_stack();
  if (stack == nullptr) return false;
  constexpr std::size_t kContexts = (sizeof(Contexts) + 4095) & ~std::size_t{4095};
  auto* contexts = new (stack + kWhole - kContexts) Contexts;
  contexts->run = run;
  contexts->argument = argument;
  ::getcontext(&contexts->there);
  contexts->there.uc_stack.ss_sp = stack + kGuard;
  contexts->there.uc_stack.ss_size = kWhole - kGuard - kContexts;
  contexts->there.uc_link = &contexts->back;
  const auto at = reinterpret_cast<std::uint64_t>(contexts);
  ::makecontext(&contexts->there, reinterpret_cast<void (*)()>(run_there), 2, static_cast<unsigned>(at >> 32),
                static_cast<unsigned>(at));
  ::swapcontext(&contexts->back, &contexts->there);
  give(stack);
  return true;
}

}  // namespace pviommu::vfio
