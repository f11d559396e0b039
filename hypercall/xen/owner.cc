// SPDX-License-Identifier: LGPL-2.1-or-later
// The question, and what `pviommu bind` and `unbind` need of it.  The answer is read by
// doctor.cc's owner_of().
#include "hypercall/xen/owner.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>

#include "hypercall/module.h"
#include "hypercall/pci_device.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/doctor.h"
#include "hypercall/xen/quarantine.h"
#include "hypercall/xen/xen_conf.h"

namespace pviommu::xen {
namespace {

constexpr const char* kHost = "d0";

int keeper_of_owner(XenCalls& calls, const std::string& owner) {
  if (owner.empty()) return PVIOMMU_KEEPER_UNKNOWN;
  if (owner == kHost) return PVIOMMU_KEEPER_HOST;
  if (is_quarantine(owner)) return PVIOMMU_KEEPER_QUARANTINE;
  const auto carriers = list_carriers(calls);
  if (!carriers) return PVIOMMU_KEEPER_UNKNOWN;
  for (const CarrierInfo& carrier : *carriers)
    if (owner == "d" + std::to_string(carrier.domid.raw())) return PVIOMMU_KEEPER_SPACE;
  return PVIOMMU_KEEPER_GUEST;
}

/// With the interface that the configuration assumes; the rest of it says how to run.
Result<std::unique_ptr<XenCalls>> open_calls(const char* conf) {
  const XenConf read = PVIOMMU_TRY(parse_xen_conf(conf != nullptr ? conf : ""));
  return XenCalls::open(read.assumed);
}

}  // namespace

std::optional<std::string> read_console(XenCalls& calls, std::uint32_t& index) {
  std::string all;
  std::array<char, 16384> piece;
  // Xen may print while we read, so a short read is the end, too, and not only an empty one.
  for (int reads = 0; reads < 4096; ++reads) {
    const auto count = calls.read_console(piece, index);
    if (!count) return std::nullopt;
    all.append(piece.data(), *count);
    if (*count < piece.size()) break;
  }
  return all;
}

std::string ask_owner(XenCalls& calls, Control& control, Sbdf sbdf) {
  // The end of the ring is looked up before the question, so that only the answer is read:
  // the ring may be large.
  std::uint32_t index = 0;
  if (!read_console(calls, index) || !control.debug_key('Q')) return {};
  const auto answer = read_console(calls, index);
  return answer ? owner_of(*answer, sbdf) : std::string();
}

int keeper_for_command(const char* conf, const char* device) noexcept {
  try {
    const auto sbdf = parse_sbdf(device);
    if (!sbdf) return -EINVAL;
    if (::access("/dev/xen/privcmd", R_OK | W_OK) != 0) return -errno;
    const auto calls = open_calls(conf);
    if (!calls) return -calls.error().code;
    const auto control = Control::open(**calls);
    if (!control) return -control.error().code;
    return keeper_of_owner(**calls, ask_owner(**calls, **control, *sbdf));
  } catch (const std::exception&) {
    return -ENOMEM;
  }
}

int set_keeper_for_command(const char* conf, const char* device, std::uint32_t keeper) noexcept {
  try {
    const auto sbdf = parse_sbdf(device);
    if (!sbdf || (keeper != PVIOMMU_KEEPER_HOST && keeper != PVIOMMU_KEEPER_QUARANTINE)) return -EINVAL;
    if (::access("/dev/xen/privcmd", R_OK | W_OK) != 0) return -errno;
    const auto calls = open_calls(conf);
    if (!calls) return -calls.error().code;
    const Domid quarantine(DOMID_IO);
    const Status moved = keeper == PVIOMMU_KEEPER_HOST ? deassign_device(**calls, quarantine, *sbdf)
                                                       : assign_to_quarantine(**calls, *sbdf);
    if (moved) return 1;
    // Xen's own ENODEV: it is not there.
    if (keeper == PVIOMMU_KEEPER_HOST && moved.error().code == ENODEV && moved.error().raw != 0) return 0;
    return -moved.error().code;
  } catch (const std::exception&) {
    return -ENOMEM;
  }
}

}  // namespace pviommu::xen
