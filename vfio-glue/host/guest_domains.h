// SPDX-License-Identifier: LGPL-2.1-or-later
// The guests of this machine: by name, id or UUID, and what becomes of them.
//
// By libvirt: vfio-glue/host/libvirt/domains.h.  A guest of xl is known to xenstore and
// libxenctrl alone; that implementation belongs to hypercall/xen and can serve
// the same interface.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "hypercall/result.h"

namespace pviommu::host {

enum class GuestState { running, paused, shutting_down, shut_off, crashed, suspended, unknown };
std::string_view to_string(GuestState state);

struct GuestDomain {
  std::optional<unsigned> id;  ///< on Xen the domid; empty: not running
  std::string name;
  std::string uuid;  ///< stays the same over a reboot, unlike the id
  GuestState state = GuestState::unknown;
};

/// What ends the use of a guest's devices.  After `rebooted` the guest may have
/// another id.  `lost`: whoever tells us of the guest is gone, so nothing follows.
enum class GuestEvent { stopped, rebooted, crashed, lost };
std::string_view to_string(GuestEvent event);

/// Events are reported until it is destroyed.  No callback is under way after that, except
/// for the one that destroys it.  The GuestDomains it came from must not be destroyed in a
/// callback.  The first event may be from shortly before: resolve() tells.
class GuestWatch {
 public:
  virtual ~GuestWatch() = default;
};

/// Thread-safe.  Errors have a sentence that names the guest.
class GuestDomains {
 public:
  virtual ~GuestDomains() = default;
  /// ENOENT: there is none.  A number is an id first and a name second.
  virtual Result<GuestDomain> resolve(std::string_view name_id_or_uuid) = 0;
  /// `callback` runs on a thread of ours, one call at a time; it must not throw.
  virtual Result<std::unique_ptr<GuestWatch>> watch(const GuestDomain& domain,
                                                    std::function<void(GuestEvent)> callback) = 0;
};

/// resolve(), and ESRCH with a sentence when the guest has no id: it is not running.
Result<GuestDomain> resolve_running(GuestDomains& domains, std::string_view name_id_or_uuid);

}  // namespace pviommu::host
