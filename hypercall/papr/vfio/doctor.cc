// SPDX-License-Identifier: LGPL-2.1-or-later
// gather() looks at sysfs and opens nothing that would change; judge() makes rows of it and
// asks nobody, so that tests can show it any machine.
#include "hypercall/papr/vfio/doctor.h"

#include <linux/vfio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "hypercall/papr/kernel/pviommu_papr.h"
#include "hypercall/papr/papr_conf.h"
#include "hypercall/papr/vfio/vfio_calls.h"

namespace pviommu::spapr {
namespace {

using Checks = std::vector<Check>;

/// Linux 6.11 brought VFIO back to LPARs.
bool has_vfio_for_lpars(const std::string& release) {
  unsigned major = 0, minor = 0;
  return std::sscanf(release.c_str(), "%u.%u", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 11));
}

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string range_text(const IovaRange& range) { return hex(range.first().raw()) + " to " + hex(range.last().raw()); }

void judge_vfio(const HostFacts& facts, Checks& checks) {
  if (has_vfio_for_lpars(facts.kernel))
    checks.push_back({"kernel", CheckState::ok, "Linux " + facts.kernel, ""});
  else
    checks.push_back({"kernel", CheckState::problem, "Linux " + facts.kernel + ": its VFIO takes no device of an LPAR",
                      "Linux 6.11 or newer, or the kernel module pviommu_papr (papr:via=module)"});
  if (facts.container_error == 0)
    checks.push_back({"/dev/vfio/vfio", CheckState::ok, "can be opened", ""});
  else
    checks.push_back({"/dev/vfio/vfio", CheckState::problem, std::strerror(facts.container_error),
                      facts.container_error == ENOENT ? "modprobe vfio-pci" : "run as root, or give yourself the file"});
  if (facts.spapr)
    checks.push_back({"VFIO sPAPR", *facts.spapr ? CheckState::ok : CheckState::problem, *facts.spapr ? "offered" : "not offered",
                      *facts.spapr ? "" : "modprobe vfio_iommu_spapr_tce"});
  const auto given = std::ranges::count_if(facts.devices, [](const auto& device) { return device.info.viable; });
  if (given != 0)
    checks.push_back({"devices", CheckState::ok, std::to_string(given) + " can be used", ""});
  else
    checks.push_back({"devices", CheckState::problem, "vfio-pci has no device whose whole group is free",
                      "driverctl set-override ADDRESS vfio-pci"});
}

void judge_module(const HostFacts& facts, Checks& checks) {
  checks.push_back({"kernel", CheckState::ok, "Linux " + facts.kernel, ""});
  if (facts.module_error == 0)
    checks.push_back({PVIOMMU_PAPR_DEVICE, CheckState::ok, "is there", ""});
  else
    checks.push_back({PVIOMMU_PAPR_DEVICE, CheckState::problem, std::strerror(facts.module_error),
                      facts.module_error == ENOENT ? "build and load hypercall/papr/kernel (doc/power.md)" : "run as root"});
}

void judge_device(const HostFacts& facts, bool over_module, std::string_view name, bool host_is_fine, Checks& checks) {
  const auto sbdf = parse_sbdf(name);
  const auto found = std::ranges::find_if(facts.devices, [&](const auto& device) { return sbdf && device.info.sbdf == *sbdf; });
  if (found == facts.devices.end()) {
    checks.push_back({"device", CheckState::problem,
                      std::string(name) + (sbdf ? ": no such function, or it has no DMA window of its own" : ": no PCI address"),
                      "pviommu list --hypervisor=papr"});
    return;
  }
  const PlatformDevice& device = *found;
  checks.push_back({"device", CheckState::ok, std::string(name) + ", " + device.info.description + ", group " + std::to_string(device.info.group), ""});
  std::string others;
  for (const Sbdf member : device.group)
    if (member != device.info.sbdf) others += (others.empty() ? "" : ", ") + to_string(member);
  if (!others.empty()) checks.push_back({"group", CheckState::warning, "shares its window with " + others, "give all of them to the same program"});
  const bool free = over_module ? device.info.driver.empty() : device.info.viable;
  const std::string driver = device.info.driver.empty() ? "no driver has it" : "driver " + device.info.driver;
  checks.push_back({"driver", free ? CheckState::ok : CheckState::problem, driver,
                    free           ? ""
                    : over_module  ? "unbind it (and clear its driver_override)"
                                   : "driverctl set-override " + std::string(name) + " vfio-pci, and the rest of its group"});
  checks.push_back({"window", CheckState::ok, range_text(device.default_window) + " in pages of 4K", ""});
  if (!free || !host_is_fine) return;
  const std::string step(kRunStep);
  if (over_module) {
    checks.push_back({step, CheckState::ok, std::string("claim the function by ") + PVIOMMU_PAPR_DEVICE, ""});
    checks.push_back({step, CheckState::ok, "pin memory as it is mapped; H_PUT_TCE_INDIRECT, up to 512 pages each", ""});
    checks.push_back({step, CheckState::ok, "take its MSIs by read() (the kernel asks ibm,change-msi)", ""});
  } else {
    checks.push_back({step, CheckState::ok, "open /dev/vfio/" + std::to_string(device.info.group) + " and a container of the kernel's sPAPR IOMMU", ""});
    checks.push_back({step, CheckState::ok, "map memory; the kernel pins it and makes H_GET_TCE and H_PUT_TCE, a page each", ""});
    checks.push_back({step, CheckState::ok, "take its MSIs on eventfds (the kernel asks ibm,change-msi)", ""});
  }
}

}  // namespace

HostFacts gather(const std::string& sysfs) {
  HostFacts facts;
  facts.model = machine_model(sysfs);
  utsname name{};
  if (::uname(&name) == 0) facts.kernel = name.release;
  const auto calls = make_kernel_vfio_calls();
  const auto container = calls->open("/dev/vfio/vfio");
  if (!container) {
    facts.container_error = container.error().code;
  } else if (const auto extension = calls->ioctl(container->get(), VFIO_CHECK_EXTENSION, std::uintptr_t{VFIO_SPAPR_TCE_IOMMU})) {
    facts.spapr = *extension > 0;
  }
  if (::access(PVIOMMU_PAPR_DEVICE, R_OK | W_OK) != 0) facts.module_error = errno;
  if (auto devices = list_platform_devices(sysfs)) facts.devices = std::move(*devices);
  return facts;
}

std::vector<Check> judge(const HostFacts& facts, std::string_view via, std::string_view device) {
  Checks checks;
  if (facts.model.empty())
    checks.push_back({"machine", CheckState::problem, "this is no Power LPAR (no device tree of a pSeries)", "--hypervisor=model runs everywhere"});
  else
    checks.push_back({"machine", CheckState::ok, facts.model, ""});
  const bool given = std::ranges::any_of(facts.devices, [](const auto& each) { return each.info.driver == "vfio-pci"; });
  const bool over_module = via == "module" || (via == "auto" && facts.module_error == 0 && !given);
  checks.push_back({"way", CheckState::ok, over_module ? "via=module: hcalls by the kernel module pviommu_papr" : "via=vfio: hcalls by the kernel's VFIO", ""});
  over_module ? judge_module(facts, checks) : judge_vfio(facts, checks);
  if (!device.empty()) {
    const bool fine = std::ranges::none_of(checks, [](const auto& check) { return check.state == CheckState::problem; });
    judge_device(facts, over_module, device, fine, checks);
  }
  return checks;
}

int diagnose(const char* conf, const char* device, void (*row)(void* to, const pviommu_check* check),
             void* to) noexcept {
  try {
    const auto choice = parse_conf_text(conf);
    if (choice)
      hand_over(judge(gather(), choice->via, device), row, to);
    else
      hand_over({{"configuration", CheckState::problem, to_string(choice.error()), ""}}, row, to);
    return 0;
  } catch (const std::exception&) {
    return -ENOMEM;
  }
}

}  // namespace pviommu::spapr
