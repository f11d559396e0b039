// SPDX-License-Identifier: LGPL-2.1-or-later
// Frame sources on real memory: what is held, what is refused, what a transfer reaches.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "hypercall/statistics.h"
#include "hypercall/unique_fd.h"
#include "pviommu/copying_pins.h"
#include "pviommu/frame_source.h"
#include "pviommu/io_uring_pins.h"

namespace pviommu {
namespace {

constexpr Access rw = Access::read_write;

/// A private mapping, unmapped at the end if it is still there.
class Memory {
 public:
  explicit Memory(std::size_t bytes, int protection = PROT_READ | PROT_WRITE, int fd = -1,
                  int flags = MAP_PRIVATE)
      : bytes_(bytes) {
    memory_ = static_cast<char*>(
        ::mmap(nullptr, bytes, protection, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0));
  }
  ~Memory() { ::munmap(memory_, bytes_); }
  char* data() const { return memory_; }
  HvaRange range() const {
    return HvaRange::from_size(Hva(reinterpret_cast<std::uintptr_t>(memory_)), bytes_).value();
  }

 private:
  std::size_t bytes_;
  char* memory_;
};

UniqueFd memory_file(std::size_t bytes) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

class Pins : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto made = make_frame_source(GetParam());
    if (!made && made.error().code == ENOSYS) GTEST_SKIP() << to_string(made.error());
    ASSERT_TRUE(made) << to_string(made.error());
    source = std::move(made->source);
    EXPECT_EQ(source->name(), GetParam());
  }
  bool holds() const { return source->holds_pages(); }
  int refusal(const Memory& memory, Access access) {
    const auto pin = source->pin(memory.range(), access);
    return pin ? 0 : pin.error().code;
  }
  std::unique_ptr<FrameSource> source;
};
INSTANTIATE_TEST_SUITE_P(Sources, Pins, ::testing::Values("io_uring", "copy"),
                         [](const auto& info) { return info.param; });

TEST_P(Pins, TransfersBothWaysAtEveryOffset) {
  constexpr std::size_t kBytes = 512 << 10;
  Memory memory(kBytes);
  for (std::size_t i = 0; i < kBytes; ++i) memory.data()[i] = static_cast<char>(i * 7 + i / 4096);
  auto pin = source->pin(memory.range(), rw);
  ASSERT_TRUE(pin);
  EXPECT_EQ((*pin)->pages(), kBytes / 4096);
  const std::string path = "pins-test-" + std::to_string(::getpid());
  for (const bool on_disk : {false, true}) {
    UniqueFd fd = on_disk ? UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600))
                          : memory_file(0);
    ASSERT_TRUE(fd);
    for (const std::size_t bytes : {1u, 64u, 4096u, 4097u, 65536u, 300000u})
      for (const std::size_t offset : {0u, 1u, 4095u, 100000u}) {
        ASSERT_TRUE((*pin)->to_file(fd.get(), 5000, offset, bytes));
        std::vector<char> got(bytes);
        ASSERT_EQ(::pread(fd.get(), got.data(), bytes, 5000), static_cast<ssize_t>(bytes));
        ASSERT_EQ(std::memcmp(got.data(), memory.data() + offset, bytes), 0) << bytes << " " << offset;
        for (char& c : got) c = static_cast<char>(c ^ 0x55);
        ASSERT_EQ(::pwrite(fd.get(), got.data(), bytes, 5000), static_cast<ssize_t>(bytes));
        ASSERT_TRUE((*pin)->from_file(fd.get(), 5000, offset, bytes));
        ASSERT_EQ(std::memcmp(got.data(), memory.data() + offset, bytes), 0) << bytes << " " << offset;
      }
    // Short: the file ends.  What follows is not disturbed.
    const off_t size = ::lseek(fd.get(), 0, SEEK_END);
    EXPECT_EQ((*pin)->from_file(fd.get(), static_cast<std::uint64_t>(size) - 100, 0, 200).error().code, EIO);
    memory.data()[0] = 'A';
    ASSERT_TRUE((*pin)->to_file(fd.get(), 0, 0, 1));
    char c = 0;
    ASSERT_EQ(::pread(fd.get(), &c, 1, 0), 1);
    EXPECT_EQ(c, 'A');
  }
  ::unlink(path.c_str());
  EXPECT_EQ((*pin)->to_file(memory_file(1).get(), 0, kBytes - 1, 2).error().code, EFAULT);
  EXPECT_EQ((*pin)->to_file(memory_file(1).get(), 0, ~std::uint64_t{0}, 2).error().code, EFAULT);
  EXPECT_EQ((*pin)->to_file(-1, 0, 0, 1).error().code, EBADF);
}

TEST_P(Pins, RightsAreTheKernels) {
  EXPECT_EQ(refusal(Memory(4096, PROT_NONE), rw), EFAULT);             // C37
  EXPECT_EQ(refusal(Memory(4096, PROT_NONE), Access::read), EFAULT);   // C38
  EXPECT_EQ(refusal(Memory(4096, PROT_READ), rw), EFAULT);             // C42
  EXPECT_EQ(refusal(Memory(4096, PROT_READ), Access::write), EFAULT);  // C43
  EXPECT_EQ(refusal(Memory(4096, PROT_READ), Access::read), 0);        // C44
  EXPECT_EQ(refusal(Memory(4096, PROT_WRITE), rw), 0);                 // C45
  EXPECT_EQ(refusal(Memory(4096, PROT_READ | PROT_WRITE, -1, MAP_SHARED), rw), 0);  // C55
  const UniqueFd file = memory_file(4096);
  EXPECT_EQ(refusal(Memory(4096, PROT_READ | PROT_WRITE, file.get(), MAP_SHARED), rw), 0);   // C48
  EXPECT_EQ(refusal(Memory(4096, PROT_READ, file.get(), MAP_SHARED), Access::read), 0);      // C51
  EXPECT_EQ(refusal(Memory(8192, PROT_READ | PROT_WRITE, file.get(), MAP_SHARED), rw), EFAULT);  // C50
  {
    Memory hole(4 * 4096);
    ::munmap(hole.data() + 2 * 4096, 4096);
    EXPECT_EQ(refusal(hole, rw), EFAULT);  // C40
  }
  // Addresses that no program has: C33, C35.
  for (const std::uint64_t address : {~std::uint64_t{0} << 12, std::uint64_t{1} << 63}) {
    const auto pin = source->pin(HvaRange::from_size(Hva(address), 4096).value(), rw);
    ASSERT_FALSE(pin);
    EXPECT_EQ(pin.error().code, EFAULT);
  }
  // Text of this program: C52.
  const auto text = reinterpret_cast<std::uintptr_t>(&memory_file) & ~std::uintptr_t{4095};
  EXPECT_TRUE(source->pin(HvaRange::from_size(Hva(text), 4096).value(), Access::read));
}

TEST_P(Pins, CheckingDestroysNothing) {
  Memory memory(16 * 4096);
  std::memset(memory.data(), 0x5a, 16 * 4096);
  { const auto pin = source->pin(memory.range(), rw); }
  for (std::size_t i = 0; i < 16 * 4096; ++i) ASSERT_EQ(memory.data()[i], 0x5a);
}

TEST_P(Pins, ReadOnlyMemoryCanBeRead) {
  Memory memory(4096);
  std::strcpy(memory.data(), "constant");
  ASSERT_EQ(::mprotect(memory.data(), 4096, PROT_READ), 0);
  auto pin = source->pin(memory.range(), Access::read);
  ASSERT_TRUE(pin);
  EXPECT_FALSE((*pin)->holds_pages());
  const UniqueFd file = memory_file(4096);
  ASSERT_TRUE((*pin)->to_file(file.get(), 0, 0, 16));
  char text[16];
  ASSERT_EQ(::pread(file.get(), text, 16, 0), 16);
  EXPECT_STREQ(text, "constant");
  EXPECT_EQ((*pin)->from_file(file.get(), 0, 0, 16).error().code, EFAULT);
}

TEST_P(Pins, MemoryThatIsReplacedIsNotReached) {
  const UniqueFd file = memory_file(4096);
  ASSERT_EQ(::pwrite(file.get(), "from the device", 16, 0), 16);
  Memory memory(4 * 4096);
  std::strcpy(memory.data() + 4096, "old");
  auto pin = source->pin(memory.range(), rw);
  ASSERT_TRUE(pin);
  ASSERT_EQ(::munmap(memory.data(), 4 * 4096), 0);
  if (!holds()) {
    EXPECT_EQ((*pin)->from_file(file.get(), 0, 4096, 16).error().code, EFAULT);
    return;
  }
  void* again = ::mmap(memory.data(), 4 * 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(again, memory.data());
  std::strcpy(memory.data() + 4096, "new");
  // The device reaches the pages it was given, not the new ones.
  ASSERT_TRUE((*pin)->to_file(file.get(), 100, 4096, 4));
  char text[16] = "";
  ASSERT_EQ(::pread(file.get(), text, 4, 100), 4);
  EXPECT_STREQ(text, "old");
  ASSERT_TRUE((*pin)->from_file(file.get(), 0, 4096, 16));
  EXPECT_STREQ(memory.data() + 4096, "new");
  ASSERT_TRUE((*pin)->to_file(file.get(), 200, 4096, 16));
  ASSERT_EQ(::pread(file.get(), text, 16, 200), 16);
  EXPECT_STREQ(text, "from the device");
}

TEST_P(Pins, ManyPinsAndTheirCount) {
  const std::uint64_t before = statistics().pinned_pages.load();
  Memory memory(16 * 4096);
  std::vector<std::unique_ptr<PinnedMemory>> pins;
  for (unsigned round = 0; round < 2; ++round) {
    for (unsigned i = 0; i < 3000; ++i) {
      auto pin = source->pin(memory.range(), rw);
      ASSERT_TRUE(pin) << i << to_string(pin.error());
      pins.push_back(std::move(*pin));
    }
    EXPECT_EQ(statistics().pinned_pages.load() - before, 3000u * 16);
    pins.clear();
    EXPECT_EQ(statistics().pinned_pages.load(), before);
  }
}

TEST_P(Pins, ThreadsTransferPinAndRelease) {
  std::atomic<int> problems{0};
  std::vector<std::thread> threads;
  Memory shared(64 * 4096);
  auto common = source->pin(shared.range(), rw);
  ASSERT_TRUE(common);
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const UniqueFd file = memory_file(64 << 10);
      for (unsigned i = 0; i < 200; ++i) {
        Memory memory(4 * 4096);
        std::memset(memory.data(), static_cast<int>(t + i), 4 * 4096);
        auto pin = source->pin(memory.range(), rw);
        if (!pin || !(*pin)->to_file(file.get(), 0, 100, 5000)) {
          ++problems;
          continue;
        }
        char byte = 0;
        problems += ::pread(file.get(), &byte, 1, 4999) != 1 || byte != static_cast<char>(t + i);
        problems += !(*common)->from_file(file.get(), 0, t * 16 * 4096, 5000);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(problems.load(), 0);
}

TEST(IoUringPins, DescriptorsAreOursAndCloseOnExec) {
  auto source = make_io_uring_source();
  if (!source) GTEST_SKIP() << to_string(source.error());
  unsigned rings = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (target.string().find("io_uring") == std::string::npos) continue;
    ++rings;
    const int fd = std::stoi(entry.path().filename());
    EXPECT_TRUE(is_internal_fd(fd));
    EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(rings, 1u);
}

TEST(IoUringPins, ChildOfForkKeepsNothing) {
  auto source = make_io_uring_source();
  if (!source) GTEST_SKIP() << to_string(source.error());
  Memory memory(4096);
  std::strcpy(memory.data(), "parent");
  auto pin = (*source)->pin(memory.range(), rw);
  ASSERT_TRUE(pin);
  const UniqueFd file = memory_file(4096);
  ASSERT_TRUE((*pin)->to_file(file.get(), 0, 0, 7));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);
    int rings = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code error;
      rings += std::filesystem::read_symlink(entry.path(), error).string().find("io_uring") != std::string::npos;
    }
    if (rings != 0) ::_exit(1);
    // The parent's pin is out of reach, its end here does not touch the parent's.
    if ((*pin)->to_file(file.get(), 0, 0, 7).error().code != EFAULT) ::_exit(2);
    pin->reset();
    // The child's own pins work.
    auto own = (*source)->pin(memory.range(), rw);
    if (!own) ::_exit(3);
    std::strcpy(memory.data(), "child!");
    if (!(*own)->to_file(file.get(), 100, 0, 7)) ::_exit(4);
    own->reset();
    if (!(*source)->pin(memory.range(), rw)) ::_exit(5);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
  char text[8] = "";
  ASSERT_EQ(::pread(file.get(), text, 7, 100), 7);
  EXPECT_STREQ(text, "child!");
  ASSERT_TRUE((*pin)->to_file(file.get(), 0, 0, 7));
  ASSERT_EQ(::pread(file.get(), text, 7, 0), 7);
  EXPECT_STREQ(text, "parent");
}

TEST(IoUringPins, PinOutlivesTheSource) {
  auto source = make_io_uring_source();
  if (!source) GTEST_SKIP() << to_string(source.error());
  Memory memory(4096);
  auto pin = (*source)->pin(memory.range(), rw);
  ASSERT_TRUE(pin);
  source->reset();
  const UniqueFd file = memory_file(4096);
  EXPECT_TRUE((*pin)->to_file(file.get(), 0, 0, 7));
}

// As a container's seccomp profile does it.
TEST(FrameSource, SaysWhyThereIsNoRing) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sock_filter steps[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program{4, steps};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
      ::_exit(77);
    const auto source = make_io_uring_source();
    ::_exit(!source && source.error().raw == EPERM &&
                    to_string(source.error()).find(std::strerror(EPERM)) != std::string::npos
                ? 0
                : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "seccomp filters are not allowed";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(FrameSource, NamesAndNotices) {
  const auto nosuch = make_frame_source("nosuch");
  ASSERT_FALSE(nosuch);
  EXPECT_EQ(nosuch.error().code, EINVAL);
  EXPECT_EQ(to_string(nosuch.error()), "unknown frame source \"nosuch\": one of auto, io_uring, copy");
  auto chosen = make_frame_source("auto");
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->notice.empty(), chosen->source->holds_pages());
  chosen = make_frame_source("copy");
  ASSERT_TRUE(chosen);
  EXPECT_FALSE(chosen->notice.empty());
  EXPECT_EQ(chosen->notice.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace pviommu
