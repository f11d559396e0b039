// SPDX-License-Identifier: LGPL-2.1-or-later
// SIGBUS of a process in which accesses to registers raise it (traps.h).
//
//   SIGBUS ---> ours ---> an access to a register: made, the thread goes on
//                 |
//                 +-----> anything else: what the program has asked for, as the kernel does it
//
// The kernel ends a process that blocks a fault's signal.  So a thread never does: what it asks
// for is kept here, and shown to it.  SIGBUS sent by kill() to a thread that would block it is
// blocked then, and waits.
#pragma once

#include <csignal>

namespace pviommu::vfio {

/// Looks at a fault; true: the thread goes on.
using FaultHandler = bool (*)(siginfo_t* info, void* context);

/// From now on SIGBUS comes to `handler` first, also when somebody has set a handler behind our
/// back, by the system call.  Any number of times.  False: the kernel refuses.
bool take_bus_errors(FaultHandler handler);

/// sigaction() of the program for SIGBUS.
int set_bus_action(const struct sigaction* action, struct sigaction* old);

/// pthread_sigmask() of the program, with its result: 0 or an errno.
int set_signal_mask(int how, const sigset_t* set, sigset_t* old);

}  // namespace pviommu::vfio
