// SPDX-License-Identifier: LGPL-2.1-or-later
// Choosing a hypervisor backend by NAME:CONF.
//
// A backend is linked in (the model) or comes from a module, a file
// pviommu-NAME.so found along the module path:
//   $PVIOMMU_MODULE_PATH (colon separated), then the installed module folder.
// Modules are loaded once and stay loaded.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hypercall/diagnosis.h"
#include "hypercall/hypervisor.h"
#include "hypercall/keeper.h"
#include "hypercall/module.h"
#include "hypercall/result.h"

namespace pviommu {

/// The body of pviommu_module.open for an `Interface`: `open(conf)` returns
/// Result<std::unique_ptr<T>>, T being an `Interface`; an error's text becomes the message.
/// Lets no exception out.
template <class Interface, class Open>
void* open_for_module(const pviommu_open_args* args, int* error, const Open& open) noexcept {
  const auto refuse = [&](int code, const char* message) -> void* {
    *error = code;
    if (args->message_size != 0) std::snprintf(args->message, args->message_size, "%s", message);
    return nullptr;
  };
  try {
    auto opened = open(args->conf);
    if (!opened) return refuse(opened.error().code, to_string(opened.error()).c_str());
    Interface* instance = opened->release();  // the caller casts the pointer back to this
    return instance;
  } catch (const std::bad_alloc&) {
    return refuse(ENOMEM, "out of memory");
  } catch (const std::exception& exception) {
    return refuse(EIO, exception.what());
  }
}

/// `name_conf` is "NAME" or "NAME:CONF".  Errors have a sentence.  ENOENT: an unknown
/// name; the sentence lists the names there are and, for a module that exists but
/// could not be loaded, why.
Result<std::unique_ptr<Hypervisor>> open_hypervisor(std::string_view name_conf);

struct ModuleDescription {
  std::string name;
  std::string kind;         ///< "hypervisor", "iommu-driver" or "host"
  std::string description;
  std::string origin;       ///< "built in" or the file
  std::string problem;      ///< why it cannot be loaded; empty: usable
};
/// All built-in and installed backends and drivers, by name.
std::vector<ModuleDescription> list_modules();

/// Finds the entry of the module NAME of the kind, loading it if need be; never null.
/// ENOENT and its sentence as for open_hypervisor().  Used by the registries.
Result<const pviommu_module*> find_module(std::string_view name, std::uint32_t kind);

/// Calls the entry's open().  The result is a Hypervisor*, an IommuDriver* or a
/// HostConnection*, by the entry's kind, never null, and the caller's.  Errors are the
/// module's, with a sentence "NAME: what it said".
Result<void*> open_instance(const pviommu_module& entry, std::string_view conf, void* hypervisor);

/// Appends what the module's diagnose() finds to `checks`, what it found before an
/// error included; takes and changes nothing.  EOPNOTSUPP: it has none.
Status diagnose(const pviommu_module& entry, std::string_view conf, std::string_view device,
                std::vector<Check>& checks);

/// The same of the module's reap(), which is called once: it does its work only once.
Status reap(const pviommu_module& entry, std::string_view conf, bool dry_run, std::vector<Reaped>& rows);

/// Asks the module where its hypervisor has the device.  EOPNOTSUPP: it cannot tell.
Result<Keeper> keeper_of(const pviommu_module& entry, std::string_view conf, Sbdf sbdf);
/// Moves the device between host and quarantine.  False: it was there already.
/// EOPNOTSUPP: the module cannot.
Result<bool> set_keeper(const pviommu_module& entry, std::string_view conf, Sbdf sbdf, Keeper keeper);

/// Adds a linked-in entry.  Call during start-up, before any open.
void register_builtin_module(const pviommu_module* entry);

/// "NAME:CONF" -> {NAME, CONF}; CONF may contain further colons.
std::pair<std::string_view, std::string_view> split_name_conf(std::string_view name_conf);

}  // namespace pviommu
