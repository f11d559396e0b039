// SPDX-License-Identifier: LGPL-2.1-or-later
// Properties are files of sysfs, in cells of 32 bits, big endian.
#include "hypercall/papr/device_tree.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>

#include "hypercall/pci_device.h"
#include "hypercall/unique_fd.h"

namespace pviommu::papr {
namespace {

constexpr std::size_t kCell = 4;

/// Empty when there is none, too.
std::string read_property(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> bytes;
  const ssize_t got = fd ? ::read(fd.get(), bytes.data(), bytes.size()) : 0;
  return got <= 0 ? std::string() : std::string(bytes.data(), static_cast<std::size_t>(got));
}

std::uint64_t cells(const std::string& bytes, std::size_t at, unsigned count) {
  std::uint64_t value = 0;
  for (std::size_t i = at * kCell; i < (at + count) * kCell; ++i)
    value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

unsigned cell_count(const std::string& node, const char* property, unsigned fallback) {
  const std::string bytes = read_property(node + property);
  return bytes.size() == kCell ? static_cast<unsigned>(cells(bytes, 0, 1)) : fallback;
}

}  // namespace

std::optional<DmaWindow> parse_dma_window(const std::string& bytes, unsigned address_cells,
                                          unsigned size_cells) {
  if (address_cells - 1 > 1 || size_cells - 1 > 1) return {};
  if (bytes.size() < (1 + address_cells + size_cells) * kCell) return {};
  const auto range =
      IovaRange::from_size(Iova(cells(bytes, 1, address_cells)), cells(bytes, 1 + address_cells, size_cells));
  if (!range) return {};
  return DmaWindow{Liobn(static_cast<std::uint32_t>(cells(bytes, 0, 1))), *range, {}};
}

std::optional<DmaWindow> window_of(const std::string& sysfs, Sbdf sbdf) {
  std::array<char, PATH_MAX> real;
  const std::string link = sysfs + "/bus/pci/devices/" + to_string(sbdf) + "/of_node";
  if (::realpath(link.c_str(), real.data()) == nullptr) return {};
  for (std::string node = real.data(); node.find("/devicetree/") != std::string::npos;
       node.resize(node.rfind('/'))) {
    std::string bytes = read_property(node + "/ibm,dma-window");
    // The kernel's name for it while VFIO has the PE (Linux 6.12).
    if (bytes.empty()) bytes = read_property(node + "/ibm,dma-window-saved");
    if (bytes.empty()) continue;
    auto window = parse_dma_window(bytes, cell_count(node, "/ibm,#dma-address-cells", 2),
                                   cell_count(node, "/ibm,#dma-size-cells", 2));
    if (window) window->node = node;
    return window;
  }
  return {};
}

}  // namespace pviommu::papr
