// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupts of devices that the kernel has open, to sinks.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <time.h>

#include "spapr_rig.h"

namespace pviommu::spapr {
namespace {

constexpr unsigned kIntx = VFIO_PCI_INTX_IRQ_INDEX, kMsi = VFIO_PCI_MSI_IRQ_INDEX,
                   kMsix = VFIO_PCI_MSIX_IRQ_INDEX;

class SpaprVectorsTest : public SpaprTest {
 protected:
  SpaprVectorsTest() : device_(open_device(kFirst)) {}
  void TearDown() override {
    device_.reset();
    SpaprTest::TearDown();
  }
  FakeKernel::Device& fake() { return kernel_.devices.at(kFirst); }
  static Vector msi(unsigned index) { return {kFirst, VectorKind::msi, index}; }
  static Vector msix(unsigned index) { return {kFirst, VectorKind::msix, index}; }
  static constexpr Vector kLine{kFirst, VectorKind::intx, 0};
  bool is_pending(const Vector& vector) {
    return eventually([&] { return spapr().vector_pending(vector).value(); });
  }
  /// What the interrupt thread has under way is done afterwards.
  void settle() {
    const int sent = settled_.events;
    auto other = open_device(kOther);
    ASSERT_TRUE(spapr().allocate_vectors(kOther, VectorKind::msi, 1));
    ASSERT_TRUE(spapr().bind_vector({kOther, VectorKind::msi, 0}, settled_.here()));
    kernel_.fire(kOther, kMsi);
    EXPECT_TRUE(settled_.wait(sent + 1));
    EXPECT_TRUE(spapr().unbind_vector({kOther, VectorKind::msi, 0}));
    EXPECT_TRUE(spapr().free_vectors(kOther, VectorKind::msi));
  }

  std::unique_ptr<PciDevice> device_;
  CountingSink sink_, settled_;
};

TEST_F(SpaprVectorsTest, ArrivalsAreCountedOneForOne) {
  ASSERT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 8).value(), 8u);
  CountingSink second;
  ASSERT_TRUE(spapr().bind_vector(msix(3), sink_.here()));
  ASSERT_TRUE(spapr().bind_vector(msix(7), second.here()));
  kernel_.fire(kFirst, kMsix, 3, 5);
  EXPECT_TRUE(sink_.wait(5));
  EXPECT_EQ(sink_.last_index, 3u);
  kernel_.fire(kFirst, kMsix, 7);
  EXPECT_TRUE(second.wait(1));
  for (int i = 0; i < 200; ++i) kernel_.fire(kFirst, kMsix, 3);
  EXPECT_TRUE(sink_.wait(205)) << sink_.events;
  EXPECT_EQ(second.events, 1);
  ASSERT_TRUE(spapr().unbind_vector(msix(3)));
  ASSERT_TRUE(spapr().unbind_vector(msix(7)));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msix));
  EXPECT_TRUE(fake().irqs[kMsix].eventfds.empty());
}

TEST_F(SpaprVectorsTest, GrantsSmallerThanAskedFor) {
  fake().irqs[kMsix].grant = 3;
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 8).value(), 3u);
  EXPECT_EQ(kernel_.count(VFIO_DEVICE_SET_IRQS), 2u);
  EXPECT_EQ(fake().irqs[kMsix].eventfds.size(), 3u);
  ASSERT_TRUE(spapr().bind_vector(msix(2), sink_.here()));
  EXPECT_EQ(spapr().bind_vector(msix(3), sink_.here()).error().code, ENOENT);
  kernel_.fire(kFirst, kMsix, 2);
  EXPECT_TRUE(sink_.wait(1));
  ASSERT_TRUE(spapr().unbind_vector(msix(2)));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msix));
  // All gone, or a kernel that cannot make up its mind.
  fake().irqs[kMsix].grant = 0;
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 8).error().code, ENOSPC);
  fake().irqs[kMsix].grant = ~0u;
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 17).error().code, EINVAL)
      << "more than it has";
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 16).value(), 16u);
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msix));
}

TEST_F(SpaprVectorsTest, WhatIsRefused) {
  EXPECT_EQ(spapr().allocate_vectors(kOther, VectorKind::msi, 1).error().code, ENODEV);
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msi, 0).error().code, EINVAL);
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::intx, 2).error().code, EINVAL);
  EXPECT_EQ(spapr().free_vectors(kFirst, VectorKind::msi).error().code, ENOENT);
  ASSERT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msi, 2).value(), 2u);
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msi, 1).error().code, EBUSY);
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 1).error().code, EBUSY);
  EXPECT_EQ(spapr().bind_vector(msix(0), sink_.here()).error().code, ENOENT) << "of another kind";
  EXPECT_EQ(spapr().bind_vector(msi(2), sink_.here()).error().code, ENOENT);
  EXPECT_EQ(spapr().bind_vector(msi(0), Notification{}).error().code, EOPNOTSUPP);
  Notification channel = sink_.here();
  channel.kind = NotificationKind::event_channel;
  EXPECT_EQ(spapr().bind_vector(msi(0), channel).error().code, EOPNOTSUPP);
  EXPECT_EQ(spapr().unbind_vector(msi(0)).error().code, ENOENT);
  EXPECT_EQ(spapr().unbind_vector(msi(2)).error().code, ENOENT);
  EXPECT_EQ(spapr().mask_vector(msi(2)).error().code, ENOENT);
  EXPECT_EQ(spapr().unmask_vector(msi(2)).error().code, ENOENT);
  EXPECT_EQ(spapr().vector_pending(msi(2)).error().code, ENOENT);
  EXPECT_EQ(spapr().free_vectors(kFirst, VectorKind::msix).error().code, ENOENT);
  ASSERT_TRUE(spapr().bind_vector(msi(1), sink_.here()));
  EXPECT_EQ(spapr().free_vectors(kFirst, VectorKind::msi).error().code, EBUSY);
  EXPECT_EQ(fake().irqs[kMsi].eventfds.size(), 2u);
  ASSERT_TRUE(spapr().unbind_vector(msi(1)));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
  EXPECT_EQ(spapr().mask_vector(msi(0)).error().code, ENOENT);
}

TEST_F(SpaprVectorsTest, MaskedArrivalsAreHeldAsOne) {
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 2));
  ASSERT_TRUE(spapr().bind_vector(msi(0), sink_.here()));
  ASSERT_TRUE(spapr().mask_vector(msi(0)));
  EXPECT_FALSE(spapr().vector_pending(msi(0)).value());
  kernel_.fire(kFirst, kMsi, 0, 3);
  EXPECT_TRUE(is_pending(msi(0)));
  EXPECT_FALSE(spapr().vector_pending(msi(1)).value());
  EXPECT_EQ(sink_.events, 0);
  ASSERT_TRUE(spapr().unmask_vector(msi(0)));
  EXPECT_EQ(sink_.events, 1);
  EXPECT_EQ(sink_.last_index, 0u);
  EXPECT_FALSE(spapr().vector_pending(msi(0)).value());
  ASSERT_TRUE(spapr().unmask_vector(msi(0)));
  EXPECT_EQ(sink_.events, 1) << "once";
  EXPECT_EQ(fake().masks + fake().unmasks, 0u) << "the kernel masks no messages";
  // Rebound while masked: neither lost nor early.
  ASSERT_TRUE(spapr().mask_vector(msi(0)));
  kernel_.fire(kFirst, kMsi, 0);
  EXPECT_TRUE(is_pending(msi(0)));
  CountingSink second;
  ASSERT_TRUE(spapr().bind_vector(msi(0), second.here()));
  EXPECT_EQ(second.events, 0);
  ASSERT_TRUE(spapr().unmask_vector(msi(0)));
  EXPECT_EQ(second.events, 1);
  EXPECT_EQ(sink_.events, 1);
  ASSERT_TRUE(spapr().unbind_vector(msi(0)));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
}

TEST_F(SpaprVectorsTest, UnboundArrivalsAreHeldAsOne) {
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 1));
  kernel_.fire(kFirst, kMsi, 0, 4);
  EXPECT_TRUE(is_pending(msi(0)));
  ASSERT_TRUE(spapr().mask_vector(msi(0)));
  ASSERT_TRUE(spapr().unmask_vector(msi(0)));
  EXPECT_TRUE(spapr().vector_pending(msi(0)).value()) << "nobody had it";
  ASSERT_TRUE(spapr().bind_vector(msi(0), sink_.here()));
  EXPECT_EQ(sink_.events, 1);
  EXPECT_FALSE(spapr().vector_pending(msi(0)).value());
  ASSERT_TRUE(spapr().unbind_vector(msi(0)));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
  // A new allocation begins anew.
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 1));
  EXPECT_FALSE(spapr().vector_pending(msi(0)).value());
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
}

/// The kernel masks the line when it comes, and looks at it when it is unmasked.
TEST_F(SpaprVectorsTest, TheLineIsMaskedByTheKernel) {
  ASSERT_EQ(spapr().allocate_vectors(kFirst, VectorKind::intx, 1).value(), 1u);
  ASSERT_TRUE(spapr().bind_vector(kLine, sink_.here()));
  kernel_.fire(kFirst, kIntx);
  EXPECT_TRUE(sink_.wait(1));
  kernel_.fire(kFirst, kIntx);  // still up
  settle();
  EXPECT_EQ(sink_.events, 1);
  ASSERT_TRUE(spapr().unmask_vector(kLine));
  EXPECT_TRUE(sink_.wait(2));
  EXPECT_EQ(fake().unmasks, 1u);
  kernel_.lower_line(kFirst);
  ASSERT_TRUE(spapr().unmask_vector(kLine));
  ASSERT_TRUE(spapr().mask_vector(kLine));
  EXPECT_EQ(fake().masks, 1u);
  EXPECT_TRUE(fake().intx_masked);
  kernel_.fire(kFirst, kIntx);
  settle();
  EXPECT_EQ(sink_.events, 2);
  ASSERT_TRUE(spapr().unmask_vector(kLine));
  EXPECT_TRUE(sink_.wait(3));
  // Masked while one is on its way to us: it comes once, when it is unmasked.
  ASSERT_TRUE(spapr().unbind_vector(kLine));
  ASSERT_TRUE(spapr().unmask_vector(kLine));
  EXPECT_TRUE(is_pending(kLine));
  ASSERT_TRUE(spapr().mask_vector(kLine));
  ASSERT_TRUE(spapr().bind_vector(kLine, sink_.here()));
  EXPECT_EQ(sink_.events, 3);
  ASSERT_TRUE(spapr().unmask_vector(kLine));
  EXPECT_TRUE(sink_.wait(4));
  EXPECT_FALSE(spapr().vector_pending(kLine).value());
  settle();
  EXPECT_EQ(sink_.events, 4);
  ASSERT_TRUE(spapr().unbind_vector(kLine));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::intx));
}

TEST_F(SpaprVectorsTest, AMaskThatFailsMasksNothing) {
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::intx, 1));
  ASSERT_TRUE(spapr().bind_vector(kLine, sink_.here()));
  kernel_.fail_at(1);
  EXPECT_EQ(spapr().mask_vector(kLine).error().code, EIO);
  kernel_.fire(kFirst, kIntx);
  EXPECT_TRUE(sink_.wait(1));
  // An unmask that fails leaves it masked: nothing comes before the next one.
  ASSERT_TRUE(spapr().mask_vector(kLine));
  kernel_.fail_at(1);
  EXPECT_EQ(spapr().unmask_vector(kLine).error().code, EIO);
  fake().raise(kIntx, 0, 1);  // was under way when the line was masked
  EXPECT_TRUE(is_pending(kLine));
  settle();
  EXPECT_EQ(sink_.events, 1);
  ASSERT_TRUE(spapr().unmask_vector(kLine));
  EXPECT_TRUE(sink_.wait(2));
  ASSERT_TRUE(spapr().unbind_vector(kLine));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::intx));
}

TEST_F(SpaprVectorsTest, AllocationsThatFailLeaveNothing) {
  for (const int code : {EIO, ENOSPC}) {
    kernel_.fail_at(1, code);
    EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 4).error().code, code);
    EXPECT_EQ(spapr().bind_vector(msix(0), sink_.here()).error().code, ENOENT);
  }
  // The second call, with what was granted.
  fake().irqs[kMsix].grant = 2;
  kernel_.fail_at(2);
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msix, 4).error().code, EIO);
  EXPECT_EQ(spapr().allocate_vectors(kFirst, VectorKind::msi, 1).value(), 1u);
  kernel_.fail_at(1);
  EXPECT_EQ(spapr().free_vectors(kFirst, VectorKind::msi).error().code, EIO);
  kernel_.fire(kFirst, kMsi);
  EXPECT_TRUE(is_pending(msi(0))) << "as before";
  EXPECT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
}

/// A failed free_vectors() is no reason to keep a device: what comes late is dropped.
TEST_F(SpaprVectorsTest, ADeviceThatIsClosedWithVectors) {
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 1));
  kernel_.fail_at(1);
  EXPECT_FALSE(spapr().free_vectors(kFirst, VectorKind::msi));
  const UniqueFd left(::dup(fake().irqs[kMsi].eventfds.at(0)));  // somebody who was forked has it still
  device_.reset();
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(left.get(), &one, sizeof one), 8);
  settle();
  device_ = open_device(kFirst);
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 1));
  EXPECT_FALSE(spapr().vector_pending(msi(0)).value());
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
}

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

/// A fork's copy of an eventfd keeps epoll watching it, unless it is taken out.
TEST_F(SpaprVectorsTest, AForkedCopyKeepsTheThreadFromNothing) {
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 1));
  const UniqueFd copy(::dup(fake().irqs[kMsi].eventfds.at(0)));
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(copy.get(), &one, sizeof one), 8);
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_seconds() - before, 0.1);
}

/// unbind_vector() waits for a call that is under way.
TEST_F(SpaprVectorsTest, NoArrivalAfterUnbind) {
  ASSERT_TRUE(spapr().allocate_vectors(kFirst, VectorKind::msi, 1));
  for (int i = 0; i < 300; ++i) {
    auto sink = std::make_unique<CountingSink>();
    ASSERT_TRUE(spapr().bind_vector(msi(0), sink->here()));
    kernel_.fire(kFirst, kMsi);
    if (i % 3 == 0) {
      EXPECT_TRUE(eventually([&] { return sink->events >= 1; }));
    }
    ASSERT_TRUE(spapr().unbind_vector(msi(0)));
    // Gone: a late arrival would write to freed memory.
  }
  ASSERT_TRUE(spapr().free_vectors(kFirst, VectorKind::msi));
}

}  // namespace
}  // namespace pviommu::spapr
