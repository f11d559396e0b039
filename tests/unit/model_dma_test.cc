// SPDX-License-Identifier: LGPL-2.1-or-later
// Devices reaching memory, and being kept from it.
#include <chrono>
#include <random>
#include <thread>

#include "tests/unit/model_test_machine.h"

namespace pviommu::model {
namespace {

using namespace std::chrono_literals;

TEST(ModelDma, BytesArriveWhereTheyShould) {
  Machine machine;
  const SpaceId space = machine.attached();
  TestMemory memory(200);
  ASSERT_TRUE(machine.map(space, memory, 0x40000000).status);
  std::vector<std::byte> out(700000), in(700000);
  std::mt19937 random(1);
  for (auto& b : out) b = static_cast<std::byte>(random());
  const std::uint64_t read_before = statistics().dma_read_bytes,
                      written_before = statistics().dma_write_bytes;
  ASSERT_TRUE(machine.probe().dma_out(0x40000123, out));
  EXPECT_EQ(std::memcmp(memory.bytes() + 0x123, out.data(), out.size()), 0);
  ASSERT_TRUE(machine.probe().dma_in(0x40000123, in));
  EXPECT_EQ(in, out);
  EXPECT_EQ(statistics().dma_read_bytes - read_before, in.size());
  EXPECT_EQ(statistics().dma_write_bytes - written_before, out.size());

  UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
  ASSERT_TRUE(machine.probe().into_file(0x40000123, out.size(), file.get(), 5));
  std::vector<std::byte> disk(out.size());
  ASSERT_EQ(::pread(file.get(), disk.data(), disk.size(), 5), static_cast<ssize_t>(disk.size()));
  EXPECT_EQ(disk, out);
  std::memset(memory.bytes(), 0, 800000);
  ASSERT_TRUE(machine.probe().out_of_file(0x40001000, 300000, file.get(), 5));
  EXPECT_EQ(std::memcmp(memory.bytes() + 0x1000, out.data(), 300000), 0);
  EXPECT_TRUE(machine.faults().empty());
}

TEST(ModelDma, RightsAndWhatWasDoneBefore) {
  Machine machine;
  const SpaceId space = machine.attached();
  TestMemory writable(1), readable(1), writeonly(1);
  ASSERT_TRUE(machine.map(space, writable, 0x1000).status);
  ASSERT_TRUE(machine.map(space, readable, 0x2000, Access::read).status);
  ASSERT_TRUE(machine.map(space, writeonly, 0x3000, Access::write).status);
  Probe& probe = machine.probe();
  const std::uint64_t denied = statistics().faults[static_cast<std::size_t>(FaultReason::not_permitted)];
  std::vector<std::byte> data(0x2000, std::byte{9});
  EXPECT_EQ(code(probe.dma_out(0x1800, std::span(data).first(0x1000))), EFAULT);
  EXPECT_EQ(writable.at<std::uint8_t>(0xfff), 9);  // the page before has been written
  EXPECT_EQ(readable.at<std::uint8_t>(0), 0);
  EXPECT_TRUE(machine.one_fault(0x2000, FaultReason::not_permitted));
  EXPECT_TRUE(probe.get<int>(0x2000));
  EXPECT_TRUE(probe.put<int>(0x3000, 1));
  EXPECT_EQ(code(probe.get<int>(0x3000)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x3000, FaultReason::not_permitted));
  EXPECT_EQ(statistics().faults[static_cast<std::size_t>(FaultReason::not_permitted)], denied + 2);
}

TEST(ModelDma, RefusedAccesses) {
  Machine machine;
  machine.enable(Machine::kFirst);
  Probe& probe = machine.probe();
  EXPECT_EQ(code(probe.put<int>(0x1000, 1)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x1000, FaultReason::not_attached));
  const SpaceId space = machine.model->create_space({}).value();
  ASSERT_TRUE(machine.model->attach(space, Machine::kFirst));
  TestMemory memory(1);
  ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
  for (const std::uint64_t bad : {0x0ull, 0xfffull, 0x2000ull, 0xfffffffffffffffcull}) {
    EXPECT_EQ(code(probe.put<std::uint8_t>(bad, 1)), EFAULT);
    EXPECT_TRUE(machine.one_fault(bad, FaultReason::not_mapped));
  }
  // Wrapping round the top.
  EXPECT_EQ(code(probe.put<std::uint64_t>(~0ull - 3, 1)), EFAULT);
  machine.faults();
  EXPECT_EQ(code(probe.get<int>(0xfee00000)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0xfee00000, FaultReason::not_mapped));
  probe.config_write(4, 2, 2);
  EXPECT_EQ(code(probe.put<int>(0x1000, 1)), EPERM);
  EXPECT_TRUE(machine.one_fault(0x1000, FaultReason::not_attached));
  machine.enable(Machine::kFirst);
  memory.gone = true;
  EXPECT_EQ(code(probe.put<int>(0x1000, 1)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x1000, FaultReason::unreachable));
  // A second device of the same machine is in no space.
  machine.enable(Machine::kSecond);
  EXPECT_EQ(code(machine.probe(Machine::kSecond).put<int>(0x1000, 1)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x1000, FaultReason::not_attached));
}

TEST(ModelDma, FaultLogIsBoundedAndCounted) {
  Machine machine;
  machine.attached();
  const std::uint64_t before = statistics().faults[static_cast<std::size_t>(FaultReason::not_mapped)];
  for (int i = 0; i < 1000; ++i) (void)machine.probe().put<int>(0x1000 + 4 * i, 1);
  EXPECT_EQ(statistics().faults[static_cast<std::size_t>(FaultReason::not_mapped)], before + 1000);
  const auto all = machine.faults();
  ASSERT_EQ(all.size(), 256u);
  EXPECT_EQ(all[0].iova, Iova(0x1000));
  EXPECT_EQ(all[0].sbdf, Machine::kFirst);
  EXPECT_EQ(all[0].access, Access::write);
  EXPECT_TRUE(machine.faults().empty());
}

TEST(ModelDma, PeerToPeer) {
  Machine machine;
  const SpaceId space = machine.attached();
  machine.enable(Machine::kSecond);
  std::vector<FrameRun> frames;
  ASSERT_TRUE(machine.model->frames_of_mmio(Machine::kSecond, 0, 0x1000, 0x2000, frames));
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].pages, 2u);
  const MapRun run{Dfn(0x500), frames[0].mfn, 2};
  ASSERT_TRUE(machine.model->map(space, std::span(&run, 1)).status);
  Probe& from = machine.probe();
  Probe& to = machine.probe(Machine::kSecond);
  const unsigned polls = to.polls;
  EXPECT_TRUE(from.put<std::uint32_t>(0x500010, 0xcafe));
  EXPECT_EQ(to.bar_read(0, 0x1010, 4), 0xcafeu);
  EXPECT_EQ(from.get<std::uint32_t>(0x500010).value(), 0xcafeu);
  for (int i = 0; i < 1000 && to.polls == polls; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_GT(to.polls, polls);  // it was told
  UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
  EXPECT_TRUE(from.into_file(0x500000, 0x1800, file.get(), 0));
  EXPECT_TRUE(from.out_of_file(0x500800, 0x1000, file.get(), 0));
  EXPECT_EQ(to.bar_read(0, 0x1810, 4), 0xcafeu);
  // Through its own BAR, too, and not when it does not decode.
  to.config_write(4, 2, 0);
  EXPECT_EQ(code(from.put<std::uint32_t>(0x500010, 1)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x500010, FaultReason::unreachable));

  EXPECT_EQ(code(machine.model->frames_of_mmio(Machine::kSecond, 3, 0, 0x1000, frames)), EINVAL);
  EXPECT_EQ(code(machine.model->frames_of_mmio(Machine::kSecond, 0, 0x100, 0x1000, frames)), EINVAL);
  EXPECT_EQ(code(machine.model->frames_of_mmio(Machine::kSecond, 0, 0xf000, 0x2000, frames)), EINVAL);
  EXPECT_EQ(code(machine.model->frames_of_mmio(make_sbdf(0, 1, 0, 0), 0, 0, 0x1000, frames)), ENODEV);
  Machine without("p2p=off");
  EXPECT_FALSE(without.model->capabilities().peer_to_peer);
  EXPECT_EQ(code(without.model->frames_of_mmio(Machine::kSecond, 0, 0, 0x1000, frames)), EOPNOTSUPP);
}

// unmap() and detach() come back only when the access that is under way is over.
class ModelInFlight : public ::testing::TestWithParam<int> {};

TEST_P(ModelInFlight, IsWaitedFor) {
  Machine machine;
  const SpaceId space = machine.attached();
  TestMemory memory(1);
  ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
  memory.close_gate();
  std::thread dma([&] { EXPECT_TRUE(machine.probe().put<int>(0x1000, 7)); });
  memory.wait_for_visitor();
  std::atomic<bool> back{false};
  std::thread stopper([&] {
    if (GetParam() == 0)
      EXPECT_TRUE(machine.unmap(space, memory, 0x1000).status);
    else if (GetParam() == 1)
      EXPECT_TRUE(machine.model->detach(space, Machine::kFirst));
    else
      machine.model->forget_frames(memory);
    back = true;
  });
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(back);
  memory.open_gate();
  stopper.join();
  dma.join();
  EXPECT_EQ(memory.at<int>(0), 7);
  EXPECT_EQ(code(machine.probe().put<int>(0x1000, 8)), EFAULT);
  EXPECT_EQ(memory.at<int>(0), 7);
}
INSTANTIATE_TEST_SUITE_P(UnmapDetachForget, ModelInFlight, ::testing::Values(0, 1, 2));

// Two devices at work while their mappings come and go: no access after unmap.
TEST(ModelDma, UnderFire) {
  Machine machine;
  const SpaceId space = machine.attached(Machine::kFirst);
  ASSERT_TRUE(machine.model->attach(space, Machine::kSecond));
  machine.enable(Machine::kSecond);
  TestMemory steady(1, 0x7e0000000000);
  ASSERT_TRUE(machine.map(space, steady, 0x100000).status);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> hits{0}, misses{0};
  const auto work = [&](Sbdf sbdf) {
    const std::uint64_t own = 8 * (sbdf.raw() >> 3 & 1);
    unsigned n = 0;
    while (!stop) {
      EXPECT_TRUE(machine.probe(sbdf).put<std::uint64_t>(0x100000 + own, ++n));
      if (machine.probe(sbdf).put<std::uint64_t>(0x1000 + own, ~0ull))
        ++hits;
      else
        ++misses;
    }
  };
  std::thread one(work, Machine::kFirst), two(work, Machine::kSecond);
  const auto until = std::chrono::steady_clock::now() + 500ms;
  unsigned rounds = 0;
  while (std::chrono::steady_clock::now() < until || hits == 0) {
    TestMemory memory(2);
    ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
    if (++rounds % 4 == 0) std::this_thread::yield();
    ASSERT_TRUE(machine.unmap(space, memory, 0x1000).status);
    memory.at<std::uint64_t>(0) = memory.at<std::uint64_t>(8) = 0;
    if (rounds % 4 == 1) std::this_thread::yield();
    ASSERT_EQ(memory.at<std::uint64_t>(0) | memory.at<std::uint64_t>(8), 0u);
    machine.model->forget_frames(memory);
  }
  stop = true;
  one.join();
  two.join();
  EXPECT_GT(misses, 0u);
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 0u);
  EXPECT_EQ(machine.model->space_use(space).pages, 1u);
  for (const Fault& fault : machine.faults()) EXPECT_EQ(fault.reason, FaultReason::not_mapped);
}

}  // namespace
}  // namespace pviommu::model
