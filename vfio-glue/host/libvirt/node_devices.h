// SPDX-License-Identifier: LGPL-2.1-or-later
// virNodeDevice*: PCI functions by libvirt, under libvirt's own names for them
// ("pci_0000_05_00_0"), which list() learns.
#pragma once

#include <map>

#include "vfio-glue/host/devices.h"
#include "vfio-glue/host/libvirt/connection.h"

namespace pviommu::host {

class NodeDevices final : public HostDevices {
 public:
  explicit NodeDevices(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  const std::string& name() const override { return connection_->uri; }
  bool is_this_machine() const override { return !connection_->is_remote && connection_->type != "TEST"; }
  Result<std::vector<HostDevice>> list() override;
  /// In libvirt's words: "xen" is pciback, "vfio" is vfio-pci.
  std::string default_driver() const override;
  Result<HostSteps> bind_steps(const HostDevice& device, const std::string& driver) override;
  Result<HostSteps> unbind_steps(const HostDevice& device) override;
  Result<HostSteps> reset_steps(const HostDevice& device) override;

 private:
  template <class Call>
  std::function<Status()> call(PciAddress address, const char* what, Call&& made) const;
  std::string quoted(PciAddress address) const { return '"' + names_.at(address) + '"'; }
  HostStep reattach(PciAddress address) const;

  std::shared_ptr<Connection> connection_;
  std::map<PciAddress, std::string> names_;  ///< libvirt's, of the latest list()
};

}  // namespace pviommu::host
