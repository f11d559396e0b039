// SPDX-License-Identifier: LGPL-2.1-or-later
// The module is found by the name "libvirt", whatever the URI's scheme: libvirt sorts those out.
#include "vfio-glue/host/connection.h"

#include <string>

namespace pviommu::host {

Result<std::unique_ptr<HostConnection>> open_host_connection(std::string_view uri) {
  const auto module = find_module("libvirt", PVIOMMU_MODULE_HOST);
  if (!module) {
    std::string why = "no module \"libvirt\"; configure makes it with --with-libvirt=yes";
    for (const ModuleDescription& other : list_modules())
      if (!other.problem.empty()) why += "; cannot be loaded: " + other.problem;
    return module.error().with_sentence(why);
  }
  void* instance = PVIOMMU_TRY(open_instance(**module, uri, nullptr));
  return std::unique_ptr<HostConnection>(static_cast<HostConnection*>(instance));
}

std::string_view to_string(GuestState state) {
  switch (state) {
    case GuestState::running:
      return "running";
    case GuestState::paused:
      return "paused";
    case GuestState::shutting_down:
      return "shutting down";
    case GuestState::shut_off:
      return "shut off";
    case GuestState::crashed:
      return "crashed";
    case GuestState::suspended:
      return "suspended";
    case GuestState::unknown:
      break;
  }
  return "of unknown state";
}

std::string_view to_string(GuestEvent event) {
  switch (event) {
    case GuestEvent::stopped:
      return "stopped";
    case GuestEvent::rebooted:
      return "rebooted";
    case GuestEvent::crashed:
      return "crashed";
    case GuestEvent::lost:
      break;
  }
  return "lost";
}

Result<GuestDomain> resolve_running(GuestDomains& domains, std::string_view name_id_or_uuid) {
  GuestDomain domain = PVIOMMU_TRY(domains.resolve(name_id_or_uuid));
  if (domain.id) return domain;
  return Error{ESRCH, "resolve domain"}.with_sentence("the domain " + domain.name + " is not running: it is " +
                                                      std::string(to_string(domain.state)));
}

}  // namespace pviommu::host
