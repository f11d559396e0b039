// SPDX-License-Identifier: LGPL-2.1-or-later
// Counting and timing, and the block that outlives a killed program.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <vector>

#include "hypercall/counted.h"
#include "hypercall/statistics.h"
#include "hypercall/unique_fd.h"

namespace pviommu {
namespace {

constexpr std::size_t kMap = static_cast<std::size_t>(HypercallOp::map);

UniqueFd make_file(off_t size) {
  UniqueFd fd(::memfd_create("statistics", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), size), 0);
  return fd;
}

TEST(HypercallTimer, Counts) {
  Statistics& s = statistics();
  const auto before = s.hypercalls[kMap].count.load();
  const auto failures = s.hypercall_failures[kMap].load();
  const auto time = s.hypercalls[kMap].nanoseconds.load();
  { HypercallTimer timer(HypercallOp::map); }
  {
    HypercallTimer timer(HypercallOp::map);
    timer.failed();
  }
  EXPECT_EQ(s.hypercalls[kMap].count, before + 2);
  EXPECT_EQ(s.hypercall_failures[kMap], failures + 1);
  EXPECT_EQ(s.hypercalls[kMap].nanoseconds, time) << "no time is taken unless asked for";
}

TEST(HypercallTimer, MeasuresWhenAsked) {
  Statistics& s = statistics();
  const auto time = s.hypercalls[kMap].nanoseconds.load();
  s.timed = 1;
  {
    HypercallTimer timer(HypercallOp::map);
    ::usleep(2000);
  }
  s.timed = 0;
  EXPECT_GE(s.hypercalls[kMap].nanoseconds, time + 2'000'000);
}

TEST(HypercallTimer, ManyThreads) {
  Statistics& s = statistics();
  const auto before = s.hypercalls[kMap].count.load();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      for (int n = 0; n < 1000; ++n) HypercallTimer timer(HypercallOp::map);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(s.hypercalls[kMap].count, before + 4000);
}

TEST(ShareStatistics, RefusesWhatIsNoBlock) {
  EXPECT_EQ(share_statistics(-1).error().code, EBADF);
  const UniqueFd small = make_file(sizeof(Statistics) - 1);
  EXPECT_EQ(share_statistics(small.get()).error().code, EINVAL);
  const UniqueFd other = make_file(sizeof(Statistics));
  const std::uint32_t magic = 0x12345678;
  ASSERT_EQ(::pwrite(other.get(), &magic, sizeof magic, 0), static_cast<ssize_t>(sizeof magic));
  EXPECT_EQ(share_statistics(other.get()).error().code, EINVAL);
  EXPECT_EQ(statistics().magic, Statistics::kMagic);
}

// What `pviommu run` does: the figures of a killed program stay readable, and a
// second process adds to the first one's.
TEST(ShareStatistics, SurvivesAKilledProcess) {
  const UniqueFd fd = make_file(sizeof(Statistics));
  for (int round = 0; round < 2; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (!share_statistics(fd.get())) ::_exit(1);
      statistics().maps.count += 5;
      { HypercallTimer timer(HypercallOp::attach); }
      ::raise(SIGKILL);
      ::_exit(2);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
  }
  void* memory = ::mmap(nullptr, sizeof(Statistics), PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  const auto& s = *static_cast<const Statistics*>(memory);
  EXPECT_EQ(s.magic, Statistics::kMagic);
  EXPECT_EQ(s.maps.count, 10u);
  EXPECT_EQ(s.hypercalls[static_cast<std::size_t>(HypercallOp::attach)].count, 2u);
  ::munmap(memory, sizeof(Statistics));
}

TEST(Statistics, KeepsTheLatestFaults) {
  const std::uint64_t before = statistics().fault_count.load();
  for (std::uint64_t i = 0; i < kLoggedFaults + 3; ++i)
    count_fault({make_sbdf(0, 0, 6, 0), Iova(0x1000 * (before + i)), Access::write, FaultReason::not_mapped});
  EXPECT_EQ(statistics().fault_count.load(), before + kLoggedFaults + 3);
  // The n-th lies at n % kLoggedFaults; the oldest have been replaced.
  for (std::uint64_t n = before + 3; n < before + 3 + kLoggedFaults; ++n) {
    const LoggedFault& record = statistics().last_faults[n % kLoggedFaults];
    EXPECT_EQ(record.iova.load(), 0x1000 * n);
    EXPECT_EQ(record.sbdf.load(), make_sbdf(0, 0, 6, 0).raw());
  }
}

}  // namespace
}  // namespace pviommu
