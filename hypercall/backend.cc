// SPDX-License-Identifier: LGPL-2.1-or-later
// The registry of modules and the search for one.
//
//   NAME:CONF --> linked in? --> loaded before? --> pviommu-NAME.so along the path
//             --> entry checked: size, version, kind, name --> open(CONF)
//
// A module that was used is never unloaded, because objects that it made run its code.
#include "hypercall/backend.h"

#include <dirent.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>

#include "hypercall/counted.h"

#ifndef PVIOMMU_MODULE_DIR
#error "PVIOMMU_MODULE_DIR is the installed module folder, set by the build"
#endif

namespace pviommu {
namespace {

constexpr std::string_view kPrefix = "pviommu-";
constexpr std::string_view kSuffix = ".so";

const char* kind_name(std::uint32_t kind) {
  if (kind == PVIOMMU_MODULE_HOST) return "host";
  return kind == PVIOMMU_MODULE_HYPERVISOR ? "hypervisor" : "iommu-driver";
}

/// What may stand in a file name and before the colon; keeps '/' out of paths.
bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

/// dlerror() may have line ends of the linker's making.
std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

/// Why `entry` cannot be used; empty when it can.  `size` is looked at first:
/// nothing beyond it may be read.
std::string check_entry(const pviommu_module& entry, std::string_view name) {
  if (entry.size < PVIOMMU_MODULE_MIN_SIZE)
    return "its entry has " + std::to_string(entry.size) + " bytes, at least " +
           std::to_string(PVIOMMU_MODULE_MIN_SIZE) + " are needed";
  if (entry.api_version != PVIOMMU_MODULE_API_VERSION)
    return "it has API version " + std::to_string(entry.api_version) + ", this library has " +
           std::to_string(PVIOMMU_MODULE_API_VERSION) +
           (entry.api_version < PVIOMMU_MODULE_API_VERSION ? ": build the module again with this library's headers"
                                                           : ": install a pviommu as new as the module");
  if (entry.kind != PVIOMMU_MODULE_HYPERVISOR && entry.kind != PVIOMMU_MODULE_IOMMU_DRIVER &&
      entry.kind != PVIOMMU_MODULE_HOST)
    return "its kind " + std::to_string(entry.kind) + " is unknown";
  if (entry.name == nullptr || entry.name != name)
    return "it calls itself \"" + std::string(entry.name != nullptr ? entry.name : "") + '"';
  if (entry.open == nullptr) return "it has no open()";
  return {};
}

/// Errors have a sentence.  A module that can be used is never unloaded: objects
/// it made have their code in it.
Result<const pviommu_module*> load(const std::string& path, std::string_view name) {
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Error{ENOEXEC, "load module"}.with_sentence(one_line(::dlerror()));
  const auto* entry = static_cast<const pviommu_module*>(::dlsym(handle, PVIOMMU_MODULE_ENTRY_SYMBOL));
  const std::string problem =
      entry == nullptr ? "it has no symbol " PVIOMMU_MODULE_ENTRY_SYMBOL : check_entry(*entry, name);
  if (problem.empty()) return entry;
  ::dlclose(handle);
  return Error{ENOEXEC, "load module"}.with_sentence(path + ": " + problem);
}

struct ModuleFile {
  std::string name;
  std::string path;
};

/// The module files along the path; of equal names the first comes first.
std::vector<ModuleFile> module_files() {
  std::vector<std::string> folders;
  // Not getenv(): in a set-uid program the caller must not choose our code.
  if (const char* path = ::secure_getenv("PVIOMMU_MODULE_PATH")) {
    std::string_view rest = path;
    while (!rest.empty()) {
      const auto colon = std::min(rest.find(':'), rest.size());
      if (colon > 0) folders.emplace_back(rest.substr(0, colon));
      rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
  }
  folders.emplace_back(PVIOMMU_MODULE_DIR);

  std::vector<ModuleFile> files;
  for (const std::string& folder : folders) {
    DIR* dir = ::opendir(folder.c_str());
    if (dir == nullptr) continue;  // a folder of the path need not exist
    const auto first = static_cast<std::ptrdiff_t>(files.size());
    while (const dirent* item = ::readdir(dir)) {
      std::string_view name = item->d_name;
      if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
      name.remove_prefix(kPrefix.size());
      name.remove_suffix(std::min(name.size(), kSuffix.size()));
      // A path without a slash would make dlopen() search elsewhere.
      if (is_name(name)) files.push_back({std::string(name), folder + '/' + item->d_name});
    }
    ::closedir(dir);
    std::sort(files.begin() + first, files.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
  }
  return files;
}

struct Registry {
  struct Loaded {
    const pviommu_module* entry;
    std::string path;
  };
  std::mutex lock;
  std::vector<const pviommu_module*> builtin;
  std::map<std::string, Loaded, std::less<>> loaded;  ///< by name

  const pviommu_module* find_builtin(std::string_view name, std::uint32_t kind) const {
    for (const pviommu_module* entry : builtin)
      if (entry->kind == kind && name == entry->name) return entry;
    return nullptr;
  }

  /// The usable entry behind a file, loaded once.  Errors have a sentence.
  Result<const pviommu_module*> use(const ModuleFile& file) {
    const auto known = loaded.find(file.name);
    if (known != loaded.end()) {
      if (known->second.path == file.path) return known->second.entry;
      return Error{EEXIST, "load module"}.with_sentence(file.path + ": hidden by " + known->second.path);
    }
    const pviommu_module* entry = PVIOMMU_TRY(load(file.path, file.name));
    loaded.emplace(file.name, Loaded{entry, file.path});
    return entry;
  }

  /// Every built-in entry, then every file.  Caller holds `lock`.
  std::vector<ModuleDescription> describe() {
    std::vector<ModuleDescription> all;
    for (const pviommu_module* entry : builtin)
      all.push_back({entry->name, kind_name(entry->kind), entry->description, "built in", ""});
    for (const ModuleFile& file : module_files()) {
      ModuleDescription description{file.name, "", "", file.path, ""};
      if (const auto used = use(file); !used) {
        description.problem = to_string(used.error());
      } else {
        const pviommu_module& entry = **used;
        description.kind = kind_name(entry.kind);
        description.description = entry.description != nullptr ? entry.description : "";
        if (find_builtin(file.name, entry.kind) != nullptr)
          description.problem = file.path + ": hidden by the built-in " + file.name;
      }
      all.push_back(std::move(description));
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return all;
  }
};

/// Entries register from static initialisers in any order, and are asked for
/// until the process is gone: made at first use, never destroyed.
Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

std::string not_found(std::string_view name, std::uint32_t kind, const std::vector<ModuleDescription>& all) {
  const std::string kind_text = kind_name(kind);
  std::string message = "no " + kind_text + " \"" + std::string(name) + "\"; there is:";
  std::string problems;
  bool any = false;
  for (const ModuleDescription& module : all) {
    if (!module.problem.empty()) {
      problems += "; cannot be loaded: " + module.problem;
    } else if (module.kind == kind_text) {
      message += ' ' + module.name;
      any = true;
    }
  }
  return message + (any ? "" : " none") + problems;
}

}  // namespace

std::pair<std::string_view, std::string_view> split_name_conf(std::string_view name_conf) {
  const auto colon = name_conf.find(':');
  if (colon == name_conf.npos) return {name_conf, {}};
  return {name_conf.substr(0, colon), name_conf.substr(colon + 1)};
}

void register_builtin_module(const pviommu_module* entry) {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  r.builtin.push_back(entry);
}

Result<const pviommu_module*> find_module(std::string_view name, std::uint32_t kind) {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  if (const pviommu_module* entry = r.find_builtin(name, kind)) return entry;
  const auto known = r.loaded.find(name);
  if (known != r.loaded.end() && known->second.entry->kind == kind) return known->second.entry;
  if (is_name(name)) {
    for (const ModuleFile& file : module_files()) {
      if (file.name != name) continue;
      const auto used = r.use(file);
      if (used && (*used)->kind == kind) return *used;
    }
  }
  return Error{ENOENT, "find module"}.with_sentence(not_found(name, kind, r.describe()));
}

Result<void*> open_instance(const pviommu_module& entry, std::string_view conf, void* hypervisor) {
  const std::string conf_text(conf);
  std::array<char, 1024> message{};
  pviommu_open_args args{};
  args.size = sizeof args;
  args.conf = conf_text.c_str();
  args.hypervisor = hypervisor;
  args.message = message.data();
  args.message_size = message.size();
  int code = 0;
  void* instance = entry.open(&args, &code);
  if (instance != nullptr) return instance;
  message.back() = '\0';
  const Error error{code > 0 ? code : EIO, "open module"};
  return error.with_sentence(std::string(entry.name) + ": " +
                             (message[0] != '\0' ? one_line(message.data()) : to_string(error)));
}

namespace {

std::string text_of(const char* given) { return given != nullptr ? given : ""; }

Check copy_of(const pviommu_check& row) {
  const bool known = row.state <= PVIOMMU_CHECK_UNKNOWN;
  return {text_of(row.check), known ? static_cast<CheckState>(row.state) : CheckState::unknown, text_of(row.detail),
          text_of(row.remedy)};
}
/// A state that we do not know is not taken for "nothing is left".
Reaped copy_of(const pviommu_reaped& row) {
  const bool known = row.state <= PVIOMMU_REAPED_PROBLEM;
  return {text_of(row.what), known ? static_cast<ReapedState>(row.state) : ReapedState::problem};
}

/// Collects what a module hands over: `call(row, to)` is the module's function.
/// Nothing is thrown through the module: a row that there is no memory for is
/// an error after the call.
template <class Plain, class Row, class Call>
Status collect(const char* what, std::vector<Row>& rows, const Call& call) {
  struct Sink {
    std::vector<Row>& rows;
    bool lost = false;
  } sink{rows};
  const auto row = [](void* to, const Plain* plain) noexcept {
    auto& into = *static_cast<Sink*>(to);
    try {
      into.rows.push_back(copy_of(*plain));
    } catch (const std::exception&) {
      into.lost = true;
    }
  };
  const int status = call(row, &sink);
  if (status < 0) return Error{-status, what};
  if (sink.lost) return Error{ENOMEM, what};
  return {};
}

}  // namespace

const char* to_string(CheckState state) {
  constexpr const char* kNames[] = {"ok", "warning", "problem", "unknown"};
  return kNames[static_cast<std::size_t>(state)];
}

const char* to_string(ReapedState state) {
  constexpr const char* kNames[] = {"put back", "left", "problem"};
  return kNames[static_cast<std::size_t>(state)];
}

Status diagnose(const pviommu_module& entry, std::string_view conf, std::string_view device,
                std::vector<Check>& checks) {
  if (entry.size < offsetof(pviommu_module, diagnose) + sizeof entry.diagnose || entry.diagnose == nullptr)
    return Error{EOPNOTSUPP, "diagnose: the module has none"};
  const std::string conf_text(conf), device_text(device);
  return collect<pviommu_check>("diagnose", checks, [&](auto row, void* to) {
    return entry.diagnose(conf_text.c_str(), device_text.c_str(), row, to);
  });
}

Status reap(const pviommu_module& entry, std::string_view conf, bool dry_run, std::vector<Reaped>& rows) {
  if (entry.size < offsetof(pviommu_module, reap) + sizeof entry.reap || entry.reap == nullptr)
    return Error{EOPNOTSUPP, "reap: the module has none"};
  const std::string conf_text(conf);
  return collect<pviommu_reaped>("reap", rows, [&](auto row, void* to) {
    return entry.reap(conf_text.c_str(), dry_run ? 1 : 0, row, to);
  });
}

Result<Keeper> keeper_of(const pviommu_module& entry, std::string_view conf, Sbdf sbdf) {
  if (entry.size < offsetof(pviommu_module, keeper) + sizeof entry.keeper || entry.keeper == nullptr)
    return Error{EOPNOTSUPP, "keeper: the module has none"};
  const int keeper = entry.keeper(std::string(conf).c_str(), to_string(sbdf).c_str());
  if (keeper < 0) return Error{-keeper, "keeper"};
  return keeper <= static_cast<int>(PVIOMMU_KEEPER_GUEST) ? static_cast<Keeper>(keeper) : Keeper::unknown;
}

Result<bool> set_keeper(const pviommu_module& entry, std::string_view conf, Sbdf sbdf, Keeper keeper) {
  if (entry.size < offsetof(pviommu_module, set_keeper) + sizeof entry.set_keeper || entry.set_keeper == nullptr)
    return Error{EOPNOTSUPP, "set_keeper: the module has none"};
  const int moved =
      entry.set_keeper(std::string(conf).c_str(), to_string(sbdf).c_str(), static_cast<std::uint32_t>(keeper));
  if (moved < 0) return Error{-moved, "set_keeper"};
  return moved != 0;
}

Result<std::unique_ptr<Hypervisor>> open_hypervisor(std::string_view name_conf) {
  const auto [name, conf] = split_name_conf(name_conf);
  const pviommu_module* entry = PVIOMMU_TRY(find_module(name, PVIOMMU_MODULE_HYPERVISOR));
  void* instance = PVIOMMU_TRY(open_instance(*entry, conf, nullptr));
  std::unique_ptr<Hypervisor> hypervisor(static_cast<Hypervisor*>(instance));
  return std::unique_ptr<Hypervisor>(std::make_unique<Counted>(std::move(hypervisor)));
}

std::vector<ModuleDescription> list_modules() {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  return r.describe();
}

}  // namespace pviommu
