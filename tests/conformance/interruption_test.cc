// SPDX-License-Identifier: LGPL-2.1-or-later
// Calls that are interrupted: by a signal whose handler jumps away, by a cancellation; and calls
// of threads that have little stack.  For a system call none of these means anything.
#include <gtest/gtest.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>

#include <atomic>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "tests/conformance/vfio_client.h"

namespace conformance {
namespace {

sigjmp_buf back;
std::atomic<int> handled;

// Without the C library's allocator, out of which nobody may jump.
off_t config_at(const Session& session) {
  return static_cast<off_t>(session.device.region(VFIO_PCI_CONFIG_REGION_INDEX).info.offset);
}

void jump(int) { ::siglongjmp(back, 1); }
void count(int, siginfo_t* info, void*) {
  if (info->si_signo == SIGUSR1) ++handled;
}

TEST(Interruption, AHandlerMayJumpOutOfACall) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer's own locks are left behind";
#endif
  Session session(Machine::get().edu);
  static Session* opened;
  opened = &session;
  static off_t config;
  config = config_at(session);
  static Memory* memory;
  Memory mapped(1 << 20);
  std::memset(mapped.data(), 1, mapped.size());
  memory = &mapped;
  static struct sigaction before;
  struct sigaction action {};
  action.sa_handler = jump;
  ASSERT_EQ(::sigaction(SIGALRM, &action, &before), 0);
  struct sigaction seen {};
  ASSERT_EQ(::sigaction(SIGALRM, nullptr, &seen), 0);
  EXPECT_EQ(seen.sa_handler, jump) << "the program's own handler is what it is told of";
  static const itimerval often{{0, 2000}, {0, 2000}}, never{};
  static volatile int jumps;
  jumps = 0;
  ::sigsetjmp(back, 1);
  if (jumps < 100) {
    jumps = jumps + 1;
    ::setitimer(ITIMER_REAL, &often, nullptr);
    for (;;) {
      opened->container.map(kRoomyIova, memory->address(), memory->size());
      std::uint32_t id = 0;
      if (::pread(opened->device.fd(), &id, 4, config) != 4) ::abort();
      opened->container.unmap(kRoomyIova, memory->size());
    }
  }
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::signal(SIGALRM, SIG_IGN);  // one may be on its way
  ::sigaction(SIGALRM, &before, nullptr);
  opened->container.unmap(kRoomyIova, memory->size());
  EXPECT_EQ(opened->container.map(kRoomyIova, memory->address(), kPage), ok());
  EXPECT_EQ(opened->container.unmap(kRoomyIova, kPage).outcome, ok());
  std::uint32_t id = 0;
  EXPECT_EQ(opened->device.read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &id, 4), ok(4));
  EXPECT_EQ(opened->container.live(), 0);
}

TEST(Interruption, NoSignalIsLost) {
  Session session(Machine::get().edu);
  struct sigaction action {}, before {};
  action.sa_sigaction = count;
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  handled = 0;
  constexpr int kSignals = 500;
  const pthread_t self = ::pthread_self();
  std::atomic<bool> sent{false};
  struct Sender {
    pthread_t to;
    std::atomic<bool>& sent;
  } sender{self, sent};
  pthread_t thread;
  ASSERT_EQ(::pthread_create(&thread, nullptr, [](void* argument) -> void* {
    const Sender& of = *static_cast<Sender*>(argument);
    for (int i = 0; i < kSignals; ++i) {
      const int already = handled;
      ::pthread_kill(of.to, SIGUSR1);
      while (handled == already) ::sched_yield();  // each is handled, and once
    }
    of.sent = true;
    return nullptr;
  }, &sender), 0);
  Memory memory(kPage);
  while (!sent) {
    EXPECT_EQ(session.container.map(kRoomyIova, memory.address(), kPage), ok());
    EXPECT_EQ(session.container.unmap(kRoomyIova, kPage).outcome, ok());
  }
  ::pthread_join(thread, nullptr);
  EXPECT_EQ(handled, kSignals);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(Interruption, ReadsAreCancellationPoints) {
  Session session(Machine::get().edu);
  static Session* opened;
  opened = &session;
  static off_t config;
  config = config_at(session);
  for (int i = 0; i < 30; ++i) {
    pthread_t thread;
    ASSERT_EQ(::pthread_create(&thread, nullptr, [](void*) -> void* {
      for (;;) {
        std::uint32_t id = 0;
        if (::pread(opened->device.fd(), &id, 4, config) != 4) ::abort();
      }
    }, nullptr), 0);
    ::usleep(1000);
    ::pthread_cancel(thread);
    void* result = nullptr;
    timespec soon{};
    ::clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec += 20;
    ASSERT_EQ(::pthread_timedjoin_np(thread, &result, &soon), 0) << "not cancelled";
    EXPECT_EQ(result, PTHREAD_CANCELED);
  }
  std::uint32_t id = 0;
  EXPECT_EQ(session.device.read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &id, 4), ok(4));
}

TEST(Interruption, ThreadsWithTheSmallestStack) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs more stack than that itself";
#endif
  Memory memory(kPage);
  pthread_attr_t attributes;
  ASSERT_EQ(::pthread_attr_init(&attributes), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(PTHREAD_STACK_MIN)), 0);
  pthread_t thread;
  if (::pthread_create(&thread, &attributes, [](void* argument) -> void* {
        Session session(Machine::get().edu);
        const auto address = reinterpret_cast<std::uint64_t>(argument);
        const bool done = session.device.fd() >= 0 && session.container.map(kRoomyIova, address, kPage) == ok() &&
                          session.container.unmap(kRoomyIova, kPage).outcome == ok();
        return done ? argument : nullptr;
      }, memory.data()) != 0)
    GTEST_SKIP() << "this process needs more for its thread-local memory alone";
  void* result = nullptr;
  EXPECT_EQ(::pthread_join(thread, &result), 0);
  EXPECT_EQ(result, memory.data());
  ::pthread_attr_destroy(&attributes);
}

}  // namespace
}  // namespace conformance
