// SPDX-License-Identifier: LGPL-2.1-or-later
// The wrapped C functions that set a handler, which are all sigaction() in the end (signals.h),
// and those that set a thread's mask (bus_errors.h).
#undef _FORTIFY_SOURCE  // as in files.cc
#include <cerrno>
#include <csignal>

#include "vfio-glue/preload/bus_errors.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/signals.h"
#include "vfio-glue/preload/wrap.h"

namespace pviommu::vfio {
namespace {

using Handler = void (*)(int);

constinit sigset_t interrupting{};  // by siginterrupt(): of later signal()s

Handler set_handler(int number, Handler handler, int flags, bool blocks_itself) {
  struct sigaction action {}, old {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (handler == SIG_ERR || number < 1 || number >= NSIG) {
    errno = EINVAL;
    return SIG_ERR;
  }
  if (blocks_itself) sigaddset(&action.sa_mask, number);
  return set_signal_action(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

Handler bsd_signal(int number, Handler handler) {
  const bool interrupts = number > 0 && number < NSIG && sigismember(&interrupting, number) == 1;
  return set_handler(number, handler, interrupts ? 0 : SA_RESTART, true);
}

Handler unix_signal(int number, Handler handler) {
  return set_handler(number, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER, false);
}

}  // namespace

extern "C" {

PVIOMMU_WRAP(int, wrap_sigaction, sigaction, (int number, const struct sigaction* action, struct sigaction* old)) {
  return set_signal_action(number, action, old);
}
PVIOMMU_WRAP(int, wrap_sigaction_alias, __sigaction, (int number, const struct sigaction* action, struct sigaction* old)) {
  return set_signal_action(number, action, old);
}

PVIOMMU_WRAP(int, wrap_pthread_sigmask, pthread_sigmask, (int how, const sigset_t* set, sigset_t* old)) {
  return set_signal_mask(how, set, old);
}
PVIOMMU_WRAP(int, wrap_sigprocmask, sigprocmask, (int how, const sigset_t* set, sigset_t* old)) {
  const int error = set_signal_mask(how, set, old);
  if (error != 0) errno = error;
  return error == 0 ? 0 : -1;
}

PVIOMMU_WRAP(Handler, wrap_signal, signal, (int number, Handler handler)) { return bsd_signal(number, handler); }
PVIOMMU_WRAP(Handler, wrap_bsd_signal, bsd_signal, (int number, Handler handler)) { return bsd_signal(number, handler); }
PVIOMMU_WRAP(Handler, wrap_ssignal, ssignal, (int number, Handler handler)) { return bsd_signal(number, handler); }
PVIOMMU_WRAP(Handler, wrap_sysv_signal, sysv_signal, (int number, Handler handler)) {
  return unix_signal(number, handler);
}
PVIOMMU_WRAP(Handler, wrap_sysv_signal_alias, __sysv_signal, (int number, Handler handler)) {
  return unix_signal(number, handler);
}

PVIOMMU_WRAP(int, wrap_siginterrupt, siginterrupt, (int number, int interrupts)) {
  struct sigaction action {};
  if (set_signal_action(number, nullptr, &action) != 0) return -1;
  if (interrupts != 0) {
    sigaddset(&interrupting, number);
    action.sa_flags &= ~SA_RESTART;
  } else {
    sigdelset(&interrupting, number);
    action.sa_flags |= SA_RESTART;
  }
  return set_signal_action(number, &action, nullptr);
}

PVIOMMU_WRAP(Handler, wrap_sigset, sigset, (int number, Handler handler)) {
  if (handler == SIG_HOLD || handler == SIG_DFL || handler == SIG_IGN) {
    struct sigaction old {};
    if (set_signal_action(number, nullptr, &old) != 0) return SIG_ERR;
    const Handler result = real_named<"sigset", Handler(int, Handler)>()(number, handler);
    return result == SIG_ERR || result == SIG_HOLD ? result : old.sa_handler;
  }
  const Handler old = set_handler(number, handler, 0, false);
  if (old == SIG_ERR) return old;
  sigset_t one, before;
  sigemptyset(&one);
  sigaddset(&one, number);
  ::pthread_sigmask(SIG_UNBLOCK, &one, &before);
  return sigismember(&before, number) == 1 ? SIG_HOLD : old;
}

}  // extern "C"
}  // namespace pviommu::vfio
