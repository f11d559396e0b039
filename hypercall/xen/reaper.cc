// SPDX-License-Identifier: LGPL-2.1-or-later
// Each step is tried a few times.  One that fails is reported, leaves its note in the ledger
// for the next reaper, and does not keep the later ones from being tried.
// Nothing here knows the program: the ledger, sysfs and Xen's list of domains are all there is.
#include "hypercall/xen/reaper.h"

#include <linux/pci_regs.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>

#include "hypercall/sysfs_device.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/guest_bars.h"
#include "hypercall/xen/pirqs.h"
#include "hypercall/xen/quarantine.h"
#include "hypercall/xen/xen_conf.h"

namespace pviommu::xen {
namespace {

constexpr int kAttempts = 3;

template <class Work>
bool insist(ReapReport& report, const std::string& what, Work&& work) {
  Status status;
  for (int again = 0; again < kAttempts; ++again) {
    status = work();
    if (status) return true;
  }
  report.problems.push_back(what + ": " + to_string(status.error()));
  return false;
}

/// Clears the enable bit of a capability.
Status switch_off(SysfsDevice& device, std::uint8_t capability, unsigned bit) {
  std::uint32_t at = PVIOMMU_TRY(device.config_read(PCI_CAPABILITY_LIST, 1)) & ~3u;
  for (int left = 48; at != 0 && left > 0; --left) {
    if (PVIOMMU_TRY(device.config_read(at, 1)) == capability) {
      const std::uint32_t control = PVIOMMU_TRY(device.config_read(at + 2, 2));
      return device.config_write(at + 2, 2, control & ~bit);
    }
    at = PVIOMMU_TRY(device.config_read(at + 1, 1)) & ~3u;
  }
  return {};
}

/// Ends DMA and interrupts of the device, and resets it where it can be reset.  Bus mastering
/// is switched off here, because a SysfsDevice does so only when it is closed.
Status quiesce(Sbdf sbdf, bool enabled_by_dead) {
  auto device = PVIOMMU_TRY(SysfsDevice::open(sbdf, "xen"));
  const std::uint32_t command = PVIOMMU_TRY(device->config_read(PCI_COMMAND, 2));
  PVIOMMU_TRY(device->config_write(PCI_COMMAND, 2, command & ~std::uint32_t{PCI_COMMAND_MASTER}));
  PVIOMMU_TRY(switch_off(*device, PCI_CAP_ID_MSIX, PCI_MSIX_FLAGS_ENABLE));
  PVIOMMU_TRY(switch_off(*device, PCI_CAP_ID_MSI, PCI_MSI_FLAGS_ENABLE));
  if (device->can_reset()) PVIOMMU_TRY(device->reset());
  if (enabled_by_dead) device->disable_at_end();
  return {};
}

void reap_device(XenCalls& calls, LedgerDevice& device, ReapReport& report) {
  const Sbdf sbdf(device.sbdf);
  const std::string name = to_string(sbdf);
  ++report.devices;
  bool good = insist(report, name + ": quiet", [&] { return quiesce(sbdf, device.enabled_here != 0); });

  const unsigned count = std::min(device.vectors.load(), LedgerDevice::kVectors);
  for (unsigned i = 0; i < count; ++i)
    good &= insist(report, name + ": vector of a guest", [&] { return unbind_guest_vector(calls, device.vector[i]); });
  if (const std::uint32_t carrier = device.carrier.load(); carrier != 0) {
    const Domid domid(static_cast<std::uint16_t>(carrier - 1));
    good &= insist(report, name + ": out of its carrier", [&]() -> Status {
      const Status status = deassign_device(calls, domid, sbdf);
      // It was not there yet, or not any more; or the carrier is gone.
      if (!status && (status.error().code == ENODEV || status.error().code == ESRCH)) return {};
      return status;
    });
    good &= insist(report, name + ": out of quarantine", [&] { return fetch_from_quarantine(calls, sbdf); });
    if (good) device.carrier.store(0);
  }
  for (unsigned i = 0; i < count; ++i) {
    LedgerVector& vector = device.vector[i];
    if (vector.state.load() == LedgerVector::none) continue;
    ++report.vectors;
    good &= insist(report, name + ": event channel", [&] { return close_ledger_port(calls, vector); });
    good &= insist(report, name + ": pirq", [&] { return unmap_ledger_pirq(calls, vector); });
  }
  good &= insist(report, name + ": MSI-X", [&] { return release_msix(calls, device); });
  // Not before the rest: there neither pirqs nor MSI-X can be put right.
  if (good) good = insist(report, name + ": where it was found", [&] { return put_where_found(calls, device); });
  if (good) {
    report.done.push_back(name);
    device.used.store(0);
  }
}

/// The ledgers that are locked: their programs live, or their guardians do.  A process
/// number alone says little, because it may be another process's by now.
std::set<LedgerId> holders() {
  std::set<LedgerId> found;
  for (const std::string& path : Ledger::list()) {
    const auto ledger = Ledger::take(path);
    if (!ledger && ledger.error().code == EBUSY) found.insert(ledger_id(path));
  }
  return found;
}

template <class Of>
void destroy_carriers(XenCalls& calls, ReapReport& report, Of&& of) {
  const auto carriers = list_carriers(calls);
  if (!carriers) {
    report.problems.push_back("carriers: " + to_string(carriers.error()));
    return;
  }
  for (const CarrierInfo& carrier : *carriers) {
    if (carrier.dying || !of(LedgerId{carrier.tag.pid, carrier.tag.ledger})) continue;
    if (insist(report, "carrier " + std::to_string(carrier.domid.raw()),
               [&] { return destroy_carrier(calls, carrier.domid); })) {
      ++report.carriers;
      report.done.push_back("carrier " + std::to_string(carrier.domid.raw()) + " of process " +
                            std::to_string(carrier.tag.pid));
    }
  }
}

}  // namespace

bool dead(std::uint32_t pid) {
  std::FILE* stat = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re");
  if (stat == nullptr) return true;
  char state = 0;
  // "PID (COMM) STATE": the name may hold anything, the last ")" ends it.
  char line[512];
  const std::size_t got = std::fread(line, 1, sizeof line - 1, stat);
  std::fclose(stat);
  line[got] = '\0';
  if (const char* end = std::strrchr(line, ')'); end != nullptr && end[1] == ' ') state = end[2];
  return state == 'Z' || state == 'X';
}

void reap(XenCalls& calls, Ledger& ledger, ReapReport& report) {
  for (LedgerBar& bar : ledger.header().bar)
    if (bar.domid.load() != 0)
      (void)insist(report, "BAR in domain " + std::to_string(bar.domid.load() - 1),
                   [&] { return unmap_ledger_bar(calls, bar); });
  for (LedgerDevice& device : ledger.header().device)
    if (device.used.load() != 0) reap_device(calls, device, report);
  destroy_carriers(calls, report, [&](const LedgerId& id) { return id == ledger.id(); });
  if (ledger.empty()) ledger.discard();
}

void reap_orphans(XenCalls& calls, unsigned milliseconds, ReapReport& report) {
  // A ledger that is held although its program is dead means that a guardian is at work.
  for (unsigned waited = 0;; waited += kReapPollMilliseconds) {
    bool busy = false;
    for (const std::string& path : Ledger::list()) {
      auto ledger = Ledger::take(path);
      if (ledger) {
        reap(calls, **ledger, report);
      } else if (ledger.error().code == EBADMSG) {
        report.problems.push_back(path + ": not a ledger of this version of pviommu; see what it belongs to, then remove it");
      } else if (ledger.error().code == EBUSY) {
        busy |= dead(ledger_id(path).pid);
      }
    }
    if (!busy || waited >= milliseconds) break;
    (void)::poll(nullptr, 0, kReapPollMilliseconds);
  }
  std::optional<std::set<LedgerId>> held;
  destroy_carriers(calls, report, [&](const LedgerId& id) {
    // The holders are asked for after the carriers were listed, because a program that
    // begins now has its ledger before its carrier.
    if (!held) held = holders();
    return !held->contains(id);
  });
}

Result<std::vector<std::string>> find_orphans(XenCalls& calls) {
  std::vector<std::string> found;
  for (const std::string& path : Ledger::list()) {
    const std::uint32_t pid = ledger_id(path).pid;
    const auto ledger = Ledger::take(path);
    if (!ledger && (ledger.error().code == ENOENT || ledger.error().code == EAGAIN || ledger.error().code == ESTALE || (ledger.error().code == EBUSY && !dead(pid)))) continue;
    if (!ledger) {
      found.push_back("process " + std::to_string(pid) +
                      (ledger.error().code == EBUSY ? ": its guardian is at work" : ": " + to_string(ledger.error())));
      continue;
    }
    if ((*ledger)->empty()) (*ledger)->discard();
    for (const LedgerDevice& device : (*ledger)->header().device)
      if (device.used.load() != 0)
        found.push_back(to_string(Sbdf(device.sbdf)) + " of process " + std::to_string(pid));
  }
  // In this order, as in reap_orphans().
  const auto carriers = PVIOMMU_TRY(list_carriers(calls));
  const std::set<LedgerId> held = holders();
  for (const CarrierInfo& carrier : carriers)
    if (!held.contains({carrier.tag.pid, carrier.tag.ledger}))
      found.push_back("carrier " + std::to_string(carrier.domid.raw()) + " of process " +
                      std::to_string(carrier.tag.pid) + (carrier.dying ? ", dying" : ""));
  return found;
}

int reap_for_command(const char* conf, int dry_run, void (*row)(void* to, const pviommu_reaped* reaped),
                     void* to) noexcept {
  try {
    // Of the rest, which says how to run, nothing makes a difference to what is left.
    const auto read = parse_xen_conf(conf != nullptr ? conf : "");
    auto calls = read ? XenCalls::open(read->assumed) : read.error();
    if (!calls && calls.error().sentence.empty()) return -calls.error().code;
    if (!calls) {
      hand_over({to_string(calls.error())}, ReapedState::problem, row, to);
      return 0;
    }
    if (dry_run == 0) {
      ReapReport report;
      const auto tell = [&] {
        hand_over(report.done, ReapedState::put_back, row, to);
        hand_over(report.problems, ReapedState::problem, row, to);
      };
      try {
        reap_orphans(**calls, kReapMilliseconds, report);
      } catch (...) {
        tell();  // what was put back is not found again
        throw;
      }
      tell();
    }
    const auto left = find_orphans(**calls);
    if (!left) return -left.error().code;
    hand_over(*left, ReapedState::left, row, to);
    return 0;
  } catch (const std::exception&) {
    return -ENOMEM;
  }
}

}  // namespace pviommu::xen
