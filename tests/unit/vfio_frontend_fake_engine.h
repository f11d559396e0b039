// SPDX-License-Identifier: LGPL-2.1-or-later
// An engine of a few lines: what the preload front end is tested against.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>

#include "vfio-glue/engine/engine.h"

namespace pviommu::vfio::test {

struct FakeLog {
  std::atomic<int> files{0};  ///< File objects alive
  std::atomic<int> ioctls{0};
  std::atomic<int> mapped{0};  ///< sum of mapping_changed()
  std::atomic<bool> group_open[8]{};
  std::atomic<int> engines{0};
  std::atomic<bool> engine_lock_held_at_release{false};
};

inline FakeLog& fake_log() {
  static FakeLog log;
  return log;
}

/// ioctl numbers the fake understands.
enum FakeRequest : std::uint32_t {
  kCount = 1,       ///< returns how many ioctls this file saw
  kMakeDevice = 2,  ///< GET_DEVICE_FD
  kCopy = 3,        ///< reads 8 bytes at the argument, writes them back plus 1
  kFileOf = 4,      ///< argument: fd; returns 1 for one of ours, 0 else
  kEventfd = 5,     ///< argument: fd; 0 or -errno
  kMmioAt = 6,      ///< argument: address; returns offset / 4096, or -1 (EPERM)
  kSlow = 7,        ///< 20 ms
  kLend = 8,        ///< argument: fd
};

class FakeFile final : public File {
 public:
  FakeFile(const char* kind, int group, int bar_fd) : kind_(kind), group_(group), bar_fd_(bar_fd) {
    ++fake_log().files;
  }
  ~FakeFile() override {
    --fake_log().files;
    if (group_ >= 0) fake_log().group_open[group_] = false;
  }
  const char* kind() const override { return kind_; }

  Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) override {
    ++fake_log().ioctls;
    switch (request) {
      case kCount:
        return ++count_;
      case kMakeDevice:
        return long{PVIOMMU_TRY(client.install(FileRef(new FakeFile("device", -1, bar_fd_))))};
      case kCopy: {
        std::uint64_t value = 0;
        PVIOMMU_TRY(client.copy_in(&value, argument, sizeof value));
        ++value;
        PVIOMMU_TRY(client.copy_out(argument, &value, sizeof value));
        return 0;
      }
      case kFileOf:
        return client.file_of(static_cast<int>(argument)) != nullptr;
      case kEventfd:
        PVIOMMU_TRY(client.duplicate_eventfd(static_cast<int>(argument)));
        return 0;
      case kMmioAt: {
        const auto found = client.mmio_at(argument, 4096);
        if (!found.file) return Error{EPERM, "mmio_at"};
        return static_cast<long>(found.offset >> 12);
      }
      case kSlow:
        ::usleep(20000);
        return 0;
      case kLend:
        client.lend(static_cast<int>(argument));
        return 0;
      default:
        return Error{ENOTTY, "ioctl"};
    }
  }
  Result<std::size_t> do_pread(Client& client, std::uint64_t buffer, std::size_t bytes,
                               std::int64_t offset) override {
    if (std::strcmp(kind_, "device") != 0) return Error{EINVAL, "pread"};
    std::string data(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i)
      data[i] = static_cast<char>(offset + static_cast<std::int64_t>(i));
    PVIOMMU_TRY(client.copy_out(buffer, data.data(), bytes));
    return bytes;
  }
  Result<std::size_t> do_pwrite(Client&, std::uint64_t, std::size_t bytes, std::int64_t) override {
    if (std::strcmp(kind_, "device") != 0) return Error{EINVAL, "pwrite"};
    return bytes;
  }
  Result<MmapPieces> mmap(std::uint64_t offset, std::size_t bytes, int, int flags) override {
    if (std::strcmp(kind_, "device") != 0) return Error{ENODEV, "mmap"};
    if ((flags & MAP_SHARED) == 0 || offset + bytes > 16 * 4096) return Error{EINVAL, "mmap"};
    if (bytes < 3 * 4096) return MmapPieces{{bar_fd_, offset, bytes}};
    // The second page comes from elsewhere, as an MSI-X table's shadow does.
    return MmapPieces{
        {bar_fd_, offset, 4096}, {bar_fd_, 16 * 4096, 4096}, {bar_fd_, offset + 2 * 4096, bytes - 2 * 4096}};
  }
  Status load(std::uint64_t, void*, std::size_t) override { return Error{EIO, "load"}; }
  Status store(std::uint64_t, const void*, std::size_t) override { return Error{EIO, "store"}; }
  void mapping_changed(std::uint64_t, int delta) override { fake_log().mapped += delta; }
  bool mappings_fault() const override { return false; }
  Result<MmioPlace> mmio_place(std::uint64_t) override { return Error{EFAULT, "mmio_place"}; }

 private:
  const char* kind_;
  int group_;
  int bar_fd_;
  std::atomic<long> count_{0};
};

class FakeEngine final : public Engine {
 public:
  FakeEngine() : bar_(::memfd_create("bar", MFD_CLOEXEC)) {
    ++fake_log().engines;
    if (::ftruncate(bar_.get(), 17 * 4096) != 0) std::abort();
    for (int page = 0; page < 17; ++page) {
      const char mark = static_cast<char>('a' + page);
      if (::pwrite(bar_.get(), &mark, 1, page * 4096) != 1) std::abort();
    }
  }
  ~FakeEngine() override { --fake_log().engines; }
  Hypervisor& hypervisor() override { std::abort(); }
  IommuDriver& iommu_driver() override { std::abort(); }
  FrameSource& frames() override { std::abort(); }
  Result<FileRef> open_container() override { return FileRef(new FakeFile("container", -1, bar_.get())); }
  Result<FileRef> open_group(unsigned group) override {
    if (group >= 8) return Error{ENOENT, "group"};
    if (fake_log().group_open[group].exchange(true)) return Error{EBUSY, "group"};
    return FileRef(new FakeFile("group", static_cast<int>(group), bar_.get()));
  }
  Result<FileRef> open_iommufd() override { return FileRef(new FakeFile("iommufd", -1, bar_.get())); }
  Result<FileRef> open_device_node(unsigned number) override {
    if (number >= 2) return Error{ENOENT, "device"};
    return FileRef(new FakeFile("device", -1, bar_.get()));
  }
  int bar_fd() const { return bar_.get(); }

 private:
  UniqueFd bar_;
};

}  // namespace pviommu::vfio::test
