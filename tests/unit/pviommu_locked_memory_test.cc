// SPDX-License-Identifier: LGPL-2.1-or-later
// RLIMIT_MEMLOCK as an ordinary user, in a child process.  The names in
// comments are the kernel's cases: 64 KiB, counted for each mapping.
#include "pviommu/locked_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hypercall/strong.h"
#include "pviommu/address_space.h"
#include "pviommu/hypercall_iommu.h"
#include "pviommu/named_memory.h"
#include "pviommu_fakes.h"

namespace pviommu {
namespace {

/// Runs `body` as uid 65534 with a limit of `pages`; its result is the exit
/// status (0: good, else the line that failed).
template <class Body>
void as_user(std::uint64_t pages, Body body) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);
    const rlimit limit{pages * kPageSize, pages * kPageSize};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(250);
    ::_exit(body());
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0) << "failed at line " << WEXITSTATUS(status);
}

#define CHECK_OR_LEAVE(condition) \
  if (!(condition)) return __LINE__ % 250

TEST(LockedMemory, CountsUpToTheLimit) {
  as_user(16, [] {
    LockedMemory memory;
    CHECK_OR_LEAVE(memory.add(16));
    CHECK_OR_LEAVE(memory.add(1).error().code == ENOMEM);
    memory.remove(16);
    CHECK_OR_LEAVE(memory.add(17).error().code == ENOMEM);
    CHECK_OR_LEAVE(memory.add(~std::uint64_t{0} >> 12).error().code == ENOMEM);
    LockedMemory other;  // the limit is the process's
    CHECK_OR_LEAVE(memory.add(10));
    CHECK_OR_LEAVE(other.add(6));
    CHECK_OR_LEAVE(!other.add(1));
    return 0;
  });
}

TEST(LockedMemory, ARefusalIsTold) {
  as_user(16, [] {
    static std::uint64_t told;
    told = 0;
    LockedMemory::on_refusal([](std::uint64_t limit) { told = limit; });
    LockedMemory memory;
    CHECK_OR_LEAVE(memory.add(16));
    CHECK_OR_LEAVE(told == 0);
    CHECK_OR_LEAVE(!memory.add(1));
    CHECK_OR_LEAVE(told == 16 * kPageSize);
    return 0;
  });
}

TEST(LockedMemory, MlockedMemoryCounts) {
  as_user(16, [] {
    void* memory = ::mmap(nullptr, 8 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_OR_LEAVE(::syscall(SYS_mlock, memory, 8 * kPageSize) == 0);
    LockedMemory locked;
    CHECK_OR_LEAVE(locked.add(8));  // L17
    CHECK_OR_LEAVE(locked.add(1).error().code == ENOMEM);
    ::syscall(SYS_munlock, memory, 8 * kPageSize);  // sanitizers switch the C function off
    CHECK_OR_LEAVE(locked.add(1));
    return 0;
  });
}

TEST(LockedMemory, AddressSpaceAccountsEachMapping) {
  as_user(16, [] {
    test::FakeSpaces hypervisor;
    test::FakeFrames frames;
    auto driver = make_hypercall_iommu(hypervisor, hypervisor.limits);
    auto space = *AddressSpace::create(*driver, hypervisor, frames, {});
    const auto map = [&](std::uint64_t iova, std::uint64_t pages) {
      const Status status = space->map(Iova(iova), Hva(0x7000000), pages * kPageSize, Access::read_write);
      return status ? 0 : status.error().code;
    };
    CHECK_OR_LEAVE(map(0, 16) == 0);  // L11
    CHECK_OR_LEAVE(map(0x100000, 1) == ENOMEM);
    CHECK_OR_LEAVE(map(0, 1) == EEXIST);             // before the limit
    CHECK_OR_LEAVE(map(0xfee00000, 1) == EINVAL);    // before the limit
    CHECK_OR_LEAVE(space->unmap(Iova(0), 16 * kPageSize).ok());  // L13
    CHECK_OR_LEAVE(map(0, 8) == 0);
    CHECK_OR_LEAVE(map(0x100000, 8) == 0);           // L15: the same pages again
    CHECK_OR_LEAVE(map(0x200000, 1) == ENOMEM);      // L16
    CHECK_OR_LEAVE(frames.live == 2);
    // A BAR is not counted (L21).
    hypervisor.limits.peer_to_peer = true;
    CHECK_OR_LEAVE(space->map_mmio(Iova(0x300000), make_sbdf(0, 0, 1, 0), 0, 0, kPageSize, Hva(0x8000000),
                                   Access::read_write)
                       .ok());
    CHECK_OR_LEAVE(space->unmap(Iova(0x300000), kPageSize).ok());
    CHECK_OR_LEAVE(map(0x200000, 1) == ENOMEM);
    // A failed map gives back what it had counted.
    CHECK_OR_LEAVE(space->unmap_all().ok());
    frames.fail_at = frames.calls + 1;
    CHECK_OR_LEAVE(map(0, 16) == EFAULT);
    CHECK_OR_LEAVE(map(0, 16) == 0);
    space.reset();
    return 0;
  });
}

TEST(LockedMemory, WhoPinsCounts) {
  as_user(16, [] {
    // A hypervisor that pins, and an IOMMU driver that does not pass this on.
    test::FakeSpaces hypervisor;
    hypervisor.limits.pins_memory = true;
    Capabilities narrower = hypervisor.limits;
    narrower.pins_memory = false;
    auto driver = make_hypercall_iommu(hypervisor, narrower);
    const auto naming = make_naming_source();
    auto space = std::move(*AddressSpace::create(*driver, hypervisor, *naming, {}));
    CHECK_OR_LEAVE(space->map(Iova(0), Hva(0x7000000), 32 * kPageSize, Access::read_write).ok());
    // Nothing of it was counted here.
    LockedMemory locked;
    CHECK_OR_LEAVE(locked.add(16));
    CHECK_OR_LEAVE(space->unmap_all().ok());
    CHECK_OR_LEAVE(!locked.add(1));
    return 0;
  });
}

TEST(LockedMemory, CapabilityExempts) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs CAP_IPC_LOCK";
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{kPageSize, kPageSize};
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
    LockedMemory memory;
    ::_exit(memory.add(1000) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(LockedMemory, CapabilityMayBeGivenUp) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs CAP_IPC_LOCK";
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{16 * kPageSize, 16 * kPageSize};
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
    LockedMemory memory;
    if (!memory.add(8) || ::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    if (!memory.add(8)) ::_exit(2);
    if (memory.add(1).ok()) ::_exit(3);
    memory.remove(8);
    ::_exit(memory.add(1) ? 0 : 4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace pviommu
