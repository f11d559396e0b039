// SPDX-License-Identifier: LGPL-2.1-or-later
// examine_host() asks from the general to the special: the domctl interface and the right to
// it, a PV dom0, an IOMMU, HAP, then sizes and reserved ranges.  The first that is missing is
// the one line that people are told.
#include "hypercall/xen/host.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "hypercall/sysfs_bus.h"
#include "hypercall/unique_fd.h"
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

std::string hex(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

/// The reserved ranges of all devices (xc_reserved_device_memory_map).  Xen is first asked
/// without room for an answer, and tells how many there are.
Result<std::vector<ReservedRange>> reserved_ranges(xc_interface* control) {
  std::vector<ReservedRange> ranges{
      {IovaRange::from_size(Iova(kMsiFirst), kMsiLast - kMsiFirst + 1).value(), ReservedKind::msi_window}};
  std::uint32_t count = 0;
  std::vector<xen_reserved_device_memory> entries;
  int rc = ::xc_reserved_device_memory_map(control, XENMEM_RDM_ALL, 0, 0, 0, nullptr, &count);
  if (rc < 0 && errno == ENOBUFS) {
    entries.resize(count);
    rc = ::xc_reserved_device_memory_map(control, XENMEM_RDM_ALL, 0, 0, 0, entries.data(), &count);
  }
  // ENOSYS, EOPNOTSUPP, ENOENT: an IOMMU driver without such ranges.
  if (rc < 0 && errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOENT)
    return Error{errno, "XENMEM_reserved_device_memory_map"};
  if (rc < 0) count = 0;
  for (std::uint32_t i = 0; i < count && i < entries.size(); ++i) {
    if (entries[i].nr_pages == 0) continue;
    ranges.push_back({IovaRange::from_size(Iova(entries[i].start_pfn << kPageShift), entries[i].nr_pages << kPageShift).value(),
                      ReservedKind::device_direct});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const ReservedRange& a, const ReservedRange& b) { return a.range.first() < b.range.first(); });
  return ranges;
}

Error tell(std::string& message, int code, std::string text) {
  message = std::move(text);
  return Error{code, "open xen"};
}

}  // namespace

std::vector<Sbdf> same_requester(Sbdf sbdf) {
  std::vector<Sbdf> found;
  const std::unique_ptr<xc_interface, int (*)(xc_interface*)> control(::xc_interface_open(nullptr, nullptr, 0),
                                                                      &::xc_interface_close);
  std::array<std::uint32_t, 64> same;  // bus << 16 | devfn << 8
  std::uint32_t count = 0;
  if (!control || ::xc_get_device_group(control.get(), 0, sbdf.raw(), same.size(), &count, same.data()) != 0 ||
      count == 0)
    return found;
  const auto devices = list_pci_devices("xen");  // the bridge itself, which Xen names too, is none of them
  for (std::uint32_t i = 0; devices && i < count && i < same.size(); ++i) {
    const Sbdf other((sbdf.raw() & 0xffff0000) | (same[i] >> 8 & 0xffff));
    for (const PciDeviceInfo& info : *devices)
      if (info.sbdf == other) found.push_back(other);
  }
  return found;
}

bool on_xen(std::string& message) {
  const std::string type = first_line("/sys/hypervisor/type");
  if (type == "xen") return true;
  message = "this is not Xen: /sys/hypervisor/type " + (type.empty() ? "is not there" : "says '" + type + "'") +
            "; boot Xen, or use --hypervisor=model to try programs without it";
  return false;
}

Result<Host> examine_host(XenCalls& calls, std::string& message) {
  const std::string version =
      first_line("/sys/hypervisor/version/major") + "." + first_line("/sys/hypervisor/version/minor");
  xen_domctl op{};
  op.cmd = XEN_DOMCTL_getdomaininfo;
  if (const auto asked = calls.domctl(op, "XEN_DOMCTL_getdomaininfo"); !asked) {
    if (asked.error().code == EACCES)
      return tell(message, EACCES,
                  "Xen " + version + " has another domctl interface than " + hex(XEN_DOMCTL_INTERFACE_VERSION) +
                      ", which this pviommu was built for (4.17 0x15, 4.18 0x16, 4.19-4.21 0x17, 4.22 0x18): "
                      "rebuild it with that Xen's libxen-dev");
    if (asked.error().code == EPERM)
      return tell(message, EPERM, "this domain may not control others: run pviommu as root in dom0");
    return tell(message, asked.error().code, to_string(asked.error()));
  }
  if (const std::string guest = first_line("/sys/hypervisor/guest_type"); guest != "PV")
    return tell(message, EOPNOTSUPP,
                "dom0 is a " + (guest.empty() ? "guest of unknown kind" : guest) +
                    " guest; pviommu needs a PV dom0 (no dom0=pvh on Xen's command line): "
                    "in others the frames of a program's memory cannot be found");
  Host host;
  const std::unique_ptr<xc_interface, int (*)(xc_interface*)> control(::xc_interface_open(nullptr, nullptr, 0),
                                                                      &::xc_interface_close);
  if (!control) return tell(message, errno, std::string("xc_interface_open: ") + std::strerror(errno));
  xc_physinfo_t info{};
  if (::xc_physinfo(control.get(), &info) != 0)
    return tell(message, errno, std::string("XEN_SYSCTL_physinfo: ") + std::strerror(errno));
  if ((info.capabilities & XEN_SYSCTL_PHYSCAP_directio) == 0)
    return tell(message, EOPNOTSUPP,
                "Xen uses no IOMMU: switch VT-d or AMD-Vi on in the firmware, and iommu=1 on Xen's command line; "
                "see what `xl dmesg` says about it");
  if ((info.capabilities & XEN_SYSCTL_PHYSCAP_hap) == 0)
    return tell(message, EOPNOTSUPP,
                "Xen has no hardware-assisted paging (HAP): the CPU lacks it, or hap=0 is on Xen's command line");
  unsigned long max_mfn = 0;
  if (::xc_maximum_ram_page(control.get(), &max_mfn) != 0)
    return tell(message, errno, std::string("XENMEM_maximum_ram_page: ") + std::strerror(errno));
  host.max_mfn = Mfn(max_mfn);
  host.iommu_bits = iommu_bits_of_tables();
  host.iommu_bits_known = host.iommu_bits != 0;
  host.iommu_bits = host.iommu_bits_known ? std::clamp(host.iommu_bits, 32u, kMostBits) : kLeastBits;
  auto reserved = reserved_ranges(control.get());
  if (!reserved) return tell(message, reserved.error().code, to_string(reserved.error()));
  host.reserved = std::move(*reserved);
  return host;
}

}  // namespace pviommu::xen
