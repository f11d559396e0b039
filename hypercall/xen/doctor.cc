// SPDX-License-Identifier: LGPL-2.1-or-later
// The judging half: facts in, rows out.  It asks nobody, so that unit tests can show it any
// machine.  When Xen does not talk to us at all, the rows that would only repeat it are left out.
#include "hypercall/xen/doctor.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace pviommu::xen {
namespace {

using Checks = std::vector<Check>;

void ok(Checks& checks, const char* check, std::string detail) {
  checks.push_back({check, CheckState::ok, std::move(detail), ""});
}
void add(Checks& checks, const char* check, CheckState state, std::string detail, std::string remedy) {
  checks.push_back({check, state, std::move(detail), std::move(remedy)});
}

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string join(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

/// The value of the last OPTION=VALUE on a command line; empty: not there.
std::string_view option_of(std::string_view line, std::string_view option) {
  std::string_view value;
  while (!line.empty()) {
    const auto end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    if (word.starts_with(option) && word.substr(option.size()).starts_with('='))
      value = word.substr(option.size() + 1);
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return value;
}

/// IOMMU faults of VT-d are guest warnings; unless they are logged nobody sees them.
bool logs_guest_warnings(std::string_view command_line) {
  std::string_view level = option_of(command_line, "guest_loglvl");
  // LOWER/UPPER: messages up to LOWER are always logged, those up to UPPER at a limited
  // rate, and others never.
  if (const auto slash = level.find('/'); slash != level.npos) level.remove_prefix(slash + 1);
  return level != "none" && level != "error";
}

void judge_nodes(Checks& checks, const HostFacts& host) {
  std::vector<std::string> there;
  for (const HostFacts::Node& node : host.nodes) {
    if (node.error == 0)
      there.push_back(node.path);
    else if (node.error == ENOENT)
      add(checks, "device nodes", CheckState::problem, node.path + " is not there",
          "modprobe " + node.module);
    else
      add(checks, "device nodes", CheckState::problem, node.path + ": " + std::strerror(node.error),
          node.error == EACCES || node.error == EPERM ? "run pviommu as root" : "");
  }
  if (!there.empty() && there.size() == host.nodes.size()) ok(checks, "device nodes", join(there));
}

/// False: Xen does not talk to us, and every later row would only say so again.
bool judge_interface(Checks& checks, const HostFacts& host) {
  if (!host.interface_error) return false;
  if (*host.interface_error == EPERM) {
    add(checks, "privileges", CheckState::problem, "Xen does not let this domain control others",
        "run pviommu in dom0, as root");
    return false;
  }
  if (*host.interface_error != 0) {
    add(checks, "interface", CheckState::problem,
        std::string("Xen does not tell which it has: ") + std::strerror(*host.interface_error), "");
    return false;
  }
  if (const auto problem = interface_problem(host.interface, host.assumed)) {
    add(checks, "interface", CheckState::problem, problem->what, problem->remedy);
    return false;
  }
  const Interface used = choose_interface(host.interface, host.assumed).value();
  if (used.assumed)
    add(checks, "interface", CheckState::warning,
        to_string(host.interface) + ", not known: used like Xen " + used.layout->xen + " because of assume-interface=",
        "install a pviommu that knows this Xen");
  else
    ok(checks, "interface", to_string(host.interface) + ", of Xen " + used.layout->xen);
  ok(checks, "privileges", "this is a control domain");
  if (!host.control_problem.empty())
    add(checks, "libxenctrl", CheckState::problem, host.control_problem, "");
  return true;
}

void judge_iommu(Checks& checks, const HostFacts& host) {
  if (host.physinfo_error != 0) {
    add(checks, "IOMMU", CheckState::unknown,
        std::string("Xen does not tell its capabilities: ") + std::strerror(host.physinfo_error), "");
    return;
  }
  if (host.iommu)
    ok(checks, "IOMMU",
       host.iommu_bits != 0 ? "in use, device addresses of " + std::to_string(host.iommu_bits) + " bits"
                            : "in use, of unknown width: device addresses are kept to 39 bits");
  else
    add(checks, "IOMMU", CheckState::problem, "Xen uses none",
        "switch VT-d or AMD-Vi on in the firmware, and have no iommu=off on Xen's command line");
  if (host.hap)
    ok(checks, "HAP", "hardware-assisted paging is on");
  else
    add(checks, "HAP", CheckState::problem,
        "Xen has no hardware-assisted paging, which the carrier domain needs",
        "switch virtualisation on in the firmware, and have no hap=off on Xen's command line");
  if (!host.iommu) return;

  const auto remapping = host.console ? interrupt_remapping(*host.console) : std::nullopt;
  if (!remapping)
    add(checks, "interrupt remapping", CheckState::unknown,
        host.console ? "Xen's log no longer has its beginning" : "Xen's log cannot be read",
        "look at the serial log of the boot");
  else if (*remapping)
    ok(checks, "interrupt remapping", "on");
  else
    add(checks, "interrupt remapping", CheckState::warning,
        "off: a device can forge any interrupt of this machine",
        "switch it on in the firmware, and have no iommu=no-intremap on Xen's command line; "
        "or trust the programs that are given devices");

  if (!host.console)
    add(checks, "fault log", CheckState::unknown, "Xen's log cannot be read: IOMMU faults are not counted",
        "");
  else if (!logs_guest_warnings(host.command_line))
    add(checks, "fault log", CheckState::warning, "Xen does not log IOMMU faults, so none are counted",
        "remove guest_loglvl from Xen's command line");
  else
    ok(checks, "fault log", "Xen's log can be read; IOMMU faults are counted from it");
}

void judge_kernel(Checks& checks, const HostFacts& host) {
  if (host.guest_type == "PV")
    ok(checks, "dom0", "PV, kernel " + host.kernel);
  else
    add(checks, "dom0", CheckState::problem,
        (host.guest_type.empty() ? "of unknown kind" : host.guest_type) +
            ": only in a PV dom0 can the machine frames of a program's memory be found",
        "boot Xen without dom0=pvh");
  if (host.io_uring_error == 0)
    ok(checks, "io_uring", "holds the pages that a device can reach");
  else
    add(checks, "io_uring", CheckState::problem,
        std::string("a ring cannot be made: ") + std::strerror(host.io_uring_error) +
            "; nothing else holds the pages that a device can reach",
        host.io_uring_error == ENOSYS ? "use a kernel with CONFIG_IO_URING"
                                      : "sysctl kernel.io_uring_disabled=0; in a container, a seccomp profile that allows io_uring");
  if (!host.bind_static)
    add(checks, "interrupts", CheckState::unknown, "/dev/xen/evtchn cannot be asked", "");
  else if (*host.bind_static)
    ok(checks, "interrupts", "the kernel hands event channels of pirqs to programs");
  else
    add(checks, "interrupts", CheckState::warning,
        "kernel " + host.kernel +
            " has no IOCTL_EVTCHN_BIND_STATIC: programs get no interrupts and must poll",
        "use kernel 6.6 or newer (Debian 12: linux-image-amd64 from bookworm-backports)");
}

/// The other way to have VFIO here.  Neither is amiss.
void judge_module(Checks& checks, const HostFacts& host) {
  const char* const name = "kernel module";
  if (host.module_loaded)
    ok(checks, name, "pviommu_xen is loaded: a device of vfio-pci is for any VFIO program, without `pviommu run`");
  else if (!can_have_module(host.kernel))
    ok(checks, name, "none: pviommu_xen is for Linux 6.12 and newer");
  else
    ok(checks, name,
       std::string(host.module_installed ? "pviommu_xen is installed and not loaded"
                                         : "pviommu_xen is not installed; this kernel can have it") +
           (host.signed_only ? ", signed with a key that this machine trusts" : ""));
}

}  // namespace

bool can_have_module(std::string_view release) {
  constexpr unsigned kMajor = 6, kMinor = 12;
  unsigned major = 0, minor = 0;
  if (std::sscanf(std::string(release).c_str(), "%u.%u", &major, &minor) != 2) return false;
  return major > kMajor || (major == kMajor && minor >= kMinor);
}

std::vector<Check> judge(const HostFacts& host) {
  Checks checks;
  if (host.type != "xen") {
    add(checks, "Xen", CheckState::problem,
        host.type.empty() ? "this machine does not run on Xen" : "this machine runs on " + host.type,
        "boot Xen; --hypervisor=model needs none");
    return checks;
  }
  ok(checks, "Xen", host.version.empty() ? "running" : "version " + host.version);
  judge_nodes(checks, host);
  const bool talks = judge_interface(checks, host);
  judge_kernel(checks, host);
  judge_module(checks, host);
  if (talks) judge_iommu(checks, host);
  return checks;
}

// ---- the device ---------------------------------------------------------------------

namespace {

std::string folder_of(const DeviceFacts& device) { return "/sys/bus/pci/devices/" + to_string(*device.sbdf); }

bool kernel_serves(const DeviceFacts& device, const HostFacts& host) {
  return host.module_loaded && device.info.driver == "vfio-pci";
}

void judge_driver(Checks& checks, const DeviceFacts& device, const HostFacts& host) {
  const std::string& driver = device.info.driver;
  if (driver.empty())
    ok(checks, "driver", "none");
  else if (kernel_serves(device, host))
    ok(checks, "driver", "vfio-pci: any VFIO program can have the device by the kernel module, without `pviommu run`");
  else if (device.info.viable)
    ok(checks, "driver", driver + ", which only sets the device aside");
  else
    add(checks, "driver", CheckState::problem, driver + " of this kernel uses the device",
        "echo " + to_string(*device.sbdf) + " > " + folder_of(device) + "/driver/unbind");
  if (device.user_error != 0)
    add(checks, "user", CheckState::unknown, std::strerror(device.user_error), "");
  else if (device.user)
    add(checks, "user", CheckState::problem,
        "process " + std::to_string(device.user->pid) + " (" + device.user->comm + ") has the device",
        "wait for its end");
  else
    ok(checks, "user", "no process has the device");
}

void judge_owner(Checks& checks, const DeviceFacts& device) {
  const std::string& owner = device.owner;
  if (owner.empty())
    add(checks, "domain", CheckState::unknown, "Xen does not say whose the device is", "");
  else if (owner == "d0")
    ok(checks, "domain", "the device is dom0's");
  else if (is_quarantine(owner))
    add(checks, "domain", CheckState::ok,
        "the device is in Xen's quarantine, where `xl pci-assignable-add` and the end of a guest leave it; a run "
        "puts it back there, and a driver of dom0 cannot use it before it is out:",
        "pviommu unbind " + to_string(*device.sbdf));
  else if (device.carrier_of && device.user)
    ok(checks, "domain",
       "the device is in the carrier " + owner + " of process " + std::to_string(*device.carrier_of));
  else if (device.carrier_of)
    add(checks, "domain", CheckState::warning,
        "the device is in the carrier " + owner + " of process " + std::to_string(*device.carrier_of) +
            ", which has ended or is about to",
        "pviommu reap; the next run does that too");
  else if (device.kernels_carrier)
    add(checks, "domain", CheckState::problem,
        "the device is in the carrier " + owner + " of the kernel module: a program has its group of /dev/vfio open",
        "wait for its end");
  else if (owner == "d[XEN]")
    add(checks, "domain", CheckState::problem, "Xen keeps the device for itself",
        "remove it from pci-phantom, hide or console options of Xen's command line");
  else
    add(checks, "domain", CheckState::problem, "the device belongs to domain " + owner.substr(1),
        "xl pci-detach " + owner.substr(1) + ' ' + to_string(*device.sbdf));
}

void judge_reset(Checks& checks, const DeviceFacts& device) {
  if (device.can_reset)
    ok(checks, "reset", device.reset_methods.empty() ? "possible" : device.reset_methods);
  else
    add(checks, "reset", CheckState::warning,
        "the kernel knows no way to reset the device: it keeps what one program left in it for the next",
        "use a device with function-level reset where programs do not trust each other");
}

void judge_isolation(Checks& checks, const DeviceFacts& device) {
  std::vector<std::string> names;
  if (!device.reserved.empty()) {
    for (const IovaRange& range : device.reserved)
      names.push_back(hex(range.first().raw()) + "-" + hex(range.last().raw()));
    add(checks, "reserved memory", CheckState::warning,
        "the firmware lets the device at " + join(names) + " (RMRR); programs cannot map there",
        "switch legacy support of the device off in the firmware, if it has a switch");
  } else {
    ok(checks, "reserved memory", "none");
  }
  names.clear();
  for (const Sbdf sbdf : device.same_requester) names.push_back(to_string(sbdf));
  if (!names.empty())
    add(checks, "isolation", CheckState::problem,
        "the IOMMU cannot tell its DMA from that of " + join(names) + ", behind the same bridge",
        "put it into another slot");
  names.clear();
  for (const PciDeviceInfo& other : device.neighbours)
    names.push_back(to_string(other.sbdf) + (other.driver.empty() ? "" : " (" + other.driver + ")"));
  if (!names.empty())
    add(checks, "isolation", CheckState::warning,
        "functions of the same slot can reach each other past the IOMMU: " + join(names),
        "give all functions of the slot to programs that trust each other");
  if (device.same_requester.empty() && device.neighbours.empty())
    ok(checks, "isolation", "alone in its slot");
}

void judge_vectors(Checks& checks, const DeviceFacts& device, const HostFacts& host) {
  const std::string have = device.msix != 0  ? "MSI-X, vectors: " + std::to_string(device.msix)
                           : device.msi != 0 ? "MSI, vectors: " + std::to_string(device.msi)
                                             : std::string();
  if (have.empty())
    add(checks, "vectors", CheckState::warning, "the device has neither MSI-X nor MSI: programs must poll",
        "");
  else if (host.bind_static && !*host.bind_static)
    add(checks, "vectors", CheckState::warning, have + "; not offered on this kernel", "see interrupts");
  else
    ok(checks, "vectors", have);
}

void add_steps(Checks& checks, const DeviceFacts& device, const HostFacts& host,
               const std::string& first_problem) {
  if (!first_problem.empty()) {
    add(checks, kRunStep, CheckState::ok, "stop with an error: " + first_problem, "");
    return;
  }
  if (kernel_serves(device, host)) {
    add(checks, kRunStep, CheckState::ok, "find the device taken by vfio-pci: start the program by itself", "");
    return;
  }
  const std::string at = to_string(*device.sbdf);
  const unsigned vectors = device.msix != 0 ? device.msix : device.msi;
  ok(checks, kRunStep,
     device.info.driver.empty() ? "write 1 to " + folder_of(device) + "/enable"
                                : "leave " + device.info.driver + " bound, and power the device up");
  ok(checks, kRunStep,
     "switch bus mastering off and memory decoding on" +
         std::string(device.can_reset ? ", reset the device" : ""));
  if (vectors != 0 && host.bind_static && *host.bind_static)
    ok(checks, kRunStep,
       "map " + std::to_string(vectors) + (device.msix != 0 ? " MSI-X" : " MSI") +
           " vectors to pirqs of dom0");
  ok(checks, kRunStep, "create a carrier domain (HVM, never started)");
  ok(checks, kRunStep, "assign " + at + " to it");
  ok(checks, kRunStep,
     "for each mapping of the program: pin its pages, XEN_DOMCTL_memory_mapping of their frames");
  ok(checks, kRunStep,
     "in the end, also of a killed program: bus mastering off, " +
         std::string(device.can_reset ? "reset, " : "") +
         "pirqs and carrier removed, device back to where it was, pages released");
}

}  // namespace

std::vector<Check> judge(const DeviceFacts& device, const HostFacts& host, const std::string& host_problem) {
  Checks checks;
  if (!device.sbdf)
    add(checks, "device", CheckState::problem, "'" + device.text + "' is no PCI address",
        "write it like 0000:00:05.0");
  else if (!device.exists)
    add(checks, "device", CheckState::problem, to_string(*device.sbdf) + " does not exist",
        "pviommu list shows the devices there are");
  else if (!device.usable_type)
    add(checks, "device", CheckState::problem, to_string(*device.sbdf) + " is a bridge",
        "give a device behind it");
  else
    ok(checks, "device", to_string(*device.sbdf) + ' ' + device.info.description);
  const bool there = checks.front().state == CheckState::ok;
  if (there) {
    judge_driver(checks, device, host);
    judge_reset(checks, device);
    judge_vectors(checks, device, host);
    judge_isolation(checks, device);
    // What only a Xen that talks to us can tell.
    if (host.interface_error == 0 && !interface_problem(host.interface, host.assumed)) judge_owner(checks, device);
  }
  std::string problem = host_problem;
  for (const Check& check : checks)
    if (problem.empty() && check.state == CheckState::problem) problem = check.detail;
  add_steps(checks, device, host, problem);
  return checks;
}

// ---- what the console ring says -------------------------------------------------------

std::optional<bool> interrupt_remapping(std::string_view console) {
  // iommu_setup() of either vendor, then what VT-d's own setup says.
  if (console.find("Interrupt remapping enabled") != console.npos) return true;
  if (console.find("Interrupt remapping disabled") != console.npos) return false;
  if (console.find("Interrupt Remapping enabled") != console.npos) return true;
  if (console.find("Interrupt Remapping not enabled") != console.npos) return false;
  return std::nullopt;
}

/// "(XEN) 0000:00:05.0 - d0 - node -1 - MSIs < 26 >"
std::string owner_of(std::string_view console, Sbdf sbdf) {
  const auto begin = console.rfind("==== PCI devices ====");
  if (begin == console.npos) return {};
  console.remove_prefix(begin);
  const std::string key = to_string(sbdf) + " - ";
  const auto at = console.find(key);
  if (at == console.npos) return {};
  console.remove_prefix(at + key.size());
  const auto end = console.substr(0, console.find('\n')).find(" - ");
  return end == console.npos ? std::string() : std::string(console.substr(0, end));
}

bool is_quarantine(std::string_view owner) { return owner.starts_with("DomIO") || owner == "d[IO]"; }

void count_vectors(const std::vector<std::uint8_t>& config, unsigned& msi, unsigned& msix) {
  msi = msix = 0;
  if (config.size() < PCI_CFG_SPACE_SIZE || (config[PCI_STATUS] & PCI_STATUS_CAP_LIST) == 0) return;
  unsigned at = config[PCI_CAPABILITY_LIST] & ~3u;
  for (unsigned left = PCI_CFG_SPACE_SIZE / 4; at >= PCI_STD_HEADER_SIZEOF && left > 0; --left) {
    const unsigned control = config[at + 2] | config[at + 3] << 8;
    if (config[at] == PCI_CAP_ID_MSI) msi = 1u << (control >> 1 & 7);
    if (config[at] == PCI_CAP_ID_MSIX) msix = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
    at = config[at + 1] & ~3u;
  }
}

}  // namespace pviommu::xen
