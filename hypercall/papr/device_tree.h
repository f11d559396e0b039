// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the device tree, as Linux shows it in sysfs, has a function's DMA window.
//
//   .../devices/SBDF/of_node -> .../devicetree/base/pci@800000020000001/...
//                               ibm,dma-window here or in a node above: that node is
//                               the partitionable endpoint (PE); its functions share
//                               the window
#pragma once

#include <optional>
#include <string>

#include "hypercall/papr/core/hcall.h"
#include "hypercall/range.h"

namespace pviommu::papr {

struct DmaWindow {
  Liobn liobn;
  IovaRange range;
  std::string node;  ///< folder of the PE: the same for functions that share the window
};

/// The content of ibm,dma-window (LoPAR, "Device Tree Bindings for PCI Host Bridges"):
/// LIOBN, bus address and size, the latter of as many big-endian cells as said.
/// Empty when it is too short or no range.
std::optional<DmaWindow> parse_dma_window(const std::string& bytes, unsigned address_cells = 2,
                                          unsigned size_cells = 2);

/// Empty: the function has none that this kernel knows.
std::optional<DmaWindow> window_of(const std::string& sysfs, Sbdf sbdf);

}  // namespace pviommu::papr
