// SPDX-License-Identifier: LGPL-2.1-or-later
// The core on the model: what fails is taken back, what is busy is waited for, and
// nothing more is asked than has to be.
#include <gtest/gtest.h>

#include "hypercall/papr/core/dynamic_window.h"
#include "hypercall/papr/core/rtas_msi.h"
#include "hypercall/papr/core/xics.h"
#include "hypercall/papr/core/xive.h"
#include "tests/papr/model.h"

namespace papr_model {
namespace {

constexpr Ioba kPlace{0x40000};

class PaprWindow : public testing::Test {
 protected:
  explicit PaprWindow(const Model::Options& options = {})
      : model(options), geometry(model.default_window(0)), window(model.port(), geometry) {
    geometry.memory_last = RealAddress(model.memory_bytes() - 1);
    for (std::size_t i = 0; i < kPages; ++i)
      tces.push_back(make_tce(RealAddress((i % 16 + 16) * kPageSize), Access::read_write));
  }
  static constexpr std::size_t kPages = 1200;
  Model model;
  WindowGeometry geometry;
  TceWindow window;
  std::vector<Tce> tces;
};

TEST(PaprHcall, BusyAnswersAndTheirWaits) {
  EXPECT_TRUE(is_busy(kBusy));
  EXPECT_TRUE(is_busy(9900));
  EXPECT_TRUE(is_busy(9905));
  EXPECT_FALSE(is_busy(9899));
  EXPECT_FALSE(is_busy(9906));
  EXPECT_FALSE(is_busy(kSuccess));
  EXPECT_FALSE(is_busy(kHardware));
  EXPECT_EQ(0u, busy_milliseconds(kBusy));
  EXPECT_EQ(1u, busy_milliseconds(9900));
  EXPECT_EQ(10u, busy_milliseconds(9901));
  EXPECT_EQ(100000u, busy_milliseconds(9905));
  EXPECT_EQ(0u, busy_milliseconds(kSuccess));
  EXPECT_EQ(0u, busy_milliseconds(9906));
  EXPECT_EQ(kBusy, busy_of(kRtasBusy));
  EXPECT_EQ(9903, busy_of(9903));
  EXPECT_EQ(kSuccess, busy_of(kRtasHardware));
}

TEST(PaprHcall, WaitsAreBounded) {
  Model model({});
  BusyWait busy(model.port(), Patience{3, 1050});
  EXPECT_FALSE(busy.again(kSuccess));
  EXPECT_FALSE(busy.again(kHardware));
  EXPECT_TRUE(busy.again(kBusy));
  EXPECT_TRUE(busy.again(9903));  // 1000
  EXPECT_TRUE(busy.again(kBusy));
  EXPECT_TRUE(busy.again(9902));  // cut to 50
  EXPECT_FALSE(busy.again(9900));
  EXPECT_TRUE(busy.again(kBusy));
  EXPECT_FALSE(busy.again(kBusy));
  EXPECT_EQ(1050u, model.waited());
}

TEST(PaprHcall, ABusyCallIsMadeAgainWithItsArguments) {
  Model model({});
  model.fail_hcall(1, kBusy, 4, true);
  std::uint64_t registers[kHcallRegisters] = {model.default_window(0).liobn.raw(), 0x3000,
                                              0x20000 | kTceRead};
  EXPECT_EQ(kSuccess, call(model.port(), Hcall::put_tce, registers, registers));
  EXPECT_EQ(5u, model.hcalls());
  EXPECT_EQ(1u, model.mapped());
}

TEST(PaprHcall, Names) {
  EXPECT_STREQ("H_PARAMETER", name_of(kParameter));
  EXPECT_STREQ("H_LONG_BUSY", name_of(Rc{9904}));
  EXPECT_STREQ("?", name_of(Rc{-1234}));
  EXPECT_STREQ("H_PUT_TCE_INDIRECT", name_of(Hcall::put_tce_indirect));
  EXPECT_STREQ("ibm,change-msi", name_of(RtasCall::change_msi));
  EXPECT_STREQ("not at a page", name_of(Refusal::alignment));
}

TEST_F(PaprWindow, HcallsOfAMapAndAnUnmap) {
  for (const auto& [pages, calls] :
       {std::pair{1u, 1u}, {2u, 1u}, {512u, 1u}, {513u, 2u}, {1024u, 2u}, {1200u, 3u}}) {
    model.forget_counts();
    ASSERT_TRUE(window.map(kPlace, tces.data(), pages));
    EXPECT_EQ(calls, model.hcalls()) << pages;
    EXPECT_EQ(pages, model.mapped());
    ASSERT_TRUE(window.unmap(kPlace, pages));
    EXPECT_EQ(2 * calls, model.hcalls()) << pages;
    EXPECT_EQ(0u, model.mapped());
  }
}

// A failure at every call, before and after its work, for one call and for good.
TEST_F(PaprWindow, EveryHcallOfAMapFails) {
  for (const bool done : {false, true})
    for (unsigned n = 1; n <= 3; ++n) {
      TceWindow fresh(model.port(), geometry);
      model.fail_hcall(n, kHardware, 1, done);
      const WindowResult result = fresh.map(kPlace, tces.data(), 1200);
      EXPECT_EQ(Refusal::hypervisor, result.refusal);
      EXPECT_EQ(kHardware, result.rc);
      EXPECT_EQ(0u, result.done);
      EXPECT_FALSE(result.uncertain);
      EXPECT_EQ(0u, model.mapped()) << "call " << n << (done ? " after its work" : "");
    }
}

TEST_F(PaprWindow, EveryTwoHcallsOfAMapFail) {
  // The second failure meets the taking back.
  for (unsigned n = 1; n <= 3; ++n) {
    TceWindow fresh(model.port(), geometry);
    model.fail_hcall(n, kHardware, 2, true);
    const WindowResult result = fresh.map(kPlace, tces.data(), 1200);
    EXPECT_FALSE(result);
    EXPECT_FALSE(result.uncertain);
    EXPECT_EQ(0u, model.mapped());
  }
}

TEST_F(PaprWindow, EveryHcallOfAnUnmapFails) {
  for (const bool done : {false, true})
    for (unsigned n = 1; n <= 3; ++n) {
      TceWindow fresh(model.port(), geometry);
      ASSERT_TRUE(fresh.map(kPlace, tces.data(), 1200));
      model.fail_hcall(n, kHardware, 1, done);
      const WindowResult result = fresh.unmap(kPlace, 1200);
      EXPECT_TRUE(result);
      EXPECT_EQ(1200u, result.done);
      EXPECT_EQ(0u, model.mapped());
    }
}

TEST_F(PaprWindow, AnUnmapThatCannotGoOnSaysHowFarItCame) {
  ASSERT_TRUE(window.map(kPlace, tces.data(), 1200));
  // The second stuff fails, and from the fifth single call behind it on everything.
  model.fail_hcall(2, kHardware, 1);
  model.forget_counts();
  ASSERT_TRUE(window.unmap(kPlace, 600));
  EXPECT_EQ(600u, model.mapped());
  model.fail_hcall(2, kHardware, 1000000);
  const WindowResult result = window.unmap(kPlace + 600 * kPageSize, 600);
  EXPECT_EQ(Refusal::hypervisor, result.refusal);
  EXPECT_EQ(512u, result.done);
  EXPECT_EQ(88u, model.mapped());
  model.fail_hcall(0, 0);
  EXPECT_TRUE(window.unmap(kPlace + 1112 * kPageSize, 88));
  EXPECT_EQ(0u, model.mapped());
}

TEST_F(PaprWindow, AMapThatCannotBeTakenBackSaysSo) {
  model.fail_hcall(2, kHardware, 1000000);
  const WindowResult result = window.map(kPlace, tces.data(), 1200);
  EXPECT_FALSE(result);
  EXPECT_TRUE(result.uncertain);
  EXPECT_EQ(512u, model.mapped());
}

TEST_F(PaprWindow, TheStrictHypervisorNeverSeesWhatIsWrong) {
  EXPECT_FALSE(window.map(kPlace + 1, tces.data(), 1));
  EXPECT_FALSE(window.map(kPlace, tces.data(), 0));
  EXPECT_FALSE(window.unmap(window.last() + 1, 1));
  EXPECT_EQ(0u, model.hcalls());
}

struct PaprWindowWithoutLists : PaprWindow {
  PaprWindowWithoutLists() : PaprWindow(Model::Options{.lists = false, .stuff = false}) {}
};

TEST_F(PaprWindowWithoutLists, SingleCalls) {
  ASSERT_TRUE(window.map(kPlace, tces.data(), 600));
  EXPECT_EQ(1u, model.hcalls(Hcall::put_tce_indirect));
  EXPECT_EQ(600u, model.hcalls(Hcall::put_tce));
  EXPECT_EQ(600u, model.mapped());
  ASSERT_TRUE(window.unmap(kPlace, 600));
  EXPECT_EQ(1u, model.hcalls(Hcall::stuff_tce));
  EXPECT_EQ(1200u, model.hcalls(Hcall::put_tce));
  EXPECT_EQ(0u, model.mapped());
}

TEST_F(PaprWindowWithoutLists, EveryHcallFails) {
  for (const bool done : {false, true})
    for (unsigned n = 1; n <= 12; ++n) {
      TceWindow fresh(model.port(), geometry);
      model.fail_hcall(n, kHardware, 1, done);
      const WindowResult result = fresh.map(kPlace, tces.data(), 10);
      EXPECT_EQ(result ? 10u : 0u, model.mapped()) << n;
      EXPECT_FALSE(result.uncertain);
      model.fail_hcall(0, 0);
      if (!result) {
        ASSERT_TRUE(fresh.map(kPlace, tces.data(), 10));
      }
      model.fail_hcall(n, kHardware, 1, done);
      EXPECT_TRUE(fresh.unmap(kPlace, 10));
      EXPECT_EQ(0u, model.mapped()) << n;
      model.fail_hcall(0, 0);
    }
}

TEST_F(PaprWindow, BusyAtEveryHcall) {
  for (const Rc answer : {kBusy, Rc{9900}, Rc{9901}})
    for (unsigned n = 1; n <= 3; ++n) {
      TceWindow fresh(model.port(), geometry);
      model.fail_hcall(n, answer, 3, true);
      EXPECT_TRUE(fresh.map(kPlace, tces.data(), 1200));
      EXPECT_EQ(1200u, model.mapped());
      model.fail_hcall(n, answer, 3, true);
      EXPECT_TRUE(fresh.unmap(kPlace, 1200));
      EXPECT_EQ(0u, model.mapped());
    }
}

TEST_F(PaprWindow, NoSuchHcallFromTheNthOn) {
  for (unsigned n = 1; n <= 3; ++n) {
    TceWindow fresh(model.port(), geometry);
    model.fail_hcall(n, kFunction);
    EXPECT_TRUE(fresh.map(kPlace, tces.data(), 1200));
    EXPECT_FALSE(fresh.has_lists());
    EXPECT_EQ(1200u, model.mapped());
    model.fail_hcall(n, kFunction);
    EXPECT_TRUE(fresh.unmap(kPlace, 1200));
    EXPECT_FALSE(fresh.has_stuff());
    EXPECT_EQ(0u, model.mapped());
  }
}

TEST_F(PaprWindow, NoSuchHcallAtAll) {
  model.fail_hcall(1, kFunction, 1000000);
  const WindowResult result = window.map(kPlace, tces.data(), 1200);
  EXPECT_EQ(Refusal::hypervisor, result.refusal);
  EXPECT_EQ(kFunction, result.rc);
  EXPECT_EQ(0u, model.mapped());
}

TEST_F(PaprWindow, OccupiedNamesTheFirst) {
  ASSERT_TRUE(window.map(kPlace + 5 * kPageSize, tces.data(), 1));
  bool found = false;
  const WindowResult result = window.occupied(kPlace, 10, found);
  EXPECT_TRUE(result && found);
  EXPECT_EQ(5u, result.done);
  model.fail_hcall(3, kHardware);
  EXPECT_FALSE(window.occupied(kPlace, 10, found));
}

TEST(PaprDynamicWindows, EveryRtasCallFails) {
  for (unsigned n = 1; n <= 2; ++n) {
    Model model({});
    DynamicWindows windows(model.rtas(), model.function(0).address);
    model.fail_rtas(n, kRtasHardware);
    WindowGeometry geometry;
    const RtasResult result = windows.create(16, 30, geometry);
    EXPECT_EQ(RtasRefusal::firmware, result.refusal);
    EXPECT_EQ(0u, model.table(model.bridges()[0].dynamic_window)->entries);
    ASSERT_TRUE(windows.create(16, 30, geometry));
    EXPECT_EQ(std::uint64_t{1} << 14, geometry.entries);
    EXPECT_TRUE(windows.remove(geometry.liobn));
  }
}

TEST(PaprDynamicWindows, NothingIsAskedForWhatIsNotOffered) {
  Model model({});
  DynamicWindows windows(model.rtas(), model.function(0).address);
  WindowGeometry geometry;
  EXPECT_EQ(RtasRefusal::argument, windows.create(12, 60, geometry).refusal);
  EXPECT_EQ(RtasRefusal::argument, windows.create(14, 30, geometry).refusal);
  EXPECT_EQ(2u, model.rtas_calls());  // two queries
  ASSERT_TRUE(windows.create(24, 36, geometry));
  EXPECT_EQ(RtasRefusal::argument, windows.create(24, 36, geometry).refusal);  // the one there was
}

/// Says that a new window lies at no page of its.
class CrookedRtas final : public RtasPort {
 public:
  explicit CrookedRtas(RtasPort& under) : under_(under) {}
  RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                  std::size_t outs) override {
    const RtasStatus status = under_.rtas(call, in, ins, out, outs);
    if (call == RtasCall::create_pe_dma_window) out[2] |= 0x1000;
    return status;
  }
  void wait(std::uint32_t milliseconds) override { under_.wait(milliseconds); }

 private:
  RtasPort& under_;
};

TEST(PaprDynamicWindows, AWindowThatMakesNoSenseIsRemoved) {
  Model model({});
  CrookedRtas crooked(model.rtas());
  DynamicWindows windows(crooked, model.function(0).address);
  WindowGeometry geometry;
  EXPECT_EQ(RtasRefusal::firmware, windows.create(16, 30, geometry).refusal);
  EXPECT_EQ(0u, model.table(model.bridges()[0].dynamic_window)->entries);
}

TEST(PaprMsi, GrantsOfEverySize) {
  Model model({});
  model.function(0).vectors = 4;
  RtasMsi vectors(model.rtas(), model.function(0).address);
  Lisn sources[8];
  std::uint32_t granted = 0;
  for (const auto& [asked, got] : {std::pair{1u, 1u}, {3u, 3u}, {4u, 4u}, {8u, 4u}}) {
    ASSERT_TRUE(vectors.grant(MsiFunction::msi, asked, sources, granted));
    EXPECT_EQ(got, granted);
    for (std::uint32_t i = 1; i < granted; ++i) EXPECT_EQ(sources[0].raw() + i, sources[i].raw());
    ASSERT_TRUE(vectors.release(MsiFunction::msi));
    EXPECT_EQ(0u, model.function(0).granted);
  }
}

TEST(PaprMsi, EveryRtasCallOfAGrantFails) {
  for (unsigned n = 1; n <= 6; ++n) {
    Model model({});
    model.function(0).vectors = 4;
    RtasMsi vectors(model.rtas(), model.function(0).address);
    Lisn sources[8];
    std::uint32_t granted = 7;
    model.fail_rtas(n, kRtasHardware);
    EXPECT_FALSE(vectors.grant(MsiFunction::msi, 8, sources, granted)) << n;
    EXPECT_EQ(0u, granted);
    EXPECT_EQ(0u, model.function(0).granted) << "call " << n;
  }
}

TEST(PaprMsi, MoreThanATableHasIsRefusedHere) {
  Model model({});
  RtasMsi vectors(model.rtas(), model.function(0).address);
  std::uint32_t granted = 0;
  EXPECT_EQ(RtasRefusal::argument, vectors.grant(MsiFunction::msix, 2049, nullptr, granted).refusal);
  EXPECT_EQ(0u, model.rtas_calls());
}

TEST(PaprXics, IsAbsentOnAMachineWithXive) {
  Model model({.xive = true});
  Xics xics(model.port(), model.rtas());
  EXPECT_EQ(RtasRefusal::absent, xics.mask(Lisn(0x1300)).refusal);
  EXPECT_EQ(kFunction, xics.set_cppr(0xff));
}

TEST(PaprXive, IsRefusedUntilItIsAskedFor) {
  Model model({.xive = true});
  Xive xive(model.port());
  XiveSourceInfo info;
  EXPECT_EQ(kFunction, xive.source_info(Lisn(0x1300), info));
  std::uint8_t* page = model.take(kPageSize, kPageSize);
  EXPECT_EQ(kSuccess,
            ask_for_xive(model.port(), page, model.real(page), 0x00800200, RealAddress(0x100000), 0x10000));
  EXPECT_EQ(kP2, xive.source_info(Lisn(0x1300), info));
}

TEST(PaprXive, AskingForItWhereThereIsNone) {
  Model model({});
  std::uint8_t* page = model.take(kPageSize, kPageSize);
  EXPECT_EQ(kParameter,
            ask_for_xive(model.port(), page, model.real(page), 0x00800200, RealAddress(0x100000), 0x10000));
}

TEST(PaprXive, TheQueueTurnsItsGeneration) {
  alignas(4) std::uint8_t memory[4096] = {};
  XiveQueue queue(reinterpret_cast<const volatile std::uint32_t*>(memory), 12);
  std::uint32_t number = 0;
  EXPECT_FALSE(queue.next(number));
  for (unsigned turn = 0; turn < 3; ++turn)
    for (std::uint32_t entry = 0; entry < 1024; ++entry) {
      const std::uint32_t word = (turn % 2 == 0 ? 0x80000000u : 0) | (entry + turn);
      for (unsigned byte = 0; byte < 4; ++byte)
        memory[4 * entry + byte] = static_cast<std::uint8_t>(word >> (24 - 8 * byte));
      ASSERT_TRUE(queue.next(number));
      ASSERT_EQ(entry + turn, number);
      ASSERT_FALSE(queue.next(number));
    }
}

TEST(PaprXive, AFailedMaskIsNotTakenForOne) {
  Model model({.xive = true});
  std::uint8_t* page = model.take(kPageSize, kPageSize);
  ASSERT_EQ(kSuccess,
            ask_for_xive(model.port(), page, model.real(page), 0x00800200, RealAddress(0x100000), 0x10000));
  RtasMsi vectors(model.rtas(), model.function(0).address);
  Lisn lisn;
  std::uint32_t granted = 0;
  ASSERT_TRUE(vectors.grant(MsiFunction::msi, 1, &lisn, granted));
  XiveSource source(model.port(), lisn);
  ASSERT_EQ(kSuccess, source.enable());
  model.fail_hcall(1, kHardware);
  EXPECT_EQ(kHardware, source.mask());
  model.forget_counts();
  EXPECT_EQ(kSuccess, source.unmask());  // it is not masked: no call
  EXPECT_EQ(0u, model.hcalls());
  EXPECT_EQ(kSuccess, source.mask());
  EXPECT_EQ(kSuccess, source.mask());
  EXPECT_EQ(1u, model.hcalls());
  model.fail_hcall(1, kHardware);
  EXPECT_EQ(kHardware, source.unmask());
  EXPECT_EQ(kSuccess, source.unmask());
}

}  // namespace
}  // namespace papr_model
