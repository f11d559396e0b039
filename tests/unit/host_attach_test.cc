// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu detach, and attach as far as it comes without a guest: whom it ends, whom it
// leaves alone, and the one line that it says.  What people type: command.sh.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "hypercall/backend.h"
#include "hypercall/device_lock.h"
#include "vfio-glue/command/command.h"

namespace pviommu::command {

// That of command/main.cc, which has main().
std::unique_ptr<Hypervisor> open(const vfio::EngineConfig& config) {
  auto opened = open_hypervisor(config.hypervisor);
  return opened ? std::move(*opened) : nullptr;
}

namespace {

class AttachTest : public testing::Test {
 protected:
  AttachTest() {
    char pattern[] = "/tmp/pviommu-attach-XXXXXX";
    folder = ::mkdtemp(pattern);
    ::setenv("PVIOMMU_RUN_DIR", folder.c_str(), 1);
    const std::string disk = folder + "/disk";
    const int fd = ::open(disk.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(::ftruncate(fd, 1 << 20), 0);
    ::close(fd);
    engine.hypervisor = "model:nvme,addr=0000:00:05.0,file=" + disk;
    engine.quiet = true;
  }
  ~AttachTest() override {
    ::unsetenv("PVIOMMU_RUN_DIR");
    std::filesystem::remove_all(folder);
  }

  /// Another process, of that name, which has the device.
  pid_t owner(const char* name) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::prctl(PR_SET_NAME, name);
      const auto hypervisor = open(engine);
      const auto lock = DeviceLock::acquire(hypervisor->devices()->front().lock);
      (void)!::write(ends[1], lock ? "y" : "n", 1);
      for (;;) (void)::pause();
    }
    char has = 0;
    EXPECT_EQ(::read(ends[0], &has, 1), 1);
    EXPECT_EQ(has, 'y');
    for (const int fd : ends) ::close(fd);
    return child;
  }
  int detached(const char* device, std::string& said) {
    testing::internal::CaptureStderr();
    const int status = detach({engine, device});
    said = testing::internal::GetCapturedStderr();
    return status;
  }
  int attached(AttachOptions options, std::string& said) {
    options.engine = engine;
    testing::internal::CaptureStderr();
    const int status = attach(options);
    said = testing::internal::GetCapturedStderr();
    return status;
  }

  std::string folder, said;
  vfio::EngineConfig engine;
};

TEST_F(AttachTest, DetachEndsWhoHasAttached) {
  const pid_t child = owner("pviommu");
  EXPECT_EQ(detached("0000:00:05.0", said), 0);
  EXPECT_EQ(said, "");
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  EXPECT_EQ(detached("0000:00:05.0", said), kFailed);
  EXPECT_EQ(said, "pviommu: 0000:00:05.0 is not attached to a guest\n");
}

TEST_F(AttachTest, DetachLeavesOtherProgramsAlone) {
  const pid_t child = owner("spdk_tgt");
  EXPECT_EQ(detached("0000:00:05.0", said), kFailed);
  EXPECT_EQ(said, "pviommu: 0000:00:05.0 is used by process " + std::to_string(child) +
                      " (spdk_tgt), which is no pviommu attach; end that program\n");
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(AttachTest, BadInputIsOneLine) {
  EXPECT_EQ(detached("0000:00:05", said), kBadInput);
  EXPECT_EQ(said, "pviommu: '0000:00:05': expected SSSS:BB:DD.F like 0000:00:05.0\n");
  EXPECT_EQ(detached("0000:00:06.0", said), kBadInput);
  EXPECT_EQ(said, "pviommu: there is no device 0000:00:06.0; pviommu list shows those there are\n");

  AttachOptions options;
  options.device = "nvme0";
  options.domain = "web";
  EXPECT_EQ(attached(options, said), kBadInput);
  EXPECT_EQ(said, "pviommu: 'nvme0': expected SSSS:BB:DD.F like 0000:00:05.0\n");
  options.device = "0000:00:05.0";
  options.at = "01:10.0";
  EXPECT_EQ(attached(options, said), kBadInput);
  EXPECT_EQ(said, "pviommu: --at='01:10.0': expected a place on bus 0 of the guest, like 00:10.0\n");
  options.at = "00:10.0";
  options.uri = "xen+ssh://elsewhere/system";
  EXPECT_EQ(attached(options, said), kBadInput);
  EXPECT_EQ(said, "pviommu: xen+ssh://elsewhere/system: its guests are not this machine's; "
                  "pviommu attach runs where the guest does\n");
}

}  // namespace
}  // namespace pviommu::command
