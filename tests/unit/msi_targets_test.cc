// SPDX-License-Identifier: LGPL-2.1-or-later
// Vectors whose arrivals go to event channels and guests, and from one kind to another.
#include <array>
#include <thread>

#include "msi/vector_router.h"
#include "tests/unit/msi_fake.h"

namespace pviommu::msi::test {
namespace {

using Target = VectorRouter::Target;

Target channel(std::uint32_t port) {
  Target target;
  target.notification = {
      .kind = NotificationKind::event_channel, .domid = kDomidSelf, .port = EventPort(port)};
  return target;
}
Target guest(std::uint8_t gvec) {
  Target target;
  target.notification = {.kind = NotificationKind::guest_vector, .domid = Domid(7), .gvec = gvec};
  return target;
}
Target eventfd(const Eventfd& fd) { return {{}, fd.duplicate()}; }

struct Targets : ::testing::Test {
  Script script;
  FakeDevice device{script};
  FakeInterrupts hypervisor{script, device};
  std::unique_ptr<VectorRouter> router;
  Eventfd fd;

  Targets() {
    device.add_msi(0x40, 3, true, true);
    device.add_msix(0x60, 65, 0x2000, 0x3000);
    router = std::make_unique<VectorRouter>(hypervisor, hypervisor.limits(), device, *read_capabilities(device));
  }
  void enable(VectorKind kind, unsigned count) { ASSERT_TRUE(router->enable(kind, count)); }
  Status set(unsigned index, Target target) { return router->set_targets(index, {&target, 1}); }
  bool raise(unsigned index, VectorKind kind = VectorKind::msix) { return hypervisor.raise(kind, index); }
  unsigned arrived(unsigned index) { return hypervisor.arrivals[index].exchange(0); }
};

TEST_F(Targets, KindsCanBeMixed) {
  enable(VectorKind::msix, 4);
  std::array<Target, 4> all{eventfd(fd), channel(9), guest(0x50), Target{}};
  ASSERT_TRUE(router->set_targets(0, all));
  for (unsigned i = 0; i < 4; ++i) raise(i);
  EXPECT_EQ(fd.take(), 1u);
  EXPECT_EQ(arrived(1), 1u);
  EXPECT_EQ(arrived(2), 1u);
  EXPECT_EQ(hypervisor.state().targets.at(2).gvec, 0x50);
  EXPECT_EQ(*router->event_port(1), EventPort(9));
  EXPECT_EQ(router->event_port(2).error().code, ENOENT);
  EXPECT_EQ(router->event_port(4).error().code, EINVAL);
  ASSERT_TRUE(router->disable());

  // The next life begins with eventfds again.
  enable(VectorKind::msix, 4);
  EXPECT_TRUE(hypervisor.state().targets.empty());
  EXPECT_EQ(hypervisor.state().sinks.size(), 4u);
}

TEST_F(Targets, AnEventfdTakesTheVectorBack) {
  enable(VectorKind::msix, 2);
  ASSERT_TRUE(set(1, guest(0x50)));
  ASSERT_TRUE(router->set_eventfd(1, fd.duplicate()));
  raise(1);
  EXPECT_EQ(fd.take(), 1u);
  EXPECT_EQ(arrived(1), 0u);
  // And nothing is a target, too.
  ASSERT_TRUE(set(1, channel(3)));
  ASSERT_TRUE(router->set_eventfd(1, UniqueFd()));
  raise(1);
  EXPECT_EQ(arrived(1), 0u);
  ASSERT_TRUE(router->set_eventfd(1, fd.duplicate()));
  EXPECT_EQ(fd.take(), 1u);
}

TEST_F(Targets, WhatWasHeldGoesToTheNewTarget) {
  enable(VectorKind::msix, 1);
  raise(0);  // nobody there: pending
  ASSERT_TRUE(set(0, guest(0x50)));
  EXPECT_EQ(arrived(0), 1u);
  ASSERT_TRUE(set(0, eventfd(fd)));
  EXPECT_EQ(fd.take(), 0u);
}

TEST_F(Targets, AMaskGoesAlong) {
  enable(VectorKind::msi, 2);
  ASSERT_TRUE(set(0, eventfd(fd)));
  router->set_mask_bits(1);
  raise(0, VectorKind::msi);  // held by the slot
  ASSERT_TRUE(set(0, guest(0x50)));
  EXPECT_EQ(arrived(0), 0u);
  EXPECT_EQ(router->pending_bits(), 1u);
  ASSERT_TRUE(router->trigger(0));
  EXPECT_EQ(arrived(0), 0u);
  router->set_mask_bits(0);
  EXPECT_EQ(arrived(0), 1u);
  EXPECT_EQ(router->pending_bits(), 0u);

  router->set_mask_bits(1);
  raise(0, VectorKind::msi);  // held by the hypervisor
  EXPECT_EQ(fd.take(), 0u);
  ASSERT_TRUE(set(0, eventfd(fd)));
  EXPECT_EQ(fd.take(), 0u);
  EXPECT_TRUE(hypervisor.state().masked.empty());
  EXPECT_EQ(router->pending_bits(), 1u);
  router->set_mask_bits(0);
  EXPECT_EQ(fd.take(), 1u);
  EXPECT_EQ(arrived(0), 0u);
}

TEST_F(Targets, TriggerIsAnArrival) {
  enable(VectorKind::msix, 1);
  ASSERT_TRUE(set(0, channel(0)));
  ASSERT_TRUE(router->trigger(0));
  EXPECT_EQ(arrived(0), 1u);
  EXPECT_EQ(*router->event_port(0), EventPort(100));
}

TEST_F(Targets, Refusals) {
  EXPECT_EQ(set(0, guest(0x50)).error().code, EINVAL);
  enable(VectorKind::intx, 1);
  EXPECT_EQ(set(0, guest(0x50)).error().code, EOPNOTSUPP);
  EXPECT_TRUE(set(0, eventfd(fd)));
  ASSERT_TRUE(router->disable());
  enable(VectorKind::msix, 2);
  EXPECT_EQ(set(2, guest(0x50)).error().code, EINVAL);
  std::array<Target, 2> two{guest(0x50), guest(0x51)};
  EXPECT_EQ(router->set_targets(1, two).error().code, EINVAL);
  EXPECT_TRUE(hypervisor.state().targets.empty());
}

// A hypervisor that only injects into guests, as Xen's guest mode.
TEST_F(Targets, WithoutArrivalsHere) {
  hypervisor.declare(bit(NotificationKind::guest_vector));
  enable(VectorKind::msix, 3);
  EXPECT_TRUE(hypervisor.state().sinks.empty());
  EXPECT_EQ(set(0, eventfd(fd)).error().code, EOPNOTSUPP);
  EXPECT_EQ(set(0, channel(1)).error().code, EOPNOTSUPP);
  EXPECT_TRUE(set(0, Target{}));
  ASSERT_TRUE(set(1, guest(0x50)));
  raise(1);
  EXPECT_EQ(arrived(1), 1u);
  ASSERT_TRUE(set(1, Target{}));
  EXPECT_TRUE(hypervisor.state().targets.empty());
  ASSERT_TRUE(set(2, guest(0x51)));
  ASSERT_TRUE(router->close());
}

// 3,000 arrivals while the vector goes round all kinds: none lost, none twice.
TEST_F(Targets, NothingIsLostOnTheWay) {
  enable(VectorKind::msix, 1);
  ASSERT_TRUE(set(0, eventfd(fd)));  // without a target, arrivals would become one pending bit
  constexpr unsigned kArrivals = 3000;
  std::atomic<bool> done{false};
  std::thread sender([&] {
    for (unsigned i = 0; i < kArrivals; ++i) {
      EXPECT_TRUE(raise(0));
      if (i % 8 == 0) std::this_thread::yield();
    }
    done = true;
  });
  do {
    ASSERT_TRUE(set(0, guest(0x50)));
    ASSERT_TRUE(set(0, eventfd(fd)));
    ASSERT_TRUE(set(0, channel(5)));
    ASSERT_TRUE(set(0, guest(0x51)));
    ASSERT_TRUE(set(0, eventfd(fd)));
  } while (!done);
  sender.join();
  EXPECT_EQ(arrived(0) + fd.take(), kArrivals);
}

}  // namespace
}  // namespace pviommu::msi::test
