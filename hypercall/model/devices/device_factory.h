// SPDX-License-Identifier: LGPL-2.1-or-later
// The kinds of device the model can be given: "nvme,file=disk.img".
//
// A device adds its maker here and its row to the table in device_factory.cc.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "hypercall/conf.h"
#include "hypercall/model/pci/bus.h"
#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model {

/// Makes a function that is not started yet.  The model has read the keys that
/// every device has (addr, group, mmap, busy) already, and calls
/// ConfReader::finish() itself.  The result is never null; an error's sentence names the
/// value and what would be right, and leaves naming the device to the model.
using DeviceMaker = Result<std::unique_ptr<PciFunction>> (*)(Bus& bus, Sbdf sbdf, ConfReader& conf);

struct DeviceType {
  std::string_view type;         ///< the word in the configuration
  std::string_view description;  ///< one line with the keys it takes
  DeviceMaker create;
};

/// All types, in the order of the table.
std::vector<DeviceType> device_types();
/// Null when there is none of that name.
const DeviceType* find_device_type(std::string_view type);
/// Adds a type (tests, extensions); before any machine is opened.  The strings
/// have static lifetime.
void register_device_type(const DeviceType& type);

Result<std::unique_ptr<PciFunction>> make_nvme(Bus& bus, Sbdf sbdf, ConfReader& conf);
Result<std::unique_ptr<PciFunction>> make_edu(Bus& bus, Sbdf sbdf, ConfReader& conf);
Result<std::unique_ptr<PciFunction>> make_e1000e(Bus& bus, Sbdf sbdf, ConfReader& conf);
Result<std::unique_ptr<PciFunction>> make_registers(Bus& bus, Sbdf sbdf, ConfReader& conf);
Result<std::unique_ptr<PciFunction>> make_virtio_net(Bus& bus, Sbdf sbdf, ConfReader& conf);

}  // namespace pviommu::model
