// SPDX-License-Identifier: LGPL-2.1-or-later
// A small VFIO program: what the conformance tests are written with.
//
// Uses nothing but system calls and <linux/vfio.h>, so that the same binary runs
// against any implementation of /dev/vfio: the preload front end on any
// hypervisor, or the kernel itself.
#pragma once

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace conformance {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kMsiWindow = 0xfee00000;
inline constexpr std::uint32_t kEduVendor = 0x1234;
/// Room for 256 MiB on every machine: Power's default window ends at 1 GiB.
inline constexpr std::uint64_t kRoomyIova = 0x20000000;

/// What a system call did: its value, or the errno.
struct Outcome {
  long value = 0;
  int error = 0;
  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Outcome& outcome);
};
Outcome outcome_of(long value);
inline Outcome ok(long value = 0) { return {value, 0}; }
inline Outcome failed(int error) { return {-1, error}; }

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

/// Anonymous or other memory of whole pages, unmapped at the end.
class Memory {
 public:
  explicit Memory(std::size_t bytes, int prot = PROT_READ | PROT_WRITE, int flags = MAP_PRIVATE | MAP_ANONYMOUS,
                  int fd = -1);
  Memory(Memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(other.bytes_),
        hole_(other.hole_),
        hole_bytes_(other.hole_bytes_) {}
  ~Memory() { reset(); }
  std::uint8_t* data() const { return data_; }
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(data_); }
  std::size_t size() const { return bytes_; }
  /// Unmaps a part, once.  Something else may come to live there at once, so the
  /// end leaves it alone.
  int punch(std::size_t from, std::size_t bytes);
  void reset();

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t hole_ = 0, hole_bytes_ = 0;
};

struct Mapped {
  Outcome outcome;
  std::uint64_t size = 0;  ///< what UNMAP left in the size field
};

class Container {
 public:
  Container() : fd_(::open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }
  Outcome ioctl(unsigned long request, std::uint64_t argument = 0) const {
    return outcome_of(::ioctl(fd_.get(), request, argument));
  }
  Outcome map(std::uint64_t iova, std::uint64_t hva, std::uint64_t size,
              std::uint32_t flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, std::uint32_t argsz = 32) const;
  Mapped unmap(std::uint64_t iova, std::uint64_t size, std::uint32_t flags = 0, std::uint32_t argsz = 24) const;
  /// Live mappings: entry limit less what VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL says; -1 when GET_INFO fails.
  long live() const;
  /// The whole of GET_INFO: structure and chain.
  std::vector<std::uint8_t> info() const;
  std::vector<vfio_iova_range> iova_ranges() const;

 private:
  Fd fd_;
};

class Group {
 public:
  explicit Group(const std::string& number) : fd_(::open(("/dev/vfio/" + number).c_str(), O_RDWR | O_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }
  Outcome set_container(const Container& container) const;
  Outcome unset_container() const { return outcome_of(::ioctl(fd_.get(), VFIO_GROUP_UNSET_CONTAINER)); }
  /// GET_DEVICE_FD; the outcome's value is the descriptor.
  Outcome device(const std::string& name) const {
    return outcome_of(::ioctl(fd_.get(), VFIO_GROUP_GET_DEVICE_FD, name.c_str()));
  }
  Outcome status(std::uint32_t* flags, std::uint32_t argsz = sizeof(vfio_group_status)) const;

 private:
  Fd fd_;
};

struct Region {
  Outcome outcome;
  vfio_region_info info{};
  std::vector<std::uint16_t> capabilities;
};

class Device {
 public:
  Device() = default;
  explicit Device(int fd) : fd_(fd) {}
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }
  Outcome ioctl(unsigned long request, std::uint64_t argument = 0) const {
    return outcome_of(::ioctl(fd_.get(), request, argument));
  }
  Region region(std::uint32_t index, std::uint32_t argsz = 512) const;
  Outcome irq_info(std::uint32_t index, vfio_irq_info* info, std::uint32_t argsz = sizeof(vfio_irq_info)) const;

  Outcome read(std::uint32_t region, std::uint64_t offset, void* data, std::size_t bytes) const;
  Outcome write(std::uint32_t region, std::uint64_t offset, const void* data, std::size_t bytes) const;
  std::uint32_t config(std::size_t offset, unsigned width) const;
  void set_config(std::size_t offset, unsigned width, std::uint32_t value) const;
  std::uint32_t bar0(std::uint64_t offset) const;
  void set_bar0(std::uint64_t offset, std::uint32_t value) const;
  bool swaps() const;  ///< an edu with the other byte order
  void set_bus_master(bool on) const;
  /// Offset of a capability in configuration space; 0: none.
  unsigned capability(std::uint8_t id) const;

  Outcome set_irqs(std::uint32_t index, std::uint32_t flags, std::uint32_t start, std::uint32_t count,
                   const void* data = nullptr, std::size_t bytes = 0, std::optional<std::uint32_t> argsz = {}) const;
  Outcome eventfds(std::uint32_t index, std::uint32_t start, const std::vector<int>& fds) const;
  Outcome irqs_off(std::uint32_t index) const;

 private:
  Fd fd_;
};

/// True when the environment says that the hypervisor has no such thing:
/// CONFORMANCE_WITHOUT="intx read-only", words out of
///   intx        level-triggered interrupts
///   interrupts  any
///   read-only   mappings with one right only
///   table-pages mappings of the pages that an MSI-X table shares with registers: the front end
///               traps no access there
bool without(const std::string& what);

/// Names of the machine's devices, from the environment; what is not set is not there.
struct Machine {
  std::string edu;   ///< CONFORMANCE_EDU, else 0000:00:06.0
  std::string nvme;  ///< CONFORMANCE_NVME, else 0000:00:05.0
  std::string edu2;  ///< CONFORMANCE_EDU2, else 0000:00:07.0; for the rigs only
  static const Machine& get();
  /// Group number of a device, from /sys/bus/pci/devices/<name>/iommu_group.
  /// QEMU's edu has the byte order of its machine: big endian on Power
  /// (CONFORMANCE_EDU_SWAPS).
  static bool edu_swaps();
  static std::uint32_t edu_order(std::uint32_t value) { return edu_swaps() ? __builtin_bswap32(value) : value; }
  static std::string group_of(const std::string& name);
};

/// A container with a device in it, set up the way a program does.
struct Session {
  explicit Session(const std::string& device_name, unsigned long type = VFIO_TYPE1v2_IOMMU);
  Container container;
  Group group;
  Device device;
};

/// A load from a mapping; empty when it raised SIGBUS.
std::optional<std::uint32_t> load_or_fault(const volatile void* at);

/// Count of the eventfd, waiting up to `milliseconds` for it to be at least 1.
std::uint64_t take(int eventfd, int milliseconds = 500);
/// The same, for something that must not come.
inline std::uint64_t take_soon(int eventfd) { return take(eventfd, 30); }

/// Driver of QEMU's edu device (docs/specs/edu.rst).
class Edu {
 public:
  static constexpr std::uint64_t kBuffer = 0x40000;
  /// Bytes of a transfer at most: less than the buffer has, on every machine there is.
  static constexpr std::size_t kMost = 4088;
  explicit Edu(Device& device) : device_(device) {}
  /// One transfer between IOVA and the buffer at `at`; waits for it to end.
  bool to_device(std::uint64_t iova, std::size_t bytes, std::uint64_t at = 0) { return transfer(iova, kBuffer + at, bytes, 1); }
  bool from_device(std::uint64_t iova, std::size_t bytes, std::uint64_t at = 0) { return transfer(kBuffer + at, iova, bytes, 3); }
  /// A transfer as the registers have it; not waited for.
  void begin(std::uint64_t source, std::uint64_t destination, std::size_t bytes, std::uint32_t command);
  void raise(std::uint32_t bits = 1) { device_.set_bar0(0x60, bits); }
  void acknowledge(std::uint32_t bits = ~0u) { device_.set_bar0(0x64, bits); }

 private:
  bool transfer(std::uint64_t source, std::uint64_t destination, std::size_t bytes, std::uint32_t command);
  Device& device_;
};

/// The exit status of a forked child that runs `body`; 1000 and more: the signal that ended
/// it.  What the body throws ends it, with 99: a test's child must not run the next tests.
int in_child(const std::function<int()>& body);

}  // namespace conformance
