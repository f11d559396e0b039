// SPDX-License-Identifier: LGPL-2.1-or-later
// One owner for a device across processes: killed owners, forks, a hostile folder.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "hypercall/device_lock.h"

namespace pviommu {
namespace {

namespace fs = std::filesystem;

class DeviceLockTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pviommu-lock-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    top_ = name;
    use(top_ / "run");
  }
  void TearDown() override {
    ::unsetenv("PVIOMMU_RUN_DIR");
    fs::remove_all(top_);
  }
  static void use(const fs::path& folder) { ::setenv("PVIOMMU_RUN_DIR", folder.c_str(), 1); }

  /// A child that runs `body`, says whether it is content, and waits to be killed.
  template <class Body>
  pid_t child_that(Body body) {
    int ready[2];
    EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const char good = body() ? 'y' : 'n';
      (void)!::write(ready[1], &good, 1);
      ::alarm(60);  // not for ever, should the test die
      for (;;) ::pause();
    }
    char good = 0;
    EXPECT_EQ(::read(ready[0], &good, 1), 1);
    EXPECT_EQ(good, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
    return child;
  }
  static void kill_and_reap(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }

  fs::path top_;
};

TEST_F(DeviceLockTest, OneOwnerAtATime) {
  {
    auto first = DeviceLock::acquire("model-0000:00:05.0");
    ASSERT_TRUE(first) << to_string(first.error());
    EXPECT_EQ(DeviceLock::acquire("model-0000:00:05.0").error().code, EBUSY);
    EXPECT_TRUE(DeviceLock::acquire("model-0000:00:06.0"));
  }
  EXPECT_TRUE(DeviceLock::acquire("model-0000:00:05.0"));
}

TEST_F(DeviceLockTest, OwnerIsNamed) {
  EXPECT_EQ(*DeviceLock::owner("x"), std::nullopt);
  EXPECT_FALSE(fs::exists(top_ / "run")) << "asking makes nothing";
  {
    const auto lock = DeviceLock::acquire("x");
    ASSERT_TRUE(lock);
    const auto owner = DeviceLock::owner("x");
    ASSERT_TRUE(owner);
    ASSERT_TRUE(owner->has_value());
    EXPECT_EQ((*owner)->pid, ::getpid());
    EXPECT_NE((*owner)->comm.find("unit_hypercall"), std::string::npos) << (*owner)->comm;
  }
  EXPECT_EQ(*DeviceLock::owner("x"), std::nullopt);
}

TEST_F(DeviceLockTest, KilledOwnerBlocksNothing) {
  const pid_t child = child_that([] {
    static auto lock = DeviceLock::acquire("x");
    return lock.ok();
  });
  EXPECT_EQ(DeviceLock::acquire("x").error().code, EBUSY);
  EXPECT_EQ(DeviceLock::owner("x")->value_or(DeviceOwner{}).pid, child);
  kill_and_reap(child);
  EXPECT_EQ(*DeviceLock::owner("x"), std::nullopt);
  EXPECT_TRUE(DeviceLock::acquire("x"));
}

TEST_F(DeviceLockTest, LongFormerOwnerLeavesNoRest) {
  {
    ASSERT_TRUE(DeviceLock::acquire("x"));
    const UniqueFd fd(::open((top_ / "run/x").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    const std::string line = "999999999 a-very-long-name-of-a-former-owner\n";
    ASSERT_EQ(::write(fd.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }
  const auto lock = DeviceLock::acquire("x");
  ASSERT_TRUE(lock);
  EXPECT_EQ(DeviceLock::owner("x")->value().pid, ::getpid());
  EXPECT_EQ(DeviceLock::owner("x")->value().comm.find("former"), std::string::npos);
  EXPECT_LT(fs::file_size(top_ / "run/x"), std::string("999999999 a-very-long").size() + 10);
}

TEST_F(DeviceLockTest, ForkSharesExecDoesNot) {
  auto lock = std::make_unique<DeviceLock>(*DeviceLock::acquire("x"));
  const pid_t sharer = child_that([] { return true; });
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t exec = ::fork();
  if (exec == 0) {
    ::dup2(ready[1], 1);
    ::execl("/bin/sh", "sh", "-c", "echo; exec sleep 60", nullptr);
    ::_exit(127);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);

  lock.reset();
  EXPECT_EQ(DeviceLock::acquire("x").error().code, EBUSY) << "the forked child still has it";
  kill_and_reap(sharer);
  EXPECT_TRUE(DeviceLock::acquire("x")) << "the program it executed has not";
  kill_and_reap(exec);
}

TEST_F(DeviceLockTest, FolderIsPrivate) {
  ASSERT_TRUE(DeviceLock::acquire("x"));
  struct stat st {};
  ASSERT_EQ(::stat((top_ / "run").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
}

TEST_F(DeviceLockTest, ForeignFolderIsRefused) {
  fs::create_directory(top_ / "real");
  fs::create_directory_symlink(top_ / "real", top_ / "link");
  use(top_ / "link");
  EXPECT_EQ(DeviceLock::acquire("x").error().code, EPERM);
  EXPECT_TRUE(fs::is_empty(top_ / "real"));

  fs::create_directory(top_ / "open");
  fs::permissions(top_ / "open", fs::perms::all);
  use(top_ / "open");
  EXPECT_EQ(DeviceLock::acquire("x").error().code, EPERM);

  use(top_ / "missing" / "run");
  EXPECT_EQ(DeviceLock::acquire("x").error().code, ENOENT);

  if (::geteuid() == 0) {
    fs::create_directory(top_ / "theirs");
    ASSERT_EQ(::chown((top_ / "theirs").c_str(), 12345, 12345), 0);
    use(top_ / "theirs");
    EXPECT_EQ(DeviceLock::acquire("x").error().code, EPERM);
  }
}

TEST_F(DeviceLockTest, LinkInPlaceOfTheFileIsRefused) {
  ASSERT_TRUE(DeviceLock::acquire("y"));
  fs::create_symlink(top_ / "elsewhere", top_ / "run" / "x");
  EXPECT_FALSE(DeviceLock::acquire("x"));
  EXPECT_FALSE(fs::exists(top_ / "elsewhere"));
}

TEST_F(DeviceLockTest, NamesAreFileNames) {
  for (const std::string_view name :
       {std::string_view(""), std::string_view("."), std::string_view(".."), std::string_view("a/b"),
        std::string_view("../x"), std::string_view("a\0b", 3)})
    EXPECT_EQ(DeviceLock::acquire(name).error().code, EINVAL) << name;
  EXPECT_EQ(DeviceLock::owner("a/b").error().code, EINVAL);
}

}  // namespace
}  // namespace pviommu
