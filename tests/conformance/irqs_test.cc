// SPDX-License-Identifier: LGPL-2.1-or-later
// SET_IRQS: every rule, and interrupts a device really sends.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <poll.h>

#include <atomic>
#include <thread>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

constexpr std::uint32_t kNone = VFIO_IRQ_SET_DATA_NONE, kBool = VFIO_IRQ_SET_DATA_BOOL,
                        kEventfd = VFIO_IRQ_SET_DATA_EVENTFD, kMask = VFIO_IRQ_SET_ACTION_MASK,
                        kUnmask = VFIO_IRQ_SET_ACTION_UNMASK, kTrigger = VFIO_IRQ_SET_ACTION_TRIGGER;
constexpr std::uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX, kMsi = VFIO_PCI_MSI_IRQ_INDEX, kMsix = VFIO_PCI_MSIX_IRQ_INDEX,
                        kErr = VFIO_PCI_ERR_IRQ_INDEX, kReq = VFIO_PCI_REQ_IRQ_INDEX;

Fd make_eventfd() { return Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

class EduIrqs : public testing::Test {
 protected:
  /// Kernels cannot reset an edu: the next test would begin with the line asserted.
  ~EduIrqs() override { edu.acknowledge(); }
  Outcome set(std::uint32_t index, std::uint32_t flags, std::uint32_t start, std::uint32_t count) {
    return device.set_irqs(index, flags, start, count);
  }
  Outcome set_fd(std::uint32_t index, std::uint32_t action, int fd) {
    return device.set_irqs(index, kEventfd | action, 0, 1, &fd, sizeof fd);
  }
  Outcome set_bool(std::uint32_t index, std::uint32_t action, std::uint8_t value) {
    return device.set_irqs(index, kBool | action, 0, 1, &value, 1);
  }
  Session session{Machine::get().edu};
  Device& device = session.device;
  Edu edu{device};
  Fd event = make_eventfd();
};

TEST_F(EduIrqs, HeaderRules) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  for (std::uint32_t argsz : {0u, 4u, 12u, 19u})
    EXPECT_EQ(device.set_irqs(kMsi, kNone | kTrigger, 0, 0, nullptr, 0, argsz), failed(EINVAL)) << argsz;
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_SET_IRQS, 0), failed(EFAULT));
  EXPECT_EQ(set(5, kNone | kTrigger, 0, 1), failed(EINVAL));
  EXPECT_EQ(set(99, kNone | kTrigger, 0, 1), failed(EINVAL));
  EXPECT_EQ(set(kMsi, kNone | kTrigger | 0x40, 0, 1), failed(EINVAL)) << "unknown flag";
  EXPECT_EQ(set(kMsi, kNone, 0, 1), failed(ENOTTY)) << "no action";
  EXPECT_EQ(set(kMsi, kTrigger, 0, 1), failed(EINVAL)) << "no data kind";
  EXPECT_EQ(set(kMsi, kNone | kBool | kTrigger, 0, 1), failed(EINVAL));
  EXPECT_EQ(set(kMsi, kNone | kEventfd | kTrigger, 0, 1), failed(EINVAL));
  EXPECT_EQ(set(kMsi, kNone | kMask | kTrigger, 0, 1), failed(ENOTTY)) << "two actions";
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 1, 0), failed(EINVAL)) << "start behind the last";
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 0, 2), failed(EINVAL)) << "more than there are";
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 1, ~0u), failed(EINVAL)) << "wraps";
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 0, 0), failed(EINVAL)) << "disable before enable";
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 0, 1), failed(EINVAL)) << "loopback before enable";
  EXPECT_EQ(set_bool(kMsi, kTrigger, 1), failed(EINVAL));
  const int fd = event.get();
  EXPECT_EQ(device.set_irqs(kMsi, kEventfd | kTrigger, 0, 1, &fd, 4, 20), failed(EINVAL)) << "no room for the data";
  EXPECT_EQ(device.set_irqs(kMsi, kEventfd | kTrigger, 0, 1, &fd, 4, 22), failed(EINVAL));
  EXPECT_EQ(device.set_irqs(kMsi, kEventfd | kTrigger, 0, 0), failed(ERANGE)) << "enable none";
  EXPECT_EQ(set_fd(kMsi, kTrigger, 9999), failed(EBADF));
  const Fd null(::open("/dev/null", O_RDWR));
  EXPECT_EQ(set_fd(kMsi, kTrigger, null.get()), failed(EINVAL)) << "no eventfd";
  EXPECT_EQ(set(kMsix, kNone | kTrigger, 0, 1), failed(EINVAL)) << "has no MSI-X";
  EXPECT_EQ(set(kErr, kNone | kTrigger, 0, 1), failed(EINVAL)) << "not PCI Express";
}

TEST_F(EduIrqs, DataThatCannotBeReadIsEFAULT) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  Memory edge(2 * kPage);
  ASSERT_EQ(edge.punch(kPage, kPage), 0);
  auto* request = reinterpret_cast<vfio_irq_set*>(edge.data() + kPage - sizeof(vfio_irq_set));
  *request = {.argsz = sizeof *request + 4, .flags = kEventfd | kTrigger, .index = kMsi, .start = 0, .count = 1};
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_SET_IRQS, reinterpret_cast<std::uint64_t>(request)), failed(EFAULT));
}

TEST_F(EduIrqs, ArgszMayExceedTheNeed) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  const int fd = event.get();
  std::vector<std::uint8_t> data(2052);
  std::memcpy(data.data(), &fd, sizeof fd);
  EXPECT_EQ(device.set_irqs(kMsi, kEventfd | kTrigger, 0, 1, data.data(), data.size()), ok());
}

TEST_F(EduIrqs, MsiLifeCycle) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  EXPECT_EQ(set_fd(kMsi, kTrigger, -2), ok()) << "any negative number: enabled without an eventfd";
  EXPECT_EQ(device.irqs_off(kMsi), ok());
  EXPECT_EQ(set_fd(kMsi, kTrigger, -1), ok());
  const unsigned msi = device.capability(PCI_CAP_ID_MSI);
  EXPECT_EQ(device.config(msi + PCI_MSI_FLAGS, 2) & 1, 0u) << "the program's own view of the enable bit";
  EXPECT_EQ(set_fd(kIntx, kTrigger, event.get()), failed(EINVAL)) << "INTx while MSI is enabled";
  EXPECT_EQ(device.irqs_off(kMsi), ok());
  EXPECT_EQ(device.irqs_off(kMsi), failed(EINVAL));

  ASSERT_EQ(set_fd(kMsi, kTrigger, event.get()), ok());
  EXPECT_EQ(set(kMsi, kNone | kMask, 0, 1), failed(ENOTTY));
  EXPECT_EQ(set(kMsi, kNone | kUnmask, 0, 1), failed(ENOTTY));
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 0, 1), ok());
  EXPECT_EQ(take(event.get()), 1u) << "loopback";
  EXPECT_EQ(set_bool(kMsi, kTrigger, 1), ok());
  EXPECT_EQ(take(event.get()), 1u);
  EXPECT_EQ(set_bool(kMsi, kTrigger, 0), ok());
  EXPECT_EQ(take_soon(event.get()), 0u);

  device.set_bus_master(true);
  edu.raise();
  EXPECT_EQ(take(event.get()), 1u) << "from the device";
  edu.acknowledge();
  EXPECT_EQ(set_fd(kMsi, kTrigger, -1), ok());
  edu.raise();
  EXPECT_EQ(take_soon(event.get()), 0u) << "no eventfd";
  edu.acknowledge();
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 0, 1), ok());
  EXPECT_EQ(take_soon(event.get()), 0u);
  EXPECT_EQ(set_fd(kMsi, kTrigger, 9999), failed(EBADF));
  const Fd other = make_eventfd();
  EXPECT_EQ(set_fd(kMsi, kTrigger, other.get()), ok());
  (void)take_soon(other.get());
  edu.raise();
  EXPECT_EQ(take(other.get()), 1u) << "re-armed with another eventfd";
  EXPECT_EQ(take_soon(event.get()), 0u);
  edu.acknowledge();
  EXPECT_EQ(device.irqs_off(kMsi), ok());
  edu.raise();
  EXPECT_EQ(take_soon(other.get()), 0u) << "disabled";
}

TEST_F(EduIrqs, MsiEnableBitStopsAndRestoresDelivery) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  const unsigned msi = device.capability(PCI_CAP_ID_MSI);
  device.set_config(msi + PCI_MSI_FLAGS, 2, 1);
  EXPECT_EQ(device.config(msi + PCI_MSI_FLAGS, 2) & 1, 0u) << "not while SET_IRQS has none";
  ASSERT_EQ(set_fd(kMsi, kTrigger, event.get()), ok());
  device.set_bus_master(true);
  device.set_config(msi + PCI_MSI_FLAGS, 2, 0);
  edu.raise();
  EXPECT_EQ(take_soon(event.get()), 0u) << "stopped";
  edu.acknowledge();
  device.set_config(msi + PCI_MSI_FLAGS, 2, 1);
  EXPECT_EQ(device.config(msi + PCI_MSI_FLAGS, 2) & 1, 1u);
  (void)take_soon(event.get());
  edu.raise();
  EXPECT_EQ(take(event.get()), 1u) << "restored";
  device.set_config(msi + PCI_MSI_ADDRESS_LO, 4, 0xfee12345);
  EXPECT_EQ(device.config(msi + PCI_MSI_ADDRESS_LO, 4), 0xfee12345u) << "virtual: reads what was written";
  edu.acknowledge();
  edu.raise();
  EXPECT_EQ(take(event.get()), 1u) << "and leads nowhere else";
}

TEST_F(EduIrqs, EventfdMayBeClosedByTheProgram) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(set_fd(kMsi, kTrigger, event.get()), ok());
  const Fd kept(::dup(event.get()));
  event.reset();
  device.set_bus_master(true);
  edu.raise();
  EXPECT_EQ(take(kept.get()), 1u);
}

TEST_F(EduIrqs, Intx) {
  if (without("intx")) GTEST_SKIP() << "the hypervisor has no INTx for programs";
  EXPECT_EQ(set(kIntx, kNone | kTrigger, 0, 1), failed(EINVAL)) << "before enable";
  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 1), failed(EINVAL));
  EXPECT_EQ(set(kIntx, kNone | kUnmask, 0, 1), failed(EINVAL));
  EXPECT_EQ(device.irqs_off(kIntx), failed(EINVAL));
  const int two[] = {event.get(), event.get()};
  EXPECT_EQ(device.set_irqs(kIntx, kEventfd | kTrigger, 0, 2, two, sizeof two), failed(EINVAL));

  ASSERT_EQ(set_fd(kIntx, kTrigger, event.get()), ok());
  EXPECT_EQ(device.irqs_off(kMsi), failed(EINVAL)) << "MSI while INTx is enabled";
  EXPECT_EQ(set_fd(kMsi, kTrigger, event.get()), failed(EINVAL));
  EXPECT_EQ(set(kIntx, kNone | kTrigger, 0, 1), ok());
  EXPECT_EQ(take(event.get()), 1u) << "loopback";

  edu.raise();
  EXPECT_EQ(take(event.get()), 1u);
  EXPECT_EQ(take_soon(event.get()), 0u) << "masked by its arrival";
  EXPECT_EQ(set(kIntx, kNone | kUnmask, 0, 1), ok());
  EXPECT_EQ(take(event.get()), 1u) << "still asserted: fires again";
  edu.acknowledge();
  EXPECT_EQ(set(kIntx, kNone | kUnmask, 0, 1), ok());
  EXPECT_EQ(take_soon(event.get()), 0u) << "no longer asserted";

  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 1), ok());
  edu.raise();
  EXPECT_EQ(take_soon(event.get()), 0u) << "masked";
  EXPECT_EQ(set_bool(kIntx, kUnmask, 0), ok());
  EXPECT_EQ(take_soon(event.get()), 0u);
  EXPECT_EQ(set_bool(kIntx, kUnmask, 1), ok());
  EXPECT_EQ(take(event.get()), 1u);
  edu.acknowledge();

  EXPECT_EQ(set_fd(kIntx, kMask, event.get()), failed(ENOTTY));
  EXPECT_EQ(set_fd(kIntx, kTrigger, -1), ok()) << "no eventfd";
  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 1), ok()) << "still enabled";
  EXPECT_EQ(device.irqs_off(kIntx), ok());
  EXPECT_EQ(device.irqs_off(kIntx), failed(EINVAL));
  EXPECT_EQ(set_fd(kIntx, kTrigger, 9999), failed(EBADF));
  EXPECT_EQ(device.irqs_off(kIntx), failed(EINVAL)) << "a failed enable leaves nothing";
}

TEST_F(EduIrqs, IntxCommandBitAndNoEventfd) {
  if (without("intx")) GTEST_SKIP() << "the hypervisor has no INTx for programs";
  EXPECT_EQ(set_fd(kIntx, kTrigger, -1), ok()) << "D182: enabled without an eventfd";
  EXPECT_EQ(device.irqs_off(kIntx), ok()) << "D182b";
  ASSERT_EQ(set_fd(kIntx, kTrigger, event.get()), ok());
  const std::uint32_t command = device.config(PCI_COMMAND, 2);
  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 1), ok());
  EXPECT_EQ(device.config(PCI_COMMAND, 2), command) << "D172: how it is masked does not show";
  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 1), ok()) << "twice";
  EXPECT_EQ(set(kIntx, kNone | kUnmask, 0, 1), ok());
  EXPECT_EQ(set(kIntx, kNone | kUnmask, 0, 1), ok()) << "twice";
  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 0), failed(EINVAL));
  EXPECT_EQ(set(kIntx, kNone | kUnmask, 0, 0), failed(EINVAL));
  EXPECT_EQ(device.set_irqs(kIntx, kEventfd | kTrigger, 0, 0), failed(EINVAL));
  EXPECT_EQ(set_bool(kIntx, kTrigger, 1), ok());
  EXPECT_EQ(take(event.get()), 1u);
  EXPECT_EQ(set_bool(kIntx, kTrigger, 0), ok());
  EXPECT_EQ(take_soon(event.get()), 0u);
  EXPECT_EQ(set_fd(kIntx, kUnmask, 9999), failed(EBADF));
  EXPECT_EQ(set_fd(kIntx, kTrigger, 9999), failed(EBADF));
  EXPECT_EQ(set(kIntx, kNone | kTrigger, 0, 0), ok()) << "a bad eventfd left it enabled";
}

TEST_F(EduIrqs, IntxThatIsNotThere) {
  if (!without("intx")) GTEST_SKIP() << "INTx is there";
  EXPECT_EQ(device.config(PCI_INTERRUPT_PIN, 1), 0u);
  EXPECT_EQ(set_fd(kIntx, kTrigger, event.get()), failed(EINVAL));
  EXPECT_EQ(set(kIntx, kNone | kMask, 0, 1), failed(EINVAL));
  EXPECT_EQ(device.irqs_off(kIntx), failed(EINVAL));
}

TEST_F(EduIrqs, MessagesThatAreNotThere) {
  if (!without("interrupts")) GTEST_SKIP() << "MSI is there";
  EXPECT_EQ(set_fd(kMsi, kTrigger, event.get()), failed(EINVAL));
  EXPECT_EQ(set(kMsi, kNone | kTrigger, 0, 1), failed(EINVAL));
  EXPECT_EQ(device.irqs_off(kMsi), failed(EINVAL));
  device.set_bus_master(true);
  edu.raise();
  EXPECT_EQ(take_soon(event.get()), 0u);
  EXPECT_EQ(device.bar0(0x24), 1u) << "a program may still poll";
  edu.acknowledge();
}

TEST_F(EduIrqs, IntxResampleByEventfd) {
  if (without("intx")) GTEST_SKIP() << "the hypervisor has no INTx for programs";
  ASSERT_EQ(set_fd(kIntx, kTrigger, event.get()), ok());
  const Fd unmask = make_eventfd();
  ASSERT_EQ(set_fd(kIntx, kUnmask, unmask.get()), ok());
  EXPECT_EQ(set_fd(kIntx, kUnmask, unmask.get()), failed(EBUSY));
  edu.raise();
  ASSERT_EQ(take(event.get()), 1u);
  EXPECT_EQ(take_soon(event.get()), 0u);
  ASSERT_EQ(::eventfd_write(unmask.get(), 1), 0);
  EXPECT_EQ(take(event.get()), 1u) << "unmasked by the eventfd, still asserted";
  EXPECT_EQ(take_soon(unmask.get()), 0u) << "its count is consumed";
  edu.acknowledge();
  ASSERT_EQ(::eventfd_write(unmask.get(), 1), 0);
  EXPECT_EQ(take_soon(event.get()), 0u);
  edu.raise();
  EXPECT_EQ(take(event.get()), 1u);
  EXPECT_EQ(set_fd(kIntx, kUnmask, -1), ok());
  ASSERT_EQ(::eventfd_write(unmask.get(), 1), 0);
  EXPECT_EQ(take_soon(event.get()), 0u) << "removed";
}

TEST_F(EduIrqs, IntxDisableBitMasks) {
  if (without("intx")) GTEST_SKIP() << "the hypervisor has no INTx for programs";
  ASSERT_EQ(set_fd(kIntx, kTrigger, event.get()), ok());
  const std::uint32_t command = device.config(PCI_COMMAND, 2);
  device.set_config(PCI_COMMAND, 2, command | PCI_COMMAND_INTX_DISABLE);
  edu.raise();
  EXPECT_EQ(take_soon(event.get()), 0u);
  device.set_config(PCI_COMMAND, 2, command);
  EXPECT_EQ(take(event.get()), 1u);
}

TEST_F(EduIrqs, RequestIndexIsLoopbackOnly) {
  EXPECT_EQ(set(kReq, kNone | kTrigger, 0, 1), failed(EINVAL)) << "none set";
  ASSERT_EQ(set_fd(kReq, kTrigger, event.get()), ok());
  EXPECT_EQ(set(kReq, kNone | kTrigger, 0, 1), ok());
  EXPECT_EQ(take(event.get()), 1u);
  EXPECT_EQ(set(kReq, kNone | kMask, 0, 1), failed(ENOTTY));
  EXPECT_EQ(set(kReq, kNone | kTrigger, 0, 0), ok());
  EXPECT_EQ(set(kReq, kNone | kTrigger, 0, 0), failed(EINVAL));
}

// Every raise of the device that is waited for is one count: none lost, none doubled.
TEST_F(EduIrqs, TenThousandMessages) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(set_fd(kMsi, kTrigger, event.get()), ok());
  device.set_bus_master(true);
  unsigned exact = 0;
  const unsigned rounds = 10000;
  for (unsigned i = 0; i < rounds; ++i) {
    edu.raise();
    exact += take(event.get()) == 1;
    edu.acknowledge();
  }
  EXPECT_EQ(exact, rounds);
  EXPECT_EQ(take_soon(event.get()), 0u);
}

// Messages are edges: those that come while one is on its way may become one
// with it, on any hardware.  The last is never lost.
TEST_F(EduIrqs, BurstsMayMergeButNeverEndUnseen) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(set_fd(kMsi, kTrigger, event.get()), ok());
  device.set_bus_master(true);
  for (unsigned burst = 1; burst <= 64; ++burst) {
    for (unsigned i = 0; i < burst; ++i) {
      edu.raise();
      edu.acknowledge();
    }
    std::uint64_t total = take(event.get());
    EXPECT_GE(total, 1u);
    // What is still missing has merged, or is late on a busy machine.
    while (const std::uint64_t more = take(event.get(), total < burst ? 100 : 5)) total += more;
    EXPECT_LE(total, burst);
  }
}

// The eventfd is replaced over and over while the device fires.  The kernel frees the
// interrupt and asks for it again; what comes meanwhile is lost there.
TEST_F(EduIrqs, ReplacingTheEventfdLosesNothing) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  const bool lossless = !without("lossless-replacing");
  const Fd first = make_eventfd(), second = make_eventfd();
  ASSERT_EQ(set_fd(kMsi, kTrigger, first.get()), ok());
  device.set_bus_master(true);
  constexpr unsigned kRaises = 2000;
  std::atomic<bool> done{false};
  std::thread switcher([&] {
    for (unsigned i = 0; !done; ++i) (void)set_fd(kMsi, kTrigger, i % 2 ? first.get() : second.get());
  });
  unsigned exact = 0;
  std::uint64_t total = 0;
  for (unsigned i = 0; i < kRaises; ++i) {
    edu.raise();
    pollfd either[] = {{first.get(), POLLIN, 0}, {second.get(), POLLIN, 0}};
    std::uint64_t got = 0;
    if (::poll(either, 2, lossless ? 1000 : 20) > 0)
      for (const pollfd& one : either)
        if (one.revents != 0) got += take(one.fd, 0);
    total += got;
    exact += got == 1;
    edu.acknowledge();
  }
  done = true;
  switcher.join();
  if (lossless)
    EXPECT_EQ(exact, kRaises);
  else
    EXPECT_GT(total, 0u);
  EXPECT_LE(total, kRaises);
  for (const Fd* fd : {&first, &second}) EXPECT_EQ(take_soon(fd->get()), 0u);
}

class NvmeIrqs : public testing::Test {
 protected:
  Outcome loopback(std::uint32_t start, std::uint32_t count) {
    return device.set_irqs(kMsix, kNone | kTrigger, start, count);
  }
  std::uint32_t flags() { return device.config(device.capability(PCI_CAP_ID_MSIX) + 2, 2); }
  Session session{Machine::get().nvme};
  Device& device = session.device;
  Fd e[4] = {make_eventfd(), make_eventfd(), make_eventfd(), make_eventfd()};
};

TEST_F(NvmeIrqs, MsixRanges) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  const std::uint32_t idle = flags();
  EXPECT_FALSE(idle & PCI_MSIX_FLAGS_ENABLE);
  const std::uint32_t vectors = (idle & 0x7ff) + 1;
  ASSERT_EQ(device.eventfds(kMsix, 0, {e[0].get(), e[1].get()}), ok());
  EXPECT_TRUE(flags() & PCI_MSIX_FLAGS_ENABLE);
  EXPECT_EQ(loopback(0, 2), ok());
  EXPECT_EQ(take(e[0].get()), 1u);
  EXPECT_EQ(take(e[1].get()), 1u);
  if (linux_before(6, 12)) {
    EXPECT_EQ(loopback(1, 2), failed(EINVAL)) << "beyond the enabled ones";
    EXPECT_EQ(take_soon(e[1].get()), 0u);
  } else {
    EXPECT_EQ(loopback(1, 2), ok()) << "those beyond the enabled ones have no eventfd";
    EXPECT_EQ(take(e[1].get()), 1u);
    EXPECT_EQ(loopback(3, 1), ok());
  }
  if (without("growing") || linux_before(6, 12)) {
    EXPECT_EQ(device.eventfds(kMsix, 2, {e[2].get(), e[3].get()}), failed(EINVAL)) << "no growing";
  } else {
    EXPECT_EQ(device.eventfds(kMsix, 2, {e[2].get(), e[3].get()}), ok()) << "growing";
    EXPECT_EQ(loopback(0, 4), ok());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(take(e[i].get()), 1u) << i;
    EXPECT_EQ(device.eventfds(kMsix, 2, {-1, -1}), ok());
    EXPECT_EQ(device.eventfds(kMsix, vectors, {e[2].get()}), failed(EINVAL)) << "beyond the device's";
    // One that cannot be had takes its range's eventfds away, and no other's.
    EXPECT_EQ(device.eventfds(kMsix, 5, {e[2].get(), 9999}), failed(EBADF));
    EXPECT_EQ(loopback(0, 6), ok());
    EXPECT_EQ(take(e[0].get()), 1u);
    EXPECT_EQ(take(e[1].get()), 1u);
    EXPECT_EQ(take_soon(e[2].get()), 0u);
  }
  EXPECT_EQ(device.eventfds(kMsix, 0, {e[2].get(), e[3].get()}), ok()) << "others in their place";
  EXPECT_EQ(loopback(0, 2), ok());
  EXPECT_EQ(take_soon(e[0].get()), 0u);
  EXPECT_EQ(take(e[2].get()), 1u);
  EXPECT_EQ(take(e[3].get()), 1u);
  EXPECT_EQ(device.irqs_off(kMsix), ok());
  EXPECT_EQ(flags(), idle);
  EXPECT_EQ(device.set_irqs(kMsix, kNone | kTrigger, 1, 0), failed(EINVAL)) << "already off";

  std::vector<int> all(vectors, e[0].get());
  all.back() = e[1].get();
  EXPECT_EQ(device.eventfds(kMsix, 0, all), ok());
  all.push_back(e[2].get());
  EXPECT_EQ(device.eventfds(kMsix, 0, all), failed(EINVAL)) << "one too many";
  EXPECT_EQ(loopback(0, vectors), ok());
  EXPECT_EQ(take(e[0].get()), vectors - 1);
  EXPECT_EQ(take(e[1].get()), 1u);
  EXPECT_EQ(device.irqs_off(kMsix), ok());
}

TEST_F(NvmeIrqs, MsixSparse) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(device.eventfds(kMsix, 3, {e[3].get()}), ok()) << "the first enable may start anywhere";
  EXPECT_EQ(loopback(0, 4), ok());
  EXPECT_EQ(take_soon(e[0].get()), 0u);
  EXPECT_EQ(take(e[3].get()), 1u);
  EXPECT_EQ(device.eventfds(kMsix, 1, {e[1].get()}), ok());
  EXPECT_EQ(loopback(1, 1), ok());
  EXPECT_EQ(take(e[1].get()), 1u);
  EXPECT_EQ(device.set_irqs(kMsix, kNone | kTrigger, 2, 0), ok()) << "count 0 at any start disables all";
  EXPECT_EQ(device.irqs_off(kMsix), failed(EINVAL));
}

TEST_F(NvmeIrqs, FailedBlockTearsDownItsRange) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(device.eventfds(kMsix, 0, {e[0].get(), e[1].get(), e[2].get(), e[3].get()}), ok());
  EXPECT_EQ(device.eventfds(kMsix, 0, {e[0].get(), e[1].get(), e[2].get(), 9999}), failed(EBADF));
  EXPECT_EQ(loopback(0, 4), ok()) << "still enabled";
  for (const Fd& fd : e) EXPECT_EQ(take_soon(fd.get()), 0u);
  EXPECT_EQ(device.irqs_off(kMsix), ok());
  EXPECT_EQ(device.eventfds(kMsix, 0, {e[0].get(), 9999}), failed(EBADF));
  EXPECT_FALSE(flags() & PCI_MSIX_FLAGS_ENABLE) << "a failed first enable leaves nothing";
  EXPECT_EQ(device.irqs_off(kMsix), failed(EINVAL));
}

TEST_F(NvmeIrqs, OneKindAtATime) {
  if (without("intx")) GTEST_SKIP() << "the hypervisor has no INTx for programs";
  ASSERT_EQ(device.eventfds(kMsix, 0, {e[0].get()}), ok());
  EXPECT_EQ(device.eventfds(kIntx, 0, {e[1].get()}), failed(EINVAL));
  EXPECT_EQ(device.irqs_off(kMsix), ok());
  EXPECT_EQ(device.eventfds(kIntx, 0, {e[1].get()}), ok());
  EXPECT_EQ(device.eventfds(kMsix, 0, {e[0].get()}), failed(EINVAL));
  EXPECT_EQ(device.irqs_off(kIntx), ok());
}

TEST_F(NvmeIrqs, MsixParts) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  const std::uint32_t idle = flags();
  ASSERT_EQ(device.eventfds(kMsix, 0, {e[0].get(), e[1].get(), e[2].get(), e[3].get()}), ok());
  EXPECT_EQ(flags(), idle | PCI_MSIX_FLAGS_ENABLE) << "E20";
  const Fd other[2] = {make_eventfd(), make_eventfd()};
  EXPECT_EQ(device.eventfds(kMsix, 0, {other[0].get(), other[1].get()}), ok()) << "E28c";
  EXPECT_EQ(loopback(0, 4), ok()) << "E28d";
  EXPECT_EQ(take(other[0].get()), 1u) << "E28d";
  EXPECT_EQ(take(other[1].get()), 1u) << "E28d";
  EXPECT_EQ(take(e[2].get()), 1u) << "E28d";
  EXPECT_EQ(take(e[3].get()), 1u) << "E28d";
  EXPECT_EQ(take_soon(e[0].get()), 0u) << "E28d";
  EXPECT_EQ(device.eventfds(kMsix, 0, {-1}), ok()) << "E35b";
  EXPECT_EQ(loopback(0, 1), ok()) << "E35b";
  EXPECT_EQ(take_soon(other[0].get()), 0u) << "E35b";
  const std::uint8_t some[] = {0, 1, 0, 1};
  EXPECT_EQ(device.set_irqs(kMsix, kBool | kTrigger, 0, 4, some, sizeof some), ok());
  EXPECT_EQ(take(other[1].get()), 1u);
  EXPECT_EQ(take(e[3].get()), 1u);
  EXPECT_EQ(take_soon(e[2].get()), 0u);
  EXPECT_EQ(device.eventfds(kMsi, 0, {e[0].get()}), failed(EINVAL)) << "E34";
  EXPECT_EQ(device.irqs_off(kMsi), failed(EINVAL)) << "E34";
  EXPECT_EQ(device.set_irqs(kMsix, kNone | kMask, 0, 1), failed(ENOTTY));
  EXPECT_EQ(device.eventfds(kMsix, 3, {-1, -1}), linux_before(6, 12) ? failed(EINVAL) : ok()) << "E24: beyond the enabled ones";
  EXPECT_EQ(device.set_irqs(kMsix, kNone | kTrigger, 2, 0), ok()) << "E28e";
  EXPECT_EQ(flags(), idle) << "E28e";
  EXPECT_EQ(device.irqs_off(kMsix), failed(EINVAL)) << "E28f";
  EXPECT_EQ(device.eventfds(kMsix, 0, {-1, -1}), ok()) << "enabled with none";
  EXPECT_EQ(flags(), idle | PCI_MSIX_FLAGS_ENABLE);
  EXPECT_EQ(loopback(0, 2), ok());
}

TEST_F(NvmeIrqs, OneEventfdOnSeveralVectors) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(device.eventfds(kMsix, 0, {e[0].get(), e[0].get()}), ok());
  EXPECT_EQ(loopback(0, 2), ok());
  EXPECT_EQ(take(e[0].get()), 2u);
}

TEST_F(NvmeIrqs, SurviveAReset) {
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  ASSERT_EQ(device.eventfds(kMsix, 0, {e[0].get()}), ok());
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_RESET), ok());
  EXPECT_TRUE(flags() & PCI_MSIX_FLAGS_ENABLE);
  EXPECT_EQ(loopback(0, 1), ok());
  EXPECT_EQ(take(e[0].get()), 1u);
  EXPECT_EQ(device.irqs_off(kMsix), ok());
}

TEST_F(NvmeIrqs, ErrorIndex) {
  EXPECT_EQ(device.set_irqs(kErr, kNone | kTrigger, 0, 0), failed(EINVAL));
  EXPECT_EQ(device.eventfds(kErr, 0, {-1}), ok()) << "none is taken away";
  EXPECT_EQ(device.eventfds(kErr, 0, {9999}), failed(EBADF));
  EXPECT_EQ(device.set_irqs(kErr, kNone | kMask, 0, 1), failed(ENOTTY));
  EXPECT_EQ(device.eventfds(kErr, 0, {e[0].get(), e[1].get()}), failed(EINVAL)) << "it has one";
  ASSERT_EQ(device.eventfds(kErr, 0, {e[0].get()}), ok());
  EXPECT_EQ(device.set_irqs(kErr, kNone | kTrigger, 0, 1), ok());
  EXPECT_EQ(take(e[0].get()), 1u);
  EXPECT_EQ(device.eventfds(kErr, 0, {-1}), ok());
  EXPECT_EQ(device.set_irqs(kErr, kNone | kTrigger, 0, 1), failed(EINVAL));
}

}  // namespace
}  // namespace conformance
