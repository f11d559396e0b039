// SPDX-License-Identifier: LGPL-2.1-or-later
// The model's edu, by accesses and through a mapping of its BAR.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <functional>
#include <thread>

#include "hypercall/conf.h"
#include "hypercall/model/devices/device_factory.h"
#include "hypercall/model/devices/edu.h"
#include "tests/unit/model_test_bus.h"

namespace pviommu::model {
namespace {

using test::Stepper;
using test::TestBus;
using namespace std::chrono_literals;

constexpr std::uint64_t kBase = TestBus::kBase;
constexpr std::uint64_t kBuffer = 0x40000;
constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

bool wait_for(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(50us);
  }
  return true;
}

class EduTest : public testing::Test {
 protected:
  explicit EduTest(EduOptions options = {}) : edu_(bus_, make_sbdf(0, 0, 6, 0), options) {
    edu_.config_write(test::kCommand, 2, test::kCommandMemory | test::kCommandMaster);
  }

  std::uint32_t read(std::uint64_t offset) { return static_cast<std::uint32_t>(edu_.bar_read(0, offset, 4)); }
  std::uint64_t read8(std::uint64_t offset) { return edu_.bar_read(0, offset, 8); }
  void write(std::uint64_t offset, std::uint32_t value) { edu_.bar_write(0, offset, 4, value); }
  void write8(std::uint64_t offset, std::uint64_t value) { edu_.bar_write(0, offset, 8, value); }

  void transfer(std::uint64_t source, std::uint64_t destination, std::uint64_t count, std::uint32_t command) {
    write8(0x80, source);
    write8(0x88, destination);
    write8(0x90, count);
    write(0x98, command);
  }
  void enable_msi() {
    const std::size_t msi = test::find_capability(edu_, 5);
    edu_.program_message(VectorKind::msi, 0, 0xfee00000, 0x4041);
    edu_.config_write(msi + 2, 2, 1);
  }

  TestBus bus_{1 << 20};
  Edu edu_;
};

TEST_F(EduTest, IsTheDocumentedFunction) {
  EXPECT_EQ(edu_.config_read(0x00, 4), 0x11e81234u);
  EXPECT_EQ(edu_.config_read(0x08, 4), 0x00ff0010u);
  EXPECT_EQ(edu_.config_read(0x3d, 1), 1u);
  EXPECT_EQ(edu_.config_read(0x34, 1), 0x40u);
  EXPECT_EQ(edu_.config_read(0x40, 4), 0x00800005u) << "the kernel shows 05008000";
  EXPECT_EQ(edu_.config_size(), 256u);
  EXPECT_FALSE(edu_.can_reset());
  EXPECT_EQ(edu_.vector_count(VectorKind::msi), 1u);
  EXPECT_EQ(edu_.vector_count(VectorKind::msix), 0u);
  const BarInfo bar = edu_.bar(0);
  EXPECT_EQ(bar.size, 1u << 20);
  EXPECT_TRUE(bar.mappable);
  EXPECT_FALSE(bar.is_io || bar.is_64bit || bar.prefetchable);
}

TEST_F(EduTest, WidthsAnswerAsInQemu) {
  EXPECT_EQ(read(0), 0x010000edu);
  EXPECT_EQ(edu_.bar_read(0, 0, 2), 0u);
  EXPECT_EQ(edu_.bar_read(0, 1, 1), 0u);
  EXPECT_EQ(edu_.bar_read(0, 0x80, 2), 0u);
  EXPECT_EQ(read8(0), kAllOnes);
  EXPECT_EQ(read(0x0c), 0xffffffffu);
  EXPECT_EQ(read(0x60), 0xffffffffu);
  EXPECT_EQ(read(0x84), 0xffffffffu);
  EXPECT_EQ(read(kBuffer), 0xffffffffu);
  EXPECT_EQ(read((1 << 20) - 4), 0xffffffffu);
  EXPECT_EQ(read8(0x80), 0u);
  write8(0x80, 0x1122334455667788);
  EXPECT_EQ(read8(0x80), 0x1122334455667788u);
  EXPECT_EQ(read(0x80), 0x55667788u);
  write(0x80, 0x99);
  EXPECT_EQ(read8(0x80), 0x99u) << "a narrow write sets the whole register";
  edu_.bar_write(0, 0x80, 2, 0x1234);
  write(0x84, 0x1234);
  EXPECT_EQ(read8(0x80), 0x99u);
  edu_.bar_write(0, 0x04, 2, 0x1234);
  edu_.bar_write(0, 0x04, 8, 0x1234);
  EXPECT_EQ(read(0x04), 0u);
  write(0x00, 5);
  EXPECT_EQ(read(0), 0x010000edu);
}

TEST_F(EduTest, LivenessInverts) {
  EXPECT_EQ(read(0x04), 0u);
  write(0x04, 0x12345678);
  EXPECT_EQ(read(0x04), 0xedcba987u);
  write(0x04, 0xedcba987);
  EXPECT_EQ(read(0x04), 0x12345678u);
}

TEST_F(EduTest, FactorialIsComputedByTheThread) {
  write(0x08, 5);
  EXPECT_EQ(read(0x20), 1u);
  EXPECT_EQ(read(0x08), 5u);
  write(0x08, 6);  // ignored while computing
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(read(0x20), 0u);
  EXPECT_EQ(read(0x08), 120u);
  EXPECT_FALSE(bus_.line);
}

TEST_F(EduTest, FactorialWrapsAndEnds) {
  const std::pair<std::uint32_t, std::uint32_t> cases[] = {
      {0, 1}, {1, 1}, {12, 479001600}, {13, 1932053504}, {33, 0x80000000}, {34, 0}, {35, 0}, {0xffffffff, 0}};
  for (const auto& [n, expected] : cases) {
    write(0x08, n);
    ASSERT_TRUE(Stepper::settle(edu_));
    EXPECT_EQ(read(0x08), expected) << n;
  }
}

TEST_F(EduTest, FactorialInterrupts) {
  write(0x20, 0xff);
  EXPECT_EQ(read(0x20), 0x80u) << "the computing bit is read-only";
  write(0x08, 3);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(read(0x08), 6u);
  EXPECT_EQ(read(0x24), 1u);
  EXPECT_TRUE(bus_.line);
  write(0x64, 1);
  EXPECT_FALSE(bus_.line);
}

TEST_F(EduTest, InterruptByPin) {
  write(0x60, 0x30);
  EXPECT_TRUE(bus_.line);
  EXPECT_EQ(read(0x24), 0x30u);
  write(0x60, 0x03);
  EXPECT_EQ(read(0x24), 0x33u);
  write(0x64, 0x30);
  EXPECT_TRUE(bus_.line) << "something is left";
  write(0x64, 0x03);
  EXPECT_FALSE(bus_.line);
  EXPECT_EQ(read(0x24), 0u);
  write(0x60, 0);
  EXPECT_FALSE(bus_.line);
}

TEST_F(EduTest, InterruptByMessage) {
  enable_msi();
  write(0x60, 1);
  write(0x60, 1);
  EXPECT_EQ(bus_.messages(), (std::vector<TestBus::Message>{{0xfee00000, 0x4041}, {0xfee00000, 0x4041}}));
  EXPECT_FALSE(bus_.line);
  write(0x64, 1);
  EXPECT_EQ(bus_.messages().size(), 2u);
}

TEST_F(EduTest, TransfersBothWays) {
  for (unsigned i = 0; i < 100; ++i)
    bus_.set<std::uint8_t>(kBase + 0x1003 + i, static_cast<std::uint8_t>(i + 1));
  transfer(kBase + 0x1003, kBuffer + 7, 100, 1);
  EXPECT_EQ(read(0x98), 1u);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(read(0x98), 0u);
  EXPECT_EQ(read(0x24), 0u) << "no interrupt was asked for";
  transfer(kBuffer + 7, kBase + 0x2000, 100, 3 | 4);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(read(0x98), 6u);
  EXPECT_EQ(read(0x24), 0x100u);
  EXPECT_TRUE(bus_.line);
  for (unsigned i = 0; i < 100; ++i) ASSERT_EQ(bus_.get<std::uint8_t>(kBase + 0x2000 + i), i + 1);
  EXPECT_EQ(bus_.get<std::uint8_t>(kBase + 0x2000 + 100), 0u);
  EXPECT_EQ(edu_.counters().transfers, 2u);
}

TEST_F(EduTest, WholeBufferAndNothing) {
  transfer(kBase, kBuffer, 4096, 1);
  ASSERT_TRUE(Stepper::settle(edu_));
  transfer(kBuffer + 4096, kBase, 0, 3);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(edu_.counters().transfers, 2u);
  EXPECT_EQ(edu_.counters().refused, 0u);
}

TEST_F(EduTest, RefusesWhatIsOutsideItsBuffer) {
  const std::pair<std::uint64_t, std::uint64_t> cases[] = {
      {kBuffer, 4097}, {kBuffer + 1, 4096}, {kBuffer - 1, 1}, {kBuffer + 4096, 1},
      {0, 1},          {kBuffer, kAllOnes}, {kAllOnes, 2},    {kBuffer + 8, kAllOnes - 7}};
  std::uint64_t refused = 0;
  for (const auto& [inside, count] : cases) {
    transfer(kBase, inside, count, 1 | 4);
    ASSERT_TRUE(Stepper::settle(edu_));
    EXPECT_EQ(edu_.counters().refused, ++refused);
    EXPECT_EQ(read(0x98), 4u) << "the command ends";
    EXPECT_EQ(read(0x24), 0x100u);
    write(0x64, 0x100);
    transfer(inside, kBase, count, 3);
    ASSERT_TRUE(Stepper::settle(edu_));
    EXPECT_EQ(edu_.counters().refused, ++refused);
  }
  EXPECT_EQ(bus_.reads + bus_.writes, 0u);
}

TEST_F(EduTest, CutsAddressesToItsMask) {
  bus_.set<std::uint32_t>(kBase, 0xcafe);
  transfer(0x7000000000000000 | 0x10000000 | kBase, kBuffer, 4, 1);
  ASSERT_TRUE(Stepper::settle(edu_));
  transfer(kBuffer, kBase + 8, 4, 3);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(bus_.get<std::uint32_t>(kBase + 8), 0xcafeu);
  EXPECT_EQ(edu_.counters().clamped, 1u);
}

TEST_F(EduTest, FailedTransferIsCountedAndEnds) {
  transfer(0x1000, kBuffer, 4, 1 | 4);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(edu_.counters().failed, 1u);
  EXPECT_EQ(bus_.faults, 1u);
  EXPECT_EQ(read(0x98) & 1, 0u);
  edu_.config_write(test::kCommand, 2, test::kCommandMemory);
  transfer(kBase, kBuffer, 4, 1);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(edu_.counters().failed, 2u);
  EXPECT_EQ(bus_.master_off, 1u);
}

TEST_F(EduTest, RegistersHoldStillDuringATransfer) {
  transfer(kBase, kBuffer, 4, 1);
  write8(0x80, 1);
  write8(0x88, 2);
  write8(0x90, 3);
  write(0x98, 7);
  EXPECT_EQ(read8(0x80), kBase);
  EXPECT_EQ(read8(0x88), kBuffer);
  EXPECT_EQ(read8(0x90), 4u);
  EXPECT_EQ(read(0x98), 1u);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(edu_.counters().transfers, 1u);
  write(0x98, 6);
  EXPECT_EQ(read(0x98), 0u) << "without the run bit a command is nothing";
}

TEST_F(EduTest, ResetForgets) {
  bus_.set<std::uint32_t>(kBase, 0xcafe);
  transfer(kBase, kBuffer, 4, 1);
  ASSERT_TRUE(Stepper::settle(edu_));
  write(0x04, 1);
  write(0x20, 0x80);
  write(0x60, 1);
  transfer(kBase, kBuffer, 8, 1);
  edu_.reset();
  EXPECT_FALSE(bus_.line);
  EXPECT_FALSE(Stepper::step(edu_)) << "the transfer was stopped";
  for (const std::uint64_t offset : {0x04, 0x08, 0x20, 0x24, 0x80, 0x88, 0x90, 0x98})
    EXPECT_EQ(read(offset), 0u) << offset;
  EXPECT_EQ(read(0x60), 0xffffffffu);
  transfer(kBuffer, kBase, 4, 3);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(bus_.get<std::uint32_t>(kBase), 0u) << "the buffer was cleared";
}

// ---- through a mapping ---------------------------------------------------------

class EduMapped : public EduTest {
 protected:
  explicit EduMapped(EduOptions options = {}) : EduTest(options) {
    const BarMapping mapping = edu_.bar_mapping(0).value();
    memory_ = static_cast<std::byte*>(::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, mapping.fd,
                                             static_cast<off_t>(mapping.offset)));
    edu_.bar_mapped(0, true);
  }
  ~EduMapped() override { ::munmap(memory_, 1 << 20); }

  std::uint32_t load(std::uint64_t offset) {
    return std::atomic_ref<std::uint32_t>(*reinterpret_cast<std::uint32_t*>(memory_ + offset)).load();
  }
  void store(std::uint64_t offset, std::uint32_t value) {
    std::atomic_ref<std::uint32_t>(*reinterpret_cast<std::uint32_t*>(memory_ + offset)).store(value);
  }
  void store8(std::uint64_t offset, std::uint64_t value) {
    std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(memory_ + offset)).store(value);
  }

  std::byte* memory_;
};

TEST_F(EduMapped, RegistersShowInTheMapping) {
  EXPECT_EQ(load(0), 0x010000edu);
  EXPECT_EQ(load(0x04), 0u);
  EXPECT_EQ(load(0x60), 0xffffffffu);
  EXPECT_EQ(load(kBuffer), 0xffffffffu);
  write(0x04, 1);
  EXPECT_EQ(load(0x04), ~1u);
  write(0x60, 5);
  EXPECT_EQ(load(0x24), 5u);
  write(0x64, 4);
  EXPECT_EQ(load(0x24), 1u);
  write(0x20, 0x80);
  EXPECT_EQ(load(0x20), 0x80u);
  write(0x08, 4);
  EXPECT_EQ(load(0x20), 0x81u);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(load(0x08), 24u);
  EXPECT_EQ(load(0x20), 0x80u);
}

TEST_F(EduMapped, StoresAreSeen) {
  store(0x04, 0x12345678);
  EXPECT_EQ(read(0x04), 0xedcba987u) << "a read sees the store before it, without the thread";
  store(0, 7);
  store(0x24, 7);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(load(0), 0x010000edu);
  EXPECT_EQ(load(0x24), 0u);
  store(0x20, 0x80);
  store(0x08, 6);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(load(0x08), 720u);
  EXPECT_EQ(load(0x24), 1u);
  EXPECT_TRUE(bus_.line);
  store(0x64, 1);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_FALSE(bus_.line);
  EXPECT_EQ(load(0x64), 0xffffffffu);
  // An acknowledge and a raise found together: the interrupt is the newer one.
  store(0x60, 2);
  ASSERT_TRUE(Stepper::settle(edu_));
  store(0x64, 2);
  store(0x60, 2);
  ASSERT_TRUE(Stepper::settle(edu_));
  EXPECT_EQ(load(0x24), 2u);
  EXPECT_TRUE(bus_.line);
}

TEST_F(EduMapped, TransfersRepeatedlyWithTheThread) {
  ASSERT_TRUE(edu_.start());
  for (std::uint32_t round = 1; round <= 500; ++round) {
    bus_.set<std::uint32_t>(kBase + 16, round);
    store8(0x80, kBase + 16);
    store8(0x88, kBuffer + 32);
    store8(0x90, 4);
    store(0x98, 1);
    ASSERT_TRUE(wait_for([&] { return (load(0x98) & 1) == 0; }));
    store8(0x80, kBuffer + 32);
    store8(0x88, kBase + 64);
    store(0x98, 3 | 4);
    ASSERT_TRUE(wait_for([&] { return load(0x24) == 0x100; }));
    ASSERT_EQ(bus_.get<std::uint32_t>(kBase + 64), round);
    store(0x64, 0x100);
    ASSERT_TRUE(wait_for([&] { return load(0x24) == 0; }));
  }
  EXPECT_EQ(edu_.counters().transfers, 1000u);
}

TEST_F(EduMapped, ProgramAndPlatformAtOnce) {
  ASSERT_TRUE(edu_.start());
  enable_msi();
  std::thread program([this] {
    for (std::uint32_t i = 0; i < 2000; ++i) {
      store(0x04, i);
      store(0x08, i % 10);
      store(0x60, 1);
      store(0x64, 1);
      store8(0x80, kBase);
      store8(0x88, kBuffer);
      store8(0x90, 64);
      store(0x98, 1);
    }
  });
  for (unsigned i = 0; i < 2000; ++i) {
    write(0x04, i);
    read(0x20);
    write8(0x90, 16);
    write(0x98, 1);
    if (i % 500 == 0) edu_.reset();
  }
  program.join();
  ASSERT_TRUE(wait_for([&] { return (read(0x98) & 1) == 0 && read(0x20) == 0; }));
  edu_.bar_mapped(0, false);
  write(0x04, 0x55);
  EXPECT_EQ(read(0x04), ~0x55u);
}

TEST_F(EduTest, WorksWithoutMapping) {
  edu_.forbid_mapping();
  EXPECT_FALSE(edu_.bar_mapping(0));
  edu_.reset();
  ASSERT_TRUE(edu_.start());
  write(0x08, 5);
  ASSERT_TRUE(wait_for([&] { return read(0x20) == 0; }));
  EXPECT_EQ(read(0x08), 120u);
  EXPECT_EQ(read(kBuffer), 0xffffffffu);
  bus_.set<std::uint32_t>(kBase, 0xcafe);
  transfer(kBase, kBuffer, 4, 1);
  ASSERT_TRUE(wait_for([&] { return read(0x98) == 0; }));
  EXPECT_EQ(edu_.counters().transfers, 1u);
}

// ---- options -------------------------------------------------------------------

struct EduDelayed : EduTest {
  EduDelayed()
      : EduTest([] {
          EduOptions options;
          options.dma_delay = 50ms;
          options.dma_mask = kAllOnes;
          return options;
        }()) {}
};

TEST_F(EduDelayed, WaitsAndStaysReachable) {
  ASSERT_TRUE(edu_.start());
  const auto begin = std::chrono::steady_clock::now();
  transfer(std::uint64_t{1} << 60, kBuffer, 4, 1);
  write(0x04, 1);
  EXPECT_EQ(read(0x04), ~1u);
  EXPECT_EQ(read(0x98), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 50ms);
  ASSERT_TRUE(wait_for([&] { return read(0x98) == 0; }));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 50ms);
  EXPECT_EQ(bus_.faults, 1u) << "with a full mask the address goes out as it is";
  EXPECT_EQ(edu_.counters().clamped, 0u);
  transfer(kBase, kBuffer, 4, 1);
  edu_.reset();
  EXPECT_EQ(read(0x98), 0u);
}

TEST(EduConf, ReadsItsKeys) {
  TestBus bus(4096);
  const auto make = [&](const char* key, const char* value, std::string& problem) {
    ConfElement element{"edu", {{key, value}}};
    ConfReader conf(element);
    auto edu = make_edu(bus, make_sbdf(0, 0, 6, 0), conf);
    problem = edu ? conf.finish() : to_string(edu.error());
    return edu ? *std::move(edu) : nullptr;
  };
  std::string problem;
  EXPECT_NE(make("dma_mask", "0xffffffffffffffff", problem), nullptr);
  EXPECT_EQ(problem, "");
  EXPECT_NE(make("dma-delay", "100", problem), nullptr);
  EXPECT_EQ(problem, "");
  EXPECT_EQ(make("dma-delay", "60001", problem), nullptr);
  EXPECT_NE(problem.find("60001"), std::string::npos);
  problem.clear();
  make("dmamask", "1", problem);
  EXPECT_NE(problem, "") << "a misspelt key";
}

}  // namespace
}  // namespace pviommu::model
