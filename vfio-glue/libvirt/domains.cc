// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-glue/libvirt/domains.h"

#include <libvirt/virterror.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace pviommu::host {
namespace {

GuestState state_of(int state) {
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
      return GuestState::running;
    case VIR_DOMAIN_PAUSED:
      return GuestState::paused;
    case VIR_DOMAIN_SHUTDOWN:
      return GuestState::shutting_down;
    case VIR_DOMAIN_SHUTOFF:
      return GuestState::shut_off;
    case VIR_DOMAIN_CRASHED:
      return GuestState::crashed;
    case VIR_DOMAIN_PMSUSPENDED:
      return GuestState::suspended;
    default:
      return GuestState::unknown;
  }
}

VirDomain look_up(virConnectPtr connection, const std::string& text) {
  const bool number = !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == text.npos;
  if (number)
    if (VirDomain domain(::virDomainLookupByID(connection, std::atoi(text.c_str()))); domain) return domain;
  if (text.size() == VIR_UUID_STRING_BUFLEN - 1)
    if (VirDomain domain(::virDomainLookupByUUIDString(connection, text.c_str())); domain) return domain;
  return VirDomain(::virDomainLookupByName(connection, text.c_str()));
}

}  // namespace

Result<GuestDomain> Domains::resolve(std::string_view name_id_or_uuid, std::string& message) {
  const std::string text(name_id_or_uuid);
  const VirDomain domain = look_up(connection_->handle.get(), text);
  if (!domain) {
    const Error error = last_error(connection_->uri, message);
    if (error.code == ENOENT) message = connection_->uri + ": there is no domain " + text;
    return error;
  }
  int state = VIR_DOMAIN_NOSTATE, reason = 0;
  std::array<char, VIR_UUID_STRING_BUFLEN> uuid{};
  const char* name = ::virDomainGetName(domain.get());
  if (::virDomainGetState(domain.get(), &state, &reason, 0) < 0 || name == nullptr ||
      ::virDomainGetUUIDString(domain.get(), uuid.data()) < 0)
    return last_error(connection_->uri + ": domain " + text, message);
  GuestDomain out{{}, name, uuid.data(), state_of(state)};
  if (const unsigned id = ::virDomainGetID(domain.get()); id != static_cast<unsigned>(-1)) out.id = id;
  return out;
}

// ---- events --------------------------------------------------------------------
//
// A report belongs to its watch and to each callback registered with libvirt,
// which frees its own when it is done with it: later than the watch, perhaps.

struct Domains::Report {
  std::recursive_mutex lock;  // a callback may destroy its watch
  std::function<void(GuestEvent)> callback;
  bool ended = false;

  void tell(GuestEvent event) {
    const std::lock_guard guard(lock);
    if (!ended) callback(event);
  }
};

struct Domains::Watchers {
  std::mutex lock;
  std::vector<std::weak_ptr<Report>> reports;

  void lost() {
    std::vector<std::weak_ptr<Report>> all;
    {
      const std::lock_guard guard(lock);
      all = reports;
    }
    for (const auto& one : all)
      if (const auto report = one.lock()) report->tell(GuestEvent::lost);
  }
};

namespace {

/// A share of `T` in a callback's opaque pointer.
template <class T>
void* shared(const std::shared_ptr<T>& object) {
  return new std::shared_ptr<T>(object);
}
template <class T>
void unshare(void* opaque) {
  delete static_cast<std::shared_ptr<T>*>(opaque);
}

}  // namespace

class Domains::Watch final : public GuestWatch {
 public:
  Watch(std::shared_ptr<Connection> connection, std::shared_ptr<EventLoop> loop,
        std::shared_ptr<Report> report)
      : connection_(std::move(connection)), loop_(std::move(loop)), report_(std::move(report)) {}
  ~Watch() override {
    for (const int id : ids_)
      if (id >= 0) (void)::virConnectDomainEventDeregisterAny(connection_->handle.get(), id);
    const std::lock_guard guard(report_->lock);
    report_->ended = true;
  }

  Status start(virDomainPtr domain, std::string& message) {
    ids_[0] = follow(domain, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(&Watch::lifecycle));
    if (ids_[0] >= 0)
      ids_[1] = follow(domain, VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(&Watch::reboot));
    if (ids_[1] >= 0) return {};
    return last_error(connection_->uri, message);
  }

 private:
  int follow(virDomainPtr domain, int event, virConnectDomainEventGenericCallback callback) {
    void* share = shared(report_);
    const int id = ::virConnectDomainEventRegisterAny(connection_->handle.get(), domain, event, callback,
                                                      share, &unshare<Report>);
    if (id < 0) unshare<Report>(share);
    return id;
  }
  static Report& report_of(void* opaque) { return **static_cast<std::shared_ptr<Report>*>(opaque); }
  static int lifecycle(virConnectPtr, virDomainPtr, int event, int detail, void* opaque) {
    if (event == VIR_DOMAIN_EVENT_CRASHED ||
        (event == VIR_DOMAIN_EVENT_STOPPED && detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED))
      report_of(opaque).tell(GuestEvent::crashed);
    else if (event == VIR_DOMAIN_EVENT_STOPPED)
      report_of(opaque).tell(GuestEvent::stopped);
    return 0;
  }
  static void reboot(virConnectPtr, virDomainPtr, void* opaque) {
    report_of(opaque).tell(GuestEvent::rebooted);
  }

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<EventLoop> loop_;
  std::shared_ptr<Report> report_;
  std::array<int, 2> ids_ = {-1, -1};
};

/// Once a connection: that it is gone is an event too.
Status Domains::follow_the_connection(std::string& message) {
  const std::lock_guard guard(lock_);
  if (watchers_) return {};
  auto watchers = std::make_shared<Watchers>();
  const auto closed = [](virConnectPtr, int reason, void* opaque) {
    if (reason != VIR_CONNECT_CLOSE_REASON_CLIENT) (*static_cast<std::shared_ptr<Watchers>*>(opaque))->lost();
  };
  void* share = shared(watchers);
  if (::virConnectRegisterCloseCallback(connection_->handle.get(), closed, share, &unshare<Watchers>) < 0) {
    unshare<Watchers>(share);
    // A driver in this process, like that of tests, cannot be lost.
    if (::virGetLastErrorCode() != VIR_ERR_NO_SUPPORT) return last_error(connection_->uri, message);
  }
  // A dead peer is noticed after 15 s; 1 or an error: this driver has no peer.
  (void)::virConnectSetKeepAlive(connection_->handle.get(), 5, 3);
  watchers_ = std::move(watchers);
  return {};
}

Result<std::unique_ptr<GuestWatch>> Domains::watch(const GuestDomain& domain,
                                                   std::function<void(GuestEvent)> callback,
                                                   std::string& message) {
  auto loop = EventLoop::running();
  if (!loop) {
    message = connection_->uri + ": " + to_string(loop.error());
    return loop.error();
  }
  PVIOMMU_TRY(follow_the_connection(message));
  const VirDomain found(::virDomainLookupByUUIDString(connection_->handle.get(), domain.uuid.c_str()));
  if (!found) return last_error(connection_->uri + ": domain " + domain.name, message);
  auto report = std::make_shared<Report>();
  report->callback = std::move(callback);
  auto watch = std::make_unique<Watch>(connection_, *std::move(loop), report);
  PVIOMMU_TRY(watch->start(found.get(), message));
  const std::lock_guard guard(watchers_->lock);
  std::erase_if(watchers_->reports, [](const auto& one) { return one.expired(); });
  watchers_->reports.push_back(report);
  return std::unique_ptr<GuestWatch>(std::move(watch));
}

}  // namespace pviommu::host
