// SPDX-License-Identifier: LGPL-2.1-or-later
//   libvirt's event loop thread --> Watchers (by UUID) --> the watch's callback
//
// A watch may end in its own callback.  Registrations are one for the connection.
#include "vfio-glue/host/libvirt/domains.h"

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

Result<GuestDomain> Domains::resolve(std::string_view name_id_or_uuid) {
  const std::string text(name_id_or_uuid);
  const VirDomain domain = look_up(connection_->handle.get(), text);
  if (!domain) {
    const Error error = last_error(connection_->uri);
    return error.code == ENOENT ? error.with_sentence(connection_->uri + ": there is no domain " + text) : error;
  }
  int state = VIR_DOMAIN_NOSTATE, reason = 0;
  std::array<char, VIR_UUID_STRING_BUFLEN> uuid{};
  const char* name = ::virDomainGetName(domain.get());
  if (::virDomainGetState(domain.get(), &state, &reason, 0) < 0 || name == nullptr ||
      ::virDomainGetUUIDString(domain.get(), uuid.data()) < 0)
    return last_error(connection_->uri + ": domain " + text);
  GuestDomain out{{}, name, uuid.data(), state_of(state)};
  if (const unsigned id = ::virDomainGetID(domain.get()); id != static_cast<unsigned>(-1)) out.id = id;
  return out;
}

// ---- events --------------------------------------------------------------------
//
// libvirt takes one callback of a kind and domain a connection, so ours are for all
// domains, and the watches are found by UUID.  The list belongs to the callbacks
// too, which libvirt may free after the connection's end.

struct Domains::Report {
  Report(std::string of_uuid, std::function<void(GuestEvent)> call)
      : uuid(std::move(of_uuid)), callback(std::move(call)) {}
  const std::string uuid;
  const std::function<void(GuestEvent)> callback;
  std::recursive_mutex lock;  // a callback may end its own watch
  bool ended = false;
};

struct Domains::Watchers {
  using Share = std::shared_ptr<Watchers>;
  static Watchers& of(void* opaque) { return **static_cast<Share*>(opaque); }
  static void closed(virConnectPtr, int reason, void* opaque) {
    if (reason != VIR_CONNECT_CLOSE_REASON_CLIENT)
      static_cast<Watchers*>(opaque)->tell(std::string_view(), GuestEvent::lost);
  }

  std::mutex lock;
  std::vector<std::weak_ptr<Report>> reports;

  /// To the watches of `uuid`; empty: to all.
  void tell(std::string_view uuid, GuestEvent event) {
    std::vector<std::weak_ptr<Report>> all;
    {
      const std::lock_guard guard(lock);
      all = reports;
    }
    for (const auto& one : all) {
      const auto report = one.lock();
      if (!report || (!uuid.empty() && report->uuid != uuid)) continue;
      const std::lock_guard guard(report->lock);
      if (!report->ended) report->callback(event);
    }
  }
  void tell(virDomainPtr domain, GuestEvent event) {
    std::array<char, VIR_UUID_STRING_BUFLEN> uuid{};
    if (::virDomainGetUUIDString(domain, uuid.data()) == 0) tell(uuid.data(), event);
  }
};

class Domains::Watch final : public GuestWatch {
 public:
  explicit Watch(std::shared_ptr<Report> report) : report_(std::move(report)) {}
  ~Watch() override {
    const std::lock_guard guard(report_->lock);
    report_->ended = true;
  }

 private:
  std::shared_ptr<Report> report_;
};

/// Registers all callbacks, once.
Status Domains::follow() {
  const std::lock_guard guard(lock_);
  if (following_) return {};
  auto loop = EventLoop::running();
  if (!loop) return loop.error().with_sentence(connection_->uri + ": " + to_string(loop.error()));
  loop_ = *std::move(loop);

  using Share = Watchers::Share;
  const auto unshare = [](void* opaque) { delete static_cast<Share*>(opaque); };
  const auto lifecycle = [](virConnectPtr, virDomainPtr domain, int event, int detail, void* opaque) {
    const bool stopped = event == VIR_DOMAIN_EVENT_STOPPED;
    if (event == VIR_DOMAIN_EVENT_CRASHED || (stopped && detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED))
      Watchers::of(opaque).tell(domain, GuestEvent::crashed);
    else if (stopped)
      Watchers::of(opaque).tell(domain, GuestEvent::stopped);
    return 0;
  };
  const auto reboot = [](virConnectPtr, virDomainPtr domain, void* opaque) {
    Watchers::of(opaque).tell(domain, GuestEvent::rebooted);
  };

  virConnectPtr handle = connection_->handle.get();
  const auto add = [&](std::size_t place, int event,
                       virConnectDomainEventGenericCallback callback) -> Status {
    if (ids_[place] >= 0) return {};  // from a try before
    auto* share = new Share(watchers_);
    ids_[place] = ::virConnectDomainEventRegisterAny(handle, nullptr, event, callback, share, unshare);
    if (ids_[place] >= 0) return {};
    delete share;
    return last_error(connection_->uri);
  };
  PVIOMMU_TRY(add(0, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                  VIR_DOMAIN_EVENT_CALLBACK(static_cast<virConnectDomainEventCallback>(lifecycle))));
  PVIOMMU_TRY(add(1, VIR_DOMAIN_EVENT_ID_REBOOT,
                  VIR_DOMAIN_EVENT_CALLBACK(static_cast<virConnectDomainEventGenericCallback>(reboot))));
  // This is no share of the list, because libvirt's in-process drivers take the pointer and
  // never free it.
  if (::virConnectRegisterCloseCallback(handle, &Watchers::closed, watchers_.get(), nullptr) < 0 &&
      ::virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
    return last_error(connection_->uri);
  // A dead peer is noticed after 15 s; 1 or an error: this driver has no peer.
  (void)::virConnectSetKeepAlive(handle, 5, 3);
  following_ = true;
  return {};
}

Domains::Domains(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), watchers_(std::make_shared<Watchers>()) {}

Domains::~Domains() {
  virConnectPtr handle = connection_->handle.get();
  for (const int id : ids_)
    if (id >= 0) (void)::virConnectDomainEventDeregisterAny(handle, id);
  // Waits for one under way; fails where it could not be registered.
  if (following_) (void)::virConnectUnregisterCloseCallback(handle, &Watchers::closed);
}

Result<std::unique_ptr<GuestWatch>> Domains::watch(const GuestDomain& domain,
                                                   std::function<void(GuestEvent)> callback) {
  PVIOMMU_TRY(follow());
  auto report = std::make_shared<Report>(domain.uuid, std::move(callback));
  {
    const std::lock_guard guard(watchers_->lock);
    std::erase_if(watchers_->reports, [](const auto& one) { return one.expired(); });
    watchers_->reports.push_back(report);
  }
  auto watch = std::make_unique<Watch>(std::move(report));
  // The guest is looked up last: when it stops meanwhile, either this or an event says so.
  const VirDomain found(::virDomainLookupByUUIDString(connection_->handle.get(), domain.uuid.c_str()));
  if (!found) return last_error(connection_->uri + ": domain " + domain.name);
  return std::unique_ptr<GuestWatch>(std::move(watch));
}

}  // namespace pviommu::host
