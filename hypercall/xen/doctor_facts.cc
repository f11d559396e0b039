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
#include <fstream>
#include <memory>

#include "hypercall/unique_fd.h"
#include "hypercall/sysfs_bus.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/control.h"
#include "hypercall/xen/doctor.h"
#include "hypercall/xen/domain_list.h"
#include "hypercall/xen/host.h"
#include "hypercall/xen/iommu_tables.h"
#include "hypercall/xen/owner.h"
#include "hypercall/xen/pirq_vectors.h"
#include "hypercall/xen/xen_calls.h"
#include "hypercall/xen/xen_conf.h"

namespace pviommu::xen {
namespace {

std::string first_line(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> text;
  const ssize_t got = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  const std::string_view all(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return std::string(all.substr(0, all.find('\n')));
}

/// Whether the list that modprobe goes by has pviommu_xen.
bool module_is_installed(const std::string& kernel) {
  std::ifstream list("/lib/modules/" + kernel + "/modules.dep");
  for (std::string line; std::getline(list, line);) {
    const std::string_view file = std::string_view(line).substr(0, line.find(':'));
    if (file.substr(file.rfind('/') + 1).starts_with("pviommu_xen.ko")) return true;
  }
  return false;
}

/// `interface`: empty where Xen could not be asked.  `calls`: null where they could not be opened.
HostFacts gather_host(const std::optional<Result<InterfaceNumbers>>& interface, XenCalls* calls) {
  HostFacts host;
  if (interface) host.interface_error = *interface ? 0 : interface->error().code;
  if (interface && *interface) host.interface = **interface;
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
  host.module_loaded = ::access("/sys/class/iommu/pviommu_xen", F_OK) == 0;
  host.module_installed = module_is_installed(host.kernel);
  const std::string lockdown = first_line("/sys/kernel/security/lockdown");
  host.signed_only = first_line("/sys/module/module/parameters/sig_enforce") == "Y" ||
                     (!lockdown.empty() && lockdown.find("[none]") == lockdown.npos);
  if (calls == nullptr) return host;
  if (const auto vectors = PirqVectors::open(*calls)) host.bind_static = (*vectors)->delivery() == Delivery::bind_static;
  if (const auto physical = physical_info(*calls)) {
    host.iommu = (physical->capabilities & XEN_SYSCTL_PHYSCAP_directio) != 0;
    host.hap = (physical->capabilities & XEN_SYSCTL_PHYSCAP_hap) != 0;
  } else {
    host.physinfo_error = physical.error().code;
  }
  host.iommu_bits = iommu_bits_of_tables();
  if (const auto control = Control::open(*calls)) {
    if (const auto line = (*control)->command_line()) host.command_line = *line;
  } else {
    host.control_problem = to_string(control.error());
  }
  std::uint32_t index = 0;
  host.console = read_console(*calls, index);
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

void ask_xen(DeviceFacts& device, XenCalls& calls) {
  const auto control = Control::open(calls);
  if (!control) return;  // said of the host
  device.owner = ask_owner(calls, **control, *device.sbdf);
  if (const auto domains = list_domains(calls)) {
    for (const xen_domctl_getdomaininfo& info : *domains) {
      if (device.owner != "d" + std::to_string(info.domain)) continue;
      CarrierTag tag;
      if (parse_handle(info.handle, tag)) device.carrier_of = tag.pid;
      device.kernels_carrier = is_kernels_handle(info.handle);
    }
  }
  if (const auto entries = (*control)->reserved_memory(*device.sbdf))
    for (const xen_reserved_device_memory& entry : *entries)
      if (const auto range = IovaRange::from_size(Iova(entry.start_pfn << kPageShift), entry.nr_pages << kPageShift))
        device.reserved.push_back(*range);
  if (auto same = same_requester(calls, *device.sbdf)) device.same_requester = std::move(same).value();
}

std::vector<Check> examine(const XenConf& conf, std::string_view device_text) {
  // Where there is no Xen the library would only complain on stderr when it is opened.
  std::unique_ptr<XenCalls> calls;
  std::optional<Result<InterfaceNumbers>> interface;
  if (::access("/dev/xen/privcmd", R_OK | W_OK) == 0 && ::access("/dev/xen/hypercall", R_OK | W_OK) == 0) {
    interface = XenCalls::ask_interface();
    if (auto opened = XenCalls::open(conf.assumed)) calls = std::move(opened).value();
  }
  HostFacts host = gather_host(interface, calls.get());
  host.assumed = conf.assumed;
  std::vector<Check> checks = judge(host);
  if (device_text.empty()) return checks;

  DeviceFacts device;
  device.text = device_text;
  if (const auto sbdf = parse_sbdf(device_text)) device.sbdf = *sbdf;
  if (device.sbdf) ask_sysfs(device);
  if (device.usable_type && calls) ask_xen(device, *calls);
  std::string problem;
  for (const Check& check : checks)
    if (problem.empty() && check.state == CheckState::problem) problem = check.detail;
  for (Check& check : judge(device, host, problem)) checks.push_back(std::move(check));
  return checks;
}

}  // namespace

int diagnose(const char* conf, const char* device, void (*row)(void* to, const pviommu_check* check),
             void* to) noexcept {
  try {
    const auto read = parse_xen_conf(conf != nullptr ? conf : "");
    if (!read) {
      hand_over({{"configuration", CheckState::problem, to_string(read.error()), "see pviommu(1), XEN"}}, row, to);
      return 0;
    }
    hand_over(examine(*read, device != nullptr ? device : ""), row, to);
    return 0;
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (...) {
    return -EIO;
  }
}

}  // namespace pviommu::xen
