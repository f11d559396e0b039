// SPDX-License-Identifier: LGPL-2.1-or-later
// Guest mode and the kinds of notification on real Xen, by the hypervisor interface
// alone, with two edu and a tiny guest (tiny_guest.h).  To be run in dom0.
//
//   xen_guest --gtest_filter=...     the tests
//   xen_guest make                   makes a guest, prints its domid
//   xen_guest counts ID VECTOR       arrivals it has seen
//   xen_guest lives ID | destroy ID
//   xen_guest hold ID OFFSET [PIRQ]  attaches an edu, binds its vector, maps a page of the
//                                    other's BAR, lets the edu send, moves the vector to a
//                                    pirq of the guest, says so and waits to be killed
//   xen_guest latency                see latency.cc
//   xen_guest consume PID FD         see notify.cc
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "edu.h"
#include "hypercall/backend.h"
#include "tests/tap.h"
#include "tiny_guest.h"

using namespace pviommu;

int consume(int pid, int fd);
int latency();

namespace {

/// Memory named by its address, as the front ends do in guest mode.
struct Named final : PinnedMemory {
  Named(const void* memory, std::size_t bytes)
      : PinnedMemory(HvaRange::from_size(Hva(reinterpret_cast<std::uintptr_t>(memory)), bytes).value()) {}
  bool holds_pages() const override { return false; }
  int holder_fd() const override { return -1; }
  Status from_file(int, std::uint64_t, std::uint64_t, std::size_t) override {
    return Error{EOPNOTSUPP, "test"};
  }
  Status to_file(int, std::uint64_t, std::uint64_t, std::size_t) override {
    return Error{EOPNOTSUPP, "test"};
  }
};

constexpr std::uint8_t kVector = 0x50;

class GuestMode : public testing::Test {
 protected:
  void SetUp() override {
    const std::uint32_t domid = tiny::Guest::make({});
    guest = std::make_unique<tiny::Guest>(domid);
    auto opened = open_hypervisor("xen:domain=" + std::to_string(domid));
    ASSERT_TRUE(opened) << to_string(opened.error());
    hypervisor = std::move(*opened);
    edu = Edu::open(*hypervisor, kFirstEdu);
    ASSERT_TRUE(edu);
    auto made = hypervisor->spaces().create_space({});
    ASSERT_TRUE(made) << to_string(made.error());
    space = *made;
    ASSERT_EQ(space.raw(), domid);
    ASSERT_TRUE(hypervisor->spaces().attach(space, kFirstEdu));
    edu->start();
  }
  void TearDown() override {
    if (edu) {
      edu->stop();
      if (bound) {
        EXPECT_TRUE(hypervisor->interrupts().unbind_vector(vector));
      }
      if (allocated) {
        EXPECT_TRUE(hypervisor->interrupts().free_vectors(kFirstEdu, VectorKind::msi));
      }
      EXPECT_TRUE(hypervisor->spaces().detach(space, kFirstEdu));
      edu.reset();
      EXPECT_TRUE(hypervisor->spaces().destroy_space(space));
    }
    hypervisor.reset();
    if (!guest) return;
    const std::uint32_t domid = guest->domid();
    if (!ended) {
      EXPECT_TRUE(tiny::Guest::alive(domid));
    }
    guest.reset();
    if (!ended) tiny::Guest::destroy(domid);
  }
  void bind(std::uint8_t gvec = kVector) {
    if (!allocated) {
      const auto granted = hypervisor->interrupts().allocate_vectors(kFirstEdu, VectorKind::msi, 1);
      ASSERT_TRUE(granted) << to_string(granted.error());
      ASSERT_EQ(*granted, 1u);
      allocated = true;
      edu->enable_msi(true);
    }
    Notification target;
    target.kind = NotificationKind::guest_vector;
    target.domid = Domid(static_cast<std::uint16_t>(guest->domid()));
    target.gvec = gvec;
    const Status status = hypervisor->interrupts().bind_vector(vector, target);
    ASSERT_TRUE(status) << to_string(status.error());
    bound = true;
  }
  /// Arrivals one after the other; how many of `count` came.
  unsigned fire(std::uint8_t gvec, unsigned count) {
    const std::uint32_t before = guest->count(gvec);
    for (unsigned i = 1; i <= count; ++i) {
      edu->raise();
      if (guest->await(gvec, before + i) != before + i) break;
    }
    return guest->count(gvec) - before;
  }

  std::unique_ptr<tiny::Guest> guest;
  std::unique_ptr<Hypervisor> hypervisor;
  std::unique_ptr<Edu> edu;
  SpaceId space{};
  const Vector vector{kFirstEdu, VectorKind::msi, 0};
  bool allocated = false, bound = false, ended = false;
};

/// Lines of /proc/interrupts that are event channels of programs.
std::string channels_of_programs() {
  std::ifstream file("/proc/interrupts");
  std::string found;
  for (std::string line; std::getline(file, line);)
    if (line.find("evtchn:") != std::string::npos) found += line + "\n";
  return found;
}

TEST_F(GuestMode, ThousandMessagesAndNothingInDom0) {
  const std::string before = channels_of_programs();
  bind();
  EXPECT_EQ(fire(kVector, 1000), 1000u);
  EXPECT_EQ(channels_of_programs(), before);
  EXPECT_EQ(hypervisor->interrupts().event_fd(), -1);
  for (unsigned other = 0x20; other < 0x100; ++other)
    if (other != kVector) {
      EXPECT_EQ(guest->count(other), 0u) << other;
    }
}

TEST_F(GuestMode, AnotherVectorOfTheGuest) {
  bind();
  EXPECT_EQ(fire(kVector, 10), 10u);
  bind(0x61);
  EXPECT_EQ(fire(0x61, 10), 10u);
  EXPECT_EQ(guest->count(kVector), 10u);
  ASSERT_TRUE(hypervisor->interrupts().raise_vector(vector));
  EXPECT_EQ(guest->await(0x61, 11), 11u);
}

TEST_F(GuestMode, OnlyVectorsOfThisGuest) {
  bind();
  Notification other{NotificationKind::guest_vector, nullptr, Domid(1000), EventPort(0), 0x50, 0};
  EXPECT_EQ(hypervisor->interrupts().bind_vector(vector, other).error().code, EINVAL);
  other.domid = Domid(static_cast<std::uint16_t>(guest->domid()));
  other.gvec = 15;
  EXPECT_EQ(hypervisor->interrupts().bind_vector(vector, other).error().code, EINVAL);
  other.kind = NotificationKind::event_channel;
  EXPECT_EQ(hypervisor->interrupts().bind_vector(vector, other).error().code, EOPNOTSUPP);
  EXPECT_EQ(hypervisor->interrupts().event_port(vector).error().code, ENOENT);
  EXPECT_EQ(fire(kVector, 3), 3u);
}

/// The pirqs that the guest has of its own choice; what gets to them, a Linux guest shows
/// (attach.test.sh).
TEST_F(GuestMode, PirqsOfTheGuest) {
  bind();
  Notification pirq;
  pirq.kind = NotificationKind::guest_vector;
  pirq.domid = Domid(static_cast<std::uint16_t>(guest->domid()));
  for (const std::uint32_t number : {20u, 20u, 21u}) {
    pirq.gflags = number;
    const Status status = hypervisor->interrupts().bind_vector(vector, pirq);
    ASSERT_TRUE(status) << to_string(status.error());
  }
  EXPECT_EQ(hypervisor->interrupts().raise_vector(vector).error().code, EOPNOTSUPP);
  bind(0x50);
  EXPECT_EQ(fire(0x50, 10), 10u);

  // Not there, or another's: all is as it was.
  for (const std::uint32_t number : {0u, 100000u, 0x80000000u}) {
    pirq.gflags = number;
    EXPECT_EQ(hypervisor->interrupts().bind_vector(vector, pirq).error().code, EINVAL) << number;
    EXPECT_EQ(fire(0x50, 3), 3u);
  }
  auto other = Edu::open(*hypervisor, kSecondEdu);
  ASSERT_TRUE(other);
  ASSERT_TRUE(hypervisor->spaces().attach(space, kSecondEdu));
  other->start();
  const Vector second{kSecondEdu, VectorKind::msi, 0};
  ASSERT_TRUE(hypervisor->interrupts().allocate_vectors(kSecondEdu, VectorKind::msi, 1));
  pirq.gflags = 21;  // of the first
  EXPECT_EQ(hypervisor->interrupts().bind_vector(second, pirq).error().code, EEXIST);
  pirq.gflags = 22;
  EXPECT_TRUE(hypervisor->interrupts().bind_vector(second, pirq));
  EXPECT_EQ(hypervisor->interrupts().bind_vector(vector, pirq).error().code, EEXIST);
  EXPECT_EQ(fire(0x50, 3), 3u);
  EXPECT_TRUE(hypervisor->interrupts().unbind_vector(second));
  EXPECT_TRUE(hypervisor->interrupts().free_vectors(kSecondEdu, VectorKind::msi));
  other->stop();
  EXPECT_TRUE(hypervisor->spaces().detach(space, kSecondEdu));
  // It is free again.
  EXPECT_TRUE(hypervisor->interrupts().bind_vector(vector, pirq));
  bind(0x51);
  EXPECT_EQ(fire(0x51, 3), 3u);
}

TEST_F(GuestMode, DmaAtGuestPhysicalAddresses) {
  std::uint8_t* there = guest->memory() + tiny::kFree;
  for (unsigned i = 0; i < 4096; ++i) there[i] = static_cast<std::uint8_t>(i * 7 + 1);
  constexpr std::uint32_t kBytes = 4000;  // less than a page: what is beside it must stay
  edu->dma_from_memory(tiny::kFree, kBytes);
  edu->dma_to_memory(tiny::kFree + 0x2000, kBytes);
  EXPECT_EQ(std::memcmp(there, there + 0x2000, kBytes), 0);
  EXPECT_EQ(there[0x1fff], 0);
  EXPECT_EQ(there[0x2000 + kBytes], 0);
}

TEST_F(GuestMode, MappingMemoryIsACheck) {
  Named window(guest->memory() + tiny::kFree, 0x4000);
  std::vector<FrameRun> frames;
  const Status named = hypervisor->spaces().frames_of(window, frames);
  ASSERT_TRUE(named) << to_string(named.error());
  ASSERT_EQ(frames.size(), 1u);
  const MapRun ram[] = {{Dfn(tiny::kFree >> 12), frames[0].mfn, 4, Access::read_write}};
  auto mapped = hypervisor->spaces().map(space, ram);
  EXPECT_TRUE(mapped.status) << to_string(mapped.status.error());
  EXPECT_EQ(mapped.pages_done, 4u);
  const UnmapRun back[] = {{Dfn(tiny::kFree >> 12), frames[0].mfn, 4}};
  EXPECT_TRUE(hypervisor->spaces().unmap(space, back).status);
  // The guest has its memory still.
  edu->dma_to_memory(tiny::kFree, 64);

  // Beyond the end of its memory, wholly and in part.
  for (const std::uint64_t first : {std::uint64_t{tiny::kPages}, std::uint64_t{tiny::kPages - 2}}) {
    const MapRun hole[] = {{Dfn(first), frames[0].mfn, 4, Access::read_write}};
    mapped = hypervisor->spaces().map(space, hole);
    EXPECT_EQ(mapped.status.error().code, EFAULT);
    EXPECT_EQ(mapped.pages_done, 0u);
  }
  // Memory of dom0's own is never the guest's.
  void* own =
      ::mmap(nullptr, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  Named mine(own, 0x4000);
  frames.clear();
  EXPECT_EQ(hypervisor->spaces().frames_of(mine, frames).error().code, EFAULT);
  ::munmap(own, 0x4000);
}

TEST_F(GuestMode, BarsGoIntoTheGuest) {
  auto other = Edu::open(*hypervisor, kSecondEdu);
  ASSERT_TRUE(other);
  ASSERT_TRUE(hypervisor->spaces().attach(space, kSecondEdu));
  other->start();
  std::vector<FrameRun> frames;
  ASSERT_TRUE(hypervisor->spaces().frames_of_mmio(kSecondEdu, 0, 0, 0x1000, frames));
  ASSERT_EQ(frames.size(), 1u);
  constexpr std::uint64_t kAt = 0x10000000;
  // Onto RAM: refused, and the RAM is there as before.
  const MapRun on_ram[] = {{Dfn(tiny::kFree >> 12), frames[0].mfn, 1, Access::read_write}};
  EXPECT_EQ(hypervisor->spaces().map(space, on_ram).status.error().code, EEXIST);
  const MapRun run[] = {{Dfn(kAt >> 12), frames[0].mfn, 1, Access::read_write}};
  const auto mapped = hypervisor->spaces().map(space, run);
  ASSERT_TRUE(mapped.status) << to_string(mapped.status.error());
  // The first edu writes to the second's register 4, which keeps the inverse.
  std::memset(guest->memory() + tiny::kFree, 0x5a, 4);
  edu->dma_from_memory(tiny::kFree, 4);
  edu->dma_to_memory(kAt + 4, 4);
  EXPECT_EQ(other->read(4), 0xa5a5a5a5u);
  const UnmapRun back[] = {{Dfn(kAt >> 12), frames[0].mfn, 1}};
  EXPECT_TRUE(hypervisor->spaces().unmap(space, back).status);
  std::memset(guest->memory() + tiny::kFree, 0x11, 4);
  edu->dma_from_memory(tiny::kFree, 4);
  edu->dma_to_memory(kAt + 4, 4);
  EXPECT_EQ(other->read(4), 0xa5a5a5a5u);
  other->stop();
  EXPECT_TRUE(hypervisor->spaces().detach(space, kSecondEdu));
}

TEST_F(GuestMode, TheGuestEndsUnderTheProgram) {
  bind();
  EXPECT_EQ(fire(kVector, 3), 3u);
  tiny::Guest::destroy(guest->domid());
  ended = true;
  // At most a few turns of the watcher.
  std::vector<FrameRun> frames;
  Named window(guest->memory(), 0x1000);
  const MapRun run[] = {{Dfn(0x10), Mfn(std::uint64_t{1} << 44), 1, Access::read_write}};
  BatchResult mapped;
  for (int i = 0; i < 100; ++i) {
    mapped = hypervisor->spaces().map(space, run);
    if (!mapped.status) break;
    ::usleep(50000);
  }
  EXPECT_EQ(mapped.status.error().code, ESRCH);
  ::usleep(600000);
  // It is dom0's again, and quiet: bus mastering is off.
  EXPECT_EQ(edu->command() & PCI_COMMAND_MASTER, 0u);
  EXPECT_EQ(hypervisor->interrupts().raise_vector(vector).error().code, ESRCH);
  EXPECT_EQ(hypervisor->spaces().create_space({}).error().code, ENOSPC);
}

TEST(GuestNames, EachWrongOneHasALine) {
  const auto said = [](const std::string& domain) {
    const auto opened = open_hypervisor("xen:domain=" + domain);
    return opened ? std::string("opened") : to_string(opened.error());
  };
  const std::uint32_t pv = tiny::Guest::make({.hvm = false, .uuid_last = 2});
  const std::uint32_t bare = tiny::Guest::make({.iommu = false, .uuid_last = 3});
  const std::uint32_t good = tiny::Guest::make({.uuid_last = 4});
  EXPECT_NE(said("0").find("domain=0: this is dom0 itself"), std::string::npos) << said("0");
  EXPECT_NE(said("999").find("domain=999: no domain runs"), std::string::npos) << said("999");
  EXPECT_NE(said("web").find("domain=web: names need xenstore"), std::string::npos) << said("web");
  EXPECT_NE(said(std::to_string(pv)).find("this is a PV guest"), std::string::npos)
      << said(std::to_string(pv));
  EXPECT_NE(said(std::to_string(bare)).find("without an IOMMU"), std::string::npos)
      << said(std::to_string(bare));
  EXPECT_NE(said("00000000-0000-4000-8000-000000000009").find("no domain runs"), std::string::npos);
  EXPECT_EQ(said("00000000-0000-4000-8000-000000000004"), "opened");
  EXPECT_EQ(said(std::to_string(good)), "opened");
  for (const std::uint32_t domid : {pv, bare, good}) tiny::Guest::destroy(domid);
}

int hold(std::uint32_t id, unsigned offset, std::uint32_t pirq) {
  const auto opened = open_hypervisor("xen:domain=" + std::to_string(id));
  if (!opened) {
    std::fprintf(stderr, "%s\n", to_string(opened.error()).c_str());
    return 1;
  }
  Hypervisor& hypervisor = **opened;
  const auto edu = Edu::open(hypervisor, kFirstEdu), other = Edu::open(hypervisor, kSecondEdu);
  const auto space = hypervisor.spaces().create_space({});
  if (!edu || !other || !space) return 1;
  std::vector<FrameRun> frames;
  const auto failed = [](const char* what, const Status& status) {
    if (!status) std::fprintf(stderr, "%s: %s\n", what, to_string(status.error()).c_str());
    return !status;
  };
  if (failed("attach", hypervisor.spaces().attach(*space, kFirstEdu)) ||
      failed("attach", hypervisor.spaces().attach(*space, kSecondEdu)))
    return 1;
  edu->start();
  if (const auto granted = hypervisor.interrupts().allocate_vectors(kFirstEdu, VectorKind::msi, 1); !granted) return 1;
  edu->enable_msi(true);
  Notification target{NotificationKind::guest_vector,
                      nullptr,
                      Domid(static_cast<std::uint16_t>(id)),
                      EventPort(0),
                      kVector,
                      0};
  if (failed("bind", hypervisor.interrupts().bind_vector({kFirstEdu, VectorKind::msi, 0}, target)) ||
      failed("frames_of_mmio", hypervisor.spaces().frames_of_mmio(kSecondEdu, 0, offset, 0x1000, frames)))
    return 1;
  const MapRun run[] = {{Dfn(0x10000), frames[0].mfn, 1, Access::read_write}};
  if (failed("map", hypervisor.spaces().map(*space, run).status)) return 1;
  const tiny::Guest guest(id);
  const std::uint32_t before = guest.count(kVector);
  edu->raise();
  if (pirq != 0) {
    (void)guest.await(kVector, before + 1);
    target.gvec = 0;
    target.gflags = pirq;
    if (failed("a pirq of the guest", hypervisor.interrupts().bind_vector({kFirstEdu, VectorKind::msi, 0}, target)))
      return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  for (;;) ::pause();
}

int command(const std::string& what, std::uint32_t id, unsigned vector, std::uint32_t pirq) {
  if (what == "make")
    std::printf("%u\n", tiny::Guest::make({}));
  else if (what == "counts")
    std::printf("%u\n", tiny::Guest(id).count(vector));
  else if (what == "lives")
    return tiny::Guest::alive(id) ? 0 : 1;
  else if (what == "hold")
    return hold(id, vector, pirq);
  else if (what == "consume")
    return consume(static_cast<int>(id), static_cast<int>(vector));
  else if (what == "latency")
    return latency();
  else if (what == "destroy")
    tiny::Guest::destroy(id);
  else
    return 2;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 1)
    return command(argv[1], argc > 2 ? static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 0)) : 0,
                   argc > 3 ? static_cast<unsigned>(std::strtoul(argv[3], nullptr, 0)) : 0,
                   argc > 4 ? static_cast<std::uint32_t>(std::strtoul(argv[4], nullptr, 0)) : 0);
  speak_tap();
  return RUN_ALL_TESTS();
}
