// SPDX-License-Identifier: LGPL-2.1-or-later
// A program for tests that use the engine without a front end.
#pragma once

#include <linux/vfio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "vfio-glue/engine/file.h"

namespace pviommu::vfio {

/// The caller's side: numbers are keys of a map, memory is this process's.
class LocalClient final : public Client {
 public:
  Status copy_in(void* to, std::uint64_t from, std::size_t bytes) override {
    if (from < kPageSize) return Error{EFAULT, "copy_in"};
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return {};
  }
  Status copy_out(std::uint64_t to, const void* from, std::size_t bytes) override {
    if (to < kPageSize) return Error{EFAULT, "copy_out"};
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return {};
  }
  FileRef file_of(int fd) override {
    const auto found = files_.find(fd);
    return found == files_.end() ? FileRef() : found->second;
  }
  bool is_open(int fd) override { return files_.contains(fd); }
  Result<int> install(FileRef file) override {
    if (fail_install) return Error{EMFILE, "install"};
    files_[next_] = std::move(file);
    return next_++;
  }
  Result<UniqueFd> duplicate_eventfd(int fd) override {
    const int copy = ::dup(fd);
    if (copy < 0) return Error{EBADF, "duplicate_eventfd"};
    return UniqueFd(copy);
  }
  MmioMapping mmio_at(std::uint64_t, std::uint64_t) override { return {}; }
  void refresh_mappings(const void*) override {}  // it maps nothing
  bool traps_registers() const override { return false; }
  void lend(int) override {}                      // it keeps no descriptors from itself

  long ioctl(int fd, std::uint32_t request, void* argument) {
    const FileRef file = file_of(fd);
    return file ? file->ioctl(*this, request, reinterpret_cast<std::uint64_t>(argument)) : -EBADF;
  }
  long map(int container, std::uint64_t iova, const void* memory, std::uint64_t bytes) {
    vfio_iommu_type1_dma_map map{.argsz = sizeof map,
                                 .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                 .vaddr = reinterpret_cast<std::uint64_t>(memory),
                                 .iova = iova,
                                 .size = bytes};
    return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
  }
  /// -EIO also when less was unmapped than asked for.
  long unmap(int container, std::uint64_t iova, std::uint64_t bytes) {
    alignas(8) std::uint8_t raw[sizeof(vfio_iommu_type1_dma_unmap)] = {};
    auto& unmap = *reinterpret_cast<vfio_iommu_type1_dma_unmap*>(raw);
    unmap.argsz = sizeof raw;
    unmap.iova = iova;
    unmap.size = bytes;
    const long result = ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
    return result == 0 && unmap.size != bytes ? -EIO : result;
  }
  /// One eventfd for vector 0, or all off.
  long set_irqs(int device, std::uint32_t index, bool on, std::int32_t eventfd) {
    struct {
      std::uint32_t argsz, flags, index, start, count;
      std::int32_t fd;
    } set{sizeof set, VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, on ? 1u : 0u, eventfd};
    set.flags |= on ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE;
    return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
  }
  void close(int fd) { files_.erase(fd); }
  void close_all() { files_.clear(); }

  bool fail_install = false;

 private:
  std::map<int, FileRef> files_;
  int next_ = 100;
};

}  // namespace pviommu::vfio
