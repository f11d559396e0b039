// SPDX-License-Identifier: LGPL-2.1-or-later
// The vector router on a hypervisor that does what it is told.  D and E numbers
// are lines of the kernel's answers.
#include <dirent.h>

#include <atomic>
#include <thread>

#include "hypercall/statistics.h"
#include "msi/vector_router.h"
#include "tests/unit/msi_fake.h"

namespace pviommu::msi::test {
namespace {

constexpr unsigned kMsi = 0x40;
constexpr unsigned kMsix = 0x60;

struct Router : ::testing::Test {
  Script script;
  FakeDevice device{script};
  FakeInterrupts hypervisor{script, device};
  std::unique_ptr<VectorRouter> router;

  Router() {
    device.add_msi(kMsi, 3, true, true);
    device.add_msix(kMsix, 65, 0x2000, 0x3000);
    make();
  }
  void make() {
    router.reset();
    router = std::make_unique<VectorRouter>(hypervisor, hypervisor.limits(), device, *read_capabilities(device));
  }
  unsigned enable(VectorKind kind, unsigned count) {
    const auto granted = router->enable(kind, count);
    EXPECT_TRUE(granted);
    return granted ? *granted : 0;
  }
  bool raise(VectorKind kind, unsigned index) { return hypervisor.raise(kind, index); }
};

TEST_F(Router, MsixFromEnableToDisable) {
  const auto before = hypervisor.state();
  EXPECT_EQ(enable(VectorKind::msix, 3), 3u);
  EXPECT_EQ(router->active(), VectorKind::msix);
  EXPECT_EQ(router->count(), 3u);
  EXPECT_TRUE(device.msix_enabled());
  EXPECT_TRUE(device.intx_disabled());
  EXPECT_TRUE(router->msix_configured());
  EXPECT_FALSE(router->msi_configured());

  Eventfd a, b;
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_TRUE(router->set_eventfd(2, b.duplicate()));
  EXPECT_TRUE(raise(VectorKind::msix, 0));
  EXPECT_TRUE(raise(VectorKind::msix, 2));
  EXPECT_TRUE(raise(VectorKind::msix, 2));
  EXPECT_EQ(a.take(), 1u);
  EXPECT_EQ(b.take(), 2u);

  EXPECT_TRUE(router->disable());
  EXPECT_EQ(hypervisor.state(), before);
  EXPECT_FALSE(raise(VectorKind::msix, 0));
  EXPECT_FALSE(router->active());
}

TEST_F(Router, MsiQueueSizeIsLog2OfTheVectors) {
  for (unsigned count = 1; count <= 8; ++count) {
    EXPECT_EQ(enable(VectorKind::msi, count), count);
    const unsigned log2 = count > 4 ? 3 : count > 2 ? 2 : count > 1 ? 1 : 0;
    EXPECT_EQ(device.get16(kMsi + 2) & 0x71, log2 << 4 | 1);
    EXPECT_EQ(router->msi_queue_limit(), log2);
    EXPECT_TRUE(router->disable());
    EXPECT_EQ(device.get16(kMsi + 2) & 0x71, 0);
    EXPECT_EQ(router->msi_queue_limit(), log2) << "as the kernel's msi_qmax, kept";
  }
}

TEST_F(Router, RefusalsAreTheKernels) {
  EXPECT_EQ(router->disable().error().code, EINVAL);   // D114
  EXPECT_EQ(router->trigger(0).error().code, EINVAL);  // D117
  EXPECT_EQ(router->set_eventfd(0, UniqueFd()).error().code, EINVAL);
  EXPECT_EQ(router->enable(VectorKind::msi, 0).error().code, ERANGE);
  EXPECT_EQ(router->enable(VectorKind::msi, 9).error().code, EINVAL);
  EXPECT_EQ(router->enable(VectorKind::msix, 66).error().code, EINVAL);  // E27
  EXPECT_EQ(router->mask().error().code, EINVAL);                        // D161
  EXPECT_EQ(router->unmask().error().code, EINVAL);
  EXPECT_EQ(router->set_unmask_eventfd(UniqueFd()).error().code, EINVAL);
  EXPECT_EQ(router->set_delivery(true).error().code, EINVAL);
  enable(VectorKind::msix, 2);
  EXPECT_EQ(router->enable(VectorKind::msix, 4).error().code, EINVAL);  // E23
  EXPECT_EQ(router->enable(VectorKind::msi, 1).error().code, EINVAL);   // E34
  EXPECT_EQ(router->enable(VectorKind::intx, 1).error().code, EINVAL);  // E35
  EXPECT_EQ(router->trigger(2).error().code, EINVAL);                   // E22
  EXPECT_EQ(router->set_eventfd(2, UniqueFd()).error().code, EINVAL);
  EXPECT_EQ(router->mask().error().code, EINVAL);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(router->disable().error().code, EINVAL);  // D127
  device.config[0x3d] = 0;
  make();
  EXPECT_EQ(router->enable(VectorKind::intx, 1).error().code, ENODEV);
}

TEST_F(Router, SmallerGrantIsAnsweredAndNothingEnabled) {
  const auto before = hypervisor.state();
  hypervisor.most = 2;
  EXPECT_EQ(enable(VectorKind::msix, 5), 2u);
  EXPECT_FALSE(router->active());
  EXPECT_EQ(hypervisor.state(), before);
  EXPECT_EQ(enable(VectorKind::msix, 2), 2u);
  EXPECT_TRUE(router->active());
}

TEST_F(Router, LoopbackPassesMasks) {
  enable(VectorKind::msi, 2);
  Eventfd a;
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  router->set_mask_bits(3);
  EXPECT_TRUE(router->trigger(0));
  EXPECT_EQ(a.take(), 1u);          // D131
  EXPECT_TRUE(router->trigger(1));  // D139: nobody there
  EXPECT_TRUE(router->set_eventfd(0, UniqueFd()));
  EXPECT_TRUE(router->trigger(0));
  EXPECT_EQ(a.take(), 0u);
}

TEST_F(Router, OneEventfdOnTwoVectors) {
  enable(VectorKind::msix, 2);
  Eventfd both;
  EXPECT_TRUE(router->set_eventfd(0, both.duplicate()));
  EXPECT_TRUE(router->set_eventfd(1, both.duplicate()));
  EXPECT_TRUE(router->trigger(0));
  EXPECT_TRUE(router->trigger(1));
  EXPECT_EQ(both.take(), 2u);  // E42
}

TEST_F(Router, MsiMaskBitsHoldAndShowPending) {
  router->set_mask_bits(0xff);
  EXPECT_EQ(router->mask_bits(), 0xffu);
  enable(VectorKind::msi, 4);
  Eventfd a, b;
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_TRUE(router->set_eventfd(3, b.duplicate()));
  EXPECT_EQ(router->mask_bits(), 0u) << "enabling unmasks, as the kernel's request_irq()";
  router->set_mask_bits(0xffffffff);
  EXPECT_EQ(router->mask_bits(), 0xffu) << "8 vectors implemented";
  raise(VectorKind::msi, 0);
  raise(VectorKind::msi, 3);
  raise(VectorKind::msi, 3);
  EXPECT_EQ(a.take() + b.take(), 0u);
  EXPECT_EQ(router->pending_bits(), 0x9u);
  router->set_mask_bits(0xf7);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_EQ(b.take(), 1u);
  EXPECT_EQ(router->pending_bits(), 0x1u);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(router->pending_bits(), 0u);
  EXPECT_EQ(router->mask_bits(), 0u);
  enable(VectorKind::msi, 4);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_EQ(a.take(), 0u) << "an arrival of before";
  raise(VectorKind::msi, 0);
  EXPECT_EQ(a.take(), 1u);
}

TEST_F(Router, ArrivalWithoutEventfdIsHeldWhereHardwareHolds) {
  Eventfd a;
  enable(VectorKind::msix, 1);
  raise(VectorKind::msix, 0);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_EQ(a.take(), 1u);
  EXPECT_TRUE(router->disable());

  // D138: plain MSI loses it.
  device.put16(kMsi + 2, 0x0080);
  make();
  enable(VectorKind::msi, 1);
  raise(VectorKind::msi, 0);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_EQ(a.take(), 0u);
}

TEST_F(Router, ProgramStopsAndRestoresDelivery) {
  enable(VectorKind::msi, 2);
  EXPECT_TRUE(router->set_delivery(false));
  EXPECT_EQ(device.get16(kMsi + 2) & 0x71, 1 << 4);
  EXPECT_TRUE(router->set_delivery(true));
  EXPECT_EQ(device.get16(kMsi + 2) & 0x71, 1 << 4 | 1);
  EXPECT_TRUE(router->set_delivery(false));
  EXPECT_TRUE(router->disable());
  EXPECT_FALSE(device.msi_enabled());
  enable(VectorKind::msi, 2);
  EXPECT_TRUE(device.msi_enabled());
}

TEST_F(Router, MemoryDecodingIsBorrowedForTheTable) {
  device.put16(4, 0x0101);  // the fake checks that it is on while vectors are allocated
  enable(VectorKind::msix, 2);
  EXPECT_EQ(device.get16(4), 0x0501);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(device.get16(4), 0x0101);
}

TEST_F(Router, OtherCommandBitsStayThePrograms) {
  device.put16(4, 0x0403);
  enable(VectorKind::msix, 1);
  device.put16(4, 0x0506);  // the program, meanwhile
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(device.get16(4), 0x0506);
  device.put16(4, 0x0003);
  enable(VectorKind::msix, 1);
  device.put16(4, 0x0507);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(device.get16(4), 0x0107);
}

TEST_F(Router, ResetIsSurvived) {
  Eventfd a;
  enable(VectorKind::msix, 2);
  EXPECT_TRUE(router->set_eventfd(1, a.duplicate()));
  raise(VectorKind::msix, 0);  // held: no eventfd
  EXPECT_TRUE(device.reset());
  EXPECT_FALSE(device.msix_enabled());
  EXPECT_TRUE(router->reset_happened());
  EXPECT_TRUE(device.msix_enabled());  // E43
  EXPECT_TRUE(device.intx_disabled());
  EXPECT_TRUE(router->trigger(1));
  raise(VectorKind::msix, 1);
  EXPECT_EQ(a.take(), 2u);  // E44
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_EQ(a.take(), 0u) << "the reset function forgot its message";
  EXPECT_TRUE(router->disable());  // E45
  EXPECT_TRUE(device.reset());
  EXPECT_TRUE(router->reset_happened());
  EXPECT_FALSE(device.msix_enabled());
}

// ---- reservation ------------------------------------------------------------------

TEST_F(Router, ReservedVectorsAreTakenAfterAttach) {
  const auto before = hypervisor.state();
  EXPECT_EQ(*router->reserve(VectorKind::msix, 4), 4u);
  EXPECT_EQ(router->reserved(VectorKind::msix), 4u);
  EXPECT_EQ(router->reserved(VectorKind::msi), 0u);
  EXPECT_TRUE(device.msix_enabled());
  EXPECT_FALSE(router->msix_configured()) << "the program sees nothing of it";
  const auto reserved = hypervisor.state();
  hypervisor.attached = true;

  EXPECT_EQ(router->enable(VectorKind::msix, 5).error().code, EBUSY);
  EXPECT_EQ(router->enable(VectorKind::msi, 1).error().code, EBUSY);
  EXPECT_EQ(router->enable(VectorKind::intx, 1).error().code, EBUSY);
  EXPECT_EQ(router->reserve(VectorKind::msix, 1).error().code, EBUSY);
  Eventfd a;
  for (const unsigned count : {4u, 1u, 3u}) {
    EXPECT_EQ(enable(VectorKind::msix, count), count);
    EXPECT_TRUE(router->set_eventfd(count - 1, a.duplicate()));
    EXPECT_TRUE(raise(VectorKind::msix, count - 1));
    EXPECT_EQ(a.take(), 1u);
    EXPECT_EQ(router->release_reservation().error().code, EBUSY);
    EXPECT_TRUE(router->disable());
    EXPECT_EQ(hypervisor.state(), reserved);
  }
  EXPECT_TRUE(device.reset());
  EXPECT_TRUE(router->reset_happened());
  EXPECT_TRUE(device.msix_enabled());
  device.put16(4, 0x0403);
  EXPECT_TRUE(router->release_reservation());
  EXPECT_EQ(hypervisor.state(), before);
  EXPECT_TRUE(router->release_reservation());
}

TEST_F(Router, ReservationMayBeSmaller) {
  hypervisor.most = 2;
  EXPECT_EQ(*router->reserve(VectorKind::msi, 8), 2u);
  EXPECT_EQ(device.get16(kMsi + 2) & 0x71, 1 << 4 | 1);
  EXPECT_EQ(enable(VectorKind::msi, 1), 1u);
  EXPECT_EQ(device.get16(kMsi + 2) & 0x71, 1);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(device.get16(kMsi + 2) & 0x71, 1 << 4 | 1);
}

TEST_F(Router, MsixGrowsWhileItRuns) {
  hypervisor.declare_growing();
  const auto before = hypervisor.state();
  EXPECT_TRUE(router->can_grow());
  EXPECT_EQ(router->grow(1).error().code, EINVAL) << "nothing is enabled";
  enable(VectorKind::msix, 1);
  Eventfd a, b;
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  device.put16(4, device.get16(4) & ~2u);  // memory decoding is borrowed
  (void)script.take();
  EXPECT_TRUE(router->grow(4));
  for (const std::string& step : script.take())
    EXPECT_TRUE(step != "bind 0" && step != "unbind 0" && step != "free") << step << ": those before stay";
  EXPECT_EQ(device.get16(4) & 2, 0);
  device.put16(4, device.get16(4) | 2u);
  EXPECT_EQ(router->count(), 4u);
  EXPECT_TRUE(router->set_eventfd(3, b.duplicate()));
  EXPECT_TRUE(raise(VectorKind::msix, 0));
  EXPECT_TRUE(raise(VectorKind::msix, 3));
  EXPECT_EQ(a.take(), 1u);
  EXPECT_EQ(b.take(), 1u);
  EXPECT_TRUE(router->grow(2)) << "there are more";
  EXPECT_EQ(router->count(), 4u);
  EXPECT_EQ(router->grow(66).error().code, EINVAL) << "more than the device has";
  hypervisor.most = 8;
  EXPECT_EQ(router->grow(9).error().code, ENOSPC);
  EXPECT_EQ(router->count(), 4u);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(hypervisor.state(), before);
}

TEST_F(Router, GrowingIsAllOrNothing) {
  hypervisor.declare_growing();
  enable(VectorKind::msix, 2);
  Eventfd a;
  EXPECT_TRUE(router->set_eventfd(1, a.duplicate()));
  bool failed = true;
  for (unsigned n = 1; failed; ++n) {
    const auto sinks = hypervisor.state().sinks;
    script.fail_at(n);
    const Status grown = router->grow(5);
    failed = script.failed();
    script.fail_at(0);
    EXPECT_EQ(grown.ok(), !failed) << n;
    if (!failed) break;
    EXPECT_EQ(router->count(), 2u) << n;
    EXPECT_EQ(hypervisor.state().sinks, sinks) << n;
    EXPECT_TRUE(raise(VectorKind::msix, 1));
    EXPECT_EQ(a.take(), 1u) << n;
  }
  EXPECT_EQ(router->count(), 5u);
  EXPECT_TRUE(router->disable());
}

// Xen: all vectors were there before the attach.
TEST_F(Router, ReservedMsixGrows) {
  hypervisor.declare_before_attach();
  EXPECT_EQ(*router->reserve(VectorKind::msix, 4), 4u);
  const auto reserved = hypervisor.state();
  hypervisor.attached = true;
  EXPECT_TRUE(router->can_grow());
  enable(VectorKind::msix, 1);
  EXPECT_TRUE(router->grow(4));
  EXPECT_EQ(router->grow(5).error().code, ENOSPC);
  Eventfd a;
  EXPECT_TRUE(router->set_eventfd(3, a.duplicate()));
  EXPECT_TRUE(raise(VectorKind::msix, 3));
  EXPECT_EQ(a.take(), 1u);
  EXPECT_TRUE(router->disable());
  EXPECT_EQ(hypervisor.state(), reserved);
}

TEST_F(Router, OthersDoNotGrow) {
  EXPECT_FALSE(router->can_grow());
  enable(VectorKind::msix, 1);
  EXPECT_EQ(router->grow(2).error().code, EINVAL);
  EXPECT_TRUE(router->disable());
  hypervisor.declare_growing();
  enable(VectorKind::msi, 1);
  EXPECT_EQ(router->grow(2).error().code, EINVAL) << "MSI is one block";
}

TEST_F(Router, WithoutReservationAttachedDevicesGetNone) {
  hypervisor.attached = true;
  EXPECT_EQ(router->enable(VectorKind::msix, 1).error().code, ENODEV);
}

// ---- INTx ---------------------------------------------------------------------------

struct Intx : Router {
  Eventfd a;
  Intx() {
    device.put16(4, 0x0403);
    enable(VectorKind::intx, 1);
    EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  }
};

TEST_F(Intx, EnableClearsIntxDisable) {
  EXPECT_FALSE(device.intx_disabled());
  EXPECT_TRUE(router->disable());
  EXPECT_TRUE(device.intx_disabled());
}

TEST_F(Intx, ArrivalMasksAndUnmaskLooksAgain) {
  hypervisor.line(true);
  EXPECT_EQ(a.take(), 1u);  // D168
  hypervisor.line(true);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_TRUE(router->unmask());
  EXPECT_EQ(a.take(), 1u);  // D170
  hypervisor.line(false);
  EXPECT_TRUE(router->unmask());
  EXPECT_EQ(a.take(), 0u);
  hypervisor.line(true);
  EXPECT_EQ(a.take(), 1u);
}

TEST_F(Intx, MaskHoldsTheLine) {
  EXPECT_TRUE(router->mask());
  EXPECT_TRUE(router->mask());
  hypervisor.line(true);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_TRUE(router->unmask());
  EXPECT_EQ(a.take(), 1u);
  hypervisor.line(false);
  EXPECT_TRUE(router->unmask());
  EXPECT_TRUE(router->mask());
  hypervisor.line(true);
  hypervisor.line(false);
  EXPECT_TRUE(router->unmask());
  EXPECT_EQ(a.take(), 0u) << "the line is low again";
}

TEST_F(Intx, UnmaskOfAnUnmaskedLineDoesNothing) {
  script.take();
  EXPECT_TRUE(router->unmask());
  EXPECT_TRUE(script.take().empty());
}

TEST_F(Intx, FailedUnmaskStaysMasked) {
  hypervisor.line(true);
  EXPECT_EQ(a.take(), 1u);
  script.fail_at(1);
  EXPECT_EQ(router->unmask().error().code, EIO);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_TRUE(router->unmask());
  EXPECT_EQ(a.take(), 1u);
}

// The kernel's handler masks the line and finds nobody to tell.
TEST_F(Intx, LineWithoutEventfdMasksItself) {
  EXPECT_TRUE(router->set_eventfd(0, UniqueFd()));  // D180
  EXPECT_TRUE(router->mask());                      // D180b
  EXPECT_TRUE(router->unmask());
  hypervisor.line(true);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_EQ(a.take(), 0u);
  EXPECT_TRUE(router->unmask());
  EXPECT_EQ(a.take(), 1u);
}

TEST_F(Intx, ProgramsDisableBit) {
  EXPECT_TRUE(router->set_intx_disabled(true));
  hypervisor.line(true);
  EXPECT_TRUE(router->unmask());
  EXPECT_TRUE(router->trigger(0));
  EXPECT_EQ(a.take(), 0u);
  script.fail_at(1);
  EXPECT_EQ(router->set_intx_disabled(false).error().code, EIO);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_TRUE(router->set_intx_disabled(false));
  EXPECT_EQ(a.take(), 1u);
  EXPECT_TRUE(router->trigger(0));
  EXPECT_EQ(a.take(), 1u);

  // Remembered over disable and enable.
  EXPECT_TRUE(router->disable());
  EXPECT_TRUE(router->set_intx_disabled(true));
  enable(VectorKind::intx, 1);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  hypervisor.line(true);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_TRUE(router->set_intx_disabled(false));
  EXPECT_EQ(a.take(), 1u);
}

TEST_F(Intx, ResampleUnmasks) {
  Eventfd resample;
  EXPECT_TRUE(router->set_unmask_eventfd(resample.duplicate()));                    // D176
  EXPECT_EQ(router->set_unmask_eventfd(resample.duplicate()).error().code, EBUSY);  // D176b
  hypervisor.line(true);
  EXPECT_EQ(a.wait(), 1u);
  for (unsigned i = 0; i < 50; ++i) {
    resample.write(3);
    EXPECT_EQ(a.wait(), 1u);  // D178
  }
  EXPECT_EQ(resample.take(), 0u);                       // D177: consumed
  EXPECT_TRUE(router->set_unmask_eventfd(UniqueFd()));  // D179
  EXPECT_TRUE(router->set_unmask_eventfd(UniqueFd()));
  resample.write();
  ::usleep(20'000);
  EXPECT_EQ(a.take(), 0u);
  EXPECT_EQ(resample.take(), 1u);
}

TEST_F(Intx, ResampleSeesWhatWasWrittenBefore) {
  for (const int flags : {0, static_cast<int>(EFD_NONBLOCK)}) {
    Eventfd resample(flags);
    resample.write();
    hypervisor.line(true);
    EXPECT_EQ(a.wait(), 1u);
    EXPECT_TRUE(router->set_unmask_eventfd(resample.duplicate()));
    EXPECT_EQ(a.wait(), 1u);
    hypervisor.line(false);
    EXPECT_TRUE(router->set_unmask_eventfd(UniqueFd()));
    EXPECT_TRUE(router->unmask());
    EXPECT_EQ(a.take(), 0u);
  }
}

unsigned threads() {
  unsigned count = 0;
  DIR* const tasks = ::opendir("/proc/self/task");
  while (const dirent* entry = ::readdir(tasks)) count += entry->d_name[0] != '.';
  ::closedir(tasks);
  return count;
}

TEST_F(Intx, ResampleThreadLivesOnlyWhileAskedFor) {
  Eventfd resample;
  const unsigned before = threads();
  EXPECT_TRUE(router->set_unmask_eventfd(resample.duplicate()));
  EXPECT_EQ(threads(), before + 1);
  EXPECT_TRUE(router->disable());
  EXPECT_LE(threads(), before + 1);
  enable(VectorKind::intx, 1);
  EXPECT_TRUE(router->set_unmask_eventfd(resample.duplicate())) << "the old one is gone";
}

TEST_F(Intx, DisableWhileResampling) {
  for (unsigned round = 0; round < 200; ++round) {
    Eventfd resample;
    EXPECT_TRUE(router->set_unmask_eventfd(resample.duplicate()));
    hypervisor.line(true);
    resample.write();
    EXPECT_TRUE(router->disable());
    hypervisor.line(false);
    enable(VectorKind::intx, 1);
    EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
    EXPECT_EQ(router->set_unmask_eventfd(UniqueFd()).ok(), true);
  }
}

// ---- statistics, threads ----------------------------------------------------------------

TEST_F(Router, ArrivalsAreCounted) {
  Statistics& figures = statistics();
  const std::uint64_t msi = figures.interrupts_msi, msix = figures.interrupts_msix,
                      intx = figures.interrupts_intx, held = figures.interrupts_held;
  Eventfd a;
  enable(VectorKind::msi, 1);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  raise(VectorKind::msi, 0);
  router->set_mask_bits(1);
  raise(VectorKind::msi, 0);
  router->set_mask_bits(0);
  EXPECT_TRUE(router->trigger(0));
  EXPECT_TRUE(router->disable());
  enable(VectorKind::msix, 1);
  raise(VectorKind::msix, 0);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  EXPECT_TRUE(router->disable());
  enable(VectorKind::intx, 1);
  EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
  hypervisor.line(true);
  EXPECT_EQ(figures.interrupts_msi - msi, 2u);
  EXPECT_EQ(figures.interrupts_msix - msix, 1u);
  EXPECT_EQ(figures.interrupts_intx - intx, 1u);
  EXPECT_EQ(figures.interrupts_held - held, 2u);
}

TEST_F(Router, ControlAgainstArrivalsLosesNothing) {
  constexpr unsigned kSenders = 3;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr unsigned kEach = 3000;
#else
  constexpr unsigned kEach = 30000;
#endif
  Statistics& figures = statistics();
  const std::uint64_t sent = figures.interrupts_msi, held = figures.interrupts_held;
  Eventfd targets[3];
  std::atomic<unsigned> raised{0}, running{kSenders};
  enable(VectorKind::msi, 2);
  for (unsigned v = 0; v < 2; ++v) EXPECT_TRUE(router->set_eventfd(v, targets[v].duplicate()));
  std::vector<std::thread> senders;
  for (unsigned s = 0; s < kSenders; ++s)
    senders.emplace_back([&, s] {
      for (unsigned i = 0; i < kEach; ++i) {
        raised += raise(VectorKind::msi, (s + i) % 2);
        if (i % 64 == 0) std::this_thread::yield();
      }
      --running;
    });
  std::uint64_t loopbacks = 0;
  for (unsigned round = 0; running > 0; ++round) {
    router->set_mask_bits(round % 4);
    EXPECT_TRUE(router->set_eventfd(round % 2, targets[round % 3].duplicate()));
    if (round % 5 == 0) {
      EXPECT_TRUE(router->set_eventfd(round % 2, UniqueFd()));
    }
    if (round % 7 == 0) {
      EXPECT_TRUE(router->set_eventfd(0, targets[0].duplicate()));
      EXPECT_TRUE(router->trigger(0));
      ++loopbacks;
    }
    if (round % 11 == 0) {
      EXPECT_TRUE(router->set_delivery(round % 2 == 0));
    }
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(raised, kSenders * kEach);
  router->set_mask_bits(0);
  for (unsigned v = 0; v < 2; ++v) EXPECT_TRUE(router->set_eventfd(v, targets[v].duplicate()));
  EXPECT_EQ(router->pending_bits(), 0u);
  std::uint64_t total = 0;
  for (const Eventfd& target : targets) total += target.take();
  const std::uint64_t now_sent = figures.interrupts_msi - sent, now_held = figures.interrupts_held - held;
  EXPECT_EQ(total, now_sent + loopbacks);
  // What was held came out merged: at most once each, at least once in all.
  EXPECT_LE(now_sent, raised);
  EXPECT_GE(now_sent + now_held, raised);
  if (now_held > 0) {
    EXPECT_GT(now_sent + now_held, raised);
  }
}

TEST_F(Router, DisableAndEnableAgainstArrivals) {
  Eventfd a;
  std::atomic<bool> stop{false};
  std::vector<std::thread> senders;
  for (unsigned s = 0; s < 2; ++s)
    senders.emplace_back([&] {
      while (!stop) {
        raise(VectorKind::msix, 0);
        raise(VectorKind::msi, 0);
        std::this_thread::sleep_for(std::chrono::microseconds(5));
      }
    });
  const Statistics& figures = statistics();
  const std::uint64_t sent = figures.interrupts_msix + figures.interrupts_msi;
  for (unsigned round = 0; round < 300; ++round) {
    enable(round % 2 == 0 ? VectorKind::msix : VectorKind::msi, 2);
    EXPECT_TRUE(router->set_eventfd(0, a.duplicate()));
    if (round % 3 == 0) std::this_thread::yield();
    EXPECT_TRUE(router->disable());
  }
  stop = true;
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(a.take(), figures.interrupts_msix + figures.interrupts_msi - sent);
}

}  // namespace
}  // namespace pviommu::msi::test
