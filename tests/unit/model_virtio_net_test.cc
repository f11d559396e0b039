// SPDX-License-Identifier: LGPL-2.1-or-later
// The model's network card: registers, loopback, interrupts.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "hypercall/conf.h"
#include "hypercall/model/devices/device_factory.h"
#include "tests/unit/model_virtio_driver.h"

namespace pviommu::model {
namespace {

using namespace test;
using namespace std::chrono_literals;

bool wait_for(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// ---- registers -----------------------------------------------------------------

TEST_F(VirtioNetTest, IsALegacyNetworkCard) {
  EXPECT_EQ(net_.config_read(0x00, 4), 0x10001af4u);
  EXPECT_EQ(net_.config_read(0x08, 4), 0x02000000u);
  EXPECT_EQ(net_.config_read(0x2c, 4), 0x00011af4u);
  EXPECT_EQ(net_.config_size(), 256u);
  EXPECT_TRUE(net_.bar(0).is_io);
  EXPECT_EQ(net_.bar(0).size, 64u);
  EXPECT_FALSE(net_.bar(0).mappable);
  EXPECT_EQ(net_.bar(1).size, 4096u);
  EXPECT_FALSE(net_.bar(1).mappable);
  EXPECT_EQ(net_.vector_count(VectorKind::msix), 3u);
  EXPECT_EQ(net_.vector_count(VectorKind::msi), 0u);
}

TEST_F(VirtioNetTest, RegisterLayout) {
  const std::uint32_t features = in(0, 4);
  for (const unsigned bit : {5u, 15u, 16u, 17u, 28u}) EXPECT_TRUE(features >> bit & 1) << bit;
  for (const unsigned bit : {0u, 1u, 7u, 22u, 29u}) EXPECT_FALSE(features >> bit & 1) << bit;
  out(4, 4, 0xffffffff);
  EXPECT_EQ(in(4, 4), features);
  EXPECT_EQ(in(12, 2), 256u);
  out(14, 2, 2);
  EXPECT_EQ(in(14, 2), 2u);
  out(8, 4, 0x1234);
  EXPECT_EQ(in(8, 4), 0x1234u);
  out(14, 2, 1);
  EXPECT_EQ(in(8, 4), 0u);
  out(14, 2, 3);
  EXPECT_EQ(in(12, 2), 0u) << "no such queue";
  out(8, 4, 1);
  EXPECT_EQ(in(8, 4), 0u);
  out(14, 2, 0xffff);
  EXPECT_EQ(in(12, 2), 0u);
  notify(0xffff);
  out(18, 1, 3);
  EXPECT_EQ(in(18, 1), 3u);
  EXPECT_EQ(in(18, 2), 3u);
  out(18, 2, 0);  // not the register's width
  EXPECT_EQ(in(18, 1), 3u);
  out(18, 1, 0);
  out(14, 2, 2);
  EXPECT_EQ(in(8, 4), 0u) << "status 0 resets";
  EXPECT_EQ(in(4, 4), 0u);
}

TEST_F(VirtioNetTest, DeviceConfigMovesWithMsix) {
  for (const unsigned place : {20u, 24u}) {
    EXPECT_EQ(in(place, 1), 0x52u);
    EXPECT_EQ(in(place + 5, 1), 0x56u);
    EXPECT_EQ(in(place, 4), 0x12005452u);
    EXPECT_EQ(in(place + 4, 2), 0x5634u);
    EXPECT_EQ(in(place + 6, 2), 1u) << "link is up";
    enable_msix();
  }
  EXPECT_EQ(in(20, 2), 0xffffu);
  out(20, 2, 2);
  EXPECT_EQ(in(20, 2), 2u);
  out(20, 2, 3);
  EXPECT_EQ(in(20, 2), 0xffffu) << "no such vector";
  out(14, 2, 1);
  out(22, 2, 1);
  EXPECT_EQ(in(22, 2), 1u);
  out(14, 2, 0);
  EXPECT_EQ(in(22, 2), 0xffffu);
  out(24, 1, 0x02);
  out(28, 2, 0xbbaa);
  out(30, 2, 0);
  EXPECT_EQ(in(24, 4), 0x12005402u);
  EXPECT_EQ(in(28, 2), 0xbbaau);
  EXPECT_EQ(in(30, 2), 1u) << "the link status is read-only";
  net_.reset();
  EXPECT_EQ(in(24, 1), 0x52u);
  EXPECT_EQ(in(62, 2), 0u);
  EXPECT_EQ(net_.bar_read(0, 56, 8), 0u);
}

// ---- loopback ------------------------------------------------------------------

TEST_F(VirtioNetTest, SendsAPacketBack) {
  for (const std::uint32_t features : {kMergeable, 0u}) {
    bring_up(features);
    offer_receive(3);
    send(9, 60, 1);
    notify(1);
    ASSERT_TRUE(settle());
    ASSERT_EQ(rx().ready(), 1u);
    const Ring::Used used = rx().take();
    EXPECT_EQ(used.id, 3u);
    EXPECT_EQ(used.bytes, header_ + 60);
    const std::uint64_t at = kRxBuffers + 3 * kBufferSize;
    for (unsigned i = 0; i < 10; ++i) EXPECT_EQ(bus_.get<std::uint8_t>(at + i), 0u);
    if (features) {
      EXPECT_EQ(bus_.get<std::uint16_t>(at + 10), 1u);
    }
    EXPECT_TRUE(holds(at + header_, 60, 1));
    ASSERT_EQ(tx().ready(), 1u);
    EXPECT_EQ(tx().take().id, 9u);
  }
  EXPECT_EQ(net_.counters().packets, 2u);
  EXPECT_EQ(net_.counters().bytes, 120u);
  EXPECT_EQ(net_.counters().stopped_queues, 0u);
}

TEST_F(VirtioNetTest, WaitsForTheDriver) {
  bring_up();
  out(18, 1, 3);
  offer_receive(0);
  send(0, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(tx().ready(), 0u);
  out(18, 1, 7);
  ASSERT_TRUE(settle());
  EXPECT_EQ(tx().ready(), 1u);
  EXPECT_EQ(rx().ready(), 1u);
}

TEST_F(VirtioNetTest, NothingWithoutBusMastering) {
  bring_up();
  net_.config_write(test::kCommand, 2, test::kCommandIo);
  offer_receive(0);
  send(0, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(tx().ready(), 0u);
  EXPECT_EQ(bus_.reads, 0u);
  EXPECT_EQ(bus_.master_off, 0u) << "it does not even try";
}

TEST_F(VirtioNetTest, DropsWithoutBuffer) {
  bring_up();
  send(0, 60, 1);
  offer_receive(0, 20);  // 8 bytes of contents
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(tx().ready(), 1u);
  EXPECT_EQ(rx().ready(), 0u);
  EXPECT_EQ(net_.counters().dropped_no_buffer, 1u);
  offer_receive(1);
  send(1, 60, 2);
  notify(1);
  ASSERT_TRUE(settle());
  ASSERT_EQ(rx().ready(), 2u) << "the small buffer was kept for the next packet";
  EXPECT_EQ(rx().take().bytes, 20u);
  EXPECT_EQ(rx().take().bytes, 52u);
  EXPECT_TRUE(holds(kRxBuffers + 12, 8, 2));
  EXPECT_TRUE(holds(kRxBuffers + kBufferSize, 52, 2, 8));
  EXPECT_EQ(bus_.get<std::uint16_t>(kRxBuffers + 10), 2u) << "num_buffers";
  offer_receive(2);
  send(2, 60, 3);
  notify(1);
  ASSERT_TRUE(settle());
  ASSERT_EQ(rx().ready(), 1u);
  EXPECT_EQ(rx().take().id, 2u) << "both buffers were taken";
}

TEST_F(VirtioNetTest, DropsWhatIsTooBigWithoutMergeableBuffers) {
  bring_up(0);
  offer_receive(0, 30);
  offer_receive(1);
  send(0, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(rx().ready(), 0u);
  EXPECT_EQ(net_.counters().dropped_too_big, 1u);
  send(1, 20, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(rx().ready(), 1u);
}

TEST_F(VirtioNetTest, ScatteredAndIndirect) {
  bring_up();
  const std::uint64_t at = kTxBuffers;
  for (std::uint32_t i = 0; i < 100; ++i) bus_.set<std::uint8_t>(at + 0x1001 + i, pattern(5, i));
  // Header, 33 bytes, 67 bytes; descriptors deliberately not in order.
  tx().descriptor(200, at, 12, kNext, 7);
  tx().descriptor(7, at + 0x1001, 33, kNext, 100);
  tx().descriptor(100, at + 0x1001 + 33, 67);
  tx().offer(200);
  // The same by a table.
  const std::uint64_t table = kTxBuffers + 0x8000;
  tx().at(table, at, 12, kNext, 2);
  tx().at(table + 32, at + 0x1001, 100, 0, 0);
  tx().descriptor(5, table, 48, kIndirect);
  tx().offer(5);
  // Receive buffer in three parts.
  rx().descriptor(0, kRxBuffers + 0x100, 5, kWrite | kNext, 1);
  rx().descriptor(1, kRxBuffers + 0x200, 50, kWrite | kNext, 2);
  rx().descriptor(2, kRxBuffers + 0x300, 500, kWrite);
  rx().offer(0);
  offer_receive(10);
  notify(1);
  ASSERT_TRUE(settle());
  ASSERT_EQ(rx().ready(), 2u);
  EXPECT_EQ(rx().take().bytes, 112u);
  EXPECT_TRUE(holds(kRxBuffers + 0x207, 43, 5));
  EXPECT_TRUE(holds(kRxBuffers + 0x300, 57, 5, 43));
  EXPECT_EQ(rx().take().bytes, 112u);
  EXPECT_TRUE(holds(kRxBuffers + 10 * kBufferSize + 12, 100, 5));
  EXPECT_EQ(tx().take().id, 200u);
  EXPECT_EQ(tx().take().id, 5u);
}

TEST_F(VirtioNetTest, LargestPacketOverManyBuffers) {
  bring_up();
  // 65550 bytes from overlapping descriptors of at most 2 KiB.
  std::uint32_t left = 65550;
  for (std::uint32_t i = 0; i < 2048; ++i) bus_.set<std::uint8_t>(kTxBuffers + i, pattern(9, i));
  tx().descriptor(0, kTxBuffers + 2048, 12, kNext, 1);
  unsigned slot = 1;
  for (; left > 2048; left -= 2048, ++slot)
    tx().descriptor(slot, kTxBuffers, 2048, kNext, static_cast<std::uint16_t>(slot + 1));
  tx().descriptor(slot, kTxBuffers, left);
  tx().offer(0);
  for (unsigned i = 0; i < 40; ++i) offer_receive(i);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(rx().ready(), 33u);
  EXPECT_EQ(bus_.get<std::uint16_t>(kRxBuffers + 10), 33u);
  EXPECT_EQ(net_.counters().bytes, 65550u);
  std::uint32_t sum = 0;
  while (rx().ready()) sum += rx().take().bytes;
  EXPECT_EQ(sum, 65562u);
}

// ---- interrupts ------------------------------------------------------------------

TEST_F(VirtioNetTest, InterruptsByPin) {
  bring_up();
  offer_receive(0);
  send(0, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(bus_.line);
  EXPECT_EQ(in(18, 1), 7u);
  EXPECT_TRUE(bus_.line) << "only the interrupt status clears it";
  EXPECT_EQ(in(19, 1), 1u);
  EXPECT_FALSE(bus_.line);
  EXPECT_EQ(in(19, 1), 0u);
  rx().set_flags(1);
  tx().set_flags(1);
  offer_receive(1);
  send(1, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_FALSE(bus_.line) << "the driver wants none";
  EXPECT_EQ(rx().ready(), 2u);
}

TEST_F(VirtioNetTest, InterruptsByMessage) {
  enable_msix();
  bring_up();
  for (unsigned queue = 0; queue < 2; ++queue) {
    out(14, 2, queue);
    out(22, 2, 1 + queue);
  }
  offer_receive(0);
  send(0, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(bus_.messages(), (std::vector<TestBus::Message>{{0xfee01000, 0x41}, {0xfee01000, 0x42}}));
  EXPECT_FALSE(bus_.line);
  tx().set_flags(1);
  send(1, 60, 1);  // no buffer: only the transmit queue has news, and it is silent
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(bus_.messages().size(), 2u);
  out(14, 2, 0);
  out(22, 2, 0xffff);
  offer_receive(1);
  send(2, 60, 1);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(rx().ready(), 2u);
  EXPECT_EQ(bus_.messages().size(), 2u) << "a queue without a vector";
}

TEST_F(VirtioNetTest, NotificationsAreOffWhileItWatches) {
  bring_up();
  for (unsigned i = 0; i < 8; ++i) offer_receive(i);
  send(0, 60, 1);
  notify(1);
  ASSERT_TRUE(Stepper::step(net_));
  EXPECT_EQ(tx().used_flags(), 1u);
  EXPECT_EQ(rx().used_flags(), 1u);
  send(1, 60, 2);  // without a doorbell
  ASSERT_TRUE(Stepper::step(net_));
  EXPECT_EQ(tx().ready(), 2u);
  ASSERT_TRUE(settle());
  EXPECT_EQ(tx().used_flags(), 0u) << "before it sleeps";
  EXPECT_EQ(tx().ready(), 2u);

  // A packet sent in the moment before the driver can see that notifications are
  // on again comes without a doorbell, and must not be left lying.
  send(2, 60, 3);
  notify(1);
  ASSERT_TRUE(Stepper::step(net_));
  bus_.after_write = [&](std::uint64_t iova) {
    if (iova != tx().base + 8192 || tx().used_flags() != 0) return;
    bus_.after_write = nullptr;
    send(3, 60, 4);
  };
  ASSERT_TRUE(settle());
  EXPECT_EQ(tx().ready(), 4u);
}

// ---- control queue ---------------------------------------------------------------

TEST_F(VirtioNetTest, AnswersCommands) {
  bring_up();
  const std::uint64_t at = kTxBuffers;
  struct Case {
    std::uint8_t bytes[3];
    std::uint32_t count;
    std::uint8_t answer;
  } cases[] = {{{0, 0, 1}, 3, 0}, {{0, 1, 0}, 3, 0}, {{0, 2, 0}, 3, 1}, {{4, 0, 1}, 3, 1}, {{0, 0, 0}, 2, 1}};
  unsigned sent = 0;
  for (const Case& test : cases) {
    for (unsigned i = 0; i < 3; ++i) bus_.set<std::uint8_t>(at + i, test.bytes[i]);
    bus_.set<std::uint8_t>(at + 100, 0xff);
    control().descriptor(0, at, 2, kNext, 1);
    control().descriptor(1, at + 2, 1, kNext, 2);
    control().descriptor(2, at + 100, 1, kWrite);
    if (test.count == 2) control().descriptor(0, at, 2, kNext, 2);
    control().offer(0);
    notify(2);
    ASSERT_TRUE(settle());
    ASSERT_EQ(control().ready(), 1u);
    EXPECT_EQ(control().take().bytes, 1u);
    EXPECT_EQ(bus_.get<std::uint8_t>(at + 100), test.answer) << "case " << sent;
    EXPECT_EQ(net_.counters().commands, ++sent);
  }
}

// ---- with the thread -------------------------------------------------------------

TEST_F(VirtioNetTest, BusyTrafficWithTheThread) {
  ASSERT_TRUE(net_.start());
  bring_up();
  rx().set_flags(1);
  tx().set_flags(1);
  constexpr unsigned kPackets = 20'000;
  unsigned offered = 0, sent = 0, received = 0, doorbells = 0;
  std::uint64_t bad = 0;
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (received < kPackets && std::chrono::steady_clock::now() < end) {
    while (offered < kPackets && offered - received < kSize) offer_receive(offered++ % kSize);
    while (tx().ready()) tx().take();
    if (sent < kPackets && sent < offered && static_cast<std::uint16_t>(tx().avail - tx().seen) < kSize) {
      send(sent % kSize, 16, static_cast<std::uint8_t>(sent));
      ++sent;
      if (!(tx().used_flags() & 1)) {
        notify(1);
        ++doorbells;
      }
      if (sent % 1000 == 0) std::this_thread::sleep_for(200us);  // lets it fall asleep
    }
    for (; rx().ready(); ++received) {
      const Ring::Used used = rx().take();
      bad += used.id != received % kSize || used.bytes != 28;
      bad += !holds(kRxBuffers + used.id * kBufferSize + 12, 16, static_cast<std::uint8_t>(received));
    }
  }
  EXPECT_EQ(received, kPackets);
  EXPECT_EQ(bad, 0u);
  EXPECT_EQ(net_.counters().dropped_no_buffer, 0u);
  RecordProperty("doorbells", static_cast<int>(doorbells));
}

TEST_F(VirtioNetTest, ResetsUnderTraffic) {
  ASSERT_TRUE(net_.start());
  for (unsigned round = 0; round < 50; ++round) {
    bring_up();
    for (unsigned i = 0; i < 64; ++i) offer_receive(i);
    for (unsigned i = 0; i < 64; ++i) {
      send(i, 16, 1);
      notify(1);
    }
    if (round % 2) std::this_thread::sleep_for(20us);
    if (round % 3 == 0) net_.reset();
  }
  bring_up();
  offer_receive(0);
  send(0, 16, 1);
  notify(1);
  EXPECT_TRUE(wait_for([&] { return rx().ready() == 1; }));
}

// ---- options ---------------------------------------------------------------------

TEST(VirtioNetConf, ReadsItsKeys) {
  TestBus bus(4096);
  const auto make = [&](std::vector<std::pair<std::string, std::string>> items, std::string& problem) {
    ConfElement element{"virtio-net", std::move(items)};
    ConfReader conf(element);
    auto made = make_virtio_net(bus, make_sbdf(0, 0, 7, 0), conf);
    problem = made ? conf.finish() : to_string(made.error());
    std::unique_ptr<PciFunction> net = made ? *std::move(made) : nullptr;
    if (net) net->config_write(test::kCommand, 2, test::kCommandIo);
    return net;
  };
  std::string problem;
  auto net = make({{"mac", "02:00:00:AA:bb:cc"}}, problem);
  ASSERT_NE(net, nullptr) << problem;
  EXPECT_EQ(net->bar_read(0, 20, 4), 0xaa000002u);
  EXPECT_EQ(net->bar_read(0, 24, 2), 0xccbbu);
  for (const char* mac : {"02:00:00:aa:bb", "02:00:00:aa:bb:cc:dd", "02:00:00:aa:bb:gg", "03:00:00:00:00:01",
                          "x", "2:0:0:0:0:1", "02:00:00:aa:bb:cc "}) {
    EXPECT_EQ(make({{"mac", mac}}, problem), nullptr) << mac;
    EXPECT_NE(problem.find(mac), std::string::npos);
  }
  net = make({{"mrg_rxbuf", "off"}, {"indirect_desc", "off"}}, problem);
  ASSERT_NE(net, nullptr) << problem;
  EXPECT_EQ(net->bar_read(0, 0, 4) & (kMergeable | kIndirectFeature), 0u);
  make({{"mtu", "1"}}, problem);
  EXPECT_NE(problem, "");
}

}  // namespace
}  // namespace pviommu::model
