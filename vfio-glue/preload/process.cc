// SPDX-License-Identifier: LGPL-2.1-or-later
// A page that fork() wipes (MADV_WIPEONFORK) tells a child from its parent, however it was
// made; a thread-local depth tells whether this thread is in the engine.
#include "vfio-glue/preload/process.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace pviommu::vfio {
namespace process_detail {

std::atomic<std::uint64_t>* incarnation_word = nullptr;
thread_local int engine_depth = 0;

namespace {

// Ordinary memory: what the parent last knew survives in a forked child.
constinit std::atomic<std::uint64_t> last_incarnation{0};
constinit std::atomic<pid_t> pid{0};
constinit std::atomic<std::uint64_t> word_without_wipe{0};

thread_local std::atomic<Deferred*> deferred __attribute__((tls_model("initial-exec"))) = nullptr;

pid_t kernel_pid() { return static_cast<pid_t>(::syscall(SYS_getpid)); }

std::atomic<std::uint64_t>* make_word() {
  // The system call itself: mmap() is one of the functions we wrap.
  const long address =
      ::syscall(SYS_mmap, nullptr, 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
  if (address > 0 || address < -4096) {
    void* page = reinterpret_cast<void*>(address);
    if (::syscall(SYS_madvise, page, 4096L, MADV_WIPEONFORK) == 0)
      return static_cast<std::atomic<std::uint64_t>*>(page);
  }
  // Linux < 4.14: only fork() itself is seen, through its handlers.
  return &word_without_wipe;
}

}  // namespace

std::uint64_t renew_incarnation() {
  if (incarnation_word == nullptr) {
    auto* word = make_word();
    std::atomic_ref<std::atomic<std::uint64_t>*> shared(incarnation_word);
    std::atomic<std::uint64_t>* expected = nullptr;
    shared.compare_exchange_strong(expected, word);
  }
  std::uint64_t seen = 0;
  const std::uint64_t next = last_incarnation.load() + 1;
  if (incarnation_word->compare_exchange_strong(seen, next)) {
    last_incarnation.store(next);
    pid.store(kernel_pid());
    return next;
  }
  return seen;
}

void run_deferred() {
  // Nearly always nothing; a locked exchange would be a good part of a call's cost.
  if (deferred.load(std::memory_order_relaxed) == nullptr) [[likely]]
    return;
  for (Deferred* list = deferred.exchange(nullptr); list != nullptr;) {
    Deferred* one = list;
    list = list->next;
    one->run(one);
  }
}

}  // namespace process_detail

void note_fork() {
  incarnation();
  if (process_detail::incarnation_word == &process_detail::word_without_wipe &&
      process_detail::pid.load() != process_detail::kernel_pid())
    process_detail::incarnation_word->store(0);
}

pid_t owner_pid() {
  incarnation();
  return process_detail::pid.load();
}

bool shares_memory_with_another_process() { return owner_pid() != process_detail::kernel_pid(); }

void run_outside_engine(Deferred* one) {
  if (!inside_engine()) {
    one->run(one);
    return;
  }
  Deferred* head = process_detail::deferred.load();
  do {
    one->next = head;
  } while (!process_detail::deferred.compare_exchange_weak(head, one));
}

}  // namespace pviommu::vfio
