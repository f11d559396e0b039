// SPDX-License-Identifier: LGPL-2.1-or-later
// Rings of the virtio network card: indices that wrap, rules that are broken, noise.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <string>

#include "tests/unit/model_virtio_driver.h"

namespace pviommu::model {
namespace {

using namespace test;
using namespace std::chrono_literals;

// ---- indices --------------------------------------------------------------------

TEST_F(VirtioNetTest, IndicesWrap) {
  bring_up();
  rx().set_flags(1);
  tx().set_flags(1);
  // More than 2^16 packets, in uneven batches.
  std::mt19937 random(1);
  unsigned sent = 0;
  std::uint64_t bad = 0;
  while (sent < 70'000) {
    const unsigned batch = 1 + random() % 200;
    for (unsigned i = 0; i < batch; ++i) {
      offer_receive((sent + i) % kSize);
      send((sent + i) % kSize, 4, static_cast<std::uint8_t>(sent + i));
    }
    notify(1);
    for (unsigned steps = 0; tx().ready() < batch && steps < 100; ++steps) Stepper::step(net_);
    ASSERT_EQ(tx().ready(), batch) << sent;
    ASSERT_EQ(rx().ready(), batch) << sent;
    for (unsigned i = 0; i < batch; ++i) {
      const unsigned slot = (sent + i) % kSize;
      bad += tx().take().id != slot;
      bad += rx().take().id != slot;
      bad += !holds(kRxBuffers + slot * kBufferSize + 12, 4, static_cast<std::uint8_t>(sent + i));
    }
    sent += batch;
  }
  EXPECT_EQ(bad, 0u);
  EXPECT_EQ(net_.counters().packets, sent);
}

TEST_F(VirtioNetTest, LongestChain) {
  bring_up();
  for (unsigned i = 0; i < kSize; ++i)
    tx().descriptor(i, kTxBuffers + 8 * i, 8, i == kSize - 1 ? 0 : kNext, static_cast<std::uint16_t>(i + 1));
  tx().offer(0);
  offer_receive(0, 4096);
  notify(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(net_.queue_error(VirtioNet::kTransmit), nullptr);
  ASSERT_EQ(rx().ready(), 1u);
  EXPECT_EQ(rx().take().bytes, 8 * kSize);
}

// ---- rings that break the rules ---------------------------------------------------

class VirtioNetBroken : public VirtioNetTest {
 protected:
  /// Transmits what `prepare` wrote, sees the queue stop for that reason, and come back.
  void stops(VirtioNet::Queue queue, const char* why, const std::function<void()>& prepare,
             std::uint32_t features = kMergeable | kIndirectFeature) {
    SCOPED_TRACE(why);
    bring_up(features);
    const std::uint64_t stopped = net_.counters().stopped_queues;
    prepare();
    notify(1);
    notify(2);
    ASSERT_TRUE(settle());
    const char* error = net_.queue_error(queue);
    ASSERT_NE(error, nullptr);
    EXPECT_NE(std::string(error).find(why), std::string::npos) << error;
    const std::uint64_t now_stopped = net_.counters().stopped_queues;
    EXPECT_GE(now_stopped, stopped + 1);
    // Stopped means that it is not looked at any more.
    bus_.refuse_writes = false;
    const unsigned reads = bus_.reads;
    if (queue == VirtioNet::kTransmit) {
      notify(1);
      ASSERT_TRUE(settle());
      EXPECT_EQ(bus_.reads, reads);
      EXPECT_EQ(net_.counters().stopped_queues, now_stopped);
    }
    // A reset makes it good again.
    bring_up();
    EXPECT_EQ(net_.queue_error(queue), nullptr);
    offer_receive(0);
    send(0, 60, 1);
    notify(1);
    ASSERT_TRUE(settle());
    EXPECT_EQ(rx().ready(), 1u);
  }
};

TEST_F(VirtioNetBroken, TransmitQueue) {
  const auto q = VirtioNet::kTransmit;
  stops(q, "more than a ring ahead", [&] { tx().set_avail(257); });
  stops(q, "names no descriptor", [&] { tx().offer(256); });
  stops(q, "loop", [&] {
    tx().descriptor(0, kTxBuffers, 12, kNext, 1);
    tx().descriptor(1, kTxBuffers, 12, kNext, 0);
    tx().offer(0);
  });
  stops(q, "leaves its table", [&] {
    tx().descriptor(0, kTxBuffers, 12, kNext, 256);
    tx().offer(0);
  });
  stops(q, "length 0", [&] {
    tx().descriptor(0, kTxBuffers, 0);
    tx().offer(0);
  });
  stops(q, "wraps", [&] {
    tx().descriptor(0, ~std::uint64_t{0} - 3, 100);
    tx().offer(0);
  });
  stops(q, "too long", [&] {
    tx().descriptor(0, kTxBuffers, 0xffffffff);
    tx().offer(0);
  });
  stops(q, "too long", [&] {
    tx().descriptor(0, kTxBuffers, 65563);
    tx().offer(0);
  });
  stops(q, "without contents", [&] {
    tx().descriptor(0, kTxBuffers, 12);
    tx().offer(0);
  });
  stops(q, "writable", [&] {
    tx().descriptor(0, kTxBuffers, 100, kWrite);
    tx().offer(0);
  });
  stops(q, "behind a writable", [&] {
    tx().descriptor(0, kTxBuffers, 100, kWrite | kNext, 1);
    tx().descriptor(1, kTxBuffers, 100);
    tx().offer(0);
  });
  stops(q, "buffer cannot be read", [&] {
    tx().descriptor(0, 0x1000, 100);
    tx().offer(0);
  });
  stops(q, "used ring cannot be written", [&] {
    send(0, 60, 1);
    bus_.refuse_writes = true;
  });
}

TEST_F(VirtioNetBroken, IndirectTables) {
  const auto q = VirtioNet::kTransmit;
  const std::uint64_t table = kTxBuffers + 0x8000;
  const auto offer = [&](std::uint32_t bytes, std::uint16_t flags) {
    tx().descriptor(0, table, bytes, flags);
    tx().offer(0);
  };
  stops(
      q, "without the feature", [&] { offer(16, kIndirect); }, kMergeable);
  stops(q, "other flags", [&] { offer(16, kIndirect | kNext); });
  stops(q, "other flags", [&] { offer(16, kIndirect | kWrite); });
  for (const std::uint32_t bytes : {0u, 17u, 257u * 16, 0xfffffff0u})
    stops(q, "bad size", [&] { offer(bytes, kIndirect); });
  stops(q, "within an indirect table", [&] {
    tx().at(table, table, 16, kIndirect, 0);
    offer(16, kIndirect);
  });
  stops(q, "leaves its table", [&] {
    tx().at(table, kTxBuffers, 16, kNext, 2);
    offer(32, kIndirect);
  });
  stops(q, "loop", [&] {
    tx().at(table, kTxBuffers, 16, kNext, 0);
    offer(256 * 16, kIndirect);
  });
  stops(q, "within a chain", [&] {
    tx().descriptor(0, kTxBuffers, 16, kNext, 1);
    tx().descriptor(1, table, 16, kIndirect);
    tx().offer(0);
  });
  stops(q, "descriptor cannot be read", [&] {
    tx().descriptor(0, 0x1000, 16, kIndirect);
    tx().offer(0);
  });
}

TEST_F(VirtioNetBroken, ReceiveQueue) {
  const auto q = VirtioNet::kReceive;
  const auto with_packet = [&](const std::function<void()>& prepare) {
    return [this, prepare] {
      prepare();
      send(0, 60, 1);
    };
  };
  stops(q, "readable, or too small", with_packet([&] {
          rx().descriptor(0, kRxBuffers, 2048);
          rx().offer(0);
        }));
  stops(q, "readable, or too small", with_packet([&] { offer_receive(0, 11); }));
  stops(q, "more than a ring ahead", with_packet([&] { rx().set_avail(0x8000); }));
  stops(q, "buffer cannot be written", with_packet([&] {
          rx().descriptor(0, 0x1000, 2048, kWrite);
          rx().offer(0);
        }));
  EXPECT_GE(net_.counters().dropped_no_buffer, 4u);
}

TEST_F(VirtioNetBroken, ControlQueue) {
  const auto q = VirtioNet::kControl;
  stops(q, "too long", [&] {
    control().descriptor(0, kTxBuffers, 5000, kNext, 1);
    control().descriptor(1, kTxBuffers, 1, kWrite);
    control().offer(0);
  });
  stops(q, "no place for the answer", [&] {
    control().descriptor(0, kTxBuffers, 3);
    control().offer(0);
  });
}

TEST_F(VirtioNetBroken, RingOutsideOfMemory) {
  bring_up();
  for (const std::uint32_t frame : {1u, 0xffffffffu, 0x80000000u}) {
    out(14, 2, 1);
    out(8, 4, frame);
    notify(1);
    ASSERT_TRUE(settle());
    EXPECT_STREQ(net_.queue_error(VirtioNet::kTransmit), "available ring cannot be read");
  }
  EXPECT_EQ(bus_.faults, 3u);
}

// Rings full of noise: nothing crashes, nothing is written outside of the memory,
// every step ends.
TEST_F(VirtioNetBroken, Noise) {
  const auto end = std::chrono::steady_clock::now() + 2s;
  std::uint64_t rounds = 0, packets = 0;
  for (unsigned seed = 0; seed < 3000 && std::chrono::steady_clock::now() < end; ++seed) {
    std::mt19937_64 random(seed);
    bring_up(static_cast<std::uint32_t>(random()));
    // From half right to pure noise.
    const unsigned noise = static_cast<unsigned>(random() % 100);
    const auto odd = [&] { return random() % 100 < noise; };
    for (Ring& ring : ring_) {
      for (unsigned i = 0; i < kSize; ++i) {
        const bool writable = odd() ? random() % 2 : &ring == &rx();
        const std::uint64_t address =
            odd() ? random() >> random() % 64 : kBase + random() % (bus_.size() - 4096);
        const auto bytes = static_cast<std::uint32_t>(odd() ? random() >> random() % 32 : 1 + random() % 200);
        const auto flags =
            static_cast<std::uint16_t>((odd() ? random() % 8 : random() % 2) | (writable ? kWrite : 0));
        const auto next = static_cast<std::uint16_t>(odd() ? random() % 300 : (i + 1) % kSize);
        ring.descriptor(i, address, bytes, flags, next);
        bus_.set<std::uint16_t>(ring.base + 4100 + 2 * i,
                                static_cast<std::uint16_t>(random() % (odd() ? 300 : kSize)));
      }
      ring.set_avail(static_cast<std::uint16_t>(odd() ? random() : random() % kSize));
    }
    for (unsigned queue = 0; queue < 3; ++queue) notify(queue);
    for (unsigned step = 0; step < 20; ++step) {
      Stepper::step(net_);
      // The driver goes on scribbling.
      bus_.set<std::uint16_t>(kBase + (random() % 0xc000 & ~std::uint64_t{1}),
                              static_cast<std::uint16_t>(random()));
    }
    ++rounds;
  }
  packets = net_.counters().packets;
  EXPECT_GT(rounds, 20u);
  EXPECT_GT(packets, 0u) << "some of it was good enough";
  EXPECT_GT(net_.counters().stopped_queues, rounds / 2);
  out(18, 1, 0);
}

}  // namespace
}  // namespace pviommu::model
