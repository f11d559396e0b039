// SPDX-License-Identifier: LGPL-2.1-or-later
// How long a message takes to each kind of target, from the write to edu's doorbell.
// Part of xen_guest; to be run where time counts instructions (boot --icount).
//
// A guest has no clock in common with dom0, so its handler answers by an event channel,
// and what that alone takes is measured too: a message that dom0 injects, answered so.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "edu.h"
#include "hypercall/backend.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/evtchn_static.h"
#include "hypercall/xen/xen_calls.h"
#include "ports.h"
#include "tiny_guest.h"

using namespace pviommu;

namespace {

constexpr unsigned kVector = 0x71;
const Vector kEdu{kFirstEdu, VectorKind::msi, 0};

double now() {  // microseconds: thousands of instructions
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

template <class T>
T need(Result<T> result, const char* what) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "latency: %s: %s\n", what, to_string(result.error()).c_str());
  std::exit(1);
}
void need(const Status& status, const char* what) {
  if (status) return;
  std::fprintf(stderr, "latency: %s: %s\n", what, to_string(status.error()).c_str());
  std::exit(1);
}

double median(const std::function<void()>& start, const std::function<void()>& arrived) {
  std::vector<double> took;
  for (int i = 0; i < 201; ++i) {
    ::usleep(3000);  // Xen's own end of an interrupt that nobody ends: 1 ms
    const double begin = now();
    start();
    arrived();
    took.push_back(now() - begin);
  }
  std::sort(took.begin(), took.end());
  return took[took.size() / 2];
}

struct Eventfd final : EventSink {
  UniqueFd fd{::eventfd(0, EFD_CLOEXEC)};
  void event(const Vector&) noexcept override { (void)::eventfd_write(fd.get(), 1); }
};

std::unique_ptr<Hypervisor> open_xen(const std::string& conf) {
  auto opened = open_hypervisor(conf);
  if (opened) return std::move(*opened);
  std::fprintf(stderr, "latency: %s\n", to_string(opened.error()).c_str());
  std::exit(1);
}

}  // namespace

int latency() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const tiny::Guest guest(tiny::Guest::make({}));
  const Domid domid(static_cast<std::uint16_t>(guest.domid()));
  const UniqueFd channels(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC));
  ioctl_evtchn_bind_unbound_port unbound{guest.domid()};
  const int port = ::ioctl(channels.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
  const auto answered = [&] {
    std::uint32_t came = 0;
    if (::read(channels.get(), &came, sizeof came) != sizeof came) std::exit(1);
    (void)!::write(channels.get(), &came, sizeof came);
  };
  const_cast<tiny::Guest&>(guest).answer_to(static_cast<std::uint32_t>(port));
  Notification injected{NotificationKind::guest_vector, nullptr, domid, EventPort(0), kVector, 0};
  const auto calls = need(xen::XenCalls::open(), "Xen");

  const auto show = [](const char* what, double took) {
    std::printf("%-44s %6.1f k-instructions\n", what, took);
  };
  std::printf("from edu's doorbell, median of 201:\n");
  const double back =
      median([&] { need(calls->inject_msi(domid.raw(), 0xfee00000, kVector), "inject"); }, answered);
  double direct = 0;
  {
    const auto xen = open_xen("xen:domain=" + std::to_string(guest.domid()));
    const auto edu = Edu::open(*xen, kFirstEdu);
    const SpaceId space = need(xen->spaces().create_space({}), "space");
    need(xen->spaces().attach(space, kFirstEdu), "attach");
    edu->start();
    (void)need(xen->interrupts().allocate_vectors(kFirstEdu, VectorKind::msi, 1), "vector");
    edu->enable_msi(true);
    need(xen->interrupts().bind_vector(kEdu, injected), "bind");
    direct = median([&] { edu->raise(); }, answered);
    edu->stop();
    need(xen->interrupts().unbind_vector(kEdu), "unbind");
    need(xen->interrupts().free_vectors(kFirstEdu, VectorKind::msi), "free");
    need(xen->spaces().detach(space, kFirstEdu), "detach");
  }
  const auto xen = open_xen("xen");
  {
    const auto edu = Edu::open(*xen, kFirstEdu);
    const SpaceId space = need(xen->spaces().create_space({}), "space");
    (void)need(xen->interrupts().allocate_vectors(kFirstEdu, VectorKind::msi, 1), "vector");
    need(xen->spaces().attach(space, kFirstEdu), "attach");
    edu->start();
    edu->enable_msi(true);
    const auto raise = [&] { edu->raise(); };
    Eventfd eventfd;
    Notification to_eventfd;
    to_eventfd.sink = &eventfd;
    need(xen->interrupts().bind_vector(kEdu, to_eventfd), "bind");
    show("eventfd", median(raise, [&] {
           eventfd_t count;
           (void)::eventfd_read(eventfd.fd.get(), &count);
         }));
    need(xen->interrupts().bind_vector(kEdu, {NotificationKind::event_channel, nullptr, kDomidSelf, EventPort(0), 0, 0}),
         "bind");
    show("event channel, handed over", median(raise, [&] {
           pollfd wait{xen->interrupts().event_fd(), POLLIN, 0};
           (void)::poll(&wait, 1, -1);
           EventPort ports[1];
           (void)need(read_ports(xen->interrupts().event_fd(), ports), "read");
         }));
    const UniqueFd other(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC));
    ioctl_evtchn_bind_unbound_port self{DOMID_SELF};
    const int theirs = ::ioctl(other.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &self);
    const auto take = [&] {
      std::uint32_t came = 0;
      if (::read(other.get(), &came, sizeof came) != sizeof came) std::exit(1);
      (void)!::write(other.get(), &came, sizeof came);
    };
    need(xen->interrupts().bind_vector(kEdu, {NotificationKind::event_channel, nullptr, kDomidSelf,
                                 EventPort(static_cast<std::uint32_t>(theirs)), 0, 0}),
         "bind");
    show("event channel of dom0, sent to", median(raise, take));
    show("guest vector in guest mode, and the answer", direct);
    need(xen->interrupts().bind_vector(kEdu, injected), "bind");
    show("guest vector by way of dom0, and the answer", median(raise, answered));
    show("(a message that dom0 injects, and the answer)", back);
    edu->stop();
    need(xen->interrupts().unbind_vector(kEdu), "unbind");
    need(xen->interrupts().free_vectors(kFirstEdu, VectorKind::msi), "free");
    need(xen->spaces().detach(space, kFirstEdu), "detach");
    need(xen->spaces().destroy_space(space), "destroy");
  }
  tiny::Guest::destroy(guest.domid());
  return 0;
}
