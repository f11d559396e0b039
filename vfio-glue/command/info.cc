// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu info: version, modules, and what the hypervisor can do.
#include <cinttypes>
#include <cstdio>

#include "config.h"
#include "hypercall/backend.h"
#include "hypercall/model/devices/device_factory.h"
#include "vfio-glue/command/command.h"
#include "vfio-glue/command/json.h"

namespace pviommu::command {
namespace {

std::string address(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%" PRIx64, value);
  return text;
}

Json page_sizes(std::uint64_t bits) {
  Json sizes = Json::array();
  for (unsigned bit = 0; bit < 64; ++bit)
    if ((bits >> bit & 1) != 0) sizes.push_back(std::uint64_t{1} << bit);
  return sizes;
}

Json notifications(NotificationKinds kinds) {
  Json names = Json::array();
  if ((kinds & bit(NotificationKind::sink)) != 0) names.push_back("sink");
  if ((kinds & bit(NotificationKind::event_channel)) != 0) names.push_back("event_channel");
  if ((kinds & bit(NotificationKind::guest_vector)) != 0) names.push_back("guest_vector");
  return names;
}

Json capabilities(const Capabilities& c) {
  Json ranges = Json::array();
  for (const IovaRange& range : c.iova_ranges)
    ranges.push_back({{"first", address(range.first().raw())}, {"last", address(range.last().raw())}});
  Json reserved = Json::array();
  for (const ReservedRange& range : c.reserved)
    reserved.push_back({{"first", address(range.range.first().raw())},
                        {"last", address(range.range.last().raw())},
                        {"kind", range.kind == ReservedKind::msi_window ? "msi_window" : "device_direct"}});
  return {
      {"iova_ranges", std::move(ranges)},
      {"reserved", std::move(reserved)},
      {"page_sizes", page_sizes(c.page_sizes)},
      {"max_entries_per_call", c.max_entries_per_call},
      {"max_runs_per_call", c.max_runs_per_call},
      {"notifications", notifications(c.notifications)},
      {"vectors_before_attach", c.vectors_before_attach},
      {"vectors_grow", c.vectors_grow},
      {"read_only", c.read_only},
      {"write_only", c.write_only},
      {"deferred_flush", c.deferred_flush},
      {"peer_to_peer", c.peer_to_peer},
  };
}

}  // namespace

int info(const QueryOptions& options) {
  Json json = {
      {"version", PACKAGE_VERSION}, {"compiler", __VERSION__}, {"module_folder", PVIOMMU_MODULE_DIR}};
  Json modules = Json::array();
  for (const ModuleDescription& module : list_modules())
    modules.push_back({{"name", module.name},
                       {"kind", module.kind},
                       {"description", module.description},
                       {"origin", module.origin},
                       {"problem", module.problem}});
  json.set("modules", std::move(modules));
  Json devices = Json::array();
  for (const model::DeviceType& type : model::device_types())
    devices.push_back({{"type", std::string(type.type)}, {"description", std::string(type.description)}});
  json.set("model_devices", std::move(devices));

  const auto hypervisor = open(options.engine);
  int status = 0;
  if (hypervisor) {
    json.set("hypervisor", hypervisor->name());
    json.set("capabilities", capabilities(hypervisor->capabilities()));
    auto driver = open_iommu_driver(options.engine.iommu_driver, *hypervisor);
    if (driver) {
      json.set("iommu_driver", (*driver)->name());
    } else {
      complain(to_string(driver.error()));
      status = kBadInput;
    }
  } else {
    status = kBadInput;  // the rest is of use for finding out why
  }

  const auto frames = make_frame_source(options.engine.frame_source);
  // The sentence of an error is the notice.
  json.set("frame_source", frames ? std::string(frames->source->name())
                                  : "none: " + to_string(frames.error().with_sentence("")));
  json.set("pages_are_held", frames ? frames->source->holds_pages() : false);
  json.set("frame_source_notice", frames ? frames->notice : to_string(frames.error()));
  json.set("max_mappings", options.engine.max_mappings);

  if (options.json)
    std::puts(json.text().c_str());
  else
    std::fputs(json.lines().c_str(), stdout);
  return status;
}

}  // namespace pviommu::command
