// SPDX-License-Identifier: LGPL-2.1-or-later
// The one word that decides about an arrival, alone and under fire.
#include <fcntl.h>

#include <atomic>
#include <barrier>
#include <memory>
#include <thread>

#include "msi/vector_slot.h"
#include "tests/unit/msi_fake.h"

namespace pviommu::msi::test {
namespace {

using Arrival = VectorSlot::Arrival;

TEST(VectorSlot, SendsWhenArmed) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, false);
  EXPECT_FALSE(slot.arm(target.duplicate()));
  EXPECT_EQ(slot.arrive(), Arrival::sent);
  EXPECT_EQ(slot.arrive(), Arrival::sent);
  EXPECT_EQ(target.take(), 2u);
}

TEST(VectorSlot, HoldsOneWhileMasked) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, false);
  slot.arm(target.duplicate());
  slot.mask();
  EXPECT_EQ(slot.arrive(), Arrival::held);
  EXPECT_EQ(slot.arrive(), Arrival::held);
  EXPECT_TRUE(slot.pending());
  EXPECT_EQ(target.take(), 0u);
  EXPECT_TRUE(slot.unmask());
  EXPECT_FALSE(slot.pending());
  EXPECT_EQ(target.take(), 1u);
  slot.mask();
  EXPECT_FALSE(slot.unmask());
  EXPECT_EQ(target.take(), 0u);
}

TEST(VectorSlot, WithoutAnEventfdHoldsOrDrops) {
  Eventfd target;
  VectorSlot holds;
  holds.start(false, true, false);
  EXPECT_EQ(holds.arrive(), Arrival::held);
  EXPECT_TRUE(holds.arm(target.duplicate()));
  EXPECT_EQ(target.take(), 1u);

  VectorSlot drops;
  drops.start(false, false, false);
  EXPECT_EQ(drops.arrive(), Arrival::dropped);
  EXPECT_FALSE(drops.arm(target.duplicate()));
  EXPECT_EQ(target.take(), 0u);
}

TEST(VectorSlot, MaskedAndUnarmedWaitsForBoth) {
  for (const bool unmask_first : {true, false}) {
    VectorSlot slot;
    Eventfd target;
    slot.start(false, true, true);
    EXPECT_EQ(slot.arrive(), Arrival::held);
    EXPECT_FALSE(unmask_first ? slot.unmask() : slot.arm(target.duplicate()));
    EXPECT_EQ(target.take(), 0u);
    EXPECT_TRUE(unmask_first ? slot.arm(target.duplicate()) : slot.unmask());
    EXPECT_EQ(target.take(), 1u);
  }
}

TEST(VectorSlot, LevelMasksItselfAndForgetsAtUnmask) {
  VectorSlot slot;
  Eventfd target;
  slot.start(true, true, false);
  slot.arm(target.duplicate());
  EXPECT_EQ(slot.arrive(), Arrival::sent);
  EXPECT_TRUE(slot.masked());
  EXPECT_EQ(slot.arrive(), Arrival::held);
  EXPECT_EQ(target.take(), 1u);
  EXPECT_FALSE(slot.unmask());
  EXPECT_FALSE(slot.pending());
  EXPECT_EQ(target.take(), 0u);

  slot.arm(UniqueFd());
  EXPECT_EQ(slot.arrive(), Arrival::held);
  EXPECT_FALSE(slot.masked());
  EXPECT_TRUE(slot.arm(target.duplicate()));
  EXPECT_TRUE(slot.masked());
  EXPECT_EQ(target.take(), 1u);
}

TEST(VectorSlot, SignalPassesTheMask) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, true);
  EXPECT_FALSE(slot.signal());
  slot.arm(target.duplicate());
  EXPECT_TRUE(slot.signal());
  EXPECT_EQ(target.take(), 1u);
}

TEST(VectorSlot, ReplacedEventfdIsClosed) {
  VectorSlot slot;
  Eventfd first, second;
  slot.start(false, true, false);
  UniqueFd copy = first.duplicate();
  const int number = copy.get();
  slot.arm(std::move(copy));
  EXPECT_GE(::fcntl(number, F_GETFD), 0);
  slot.arm(second.duplicate());
  EXPECT_LT(::fcntl(number, F_GETFD), 0);
  slot.arrive();
  EXPECT_EQ(first.take(), 0u);
  EXPECT_EQ(second.take(), 1u);
}

TEST(VectorSlot, FullCounterDoesNotBlock) {
  for (const int flags : {0, static_cast<int>(EFD_NONBLOCK)}) {
    VectorSlot slot;
    Eventfd full(flags);
    full.write(UINT64_MAX - 1);
    slot.start(false, true, false);
    slot.arm(full.duplicate());
    EXPECT_EQ(slot.arrive(), Arrival::sent);
    EXPECT_EQ(full.take(), UINT64_MAX - 1);
  }
}

// ---- under fire ----------------------------------------------------------------

constexpr unsigned kSenders = 3;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned kRounds = 500;
#else
constexpr unsigned kRounds = 3000;
#endif

/// Runs `change` against kSenders x `each` arrivals, kRounds times.  `check`
/// gets the number of arrivals of the round that were sent and held.
template <class Change, class Check>
void fire(VectorSlot& slot, unsigned each, Change change, Check check) {
  std::atomic<unsigned> sent{0}, held{0}, dropped{0};
  std::barrier<> line(kSenders + 1);
  std::vector<std::thread> senders;
  for (unsigned s = 0; s < kSenders; ++s)
    senders.emplace_back([&] {
      for (unsigned round = 0; round < kRounds; ++round) {
        line.arrive_and_wait();
        for (unsigned i = 0; i < each; ++i) {
          switch (slot.arrive()) {
            case Arrival::sent:
              ++sent;
              break;
            case Arrival::held:
              ++held;
              break;
            case Arrival::dropped:
              ++dropped;
              break;
          }
        }
        line.arrive_and_wait();
      }
    });
  for (unsigned round = 0; round < kRounds; ++round) {
    sent = held = dropped = 0;
    line.arrive_and_wait();
    change(round);
    line.arrive_and_wait();
    EXPECT_EQ(sent + held + dropped, kSenders * each);
    check(sent.load(), held.load(), dropped.load());
  }
  for (std::thread& sender : senders) sender.join();
}

TEST(VectorSlotUnderFire, ReplacingLosesAndDoublesNothing) {
  VectorSlot slot;
  Eventfd targets[2];
  slot.start(false, true, false);
  slot.arm(targets[0].duplicate());
  fire(
      slot, 4,
      [&](unsigned) {
        for (unsigned i = 1; i <= 6; ++i) slot.arm(targets[i % 2].duplicate());
      },
      [&](unsigned sent, unsigned held, unsigned dropped) {
        EXPECT_EQ(held + dropped, 0u);
        EXPECT_EQ(targets[0].take() + targets[1].take(), sent);
      });
}

TEST(VectorSlotUnderFire, UnmaskingSendsOnceIfAnyWasHeld) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, true);
  slot.arm(target.duplicate());
  unsigned both = 0;
  fire(
      slot, 2, [&](unsigned) { slot.unmask(); },
      [&](unsigned sent, unsigned held, unsigned) {
        EXPECT_EQ(target.take(), sent + (held > 0 ? 1 : 0));
        EXPECT_FALSE(slot.pending());
        both += sent > 0 && held > 0;
        slot.mask();
      });
  RecordProperty("rounds_with_both", static_cast<int>(both));
}

TEST(VectorSlotUnderFire, MaskingHoldsOneOfTheRest) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, false);
  slot.arm(target.duplicate());
  fire(
      slot, 2, [&](unsigned) { slot.mask(); },
      [&](unsigned sent, unsigned held, unsigned) {
        EXPECT_EQ(target.take(), sent);
        EXPECT_EQ(slot.pending(), held > 0);
        EXPECT_EQ(slot.unmask(), held > 0);
        EXPECT_EQ(target.take(), held > 0 ? 1u : 0u);
      });
}

TEST(VectorSlotUnderFire, ArmingSendsOnceIfAnyWasHeld) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, false);
  fire(
      slot, 2, [&](unsigned) { slot.arm(target.duplicate()); },
      [&](unsigned sent, unsigned held, unsigned) {
        EXPECT_EQ(target.take(), sent + (held > 0 ? 1 : 0));
        slot.arm(UniqueFd());
      });
}

TEST(VectorSlotUnderFire, DisarmingHoldsOrDropsTheRest) {
  for (const bool holds : {true, false}) {
    VectorSlot slot;
    Eventfd target;
    slot.start(false, holds, false);
    slot.arm(target.duplicate());
    fire(
        slot, 2, [&](unsigned) { slot.arm(UniqueFd()); },
        [&](unsigned sent, unsigned held, unsigned dropped) {
          EXPECT_EQ(target.take(), sent);
          EXPECT_EQ(holds ? dropped : held, 0u);
          EXPECT_EQ(slot.arm(target.duplicate()), held > 0);
          EXPECT_EQ(target.take(), held > 0 ? 1u : 0u);
        });
  }
}

TEST(VectorSlotUnderFire, LevelIsSentOnceBetweenUnmasks) {
  VectorSlot slot;
  Eventfd target;
  slot.start(true, true, false);
  slot.arm(target.duplicate());
  fire(
      slot, 2, [&](unsigned) {},
      [&](unsigned sent, unsigned, unsigned) {
        EXPECT_EQ(sent, 1u);
        EXPECT_EQ(target.take(), 1u);
        slot.unmask();
      });
}

TEST(VectorSlotUnderFire, EverythingAtOnceStaysInStep) {
  VectorSlot slot;
  Eventfd target;
  slot.start(false, true, false);
  slot.arm(target.duplicate());
  std::uint64_t from_changes = 0;
  fire(
      slot, 8,
      [&](unsigned round) {
        for (unsigned i = 0; i < 4; ++i) {
          slot.mask();
          if ((round + i) % 3 == 0) slot.arm(UniqueFd());
          from_changes += slot.unmask();
          from_changes += slot.arm(target.duplicate());
          from_changes += slot.signal();
        }
      },
      [&](unsigned sent, unsigned, unsigned dropped) {
        EXPECT_EQ(dropped, 0u);
        EXPECT_FALSE(slot.pending());
        EXPECT_EQ(target.take(), sent + std::exchange(from_changes, 0));
      });
}

}  // namespace
}  // namespace pviommu::msi::test
