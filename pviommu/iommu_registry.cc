// SPDX-License-Identifier: LGPL-2.1-or-later
// Choosing an IOMMU driver by NAME:CONF.
#include <cstring>
#include <string>

#include "hypercall/module.h"
#include "pviommu/hypercall_iommu.h"
#include "pviommu/iommu_driver.h"

namespace pviommu {

Opened<IommuDriver> open_iommu_driver(std::string_view name_conf, Hypervisor& hypervisor) {
  const auto [name, conf] = split_name_conf(name_conf.empty() ? "hypercall" : name_conf);
  Opened<IommuDriver> opened;
  if (name == "hypercall") {
    if (!conf.empty()) {
      opened.failure.error = Error{EINVAL, "open IOMMU driver"};
      opened.failure.message =
          "IOMMU driver hypercall takes no configuration, but was given \"" + std::string(conf) + "\"";
      return opened;
    }
    opened.instance = make_hypercall_iommu(hypervisor);
    return opened;
  }

  const pviommu_module* module = find_module(name, PVIOMMU_MODULE_IOMMU_DRIVER, opened.failure);
  if (module == nullptr) return opened;
  const std::string conf_text(conf);
  char message[512] = "";
  int error = 0;
  const pviommu_open_args args{sizeof args, conf_text.c_str(), &hypervisor, message, sizeof message};
  opened.instance.reset(static_cast<IommuDriver*>(module->open(&args, &error)));
  if (!opened.instance) {
    message[sizeof message - 1] = 0;
    const int code = error > 0 ? error : EIO;
    opened.failure.error = Error{code, "open IOMMU driver"};
    opened.failure.message = "IOMMU driver " + std::string(name) + ": " +
                             (message[0] != 0 ? std::string(message) : std::string(std::strerror(code)));
  }
  return opened;
}

}  // namespace pviommu
