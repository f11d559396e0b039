// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu run: a run folder (device tree, statistics), an environment, the program.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hypercall/backend.h"
#include "hypercall/statistics.h"
#include "vfio-glue/command/command.h"
#include "vfio-glue/command/program_file.h"
#include "vfio-glue/command/program_process.h"
#include "vfio-glue/command/run_folder.h"
#include "vfio-glue/command/stats_report.h"
#include "vfio-glue/engine/sysfs_view.h"

namespace pviommu::command {
namespace {

// The statistics block in a file both sides map.  A path, not a descriptor:
// shells and wrappers between us and the program close what they do not know.
class SharedStatistics {
 public:
  Status make(const std::string& path, bool timed) {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return Error{errno, "statistics file"};
    if (::ftruncate(fd.get(), sizeof(Statistics)) != 0) return Error{errno, "statistics file"};
    void* memory = ::mmap(nullptr, sizeof(Statistics), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) return Error{errno, "statistics file"};
    block_ = new (memory) Statistics;
    block_->timed.store(timed ? 1 : 0);
    path_ = path;
    return {};
  }
  const Statistics& block() const { return *block_; }
  const std::string& path() const { return path_; }

 private:
  Statistics* block_ = nullptr;
  std::string path_;
};

void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

void set_environment(const RunOptions& options, const std::string& library, const std::string& tree,
                     const std::string& statistics, const RunFolder& folder) {
  const vfio::EngineConfig& engine = options.engine;
  set("PVIOMMU_HYPERVISOR", engine.hypervisor);
  set("PVIOMMU_IOMMU_DRIVER", engine.iommu_driver);
  set("PVIOMMU_FRAMES", engine.frame_source);
  set("PVIOMMU_INTERFACE", engine.interfaces.text());
  set("PVIOMMU_MAX_MAPPINGS", std::to_string(engine.max_mappings));
  set("PVIOMMU_STRICT", engine.strict ? "1" : "0");
  set("PVIOMMU_QUIET", engine.quiet ? "1" : "0");
  set("PVIOMMU_SYSFS", tree);
  set("PVIOMMU_SESSION", folder.path());
  set("PVIOMMU_ALIVE", std::to_string(folder.alive()));
  if (statistics.empty())
    ::unsetenv("PVIOMMU_STATS_FILE");  // a run's in which this one is
  else
    set("PVIOMMU_STATS_FILE", statistics);
  set("SYSFS_PCI_DEVICES", tree + "/bus/pci/devices");  // DPDK looks here
  const char* others = std::getenv("LD_PRELOAD");
  // Behind what is there: a sanitizer's runtime, say, has to come first.
  set("LD_PRELOAD", others != nullptr && *others != '\0' ? others + (":" + library) : library);
}

void report(const RunOptions& options, const Statistics& statistics, int status) {
  const bool killed = WIFSIGNALED(status);
  std::string text;
  if (options.stats == "json") {
    Json json = vfio::stats_json(statistics);
    json.set("program", {{"name", options.program[0]},
                         {"exit_status", killed ? Json() : Json(WEXITSTATUS(status))},
                         {"signal", killed ? Json(WTERMSIG(status)) : Json()}});
    text = json.text() + "\n";
  } else if (options.stats == "table") {
    text = "\npviommu: " + options.program[0] + " on " + options.engine.hypervisor + "\n\n" +
           vfio::stats_table(statistics);
  }
  if (killed) {
    const std::uint64_t mappings = statistics.live_mappings(), pages = statistics.live_pages();
    const char* name = ::strsignal(WTERMSIG(status));
    const std::string line = options.program[0] + " was ended by signal " + std::to_string(WTERMSIG(status)) +
                             " (" + (name != nullptr ? name : "?") + "); at that moment " +
                             std::to_string(mappings) + " mappings with " + std::to_string(pages) +
                             " pages were in place";
    // With JSON on stderr the line would break it; the figures are in there.
    if (options.stats != "json" || !options.stats_file.empty()) complain(line);
  }
  if (text.empty()) return;
  if (options.stats_file.empty()) {
    std::fputs(text.c_str(), stderr);
    return;
  }
  std::FILE* file = std::fopen(options.stats_file.c_str(), "we");
  if (file == nullptr || std::fputs(text.c_str(), file) < 0)
    complain("--stats-file=" + options.stats_file + ": " + std::strerror(errno));
  if (file != nullptr) std::fclose(file);
}

// Ends as the child ended, so that our caller sees what it would have seen.
int end_as(int status) {
  if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
  const int signal = WTERMSIG(status);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(signal, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  std::fflush(nullptr);
  ::raise(signal);
  ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
  return 128 + signal;
}

int run_in(RunFolder& folder, const RunOptions& options, int& status) {
  const std::string library = preload_library();
  if (::access(library.c_str(), R_OK) != 0) {
    complain("the preload library " + library + " cannot be read: " + std::strerror(errno) +
             "; set PVIOMMU_PRELOAD to where it is");
    return kFailed;
  }
  std::string tree;
  {
    // Opened once here, so that a mistake is told before the program starts.
    const auto hypervisor = open(options.engine);
    if (!hypervisor) return kBadInput;
    const auto driver = open_iommu_driver(options.engine.iommu_driver, *hypervisor);
    if (!driver) {
      complain(to_string(driver.error()));
      return kBadInput;
    }
    if (const auto frames = make_frame_source(options.engine.frame_source); !frames) {
      complain(to_string(frames.error()));
      return kFailed;
    }
    if (const Status made = folder.make(); !made) {
      complain("no folder for the run: " + to_string(made.error()));
      return kFailed;
    }
    const auto view = vfio::SysfsView::build(options.sysfs.empty() ? folder.path() + "/sys" : options.sysfs,
                                             *hypervisor, options.engine.interfaces);
    if (!view) {
      complain(to_string(view.error()));
      return options.sysfs.empty() ? kFailed : kBadInput;
    }
    tree = view->root();
    if (const auto devices = (*hypervisor).devices())
      for (const PciDeviceInfo& info : *devices)
        if (const Status made = folder.add_lock("group-" + std::to_string(info.group)); !made) {
          complain(to_string(made.error()));
          return kFailed;
        }
    if (!options.sysfs.empty()) folder.also_remove(tree);
  }
  const auto say_if_not_reached = [&] {
    if (const std::string why = why_not_reached(options.program[0]); !why.empty()) complain(why);
  };
  // Nothing is wanted of us afterwards: then there is no process between the program and who
  // signals, waits, stops or traces it.
  if (options.engine.quiet && options.stats.empty() && options.sysfs.empty()) {
    set_environment(options, library, tree, "", folder);
    say_if_not_reached();
    folder.leave();
    return become(options.program);
  }
  SharedStatistics statistics;
  if (const Status made = statistics.make(folder.path() + "/statistics", !options.stats.empty()); !made) {
    complain(to_string(made.error()));
    return kFailed;
  }
  say_if_not_reached();
  set_environment(options, library, tree, statistics.path(), folder);
  std::fflush(nullptr);
  status = run_as_child(options.program);
  if (status < 0) {
    complain(std::string("fork: ") + std::strerror(errno));
    return kFailed;
  }
  report(options, statistics.block(), status);
  return 0;
}

}  // namespace

int run(const RunOptions& options) {
  int status = 0;
  {
    RunFolder folder;
    if (const int failed = run_in(folder, options, status)) return failed;
  }
  return end_as(status);
}

}  // namespace pviommu::command
