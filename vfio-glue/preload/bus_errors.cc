// SPDX-License-Identifier: LGPL-2.1-or-later
// The program's action is kept in memory, under a lock that is only held with all signals
// blocked, so that a handler can take it.
#include "vfio-glue/preload/bus_errors.h"

#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "vfio-glue/preload/real.h"

namespace pviommu::vfio {
namespace {

using Mask = unsigned long;  // the kernel's: as many bytes as it has signals
constexpr Mask kBus = Mask{1} << (SIGBUS - 1);

Mask change_mask(int how, Mask mask) {
  Mask before = 0;
  ::syscall(SYS_rt_sigprocmask, how, &mask, &before, sizeof mask);
  return before;
}

int real_sigaction(const struct sigaction* action, struct sigaction* old) {
  return real_named<"sigaction", int(int, const struct sigaction*, struct sigaction*)>()(SIGBUS, action, old);
}

constinit std::atomic_flag busy = ATOMIC_FLAG_INIT;
class Lock {
 public:
  Lock() : before_(change_mask(SIG_SETMASK, ~Mask{0})) {
    while (busy.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~Lock() {
    busy.clear(std::memory_order_release);
    change_mask(SIG_SETMASK, before_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mask before_;
};

// Of both: under the lock.
constinit struct sigaction programs {};
constinit bool taken = false;
constinit std::atomic<FaultHandler> looks{nullptr};

/// This thread has asked for SIGBUS to be blocked.
thread_local bool blocked __attribute__((tls_model("initial-exec"))) = false;

void end_by_default() {
  struct sigaction none {};
  none.sa_handler = SIG_DFL;
  real_sigaction(&none, nullptr);
}

/// What the kernel would do.
void deliver(siginfo_t* info, ucontext_t& context) {
  const bool forced = info->si_code > 0;  // a fault, which cannot wait
  struct sigaction action {};
  {
    const Lock lock;
    action = programs;
    if ((action.sa_flags & SA_RESETHAND) != 0 && action.sa_handler != SIG_IGN && (forced || !blocked)) {
      programs.sa_handler = SIG_DFL;
      programs.sa_flags &= ~SA_SIGINFO;
    }
  }
  if (!forced && blocked) {
    reinterpret_cast<Mask&>(context.uc_sigmask) |= kBus;  // until the thread asks for it
    change_mask(SIG_BLOCK, kBus);
    if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::gettid(), SIGBUS, info) != 0)
      ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGBUS);
    return;
  }
  if (!forced && action.sa_handler == SIG_IGN) return;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN || (forced && blocked)) {
    end_by_default();
    if (!forced) ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGBUS);
    return;  // a fault comes again
  }
  Mask during = reinterpret_cast<const Mask&>(action.sa_mask);
  during = (action.sa_flags & SA_NODEFER) != 0 ? during & ~kBus : during | kBus;
  const Mask before = change_mask(SIG_BLOCK, during);
  if ((action.sa_flags & SA_SIGINFO) != 0)
    action.sa_sigaction(SIGBUS, info, &context);
  else
    action.sa_handler(SIGBUS);
  change_mask(SIG_SETMASK, before);
}

void bus_error(int, siginfo_t* info, void* context) {
  const int before = errno;
  const FaultHandler handler = looks.load(std::memory_order_acquire);
  const bool ours = info->si_code > 0 && handler != nullptr && handler(info, context);
  errno = before;
  if (!ours) deliver(info, *static_cast<ucontext_t*>(context));
}

/// With the lock held.  On the stack that the program's handler is for.
int install() {
  struct sigaction ours {};
  ours.sa_sigaction = bus_error;
  ours.sa_flags = SA_SIGINFO | static_cast<int>(SA_NODEFER) | (programs.sa_flags & (SA_ONSTACK | SA_RESTART));
  return real_sigaction(&ours, nullptr);
}

bool take_signal() {
  const Lock lock;
  struct sigaction found {};
  if (real_sigaction(nullptr, &found) != 0) return false;
  const bool is_ours = (found.sa_flags & SA_SIGINFO) != 0 && found.sa_sigaction == bus_error;
  if (taken && is_ours) return true;
  programs = found;
  taken = install() == 0;
  return taken;
}

}  // namespace

bool take_bus_errors(FaultHandler handler) {
  looks.store(handler, std::memory_order_release);
  return take_signal();
}

int set_bus_action(const struct sigaction* action, struct sigaction* old) {
  const Lock lock;
  if (!taken) return real_sigaction(action, old);
  const struct sigaction before = programs;
  if (action != nullptr) {
    programs = *action;
    if (install() != 0) {
      programs = before;
      return -1;
    }
  }
  if (old != nullptr) *old = before;
  return 0;
}

int set_signal_mask(int how, const sigset_t* set, sigset_t* old) {
  const auto real_mask = real_named<"pthread_sigmask", int(int, const sigset_t*, sigset_t*)>();
  const bool was_blocked = blocked;
  const bool named = set != nullptr && sigismember(set, SIGBUS) == 1;
  sigset_t without;
  const sigset_t* given = set;
  if (named && how != SIG_UNBLOCK) {
    // What is sent to this thread from now on has to wait, which is ours to see to.
    if (!take_signal()) return real_mask(how, set, old);
    without = *set;
    sigdelset(&without, SIGBUS);
    given = &without;
  }
  // Before the mask: what waits arrives with it.
  if (named && how == SIG_UNBLOCK) blocked = false;
  if (set != nullptr && how == SIG_SETMASK) blocked = named;
  if (named && how == SIG_BLOCK) blocked = true;
  const int result = real_mask(how, given, old);
  if (result != 0) {
    blocked = was_blocked;
    return result;
  }
  if (old != nullptr && was_blocked) sigaddset(old, SIGBUS);
  return 0;
}

}  // namespace pviommu::vfio
