// SPDX-License-Identifier: LGPL-2.1-or-later
// Garbage: random commands, queues and registers.  What is asked of the
// controller is that it neither hangs nor touches anything it should not, and
// that a reset makes it work again.
#include <random>

#include "tests/unit/model_nvme_rig.h"

namespace pviommu::model::nvme::test {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr unsigned kRounds = 5000;  // one thread only, and slow
#else
constexpr unsigned kRounds = 100000;
#endif

class Garbage {
 public:
  explicit Garbage(std::uint32_t seed) : random_(seed) {}
  std::uint32_t number(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
  std::uint64_t word() { return random_(); }
  /// Mostly something near to what is valid.
  std::uint64_t address() {
    switch (number(8)) {
      case 0:
        return word();
      case 1:
        return ~std::uint64_t{0} - number(8192);
      case 2:
        return Rig::kListPage + number(4096);
      default:
        return Rig::kData + (number(0x600) << 12) + (number(4) == 0 ? number(4096) : 0);
    }
  }
  Command command() {
    Command c;
    std::uint64_t words[8];
    for (auto& w : words) w = word();
    std::memcpy(&c, words, sizeof(c));
    c.opcode = static_cast<std::uint8_t>(number(16) == 0 ? word() : number(0x0d));
    if (number(8) != 0) c.flags = 0;
    if (number(8) != 0) c.nsid = 1;
    c.prp1 = address();
    c.prp2 = address();
    if (number(4) != 0) c.cdw10 = number(4) == 0 ? number(1 << 16) << 16 | number(8) : number(0x4000);
    if (number(4) != 0) c.cdw11 = number(2) == 0 ? 0 : number(8) << 16 | number(8);
    if (number(4) != 0) c.cdw12 = number(2) == 0 ? number(64) : static_cast<std::uint32_t>(word()) & 0xc2000fff;
    if (number(4) != 0) c.cdw13 = 0;
    return c;
  }

 private:
  std::mt19937_64 random_;
};

class NvmeGarbage : public testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, NvmeGarbage, testing::Values(Way::trap, Way::mapped),
                         [](const auto& param) { return param.param == Way::trap ? "trap" : "mapped"; });

TEST_P(NvmeGarbage, DoesNoHarm) {
  Options options;
  options.queues = 6;
  options.vectors = 7;
  Rig rig(options, {}, GetParam());
  Garbage garbage(GetParam() == Way::trap ? 1 : 2);
  unsigned resets = 0;
  const auto revive = [&] {
    ++resets;
    rig.write32(reg::kCc, 0);
    ASSERT_TRUE(rig.wait_csts(3, 0));
    rig.enable(64);
    for (unsigned qid = 1; qid <= 3; ++qid) rig.create_pair(qid, 32 << qid);
  };
  revive();
  for (unsigned round = 0; round < kRounds; ++round) {
    if (HasFatalFailure() || HasNonfatalFailure()) break;
    switch (garbage.number(16)) {
      case 0:
        rig.write32(garbage.number(0x40) & ~3u, static_cast<std::uint32_t>(garbage.word()));
        break;
      case 1:
        rig.write32(0x1000 + garbage.number(16) * 4, garbage.number(80));
        break;
      case 2:
        rig.controller().bar_write(0, garbage.number(0x4000) & ~7u, 8, garbage.word());
        break;
      case 3: {
        const unsigned width = 1u << garbage.number(4);
        rig.controller().bar_read(0, garbage.number(0x4000) & ~(width - 1), width);
        break;
      }
      case 4: {  // a list of something
        const std::uint64_t entry = garbage.address();
        std::memcpy(rig.bus.at(Rig::kListPage + (garbage.number(512) << 3)), &entry, 8);
        break;
      }
      case 5:
        if (garbage.number(50) == 0) rig.controller().reset();
        break;
      default: {
        const unsigned qid = garbage.number(4);
        const std::uint64_t sq = qid == 0 ? Rig::kAdminSq : Rig::kIo + (qid - 1) * 0x20000ull;
        const std::uint32_t slot = garbage.number(32);
        const Command command = garbage.command();
        std::memcpy(rig.bus.at(sq + slot * sizeof(Command)), &command, sizeof(command));
        rig.write32(RegisterFile::sq_doorbell(qid), garbage.number(64));
        rig.write32(RegisterFile::cq_doorbell(qid), garbage.number(64));
        break;
      }
    }
    Stepper::step(rig.controller());
    if (round % 64 == 0) {
      ASSERT_TRUE(rig.settle());
      if ((rig.read32(reg::kCsts) & 3) != csts::kReady) {
        rig.controller().config_write(model::test::kCommand, 2,
                                      model::test::kCommandMemory | model::test::kCommandMaster);
        revive();
      }
    }
  }
  const auto counters = rig.controller().counters();
  EXPECT_GT(counters.commands, kRounds / 4u);
  EXPECT_GT(counters.commands - counters.failures, kRounds / 50u) << "not everything may be refused at the door";
  if (kRounds == 100000) {  // rare
    EXPECT_GT(counters.fatal, 0u);
    EXPECT_GT(resets, 1u);
  }
  rig.controller().reset();
  rig.enable();
  QueuePair q = rig.create_pair(1, 8);
  rig.fill(Rig::kData, 512, 7);
  EXPECT_EQ(status_of(rig.send(q, Rig::make_io(IoOpcode::write, 0, 1, Rig::kData))), 0);
  EXPECT_EQ(rig.backing(0, 512), rig.memory(Rig::kData, 512));
}

}  // namespace
}  // namespace pviommu::model::nvme::test
