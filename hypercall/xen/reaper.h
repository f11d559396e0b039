// SPDX-License-Identifier: LGPL-2.1-or-later
// Putting back what a dead program held of Xen.
//
//   BARs out of guests
//   for each device of its ledger
//     bus mastering off, MSI and MSI-X off, reset     the device does no DMA
//     unbind vectors of a guest
//     deassign: carrier or guest -> quarantine -> dom0
//     EVTCHNOP_close of its ports, unmap its pirqs
//     dom0 -> quarantine, if it was found there
//   its carriers: destroy; a guest lives on
//
// Pins are let go after that, by the end of who holds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hypercall/diagnosis.h"
#include "hypercall/result.h"
#include "hypercall/xen/ledger.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

struct ReapReport {
  unsigned devices = 0;
  unsigned carriers = 0;
  unsigned vectors = 0;
  std::vector<std::string> done;      ///< one line each: what was put back
  std::vector<std::string> problems;  ///< one line each: what could not be
  bool nothing() const { return devices == 0 && carriers == 0 && problems.empty(); }
};

/// How long a guardian that is at work for a dead program is waited for, and how often it is
/// looked for.
inline constexpr unsigned kReapMilliseconds = 10000;
inline constexpr unsigned kReapPollMilliseconds = 20;

/// Whether the process has ended; a zombie that its parent has not waited for yet has, too.
bool dead(std::uint32_t pid);

/// Puts back what the ledger's program held.  The process is dead, and the caller holds
/// the ledger's lock.  The ledger's file is removed unless there were problems.
void reap(XenCalls& calls, Ledger& ledger, ReapReport& report);

/// Puts back all orphans of this machine: ledgers that nobody holds, and carriers whose
/// program is gone.  A guardian that is at work for a dead program is waited for, at most
/// `milliseconds`.
void reap_orphans(XenCalls& calls, unsigned milliseconds, ReapReport& report);

/// What reap_orphans() would have to do, one line each.  Takes nothing.
Result<std::vector<std::string>> find_orphans(XenCalls& calls);

/// For pviommu_module::reap.
int reap_for_command(const char* conf, int dry_run, void (*row)(void* to, const pviommu_reaped* reaped),
                     void* to) noexcept;

}  // namespace pviommu::xen
