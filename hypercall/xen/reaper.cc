// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypercall/xen/reaper.h"

#include <linux/pci_regs.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "hypercall/xen/carrier.h"
#include "hypercall/xen/pirq_vectors.h"
#include "hypercall/xen/sysfs_device.h"

namespace pviommu::xen {
namespace {

constexpr int kTries = 3;
constexpr unsigned kPollMilliseconds = 20;

template <class Work>
bool insist(ReapReport& report, const std::string& what, Work&& work) {
  Status status;
  for (int again = 0; again < kTries; ++again) {
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

/// No DMA and no interrupts any more.  Opening the device has switched bus
/// mastering off already only when it is closed again; so it is done here.
Status quiesce(Sbdf sbdf) {
  auto device = PVIOMMU_TRY(SysfsDevice::open(sbdf));
  const std::uint32_t command = PVIOMMU_TRY(device->config_read(PCI_COMMAND, 2));
  PVIOMMU_TRY(device->config_write(PCI_COMMAND, 2, command & ~std::uint32_t{PCI_COMMAND_MASTER}));
  PVIOMMU_TRY(switch_off(*device, PCI_CAP_ID_MSIX, PCI_MSIX_FLAGS_ENABLE));
  PVIOMMU_TRY(switch_off(*device, PCI_CAP_ID_MSI, PCI_MSI_FLAGS_ENABLE));
  if (device->can_reset()) PVIOMMU_TRY(device->reset());
  return {};
}

void reap_device(XenCalls& calls, LedgerDevice& device, ReapReport& report) {
  const Sbdf sbdf(device.sbdf);
  const std::string name = to_string(sbdf);
  ++report.devices;
  bool good = insist(report, name + ": quiet", [&] { return quiesce(sbdf); });

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
  const unsigned count = std::min(device.vectors.load(), LedgerDevice::kVectors);
  for (unsigned i = 0; i < count; ++i) {
    LedgerVector& vector = device.vector[i];
    if (vector.state.load() == LedgerVector::none) continue;
    ++report.vectors;
    good &= insist(report, name + ": event channel", [&] { return close_ledger_port(calls, vector); });
    good &= insist(report, name + ": pirq", [&] { return unmap_ledger_pirq(calls, vector); });
  }
  if (good) device.used.store(0);
}

bool alive(std::uint32_t pid) { return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM; }

void destroy_carriers(XenCalls& calls, ReapReport& report, bool (*of)(std::uint32_t, std::uint32_t),
                      std::uint32_t pid) {
  const auto carriers = list_carriers(calls);
  if (!carriers) {
    report.problems.push_back("carriers: " + to_string(carriers.error()));
    return;
  }
  for (const CarrierInfo& carrier : *carriers) {
    if (carrier.dying || !of(carrier.tag.pid, pid)) continue;
    if (insist(report, "carrier " + std::to_string(carrier.domid.raw()),
               [&] { return destroy_carrier(calls, carrier.domid); }))
      ++report.carriers;
  }
}

}  // namespace

void reap(XenCalls& calls, Ledger& ledger, ReapReport& report) {
  for (LedgerDevice& device : ledger.header().device)
    if (device.used.load() != 0) reap_device(calls, device, report);
  destroy_carriers(
      calls, report, [](std::uint32_t theirs, std::uint32_t pid) { return theirs == pid; },
      static_cast<std::uint32_t>(ledger.header().pid));
  if (ledger.empty()) ledger.discard();
}

void reap_orphans(XenCalls& calls, unsigned milliseconds, ReapReport& report) {
  // A ledger that is held while its program is dead: a guardian at work.
  for (unsigned waited = 0;; waited += kPollMilliseconds) {
    bool busy = false;
    for (const std::string& path : Ledger::list()) {
      auto ledger = Ledger::take(path);
      if (ledger) {
        if (alive(static_cast<std::uint32_t>((*ledger)->header().pid)) && (*ledger)->empty()) {
          // Ours to lock, so its program has closed it: left behind empty.
          (*ledger)->discard();
          continue;
        }
        reap(calls, **ledger, report);
        continue;
      }
      if (ledger.error().code == EBADMSG) {
        report.problems.push_back(path + ": not a ledger of this version of pviommu; see what it belongs to, then remove it");
        continue;
      }
      if (ledger.error().code != EBUSY) continue;  // gone
      const std::size_t at = path.rfind("xen-") + 4;
      const auto pid = static_cast<std::uint32_t>(std::strtoul(path.c_str() + at, nullptr, 10));
      if (!alive(pid)) busy = true;
    }
    if (!busy || waited >= milliseconds) break;
    (void)::poll(nullptr, 0, kPollMilliseconds);
  }
  destroy_carriers(
      calls, report, [](std::uint32_t theirs, std::uint32_t) { return !alive(theirs); }, 0);
}

}  // namespace pviommu::xen
