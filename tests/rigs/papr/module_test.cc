// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel module, in the guest: edu at 0001:00:00.0 and 0003:00:00.0, NVMe without a
// driver at 0002:00:00.0.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <fstream>
#include <string>

#include "module_client.h"

namespace pviommu::rig {
namespace {

constexpr std::uint32_t kEdu = 1u << 16, kNvme = 2u << 16, kOther = 3u << 16;

class ModuleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GE(file_.fd(), 0) << PVIOMMU_PAPR_DEVICE;
    ASSERT_EQ(file_.claim(kEdu), 0);
    window_ = file_.window;
    edu_ = std::make_unique<Edu>(Sbdf(kEdu));
    ASSERT_TRUE(*edu_);
    ASSERT_EQ(file_.pin(pages_.data(), pages_.size(), frames_, pin_), 0);
  }
  /// Entries for the pages from `first` on.
  std::vector<std::uint64_t> tces(std::size_t first, std::size_t count, std::uint64_t rights = kRead | kWrite) {
    std::vector<std::uint64_t> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back(frames_[first + i] | rights);
    return out;
  }
  std::uint64_t at(std::uint64_t page) const { return window_.first + 0x100000 + page * kTceBytes; }
  int map(std::uint64_t page, const std::vector<std::uint64_t>& list) {
    return file_.map(window_.liobn, at(page), list);
  }

  ModuleFile file_;
  pviommu_papr_window window_{};
  std::unique_ptr<Edu> edu_;
  Pages pages_{512 * kTceBytes};
  std::vector<std::uint64_t> frames_;
  std::uint32_t pin_ = 0;
};

TEST_F(ModuleTest, TheWindowIsThatOfTheDeviceTree) {
  EXPECT_EQ(window_.liobn, 0x80000100u);
  EXPECT_EQ(window_.first, 0u);
  EXPECT_EQ(window_.bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(window_.page_shift, 12u);
  const auto info = file_.info();
  EXPECT_EQ(info.api, unsigned{PVIOMMU_PAPR_API});
  EXPECT_EQ(info.page_shift, static_cast<unsigned>(__builtin_ctzl(::sysconf(_SC_PAGESIZE))));
  EXPECT_EQ(info.pinned, pages_.size());
}

TEST_F(ModuleTest, DmaGoesBothWaysAndStopsWithTheEntry) {
  std::memset(pages_.data(), 0x5a, kTceBytes);
  ASSERT_EQ(map(0, tces(0, 2)), 0);
  edu_->master(true);
  ASSERT_TRUE(edu_->dma(Edu::to_device, at(0), Edu::kMost));
  ASSERT_TRUE(edu_->dma(Edu::from_device, at(1), Edu::kMost));
  EXPECT_EQ(std::memcmp(pages_.data(), pages_.data() + kTceBytes, Edu::kMost), 0);

  ASSERT_EQ(file_.unmap(window_.liobn, at(1), 1), 0);
  std::memset(pages_.data() + kTceBytes, 0x11, kTceBytes);
  edu_->dma(Edu::from_device, at(1), Edu::kMost);
  EXPECT_EQ(pages_.data()[kTceBytes], 0x11);
  edu_->master(false);
}

TEST_F(ModuleTest, RightsAreThoseOfTheEntry) {
  std::memset(pages_.data(), 0x77, 2 * kTceBytes);
  ASSERT_EQ(map(0, {frames_[0] | kRead, frames_[1] | kWrite}), 0);
  edu_->master(true);
  edu_->dma(Edu::to_device, at(0), 64);
  edu_->dma(Edu::from_device, at(1), 64);
  EXPECT_EQ(pages_.data()[kTceBytes], 0x77);
  std::memset(pages_.data(), 0x33, 2 * kTceBytes);
  edu_->dma(Edu::from_device, at(0), 64);
  EXPECT_EQ(pages_.data()[0], 0x33);
  edu_->master(false);
}

TEST_F(ModuleTest, FullListIsOneHcallEachWay) {
  const auto before = file_.info();
  ASSERT_EQ(map(0, tces(0, 512)), 0);
  const auto mapped = file_.info();
  ASSERT_EQ(file_.unmap(window_.liobn, at(0), 512), 0);
  const auto after = file_.info();
  EXPECT_EQ(mapped.put_tce_indirect - before.put_tce_indirect, 1u);
  EXPECT_EQ(after.stuff_tce - mapped.stuff_tce, 1u);
  EXPECT_EQ(after.put_tce, before.put_tce);
  EXPECT_EQ(mapped.mapped, 512u);
  EXPECT_EQ(after.mapped, 0u);
  std::uint64_t tce = 1;
  EXPECT_EQ(file_.get(window_.liobn, at(511), tce), 0);
  EXPECT_EQ(tce, 0u);
}

TEST_F(ModuleTest, EntriesAreWhatWasAskedFor) {
  ASSERT_EQ(map(3, tces(0, 40)), 0);
  for (unsigned i = 0; i < 40; ++i) {
    std::uint64_t tce = 0;
    ASSERT_EQ(file_.get(window_.liobn, at(3 + i), tce), 0);
    EXPECT_EQ(tce, frames_[i] | kRead | kWrite) << i;
  }
  std::uint64_t tce = 1;
  EXPECT_EQ(file_.get(window_.liobn, at(2), tce), 0);
  EXPECT_EQ(tce, 0u);
}

TEST_F(ModuleTest, RefusesPagesThatAreNotPinned) {
  const std::uint64_t stranger = frames_[0] ^ 0x4000000;
  EXPECT_EQ(map(0, {stranger | kRead}), EPERM);
  EXPECT_EQ(map(0, {kRead}), EPERM);  // the first page of memory
  EXPECT_EQ(map(0, {frames_[0] | kRead, (std::uint64_t{1} << 51) | kRead}), EPERM);
  std::uint64_t tce = 1;
  EXPECT_EQ(file_.get(window_.liobn, at(0), tce), 0);
  EXPECT_EQ(tce, 0u) << "nothing of the list stays";
  ASSERT_EQ(file_.unpin(pin_), 0);
  EXPECT_EQ(map(0, tces(0, 1)), EPERM);
}

TEST_F(ModuleTest, RefusesWritesToPagesPinnedForReading) {
  Pages more(16 * kTceBytes);
  std::memset(more.data(), 1, more.size());
  std::vector<std::uint64_t> frames;
  std::uint32_t pin = 0;
  ASSERT_EQ(file_.pin(more.data(), more.size(), frames, pin, 0), 0);
  EXPECT_EQ(map(0, {frames[0] | kRead | kWrite}), EACCES);
  EXPECT_EQ(map(0, {frames[0] | kRead}), 0);
}

TEST_F(ModuleTest, RefusesOtherWindows) {
  const auto list = tces(0, 1);
  std::uint64_t tce = 0;
  for (const std::uint32_t liobn : {0x80000000u, 0x80000200u, 0x80000300u, 0u, ~0u}) {
    EXPECT_EQ(file_.map(liobn, at(0), list), ENODEV) << liobn;
    EXPECT_EQ(file_.unmap(liobn, at(0), 1), ENODEV) << liobn;
    EXPECT_EQ(file_.get(liobn, at(0), tce), ENODEV) << liobn;
  }
}

TEST_F(ModuleTest, RefusesWhatIsOutsideOfTheWindow) {
  const std::uint64_t end = window_.first + window_.bytes;
  const std::uint32_t liobn = window_.liobn;
  std::uint64_t tce = 0;
  EXPECT_EQ(file_.map(liobn, end, tces(0, 1)), ERANGE);
  EXPECT_EQ(file_.map(liobn, end - kTceBytes, tces(0, 2)), ERANGE);
  EXPECT_EQ(file_.map(liobn, ~kTceBytes + 1, tces(0, 1)), ERANGE);
  EXPECT_EQ(file_.get(liobn, end - kTceBytes, tce), 0);
  EXPECT_EQ(tce, 0u);
  EXPECT_EQ(file_.get(liobn, end, tce), ERANGE);
  EXPECT_EQ(file_.unmap(liobn, end - kTceBytes, 2), ERANGE);
  EXPECT_EQ(file_.unmap(liobn, 0, ~std::uint64_t{0}), ERANGE);
  EXPECT_EQ(file_.map(liobn, at(0) + 1, tces(0, 1)), EINVAL);
  EXPECT_EQ(file_.map(liobn, at(0), {}), EINVAL);
  EXPECT_EQ(file_.map(liobn, at(0), std::vector<std::uint64_t>(513, frames_[0] | kRead)), EINVAL);
  EXPECT_EQ(file_.map(liobn, at(0), {frames_[0]}), EINVAL);
  EXPECT_EQ(file_.map(liobn, at(0), {frames_[0] | kRead | 4}), EINVAL);
  EXPECT_EQ(file_.map(liobn, end - kTceBytes, tces(0, 1)), 0);
}

TEST_F(ModuleTest, RefusesEntriesInUse) {
  ASSERT_EQ(map(4, tces(0, 1)), 0);
  EXPECT_EQ(map(0, tces(1, 8)), EEXIST);
  std::uint64_t tce = 0;
  ASSERT_EQ(file_.get(window_.liobn, at(4), tce), 0);
  EXPECT_EQ(tce, frames_[0] | kRead | kWrite);
  ASSERT_EQ(file_.get(window_.liobn, at(0), tce), 0);
  EXPECT_EQ(tce, 0u);
}

TEST_F(ModuleTest, MappedPagesStayPinned) {
  ASSERT_EQ(map(0, tces(100, 3)), 0);
  EXPECT_EQ(file_.unpin(pin_), EBUSY);
  // Pinned once more, the first pin can go.
  std::vector<std::uint64_t> again;
  std::uint32_t second = 0;
  ASSERT_EQ(file_.pin(pages_.data(), pages_.size(), again, second), 0);
  EXPECT_EQ(again, frames_);
  EXPECT_EQ(file_.unpin(pin_), 0);
  EXPECT_EQ(file_.unpin(pin_), ENOENT);
  EXPECT_EQ(file_.unpin(second), EBUSY);
  ASSERT_EQ(file_.unmap(window_.liobn, at(0), 3), 0);
  EXPECT_EQ(file_.unpin(second), 0);
  EXPECT_EQ(file_.info().pinned, 0u);
}

TEST_F(ModuleTest, PinIsHeldAgainstTheLimit) {
  std::vector<std::uint64_t> frames;
  std::uint32_t pin = 0;
  EXPECT_EQ(file_.pin(pages_.data() + 1, kTceBytes, frames, pin), EINVAL);
  EXPECT_EQ(file_.pin(pages_.data(), 0, frames, pin), EINVAL);
  EXPECT_EQ(file_.pin(nullptr, kTceBytes, frames, pin), EFAULT);
  EXPECT_EQ(file_.pin(pages_.data(), kTceBytes, frames, pin, 2), EINVAL);
  pviommu_papr_pin big{reinterpret_cast<std::uintptr_t>(pages_.data()), PVIOMMU_PAPR_MAX_PIN + kTceBytes, 0, 0, 0};
  EXPECT_EQ(request(file_.fd(), PVIOMMU_PAPR_PIN, big), E2BIG);
  // Where to write the answer is checked, and nothing stays.
  pviommu_papr_pin nowhere{reinterpret_cast<std::uintptr_t>(pages_.data()), kTceBytes, 8, 0, 0};
  const auto before = file_.info().pinned;
  EXPECT_EQ(request(file_.fd(), PVIOMMU_PAPR_PIN, nowhere), EFAULT);
  EXPECT_EQ(file_.info().pinned, before);
}

TEST_F(ModuleTest, AFunctionIsClaimedOnce) {
  ModuleFile other;
  EXPECT_EQ(other.claim(kEdu), EBUSY);
  EXPECT_EQ(file_.claim(kEdu), EBUSY);
  EXPECT_EQ(other.claim(0x00ff0000), ENODEV);
  EXPECT_EQ(other.claim(kNvme, 0x80), EINVAL);
  EXPECT_EQ(other.release(kEdu), ENODEV);
  // What is behind PHB 0 has drivers.
  EXPECT_EQ(other.claim(30u << 3), EBUSY);
  ASSERT_EQ(file_.release(kEdu), 0);
  EXPECT_EQ(file_.release(kEdu), ENODEV);
  EXPECT_EQ(other.claim(kEdu), 0);
}

TEST_F(ModuleTest, ReleaseEmptiesTheWindow) {
  ASSERT_EQ(map(0, tces(0, 512)), 0);
  EXPECT_EQ(file_.release(kEdu), 0);
  EXPECT_EQ(map(512, tces(0, 1)), ENODEV);
  EXPECT_EQ(file_.unpin(pin_), 0);
  EXPECT_EQ(file_.claim(kEdu, PVIOMMU_PAPR_CLAIM_CHECK_EMPTY), 0) << std::hex << file_.occupied;
}

TEST_F(ModuleTest, InterruptsAreReadAndCounted) {
  std::uint32_t count = 4;
  ASSERT_EQ(file_.vectors(kEdu, PVIOMMU_PAPR_MSI, count), 0);
  EXPECT_EQ(count, 1u) << "edu has one";
  EXPECT_EQ(file_.vectors(kEdu, PVIOMMU_PAPR_MSI, count), EBUSY);
  EXPECT_FALSE(file_.readable(0));
  edu_->master(true);
  for (unsigned i = 0; i < 5; ++i) {
    edu_->write(0x60, 1);
    ASSERT_TRUE(file_.readable(3000)) << i;
    pviommu_papr_arrival arrival[4];
    ASSERT_EQ(::read(file_.fd(), arrival, sizeof arrival), static_cast<ssize_t>(sizeof arrival[0]));
    EXPECT_EQ(arrival[0].sbdf, kEdu);
    EXPECT_EQ(arrival[0].vector, 0u);
    EXPECT_EQ(arrival[0].count, 1u);
    edu_->write(0x64, 1);
  }
  // Unread ones add up.
  for (unsigned i = 0; i < 3; ++i) {
    edu_->write(0x60, 1);
    edu_->write(0x64, 1);
    ::usleep(50'000);
  }
  pviommu_papr_arrival arrival{};
  ASSERT_TRUE(file_.readable(3000));
  EXPECT_LT(::read(file_.fd(), &arrival, sizeof arrival - 1), 0);
  EXPECT_LT(::syscall(SYS_read, file_.fd(), 8, sizeof arrival), 0);
  EXPECT_EQ(errno, EFAULT);
  ASSERT_EQ(::read(file_.fd(), &arrival, sizeof arrival), static_cast<ssize_t>(sizeof arrival)) << "still there";
  EXPECT_EQ(arrival.count, 3u);
  EXPECT_FALSE(file_.readable(0));

  // At the end of a DMA, too.
  ASSERT_EQ(map(0, tces(0, 1)), 0);
  ASSERT_TRUE(edu_->dma(Edu::to_device, at(0), 64, true));
  EXPECT_TRUE(file_.readable(3000));
  edu_->write(0x64, ~0u);
  count = 0;
  EXPECT_EQ(file_.vectors(kEdu, 0, count), 0);
  EXPECT_FALSE(file_.readable(0));
  count = 1;
  EXPECT_EQ(file_.vectors(kEdu, PVIOMMU_PAPR_MSI, count), 0);
  edu_->write(0x60, 1);
  EXPECT_TRUE(file_.readable(3000)) << "again after a free";
  edu_->master(false);
}

TEST_F(ModuleTest, VectorsAreChecked) {
  std::uint32_t count = 257;
  EXPECT_EQ(file_.vectors(kEdu, PVIOMMU_PAPR_MSI, count), EINVAL);
  count = 1;
  EXPECT_EQ(file_.vectors(kEdu, 3, count), EINVAL);
  EXPECT_EQ(file_.vectors(kOther, PVIOMMU_PAPR_MSI, count), ENODEV);
  EXPECT_NE(file_.vectors(kEdu, PVIOMMU_PAPR_MSIX, count), 0) << "edu has none";
}

TEST_F(ModuleTest, ALotOfWindowsAndFunctionsAtOnce) {
  ASSERT_EQ(file_.claim(kOther), 0);
  const auto other = file_.window;
  EXPECT_NE(other.liobn, window_.liobn);
  Edu second{Sbdf(kOther)};
  ASSERT_TRUE(second);
  std::memset(pages_.data(), 0x21, kTceBytes);
  ASSERT_EQ(map(0, tces(0, 1)), 0);
  ASSERT_EQ(file_.map(other.liobn, at(0), tces(1, 1)), 0);
  edu_->master(true);
  second.master(true);
  ASSERT_TRUE(edu_->dma(Edu::to_device, at(0), 64));
  ASSERT_TRUE(second.dma(Edu::to_device, at(0), 64));
  ASSERT_TRUE(second.dma(Edu::from_device, at(0), 64));
  EXPECT_EQ(pages_.data()[kTceBytes], 0);
  EXPECT_EQ(file_.release(kEdu), 0);
  EXPECT_EQ(file_.unpin(pin_), EBUSY) << "the other window still has a page";
  EXPECT_EQ(file_.release(kOther), 0);
  EXPECT_EQ(file_.unpin(pin_), 0);
}

// ---- ends ----------------------------------------------------------------------

/// A child that claims and maps, says so and waits to be killed.  `give_up`: what it
/// does instead of waiting.
pid_t child_with_mappings(bool leave) {
  int ready[2];
  if (::pipe(ready) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    ModuleFile file;
    Pages pages(512 * kTceBytes);
    std::vector<std::uint64_t> frames;
    std::uint32_t pin = 0;
    bool good = file.claim(kEdu) == 0 && file.pin(pages.data(), pages.size(), frames, pin) == 0;
    for (auto& frame : frames) frame |= kRead | kWrite;
    good = good && file.map(file.window.liobn, 0x200000, frames) == 0;
    Edu edu{Sbdf(kEdu)};
    std::uint32_t count = 1;
    good = good && edu && file.vectors(kEdu, PVIOMMU_PAPR_MSI, count) == 0;
    if (good) edu.master(true);
    (void)!::write(ready[1], good ? "y" : "n", 1);
    if (leave) ::_exit(0);
    for (;;) {  // at work when it is killed
      edu.write64(0x80, Edu::kBuffer);
      edu.write64(0x88, 0x200000);
      edu.write64(0x90, Edu::kMost);
      edu.write64(0x98, 3);
      edu.write(0x60, 1);
      edu.write(0x64, 1);
    }
  }
  char answer = 'n';
  (void)!::read(ready[0], &answer, 1);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_EQ(answer, 'y');
  return child;
}

TEST(ModuleEnds, AProgramThatIsKilledLeavesAnEmptyWindow) {
  for (const bool leave : {false, true, false}) {
    const pid_t child = child_with_mappings(leave);
    ASSERT_GT(child, 0);
    if (!leave) {
      ::usleep(200'000);
      ::kill(child, SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ModuleFile file;
    std::ifstream config("/sys/bus/pci/devices/0001:00:00.0/config", std::ios::binary);
    char command[6] = {};
    config.read(command, 6);
    EXPECT_EQ(command[4] & PCI_COMMAND_MASTER, 0);
    EXPECT_NE(::access("/sys/bus/pci/devices/0001:00:00.0/driver", F_OK), 0);
    EXPECT_EQ(file.claim(kEdu, PVIOMMU_PAPR_CLAIM_CHECK_EMPTY), 0) << std::hex << file.occupied;
  }
}

// Run by module.test.sh when nvme had the device.
TEST(ModuleEnds, DISABLED_WindowOfADriver) {
  ModuleFile file;
  // 6.1 has made one that all memory is in; 6.12 and this QEMU do not agree on its size.
  const bool made = ::access("/sys/bus/pci/devices/0002:00:00.0/of_node/../linux,direct64-ddr-window-info", F_OK) == 0;
  EXPECT_EQ(file.claim(kNvme), made ? EBUSY : 0);
  file.close();
  EXPECT_NE(::access("/sys/bus/pci/devices/0002:00:00.0/driver", F_OK), 0);
}

// Run by module.test.sh at the end: it does not come back.
TEST(ModuleEnds, DISABLED_AFunctionThatIsRemoved) {
  ModuleFile file;
  Pages pages(64 * kTceBytes);
  std::vector<std::uint64_t> frames;
  std::uint32_t pin = 0, count = 1;
  ASSERT_EQ(file.claim(kOther), 0);
  ASSERT_EQ(file.pin(pages.data(), pages.size(), frames, pin), 0);
  ASSERT_EQ(file.map(file.window.liobn, 0x3000, {frames[0] | kRead}), 0);
  ASSERT_EQ(file.vectors(kOther, PVIOMMU_PAPR_MSI, count), 0);
  std::ofstream("/sys/bus/pci/devices/0003:00:00.0/remove") << "1";
  EXPECT_NE(::access("/sys/bus/pci/devices/0003:00:00.0", F_OK), 0);
  EXPECT_EQ(file.map(file.window.liobn, 0x4000, {frames[0] | kRead}), ENODEV);
  EXPECT_EQ(file.vectors(kOther, PVIOMMU_PAPR_MSI, count), ENODEV);
  EXPECT_EQ(file.release(kOther), ENODEV);
  EXPECT_EQ(file.info().mapped, 0u);
  EXPECT_EQ(file.unpin(pin), 0) << "nothing is mapped any more";
}

TEST(ModuleEnds, LimitOfLockedMemory) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{64 * 1024, 64 * 1024};
    bool good = ::setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
    ModuleFile file;
    // Without CAP_IPC_LOCK; the file is open.
    good = good && ::setresuid(1000, 1000, 1000) == 0;
    Pages pages(512 * kTceBytes);
    std::vector<std::uint64_t> frames;
    std::uint32_t pin = 0;
    good = good && file.pin(pages.data(), 64 * 1024, frames, pin) == 0;
    good = good && file.pin(pages.data() + 64 * 1024, 64 * 1024, frames, pin) == ENOMEM;
    // And who is not root does not open it.
    good = good && ::open(PVIOMMU_PAPR_DEVICE, O_RDWR) < 0 && errno == EACCES;
    ::_exit(good ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ModuleEnds, OnlyTheOpenerPins) {
  ModuleFile file;
  const pid_t child = ::fork();
  if (child == 0) {
    Pages pages(64 * 1024);
    std::vector<std::uint64_t> frames;
    std::uint32_t pin = 0;
    ::_exit(file.pin(pages.data(), pages.size(), frames, pin) == EPERM ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ModuleEnds, UnknownRequests) {
  ModuleFile file;
  int argument = 0;
  EXPECT_EQ(request(file.fd(), _IO(PVIOMMU_PAPR_TYPE, 99), argument), ENOTTY);
  EXPECT_EQ(request(file.fd(), _IO(0x11, 0), argument), ENOTTY);
  EXPECT_EQ(::ioctl(file.fd(), PVIOMMU_PAPR_MAP, nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
}

// ---- answers, run by module-answers.test.sh ---------------------------------------

class ModuleAnswers : public ModuleTest {
 protected:
  /// Entries from page 0 on that are not empty.
  unsigned left(unsigned count) {
    unsigned all = 0;
    for (unsigned i = 0; i < count; ++i) {
      std::uint64_t tce = 1;
      if (file_.get(window_.liobn, at(i), tce) != 0 || tce != 0) ++all;
    }
    return all;
  }
};

TEST_F(ModuleAnswers, DISABLED_NoLists) {
  const auto before = file_.info();
  ASSERT_EQ(map(0, tces(0, 512)), 0);
  EXPECT_EQ(file_.info().put_tce - before.put_tce, 512u);
  std::uint64_t tce = 0;
  ASSERT_EQ(file_.get(window_.liobn, at(511), tce), 0);
  EXPECT_EQ(tce, frames_[511] | kRead | kWrite);
  ASSERT_EQ(file_.unmap(window_.liobn, at(0), 512), 0);
  EXPECT_EQ(left(512), 0u);
}

TEST_F(ModuleAnswers, DISABLED_Busy) {
  ASSERT_EQ(map(0, tces(0, 512)), 0);
  EXPECT_EQ(file_.info().busy, 4u);
  EXPECT_EQ(file_.info().put_tce_indirect, 5u);
}

TEST_F(ModuleAnswers, DISABLED_BusyForEver) {
  EXPECT_EQ(map(0, tces(0, 512)), EIO);
  EXPECT_EQ(file_.rc, 9903);
  EXPECT_EQ(file_.info().put_tce_indirect, 6u) << "five seconds";
  EXPECT_EQ(left(512), 0u);
  EXPECT_EQ(file_.unpin(pin_), 0);
}

TEST_F(ModuleAnswers, DISABLED_HalfAList) {
  EXPECT_EQ(map(0, tces(0, 512)), EIO);
  EXPECT_EQ(file_.rc, -4);
  EXPECT_EQ(left(512), 0u);
  EXPECT_EQ(file_.info().mapped, 0u);
  EXPECT_EQ(file_.unpin(pin_), 0);
}

TEST_F(ModuleAnswers, DISABLED_OneByOne) {
  ASSERT_EQ(map(0, tces(0, 512)), 0);
  ASSERT_EQ(file_.unmap(window_.liobn, at(0), 512), 0);
  EXPECT_EQ(left(512), 0u);
}

TEST_F(ModuleAnswers, DISABLED_NothingCanBeEmptied) {
  ASSERT_EQ(map(0, tces(0, 512)), 0);
  EXPECT_EQ(file_.unmap(window_.liobn, at(0), 512), EIO);
  EXPECT_EQ(left(512), 512u);
  EXPECT_EQ(file_.info().mapped, 512u);
  EXPECT_EQ(file_.unpin(pin_), EBUSY);
  file_.close();
  ModuleFile next;
  EXPECT_EQ(next.claim(kEdu, PVIOMMU_PAPR_CLAIM_CHECK_EMPTY), EEXIST);
  EXPECT_EQ(next.occupied, at(0));
  EXPECT_EQ(next.claim(kEdu), EIO);
}

}  // namespace
}  // namespace pviommu::rig
