// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu doctor: asks the module, or opens the hypervisor, and says what a run would need.
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "hypercall/backend.h"
#include "hypercall/device_lock.h"
#include "pviommu/io_uring_pins.h"
#include "pviommu/locked_memory.h"
#include "vfio-glue/command/command.h"
#include "vfio-glue/command/doctor_report.h"

namespace pviommu::command {
namespace {

using Checks = std::vector<Check>;

constexpr rlim_t kLittleMemory = rlim_t{256} << 20;  // a small guest's

// ---- what every hypervisor needs --------------------------------------------------

void check_front_end(Checks& checks) {
  const std::string library = preload_library();
  if (::access(library.c_str(), R_OK) == 0)
    checks.push_back({"front end", CheckState::ok, library, ""});
  else
    checks.push_back({"front end", CheckState::problem, library + ": " + std::strerror(errno),
                      "install pviommu, or set PVIOMMU_PRELOAD to where the library is"});
}

/// What to do where no ring can be made, by the kernel's errno (`raw`).
std::string io_uring_remedy(std::int64_t raw) {
  switch (raw) {
    case EPERM:
      return "sysctl kernel.io_uring_disabled=0; in a container, let its seccomp profile allow io_uring_setup, "
             "io_uring_enter and io_uring_register";
    case ENOMEM:
      return "raise RLIMIT_MEMLOCK: ulimit -l unlimited, or LimitMEMLOCK=infinity of the service";
    default:
      return "use a kernel with io_uring, 5.19 or later, and let a container's seccomp profile allow it";
  }
}

/// The kernel's errno; 0: it makes one.
std::int64_t why_no_ring() {
  const auto ring = make_io_uring_source();
  return ring ? 0 : ring.error().raw;
}

void check_memory(Checks& checks, const std::string& wanted) {
  const auto chosen = make_frame_source(wanted);
  if (!chosen)
    checks.push_back({"frame source", CheckState::problem, wanted + ": " + to_string(chosen.error()),
                      io_uring_remedy(chosen.error().raw)});
  else if (chosen->source->holds_pages())
    checks.push_back(
        {"frame source", CheckState::ok, std::string(chosen->source->name()) + " holds the pages of mappings", ""});
  else
    checks.push_back(
        {"frame source", CheckState::warning,
         chosen->notice.empty() ? std::string(chosen->source->name()) + " does not hold the pages of mappings" : chosen->notice,
         wanted == "copy" ? "use --frames=auto" : io_uring_remedy(why_no_ring())});

  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (!LockedMemory::limited())
    checks.push_back({"locked memory", CheckState::ok, "not limited: CAP_IPC_LOCK", ""});
  else if (limit.rlim_cur == RLIM_INFINITY)
    checks.push_back({"locked memory", CheckState::ok, "not limited", ""});
  else
    checks.push_back({"locked memory", limit.rlim_cur < kLittleMemory ? CheckState::warning : CheckState::ok,
                      "programs can map " + std::to_string(limit.rlim_cur >> 10) + " KiB (RLIMIT_MEMLOCK)",
                      limit.rlim_cur < kLittleMemory
                          ? "ulimit -l unlimited, or LimitMEMLOCK=infinity of the service"
                          : ""});
}

// ---- a hypervisor that has no diagnosis of its own ---------------------------------

/// Empty: the device can be used.
std::string device_problem(const PciDeviceInfo& info, std::string& remedy) {
  if (!info.viable) {
    remedy = "unbind the host's drivers from the devices of its group";
    return "a host driver holds a member of its group";
  }
  if (info.lock.empty()) return {};
  const auto owner = DeviceLock::owner(info.lock);
  if (!owner) return "who uses it cannot be told: " + to_string(owner.error());
  if (!*owner) return {};
  remedy = "wait for its end";
  return "process " + std::to_string((*owner)->pid) + " (" + (*owner)->comm + ") has it";
}

void check_device(Checks& checks, Hypervisor& hypervisor, Sbdf sbdf) {
  const auto devices = hypervisor.devices();
  if (!devices) {
    checks.push_back({"devices", CheckState::problem, to_string(devices.error()), ""});
    return;
  }
  for (const PciDeviceInfo& info : *devices) {
    if (info.sbdf != sbdf) continue;
    std::string remedy;
    const std::string problem = device_problem(info, remedy);
    const std::string name = to_string(sbdf) + ' ' + info.description;
    checks.push_back({"device", problem.empty() ? CheckState::ok : CheckState::problem,
                      problem.empty() ? name : name + ": " + problem, remedy});
    return;
  }
  checks.push_back(
      {"device", CheckState::problem, to_string(sbdf) + " does not exist", "pviommu list shows the devices there are"});
}

void check_by_opening(Checks& checks, const DoctorOptions& options, const std::optional<Sbdf>& device) {
  const auto opened = open_hypervisor(options.engine.hypervisor);
  if (!opened) {
    checks.push_back({"hypervisor", CheckState::problem, to_string(opened.error()), "see pviommu(1)"});
  } else {
    checks.push_back({"hypervisor", CheckState::ok, options.engine.hypervisor + " opens", ""});
    if (device) check_device(checks, **opened, *device);
  }
  if (!device) return;
  const auto step = [&](std::string what) {
    checks.push_back({kRunStep, CheckState::ok, std::move(what), ""});
  };
  for (const Check& check : checks)
    if (check.state == CheckState::problem) return step("stop with an error: " + check.detail);
  step("open " + options.engine.hypervisor);
  step("take " + to_string(*device) + " for the program, reset it where it can be");
  step("for each mapping of the program: pin its pages, map them in the hypervisor");
  step("in the end: bus mastering off, mappings removed, pages released, device given back");
}

}  // namespace

int doctor(const DoctorOptions& options) {
  std::optional<Sbdf> device;
  if (!options.device.empty()) {
    const auto parsed = parse_sbdf(options.device);
    if (!parsed) {
      complain("--device='" + options.device + "': expected SSSS:BB:DD.F like 0000:00:05.0");
      return kBadInput;
    }
    device = *parsed;
  }
  if (options.engine.hypervisor.empty()) {
    complain("--hypervisor has no value; pviommu info lists the names there are");
    return kBadInput;
  }

  Checks checks;
  check_front_end(checks);
  check_memory(checks, options.engine.frame_source);
  const auto [name, conf] = split_name_conf(options.engine.hypervisor);
  const auto module = find_module(name, PVIOMMU_MODULE_HYPERVISOR);
  if (!module) {
    checks.push_back(
        {"module", CheckState::problem, to_string(module.error()), "pviommu info lists the modules there are"});
  } else {
    const Status diagnosed = diagnose(**module, conf, device ? to_string(*device) : "", checks);
    if (!diagnosed && diagnosed.error().code == EOPNOTSUPP)
      check_by_opening(checks, options, device);
    else if (!diagnosed)
      checks.push_back({"module", CheckState::problem, (*module)->name + (": " + to_string(diagnosed.error())), ""});
  }
  const std::string out = options.json ? checks_as_json(checks) : checks_as_text(checks);
  std::fputs(out.c_str(), stdout);
  return exit_status_of(checks);
}

}  // namespace pviommu::command
