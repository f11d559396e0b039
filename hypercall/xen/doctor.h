// SPDX-License-Identifier: LGPL-2.1-or-later
// `pviommu doctor` for Xen: everything a run needs, looked at without taking or
// changing anything.
//
//   gather (doctor_facts.cc)    asks Xen, the kernel and sysfs      -> facts
//   judge  (doctor.cc)          what they mean and what to do       -> checks
//
// One side effect: to learn who owns a device, Xen is sent the debug key Q, whose
// answer (one line for each PCI device) goes to Xen's log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/device_lock.h"
#include "hypercall/diagnosis.h"
#include "hypercall/pci_device.h"
#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/xen/interface.h"

namespace pviommu::xen {

struct HostFacts {
  std::string type;        ///< /sys/hypervisor/type
  std::string version;     ///< "4.17.7"
  std::string guest_type;  ///< /sys/hypervisor/guest_type: PV, PVH, HVM
  std::string kernel;      ///< uname -r

  struct Node {
    std::string path, module;
    int error = 0;  ///< of opening it
  };
  std::vector<Node> nodes;

  std::optional<int> interface_error;         ///< errno of asking for it, 0: done; empty: not tried
  InterfaceNumbers interface;                 ///< Xen's, known or not
  std::optional<InterfaceNumbers> assumed;    ///< by assume-interface=
  std::string control_problem;                ///< why libxenctrl is not there; empty: it is
  int physinfo_error = 0;
  bool iommu = false, hap = false;     ///< when physinfo_error is 0
  unsigned iommu_bits = 0;             ///< 0: the firmware's tables do not say
  std::optional<std::string> console;  ///< Xen's console ring
  std::string command_line;            ///< Xen's
  int io_uring_error = 0;              ///< errno of making a ring
  std::optional<bool> bind_static;     ///< the kernel has IOCTL_EVTCHN_BIND_STATIC

  bool module_loaded = false;     ///< pviommu_xen
  bool module_installed = false;  ///< where modprobe finds it
  bool signed_only = false;       ///< the kernel loads signed modules only
};

struct DeviceFacts {
  std::string text;  ///< as it was given
  std::optional<Sbdf> sbdf;
  bool exists = false;
  bool usable_type = false;  ///< a type 0 function that is no bridge
  PciDeviceInfo info;
  std::string reset_methods;  ///< "flr bus"; empty: none
  bool can_reset = false;
  unsigned msi = 0, msix = 0;
  int user_error = 0;
  std::optional<DeviceOwner> user;          ///< process that has it open
  std::string owner;                        ///< as in Xen's log: d0, d5, DomIO:7ff0; empty: not known
  std::optional<std::uint32_t> carrier_of;  ///< process whose carrier `owner` is
  bool kernels_carrier = false;             ///< `owner` is a carrier of pviommu_xen
  std::vector<IovaRange> reserved;          ///< RMRRs
  std::vector<Sbdf> same_requester;         ///< Xen cannot tell their DMA apart
  std::vector<PciDeviceInfo> neighbours;    ///< other functions of the slot
};

std::vector<Check> judge(const HostFacts& host);
/// The rows of a device, with the dry run at the end.  `host_problem`: the host's first
/// problem, which a run would stop with; empty: none.
std::vector<Check> judge(const DeviceFacts& device, const HostFacts& host, const std::string& host_problem);

// ---- what the console ring says -----------------------------------------------------

/// Whether Xen said at boot that it remaps interrupts; empty: the ring has
/// wrapped since, or there is no IOMMU.
std::optional<bool> interrupt_remapping(std::string_view console);
/// Who owns the device, by the last answer to the debug key Q; empty: it is not in it.
std::string owner_of(std::string_view console, Sbdf sbdf);
/// Whether the quarantine is meant.
bool is_quarantine(std::string_view owner);

/// Whether a kernel that calls itself `release` ("6.12.9-amd64") is new enough for pviommu_xen.
bool can_have_module(std::string_view release);

/// MSI and MSI-X vectors by the capabilities in 256 bytes of configuration space.
void count_vectors(const std::vector<std::uint8_t>& config, unsigned& msi, unsigned& msix);

// ---- doctor_facts.cc --------------------------------------------------------------

/// For pviommu_module::diagnose.
int diagnose(const char* conf, const char* device, void (*row)(void* to, const pviommu_check* check),
             void* to) noexcept;

}  // namespace pviommu::xen
