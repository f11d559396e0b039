// SPDX-License-Identifier: LGPL-2.1-or-later
// The kinds of notification of a device in a carrier: sink, event channel (handed over,
// of dom0, of a guest), vector of a guest.  Part of xen_guest; see guest.cc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "edu.h"
#include "host_control.h"
#include "hypercall/backend.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/evtchn_static.h"
#include "hypercall/xen/xen_calls.h"
#include "ports.h"
#include "tiny_guest.h"

using namespace pviommu;

namespace {

/// Another user of /dev/xen/evtchn.
class Channels {
 public:
  Channels() : fd_(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC | O_NONBLOCK)) {}
  unsigned make() {
    ioctl_evtchn_bind_unbound_port unbound{DOMID_SELF};
    return static_cast<unsigned>(::ioctl(fd_.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound));
  }
  /// Arrivals that wait, of any port; waits for one.
  unsigned take_arrivals(int milliseconds) {
    pollfd wait{fd_.get(), POLLIN, 0};
    if (::poll(&wait, 1, milliseconds) <= 0) return 0;
    std::uint32_t ports[64];
    const ssize_t got = ::read(fd_.get(), ports, sizeof ports);
    if (got <= 0) return 0;
    (void)!::write(fd_.get(), ports, static_cast<std::size_t>(got));
    return static_cast<unsigned>(got) / 4;
  }

 private:
  UniqueFd fd_;
};

struct Counter final : EventSink {
  std::atomic<unsigned> count{0};
  void event(const Vector&) noexcept override { count.fetch_add(1); }
  unsigned await(unsigned wanted, unsigned milliseconds = 2000) const {
    for (unsigned i = 0; count.load() < wanted && i < milliseconds * 20; ++i) ::usleep(50);
    return count.load();
  }
};

class Notify : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_hypervisor("xen");
    ASSERT_TRUE(opened) << to_string(opened.error());
    hypervisor = std::move(*opened);
    edu = Edu::open(*hypervisor, kFirstEdu);
    ASSERT_TRUE(edu);
    auto made = hypervisor->spaces().create_space({});
    ASSERT_TRUE(made) << to_string(made.error());
    space = *made;
    ASSERT_TRUE(hypervisor->interrupts().allocate_vectors(kFirstEdu, VectorKind::msi, 1));
    ASSERT_TRUE(hypervisor->spaces().attach(space, kFirstEdu));
    edu->start();
    edu->enable_msi(true);
  }
  void TearDown() override {
    if (edu) {
      edu->stop();
      const Status unbound = hypervisor->interrupts().unbind_vector(vector);
      EXPECT_TRUE(unbound || unbound.error().code == ENOENT) << to_string(unbound.error());
      EXPECT_TRUE(hypervisor->interrupts().free_vectors(kFirstEdu, VectorKind::msi));
      EXPECT_TRUE(hypervisor->spaces().detach(space, kFirstEdu));
      edu.reset();
      EXPECT_TRUE(hypervisor->spaces().destroy_space(space));
    }
    hypervisor.reset();
    if (!guest) return;
    const std::uint32_t domid = guest->domid();
    EXPECT_TRUE(tiny::Guest::alive(domid));
    guest.reset();
    tiny::Guest::destroy(domid);
  }
  void make_guest() { guest = std::make_unique<tiny::Guest>(tiny::Guest::make({})); }
  Domid domid() const { return Domid(static_cast<std::uint16_t>(guest->domid())); }

  Status bind_sink(EventSink& to) {
    Notification target;
    target.sink = &to;
    return hypervisor->interrupts().bind_vector(vector, target);
  }
  Status bind_channel(Domid domid, unsigned port) {
    Notification target;
    target.kind = NotificationKind::event_channel;
    target.domid = domid;
    target.port = EventPort(port);
    return hypervisor->interrupts().bind_vector(vector, target);
  }
  Status bind_guest(std::uint8_t gvec) {
    Notification target;
    target.kind = NotificationKind::guest_vector;
    target.domid = domid();
    target.gvec = gvec;
    return hypervisor->interrupts().bind_vector(vector, target);
  }
  unsigned port() {
    const auto found = hypervisor->interrupts().event_port(vector);
    EXPECT_TRUE(found);
    return found ? found->raw() : 0;
  }

  std::unique_ptr<Hypervisor> hypervisor;
  std::unique_ptr<Edu> edu;
  std::unique_ptr<tiny::Guest> guest;
  SpaceId space{};
  const Vector vector{kFirstEdu, VectorKind::msi, 0};
};

TEST_F(Notify, HandedOverToAnotherProcess) {
  int said[2], go[2];
  ASSERT_EQ(::pipe(said), 0);
  ASSERT_EQ(::pipe(go), 0);
  ASSERT_TRUE(bind_channel(kDomidSelf, 0));
  const unsigned given = port();
  ASSERT_NE(given, 0u);
  EXPECT_EQ(hypervisor->interrupts().raise_vector(vector).error().code, EOPNOTSUPP);
  edu->raise();  // nobody reads yet: it waits

  const pid_t child = ::fork();
  if (child == 0) {
    const std::string parent = std::to_string(::getppid()), fd = std::to_string(hypervisor->interrupts().event_fd());
    ::dup2(said[1], 1);
    ::dup2(go[0], 0);
    for (const int end : {said[0], said[1], go[0], go[1]}) ::close(end);
    ::execl("/proc/self/exe", "xen_guest", "consume", parent.c_str(), fd.c_str(), nullptr);
    ::_exit(127);
  }
  std::uint32_t came = 0;
  ASSERT_EQ(::read(said[0], &came, 4), 4) << "what had waited";
  EXPECT_EQ(came, given);
  for (int i = 0; i < 200; ++i) {
    edu->raise();
    ASSERT_EQ(::read(said[0], &came, 4), 4);
    ASSERT_EQ(came, given);
  }
  // Masked: it waits in Xen.
  ASSERT_TRUE(hypervisor->interrupts().mask_vector(vector));
  edu->raise();
  pollfd more{said[0], POLLIN, 0};
  EXPECT_EQ(::poll(&more, 1, 100), 0);
  ASSERT_TRUE(hypervisor->interrupts().unmask_vector(vector));
  ASSERT_EQ(::read(said[0], &came, 4), 4);
  // Ours again, whatever the consumer does; and its again.
  Counter counter;
  ASSERT_TRUE(bind_sink(counter));
  edu->raise();
  EXPECT_EQ(counter.await(1), 1u);
  ASSERT_TRUE(bind_channel(kDomidSelf, 0));
  edu->raise();
  ASSERT_EQ(::read(said[0], &came, 4), 4);
  EXPECT_TRUE(hypervisor->interrupts().unbind_vector(vector));
  EXPECT_EQ(::poll(&more, 1, 50), 0);
  EXPECT_EQ(counter.count.load(), 1u);
  ::close(go[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  for (const int fd : {said[0], said[1], go[0]}) ::close(fd);
}

TEST_F(Notify, HandedOverAndReadHere) {
  ASSERT_TRUE(bind_channel(kDomidSelf, 0));
  EventPort ports[4];
  EXPECT_EQ(*read_ports(hypervisor->interrupts().event_fd(), ports), 0u);
  for (int i = 0; i < 20; ++i) {
    edu->raise();
    pollfd wait{hypervisor->interrupts().event_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&wait, 1, 2000), 1);
    ASSERT_EQ(*read_ports(hypervisor->interrupts().event_fd(), ports), 1u);
    ASSERT_EQ(ports[0], EventPort(port()));
  }
  EXPECT_TRUE(hypervisor->interrupts().unbind_vector(vector));
  Counter counter;
  ASSERT_TRUE(bind_sink(counter));
  edu->raise();
  EXPECT_EQ(counter.await(1), 1u);
}

TEST_F(Notify, ChannelsOfDom0) {
  Channels consumer;
  const unsigned theirs = consumer.make();
  ASSERT_TRUE(bind_channel(kDomidSelf, theirs));
  EXPECT_NE(port(), theirs) << "our end";
  for (int i = 0; i < 100; ++i) {
    edu->raise();
    ASSERT_EQ(consumer.take_arrivals(2000), 1u) << i;
  }
  ASSERT_TRUE(hypervisor->interrupts().raise_vector(vector));
  EXPECT_EQ(consumer.take_arrivals(2000), 1u);
  // Held while it is masked, and told once.
  ASSERT_TRUE(hypervisor->interrupts().mask_vector(vector));
  edu->raise();
  ::usleep(20000);
  edu->raise();
  EXPECT_EQ(consumer.take_arrivals(50), 0u);
  EXPECT_TRUE(*hypervisor->interrupts().vector_pending(vector));
  ASSERT_TRUE(hypervisor->interrupts().unmask_vector(vector));
  EXPECT_EQ(consumer.take_arrivals(2000), 1u);
  EXPECT_EQ(consumer.take_arrivals(50), 0u);
  EXPECT_EQ(bind_channel(kDomidSelf, 4000).error().code, EINVAL);
  edu->raise();
  EXPECT_EQ(consumer.take_arrivals(2000), 1u) << "as before";
}

TEST_F(Notify, ChannelsOfAGuest) {
  make_guest();
  auto calls = xen::XenCalls::open();
  ASSERT_TRUE(calls);
  evtchn_alloc_unbound alloc{};
  alloc.dom = static_cast<domid_t>(guest->domid());
  alloc.remote_dom = DOMID_SELF;
  ASSERT_TRUE(
      (*calls)->event_channel(EVTCHNOP_alloc_unbound, &alloc, sizeof alloc, "EVTCHNOP_alloc_unbound"));
  ASSERT_TRUE(bind_channel(domid(), alloc.port));
  // The guest's pending bits are in its shared page, which it has nowhere yet.
  constexpr xen_pfn_t kFrame = 0x200;
  const tiny::HostControl control;
  ASSERT_EQ(control.call(HOST_CONTROL(xc_domain_add_to_physmap), guest->domid(), XENMAPSPACE_shared_info, 0, kFrame), 0);
  auto* foreign = ::xenforeignmemory_open(nullptr, 0);
  auto* shared = static_cast<std::uint64_t*>(
      ::xenforeignmemory_map(foreign, guest->domid(), PROT_READ | PROT_WRITE, 1, &kFrame, nullptr));
  ASSERT_NE(shared, nullptr);
  // shared_info begins with 32 vcpu_info of 64 bytes.
  auto* pending = reinterpret_cast<std::atomic<std::uint32_t>*>(reinterpret_cast<char*>(shared) + 32 * 64);
  const std::uint32_t bit = 1u << (alloc.port % 32);
  for (int i = 0; i < 20; ++i) {
    pending[alloc.port / 32].fetch_and(~bit);
    edu->raise();
    bool came = false;
    for (int wait = 0; !came && wait < 2000; ++wait) {
      ::usleep(100);
      came = (pending[alloc.port / 32].load() & bit) != 0;
    }
    ASSERT_TRUE(came) << i;
  }
  (void)::xenforeignmemory_unmap(foreign, shared, 1);
  (void)::xenforeignmemory_close(foreign);
  EXPECT_FALSE(bind_channel(domid(), 60)) << "which the guest has not made";
}

TEST_F(Notify, GuestVectorsByWayOfDom0) {
  make_guest();
  ASSERT_TRUE(bind_guest(0x50));
  for (unsigned i = 1; i <= 1000; ++i) {
    edu->raise();
    ASSERT_EQ(guest->await(0x50, i), i);
  }
  ASSERT_TRUE(hypervisor->interrupts().mask_vector(vector));
  edu->raise();
  ::usleep(20000);
  EXPECT_EQ(guest->count(0x50), 1000u);
  ASSERT_TRUE(hypervisor->interrupts().unmask_vector(vector));
  EXPECT_EQ(guest->await(0x50, 1001), 1001u);
  EXPECT_EQ(bind_guest(15).error().code, EINVAL);
}

// The device sends while its vector goes round all kinds.
TEST_F(Notify, SwitchingLosesAndDoublesNothing) {
  make_guest();
  Counter sink;
  Channels sent_to;
  const unsigned theirs = sent_to.make();
  std::atomic<unsigned> sent{0}, handed{0}, raised{0};
  std::atomic<bool> stop{false}, stop_device{false};
  const auto all = [&] { return sink.count.load() + guest->count(0x50) + sent.load() + handed.load(); };
  ASSERT_TRUE(bind_sink(sink));
  std::thread reader([&] {
    while (!stop) sent.fetch_add(sent_to.take_arrivals(1));
  });
  std::thread other([&] {
    EventPort ports[8];
    while (!stop) {
      pollfd wait{hypervisor->interrupts().event_fd(), POLLIN, 0};
      if (::poll(&wait, 1, 1) > 0) handed.fetch_add(static_cast<unsigned>(*read_ports(hypervisor->interrupts().event_fd(), ports)));
    }
  });
  unsigned stuck = 0;
  std::thread device([&] {
    while (!stop_device) {
      edu->raise();
      const unsigned n = ++raised;
      unsigned waited = 0;
      while (all() < n && waited < 60000) {
        ::usleep(50);
        ++waited;
      }
      if (all() != n) {
        stuck = n;
        return;
      }
      ::usleep(n % 7 * 37);
    }
  });
  unsigned rounds = 0;
  for (; rounds < 60 && stuck == 0; ++rounds) {
    const auto pause = [&] { ::usleep(500 + rounds % 11 * 300); };
    ASSERT_TRUE(bind_guest(0x50));
    pause();
    ASSERT_TRUE(bind_channel(kDomidSelf, theirs));
    pause();
    ASSERT_TRUE(bind_channel(kDomidSelf, 0));
    if (rounds % 3 != 0) pause();
    const Status back = bind_sink(sink);
    ASSERT_TRUE(back) << to_string(back.error());
    pause();
    if (rounds % 2 == 0) {
      // Straight from one to the other end of what is handed over.
      ASSERT_TRUE(bind_channel(kDomidSelf, 0));
      ASSERT_TRUE(bind_guest(0x50));
      pause();
    }
  }
  stop_device = true;
  device.join();
  ::usleep(100000);
  stop = true;
  reader.join();
  other.join();
  EXPECT_EQ(stuck, 0u);
  EXPECT_EQ(all(), raised.load());
  std::printf(
      "# %u messages in %u rounds: %u to the sink, %u to the guest, %u sent on, %u to the other descriptor\n",
      raised.load(), rounds, sink.count.load(), guest->count(0x50), sent.load(), handed.load());
  EXPECT_GT(sent.load(), 10u);
  EXPECT_GT(sink.count.load(), 10u);
  EXPECT_GT(guest->count(0x50), 10u);
  EXPECT_GT(handed.load(), 10u);
}

}  // namespace

/// xen_guest consume PID FD: reads that descriptor of another process and writes the
/// ports, until standard input ends.
int consume(int pid, int theirs) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), theirs, 0)));
  if (!fd) {
    std::perror("pidfd_getfd");
    return 1;
  }
  for (;;) {
    pollfd events[] = {{fd.get(), POLLIN, 0}, {0, POLLIN, 0}};
    (void)::poll(events, 2, -1);
    if (events[1].revents != 0) return 0;
    std::uint32_t ports[8];
    const ssize_t got = ::read(fd.get(), ports, sizeof ports);
    if (got > 0 && (::write(1, ports, static_cast<std::size_t>(got)) != got ||
                    ::write(fd.get(), ports, static_cast<std::size_t>(got)) != got))
      return 1;
  }
}
