// SPDX-License-Identifier: LGPL-2.1-or-later
// /dev/pviommu-papr by bare ioctls, and the device `edu` of QEMU by its registers:
// what the tests of the kernel module use.  Nothing of the library is between.
#pragma once

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "hypercall/papr/kernel/pviommu_papr.h"
#include "hypercall/sysfs_device.h"

namespace pviommu::rig {

inline constexpr std::uint64_t kTceBytes = 4096;
inline constexpr std::uint64_t kRead = 1, kWrite = 2;

/// 0 or the errno.
template <class Argument>
int request(int fd, unsigned long number, Argument& argument) {
  return ::ioctl(fd, number, &argument) == 0 ? 0 : errno;
}

class ModuleFile {
 public:
  ModuleFile() : fd_(::open(PVIOMMU_PAPR_DEVICE, O_RDWR | O_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  int claim(std::uint32_t sbdf, std::uint32_t flags = 0) {
    pviommu_papr_claim argument{};
    argument.sbdf = sbdf;
    argument.flags = flags;
    const int error = request(fd(), PVIOMMU_PAPR_CLAIM, argument);
    if (error == 0) window = argument.window;
    occupied = argument.occupied;
    return error;
  }
  int release(std::uint32_t sbdf) {
    pviommu_papr_release argument{sbdf, 0};
    return request(fd(), PVIOMMU_PAPR_RELEASE, argument);
  }
  int pin(const void* at, std::uint64_t bytes, std::vector<std::uint64_t>& frames, std::uint32_t& id,
          std::uint32_t flags = PVIOMMU_PAPR_PIN_WRITE) {
    frames.assign(bytes / kTceBytes, 0);
    pviommu_papr_pin argument{reinterpret_cast<std::uintptr_t>(at), bytes,
                              reinterpret_cast<std::uintptr_t>(frames.data()), flags, 0};
    const int error = request(fd(), PVIOMMU_PAPR_PIN, argument);
    id = argument.pin;
    return error;
  }
  int unpin(std::uint32_t id) {
    pviommu_papr_unpin argument{id, 0};
    return request(fd(), PVIOMMU_PAPR_UNPIN, argument);
  }
  int map(std::uint32_t liobn, std::uint64_t ioba, const std::vector<std::uint64_t>& tces) {
    pviommu_papr_map argument{};
    argument.liobn = liobn;
    argument.count = static_cast<std::uint32_t>(tces.size());
    argument.ioba = ioba;
    argument.tces = reinterpret_cast<std::uintptr_t>(tces.data());
    const int error = request(fd(), PVIOMMU_PAPR_MAP, argument);
    rc = argument.rc;
    return error;
  }
  int unmap(std::uint32_t liobn, std::uint64_t ioba, std::uint64_t count) {
    pviommu_papr_unmap argument{};
    argument.liobn = liobn;
    argument.ioba = ioba;
    argument.count = count;
    return request(fd(), PVIOMMU_PAPR_UNMAP, argument);
  }
  int get(std::uint32_t liobn, std::uint64_t ioba, std::uint64_t& tce) {
    pviommu_papr_get_tce argument{};
    argument.liobn = liobn;
    argument.ioba = ioba;
    const int error = request(fd(), PVIOMMU_PAPR_GET_TCE, argument);
    tce = argument.tce;
    return error;
  }
  int vectors(std::uint32_t sbdf, std::uint32_t kind, std::uint32_t& count) {
    pviommu_papr_vectors argument{sbdf, kind, count, 0};
    const int error = request(fd(), PVIOMMU_PAPR_VECTORS, argument);
    if (error == 0) count = argument.count;
    return error;
  }
  pviommu_papr_info info() {
    pviommu_papr_info argument{};
    request(fd(), PVIOMMU_PAPR_INFO, argument);
    return argument;
  }
  bool readable(int milliseconds) {
    pollfd waiting{fd(), POLLIN, 0};
    return ::poll(&waiting, 1, milliseconds) == 1 && (waiting.revents & POLLIN) != 0;
  }

  pviommu_papr_window window{};  ///< of the last claim
  std::uint64_t occupied = 0;
  std::int64_t rc = 0;  ///< of the last map

 private:
  UniqueFd fd_;
};

/// Pages of this process, zero.
class Pages {
 public:
  explicit Pages(std::size_t bytes)
      : bytes_(bytes),
        at_(static_cast<std::uint8_t*>(
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  ~Pages() { ::munmap(at_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::uint8_t* data() { return at_; }
  std::size_t size() const { return bytes_; }

 private:
  std::size_t bytes_;
  std::uint8_t* at_;
};

/// docs/specs/edu.txt of QEMU.  Its registers are in the guest's default byte order,
/// which is big on ppc64; later versions may be little.
class Edu {
 public:
  explicit Edu(Sbdf sbdf) {
    auto opened = SysfsDevice::open(sbdf, "test");
    if (!opened) return;
    device_ = *std::move(opened);
    const auto id = device_->bar_read(0, 0, 4);
    swap_ = id && (*id & 0xff) != 0xed;
  }
  explicit operator bool() const { return device_ && (read(0) & 0xffff) == 0xed; }
  SysfsDevice& device() { return *device_; }

  std::uint32_t read(std::uint64_t at) const {
    const auto value = static_cast<std::uint32_t>(device_->bar_read(0, at, 4).value());
    return swap_ ? __builtin_bswap32(value) : value;
  }
  void write(std::uint64_t at, std::uint32_t value) {
    (void)device_->bar_write(0, at, 4, swap_ ? __builtin_bswap32(value) : value);
  }
  void write64(std::uint64_t at, std::uint64_t value) {
    (void)device_->bar_write(0, at, 8, swap_ ? __builtin_bswap64(value) : value);
  }
  void master(bool on) {
    const std::uint32_t command = device_->config_read(PCI_COMMAND, 2).value() & ~std::uint32_t{PCI_COMMAND_MASTER};
    (void)device_->config_write(PCI_COMMAND, 2, on ? command | PCI_COMMAND_MASTER : command);
  }

  enum Direction { to_device, from_device };
  static constexpr std::uint64_t kBuffer = 0x40000;  ///< 4 KiB in the device
  static constexpr std::uint64_t kMost = 4095;       ///< bytes of a transfer at most
  /// Waits for the end; false when there is none.
  bool dma(Direction direction, std::uint64_t iova, std::uint64_t bytes, bool interrupt = false) {
    write64(0x80, direction == to_device ? iova : kBuffer);
    write64(0x88, direction == to_device ? kBuffer : iova);
    write64(0x90, bytes);
    write64(0x98, 1u | (direction == from_device ? 2u : 0u) | (interrupt ? 4u : 0u));
    for (int tries = 0; tries < 300; ++tries) {
      if ((read(0x98) & 1) == 0) return true;
      const timespec pause{0, 10'000'000};
      ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
    }
    return false;
  }

 private:
  std::unique_ptr<SysfsDevice> device_;
  bool swap_ = false;
};

}  // namespace pviommu::rig
