// SPDX-License-Identifier: LGPL-2.1-or-later
// What is asked of libxenctrl: facts of the machine, once, when a backend or a device is opened.
//
// libxenctrl has another name with each Xen (libxenctrl.so.4.20), so nothing is linked with it:
// the one of the Xen that runs is loaded, which dom0's tools need too.  What is hot, or wants
// Xen's own errno, or is needed behind a program that has died, goes over libxencall
// (xen_calls.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hypercall/result.h"
#include "hypercall/strong.h"
#include "hypercall/xen/xen_calls.h"
#include <xen/memory.h>

struct xc_interface_core;

namespace pviommu::xen {

/// An open handle.  Not thread-safe.  An error's code is libxenctrl's errno.
class Control {
 public:
  /// ENOENT, with a sentence that names file and package: the library of this Xen is not
  /// installed.  `calls` is asked for Xen's version and not kept.
  static Result<std::unique_ptr<Control>> open(XenCalls& calls);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  /// A function of the loaded library by its name; null: it has none.  Any thread, after an
  /// open() that was successful.  The caller knows its type.
  static void* function(const char* name);

  /// The highest frame of RAM (XENMEM_maximum_ram_page).
  Result<Mfn> highest_frame();
  /// Memory that the firmware wants devices to reach (XENMEM_reserved_device_memory_map): of one
  /// device, or of all (`sbdf` empty).  ENOSYS, EOPNOTSUPP, ENOENT: an IOMMU driver without it.
  Result<std::vector<xen_reserved_device_memory>> reserved_memory(std::optional<Sbdf> sbdf);
  /// Devices whose DMA the IOMMU cannot tell from this one's, itself left out; bridges too
  /// (XEN_DOMCTL_get_device_group).
  Result<std::vector<Sbdf>> device_group(Sbdf sbdf);
  /// Xen's command line.
  Result<std::string> command_line();
  /// What the key would do on Xen's console; the answer goes to Xen's log.
  Status debug_key(char key);

 private:
  explicit Control(xc_interface_core* handle) : handle_(handle) {}
  xc_interface_core* handle_;
};

}  // namespace pviommu::xen
