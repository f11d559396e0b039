// SPDX-License-Identifier: LGPL-2.1-or-later
// The table of device types: one row each, with the keys that `pviommu run --help` shows.
#include "hypercall/model/devices/device_factory.h"

#include <algorithm>

namespace pviommu::model {
namespace {

std::vector<DeviceType>& table() {
  static std::vector<DeviceType> types = {
      {"nvme", "NVMe controller with one namespace; file=PATH or size=BYTES", &make_nvme},
      {"edu", "QEMU's educational device: registers, DMA engine, MSI", &make_edu},
      {"virtio-net", "legacy virtio network card in loopback", &make_virtio_net},
      {"e1000e", "registers of a network card: I/O ports, ROM, INTx, MSI and MSI-X", &make_e1000e},
      {"registers", "registers that keep what is written; bar0=SIZE ..., table=BAR:OFFSET, pba=BAR:OFFSET, vectors=N", &make_registers},
  };
  return types;
}

}  // namespace

std::vector<DeviceType> device_types() { return table(); }

const DeviceType* find_device_type(std::string_view type) {
  const auto found =
      std::find_if(table().begin(), table().end(), [&](const DeviceType& t) { return t.type == type; });
  return found == table().end() ? nullptr : &*found;
}

void register_device_type(const DeviceType& type) {
  if (find_device_type(type.type) == nullptr) table().push_back(type);
}

}  // namespace pviommu::model
