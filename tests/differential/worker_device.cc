// SPDX-License-Identifier: LGPL-2.1-or-later
// The worker's calls of a device.
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstring>

#include "tests/differential/structures.h"
#include "tests/differential/worker.h"

namespace differential {
namespace {

constexpr std::uint64_t kConfig = std::uint64_t{VFIO_PCI_CONFIG_REGION_INDEX} << 40;

struct Hole {
  std::uint32_t identity;
  std::uint16_t offset, bytes;
};
constexpr std::uint32_t kEdu = 0x11e81234, kNvme = 0x00101b36, kE1000e = 0x10d38086;
constexpr Hole kHoles[] = {{kEdu, 0x4e, 0xb2},    {kNvme, 0x4c, 0x14},   {kNvme, 0x68, 0x18},
                           {kNvme, 0xbc, 0xf44},  {kE1000e, 0x40, 0x60}, {kE1000e, 0xac, 0x1c},
                           {kE1000e, 0xde, 0x02}, {kE1000e, 0xf4, 0x0c}, {kE1000e, 0x14c, 0xeb4}};

std::uint64_t file_offset(const Operation& operation) {
  if (operation.find("raw")) return operation.number("raw");
  return (operation.number("region") << 40) + operation.number("offset");
}

// Registers with a life of their own.  Of edu: the factorial is computed in a thread for as
// long as it takes; interrupts are raised by raise(), since an I/O APIC without an entry for
// the line forgets it; transfers are tests/conformance/dma_test.cc's.  And the first header of extended
// configuration space: where no capability owns it, what a sequence leaves there decides
// what later ones see of that space, on the side whose process was not started again.
bool acts(std::uint64_t offset, std::size_t bytes) {
  static constexpr std::uint64_t kActing[][2] = {
      {0x08, 0x0c}, {0x60, 0x68}, {0x98, 0xa0}, {kConfig + 0x100, kConfig + 0x104}};
  for (const auto& [from, end] : kActing)
    if (offset < end && from < offset + bytes) return true;
  return false;
}

sigjmp_buf faulted;
void on_fault(int signal) { siglongjmp(faulted, signal); }

// The signal that a load of four bytes ends with, or 0.
int try_load(std::uint64_t address, std::uint32_t* value) {
  struct sigaction action {
  }, bus{}, segv{};
  action.sa_handler = on_fault;
  ::sigaction(SIGBUS, &action, &bus);
  ::sigaction(SIGSEGV, &action, &segv);
  const int signal = sigsetjmp(faulted, 1);
  if (signal == 0) *value = *reinterpret_cast<volatile std::uint32_t*>(address);
  ::sigaction(SIGBUS, &bus, nullptr);
  ::sigaction(SIGSEGV, &segv, nullptr);
  return signal;
}

}  // namespace

// What firmware and earlier sequences left is no answer: registers of edu, the addresses
// of BARs, the command register and the interrupt line.
void Worker::normalise(int device) {
  const auto config = [&](std::uint64_t offset, std::uint32_t value, unsigned width) {
    (void)!::pwrite(device, &value, width, static_cast<off_t>(kConfig + offset));
  };
  std::uint32_t identity = 0;
  (void)!::pread(device, &identity, 4, static_cast<off_t>(kConfig));
  config(0x04, 3, 2);
  if (identity == kEdu) {
    const auto store = [&](std::uint64_t offset, std::uint64_t value, unsigned width) {
      (void)!::pwrite(device, &value, width, static_cast<off_t>(offset));
    };
    store(0x04, 0, 4);
    store(0x20, 0, 4);
    store(0x64, ~0u, 4);
    store(0x08, 1, 4);
    std::uint32_t busy = 1;
    for (int tries = 0; busy & 1 && tries < 1000; ++tries) {
      ::usleep(10);
      (void)!::pread(device, &busy, 4, 0x20);
    }
    for (const std::uint64_t offset : {0x80, 0x88, 0x90}) store(offset, 0, 8);
  }
  // Between the capabilities there is memory that no reset clears.
  static constexpr std::uint8_t kZeros[0x1000] = {};
  for (const Hole& hole : kHoles)
    if (identity == hole.identity)
      (void)!::pwrite(device, kZeros, hole.bytes, static_cast<off_t>(kConfig + hole.offset));
  if (identity == kNvme) config(0xa8, 0, 2);  // device control 2
  if (identity == kE1000e) {
    // Error reporting: masks, severity, ECRC.
    config(0x108, 0, 4);
    config(0x10c, 0x00462030, 4);
    config(0x114, 0x0000e000, 4);
    config(0x118, 0x000000a0, 4);
  }
  for (std::uint64_t bar = 0x10; bar < 0x28; bar += 4) config(bar, 0, 4);
  config(0x30, 0, 4);
  config(0x3c, 0, 1);
  config(0x0c, 0, 1);
}

Worker::Answer Worker::run_device(const Operation& operation) {
  const std::string& name = operation.name;
  const int fd = slot(operation.word(0));
  const auto plain = [](long value) { return Answer{value, errno, {}}; };
  const std::uint64_t index = operation.number("index");
  if (name == "device_info")
    return call(operation, VFIO_DEVICE_GET_INFO, Fields().u32(operation.number("argsz", 20)).bytes());
  if (name == "region_info")
    return call(operation, VFIO_DEVICE_GET_REGION_INFO,
                Fields().u32(operation.number("argsz", 32)).u32(0).u32(index).bytes());
  if (name == "irq_info")
    return call(operation, VFIO_DEVICE_GET_IRQ_INFO,
                Fields().u32(operation.number("argsz", 16)).u32(0).u32(index).bytes());
  if (name == "set_irqs") return set_irqs(operation);
  if (name == "reset") return plain(::ioctl(fd, VFIO_DEVICE_RESET, operation.number("n")));
  if (name == "hot_reset_info")
    return call(operation, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
                Fields().u32(operation.number("argsz", 12)).u32(operation.number("flags")).bytes());
  if (name == "hot_reset") return hot_reset(operation);
  if (name == "feature") {
    const auto data = bytes_of(operation.value("data"));
    // A wakeup eventfd by number: what has that number is each process's own matter.
    if ((operation.flags("flags", kFeatureFlags, 0) & VFIO_DEVICE_FEATURE_MASK) ==
            VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP &&
        data.size() >= 4 && data[0] >= 3 && data[1] < 4 && data[2] == 0 && data[3] == 0)
      return {0, 0, " not done"};
    return call(operation, VFIO_DEVICE_FEATURE,
                Fields()
                    .u32(operation.number("argsz", 8 + data.size()))
                    .u32(operation.flags("flags", kFeatureFlags, 0))
                    .append(data)
                    .bytes());
  }
  // Regions that no device has a use for are not asked of the kernel; what the engine answers to
  // them is in tests/conformance/device_call_test.cc and the fuzzer's calls.
  if (name == "ioeventfd" && file_offset(operation) >> 56) return {0, 0, " not done"};
  if (name == "ioeventfd")
    return call(operation, VFIO_DEVICE_IOEVENTFD,
                Fields()
                    .u32(operation.number("argsz", 32))
                    .u32(operation.number("flags", 4))
                    .u64(file_offset(operation))
                    .u64(operation.number("data"))
                    .u32(static_cast<std::uint32_t>(slot(operation.value("fd", "-1"))))
                    .bytes());
  if (name == "pread") return access(operation, false);
  if (name == "pwrite") return access(operation, true);
  if (name == "raise") return raise(operation);
  if (name == "mmap") return map_region(operation);
  if (name == "load") {
    std::uint32_t value = 0;
    if (const int signal = try_load(address(operation.word(0)), &value))
      return {0, 0, signal == SIGBUS ? " SIGBUS" : " SIGSEGV"};
    return {0, 0, " loaded"};
  }
  return {-1, ENOSYS, " unknown operation"};
}

Worker::Answer Worker::set_irqs(const Operation& operation) {
  const std::string data = operation.value("data");
  Fields body;
  if (data.starts_with("bool:")) {
    for (const char bit : data.substr(5)) body.fill(1, static_cast<std::uint8_t>(bit - '0'));
  } else {
    for (const std::string& fd : split(data, ',')) body.u32(static_cast<std::uint32_t>(slot(fd)));
  }
  return call(operation, VFIO_DEVICE_SET_IRQS,
              Fields()
                  .u32(operation.number("argsz", 20 + body.bytes().size()))
                  .u32(operation.flags("flags", kIrqFlags, 0))
                  .u32(operation.number("index"))
                  .u32(operation.number("start"))
                  .u32(operation.number("count"))
                  .append(body)
                  .bytes());
}

Worker::Answer Worker::hot_reset(const Operation& operation) {
  const auto groups = split(operation.value("groups"), ',');
  Fields fields;
  fields.u32(operation.number("argsz", 12 + 4 * groups.size())).u32(operation.number("flags"));
  fields.u32(operation.number("count", groups.size()));
  for (const std::string& group : groups) fields.u32(static_cast<std::uint32_t>(slot(group)));
  return call(operation, VFIO_DEVICE_PCI_HOT_RESET, fields.bytes());
}

Worker::Answer Worker::access(const Operation& operation, bool write) {
  const int fd = slot(operation.word(0));
  const auto offset = static_cast<off_t>(file_offset(operation));
  if (write) {
    if (acts(file_offset(operation),
             operation.find("at") ? operation.number("size", 4) : operation.value("data").size() / 2))
      return {0, 0, " not done"};
    const Bytes data = bytes_of(operation.value("data"));
    if (const std::string* where = operation.find("at"))
      return {::pwrite(fd, reinterpret_cast<void*>(address(*where)), operation.number("size", 4), offset),
              errno,
              {}};
    return {::pwrite(fd, data.data(), data.size(), offset), errno, {}};
  }
  const std::size_t size = operation.number("size", 4);
  if (const std::string* where = operation.find("at"))
    return {::pread(fd, reinterpret_cast<void*>(address(*where)), size, offset), errno, {}};
  // More than the buffer may be asked for: what is behind it cannot be written.
  const std::uint64_t left = std::min<std::uint64_t>(size + 16, kBufferBytes);
  auto* data = reinterpret_cast<std::uint8_t*>(kBuffer + kBufferBytes - left);
  std::memset(data, kFill, left);
  const long value = ::pread(fd, data, size, offset);
  const int error = errno;
  if (value > 0 && operation.value("contents") != "no")
    return {value, error, ' ' + hex_bytes(data, std::min<std::size_t>(left, value))};
  return {value, error, {}};
}

// An interrupt of edu, from the device and back: what comes is seen at the eventfd.
Worker::Answer Worker::raise(const Operation& operation) {
  const int fd = slot(operation.word(0));
  std::uint32_t bits = 1;
  const long value = ::pwrite(fd, &bits, sizeof bits, 0x60);
  const int error = errno;
  ::usleep(1000);
  if (value > 0) (void)!::pwrite(fd, &bits, sizeof bits, 0x64);
  return {value, error, {}};
}

// Into the named view if there is one, else for a moment.
Worker::Answer Worker::map_region(const Operation& operation) {
  int prot = 0;
  for (const char right : operation.value("prot", "rw"))
    prot |= right == 'r' ? PROT_READ : right == 'w' ? PROT_WRITE : right == 'x' ? PROT_EXEC : 0;
  int flags = operation.value("flags", "shared") == "private" ? MAP_PRIVATE : MAP_SHARED;
  const std::string view = operation.word(1);
  void* wanted = nullptr;
  if (!view.empty()) {
    if (mappings_.contains(view)) return {-1, EEXIST, {}};
    wanted = reinterpret_cast<void*>(address(view));
    flags |= MAP_FIXED_NOREPLACE;
  }
  const std::size_t size = operation.number("size", 4096);
  void* mapped =
      ::mmap(wanted, size, prot, flags, slot(operation.word(0)), static_cast<off_t>(file_offset(operation)));
  if (mapped == MAP_FAILED) return {-1, errno, {}};
  if (view.empty()) {
    ::munmap(mapped, size);
    return {0, 0, " mapped"};
  }
  mappings_[view] = {size};
  return {0, 0, " mapped"};
}

}  // namespace differential
