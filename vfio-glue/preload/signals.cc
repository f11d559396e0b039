// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel has arrive() as handler where the program has one of its own; which, is in a
// table here.  A table and not a chain: the program sees only its own handlers.
#include "vfio-glue/preload/signals.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "vfio-glue/preload/bus_errors.h"
#include "vfio-glue/preload/real.h"

namespace pviommu::vfio {
namespace signals_detail {

thread_local int call_depth = 0;
thread_local bool deferred = false;

namespace {

using Mask = unsigned long;  // the kernel's: as many bytes as it has signals
thread_local Mask mask_before __attribute__((tls_model("initial-exec"))) = 0;

constexpr Mask bit(int number) { return Mask{1} << (number - 1); }
constexpr Mask kFaults = bit(SIGSEGV) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGTRAP);

void set_mask(Mask mask) { ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask); }

}  // namespace

int enter() noexcept {
  int state = PTHREAD_CANCEL_ENABLE;
  ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
  return state;
}

void leave(int cancel_state) noexcept { ::pthread_setcancelstate(cancel_state, nullptr); }

void run_deferred_signals() {
  deferred = false;
  set_mask(mask_before);  // the handlers run here
}

/// In a handler that interrupted one of our calls.
void defer(int number, siginfo_t* info, ucontext_t& context) {
  auto& mask = reinterpret_cast<Mask&>(context.uc_sigmask);
  if (!deferred) mask_before = mask;
  deferred = true;
  mask = ~kFaults;
  set_mask(~kFaults);
  if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::gettid(), number, info) != 0)
    ::syscall(SYS_tgkill, ::getpid(), ::gettid(), number);
}

}  // namespace signals_detail

namespace {

struct Action {
  std::atomic<void*> handler{nullptr};
  std::atomic<int> flags{0};
};
constinit std::array<Action, NSIG> actions{};

int real_sigaction(int number, const struct sigaction* action, struct sigaction* old) {
  return real_named<"sigaction", int(int, const struct sigaction*, struct sigaction*)>()(number, action, old);
}

void arrive(int number, siginfo_t* info, void* context) {
  if (signals_detail::call_depth > 0) {
    const int before = errno;
    signals_detail::defer(number, info, *static_cast<ucontext_t*>(context));
    errno = before;
    return;
  }
  const Action& action = actions[static_cast<unsigned>(number)];
  void* handler = action.handler.load(std::memory_order_acquire);
  if ((action.flags.load(std::memory_order_relaxed) & SA_RESETHAND) != 0) {
    struct sigaction none {};
    none.sa_handler = SIG_DFL;
    real_sigaction(number, &none, nullptr);
  }
  reinterpret_cast<void (*)(int, siginfo_t*, void*)>(handler)(number, info, context);
}

bool can_wait(int number) {
  return number > 0 && number < NSIG && number <= 64 && (signals_detail::kFaults & signals_detail::bit(number)) == 0;
}

}  // namespace

int set_signal_action(int number, const struct sigaction* action, struct sigaction* old) {
  if (number == SIGBUS) return set_bus_action(action, old);
  if (!can_wait(number)) {
    struct sigaction own {};
    if (action != nullptr) own = *action;
    sigdelset(&own.sa_mask, SIGBUS);  // its handler may access registers
    return real_sigaction(number, action != nullptr ? &own : nullptr, old);
  }
  Action& entry = actions[static_cast<unsigned>(number)];
  void* const handler_before = entry.handler.load();
  const int flags_before = entry.flags.load();
  constexpr int kOurs = SA_SIGINFO | SA_RESETHAND;
  const bool handled = action != nullptr && action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
  struct sigaction ours {};
  if (handled) {
    ours = *action;
    sigdelset(&ours.sa_mask, SIGBUS);  // its handler may access registers
    ours.sa_sigaction = arrive;
    ours.sa_flags = (action->sa_flags & ~SA_RESETHAND) | SA_SIGINFO;
    // What vfork()'s child sets to SIG_DFL stays the parent's: this memory is shared.
    entry.handler.store(reinterpret_cast<void*>(action->sa_sigaction), std::memory_order_release);
    entry.flags.store(action->sa_flags & kOurs);
  }
  struct sigaction found {};
  const int result = real_sigaction(number, handled ? &ours : action, &found);
  if (result != 0) {
    if (handled) {
      entry.handler.store(handler_before);
      entry.flags.store(flags_before);
    }
    return result;
  }
  if (old == nullptr) return 0;
  if ((found.sa_flags & SA_SIGINFO) != 0 && found.sa_sigaction == arrive) {
    found.sa_sigaction = reinterpret_cast<void (*)(int, siginfo_t*, void*)>(handler_before);
    found.sa_flags = (found.sa_flags & ~kOurs) | flags_before;
  }
  *old = found;
  return 0;
}

}  // namespace pviommu::vfio
