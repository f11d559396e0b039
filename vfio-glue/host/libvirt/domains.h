// SPDX-License-Identifier: LGPL-2.1-or-later
// virDomain*: guests by libvirt, and their lifecycle events.  Thread-safe; callbacks come
// on the one thread of event_loop.h.
#pragma once

#include <array>
#include <mutex>

#include "vfio-glue/host/guest_domains.h"
#include "vfio-glue/host/libvirt/connection.h"
#include "vfio-glue/host/libvirt/event_loop.h"

namespace pviommu::host {

class Domains final : public GuestDomains {
 public:
  explicit Domains(std::shared_ptr<Connection> connection);
  ~Domains() override;

  Result<GuestDomain> resolve(std::string_view name_id_or_uuid) override;
  Result<std::unique_ptr<GuestWatch>> watch(const GuestDomain& domain,
                                            std::function<void(GuestEvent)> callback) override;

 private:
  class Watch;
  struct Report;
  struct Watchers;
  Status follow();

  std::shared_ptr<Connection> connection_;
  const std::shared_ptr<Watchers> watchers_;
  std::mutex lock_;  ///< of what follows, which is from the first watch() on
  std::shared_ptr<EventLoop> loop_;
  std::array<int, 2> ids_ = {-1, -1};
  bool following_ = false;
};

}  // namespace pviommu::host
