// SPDX-License-Identifier: LGPL-2.1-or-later
// Nodes of devices by their names: what the program opens.
#include <fcntl.h>

#include <charconv>

#include "hypercall/statistics.h"
#include "vfio-glue/preload/front_end.h"

namespace pviommu::vfio {

FrontEnd::Node FrontEnd::node_of(std::string_view name) {
  using Kind = Node::Kind;
  constexpr std::string_view kDevice = "devices/vfio";
  if (name == "vfio") return {Kind::container};
  if (name == kIommuNode) return {Kind::iommufd};
  const bool device = name.starts_with(kDevice);
  if (device) name.remove_prefix(kDevice.size());
  int number = -1;
  const auto [rest, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool good = problem == std::errc() && rest == name.data() + name.size() && number >= 0 &&
                    (name.size() == 1 || name[0] != '0');
  if (!good) return {};
  return {device ? Kind::device : Kind::group, number};
}

int FrontEnd::open_node(std::string_view name, int flags) {
  const KeepErrno keep;
  const Node node = node_of(name);
  if (node.kind == Node::Kind::none) return -ENOENT;
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return -EEXIST;
  if ((flags & O_DIRECTORY) != 0) return -ENOTDIR;
  const EngineScope scope;
  return with_stack([&] { return open_node(name, node, flags); });
}

int FrontEnd::open_node(std::string_view name, const Node& node, int flags) {
  const auto ready = process_.engine();
  if (!ready) return -ready.error().code;
  const auto number = static_cast<unsigned>(node.number);
  const bool group = node.kind == Node::Kind::group;
  auto file = group                                  ? (*ready)->open_group(number)
              : node.kind == Node::Kind::container   ? (*ready)->open_container()
              : node.kind == Node::Kind::device      ? (*ready)->open_device_node(number)
                                                     : (*ready)->open_iommufd();
  if (!file) return -file.error().code;
  statistics().files_opened.fetch_add(1, std::memory_order_relaxed);
  const auto fd = install(std::move(*file), flags & O_ACCMODE, (flags & O_CLOEXEC) != 0, SysfsView::path_of_node(name),
                          group ? node.number : -1);
  return fd ? *fd : -fd.error().code;
}

}  // namespace pviommu::vfio
