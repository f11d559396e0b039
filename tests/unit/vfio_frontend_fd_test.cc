// SPDX-License-Identifier: LGPL-2.1-or-later
// Descriptors: the table, dup, close, fork, vfork, and many threads at once.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <thread>

#include "tests/unit/vfio_frontend_fake_engine.h"
#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/user_memory.h"

namespace pviommu::vfio::test {
namespace {

class FrontEndTest : public ::testing::Test {
 protected:
  void SetUp() override {
    front_.set_engine_factory([]() -> Result<std::unique_ptr<Engine>> {
      return std::unique_ptr<Engine>(new FakeEngine);
    });
  }
  void TearDown() override {
    front_.finish();
    EXPECT_EQ(fake_log().files, 0);
    EXPECT_EQ(fake_log().mapped, 0);
    EXPECT_EQ(fake_log().engines, 0);
  }

  int open_container() { return container_ = front_.open_node("vfio", O_RDWR | O_CLOEXEC); }
  int open_group(int group) { return group_ = front_.open_node(std::to_string(group), O_RDWR); }
  int make_device() {
    const int group = open_group(3);
    const long device = ioctl(group, kMakeDevice);
    front_.close(group);
    return static_cast<int>(device);
  }
  long ioctl(int fd, std::uint32_t request, std::uint64_t argument = 0) {
    const OpenFileRef file = front_.table().find(fd);
    if (!file) return -EBADF;
    return front_.ioctl(*file, request, reinterpret_cast<void*>(argument));
  }
  static bool kernel_has(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

  // One table for all tests: it is 8 MiB.
  static inline constinit FdTable table_;
  FrontEnd front_{table_};
  int container_ = -1;
  int group_ = -1;
};

// Runs `body` in a forked child; true when it returned true and the child did
// not crash or hang.
template <class Body>
bool in_child(FrontEnd& front, Body&& body) {
  front.before_fork();
  const pid_t child = ::fork();
  if (child == 0) {
    front.after_fork_in_child();
    ::alarm(20);
    ::_exit(body() ? 0 : 1);
  }
  front.after_fork_in_parent();
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "child ended by signal " << WTERMSIG(status);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(FrontEndTest, TheEngineComesWithTheFirstOpen) {
  EXPECT_EQ(fake_log().engines, 0);
  EXPECT_EQ(front_.close(-1), -EBADF);
  EXPECT_EQ(fake_log().engines, 0);
  const int fd = open_container();
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fake_log().engines, 1);
  EXPECT_EQ(front_.close(fd), 0);
}

TEST_F(FrontEndTest, NodesThatDoNotExist) {
  for (const char* node : {"", "x", "vfio2", "3x", "03", "-1", "9999", "4294967296", "+3", " 3"})
    EXPECT_EQ(front_.open_node(node, O_RDWR), -ENOENT) << node;
  EXPECT_EQ(front_.open_node("vfio", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
  EXPECT_EQ(front_.open_node("vfio", O_RDONLY | O_DIRECTORY), -ENOTDIR);
}

TEST_F(FrontEndTest, FailureOfTheEngineIsAnErrno) {
  front_.set_engine_factory([]() -> Result<std::unique_ptr<Engine>> {
    return Error{ENODEV, "engine"}.with_sentence("(expected line) no such hypervisor");
  });
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(front_.open_node("vfio", O_RDWR), -ENODEV);
  EXPECT_EQ(front_.open_node("3", O_RDWR), -ENODEV);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "pviommu: (expected line) no such hypervisor\n");
}

TEST_F(FrontEndTest, CloseOnExecFollowsTheFlag) {
  const int with = front_.open_node("vfio", O_RDWR | O_CLOEXEC);
  const int without = front_.open_node("vfio", O_RDWR);
  EXPECT_EQ(::fcntl(with, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(without, F_GETFD), 0);
  const int device = make_device();
  EXPECT_EQ(::fcntl(device, F_GETFD), FD_CLOEXEC);
}

TEST_F(FrontEndTest, DuplicatesShareOneFile) {
  const int fd = open_group(1);
  const int second = front_.dup(fd);
  const int third = front_.dup_above(fd, F_DUPFD_CLOEXEC, 700);
  const int fourth = front_.dup_onto(fd, 650, O_CLOEXEC);
  EXPECT_GE(third, 700);
  EXPECT_EQ(fourth, 650);
  EXPECT_EQ(::fcntl(third, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(650, F_GETFD), FD_CLOEXEC);
  long seen = 0;
  for (const int one : {fd, second, third, fourth}) EXPECT_EQ(ioctl(one, kCount), ++seen);
  EXPECT_EQ(front_.open_node("1", O_RDWR), -EBUSY);
  for (const int one : {second, fd, fourth}) EXPECT_EQ(front_.close(one), 0);
  EXPECT_EQ(front_.open_node("1", O_RDWR), -EBUSY);
  EXPECT_EQ(front_.close(third), 0);
  EXPECT_EQ(fake_log().files, 0);
  const int again = front_.open_node("1", O_RDWR);
  EXPECT_GE(again, 0);
}

TEST_F(FrontEndTest, DupOntoReplacesOneOfOurs) {
  const int group = open_group(1);
  const int container = open_container();
  EXPECT_EQ(front_.dup_onto(container, group, -1), group);
  EXPECT_FALSE(fake_log().group_open[1]);
  EXPECT_EQ(ioctl(group, kCount), 1);
  EXPECT_EQ(ioctl(container, kCount), 2);
  // A descriptor of somebody else's.
  const int event = ::eventfd(0, EFD_CLOEXEC);
  EXPECT_EQ(front_.dup_onto(event, group, 0), group);
  EXPECT_EQ(ioctl(group, kCount), -EBADF);
  EXPECT_EQ(fake_log().files, 1);
  ::close(event);
  ::close(group);
}

TEST_F(FrontEndTest, FailedDupChangesNothing) {
  const int group = open_group(1);
  EXPECT_EQ(front_.dup_onto(-1, group, -1), -EBADF);
  EXPECT_EQ(front_.dup_onto(9999, group, -1), -EBADF);
  EXPECT_EQ(front_.dup_onto(group, group, O_CLOEXEC), -EINVAL);
  EXPECT_EQ(front_.dup_onto(group, group, -1), group);
  EXPECT_EQ(front_.dup_onto(group, -1, -1), -EBADF);
  EXPECT_EQ(ioctl(group, kCount), 1);
  EXPECT_EQ(front_.dup_above(group, F_DUPFD, -1), -EINVAL);
}

TEST_F(FrontEndTest, ANumberClosedBehindOurBackIsForgotten) {
  const int fd = open_container();
  ::syscall(SYS_close, fd);
  const int event = ::eventfd(0, EFD_CLOEXEC);
  ASSERT_EQ(::syscall(SYS_dup2, event, fd), fd);  // the number lives on as something else
  const int other = open_group(2);
  ASSERT_EQ(front_.dup_onto(other, fd, -1), fd);
  EXPECT_EQ(ioctl(fd, kCount), 1);
  EXPECT_EQ(fake_log().files, 1);
  ::close(event);
}

TEST_F(FrontEndTest, CloseRangeClosesOursAndSparesTheEngine) {
  const int first = open_container();
  const int event = ::eventfd(0, EFD_CLOEXEC);
  const int group = open_group(1);
  const int internal = next_internal_fd(0);
  ASSERT_GE(internal, 0);
  const int low = ::fcntl(event, F_DUPFD_CLOEXEC, 800);
  EXPECT_EQ(front_.close_range(800, 900, CLOSE_RANGE_CLOEXEC), 0);
  EXPECT_TRUE(kernel_has(low));
  EXPECT_EQ(front_.close_range(5, 4, 0), -EINVAL);
  EXPECT_EQ(front_.close_range(3, 4000, 0x1000), -EINVAL);
  EXPECT_EQ(ioctl(first, kCount), 1);

  const int lowest = std::min({first, event, group, internal});
  EXPECT_EQ(front_.close_range(static_cast<unsigned>(lowest), ~0u, 0), 0);
  EXPECT_EQ(fake_log().files, 0);
  EXPECT_FALSE(kernel_has(first));
  EXPECT_FALSE(kernel_has(event));
  EXPECT_FALSE(kernel_has(group));
  EXPECT_FALSE(kernel_has(low));
  EXPECT_TRUE(kernel_has(internal));
  EXPECT_GE(front_.open_node("1", O_RDWR), 0);
}

TEST_F(FrontEndTest, TheEnginesDescriptorsAreNotTheProgramsToClose) {
  open_container();
  const int internal = next_internal_fd(0);
  ASSERT_GE(internal, 0);
  EXPECT_EQ(front_.close(internal), -EBADF);
  EXPECT_EQ(front_.dup(internal), -EBADF);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(front_.dup_onto(container_, internal, -1), -EBUSY);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("refused"), std::string::npos);
  EXPECT_FALSE(front_.is_open(internal));
  EXPECT_TRUE(front_.is_open(container_));
  EXPECT_TRUE(kernel_has(internal));
  EXPECT_EQ(ioctl(container_, kEventfd, static_cast<std::uint64_t>(internal)), -EBADF);
}

TEST_F(FrontEndTest, ADescriptorThatWasLentCanBeDuplicatedAndNotClosed) {
  open_container();
  const int lent = next_internal_fd(0), other = next_internal_fd(lent + 1);
  ASSERT_EQ(ioctl(container_, kLend, static_cast<std::uint64_t>(lent)), 0);
  for (const int copy : {front_.dup(lent), front_.dup_above(lent, F_DUPFD_CLOEXEC, 100),
                         front_.dup_onto(lent, 200, O_CLOEXEC)}) {
    EXPECT_TRUE(kernel_has(copy));
    EXPECT_EQ(front_.close(copy), 0);
  }
  EXPECT_EQ(front_.close(lent), -EBADF);
  EXPECT_TRUE(kernel_has(lent));
  if (other >= 0) {
    EXPECT_EQ(front_.dup(other), -EBADF);
  }
}

TEST_F(FrontEndTest, AccessModes) {
  const int fd = front_.open_node("vfio", O_RDONLY);
  const OpenFileRef file = front_.table().find(fd);
  EXPECT_EQ(front_.pwrite(*file, "x", 1, 0), -EBADF);
  EXPECT_EQ(front_.pread(*file, nullptr, 1, 0), -EINVAL);
  const int device = make_device();
  const OpenFileRef device_file = front_.table().find(device);
  char buffer[4];
  EXPECT_EQ(front_.pread(*device_file, buffer, 4, -1), -EINVAL);
  EXPECT_EQ(front_.pread(*device_file, buffer, 4, 16), 4);
  EXPECT_EQ(buffer[3], 19);
  // read() goes on where it stopped
  EXPECT_EQ(front_.read(*device_file, buffer, 2), 2);
  EXPECT_EQ(front_.read(*device_file, buffer, 2), 2);
  EXPECT_EQ(buffer[1], 3);
}

TEST_F(FrontEndTest, DuplicateEventfd) {
  const int fd = open_container();
  const int event = ::eventfd(0, EFD_CLOEXEC);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  int pipes[2];
  ASSERT_EQ(::pipe2(pipes, O_CLOEXEC), 0);
  EXPECT_EQ(ioctl(fd, kEventfd, static_cast<std::uint64_t>(event)), 0);
  EXPECT_EQ(ioctl(fd, kEventfd, static_cast<std::uint64_t>(null)), -EINVAL);
  EXPECT_EQ(ioctl(fd, kEventfd, static_cast<std::uint64_t>(pipes[0])), -EINVAL);
  EXPECT_EQ(ioctl(fd, kEventfd, static_cast<std::uint64_t>(fd)), -EINVAL);
  EXPECT_EQ(ioctl(fd, kEventfd, static_cast<std::uint64_t>(-1)), -EBADF);
  EXPECT_EQ(ioctl(fd, kEventfd, 9999), -EBADF);
  for (const int one : {event, null, pipes[0], pipes[1]}) ::close(one);
  EXPECT_EQ(ioctl(fd, kFileOf, static_cast<std::uint64_t>(fd)), 1);
  EXPECT_EQ(ioctl(fd, kFileOf, 0), 0);
}

TEST_F(FrontEndTest, AForkedChildHasNoParentsFile) {
  const int group = open_group(1);
  const int copy = front_.dup(group);
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(in_child(front_, [&] {
    if (ioctl(group, kCount) != -ENODEV || ioctl(copy, kCount) != -ENODEV) return false;
    if (front_.close(group) != 0 || kernel_has(group)) return false;
    // Its own engine, its own files.
    const int container = front_.open_node("vfio", O_RDWR);
    if (container < 0 || ioctl(container, kCount) != 1) return false;
    if (front_.close(copy) != 0) return false;
    // The fake counts the parent's file still: it was not released here.
    if (fake_log().files != 2) return false;
    front_.finish();
    return fake_log().files == 1;
  }));
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_NE(said.find("/dev/vfio/1"), std::string::npos) << said;
  EXPECT_EQ(ioctl(group, kCount), 1);
  EXPECT_EQ(front_.open_node("1", O_RDWR), -EBUSY);
}

TEST_F(FrontEndTest, AChildMadeWithABareCloneIsNoticedToo) {
  const int group = open_group(1);
  ::testing::internal::CaptureStderr();
  const pid_t child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) ::_exit(ioctl(group, kCount) == -ENODEV ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(status, 0);
}

TEST_F(FrontEndTest, TheChildDoesNotHoldTheEnginesDescriptors) {
  open_container();
  EXPECT_TRUE(in_child(front_, [&] {
    const int internal = next_internal_fd(0);
    char link[64], target[64] = {};
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", internal);
    return internal >= 0 && ::readlink(link, target, sizeof target - 1) > 0 &&
           std::string(target) == "/dev/null";
  }));
}

TEST_F(FrontEndTest, ForkWhileOthersOpenAndMap) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a thread in the address sanitizer's allocator leaves it locked in a forked child";
#endif
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    while (!stop) {
      const int fd = front_.open_node("vfio", O_RDWR | O_CLOEXEC);
      ioctl(fd, kCount);
      front_.close(fd);
      FrontEnd::announce(front_.mappings().remove_around(4096, 4096, [] { return true; }));
    }
  });
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(in_child(front_, [&] {
      const int fd = front_.open_node("vfio", O_RDWR | O_CLOEXEC);
      return fd >= 0 && ioctl(fd, kCount) == 1 && front_.close(fd) == 0;
    }));
  stop = true;
  worker.join();
}

TEST_F(FrontEndTest, AVforkChildLeavesTheTableAlone) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer turns vfork into fork";
#endif
  const int group = open_group(1);
  const pid_t child = ::vfork();
  if (child == 0) {
    // Its descriptors are its own, the table is the parent's.
    const bool closed = front_.close(group) == 0;
    ::_exit(closed && table_.contains(group) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(ioctl(group, kCount), 1);
}

TEST_F(FrontEndTest, CloseInASignalHandlerInsideTheEngineWaits) {
  static std::remove_pointer_t<decltype(this)>* self;
  static int group;
  static long inside;
  self = this;
  group = open_group(1);
  const int container = open_container();
  struct sigaction action {};
  action.sa_handler = [](int) {
    inside = self->ioctl(group, kCount);
    self->front_.close(group);
  };
  sigaction(SIGUSR1, &action, nullptr);
  {
    const EngineScope scope;
    ::raise(SIGUSR1);
    EXPECT_EQ(inside, -EDEADLK);
    EXPECT_EQ(fake_log().files, 2) << "released while the interrupted call may hold locks";
  }
  EXPECT_EQ(fake_log().files, 1);
  ::signal(SIGUSR1, SIG_DFL);
  EXPECT_EQ(ioctl(container, kCount), 1);
}

TEST_F(FrontEndTest, CloseDuringAnIoctlOfAnotherThread) {
  const int fd = open_group(1);
  std::atomic<long> result{1};
  const int before = fake_log().ioctls;
  std::thread slow([&] { result = ioctl(fd, kSlow); });
  while (fake_log().ioctls == before) std::this_thread::yield();
  EXPECT_EQ(front_.close(fd), 0);
  slow.join();
  EXPECT_EQ(result, 0);
  EXPECT_EQ(fake_log().files, 0);
}

// Threads that open, duplicate, use and close the same few numbers: every call
// finds a live file or none.
TEST_F(FrontEndTest, ManyThreadsOnFewNumbers) {
  constexpr int kBase = 900, kNumbers = 6, kThreads = 4, kRounds = 3000;
  // The thread sanitizer takes a close() beside a dup3() onto the same number for
  // a race of the program, which it is: there those take turns, lookups do not.
#ifdef __SANITIZE_THREAD__
  std::mutex turn;
#else
  struct {
    void lock() {}
    void unlock() {}
  } turn;
#endif
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      unsigned random = static_cast<unsigned>(t) * 7919 + 1;
      for (int i = 0; i < kRounds; ++i) {
        random = random * 1664525 + 1013904223;
        const int number = kBase + static_cast<int>(random >> 8) % kNumbers;
        switch (random >> 28 & 7) {
          case 0: {
            const std::scoped_lock lock(turn);
            const int fd = front_.open_node("vfio", O_RDWR | O_CLOEXEC);
            if (fd < 0 || front_.dup_onto(fd, number, O_CLOEXEC) != number) ++wrong;
            front_.close(fd);
            break;
          }
          case 1: {
            const std::scoped_lock lock(turn);
            front_.close(number);
            break;
          }
          case 2: {
            const std::scoped_lock lock(turn);
            const int fd = front_.dup_above(number, F_DUPFD_CLOEXEC, 1000);
            if (fd >= 0) front_.close(fd);
            break;
          }
          default: {
            const long result = ioctl(number, kCount);
            if (result != -EBADF && result <= 0) ++wrong;
          }
        }
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  front_.close_range(kBase, kBase + kNumbers - 1, 0);
  EXPECT_EQ(fake_log().files, 0);
}

TEST_F(FrontEndTest, DescriptionsAreReused) {
  const std::size_t before = open_files();
  for (int i = 0; i < 5000; ++i) {
    const int fd = front_.open_node("vfio", O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(front_.close(fd), 0);
  }
  EXPECT_EQ(open_files(), before);
}

}  // namespace
}  // namespace pviommu::vfio::test
