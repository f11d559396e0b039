// SPDX-License-Identifier: LGPL-2.1-or-later
// What `pviommu doctor` judges, from Xen, the kernel and sysfs.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "hypercall/unique_fd.h"
#include "hypercall/sysfs_bus.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/doctor.h"
#include "hypercall/xen/host.h"
#include "hypercall/xen/iommu_tables.h"
#include "hypercall/xen/pirq_vectors.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {
namespace {

using Control = std::unique_ptr<xc_interface, int (*)(xc_interface*)>;

std::string first_line(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> text;
  const ssize_t got = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  const std::string_view all(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return std::string(all.substr(0, all.find('\n')));
}

/// The text of the ring from `index` on; `index` is moved to the end.
std::optional<std::string> read_console(xc_interface* control, std::uint32_t& index) {
  std::string all;
  std::array<char, 16384> piece;
  // Xen may print while we read, so a short read is the end, too, and not only an empty one.
  for (int reads = 0; reads < 4096; ++reads) {
    unsigned count = piece.size();
    if (::xc_readconsolering(control, piece.data(), &count, 0, 1, &index) != 0) return std::nullopt;
    all.append(piece.data(), count);
    if (count < piece.size()) break;
  }
  return all;
}

HostFacts gather_host(XenCalls* calls, xc_interface* control) {
  HostFacts host;
  host.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
  host.type = first_line("/sys/hypervisor/type");
  host.guest_type = first_line("/sys/hypervisor/guest_type");
  if (host.type == "xen")
    host.version = first_line("/sys/hypervisor/version/major") + '.' +
                   first_line("/sys/hypervisor/version/minor") + first_line("/sys/hypervisor/version/extra");
  utsname name{};
  if (::uname(&name) == 0) host.kernel = name.release;
  io_uring_params parameters{};
  const UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
  host.io_uring_error = ring ? 0 : errno;
  for (const auto& [path, module] :
       {std::pair("/dev/xen/privcmd", "xen-privcmd"), std::pair("/dev/xen/hypercall", "xen-privcmd"),
        std::pair("/dev/xen/evtchn", "xen-evtchn")}) {
    const UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
    host.nodes.push_back({path, module, fd ? 0 : errno});
  }
  if (calls == nullptr || control == nullptr) return host;
  if (const auto vectors = PirqVectors::open(*calls)) host.bind_static = (*vectors)->delivery() == Delivery::bind_static;

  xen_domctl op{};
  op.cmd = XEN_DOMCTL_getdomaininfo;
  const auto asked = calls->domctl(op, "XEN_DOMCTL_getdomaininfo");
  host.domctl_error = asked ? 0 : asked.error().code;
  if (!asked) return host;
  xc_physinfo_t physical{};
  if (::xc_physinfo(control, &physical) != 0) {
    host.physinfo_error = errno;
  } else {
    host.iommu = (physical.capabilities & XEN_SYSCTL_PHYSCAP_directio) != 0;
    host.hap = (physical.capabilities & XEN_SYSCTL_PHYSCAP_hap) != 0;
  }
  host.iommu_bits = iommu_bits_of_tables();
  xen_commandline_t line{};
  if (::xc_version(control, XENVER_commandline, line) == 0)
    host.command_line.assign(line, ::strnlen(line, sizeof line));
  std::uint32_t index = 0;
  host.console = read_console(control, index);
  return host;
}

void ask_sysfs(DeviceFacts& device) {
  const std::string folder = "/sys/bus/pci/devices/" + to_string(*device.sbdf);
  device.exists = ::access(folder.c_str(), F_OK) == 0;
  if (!device.exists) return;
  const auto list = list_pci_devices("xen");
  if (!list) return;
  for (const PciDeviceInfo& info : *list) {
    if (info.sbdf == *device.sbdf) {
      device.usable_type = true;
      device.info = info;
    } else if ((info.sbdf.raw() & ~7u) == (device.sbdf->raw() & ~7u)) {
      device.neighbours.push_back(info);
    }
  }
  device.can_reset = ::access((folder + "/reset").c_str(), F_OK) == 0;
  device.reset_methods = first_line(folder + "/reset_method");
  const UniqueFd config(::open((folder + "/config").c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::uint8_t> bytes(256);
  const ssize_t got = config ? ::pread(config.get(), bytes.data(), bytes.size(), 0) : 0;
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  count_vectors(bytes, device.msi, device.msix);
  auto user = DeviceLock::owner(device.info.lock);
  if (user)
    device.user = std::move(user).value();
  else
    device.user_error = user.error().code;
}

void ask_xen(DeviceFacts& device, XenCalls& calls, xc_interface* control) {
  const std::uint32_t raw = device.sbdf->raw();
  // The end of the ring is looked up before the question, so that only the answer is read:
  // the ring may be large.
  std::uint32_t index = 0;
  if (read_console(control, index) && ::xc_send_debug_keys(control, "Q") == 0)
    if (const auto answer = read_console(control, index)) device.owner = owner_of(*answer, *device.sbdf);
  if (const auto carriers = list_carriers(calls)) {
    for (const CarrierInfo& carrier : *carriers)
      if (device.owner == "d" + std::to_string(carrier.domid.raw())) device.carrier_of = carrier.tag.pid;
  }
  std::array<xen_reserved_device_memory, 16> ranges;
  std::uint32_t count = ranges.size();
  if (::xc_reserved_device_memory_map(control, 0, static_cast<std::uint16_t>(raw >> 16),
                                      static_cast<std::uint8_t>(raw >> 8), static_cast<std::uint8_t>(raw),
                                      ranges.data(), &count) >= 0)
    for (std::uint32_t i = 0; i < count && i < ranges.size(); ++i)
      if (const auto range =
              IovaRange::from_size(Iova(ranges[i].start_pfn << kPageShift), ranges[i].nr_pages << kPageShift))
        device.reserved.push_back(*range);
  device.same_requester = same_requester(*device.sbdf);
}

std::vector<Check> examine(std::string_view device_text) {
  // Where there is no Xen the libraries would only complain on stderr when they are opened.
  std::unique_ptr<XenCalls> calls;
  Control control(nullptr, &::xc_interface_close);
  if (::access("/dev/xen/privcmd", R_OK | W_OK) == 0 && ::access("/dev/xen/hypercall", R_OK | W_OK) == 0) {
    if (auto opened = XenCalls::open()) calls = std::move(opened).value();
    control.reset(::xc_interface_open(nullptr, nullptr, 0));
  }
  const HostFacts host = gather_host(calls.get(), control.get());
  std::vector<Check> checks = judge(host);
  if (device_text.empty()) return checks;

  DeviceFacts device;
  device.text = device_text;
  if (const auto sbdf = parse_sbdf(device_text)) device.sbdf = *sbdf;
  if (device.sbdf) ask_sysfs(device);
  if (device.usable_type && host.domctl_error == 0) ask_xen(device, *calls, control.get());
  std::string problem;
  for (const Check& check : checks)
    if (problem.empty() && check.state == CheckState::problem) problem = check.detail;
  for (Check& check : judge(device, host, problem)) checks.push_back(std::move(check));
  return checks;
}

}  // namespace

int diagnose(const char* conf, const char* device, void (*row)(void* to, const pviommu_check* check),
             void* to) noexcept {
  (void)conf;  // has nothing that a check depends on
  try {
    hand_over(examine(device != nullptr ? device : ""), row, to);
    return 0;
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (...) {
    return -EIO;
  }
}

}  // namespace pviommu::xen
