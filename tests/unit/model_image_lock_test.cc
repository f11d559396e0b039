// SPDX-License-Identifier: LGPL-2.1-or-later
// Two programs on one image, whichever way they come to it: ours and ours, ours and QEMU.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>

#include "hypercall/hypervisor.h"
#include "hypercall/model/image_lock.h"
#include "hypercall/model/model.h"
#include "hypercall/unique_fd.h"

namespace pviommu::model {
namespace {

class Image : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pviommu-image-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    path_ = folder_ + "/disk", link_ = folder_ + "/link";
    const UniqueFd file(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(file);
    ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
    ASSERT_EQ(::link(path_.c_str(), link_.c_str()), 0);
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::unlink(link_.c_str());
    ::rmdir(folder_.c_str());
  }
  static int code(const std::string& path, bool read_only) {
    const auto lock = ImageLock::acquire(path, read_only);
    return lock ? 0 : lock.error().code;
  }

  std::string folder_, path_, link_;
};

TEST_F(Image, HasOneWriter) {
  {
    const auto writer = ImageLock::acquire(path_, false);
    ASSERT_TRUE(writer);
    for (const std::string& name : {path_, link_})
      for (const bool read_only : {false, true}) EXPECT_EQ(code(name, read_only), EBUSY) << name;
    const auto second = ImageLock::acquire(link_, false);
    EXPECT_NE(second.error().sentence.view().find("file=" + link_), std::string::npos);
  }
  EXPECT_EQ(code(path_, false), 0) << "the lock ends with its owner";
}

TEST_F(Image, HasManyReaders) {
  const auto reader = ImageLock::acquire(path_, true);
  ASSERT_TRUE(reader);
  EXPECT_EQ(code(link_, true), 0);
  EXPECT_EQ(code(path_, false), EBUSY);
  EXPECT_EQ(code(folder_ + "/nothing", true), ENOENT);
}

/// The bytes that QEMU locks (block/file-posix.c) exclude us, and ours exclude QEMU.
TEST_F(Image, HasQemusLocks) {
  const UniqueFd qemu(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  const auto byte = [&](int command, short type, off_t at) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = at;
    lock.l_len = 1;
    EXPECT_EQ(::fcntl(qemu.get(), command, &lock), 0);
    return lock.l_type != F_UNLCK;
  };
  for (const off_t at : {off_t{101}, off_t{103}, off_t{200}, off_t{201}}) {
    byte(F_OFD_SETLK, F_RDLCK, at);
    EXPECT_EQ(code(path_, false), EBUSY) << at;
    byte(F_OFD_SETLK, F_UNLCK, at);
  }
  byte(F_OFD_SETLK, F_RDLCK, 100);
  EXPECT_EQ(code(path_, false), 0) << "somebody who reads and bears it";
  byte(F_OFD_SETLK, F_UNLCK, 100);
  const auto writer = ImageLock::acquire(path_, false);
  EXPECT_TRUE(byte(F_OFD_GETLK, F_WRLCK, 101)) << "we write";
  EXPECT_TRUE(byte(F_OFD_GETLK, F_WRLCK, 201)) << "we bear no other writer";
}

TEST_F(Image, IsLockedWhileItsDeviceIsOpen) {
  const auto open = [](const std::string& image) {
    auto machine = Model::open("nvme,addr=0000:00:05.0,file=" + image);
    EXPECT_TRUE(machine);
    return std::move(*machine);
  };
  auto first = open(path_), second = open(link_);
  const Sbdf address = *parse_sbdf("0000:00:05.0");
  {
    const auto device = first->open_device(address);
    ASSERT_TRUE(device);
    const auto other = second->open_device(address);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, EBUSY);
  }
  EXPECT_TRUE(second->open_device(address)) << "given back";
}

}  // namespace
}  // namespace pviommu::model
