// SPDX-License-Identifier: LGPL-2.1-or-later
// Message routing: what arrives where, what is held, what is dropped.
#include <poll.h>

#include <set>
#include <thread>

#include "tests/unit/model_test_machine.h"

namespace pviommu::model {
namespace {

std::uint64_t bad_messages() {
  return statistics().faults[static_cast<std::size_t>(FaultReason::bad_message)];
}

class ModelVectors : public ::testing::Test {
 protected:
  static Vector vector(VectorKind kind, unsigned index, Sbdf sbdf = Machine::kFirst) {
    return {sbdf, kind, index};
  }
  std::uint8_t capability(Probe& probe, std::uint8_t id) {
    for (std::uint8_t at = probe.config_read(0x34, 1); at != 0; at = probe.config_read(at + 1u, 1))
      if (probe.config_read(at, 1) == id) return at;
    return 0;
  }
  void enable_msix(Sbdf sbdf = Machine::kFirst) {
    Probe& probe = machine.probe(sbdf);
    probe.config_write(4, 2, 6);
    probe.config_write(capability(probe, 0x11) + 2u, 2, 0x8000);
  }
  void enable_msi(Probe& probe) {
    probe.config_write(4, 2, 6);
    const std::size_t control = capability(probe, 5) + 2u;
    probe.config_write(control, 2, probe.config_read(control, 2) | 1);
  }
  Machine machine;
  Model& model = *machine.model;
  Probe& probe = machine.probe();
  TestSink sink, other;
};

TEST_F(ModelVectors, GrantsAndRefusals) {
  EXPECT_EQ(code(model.allocate_vectors(make_sbdf(0, 9, 0, 0), VectorKind::msi, 1)), ENODEV);
  EXPECT_EQ(code(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 0)), EINVAL);
  EXPECT_EQ(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 100).value(), 70u);
  EXPECT_EQ(code(model.allocate_vectors(Machine::kFirst, VectorKind::msi, 1)), EBUSY);
  EXPECT_EQ(code(model.free_vectors(Machine::kFirst, VectorKind::msi)), ENOENT);
  EXPECT_EQ(code(model.bind_vector(vector(VectorKind::msix, 70), {.sink = &sink})), ENOENT);
  EXPECT_EQ(code(model.bind_vector(vector(VectorKind::msi, 0), {.sink = &sink})), ENOENT);
  EXPECT_EQ(code(model.bind_vector(vector(VectorKind::msix, 0), {})), EINVAL);
  EXPECT_EQ(code(model.unbind_vector(vector(VectorKind::msix, 0))), ENOENT);
  EXPECT_TRUE(model.bind_vector(vector(VectorKind::msix, 0), {.sink = &sink}));
  EXPECT_EQ(code(model.free_vectors(Machine::kFirst, VectorKind::msix)), EBUSY);
  EXPECT_TRUE(model.unbind_vector(vector(VectorKind::msix, 0)));
  EXPECT_TRUE(model.free_vectors(Machine::kFirst, VectorKind::msix));
  EXPECT_EQ(code(model.mask_vector(vector(VectorKind::msix, 0))), ENOENT);

  Machine small("grant=2", "probe,msi=0");
  EXPECT_EQ(small.model->allocate_vectors(Machine::kFirst, VectorKind::msix, 9).value(), 2u);
  EXPECT_EQ(code(small.model->allocate_vectors(Machine::kFirst, VectorKind::msi, 1)), EOPNOTSUPP);
}

TEST_F(ModelVectors, BeforeAttachOnXen) {
  Machine xen("limits=xen");
  const SpaceId space = xen.attached();
  EXPECT_EQ(code(xen.model->allocate_vectors(Machine::kFirst, VectorKind::msix, 1)), ENODEV);
  ASSERT_TRUE(xen.model->detach(space, Machine::kFirst));
  EXPECT_TRUE(xen.model->allocate_vectors(Machine::kFirst, VectorKind::msix, 1));
  EXPECT_TRUE(xen.model->attach(space, Machine::kFirst));
  EXPECT_TRUE(xen.model->bind_vector(vector(VectorKind::msix, 0), {.sink = &sink}));
}

TEST_F(ModelVectors, EachVectorToItsSink) {
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 70));
  ASSERT_TRUE(model.allocate_vectors(Machine::kSecond, VectorKind::msix, 70));
  enable_msix();
  enable_msix(Machine::kSecond);
  std::vector<TestSink> sinks(140);
  std::set<std::pair<std::uint64_t, std::uint32_t>> messages;
  for (unsigned i = 0; i < 140; ++i) {
    const Sbdf sbdf = i < 70 ? Machine::kFirst : Machine::kSecond;
    ASSERT_TRUE(model.bind_vector(vector(VectorKind::msix, i % 70, sbdf), {.sink = &sinks[i]}));
    messages.insert({machine.probe(sbdf).bar_read(0, 0x4000 + i % 70 * 16, 8),
                     machine.probe(sbdf).bar_read(0, 0x4008 + i % 70 * 16, 4)});
  }
  EXPECT_EQ(messages.size(), 140u);
  const std::uint64_t counted = statistics().interrupts_msix;
  for (unsigned i = 0; i < 70; ++i) probe.fire(i);
  for (unsigned i = 0; i < 140; ++i) {
    EXPECT_EQ(sinks[i].count, i < 70 ? 1u : 0u) << i;
    EXPECT_EQ(sinks[i].last, i < 70 ? i : ~0u);
  }
  EXPECT_EQ(statistics().interrupts_msix, counted + 70);
}

TEST_F(ModelVectors, WhatNobodyProgrammedIsDropped) {
  const SpaceId space = model.create_space({}).value();
  ASSERT_TRUE(model.attach(space, Machine::kFirst));
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 2));
  enable_msix();
  ASSERT_TRUE(model.bind_vector(vector(VectorKind::msix, 0), {.sink = &sink}));
  const std::uint64_t address = probe.bar_read(0, 0x4000, 8);
  const auto data = static_cast<std::uint32_t>(probe.bar_read(0, 0x4008, 4));
  std::uint64_t bad = bad_messages();
  // By DMA into the window: the same as a message.
  EXPECT_TRUE(probe.put<std::uint32_t>(address, data));
  EXPECT_EQ(sink.count, 1u);
  EXPECT_EQ(bad_messages(), bad);
  for (const auto& [a, d] : {std::pair{address, data + 100},
                             {address + 4, data},
                             {address ^ 0x1000, data},
                             {address | 0x4, data},
                             {std::uint64_t{0xfee00000}, 0u}}) {
    EXPECT_TRUE(probe.put<std::uint32_t>(a, d));
    EXPECT_EQ(bad_messages(), ++bad);
  }
  EXPECT_EQ(code(probe.put<std::uint64_t>(address, data)), EFAULT);
  EXPECT_EQ(bad_messages(), ++bad);
  // Vector 1 is allocated and not bound.
  probe.fire(1);
  EXPECT_EQ(bad_messages(), ++bad);
  // Somebody else's message.
  machine.enable(Machine::kSecond);
  ASSERT_TRUE(model.attach(space, Machine::kSecond));
  EXPECT_TRUE(machine.probe(Machine::kSecond).put<std::uint32_t>(address, data));
  EXPECT_EQ(bad_messages(), ++bad);
  // An entry that software changed behind the hypervisor's back.
  probe.bar_write(0, 0x4008, 4, data + 7);
  probe.fire(0);
  EXPECT_EQ(bad_messages(), ++bad);
  probe.bar_write(0, 0x4008, 4, data);
  ASSERT_TRUE(model.unbind_vector(vector(VectorKind::msix, 0)));
  ASSERT_TRUE(model.free_vectors(Machine::kFirst, VectorKind::msix));
  EXPECT_EQ(probe.bar_read(0, 0x4000, 8), 0u);
  EXPECT_TRUE(probe.put<std::uint32_t>(address, data));
  EXPECT_EQ(bad_messages(), ++bad);
  EXPECT_EQ(sink.count, 1u);
}

TEST_F(ModelVectors, MaskHoldsOneAndUnmaskDelivers) {
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 3));
  enable_msix();
  const Vector v = vector(VectorKind::msix, 2);
  ASSERT_TRUE(model.bind_vector(v, {.sink = &sink}));
  const std::uint64_t held = statistics().interrupts_held;
  ASSERT_TRUE(model.mask_vector(v));
  probe.fire(2);
  probe.fire(2);
  EXPECT_EQ(sink.count, 0u);
  EXPECT_TRUE(model.vector_pending(v).value());
  EXPECT_EQ(statistics().interrupts_held, held + 2);
  // Another target meanwhile: nothing is lost.
  ASSERT_TRUE(model.bind_vector(v, {.sink = &other}));
  ASSERT_TRUE(model.unmask_vector(v));
  EXPECT_EQ(sink.count, 0u);
  EXPECT_EQ(other.count, 1u);
  EXPECT_FALSE(model.vector_pending(v).value());
}

TEST_F(ModelVectors, MsiBlockIsAlignedAndMasked) {
  for (const bool hardware_mask : {true, false}) {
    Machine m("", hardware_mask ? "probe,msi=8" : "probe,msi=8,msi-mask=off");
    Probe& p = m.probe();
    ASSERT_EQ(m.model->allocate_vectors(Machine::kFirst, VectorKind::msi, 6).value(), 6u);
    enable_msi(p);
    std::vector<TestSink> sinks(6);
    for (unsigned i = 0; i < 6; ++i)
      ASSERT_TRUE(m.model->bind_vector(vector(VectorKind::msi, i), {.sink = &sinks[i]}));
    for (unsigned i = 0; i < 6; ++i) p.fire(i);
    for (unsigned i = 0; i < 6; ++i) EXPECT_EQ(sinks[i].count, 1u) << i;
    const std::uint64_t bad = bad_messages();
    p.fire(7);  // in the block, but not granted
    EXPECT_EQ(bad_messages(), bad + 1);
    const Vector v = vector(VectorKind::msi, 5);
    ASSERT_TRUE(m.model->mask_vector(v));
    p.fire(5);
    p.fire(5);
    EXPECT_TRUE(m.model->vector_pending(v).value());
    EXPECT_EQ(sinks[5].count, 1u);
    ASSERT_TRUE(m.model->unmask_vector(v));
    EXPECT_EQ(sinks[5].count, 2u);
    EXPECT_FALSE(m.model->vector_pending(v).value());
  }
}

TEST_F(ModelVectors, IntxIsALevel) {
  const Vector v = vector(VectorKind::intx, 0);
  probe.level(true);  // before anybody listens
  ASSERT_EQ(model.allocate_vectors(Machine::kFirst, VectorKind::intx, 1).value(), 1u);
  ASSERT_TRUE(model.bind_vector(v, {.sink = &sink}));
  EXPECT_EQ(sink.count, 1u);
  probe.level(false);
  probe.level(true);
  EXPECT_EQ(sink.count, 1u);  // masked by its own delivery
  EXPECT_TRUE(model.vector_pending(v).value());
  ASSERT_TRUE(model.unmask_vector(v));
  EXPECT_EQ(sink.count, 2u);  // still asserted
  probe.level(false);
  EXPECT_FALSE(model.vector_pending(v).value());
  ASSERT_TRUE(model.unmask_vector(v));
  EXPECT_EQ(sink.count, 2u);
  probe.level(true);
  EXPECT_EQ(sink.count, 3u);
  probe.level(false);
  ASSERT_TRUE(model.unmask_vector(v));
  ASSERT_TRUE(model.mask_vector(v));
  probe.level(true);
  EXPECT_EQ(sink.count, 3u);
  ASSERT_TRUE(model.unmask_vector(v));
  EXPECT_EQ(sink.count, 4u);
  probe.config_write(4, 2, 0x400);  // INTx disabled: the line falls
  ASSERT_TRUE(model.unmask_vector(v));
  EXPECT_EQ(sink.count, 4u);
  ASSERT_TRUE(model.unbind_vector(v));
  ASSERT_TRUE(model.free_vectors(Machine::kFirst, VectorKind::intx));
}

TEST_F(ModelVectors, EventChannelsAreBits) {
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 3));
  enable_msix();
  for (unsigned i = 0; i < 3; ++i)
    ASSERT_TRUE(model.bind_vector(vector(VectorKind::msix, i),
                                  {.kind = NotificationKind::event_channel, .port = EventPort(10 + i)}));
  pollfd waiting{model.event_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  probe.fire(2);
  probe.fire(0);
  probe.fire(2);
  EXPECT_EQ(::poll(&waiting, 1, 0), 1);
  EventPort ports[4];
  ASSERT_EQ(model.read_events(std::span(ports, 1)), 1u);
  EXPECT_EQ(ports[0], EventPort(12));
  EXPECT_EQ(::poll(&waiting, 1, 0), 1);
  ASSERT_EQ(model.read_events(ports), 1u);
  EXPECT_EQ(ports[0], EventPort(10));
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  EXPECT_EQ(model.read_events(ports), 0u);
}

// More of them than a socket has buffers for messages.
TEST_F(ModelVectors, EventChannelsThatNobodyReadsAreKept) {
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 1));
  enable_msix();
  constexpr unsigned kPorts = 3000;
  for (unsigned round = 0; round < 2; ++round)
    for (unsigned port = 1; port <= kPorts; ++port) {
      ASSERT_TRUE(model.bind_vector(vector(VectorKind::msix, 0),
                                    {.kind = NotificationKind::event_channel, .port = EventPort(port)}));
      probe.fire(0);
    }
  std::vector<EventPort> ports(kPorts + 1);
  ASSERT_EQ(model.read_events(ports), kPorts);
  for (unsigned i = 0; i < kPorts; ++i) ASSERT_EQ(ports[i], EventPort(i + 1));
}

TEST_F(ModelVectors, GuestVectors) {
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 1));
  enable_msix();
  ASSERT_TRUE(model.bind_vector(
      vector(VectorKind::msix, 0),
      {.kind = NotificationKind::guest_vector, .domid = Domid(7), .gvec = 0x50, .gflags = 3}));
  probe.fire(0);
  probe.fire(0);
  const auto seen = model.guest_interrupts(Domid(7));
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].gvec, 0x50);
  EXPECT_EQ(seen[0].gflags, 3u);
  EXPECT_EQ(seen[0].count, 2u);
  EXPECT_TRUE(model.guest_interrupts(Domid(8)).empty());
}

// Arrivals under way while targets change: each goes to exactly one of them, and
// none to a target that is unbound already.
TEST_F(ModelVectors, RebindUnderFire) {
  ASSERT_TRUE(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 1));
  enable_msix();
  const Vector v = vector(VectorKind::msix, 0);
  ASSERT_TRUE(model.bind_vector(v, {.sink = &sink}));
  constexpr unsigned kFires = 20000;
  std::atomic<bool> done{false};
  std::thread device([&] {
    for (unsigned i = 0; i < kFires; ++i) probe.fire(0);
    done = true;
  });
  std::uint64_t delivered = 0;
  for (unsigned round = 0; !done; ++round) {
    auto fresh = std::make_unique<TestSink>();
    ASSERT_TRUE(model.bind_vector(v, {.sink = fresh.get()}));
    if (round % 3 == 0) {
      ASSERT_TRUE(model.mask_vector(v));
      ASSERT_TRUE(model.unmask_vector(v));
    }
    ASSERT_TRUE(model.bind_vector(v, {.sink = &sink}));
    delivered += fresh->count;  // and the sink dies here
  }
  device.join();
  ASSERT_TRUE(model.unbind_vector(v));
  EXPECT_LE(delivered + sink.count, kFires);
  // Which of the targets they met depends on who ran when; some target was bound all the time.
  EXPECT_GT(delivered + sink.count, 0u);
  EXPECT_EQ(machine.faults().size(), 0u);
}

TEST_F(ModelVectors, HandlesComeRound) {
  // More allocations than there are handles; none is handed out twice at a time.
  for (int round = 0; round < 1200; ++round) {
    ASSERT_EQ(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 70).value(), 70u);
    ASSERT_EQ(model.allocate_vectors(Machine::kSecond, VectorKind::msi, 4).value(), 4u);
    ASSERT_TRUE(model.free_vectors(Machine::kFirst, VectorKind::msix));
    ASSERT_TRUE(model.free_vectors(Machine::kSecond, VectorKind::msi));
  }
}

}  // namespace
}  // namespace pviommu::model
