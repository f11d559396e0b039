// SPDX-License-Identifier: LGPL-2.1-or-later
// The command line: every subcommand with its options, then the function that does it.
#include "vfio-glue/command/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "config.h"
#include "hypercall/backend.h"

namespace pviommu::command {

std::string preload_library() {
  if (const char* path = std::getenv("PVIOMMU_PRELOAD"); path != nullptr && *path != '\0') return path;
  return PVIOMMU_MODULE_DIR "/libpviommu-preload.so";
}

std::unique_ptr<Hypervisor> open(const vfio::EngineConfig& config) {
  if (config.hypervisor.empty()) {
    complain("--hypervisor has no value; pviommu info lists the names there are");
    return nullptr;
  }
  auto opened = open_hypervisor(config.hypervisor);
  if (!opened.instance)
    complain(opened.failure.message.empty()
                 ? "hypervisor '" + config.hypervisor + "': " + to_string(opened.failure.error)
                 : opened.failure.message);
  return std::move(opened.instance);
}

namespace {

const std::vector<std::string> kFrameSources = {"auto", "io_uring", "copy"};

void add_engine_options(CLI::App& app, vfio::EngineConfig& config, bool all) {
  app.add_option("--hypervisor", config.hypervisor,
                 "Hypervisor backend and its configuration (PVIOMMU_HYPERVISOR); `pviommu info` lists them")
      ->type_name("NAME[:CONF]");
  app.add_option("--frames", config.frame_source,
                 "How memory is pinned (PVIOMMU_FRAMES): auto, io_uring or copy")
      ->type_name("SOURCE")
      ->check(CLI::IsMember(kFrameSources));
  app.add_option("--iommu-driver", config.iommu_driver, "IOMMU driver (PVIOMMU_IOMMU_DRIVER)")
      ->type_name("NAME[:CONF]");
  if (!all) return;
  app.add_option("--max-mappings", config.max_mappings,
                 "DMA mappings a container can hold (PVIOMMU_MAX_MAPPINGS)")
      ->type_name("N")
      ->check(CLI::Range(1u, 4294967295u));
  app.add_flag("--strict", config.strict,
               "Refuse access rights the hypervisor cannot enforce (PVIOMMU_STRICT)");
  app.add_flag("--quiet", config.quiet, "No notices (PVIOMMU_QUIET)");
}

/// `needs`: the flag without which they mean nothing, or null.
void add_uri_options(CLI::App& app, std::optional<std::string>& value, CLI::Option* needs) {
  auto* uri = app.add_option_function<std::string>(
                     "--uri", [&value](const std::string& text) { value = text; }, "By libvirt, at this URI")
                  ->type_name("URI")
                  ->check([](const std::string& text) { return text.empty() ? "has no value" : ""; });
  auto* libvirt = app.add_flag_callback(
      "--libvirt", [&value] { value = ""; }, "By libvirt, at its default URI");
  uri->excludes(libvirt);
  if (needs == nullptr) return;
  uri->needs(needs);
  libvirt->needs(needs);
}

void add_bind_options(CLI::App& app, BindOptions& options) {
  app.add_option("ADDRESS", options.addresses, "Devices, like 0000:00:05.0")->required()->type_name("");
  app.add_flag("--reset", options.reset, "Also resets them while nobody has them");
  app.add_flag("--dry-run", options.dry_run, "Only says what would be done, as commands");
  app.add_flag("--json", options.json, "For programs");
  add_uri_options(app, options.uri, nullptr);
}

// "--stats" may lack its value, which the parser would take from the next word;
// "--option=" has an empty one, which the parser would not see.
std::vector<std::string> settle_values(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (const std::string& word : words) {
    if (word == "--stats") {
      out.push_back("--stats=table");
    } else if (word.starts_with("--") && word.find('=') == word.size() - 1) {
      out.push_back(word.substr(0, word.size() - 1));
      out.emplace_back();
    } else {
      out.push_back(word);
    }
  }
  return out;
}

int report(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // help, version
  std::string message = error.what();
  if (const std::size_t end = message.find('\n'); end != message.npos) message.resize(end);
  complain(message + "; see pviommu --help");
  return kBadInput;
}

int main(int argc, char** argv) {
  CLI::App app("Runs unmodified VFIO programs on hypervisors that own the IOMMU.", "pviommu");
  app.set_version_flag("--version", std::string(PACKAGE_STRING));
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);

  std::string message;
  const auto environment = vfio::EngineConfig::from_environment(message);
  if (!environment) {
    complain(message);
    return kBadInput;
  }

  if (std::find(kFrameSources.begin(), kFrameSources.end(), environment->frame_source) ==
      kFrameSources.end()) {
    complain("PVIOMMU_FRAMES='" + environment->frame_source + "': one of auto, io_uring, copy");
    return kBadInput;
  }

  RunOptions run_options;
  run_options.engine = *environment;
  CLI::App* run_command = app.add_subcommand(
      "run", "Runs PROGRAM with a VFIO interface: run [OPTIONS] [--] PROGRAM [ARGUMENT...]");
  add_engine_options(*run_command, run_options.engine, true);
  run_command
      ->add_option("--stats", run_options.stats,
                   "Prints what happened after the run: table (default) or json")
      ->type_name("[=FORMAT]")
      ->check(CLI::IsMember({"table", "json"}));
  run_command->add_option("--stats-file", run_options.stats_file, "Where to, instead of standard error")
      ->type_name("PATH");
  run_command
      ->add_option("--sysfs", run_options.sysfs, "Makes the device tree here (missing or empty folder)")
      ->type_name("DIR");
  run_command->footer(
      "The exit status is the program's; when it was killed by a signal, pviommu ends by\n"
      "the same signal (128 + its number in a shell).");
  run_command->prefix_command();

  QueryOptions list_options;
  list_options.engine = *environment;
  CLI::App* list_command = app.add_subcommand("list", "Lists the devices programs can use");
  add_engine_options(*list_command, list_options.engine, false);
  list_command->add_flag("--json", list_options.json, "For programs");

  bool list_shows_host = false;
  HostOptions host_options;
  auto* host_flag = list_command->add_flag("--host", list_shows_host, "All devices of this machine, and who has them");
  add_uri_options(*list_command, host_options.uri, host_flag);

  QueryOptions info_options;
  info_options.engine = *environment;
  CLI::App* info_command = app.add_subcommand("info", "Shows version, backends, capabilities and limits");
  add_engine_options(*info_command, info_options.engine, false);
  info_command->add_flag("--json", info_options.json, "For programs");

  DoctorOptions doctor_options;
  doctor_options.engine = *environment;
  CLI::App* doctor_command =
      app.add_subcommand("doctor", "Looks whether a run can work, and says what to do where it cannot");
  add_engine_options(*doctor_command, doctor_options.engine, false);
  doctor_command->add_option("--device", doctor_options.device, "Also looks at this device")
      ->type_name("SSSS:BB:DD.F");
  doctor_command->add_flag("--json", doctor_options.json, "For programs");
  doctor_command->footer("The exit status is 1 when something is a problem.");

  ReapOptions reap_options;
  reap_options.engine = *environment;
  CLI::App* reap_command =
      app.add_subcommand("reap", "Puts back what programs that died still hold of the hypervisor");
  add_engine_options(*reap_command, reap_options.engine, false);
  reap_command->add_flag("--dry-run", reap_options.dry_run, "Only says what that is");
  reap_command->add_flag("--json", reap_options.json, "For programs");
  reap_command->footer("The exit status is 1 when something is left.");

  BindOptions bind_options, unbind_options;
  CLI::App* bind_command = app.add_subcommand("bind", "Takes devices from the host's drivers, all or none");
  add_bind_options(*bind_command, bind_options);
  bind_command
      ->add_option("--driver", bind_options.driver,
                   "Gives them to this driver, or to none (default: none on Xen, else vfio-pci)")
      ->type_name("DRIVER");
  bind_command->add_flag("--force", bind_options.force, "Also what holds a mounted filesystem or the default route");
  CLI::App* unbind_command = app.add_subcommand("unbind", "Gives devices back to the host's drivers, all or none");
  add_bind_options(*unbind_command, unbind_options);

  // Guests are the hypervisor's, so the model is not what is meant unless it is said.
  vfio::EngineConfig guests = *environment;
  if (std::getenv("PVIOMMU_HYPERVISOR") == nullptr) guests.hypervisor = "xen";
  AttachOptions attach_options;
  attach_options.engine = guests;
  CLI::App* attach_command = app.add_subcommand("attach", "Puts a device on the PCI bus of a guest, until one of them ends");
  add_engine_options(*attach_command, attach_options.engine, false);
  attach_command->add_option("DEVICE", attach_options.device, "Device, like 0000:00:05.0")->required()->type_name("");
  attach_command->add_option("DOMAIN", attach_options.domain, "Guest: name, id or UUID")->required()->type_name("");
  attach_command->add_option("--at", attach_options.at, "Where on the guest's bus (default 00:10.0)")->type_name("BB:DD.F");
  attach_command->add_flag("--background", attach_options.background, "Returns when the guest has it");
  add_uri_options(*attach_command, attach_options.uri, nullptr);
  DetachOptions detach_options;
  detach_options.engine = guests;
  CLI::App* detach_command = app.add_subcommand("detach", "Takes a device back from a guest");
  add_engine_options(*detach_command, detach_options.engine, false);
  detach_command->add_option("DEVICE", detach_options.device, "Device, like 0000:00:05.0")->required()->type_name("");

  // The program's own words are not for the parser.
  std::vector<std::string> words(argv + 1, argv + argc);
  std::vector<std::string> program;
  if (const auto dashes = std::find(words.begin(), words.end(), "--"); dashes != words.end()) {
    program.assign(dashes + 1, words.end());
    words.erase(dashes, words.end());
  }
  constexpr std::array<std::string_view, 9> kCommands = {"run",  "list",   "info",   "doctor", "reap",
                                                         "bind", "unbind", "attach", "detach"};
  if (!words.empty() && !words[0].starts_with("-") && std::ranges::find(kCommands, words[0]) == kCommands.end()) {
    complain("unknown command '" + words[0] + "'; there are run, list, info, doctor, reap, bind, unbind, attach and detach");
    return kBadInput;
  }
  words = settle_values(words);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return report(app, error);
  }

  if (run_command->parsed()) {
    run_options.program = run_command->remaining();
    if (!run_options.program.empty() && run_options.program[0].starts_with("-")) {
      complain("unknown option '" + run_options.program[0] + "'; see pviommu run --help");
      return kBadInput;
    }
    run_options.program.insert(run_options.program.end(), program.begin(), program.end());
    if (run_options.program.empty()) {
      complain("no program to run: pviommu run [OPTIONS] -- PROGRAM [ARGUMENT...]");
      return kBadInput;
    }
    if (!run_options.stats_file.empty() && run_options.stats.empty()) run_options.stats = "table";
    return run(run_options);
  }
  if (!program.empty()) {
    complain("unexpected words behind --; only pviommu run takes a program");
    return kBadInput;
  }
  if (doctor_command->parsed()) return doctor(doctor_options);
  if (reap_command->parsed()) return reap(reap_options);
  if (bind_command->parsed()) return bind(bind_options);
  if (unbind_command->parsed()) return unbind(unbind_options);
  if (attach_command->parsed()) return attach(attach_options);
  if (detach_command->parsed()) return detach(detach_options);
  if (list_command->parsed() && list_shows_host) {
    host_options.json = list_options.json;
    return list_host(host_options);
  }
  return list_command->parsed() ? list(list_options) : info(info_options);
}

}  // namespace
}  // namespace pviommu::command

int main(int argc, char** argv) {
  try {
    return pviommu::command::main(argc, argv);
  } catch (const std::exception& error) {
    pviommu::command::complain(error.what());
    return pviommu::command::kFailed;
  }
}
