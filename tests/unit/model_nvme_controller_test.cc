// SPDX-License-Identifier: LGPL-2.1-or-later
// Registers, life cycle, queues and interrupts of the NVMe controller.
#include <sys/stat.h>
#include <fcntl.h>

#include <thread>

#include "hypercall/model/devices/device_factory.h"
#include "tests/unit/model_nvme_rig.h"

namespace pviommu::model::nvme::test {
namespace {

TEST(NvmeIdentity, IsQemusController) {
  Rig rig;
  Controller& c = rig.controller();
  EXPECT_EQ(c.config_read(0x00, 4), 0x00101b36u);
  EXPECT_EQ(c.config_read(0x08, 4), 0x01080202u);
  EXPECT_EQ(c.config_read(0x2c, 4), 0x11001af4u);
  EXPECT_EQ(c.config_read(0x3d, 1), 1u);
  EXPECT_EQ(c.config_read(0x10, 4) & 15, 4u) << "64 bits";
  EXPECT_EQ(c.bar(0).size, 0x4000u);
  EXPECT_TRUE(c.bar(0).mappable);
  EXPECT_TRUE(c.can_reset());
  EXPECT_EQ(c.vector_count(VectorKind::msix), 65u);
  EXPECT_EQ(c.vector_count(VectorKind::msi), 0u);
  const std::size_t msix = model::test::find_capability(c, 0x11);
  ASSERT_NE(msix, 0u);
  EXPECT_EQ(c.config_read(msix + 2, 2), 0x40u);
  EXPECT_EQ(c.config_read(msix + 4, 4), 0x2000u);
  EXPECT_EQ(c.config_read(msix + 8, 4), 0x3000u);
  const std::size_t pm = model::test::find_capability(c, 0x01);
  ASSERT_NE(pm, 0u);
  c.config_write(pm + 4, 2, 0xffff);
  EXPECT_EQ(c.config_read(pm + 4, 2), 0xbu) << "D3hot, and No_Soft_Reset";
  EXPECT_NE(model::test::find_capability(c, 0x10), 0u);
}

class NvmeTest : public testing::TestWithParam<Way> {
 protected:
  Rig rig_{{}, {}, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Ways, NvmeTest, testing::Values(Way::trap, Way::mapped),
                         [](const auto& param) { return param.param == Way::trap ? "trap" : "mapped"; });

TEST_P(NvmeTest, RegistersSayWhatThereIs) {
  rig_.settle();
  EXPECT_EQ(rig_.read32(0) & 0xffff, 1023u);
  EXPECT_EQ(rig_.read32(4) & 15, 0u) << "doorbell stride";
  EXPECT_EQ(rig_.read32(4) >> 5 & 1, 1u) << "NVM command set";
  EXPECT_EQ(rig_.read32(reg::kVs), 0x10400u);
  EXPECT_EQ(rig_.read32(reg::kCsts), 0u);
}

TEST_P(NvmeTest, ReadOnlyRegistersStayAsTheyAre) {
  rig_.write32(0, 0);
  rig_.write32(reg::kVs, 7);
  rig_.write32(reg::kCsts, 0xffff);
  rig_.settle();
  EXPECT_EQ(rig_.read32(0) & 0xffff, 1023u);
  EXPECT_EQ(rig_.read32(reg::kVs), 0x10400u);
  EXPECT_EQ(rig_.read32(reg::kCsts), 0u);
}

TEST_P(NvmeTest, EnablesDisablesAndEnablesAgain) {
  for (unsigned i = 0; i < 3; ++i) {
    rig_.enable();
    Command identify = Rig::make(AdminOpcode::identify, Rig::kData);
    identify.cdw10 = 1;
    EXPECT_EQ(status_of(rig_.admin(identify)), 0);
    rig_.disable();
    EXPECT_EQ(rig_.read32(reg::kAqa), 31u << 16 | 31u) << "survives the reset";
  }
}

TEST_P(NvmeTest, ShutdownIsReported) {
  rig_.enable();
  rig_.write32(reg::kCc, Rig::kCc | 1 << 14);
  EXPECT_TRUE(rig_.wait_csts(csts::kShutdownMask, csts::kShutdownComplete));
  rig_.write32(reg::kCc, Rig::kCc);
  EXPECT_TRUE(rig_.wait_csts(csts::kShutdownMask, 0));
  EXPECT_EQ(rig_.controller().counters().syncs, 1u);
}

TEST_P(NvmeTest, RefusesAnImpossibleConfiguration) {
  struct Case {
    const char* name;
    std::uint32_t aqa;
    std::uint64_t asq, acq;
    std::uint32_t cc;
  };
  constexpr std::uint32_t kAqa = 7 << 16 | 7;
  const Case cases[] = {
      {"page size 128 KiB", kAqa, 0x100000, 0x101000, Rig::kCc | 5 << 7},
      {"command set", kAqa, 0x100000, 0x101000, Rig::kCc | 1 << 4},
      {"arbitration", kAqa, 0x100000, 0x101000, Rig::kCc | 1 << 11},
      {"ASQ offset", kAqa, 0x100040, 0x101000, Rig::kCc},
      {"ACQ offset", kAqa, 0x100000, 0x101010, Rig::kCc},
      {"ASQ offset in 8 KiB pages", kAqa, 0x101000, 0x102000, Rig::kCc | 1 << 7},
      {"one submission entry", 7 << 16, 0x100000, 0x101000, Rig::kCc},
      {"one completion entry", 7, 0x100000, 0x101000, Rig::kCc},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    rig_.write32(reg::kAqa, c.aqa);
    rig_.write64(reg::kAsq, c.asq);
    rig_.write64(reg::kAcq, c.acq);
    rig_.write32(reg::kCc, c.cc);
    EXPECT_TRUE(rig_.wait_csts(3, csts::kFatal));
    rig_.write32(reg::kCc, 0);
    EXPECT_TRUE(rig_.wait_csts(3, 0));
  }
  rig_.enable();
}

TEST_P(NvmeTest, QueuesWrapAndTurnTheirPhase) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 4);
  for (unsigned i = 0; i < 50; ++i) {
    rig_.fill(Rig::kData, 512, i);
    EXPECT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::write, i, 1, Rig::kData))), 0);
    EXPECT_EQ(rig_.backing(i * 512, 512), rig_.memory(Rig::kData, 512));
  }
}

TEST_P(NvmeTest, SubmissionHeadIsReported) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 8);
  for (unsigned i = 1; i < 30; ++i)
    EXPECT_EQ(rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData)).sq_head, i % 8);
}

TEST_P(NvmeTest, FullCompletionQueueHoldsTheCommandsBack) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 64);
  // A completion queue of 4 under a submission queue of 64.
  EXPECT_EQ(status_of(rig_.admin(Rig::make_create_cq(2, 4, Rig::kIo + 0x50000))), 0);
  EXPECT_EQ(status_of(rig_.admin(Rig::make_create_sq(2, 64, Rig::kIo + 0x40000, 2))), 0);
  QueuePair sq{2, 64, Rig::kIo + 0x40000, 0, 0, 0, true};
  QueuePair cq{2, 4, 0, Rig::kIo + 0x50000, 0, 0, true};
  for (std::uint16_t i = 0; i < 20; ++i) {
    Command command = Rig::make_io(IoOpcode::read, i, 1, Rig::kData);
    command.cid = i;
    rig_.push(sq, command);
  }
  const auto before = rig_.controller().counters().commands;
  rig_.ring(sq);
  ASSERT_TRUE(rig_.settle());
  EXPECT_EQ(rig_.controller().counters().commands - before, 3u) << "an entry stays free";
  for (std::uint16_t i = 0; i < 20; ++i) {
    const auto entry = rig_.reap(cq);
    ASSERT_TRUE(entry) << i;
    EXPECT_EQ(entry->cid, i);
    ASSERT_TRUE(rig_.settle());
  }
  EXPECT_FALSE(rig_.peek(cq));
  EXPECT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData))), 0) << "others go on";
}

TEST_P(NvmeTest, EntryIsNeverSeenHalfWritten) {
  rig_.enable();
  constexpr unsigned kEntries = 8;
  QueuePair q = rig_.create_pair(1, kEntries);
  std::array<Completion, kEntries> before{};
  unsigned shown = 0;
  rig_.bus.on_write = [&](std::uint64_t iova, std::size_t) {
    if (iova < q.cq || iova >= q.cq + sizeof(before)) return;
    std::array<Completion, kEntries> now;
    std::memcpy(&now, rig_.bus.at(q.cq), sizeof(now));
    for (unsigned i = 0; i < kEntries; ++i) {
      if (((now[i].status ^ before[i].status) & 1) == 0) continue;
      // Whatever the order of the bytes of this write, the rest was there before.
      Completion rest = now[i];
      rest.status ^= 1;
      EXPECT_EQ(std::memcmp(&rest, &before[i], sizeof(rest)), 0) << i;
      ++shown;
    }
    before = now;
  };
  std::uint16_t sent = 0, taken = 0;
  for (unsigned burst = 0; burst < 30; ++burst) {
    const std::uint64_t lba = burst % 3 == 0 ? 1 << 30 : 0;  // errors change more of the entry
    for (unsigned i = 0; i <= burst % 7; ++i) {
      Command command = Rig::make_io(IoOpcode::read, lba, 1, Rig::kData);
      command.cid = static_cast<std::uint16_t>(0x1000 + sent++);
      rig_.push(q, command);
    }
    rig_.ring(q);
    rig_.settle();
    while (const auto entry = rig_.reap(q)) {
      EXPECT_EQ(entry->cid, 0x1000 + taken++);
      EXPECT_EQ(status_of(*entry) != 0, lba != 0);
    }
    rig_.settle();
  }
  EXPECT_EQ(taken, sent);
  EXPECT_EQ(shown, sent);
}

TEST_P(NvmeTest, ABurstIsShownByTwoWrites) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 64);
  for (unsigned i = 0; i < 12; ++i) rig_.push(q, Rig::make_io(IoOpcode::write, i, 1, Rig::kData));
  const unsigned before = rig_.bus.writes;
  rig_.ring(q);
  rig_.settle();
  EXPECT_EQ(rig_.bus.writes - before, 2u);
}

TEST_P(NvmeTest, OneBusReadFetchesABurst) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 64);
  for (std::uint16_t i = 0; i < 12; ++i) rig_.push(q, Rig::make_io(IoOpcode::read, i, 1, Rig::kData));
  const unsigned before = rig_.bus.reads;
  rig_.ring(q);
  rig_.settle();
  EXPECT_EQ(rig_.bus.reads - before, 1u);
}

TEST_P(NvmeTest, QueuesTakeTurns) {
  rig_.enable();
  QueuePair a = rig_.create_pair(1, 256);
  QueuePair b = rig_.create_pair(2, 256);
  for (std::uint16_t i = 0; i < 200; ++i) rig_.push(a, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.push(b, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.ring(a);
  rig_.ring(b);
  const auto before = rig_.controller().counters().commands;
  while (!rig_.peek(b)) ASSERT_TRUE(Stepper::step(rig_.controller()));
  EXPECT_LT(rig_.controller().counters().commands - before, 40u);
  rig_.settle();
  EXPECT_EQ(rig_.controller().counters().commands - before, 201u);
}

TEST_P(NvmeTest, APollIsBoundedInBytes) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 64);
  Command command = Rig::make_io(IoOpcode::read, 0, 4096);
  rig_.point(command, Rig::kData, 2 << 20);
  for (unsigned i = 0; i < 10; ++i) rig_.push(q, command);
  rig_.ring(q);
  const auto before = rig_.controller().counters().commands;
  Stepper::step(rig_.controller());
  EXPECT_EQ(rig_.controller().counters().commands - before, 2u);
  rig_.settle();
  EXPECT_EQ(rig_.controller().counters().commands - before, 10u);
}

TEST_P(NvmeTest, DoorbellsOutOfRangeAreIgnoredAndReported) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 8);
  const auto before = rig_.controller().counters();
  rig_.write32(RegisterFile::sq_doorbell(1), 8);
  rig_.settle();
  rig_.write32(RegisterFile::cq_doorbell(1), 3);
  rig_.settle();
  const auto after = rig_.controller().counters();
  EXPECT_EQ(after.invalid_doorbells - before.invalid_doorbells, 2u);
  EXPECT_EQ(after.commands, before.commands);
  // The event tells the program (5.2): type 0, invalid doorbell write value, error log.
  QueuePair& admin = rig_.admin_queue();
  Command aer = Rig::make(AdminOpcode::async_event_request);
  aer.cid = 0x77;
  rig_.push(admin, aer);
  aer.cid = 0x78;
  rig_.push(admin, aer);
  rig_.ring(admin);
  rig_.settle();
  const auto event = rig_.reap(admin);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->cid, 0x77);
  EXPECT_EQ(event->result, 0x10100u);
  EXPECT_FALSE(rig_.peek(admin)) << "masked until the log is read";
  Command log = Rig::make(AdminOpcode::get_log_page, Rig::kData);
  log.cdw10 = 1 | 15 << 16;
  EXPECT_EQ(status_of(rig_.admin(log)), 0);
  const auto second = rig_.reap(admin);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->cid, 0x78);
  // And the queue works on.
  EXPECT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData))), 0);
}

TEST_P(NvmeTest, PinFollowsTheQueues) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 8);
  EXPECT_FALSE(rig_.bus.line);
  rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.ring(q);
  rig_.settle();
  EXPECT_TRUE(rig_.bus.line);
  rig_.write32(reg::kIntms, 1);
  rig_.settle();
  EXPECT_FALSE(rig_.bus.line) << "masked";
  EXPECT_EQ(rig_.read32(reg::kIntms), 1u);
  rig_.write32(reg::kIntmc, 1);
  rig_.settle();
  EXPECT_TRUE(rig_.bus.line);
  EXPECT_EQ(rig_.read32(reg::kIntms), 0u);
  rig_.reap(q);
  rig_.settle();
  EXPECT_TRUE(rig_.bus.line) << "one is left";
  rig_.reap(q);
  rig_.settle();
  EXPECT_FALSE(rig_.bus.line);
  EXPECT_TRUE(rig_.bus.take_messages().empty());
}

TEST_P(NvmeTest, QueueWithoutInterruptsLeavesThePin) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 8, 0, 1);
  rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.ring(q);
  rig_.settle();
  EXPECT_TRUE(rig_.peek(q));
  EXPECT_FALSE(rig_.bus.line);
}

TEST_P(NvmeTest, MessagesGoToTheVectorOfTheQueue) {
  rig_.enable_msix(4);
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 8, 3);
  QueuePair silent = rig_.create_pair(2, 8, 2, 1);
  EXPECT_EQ(rig_.bus.take_messages(), std::vector<std::uint32_t>(4, 0x40)) << "four admin commands";
  rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  EXPECT_EQ(rig_.bus.take_messages(), std::vector<std::uint32_t>{0x43});
  EXPECT_EQ(status_of(rig_.send(silent, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData))), 0);
  EXPECT_TRUE(rig_.bus.take_messages().empty());
  EXPECT_FALSE(rig_.bus.line);
}

TEST_P(NvmeTest, UnreachableQueueIsFatalUntilReset) {
  for (const bool completion : {false, true}) {
    SCOPED_TRACE(completion);
    rig_.enable();
    QueuePair q = rig_.create_pair(1, 8);
    rig_.bus.protect(completion ? q.cq : q.sq, completion ? Access::read : Access::none);
    rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
    rig_.ring(q);
    rig_.settle();
    EXPECT_EQ(rig_.read32(reg::kCsts) & 3, 3u);
    EXPECT_FALSE(rig_.bus.line);
    const unsigned faults = rig_.bus.faults;
    rig_.write32(RegisterFile::sq_doorbell(1), 5);
    rig_.settle();
    EXPECT_EQ(rig_.bus.faults, faults) << "stands still";
    rig_.bus.protect(q.cq, Access::read_write);
    rig_.bus.protect(q.sq, Access::read_write);
    rig_.disable();
    EXPECT_EQ(rig_.read32(reg::kCsts), 0u);
  }
  rig_.enable();
}

TEST_P(NvmeTest, ResetInTheMiddleForgetsTheCommands) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 256);
  for (unsigned i = 0; i < 200; ++i) rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.ring(q);
  Stepper::step(rig_.controller());
  EXPECT_TRUE(rig_.peek(q));
  const auto commands = rig_.controller().counters().commands;
  rig_.controller().reset();
  const unsigned writes = rig_.bus.writes;
  rig_.settle();
  EXPECT_EQ(rig_.controller().counters().commands, commands);
  EXPECT_EQ(rig_.bus.writes, writes);
  EXPECT_FALSE(rig_.bus.line);
  EXPECT_EQ(rig_.read32(reg::kCsts), 0u);
  EXPECT_EQ(rig_.read32(reg::kCc), 0u);
  EXPECT_EQ(rig_.read32(reg::kAqa), 0u);
  rig_.enable();
  q = rig_.create_pair(1, 8);
  EXPECT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData))), 0);
}

TEST_P(NvmeTest, NewQueueStartsWithItsDoorbellsAtZero) {
  rig_.enable();
  rig_.create_pair(1, 8);
  for (const AdminOpcode opcode : {AdminOpcode::delete_sq, AdminOpcode::delete_cq}) {
    Command command = Rig::make(opcode);
    command.cdw10 = 1;
    EXPECT_EQ(status_of(rig_.admin(command)), 0);
  }
  rig_.write32(RegisterFile::sq_doorbell(1), 5);
  rig_.write32(RegisterFile::cq_doorbell(1), 2);
  rig_.settle();
  QueuePair q = rig_.create_pair(1, 8);
  const auto before = rig_.controller().counters();
  rig_.settle();
  EXPECT_EQ(rig_.controller().counters().commands, before.commands);
  EXPECT_EQ(rig_.controller().counters().invalid_doorbells, before.invalid_doorbells);
  EXPECT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData))), 0);
}

TEST_P(NvmeTest, WaitsWhileBusMasteringIsOff) {
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 8);
  rig_.controller().config_write(model::test::kCommand, 2, model::test::kCommandMemory);
  rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.ring(q);
  rig_.settle();
  EXPECT_FALSE(rig_.peek(q));
  EXPECT_EQ(rig_.read32(reg::kCsts) & 3, csts::kReady);
  EXPECT_EQ(rig_.bus.master_off, 0u);
  rig_.controller().config_write(model::test::kCommand, 2,
                                 model::test::kCommandMemory | model::test::kCommandMaster);
  rig_.settle();
  EXPECT_TRUE(rig_.peek(q));
}

TEST_P(NvmeTest, WorksOnItsOwnThread) {
  rig_.threaded = true;
  ASSERT_TRUE(rig_.controller().start());
  rig_.enable();
  QueuePair q = rig_.create_pair(1, 16);
  for (unsigned i = 0; i < 300; ++i) {
    ASSERT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::write, i, 1, Rig::kData))), 0);
  }
  rig_.disable();
  rig_.controller().reset();
  rig_.enable();
  rig_.controller().stop();
}

// ---- options ----------------------------------------------------------------

std::string problem_of(const std::string& conf) {
  ConfError error;
  const auto elements = parse_conf(conf, error);
  ConfReader reader(elements.at(0));
  PagedBus bus(1 << 20);
  const auto device = make_nvme(bus, make_sbdf(0, 0, 5, 0), reader);
  if (device) return reader.finish();
  const std::string problem(device.error().sentence.view());
  EXPECT_NE(problem, "");
  EXPECT_EQ(problem.find('\n'), std::string::npos);
  return problem;
}

class ScratchFile {
 public:
  explicit ScratchFile(std::uint64_t bytes) {
    const int fd = ::mkstemp(path_);
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(bytes)), 0);
    ::close(fd);
  }
  ~ScratchFile() { ::unlink(path_); }
  std::string path() const { return path_; }

 private:
  char path_[40] = "/tmp/pviommu-nvme-XXXXXX";
};

TEST(NvmeOptions, ProblemsNameTheValueAndTheWayOut) {
  const ScratchFile good(1 << 20), empty(0), odd(1000);
  EXPECT_EQ(problem_of("nvme,size=1M"), "");
  EXPECT_EQ(problem_of("nvme,file=" + good.path()), "");
  EXPECT_EQ(problem_of("nvme,file=" + good.path() + ",readonly=on,lba=4096,queues=2,vectors=3,serial=x"), "");
  EXPECT_NE(problem_of("nvme,file=/nowhere/disk").find("truncate -s 64M /nowhere/disk"), std::string::npos);
  EXPECT_NE(problem_of("nvme,file=" + empty.path()).find("is empty"), std::string::npos);
  EXPECT_NE(problem_of("nvme,file=" + odd.path()).find("truncate -s 1024 " + odd.path()), std::string::npos);
  EXPECT_NE(problem_of("nvme,file=/tmp").find("/tmp"), std::string::npos);
  EXPECT_NE(problem_of("nvme,file=/dev/null").find("neither"), std::string::npos);
  EXPECT_NE(problem_of("nvme,file=" + good.path() + ",size=1M").find("exclude"), std::string::npos);
  EXPECT_NE(problem_of("nvme,size=0").find("size=0"), std::string::npos);
  EXPECT_NE(problem_of("nvme,size=1000").find("multiple"), std::string::npos);
  EXPECT_NE(problem_of("nvme,queues=0").find("queues=0"), std::string::npos);
  EXPECT_NE(problem_of("nvme,queues=512").find("511"), std::string::npos);
  EXPECT_NE(problem_of("nvme,vectors=257").find("256"), std::string::npos);
  EXPECT_NE(problem_of("nvme,serial=123456789012345678901").find("20"), std::string::npos);
  EXPECT_NE(problem_of("nvme,lba=1024").find("4096"), std::string::npos);
  EXPECT_NE(problem_of("nvme,colour=red").find("colour"), std::string::npos);
}

}  // namespace
}  // namespace pviommu::model::nvme::test
