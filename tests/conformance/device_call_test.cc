// SPDX-License-Identifier: LGPL-2.1-or-later
// The device's other calls: features, hot reset, ioeventfd; what its BAR mappings do.
// The letters name cases of the reference answers.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

class EduCalls : public testing::Test {
 protected:
  ~EduCalls() override {
    if (device.config(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY) Edu(device).acknowledge();
  }
  Outcome feature(std::uint32_t flags, std::uint32_t argsz = 16) {
    std::uint32_t words[4] = {argsz, flags};
    return device.ioctl(VFIO_DEVICE_FEATURE, reinterpret_cast<std::uint64_t>(words));
  }
  Session session{Machine::get().edu};
  Device& device = session.device;
};

/// Hot reset: the information, or the reset with `files`.
Outcome hot_reset_info(const Device& device, std::uint32_t argsz, std::array<std::uint32_t, 64>* out = nullptr) {
  std::array<std::uint32_t, 64> words{argsz};
  const Outcome outcome = device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, reinterpret_cast<std::uint64_t>(words.data()));
  if (out) *out = words;
  return outcome;
}
Outcome hot_reset(const Device& device, std::uint32_t count, int file = -1, std::uint32_t flags = 0,
                  std::uint32_t argsz = 256) {
  std::array<std::uint32_t, 64> words{argsz, flags, count, static_cast<std::uint32_t>(file)};
  return device.ioctl(VFIO_DEVICE_PCI_HOT_RESET, reinterpret_cast<std::uint64_t>(words.data()));
}

TEST_F(EduCalls, NumbersOfOtherFiles) {
  Memory memory(kPage);
  vfio_iommu_type1_dma_map map{.argsz = sizeof map, .flags = 3, .vaddr = memory.address(), .iova = 0, .size = kPage};
  EXPECT_EQ(device.ioctl(VFIO_IOMMU_MAP_DMA, reinterpret_cast<std::uint64_t>(&map)), failed(EINVAL))
      << "D06: the number of a hot reset, with flags";
  EXPECT_EQ(device.ioctl(VFIO_GET_API_VERSION), failed(ENOTTY)) << "D06b";
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_RESET), failed(EINVAL)) << "D08";
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_RESET, 4711), failed(EINVAL));
}

TEST_F(EduCalls, Features) {
  constexpr std::uint32_t kGet = 1 << 16, kSet = 1 << 17, kProbe = 1 << 18;
  for (std::uint32_t number : {0u, 1u, 2u, 6u, 7u, 8u, 9u, 0xffffu}) {
    EXPECT_EQ(feature(kProbe | kGet | number), failed(ENOTTY)) << "D201 " << number;
    EXPECT_EQ(feature(kProbe | kSet | number), failed(ENOTTY)) << "D202 " << number;
    EXPECT_EQ(feature(kProbe | number), failed(ENOTTY)) << "D203 " << number;
    EXPECT_EQ(feature(kGet | number), failed(ENOTTY)) << "D204 " << number;
  }
  for (std::uint32_t number : {3u, 4u, 5u}) {
    EXPECT_EQ(feature(kProbe | kGet | number), failed(EINVAL)) << "D201 " << number;
    EXPECT_EQ(feature(kProbe | kSet | number), ok()) << "D202 " << number;
    EXPECT_EQ(feature(kProbe | number), ok()) << "D203 " << number;
    EXPECT_EQ(feature(kGet | number), failed(EINVAL)) << number;
    EXPECT_EQ(feature(kGet | kSet | number), failed(EINVAL)) << number;
  }
  EXPECT_EQ(feature(0), failed(ENOTTY)) << "D206";
  EXPECT_EQ(feature(3), failed(EINVAL)) << "neither got nor set";
  EXPECT_EQ(feature(0x80010001), failed(EINVAL)) << "D208";
  for (std::uint32_t argsz : {0u, 4u, 7u}) EXPECT_EQ(feature(kProbe | 3, argsz), failed(EINVAL)) << argsz;
  EXPECT_EQ(feature(kProbe | 3, 8), ok());
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_FEATURE, 0), failed(EFAULT));
  // Low power, in and out.
  EXPECT_EQ(feature(kSet | 3), ok()) << "D209";
  EXPECT_EQ(feature(kSet | 3), failed(EINVAL)) << "already";
  EXPECT_EQ(feature(kSet | 5), ok()) << "D210";
  EXPECT_EQ(feature(kSet | 5), ok()) << "out again is nothing";
  const auto with_wakeup = [&](int fd, std::uint32_t argsz = 16) {
    std::int32_t words[4] = {static_cast<std::int32_t>(argsz), static_cast<std::int32_t>(kSet | 4), fd, 0};
    return device.ioctl(VFIO_DEVICE_FEATURE, reinterpret_cast<std::uint64_t>(words));
  };
  const Fd event(::eventfd(0, EFD_CLOEXEC)), null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(with_wakeup(event.get(), 8), failed(EINVAL)) << "no room for the eventfd";
  EXPECT_EQ(with_wakeup(9999), failed(EBADF));
  EXPECT_EQ(with_wakeup(-1), failed(EINVAL));
  EXPECT_EQ(with_wakeup(null.get()), failed(EINVAL));
  // A call wakes a device that slept, and ends this; whether it sleeps is a matter of time.
  EXPECT_EQ(with_wakeup(event.get()), ok());
  EXPECT_EQ(feature(kSet | 5), ok());
  EXPECT_EQ(device.bar0(0), 0x010000edu);
}

void no_hot_reset(const Device& device, const Session& session) {
  for (std::uint32_t argsz : {0u, 8u, 11u}) EXPECT_EQ(hot_reset_info(device, argsz), failed(EINVAL)) << "E50 " << argsz;
  std::array<std::uint32_t, 64> words{};
  for (std::uint32_t argsz : {12u, 20u, 24u, 36u, 140u}) {
    EXPECT_EQ(hot_reset_info(device, argsz, &words), failed(ENODEV)) << "E50 " << argsz;
    EXPECT_EQ(words[0], argsz) << "E50";
    EXPECT_EQ(words[2], 0u) << "E50";
  }
  EXPECT_EQ(hot_reset(device, 0), failed(linux_before(6, 12) ? ENODEV : EINVAL)) << "E51";
  EXPECT_EQ(hot_reset(device, 0, -1, 0, 8), failed(EINVAL)) << "E52";
  EXPECT_EQ(hot_reset(device, 1, -1, 1), failed(EINVAL)) << "E53";
  EXPECT_EQ(hot_reset(device, 1, -1), failed(ENODEV)) << "E54";
  EXPECT_EQ(hot_reset(device, 1, session.container.fd()), failed(ENODEV)) << "E55";
  EXPECT_EQ(hot_reset(device, 1000, -1), failed(ENODEV)) << "E56";
  EXPECT_EQ(hot_reset(device, 1, session.group.fd()), failed(ENODEV)) << "E57";
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, 0), failed(EFAULT));
  EXPECT_EQ(device.ioctl(VFIO_DEVICE_PCI_HOT_RESET, 0), failed(EFAULT));
}

TEST_F(EduCalls, HotResetOfAFunctionOnTheRootBus) { no_hot_reset(device, session); }

TEST(NvmeCalls, HotResetOfAFunctionOnTheRootBus) {
  Session session(Machine::get().nvme);
  no_hot_reset(session.device, session);
}

TEST(PortCalls, HotResetOfABus) {
  const std::string name = extra_device("CONFORMANCE_NVME_PORT");
  if (name.empty()) GTEST_SKIP() << "this machine has no device behind a port";
  Session session(name);
  const Device& device = session.device;
  for (std::uint32_t argsz : {0u, 11u}) EXPECT_EQ(hot_reset_info(device, argsz), failed(EINVAL)) << "E50 " << argsz;
  std::array<std::uint32_t, 64> words{};
  EXPECT_EQ(hot_reset_info(device, 12, &words), failed(ENOSPC)) << "E50";
  EXPECT_EQ(words[2], 1u) << "E50: as many are wanted";
  for (std::uint32_t argsz : {36u, 140u}) {
    EXPECT_EQ(hot_reset_info(device, argsz, &words), ok()) << "E50";
    EXPECT_EQ(words[2], 1u) << "E50";
    EXPECT_EQ(words[3], static_cast<std::uint32_t>(std::stoi(Machine::group_of(name)))) << "its group";
    EXPECT_EQ(words[4] >> 24, 0u) << "its devfn";
  }
  EXPECT_EQ(hot_reset(device, 0), failed(EINVAL)) << "E51";
  EXPECT_EQ(hot_reset(device, 0, -1, 0, 8), failed(EINVAL)) << "E52";
  EXPECT_EQ(hot_reset(device, 1, -1, 1), failed(EINVAL)) << "E53";
  EXPECT_EQ(hot_reset(device, 1, session.container.fd()), failed(EINVAL)) << "E55";
  EXPECT_EQ(hot_reset(device, 1000), failed(EINVAL)) << "E56";
  EXPECT_EQ(hot_reset(device, 1, session.group.fd()), ok()) << "E57";
  EXPECT_EQ(device.config(0, 2), 0x1b36u);
  std::uint32_t word = 0;
  EXPECT_EQ(device.read(0, 8, &word, 4), ok(4));
}

TEST(PortCalls, MessagesComeAfterAHotReset) {
  const std::string name = extra_device("CONFORMANCE_EDU_PORT");
  if (name.empty()) GTEST_SKIP() << "this machine has no edu behind a port";
  if (without("interrupts")) GTEST_SKIP() << "the hypervisor has no interrupts for programs";
  Session session(name);
  Device& device = session.device;
  Edu edu{device};
  const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_EQ(device.eventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, {event.get()}), ok());
  device.set_bus_master(true);
  for (const char* when : {"at first", "after a reset", "after another one"}) {
    edu.raise();
    EXPECT_EQ(take(event.get()), 1u) << when;
    edu.acknowledge();
    ASSERT_EQ(hot_reset(device, 1, session.group.fd()), ok()) << when;
    EXPECT_TRUE(device.config(PCI_COMMAND, 2) & PCI_COMMAND_MASTER) << when;
    EXPECT_EQ(take_soon(event.get()), 0u) << when;
  }
}

Outcome ioeventfd(const Device& device, std::uint32_t flags, std::uint64_t offset, std::uint64_t data, int fd) {
  vfio_device_ioeventfd request{};
  request.argsz = sizeof request;
  request.flags = flags;
  request.offset = offset;
  request.data = data;
  request.fd = fd;
  return device.ioctl(VFIO_DEVICE_IOEVENTFD, reinterpret_cast<std::uint64_t>(&request));
}

TEST_F(EduCalls, RegisterWrittenByAnEventfd) {
  const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::uint32_t kWritten = Machine::edu_order(0x5a);
  constexpr std::uint32_t k8 = VFIO_DEVICE_IOEVENTFD_8, k16 = VFIO_DEVICE_IOEVENTFD_16, k32 = VFIO_DEVICE_IOEVENTFD_32;
  EXPECT_EQ(ioeventfd(device, k32, 4, kWritten, event.get()), ok()) << "D211";
  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  for (int i = 0; i < 100 && device.bar0(4) != 0xffffffa5u; ++i) ::usleep(1000);
  EXPECT_EQ(device.bar0(4), 0xffffffa5u) << "D212";
  EXPECT_EQ(ioeventfd(device, k32, 4, kWritten, event.get()), failed(EEXIST));
  EXPECT_EQ(ioeventfd(device, k32, 4, kWritten, -1), ok()) << "D214";
  EXPECT_EQ(ioeventfd(device, k32, 4, kWritten, -1), failed(ENODEV)) << "D215";
  EXPECT_EQ(ioeventfd(device, k32 | k16, 4, 0, event.get()), failed(EINVAL)) << "D216";
  EXPECT_EQ(ioeventfd(device, k32, 5, 0, event.get()), ok()) << "D217";
  EXPECT_EQ(ioeventfd(device, k32, 5, 0, -1), ok());
  EXPECT_EQ(ioeventfd(device, 0, 4, 0, event.get()), failed(EINVAL));
  EXPECT_EQ(ioeventfd(device, k8, 4, 0, -2), failed(EINVAL));
  EXPECT_EQ(ioeventfd(device, k32, 0x100000 - 2, 0, event.get()), failed(EINVAL)) << "beyond the BAR";
  EXPECT_EQ(ioeventfd(device, k32, std::uint64_t{7} << 40, 0, event.get()), failed(EINVAL)) << "no BAR";
  EXPECT_EQ(ioeventfd(device, k32, 4, 0, 9999), failed(EBADF));
}

TEST_F(EduCalls, BarAccessOfEverySize) {
  std::array<std::uint8_t, 8> bytes{};
  for (std::size_t size : {1u, 2u, 4u, 8u}) EXPECT_EQ(device.read(0, 0, bytes.data(), size), ok(static_cast<long>(size))) << "D73 D74";
  std::uint16_t half = 0xffff;
  EXPECT_EQ(device.read(0, 0, &half, 2), ok(2)) << "D73";
  EXPECT_EQ(device.read(0, 1, bytes.data(), 4), ok(4)) << "D73b";
  EXPECT_EQ(device.read(0, 0xffffc, bytes.data(), 4), ok(4)) << "D75";
  EXPECT_EQ(device.read(0, 0xffffc, bytes.data(), 8), ok(4)) << "cut at the end";
  EXPECT_EQ(device.read(0, 0x100000, bytes.data(), 4), failed(EINVAL)) << "D78";
  EXPECT_EQ(device.read(0, 0, bytes.data(), 0), ok(0));
  EXPECT_EQ(device.read(VFIO_PCI_VGA_REGION_INDEX, 0, bytes.data(), 4), failed(EINVAL));
  EXPECT_EQ(device.write(VFIO_PCI_ROM_REGION_INDEX, 0, bytes.data(), 4), failed(EINVAL));
}

TEST_F(EduCalls, MappingOfRegions) {
  if (!(device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  const auto map = [&](std::size_t bytes, std::uint64_t offset, int prot = PROT_READ | PROT_WRITE, int flags = MAP_SHARED) {
    void* address = ::mmap(nullptr, bytes, prot, flags, device.fd(), static_cast<off_t>(offset));
    if (address == MAP_FAILED) return failed(errno);
    ::munmap(address, bytes);
    return ok();
  };
  EXPECT_EQ(map(0x100000, 0), ok()) << "D80";
  EXPECT_EQ(map(kPage, 0, 3, MAP_PRIVATE), failed(EINVAL)) << "D81";
  EXPECT_EQ(map(0x101000, 0), failed(EINVAL)) << "D82";
  EXPECT_EQ(map(kPage, 0xff000), ok()) << "D83";
  EXPECT_EQ(map(kPage, 0x100000), failed(EINVAL));
  for (std::uint64_t region : {1, 7, 6, 8, 9, 100}) EXPECT_EQ(map(kPage, region << 40), failed(EINVAL)) << "D85-D89 " << region;
  EXPECT_EQ(map(kPage, 0, PROT_READ | PROT_EXEC), linux_before(7, 0) ? ok() : failed(EPERM)) << "D91";
  EXPECT_EQ(map(kPage, 0, PROT_NONE), ok()) << "D92";
  EXPECT_EQ(map(kPage, 0, PROT_READ), ok());
  EXPECT_EQ(map(100, 0), ok()) << "rounded up to a page";
  EXPECT_EQ(map(kPage, 8), failed(EINVAL)) << "not at a page";
}

void expect_faults(const volatile std::uint32_t* at, const char* why) { EXPECT_EQ(load_or_fault(at), std::nullopt) << why; }

TEST_F(EduCalls, MappingFollowsMemoryDecoding) {
  if (!(device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::uint32_t id = Machine::edu_order(0x010000ed);
  const auto map = [page](const Device& of, std::size_t pages = 1, int prot = PROT_READ | PROT_WRITE) {
    return static_cast<volatile std::uint32_t*>(::mmap(nullptr, pages * page, prot, MAP_SHARED, of.fd(), 0));
  };
  const auto unmap = [page](volatile std::uint32_t* at, std::size_t pages = 1) { return ::munmap(const_cast<std::uint32_t*>(at), pages * page); };
  auto* bar = map(device, 4);
  ASSERT_NE(bar, MAP_FAILED);
  const Outcome again = session.group.device(Machine::get().edu);
  ASSERT_EQ(again.error, 0);
  Device second(static_cast<int>(again.value));
  auto* of_second = map(second);
  auto* const third_page = const_cast<std::uint32_t*>(bar) + 2 * page / 4;
  EXPECT_EQ(load_or_fault(bar), id);
  // A page that cannot be written, and one that is not there: both stay so.
  ASSERT_EQ(::mprotect(const_cast<std::uint32_t*>(bar) + page / 4, page, PROT_READ), 0);
  ASSERT_EQ(unmap(bar + 3 * page / 4), 0);
  const std::uint32_t command = device.config(PCI_COMMAND, 2);
  device.set_config(PCI_COMMAND, 2, 0);
  expect_faults(bar, "E46");
  expect_faults(bar + page / 4, "each page");
  expect_faults(of_second, "a mapping by another descriptor");
  auto* late = map(device);
  ASSERT_NE(late, MAP_FAILED);
  expect_faults(late, "a mapping that is made meanwhile");
  ASSERT_EQ(::mprotect(third_page, page, PROT_READ), 0) << "rights can be changed meanwhile";
  auto* gone = map(device);
  ASSERT_EQ(unmap(gone), 0);
  device.set_config(PCI_COMMAND, 2, command);
  EXPECT_EQ(load_or_fault(bar), id) << "D67 E47";
  EXPECT_EQ(load_or_fault(late), id);
  EXPECT_EQ(load_or_fault(of_second), id);
  bar[1] = Machine::edu_order(0x12345678);
  EXPECT_EQ(device.bar0(4), 0xedcba987u) << "and it is the device again";
  for (volatile std::uint32_t* read_only : {bar + page / 4, bar + 2 * page / 4}) {
    EXPECT_NE(load_or_fault(read_only), std::nullopt);
    const Fd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(outcome_of(::read(zero.get(), const_cast<std::uint32_t*>(read_only), 4)), failed(EFAULT)) << "not writable";
  }
  ::munmap(const_cast<std::uint32_t*>(late), page);
  unmap(of_second);
  unmap(bar, 3);
}

// Decoding goes on and off while others map, unmap and look.
TEST_F(EduCalls, DecodingChangesWhileOthersMap) {
  if (!(device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> others;
  for (unsigned i = 0; i < 3; ++i)
    others.emplace_back([&, i] {
      while (!stop.load()) {
        void* bar = ::mmap(nullptr, (i + 1) * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
        if (bar == MAP_FAILED || ::munmap(bar, (i + 1) * kPage) != 0) ++wrong;
      }
    });
  auto* kept = static_cast<volatile std::uint32_t*>(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, device.fd(), 0));
  const std::uint32_t command = device.config(PCI_COMMAND, 2);
  for (unsigned round = 0; round < 50; ++round) {
    device.set_config(PCI_COMMAND, 2, 0);
    if (load_or_fault(kept)) ++wrong;
    device.set_config(PCI_COMMAND, 2, command);
    if (!load_or_fault(kept)) ++wrong;
  }
  stop = true;
  for (std::thread& other : others) other.join();
  EXPECT_EQ(wrong, 0u);
  ::munmap(const_cast<std::uint32_t*>(kept), kPage);
}

}  // namespace
}  // namespace conformance
