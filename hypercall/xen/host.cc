// SPDX-License-Identifier: LGPL-2.1-or-later
// examine_host() asks from the general to the special: a PV dom0, an IOMMU, HAP, then sizes and
// reserved ranges.  The first that is missing is the one line that people are told.
#include "hypercall/xen/host.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "hypercall/sysfs_bus.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/control.h"
#include "hypercall/xen/iommu_tables.h"

namespace pviommu::xen {
namespace {

constexpr std::uint64_t kMsiFirst = 0xfee00000, kMsiLast = 0xfeefffff;
/// The width that every VT-d has whose second-level tables have three levels.
constexpr unsigned kLeastBits = 39;
/// The width of four levels, which is all that Xen makes.
constexpr unsigned kMostBits = 48;

std::string first_line(const char* path) {
  char text[128];
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  const ssize_t got = fd ? ::read(fd.get(), text, sizeof text) : 0;
  std::string line(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  return line.substr(0, line.find('\n'));
}

/// The MSI window, and the reserved ranges of all devices.
Result<std::vector<ReservedRange>> reserved_ranges(Control& control) {
  std::vector<ReservedRange> ranges{
      {IovaRange::from_size(Iova(kMsiFirst), kMsiLast - kMsiFirst + 1).value(), ReservedKind::msi_window}};
  const auto told = control.reserved_memory({});
  // ENOSYS, EOPNOTSUPP, ENOENT: an IOMMU driver without such ranges.
  if (!told && told.error().code != ENOSYS && told.error().code != EOPNOTSUPP && told.error().code != ENOENT)
    return told.error();
  for (std::size_t i = 0; told && i < told->size(); ++i) {
    const xen_reserved_device_memory& entry = (*told)[i];
    if (entry.nr_pages == 0) continue;
    ranges.push_back({IovaRange::from_size(Iova(entry.start_pfn << kPageShift), entry.nr_pages << kPageShift).value(),
                      ReservedKind::device_direct});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const ReservedRange& a, const ReservedRange& b) { return a.range.first() < b.range.first(); });
  return ranges;
}

Error tell(int code, const std::string& text) { return Error{code, "open xen"}.with_sentence(text); }

}  // namespace

Result<std::vector<Sbdf>> same_requester(XenCalls& calls, Sbdf sbdf) {
  const auto control = PVIOMMU_TRY(Control::open(calls));
  const std::vector<Sbdf> same = PVIOMMU_TRY(control->device_group(sbdf));
  std::vector<Sbdf> found;
  if (same.empty()) return found;
  const auto devices = PVIOMMU_TRY(list_pci_devices("xen"));  // the bridge itself, which Xen names too, is none of them
  for (const PciDeviceInfo& info : devices)
    if (std::ranges::find(same, info.sbdf) != same.end()) found.push_back(info.sbdf);
  return found;
}

Result<xen_sysctl_physinfo> physical_info(XenCalls& calls) {
  xen_sysctl op{};
  op.cmd = XEN_SYSCTL_physinfo;
  PVIOMMU_TRY(calls.sysctl(op, "XEN_SYSCTL_physinfo"));
  return op.u.physinfo;
}

Status on_xen() {
  const std::string type = first_line("/sys/hypervisor/type");
  if (type == "xen") return {};
  return tell(ENODEV, "this is not Xen: /sys/hypervisor/type " +
                          (type.empty() ? "is not there" : "says '" + type + "'") +
                          "; boot Xen, or use --hypervisor=model to try programs without it");
}

Result<Host> examine_host(XenCalls& calls) {
  if (const std::string guest = first_line("/sys/hypervisor/guest_type"); guest != "PV")
    return tell(EOPNOTSUPP,
                "dom0 is a " + (guest.empty() ? "guest of unknown kind" : guest) +
                    " guest; pviommu needs a PV dom0 (no dom0=pvh on Xen's command line): "
                    "in others the frames of a program's memory cannot be found");
  Host host;
  const auto info = physical_info(calls);
  if (!info) return tell(info.error().code, to_string(info.error()));
  if ((info->capabilities & XEN_SYSCTL_PHYSCAP_directio) == 0)
    return tell(EOPNOTSUPP,
                "Xen uses no IOMMU: switch VT-d or AMD-Vi on in the firmware, and iommu=1 on Xen's command line; "
                "see what `xl dmesg` says about it");
  if ((info->capabilities & XEN_SYSCTL_PHYSCAP_hap) == 0)
    return tell(EOPNOTSUPP,
                "Xen has no hardware-assisted paging (HAP): the CPU lacks it, or hap=0 is on Xen's command line");
  const auto control = Control::open(calls);
  if (!control) return tell(control.error().code, to_string(control.error()));
  const auto max_mfn = (*control)->highest_frame();
  if (!max_mfn) return tell(max_mfn.error().code, to_string(max_mfn.error()));
  host.max_mfn = *max_mfn;
  host.iommu_bits = iommu_bits_of_tables();
  host.iommu_bits_known = host.iommu_bits != 0;
  host.iommu_bits = host.iommu_bits_known ? std::clamp(host.iommu_bits, 32u, kMostBits) : kLeastBits;
  auto reserved = reserved_ranges(**control);
  if (!reserved) return tell(reserved.error().code, to_string(reserved.error()));
  host.reserved = std::move(*reserved);
  return host;
}

}  // namespace pviommu::xen
