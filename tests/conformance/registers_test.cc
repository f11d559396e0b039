// SPDX-License-Identifier: LGPL-2.1-or-later
// Registers by a mapping: each load and each store is the device's own, whatever instruction
// makes it and wherever the thread is.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <climits>
#include <functional>
#include <sstream>
#include <thread>
#include <vector>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

class MappedEdu : public testing::Test {
 protected:
  void SetUp() override {
    if (!(device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) GTEST_SKIP() << "BAR0 cannot be mapped on this machine";
    void* mapping = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
    ASSERT_NE(mapping, MAP_FAILED);
    bar = static_cast<volatile std::uint32_t*>(mapping);
  }
  void TearDown() override {
    if (bar != nullptr) ::munmap(const_cast<std::uint32_t*>(bar), kPage);
  }

  std::uint32_t load(unsigned offset) { return Machine::edu_order(bar[offset / 4]); }
  void store(unsigned offset, std::uint32_t value) { bar[offset / 4] = Machine::edu_order(value); }
  /// The liveness register gives the opposite of what was stored.
  bool is_alive(std::uint32_t value) {
    store(4, value);
    return load(4) == ~value;
  }

  Session session{Machine::get().edu};
  Device& device = session.device;
  volatile std::uint32_t* bar = nullptr;
};

TEST_F(MappedEdu, LoadRightBehindAStore) {
  for (std::uint32_t i = 0; i < 300; ++i) ASSERT_TRUE(is_alive(0x01010101 * i)) << i;
}

TEST_F(MappedEdu, TwoStoresAreTwo) {
  for (int i = 0; i < 100; ++i) {
    store(0x60, 1);
    store(0x60, 2);
    ASSERT_EQ(load(0x24) & 3, 3u) << i;
    store(0x64, 1);
    store(0x64, 2);
    ASSERT_EQ(load(0x24) & 3, 0u) << i;
  }
}

TEST_F(MappedEdu, StoreOfTheSameValueIsAStore) {
  for (int i = 0; i < 20; ++i) {
    store(4, 5);
    ASSERT_EQ(load(4), ~5u);
    store(4, ~5u);
    ASSERT_EQ(load(4), 5u);
  }
}

TEST_F(MappedEdu, InOrderWithReadAndWrite) {
  for (std::uint32_t i = 0; i < 50; ++i) {
    store(4, i);
    ASSERT_EQ(device.bar0(4), ~i);
    device.set_bar0(4, ~i);
    ASSERT_EQ(load(4), i);
  }
}

TEST_F(MappedEdu, ReadModifyWrite) {
  if (Machine::edu_swaps()) GTEST_SKIP() << "the other byte order";
  store(4, 0xffff0000);
  bar[1] = bar[1] | 0x10000u;  // 0x0000ffff, then 0x0001ffff is stored
  EXPECT_EQ(load(4), 0xfffe0000u);
  std::uint32_t value = __atomic_exchange_n(const_cast<std::uint32_t*>(bar + 1), 0x55u, __ATOMIC_SEQ_CST);
  EXPECT_EQ(value, 0xfffe0000u);
  EXPECT_EQ(load(4), ~0x55u);
  (void)__atomic_fetch_add(const_cast<std::uint32_t*>(bar + 1), 1u, __ATOMIC_SEQ_CST);
  EXPECT_EQ(load(4), 0x54u) << "~(~0x55 + 1)";
}

TEST_F(MappedEdu, WideRegisters) {
  if (Machine::edu_swaps()) GTEST_SKIP() << "the other byte order";
  volatile auto* wide = reinterpret_cast<volatile std::uint64_t*>(const_cast<std::uint32_t*>(bar + 0x80 / 4));
  *wide = 0x123456789abcull;
  EXPECT_EQ(*wide, 0x123456789abcull);
  EXPECT_EQ(bar[0x80 / 4], 0x56789abcu);
  std::uint64_t read = 0;
  EXPECT_EQ(device.read(0, 0x80, &read, 4), ok(4));
  EXPECT_EQ(read, 0x56789abcu);
}

TEST_F(MappedEdu, DmaByTheMapping) {
  Memory memory(kPage);
  ASSERT_EQ(session.container.map(0x10000, memory.address(), kPage), ok());
  device.set_bus_master(true);
  memory.data()[0] = 0x5a;
  volatile auto* wide = reinterpret_cast<volatile std::uint64_t*>(const_cast<std::uint32_t*>(bar));
  const auto order = [](std::uint64_t value) { return Machine::edu_swaps() ? __builtin_bswap64(value) : value; };
  const auto transfer = [&](std::uint64_t from, std::uint64_t to, std::uint64_t command) {
    wide[0x80 / 8] = order(from);
    wide[0x88 / 8] = order(to);
    wide[0x90 / 8] = order(16);
    wide[0x98 / 8] = order(command);
    for (int i = 0; i < 3000 && (order(wide[0x98 / 8]) & 1) != 0; ++i) ::usleep(1000);
    return (order(wide[0x98 / 8]) & 1) == 0;
  };
  EXPECT_TRUE(transfer(0x10000, Edu::kBuffer, 1));
  EXPECT_TRUE(transfer(Edu::kBuffer, 0x10800, 3));
  EXPECT_EQ(memory.data()[0x800], 0x5a);
  device.set_bus_master(false);
  EXPECT_EQ(session.container.unmap(0x10000, kPage).size, kPage);
}

// ---- where the thread may be ---------------------------------------------------

TEST_F(MappedEdu, WithAllSignalsBlocked) {
  sigset_t all, before, now;
  ::sigfillset(&all);
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &all, &before), 0);
  const bool alive = is_alive(0x11);
  ASSERT_EQ(::sigprocmask(SIG_SETMASK, nullptr, &now), 0);
  EXPECT_EQ(::sigismember(&now, SIGBUS), 1) << "it is blocked, to the program";
  EXPECT_EQ(::sigismember(&now, SIGSEGV), 1);
  bool in_thread = false;
  std::thread([&] { in_thread = is_alive(0x12); }).join();  // has its creator's mask
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, &now), 0);
  EXPECT_EQ(::sigismember(&now, SIGBUS), 1);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &now), 0);
  EXPECT_EQ(::sigismember(&now, SIGBUS), ::sigismember(&before, SIGBUS));
  EXPECT_TRUE(alive);
  EXPECT_TRUE(in_thread);
}

TEST_F(MappedEdu, OnASmallStack) {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(PTHREAD_STACK_MIN)), 0);
  struct Work {
    std::function<bool()> ask;
    bool alive = false;
  } work{[&] { return is_alive(0x77); }};
  pthread_t thread;
  ASSERT_EQ(::pthread_create(&thread, &attributes, [](void* argument) -> void* {
    auto* of = static_cast<Work*>(argument);
    of->alive = of->ask();
    return nullptr;
  }, &work), 0);
  ::pthread_join(thread, nullptr);
  ::pthread_attr_destroy(&attributes);
  EXPECT_TRUE(work.alive);
}

TEST_F(MappedEdu, InManyThreads) {
  std::atomic<int> bad{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 300; ++n) bad += load(0) != 0x010000edu;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bad, 0);
}

volatile std::uint32_t* handlers_bar = nullptr;
volatile std::uint32_t handlers_answer = 0;
sigjmp_buf way_out;
volatile int jumped_code = 0;

TEST_F(MappedEdu, InASignalHandlerOnItsOwnStack) {
  std::vector<char> stack(std::size_t{64} << 10);
  stack_t alternate{}, before{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  ASSERT_EQ(::sigaltstack(&alternate, &before), 0);
  handlers_bar = bar;
  handlers_answer = 0;
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {
    handlers_bar[1] = Machine::edu_order(0x31);
    handlers_answer = Machine::edu_order(handlers_bar[1]);
  };
  action.sa_flags = SA_ONSTACK;
  ::sigfillset(&action.sa_mask);
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &old), 0);
  ::raise(SIGUSR1);
  ::sigaction(SIGUSR1, &old, nullptr);
  ::sigaltstack(&before, nullptr);
  EXPECT_EQ(handlers_answer, ~0x31u);
}

// ---- the program's own handlers -------------------------------------------------

/// Memory whose every access is SIGBUS, by nobody's doing but the kernel's.
struct Faulting {
  Faulting() {
    const Fd file(static_cast<int>(::memfd_create("empty", MFD_CLOEXEC)));
    at = static_cast<volatile char*>(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file.get(), 0));
  }
  ~Faulting() { ::munmap(const_cast<char*>(at), kPage); }
  volatile char* at;
};

TEST_F(MappedEdu, HandlersOfTheProgramGoOn) {
  const Faulting faulting;
  ASSERT_TRUE(is_alive(1));
  for (const int number : {SIGBUS, SIGSEGV}) {
    struct sigaction action {}, old {}, found {};
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
      jumped_code = info->si_signo;
      ::siglongjmp(way_out, 1);
    };
    action.sa_flags = SA_SIGINFO;
    ::sigaddset(&action.sa_mask, SIGUSR2);
    ASSERT_EQ(::sigaction(number, &action, &old), 0);
    ASSERT_EQ(::sigaction(number, nullptr, &found), 0);
    EXPECT_EQ(found.sa_sigaction, action.sa_sigaction);
    EXPECT_TRUE(found.sa_flags & SA_SIGINFO);
    EXPECT_EQ(::sigismember(&found.sa_mask, SIGUSR2), 1);
    for (int i = 0; i < 3; ++i) {
      jumped_code = 0;
      if (::sigsetjmp(way_out, 1) == 0) {
        if (number == SIGBUS) (void)*faulting.at;
        else *faulting.at = 1;  // it is read-only
      }
      EXPECT_EQ(jumped_code, number) << i;
      EXPECT_TRUE(is_alive(0x40 + static_cast<unsigned>(i)));
    }
    ASSERT_EQ(::sigaction(number, &old, &found), 0);
    EXPECT_EQ(found.sa_sigaction, action.sa_sigaction);
  }
}

TEST_F(MappedEdu, OneShotAndOldStyleHandlers) {
  const Faulting faulting;
  auto* const before = ::signal(SIGBUS, [](int number) {
    jumped_code = number;
    ::siglongjmp(way_out, 1);
  });
  ASSERT_NE(before, SIG_ERR);
  jumped_code = 0;
  if (::sigsetjmp(way_out, 1) == 0) (void)*faulting.at;
  EXPECT_EQ(jumped_code, SIGBUS);
  EXPECT_TRUE(is_alive(2));
  EXPECT_NE(::signal(SIGBUS, before), SIG_ERR);
  EXPECT_TRUE(is_alive(3));
}

TEST_F(MappedEdu, WithoutAHandlerAFaultEndsTheProgram) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has handlers of its own";
#endif
  EXPECT_EQ(in_child([&] {
    const Faulting faulting;
    return static_cast<int>(*faulting.at);
  }), 1000 + SIGBUS);
}

TEST_F(MappedEdu, SignalSentByKillArrives) {
  static std::atomic<int> arrived;
  arrived = 0;
  auto* const before = ::signal(SIGBUS, [](int) { ++arrived; });
  ::raise(SIGBUS);
  EXPECT_EQ(arrived, 1);
  sigset_t bus;
  ::sigemptyset(&bus);
  ::sigaddset(&bus, SIGBUS);
  ::pthread_sigmask(SIG_BLOCK, &bus, nullptr);
  ::raise(SIGBUS);
  EXPECT_EQ(arrived, 1) << "blocked";
  ::pthread_sigmask(SIG_UNBLOCK, &bus, nullptr);
  EXPECT_EQ(arrived, 2);
  EXPECT_TRUE(is_alive(9));
  ::signal(SIGBUS, before);
}

// ---- the mapping itself -----------------------------------------------------------

TEST_F(MappedEdu, RightsAreTheProgramsOwn) {
  void* const page = const_cast<std::uint32_t*>(bar);
  ASSERT_EQ(::mprotect(page, kPage, PROT_READ), 0);
  EXPECT_EQ(load(0), 0x010000edu);
  jumped_code = 0;
  struct sigaction action {}, old {};
  action.sa_handler = [](int number) {
    jumped_code = number;
    ::siglongjmp(way_out, 1);
  };
  ::sigaction(SIGSEGV, &action, &old);
  if (::sigsetjmp(way_out, 1) == 0) store(4, 1);
  EXPECT_EQ(jumped_code, SIGSEGV);
  ::sigaction(SIGSEGV, &old, nullptr);
  ASSERT_EQ(::mprotect(page, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_TRUE(is_alive(6));
}

TEST_F(MappedEdu, FollowsDecoding) {
  device.set_config(PCI_COMMAND, 2, 0);
  EXPECT_EQ(load_or_fault(bar), std::nullopt);
  device.set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_TRUE(is_alive(0x99));
}

TEST_F(MappedEdu, UnmappedIsGone) {
  void* const second = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
  ASSERT_NE(second, MAP_FAILED);
  auto* const moved = static_cast<volatile std::uint32_t*>(::mremap(second, 2 * kPage, kPage, MREMAP_MAYMOVE));
  ASSERT_NE(moved, MAP_FAILED);
  EXPECT_EQ(Machine::edu_order(moved[0]), 0x010000edu);
  ::munmap(const_cast<std::uint32_t*>(moved), kPage);
  EXPECT_TRUE(is_alive(0x98)) << "the other mapping";
}

// ---- beside an MSI-X table ----------------------------------------------------------

struct Area {
  std::uint64_t offset, size;
};
/// What of a region can be mapped; CAP_SPARSE_MMAP leaves something out.
std::vector<Area> mappable_areas(const Device& device, std::uint32_t index) {
  alignas(8) std::array<std::uint8_t, 512> bytes{};
  auto& info = *reinterpret_cast<vfio_region_info*>(bytes.data());
  info.argsz = bytes.size();
  info.index = index;
  if (device.ioctl(VFIO_DEVICE_GET_REGION_INFO, reinterpret_cast<std::uint64_t>(&info)) != ok()) return {};
  if ((info.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0) return {};
  std::vector<Area> areas{{0, info.size}};
  for (std::uint32_t at = (info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? info.cap_offset : 0; at != 0;) {
    const auto* header = reinterpret_cast<const vfio_info_cap_header*>(&bytes[at]);
    if (header->id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
      const auto* sparse = reinterpret_cast<const vfio_region_info_cap_sparse_mmap*>(header);
      areas.clear();
      for (std::uint32_t i = 0; i < sparse->nr_areas; ++i) areas.push_back({sparse->areas[i].offset, sparse->areas[i].size});
    }
    at = header->next;
  }
  return areas;
}

/// One device of each layout, whose registers keep what is written.
TEST(MsixLayouts, RegistersBesideTheTable) {
  std::istringstream names(extra_device("CONFORMANCE_REGISTERS"));
  std::string name;
  unsigned devices = 0, loads = 0;
  while (names >> name) {
    SCOPED_TRACE(name);
    ++devices;
    Session session(name);
    Device& device = session.device;
    const unsigned msix = device.capability(PCI_CAP_ID_MSIX);
    ASSERT_NE(msix, 0u);
    const std::uint64_t vectors = (device.config(msix + 2, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
    const std::uint32_t table = device.config(msix + 4, 4), pba = device.config(msix + 8, 4);
    const std::uint64_t table_bytes = 16 * vectors, pba_bytes = (vectors + 63) / 64 * 8;
    for (std::uint32_t bar = 0; bar < 6; ++bar) {
      const std::uint64_t size = device.region(bar).info.size;
      if (size == 0) continue;
      const auto inside = [&](std::uint32_t place, std::uint64_t bytes, std::uint64_t at) {
        return (place & 7) == bar && at - (place & ~7u) < bytes;
      };
      const auto is_table = [&](std::uint64_t at) { return inside(table, table_bytes, at); };
      const auto is_pba = [&](std::uint64_t at) { return inside(pba, pba_bytes, at); };
      // All edges: of the BAR, of its pages, of the two tables.
      std::vector<std::uint64_t> places;
      for (std::uint64_t edge = 0; edge <= size; edge += kPage)
        for (std::uint64_t at : {edge - 8, edge, edge + 8}) places.push_back(at);
      for (std::uint64_t edge : {std::uint64_t{table & ~7u}, (table & ~7u) + table_bytes, std::uint64_t{pba & ~7u}, (pba & ~7u) + pba_bytes, size})
        for (std::uint64_t at : {edge - 8, edge, edge + 8}) places.push_back(at);
      const auto areas = mappable_areas(device, bar);
      for (const std::uint64_t at : places) {
        if (at >= size || size - at < 8) continue;
        SCOPED_TRACE("BAR " + std::to_string(bar) + " + " + std::to_string(at));
        // By read and write, everywhere.
        std::uint64_t value = 0x1122334455667788 ^ at, got = 0;
        ASSERT_EQ(device.write(bar, at, &value, 8), ok(8));
        ASSERT_EQ(device.read(bar, at, &got, 8), ok(8));
        EXPECT_EQ(got, is_table(at) ? ~std::uint64_t{0} : is_pba(at) ? 0 : value);
        bool mappable = false;
        for (const Area& area : areas) mappable = mappable || at - area.offset < area.size;
        void* const page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(),
                                  static_cast<off_t>(std::uint64_t{bar} << 40 | (at & ~(kPage - 1))));
        if (!mappable) {
          EXPECT_EQ(page, MAP_FAILED) << "left out, and mapped all the same";
          continue;
        }
        ASSERT_NE(page, MAP_FAILED);
        auto* const mapped = reinterpret_cast<volatile std::uint64_t*>(static_cast<char*>(page) + at % kPage);
        if (!is_table(at)) {
          EXPECT_EQ(*mapped, got) << "load";
          *mapped = ~value;
          EXPECT_EQ(*mapped, is_pba(at) ? 0 : ~value);
          ASSERT_EQ(device.read(bar, at, &got, 8), ok(8));
          EXPECT_EQ(got, is_pba(at) ? 0 : ~value) << "store";
          auto* const half = reinterpret_cast<volatile std::uint16_t*>(static_cast<char*>(page) + at % kPage + 2);
          *half = 0xabcd;
          EXPECT_EQ(*half, is_pba(at) ? 0 : 0xabcd);
          ++loads;
        } else {
          *mapped = value;  // goes nowhere
          ASSERT_EQ(device.read(bar, at, &got, 8), ok(8));
          EXPECT_EQ(got, ~std::uint64_t{0});
        }
        ::munmap(page, kPage);
      }
    }
  }
  if (devices == 0) GTEST_SKIP() << "no device on this machine keeps what is written beside its table";
  if (loads == 0) GTEST_SKIP() << "BARs cannot be mapped on this machine";
}

}  // namespace
}  // namespace conformance
