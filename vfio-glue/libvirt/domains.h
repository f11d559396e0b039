// SPDX-License-Identifier: LGPL-2.1-or-later
// virDomain*: guests by libvirt, and their lifecycle events.
#pragma once

#include <mutex>

#include "vfio-glue/guest_domains.h"
#include "vfio-glue/libvirt/connection.h"
#include "vfio-glue/libvirt/event_loop.h"

namespace pviommu::host {

class Domains final : public GuestDomains {
 public:
  explicit Domains(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  Result<GuestDomain> resolve(std::string_view name_id_or_uuid, std::string& message) override;
  Result<std::unique_ptr<GuestWatch>> watch(const GuestDomain& domain,
                                            std::function<void(GuestEvent)> callback,
                                            std::string& message) override;

 private:
  class Watch;
  struct Report;
  struct Watchers;
  Status follow_the_connection(std::string& message);

  std::shared_ptr<Connection> connection_;
  std::mutex lock_;
  std::shared_ptr<Watchers> watchers_;  ///< from the first watch() on
};

}  // namespace pviommu::host
