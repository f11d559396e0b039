// SPDX-License-Identifier: LGPL-2.1-or-later
// Descriptors, paths and processes: what a program may do with an open VFIO file
// besides the VFIO calls.  The letters name cases of the reference answers.
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <atomic>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/vfio_client.h"

namespace conformance {
namespace {

constexpr int kVersion = VFIO_API_VERSION;

// A program that is not sanitized, like the shell, cannot load a front end that
// needs a sanitizer's runtime.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanRunShell = false;
#else
constexpr bool kCanRunShell = true;
#endif

long version(int fd) { return ::ioctl(fd, VFIO_GET_API_VERSION); }

std::string edu_group() { return Machine::group_of(Machine::get().edu); }

bool group_is_busy(const std::string& number) {
  const int fd = ::open(("/dev/vfio/" + number).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return errno == EBUSY;
  ::close(fd);
  return false;
}

std::string link_of(int fd) {
  char link[64], target[256] = {};
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return ::readlink(link, target, sizeof target - 1) > 0 ? target : "";
}

TEST(Fd, Duplicates) {
  Container container;
  ASSERT_GE(container.fd(), 0);
  const Fd a(::dup(container.fd()));
  const Fd b(::fcntl(container.fd(), F_DUPFD_CLOEXEC, 600));
  const Fd c(::dup2(container.fd(), 650));
  const Fd d(::dup3(container.fd(), 651, O_CLOEXEC));
  EXPECT_GE(b.get(), 600);
  EXPECT_EQ(c.get(), 650);
  EXPECT_EQ(d.get(), 651);
  EXPECT_EQ(::fcntl(c.get(), F_GETFD), 0);
  EXPECT_EQ(::fcntl(d.get(), F_GETFD), FD_CLOEXEC);
  container.close();
  for (const Fd* fd : {&a, &b, &c, &d}) EXPECT_EQ(version(fd->get()), kVersion);
}

TEST(Fd, TheLastDuplicateReleases) {
  const std::string number = edu_group();
  Group group(number);
  ASSERT_GE(group.fd(), 0);
  Fd copy(::dup(group.fd()));
  group.close();
  EXPECT_TRUE(group_is_busy(number));
  // Replaced by something else.
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  ASSERT_EQ(::dup2(event.get(), copy.get()), copy.get());
  EXPECT_FALSE(group_is_busy(number));
  EXPECT_EQ(outcome_of(::ioctl(copy.get(), VFIO_GROUP_UNSET_CONTAINER)), failed(ENOTTY));
}

TEST(Fd, FailedDup2LeavesTheTargetOpen) {
  Container container;
  EXPECT_EQ(outcome_of(::dup2(9999, container.fd())), failed(EBADF));
  EXPECT_EQ(outcome_of(::dup3(container.fd(), container.fd(), 0)), failed(EINVAL));
  EXPECT_EQ(::dup2(container.fd(), container.fd()), container.fd());
  EXPECT_EQ(version(container.fd()), kVersion);
}

TEST(Fd, AClosedNumberIsClosed) {
  int fd = -1;
  {
    Container container;
    fd = container.fd();
  }
  EXPECT_EQ(outcome_of(::close(fd)), failed(EBADF));
  EXPECT_EQ(outcome_of(version(fd)), failed(EBADF));
  // The number as another file: nothing of ours is left.
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  const Fd again(::fcntl(event.get(), F_DUPFD_CLOEXEC, fd));
  EXPECT_EQ(outcome_of(version(again.get())), failed(ENOTTY));
}

TEST(Fd, CloseRange) {
  const std::string number = edu_group();
  const int result = in_child([&] {
    Group group(number);
    const int high = ::dup2(group.fd(), 700);
    group.close();
    if (::close_range(699, 701, CLOSE_RANGE_CLOEXEC) != 0 || ::fcntl(high, F_GETFD) != FD_CLOEXEC) return 1;
    if (!group_is_busy(number)) return 2;
    if (::close_range(5, 4, 0) == 0 || errno != EINVAL) return 3;
    if (::close_range(3, ~0u, 0) != 0) return 4;
    if (::fcntl(700, F_GETFD) >= 0) return 5;
    if (group_is_busy(number)) return 6;
    // And it goes on after all descriptors were swept away.
    Session session(Machine::get().edu);
    return session.device.fd() >= 0 && session.device.config(0, 2) == 0x1234 ? 0 : 7;
  });
  EXPECT_EQ(result, 0);
}

TEST(Fd, CloseFrom) {
  const int result = in_child([] {
    Container container;
    ::closefrom(3);
    return ::fcntl(container.fd(), F_GETFD) < 0 && Container().ioctl(VFIO_GET_API_VERSION) == ok(0) ? 0 : 1;
  });
  EXPECT_EQ(result, 0);
}

TEST(Fd, Flags) {
  Session session(Machine::get().edu);
  EXPECT_EQ(::fcntl(session.device.fd(), F_GETFL), O_RDWR) << "B102";
  EXPECT_EQ(::fcntl(session.device.fd(), F_GETFD), FD_CLOEXEC) << "B49";
  EXPECT_EQ(::fcntl(session.container.fd(), F_GETFL) & O_ACCMODE, O_RDWR);
  const Fd read_only(::open("/dev/vfio/vfio", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::fcntl(read_only.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(version(read_only.get()), kVersion) << "A04";
  const Fd plain(::open("/dev/vfio/vfio", O_RDWR));
  EXPECT_EQ(::fcntl(plain.get(), F_GETFD), 0);
  EXPECT_EQ(::ioctl(plain.get(), FIOCLEX), 0);
  EXPECT_EQ(::fcntl(plain.get(), F_GETFD), FD_CLOEXEC);
}

TEST(Fd, StatAndLinks) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the thread sanitizer's fstat() asks the kernel, not the front end";
#endif
  Session session(Machine::get().edu);
  struct stat st {};
  ASSERT_EQ(::fstat(session.device.fd(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u) << "B100";
  EXPECT_EQ(st.st_nlink, 1u);
  EXPECT_EQ(link_of(session.device.fd()), "anon_inode:[vfio-device]") << "B101";
  EXPECT_EQ(link_of(session.container.fd()), "/dev/vfio/vfio");
  EXPECT_EQ(link_of(session.group.fd()), "/dev/vfio/" + edu_group());
  ASSERT_EQ(::fstat(session.container.fd(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
}

TEST(Path, Nodes) {
  struct stat st {};
  ASSERT_EQ(::stat("/dev/vfio/vfio", &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  ASSERT_EQ(::stat(("/dev/vfio/" + edu_group()).c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(::access("/dev/vfio/vfio", R_OK | W_OK), 0);
  EXPECT_EQ(outcome_of(::stat("/dev/vfio/99999", &st)), failed(ENOENT));
  EXPECT_EQ(outcome_of(::access("/dev/vfio/99999", F_OK)), failed(ENOENT));
  EXPECT_EQ(outcome_of(::open("/dev/vfio/99999", O_RDWR)), failed(ENOENT)) << "B01";
  EXPECT_EQ(outcome_of(::open("/dev/vfio/vfio", O_RDWR | O_CREAT | O_EXCL, 0600)), failed(EEXIST));
  EXPECT_EQ(outcome_of(::open("/dev/vfio/vfio", O_RDONLY | O_DIRECTORY)), failed(ENOTDIR));
  const Fd odd(::open("//dev/./vfio//vfio", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(version(odd.get()), kVersion);
}

TEST(Path, Sysfs) {
  const std::string device = "/sys/bus/pci/devices/" + Machine::get().edu;
  const std::string group = "/sys/kernel/iommu_groups/" + edu_group();
  char* real = ::realpath((device + "/iommu_group").c_str(), nullptr);
  ASSERT_NE(real, nullptr);
  EXPECT_EQ(real, group);
  std::free(real);
  char folder[PATH_MAX];
  ASSERT_NE(::realpath(device.c_str(), folder), nullptr);
  EXPECT_EQ(std::string(folder).substr(0, 16), "/sys/devices/pci");
  EXPECT_EQ(::access((std::string(folder) + "/vendor").c_str(), R_OK), 0)
      << "what realpath() says can be used";
  EXPECT_EQ(::access((group + "/devices/" + Machine::get().edu).c_str(), F_OK), 0);
  // By a descriptor of the folder.
  const Fd at(::open(device.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd vendor(::openat(at.get(), "vendor", O_RDONLY | O_CLOEXEC));
  char text[16] = {};
  EXPECT_EQ(::read(vendor.get(), text, sizeof text - 1), 7);
  EXPECT_STREQ(text, "0x1234\n");
  char target[PATH_MAX] = {};
  EXPECT_GT(::readlinkat(at.get(), "driver", target, sizeof target - 1), 0);
  EXPECT_EQ(std::string(target).substr(std::string(target).rfind('/')), "/vfio-pci");
}

TEST(Pointer, BadOnesAreEfault) {
  Session session(Machine::get().edu);
  Memory gone(2 * kPage);
  const std::uint64_t bad[] = {0, 8, gone.address() + kPage - 4, 0xffff800000000000, 0x0000800000000000 - 4};
  ASSERT_EQ(::mprotect(gone.data() + kPage, kPage, PROT_NONE), 0);
  for (const std::uint64_t pointer : bad) {
    EXPECT_EQ(session.container.ioctl(VFIO_IOMMU_GET_INFO, pointer), failed(EFAULT)) << std::hex << pointer;
    EXPECT_EQ(session.device.ioctl(VFIO_DEVICE_GET_INFO, pointer), failed(EFAULT)) << std::hex << pointer;
    EXPECT_EQ(session.device.read(VFIO_PCI_CONFIG_REGION_INDEX, 0, reinterpret_cast<void*>(pointer), 16),
              failed(EFAULT))
        << "D37 " << std::hex << pointer;
  }
}

TEST(Mapping, KeepsTheGroupBusy) {
  const std::string number = edu_group();
  void* bar = MAP_FAILED;
  {
    Session session(Machine::get().edu);
    const Region region = session.device.region(0);
    if ((region.info.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0) GTEST_SKIP() << "BAR 0 cannot be mapped";
    session.device.set_config(4, 2, 2);  // memory decoding
    bar = ::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, session.device.fd(), 0);
    ASSERT_NE(bar, MAP_FAILED);
  }
  EXPECT_TRUE(group_is_busy(number)) << "B104";
  // Cut in pieces: the last one counts.
  auto* bytes = static_cast<char*>(bar);
  EXPECT_EQ(::munmap(bytes + kPage, kPage), 0);
  EXPECT_EQ(::munmap(bytes, kPage), 0);
  EXPECT_TRUE(group_is_busy(number));
  // Something else over the rest.
  EXPECT_EQ(::mmap(bytes + 2 * kPage, 2 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            bytes + 2 * kPage);
  EXPECT_FALSE(group_is_busy(number));
  EXPECT_EQ(::munmap(bytes + 2 * kPage, 2 * kPage), 0);
}

TEST(Process, AChildThatClosesAndEndsTakesNothingAway) {
  Session session(Machine::get().edu);
  Memory memory(kPage);
  ASSERT_EQ(session.container.map(0, memory.address(), kPage), ok());
  const int group = session.group.fd(), container = session.container.fd(), device = session.device.fd();
  EXPECT_EQ(in_child([&] {
              ::close(device);
              ::close(container);
              ::close(group);
              return ::fcntl(container, F_GETFD) < 0 ? 0 : 1;
            }),
            0);
  EXPECT_EQ(session.container.live(), 1);
  EXPECT_EQ(session.device.config(0, 2), 0x1234u);
}

TEST(Process, VforkAndExec) {
  if (!kCanRunShell) GTEST_SKIP() << "the shell cannot be preloaded with sanitized libraries";
  Session session(Machine::get().edu);
  const int container = session.container.fd();
  const pid_t child = ::vfork();
  if (child == 0) {
    ::close(container);
    ::execl("/bin/sh", "sh", "-c", "exit 6", nullptr);
    ::_exit(99);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 6);
  EXPECT_EQ(version(container), kVersion);
  EXPECT_EQ(std::system("exit 4") >> 8, 4);
  EXPECT_EQ(version(container), kVersion);
}

TEST(Process, AnExecutedProgramStartsAfresh) {
  if (!kCanRunShell) GTEST_SKIP() << "the shell cannot be preloaded with sanitized libraries";
  Session session(Machine::get().edu);
  // Everything here is close-on-exec; the child sees the same machine.
  const std::string number = edu_group();
  EXPECT_EQ(std::system(("test -c /dev/vfio/vfio && test -c /dev/vfio/" + number).c_str()), 0);
  EXPECT_TRUE(group_is_busy(number));
}

TEST(Thread, OpenAndCloseAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        Container container;
        const Fd copy(::dup(container.fd()));
        if (container.ioctl(VFIO_GET_API_VERSION) != ok(0) || version(copy.get()) != kVersion) ++wrong;
        const Fd other(::eventfd(0, EFD_CLOEXEC));
        if (version(other.get()) != -1 || errno != ENOTTY) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Signal, AHandlerMayCloseAndOpen) {
  static std::atomic<int> handled;
  static std::atomic<int> victim;
  handled = 0;
  victim = -1;  // not standard input, should the first signal be early
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {
    const int fd = victim.exchange(-1);
    if (fd >= 0) ::close(fd);
    ++handled;
  };
  ::sigaction(SIGALRM, &action, &before);
  const itimerval often{{0, 500}, {0, 500}}, never{};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  Container container;
  for (int i = 0; handled < 20 && i < 2000000; ++i) {
    victim = ::eventfd(0, EFD_CLOEXEC);
    ASSERT_EQ(container.ioctl(VFIO_GET_API_VERSION), ok(0));
    if (const int fd = victim.exchange(-1); fd >= 0) ::close(fd);
  }
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
  EXPECT_GE(handled, 20);
}

}  // namespace
}  // namespace conformance
