// SPDX-License-Identifier: LGPL-2.1-or-later
// The command line: a function a subcommand, which declares its options, has them read and
// calls what does it (command.h); then the table of them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config.h"
#include "vfio-glue/command/command.h"

namespace pviommu::command {
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
  app.add_option_function<std::string>(
         "--interface", [&config](const std::string& text) { config.interfaces = *vfio::Interfaces::from_text(text); },
         "What the program finds (PVIOMMU_INTERFACE): group, cdev (iommufd) or group,cdev")
      ->type_name("LIST")
      ->check([](const std::string& text) -> std::string {
        return vfio::Interfaces::from_text(text) ? "" : "'" + text + "' must be group, cdev or group,cdev";
      });
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

void add_bind_options(CLI::App& app, BindOptions& options, bool binds, const vfio::EngineConfig& environment) {
  options.roots.hypervisor = environment.hypervisor;
  app.add_option("--hypervisor", options.roots.hypervisor,
                 "Configuration for asking the hypervisor that runs (PVIOMMU_HYPERVISOR): xen:assume-interface=...")
      ->type_name("NAME[:CONF]");
  app.add_option("ADDRESS", options.addresses, "Devices, like 0000:00:05.0")->required()->type_name("");
  app.add_flag("--reset", options.reset, "Also resets them while nobody has them");
  app.add_flag("--dry-run", options.dry_run, "Only says what would be done, as commands");
  app.add_flag("--json", options.json, "For programs");
  const auto persist = app.add_flag("--persist", options.persist, binds ? "Also at each boot from now on" : "Also no longer at each boot");
  add_uri_options(app, options.uri, nullptr);
  for (const char* const other : {"--uri", "--libvirt"}) persist->excludes(app.get_option(other));
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

/// What was typed, for the function of the subcommand that is in it: the function
/// declares its options in `command`, lets parse() read them, then acts.
struct CommandLine {
  CLI::App app{"Runs unmodified VFIO programs on hypervisors that own the IOMMU.", "pviommu"};
  CLI::App* command = nullptr;      ///< of the subcommand; null: there is none in it
  vfio::EngineConfig environment;   ///< what options begin with
  std::vector<std::string> words;   ///< as typed, without those of `program`
  std::vector<std::string> program; ///< what stood behind --; whoever takes it moves it out

  /// Nothing: go on.  Else the exit status, after a complaint or the help.
  std::optional<int> parse();
};

std::optional<int> CommandLine::parse() {
  std::vector<std::string> backwards = settle_values(words);
  std::reverse(backwards.begin(), backwards.end());
  try {
    app.parse(backwards);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help, version
    std::string message = error.what();
    if (const std::size_t end = message.find('\n'); end != message.npos) message.resize(end);
    complain(message + "; see pviommu --help");
    return kBadInput;
  }
  if (program.empty()) return std::nullopt;
  complain("unexpected words behind --; only pviommu run takes a program");
  return kBadInput;
}

int run_program(CommandLine& line) {
  RunOptions options;
  options.engine = line.environment;
  add_engine_options(*line.command, options.engine, true);
  line.command
      ->add_option("--stats", options.stats, "Prints what happened after the run: table (default) or json")
      ->type_name("[=FORMAT]")
      ->check(CLI::IsMember({"table", "json"}));
  line.command->add_option("--stats-file", options.stats_file, "Where to, instead of standard error")
      ->type_name("PATH");
  line.command->add_option("--sysfs", options.sysfs, "Makes the device tree here (missing or empty folder)")
      ->type_name("DIR");
  line.command->footer(
      "The exit status is the program's; when it was killed by a signal, pviommu ends by\n"
      "the same signal (128 + its number in a shell).");
  line.command->prefix_command();
  // The program's own words are not for the parser.
  const std::vector<std::string> program = std::exchange(line.program, {});
  if (const auto status = line.parse()) return *status;

  options.program = line.command->remaining();
  if (!options.program.empty() && options.program[0].starts_with("-")) {
    complain("unknown option '" + options.program[0] + "'; see pviommu run --help");
    return kBadInput;
  }
  options.program.insert(options.program.end(), program.begin(), program.end());
  if (options.program.empty()) {
    complain("no program to run: pviommu run [OPTIONS] -- PROGRAM [ARGUMENT...]");
    return kBadInput;
  }
  if (!options.stats_file.empty() && options.stats.empty()) options.stats = "table";
  return run(options);
}

int list_devices(CommandLine& line) {
  QueryOptions options;
  options.engine = line.environment;
  add_engine_options(*line.command, options.engine, false);
  line.command->add_flag("--json", options.json, "For programs");
  bool shows_host = false;
  HostOptions host_options;
  auto* host = line.command->add_flag("--host", shows_host, "All devices of this machine, and who has them");
  add_uri_options(*line.command, host_options.uri, host);
  if (const auto status = line.parse()) return *status;
  host_options.json = options.json;
  return shows_host ? list_host(host_options) : list(options);
}

int show_info(CommandLine& line) {
  QueryOptions options;
  options.engine = line.environment;
  add_engine_options(*line.command, options.engine, false);
  line.command->add_flag("--json", options.json, "For programs");
  if (const auto status = line.parse()) return *status;
  return info(options);
}

int ask_doctor(CommandLine& line) {
  DoctorOptions options;
  options.engine = line.environment;
  add_engine_options(*line.command, options.engine, false);
  line.command->add_option("--device", options.device, "Also looks at this device")->type_name("SSSS:BB:DD.F");
  line.command->add_flag("--json", options.json, "For programs");
  line.command->footer("The exit status is 1 when something is a problem.");
  if (const auto status = line.parse()) return *status;
  return doctor(options);
}

int reap_remains(CommandLine& line) {
  ReapOptions options;
  options.engine = line.environment;
  add_engine_options(*line.command, options.engine, false);
  line.command->add_flag("--dry-run", options.dry_run, "Only says what that is");
  line.command->add_flag("--json", options.json, "For programs");
  line.command->footer("The exit status is 1 when something is left.");
  if (const auto status = line.parse()) return *status;
  return reap(options);
}

int bind_devices(CommandLine& line) {
  BindOptions options;
  add_bind_options(*line.command, options, true, line.environment);
  line.command
      ->add_option("--driver", options.driver,
                   "Gives them to this driver, or to none (default: none on Xen, else vfio-pci)")
      ->type_name("DRIVER");
  line.command->add_flag("--force", options.force, "Also what holds a mounted filesystem or the default route");
  if (const auto status = line.parse()) return *status;
  return bind(options);
}

int unbind_devices(CommandLine& line) {
  BindOptions options;
  add_bind_options(*line.command, options, false, line.environment);
  if (const auto status = line.parse()) return *status;
  return unbind(options);
}

/// Guests are the hypervisor's, so the model is not what is meant unless it is said.
vfio::EngineConfig with_guests(vfio::EngineConfig environment) {
  if (std::getenv("PVIOMMU_HYPERVISOR") == nullptr) environment.hypervisor = "xen";
  return environment;
}

int attach_device(CommandLine& line) {
  AttachOptions options;
  options.engine = with_guests(line.environment);
  add_engine_options(*line.command, options.engine, false);
  line.command->add_option("DEVICE", options.device, "Device, like 0000:00:05.0")->required()->type_name("");
  line.command->add_option("DOMAIN", options.domain, "Guest: name, id or UUID")->required()->type_name("");
  line.command->add_option("--at", options.at, "Where on the guest's bus (default 00:10.0)")->type_name("BB:DD.F");
  line.command->add_flag("--background", options.background, "Returns when the guest has it");
  add_uri_options(*line.command, options.uri, nullptr);
  if (const auto status = line.parse()) return *status;
  return attach(options);
}

int detach_device(CommandLine& line) {
  DetachOptions options;
  options.engine = with_guests(line.environment);
  add_engine_options(*line.command, options.engine, false);
  line.command->add_option("DEVICE", options.device, "Device, like 0000:00:05.0")->required()->type_name("");
  if (const auto status = line.parse()) return *status;
  return detach(options);
}

constexpr struct Subcommand {
  const char* name;
  int (*function)(CommandLine&);
  const char* help;
} kSubcommands[] = {
    {"run", run_program, "Runs PROGRAM with a VFIO interface: run [OPTIONS] [--] PROGRAM [ARGUMENT...]"},
    {"list", list_devices, "Lists the devices programs can use"},
    {"info", show_info, "Shows version, backends, capabilities and limits"},
    {"doctor", ask_doctor, "Looks whether a run can work, and says what to do where it cannot"},
    {"reap", reap_remains, "Puts back what programs that died still hold of the hypervisor"},
    {"bind", bind_devices, "Takes devices from the host's drivers, all or none"},
    {"unbind", unbind_devices, "Gives devices back to the host's drivers, all or none"},
    {"attach", attach_device, "Puts a device on the PCI bus of a guest, until one of them ends"},
    {"detach", detach_device, "Takes a device back from a guest"},
};

/// "run, list, ... and detach"
std::string subcommand_names() {
  std::string out;
  for (std::size_t i = 0; i < std::size(kSubcommands); ++i) {
    if (i != 0) out += i + 1 == std::size(kSubcommands) ? " and " : ", ";
    out += kSubcommands[i].name;
  }
  return out;
}

int main(int argc, char** argv) {
  const auto environment = vfio::EngineConfig::from_environment();
  if (!environment) {
    complain(to_string(environment.error()));
    return kBadInput;
  }
  if (std::ranges::find(kFrameSources, environment->frame_source) == kFrameSources.end()) {
    complain("PVIOMMU_FRAMES='" + environment->frame_source + "': one of auto, io_uring, copy");
    return kBadInput;
  }

  CommandLine line;
  line.environment = *environment;
  line.words.assign(argv + 1, argv + argc);
  if (const auto dashes = std::ranges::find(line.words, "--"); dashes != line.words.end()) {
    line.program.assign(dashes + 1, line.words.end());
    line.words.erase(dashes, line.words.end());
  }
  const auto named = [](const std::string& word) { return std::ranges::find(kSubcommands, word, &Subcommand::name); };
  const auto known = [&](const std::string& word) { return named(word) != std::end(kSubcommands); };
  if (!line.words.empty() && !line.words[0].starts_with("-") && !known(line.words[0])) {
    complain("unknown command '" + line.words[0] + "'; there are " + subcommand_names());
    return kBadInput;
  }

  line.app.set_version_flag("--version", std::string(PACKAGE_STRING));
  line.app.require_subcommand(1);
  line.app.get_formatter()->column_width(34);
  const auto typed = std::ranges::find_if(line.words, known);
  int (*function)(CommandLine&) = nullptr;
  for (const Subcommand& each : kSubcommands) {
    CLI::App* command = line.app.add_subcommand(each.name, each.help);
    if (typed == line.words.end() || *typed != each.name) continue;
    line.command = command;
    function = each.function;
  }
  // Without a subcommand there are only --help, --version and mistakes.
  return function != nullptr ? function(line) : line.parse().value_or(kBadInput);
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
