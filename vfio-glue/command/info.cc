// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "config.h"
#include "hypercall/backend.h"
#include "vfio-glue/command/command.h"

namespace pviommu::command {
namespace {

using nlohmann::ordered_json;

std::string hex(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%" PRIx64, value);
  return text;
}

ordered_json page_sizes(std::uint64_t bits) {
  auto sizes = ordered_json::array();
  for (unsigned bit = 0; bit < 64; ++bit)
    if ((bits >> bit & 1) != 0) sizes.push_back(std::uint64_t{1} << bit);
  return sizes;
}

ordered_json notifications(NotificationKinds kinds) {
  auto names = ordered_json::array();
  if ((kinds & bit(NotificationKind::sink)) != 0) names.push_back("sink");
  if ((kinds & bit(NotificationKind::event_channel)) != 0) names.push_back("event_channel");
  if ((kinds & bit(NotificationKind::guest_vector)) != 0) names.push_back("guest_vector");
  return names;
}

ordered_json capabilities(const Capabilities& c) {
  auto ranges = ordered_json::array();
  for (const IovaRange& range : c.iova_ranges)
    ranges.push_back({{"first", hex(range.first().raw())}, {"last", hex(range.last().raw())}});
  auto reserved = ordered_json::array();
  for (const ReservedRange& range : c.reserved)
    reserved.push_back({{"first", hex(range.range.first().raw())},
                        {"last", hex(range.range.last().raw())},
                        {"kind", range.kind == ReservedKind::msi_window ? "msi_window" : "device_direct"}});
  return {
      {"iova_ranges", std::move(ranges)},
      {"reserved", std::move(reserved)},
      {"page_sizes", page_sizes(c.page_sizes)},
      {"max_pages_per_call", c.max_pages_per_call},
      {"max_runs_per_call", c.max_runs_per_call},
      {"max_spaces", c.max_spaces},
      {"contexts_per_space", c.contexts_per_space},
      {"notifications", notifications(c.notifications)},
      {"vectors_before_attach", c.vectors_before_attach},
      {"overwrite_is_fatal", c.overwrite_is_fatal},
      {"read_only", c.read_only},
      {"write_only", c.write_only},
      {"deferred_flush", c.deferred_flush},
      {"peer_to_peer", c.peer_to_peer},
  };
}

// JSON as "key  value" lines, for people: one source for both.
void print(const ordered_json& json, const std::string& indent) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = indent + key;
    if (value.is_object()) {
      std::printf("%s\n", name.c_str());
      print(value, indent + "  ");
    } else if (value.is_array()) {
      std::string line;
      for (const auto& element : value) {
        if (!line.empty()) line += "\n" + std::string(30, ' ');
        if (!element.is_object()) {
          line += element.is_string() ? element.get<std::string>() : element.dump();
          continue;
        }
        std::string words;
        for (const auto& member : element)
          if (const std::string word = member.is_string() ? member.get<std::string>() : member.dump();
              !word.empty())
            words += (words.empty() ? "" : "  ") + word;
        line += words;
      }
      std::printf("%-29s %s\n", name.c_str(), line.empty() ? "none" : line.c_str());
    } else {
      const std::string text = value.is_string()    ? value.get<std::string>()
                               : value.is_boolean() ? (value.get<bool>() ? "yes" : "no")
                                                    : value.dump();
      std::printf("%-29s %s\n", name.c_str(), text.c_str());
    }
  }
}

}  // namespace

int info(const QueryOptions& options) {
  ordered_json json = {
      {"version", PACKAGE_VERSION}, {"compiler", __VERSION__}, {"module_folder", PVIOMMU_MODULE_DIR}};
  auto modules = ordered_json::array();
  for (const ModuleDescription& module : list_modules())
    modules.push_back({{"name", module.name},
                       {"kind", module.kind},
                       {"description", module.description},
                       {"origin", module.origin},
                       {"problem", module.problem}});
  json["modules"] = std::move(modules);

  const auto hypervisor = open(options.engine);
  int status = 0;
  if (hypervisor) {
    json["hypervisor"] = hypervisor->name();
    json["capabilities"] = capabilities(hypervisor->capabilities());
    auto driver = open_iommu_driver(options.engine.iommu_driver, *hypervisor);
    if (driver.instance) {
      json["iommu_driver"] = driver.instance->name();
    } else {
      complain(driver.failure.message);
      status = kBadInput;
    }
  } else {
    status = kBadInput;  // the rest is of use for finding out why
  }

  std::string notice;
  const auto frames = make_frame_source(options.engine.frame_source, notice);
  json["frame_source"] = frames ? std::string((*frames)->name()) : "none: " + to_string(frames.error());
  json["pages_are_held"] = frames ? (*frames)->holds_pages() : false;
  json["frame_source_notice"] = notice;
  json["max_mappings"] = options.engine.max_mappings;

  if (options.json)
    std::printf("%s\n", json.dump(2).c_str());
  else
    print(json, "");
  return status;
}

}  // namespace pviommu::command
