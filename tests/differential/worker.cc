// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory, descriptors and container calls of a sequence; a device's calls are in
// worker_device.cc.
#include "tests/differential/worker.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "tests/differential/structures.h"

namespace differential {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr unsigned kArenaCount = 8;
constexpr std::uint64_t kBitmap = kArenas + 16 * kArenaStride;
constexpr std::uint64_t kBitmapBytes = 4 * kPage;
constexpr std::uint64_t kReadOnly = kArenas + 18 * kArenaStride;
/// v0... : where regions are mapped.
constexpr std::uint64_t kViews = kArenas + 32 * kArenaStride;

void place(std::uint64_t address, std::uint64_t bytes, int prot, int flags, int fd = -1) {
  if (::mmap(reinterpret_cast<void*>(address), bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, 0) ==
      MAP_FAILED) {
    std::perror("vfio_differential: memory at a fixed address");
    std::exit(2);
  }
}

std::uint8_t* at(std::uint64_t address) { return reinterpret_cast<std::uint8_t*>(address); }

}  // namespace

std::string hex_bytes(const std::uint8_t* bytes, std::size_t count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::vector<std::uint8_t> bytes_of(const std::string& text) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16)));
  return bytes;
}

std::string changes(const std::uint8_t* before, const std::uint8_t* now, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count;) {
    if (before[i] == now[i]) {
      ++i;
      continue;
    }
    // Up to a stretch of eight that stayed.
    std::size_t end = i + 1, same = 0;
    for (std::size_t j = i + 1; j < count && same < 8; ++j) {
      same = before[j] == now[j] ? same + 1 : 0;
      if (same == 0) end = j + 1;
    }
    text += ' ' + hex(i) + ':' + hex_bytes(now + i, end - i);
    i = end;
  }
  return text;
}

std::string address_of(const std::string& device) {
  if (device == "edu") return "0000:00:06.0";
  if (device == "edu3") return "0000:00:0a.0";
  if (device == "edu4") return "0000:00:0b.0";
  if (device == "edu2") return "0000:00:07.0";
  if (device == "nvme") return "0000:00:05.0";
  if (device == "e1000e") return "0000:00:08.0";
  return device;
}

std::string group_of(const std::string& device) {
  char target[PATH_MAX];
  const std::string link = "/sys/bus/pci/devices/" + address_of(device) + "/iommu_group";
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  if (length < 0) return device;
  const std::string path(target, static_cast<std::size_t>(length));
  return path.substr(path.rfind('/') + 1);
}

Worker::Worker() {
  constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const auto arena = [](unsigned index) { return kArenas + index * kArenaStride; };
  for (const unsigned index : {0u, 1u}) {
    place(arena(index), kArenaBytes, PROT_READ | PROT_WRITE, kAnonymous);
    std::memset(at(arena(index)), 1, kArenaBytes);
  }
  place(arena(2), kArenaBytes, PROT_READ, kAnonymous);
  const int file = ::memfd_create("whole", MFD_CLOEXEC), part = ::memfd_create("part", MFD_CLOEXEC);
  if (::ftruncate(file, kArenaBytes) != 0 || ::ftruncate(part, 2 * kPage) != 0) std::exit(2);
  place(arena(3), kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file);
  place(arena(4), kArenaBytes, PROT_READ, MAP_SHARED, file);
  place(arena(5), kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, part);
  place(arena(6), kArenaBytes, PROT_NONE, kAnonymous);
  place(kBitmap, kBitmapBytes, PROT_READ | PROT_WRITE, kAnonymous);
  place(kBuffer, kBufferBytes, PROT_READ | PROT_WRITE, kAnonymous);
  place(kReadOnly, kBufferBytes, PROT_READ, kAnonymous);
  ::close(file);
  ::close(part);
}

int Worker::slot(const std::string& name) const {
  const auto found = slots_.find(name);
  if (found != slots_.end()) return found->second;
  if (!name.empty() && (name[0] == '-' || (name[0] >= '0' && name[0] <= '9'))) return std::atoi(name.c_str());
  return -1;
}

Worker::Answer Worker::put(const std::string& name, long fd, bool eventfd) {
  if (fd < 0) return {fd, errno, {}};
  if (const int before = slot(name); before >= 0) {
    ::close(before);
    std::erase(order_, name);
  }
  slots_[name] = static_cast<int>(fd);
  order_.push_back(name);
  if (eventfd)
    eventfds_.insert(name);
  else
    eventfds_.erase(name);
  return {0, 0, " a descriptor"};
}

std::uint64_t Worker::address(const std::string& text) const {
  if (text.empty()) return 0;
  const auto plus = text.find('+');
  const std::string base = text.substr(0, plus);
  const std::uint64_t offset = plus == std::string::npos ? 0 : number_of(text.substr(plus + 1));
  const std::uint64_t index = base.size() > 1 ? number_of(base.substr(1)) : 0;
  switch (base[0]) {
    case 'm':
      return kArenas + index % kArenaCount * kArenaStride + offset;
    case 'b':
      return kBitmap + offset;
    case 'v':
      return kViews + index * kArenaStride + offset;
    default:
      return number_of(text);
  }
}

// at=ADDRESS: there, as it is.  at=ro: readable only.  room=N: only N bytes of memory
// are left behind the structure's begin.  Else there is more than enough.
Worker::Answer Worker::call(const Operation& operation, unsigned long request, const Bytes& bytes) {
  const int fd = slot(operation.word(0));
  const std::string where = operation.value("at");
  if (where == "ro") {
    ::mprotect(at(kReadOnly), kBufferBytes, PROT_READ | PROT_WRITE);
    std::memcpy(at(kReadOnly), bytes.data(), std::min<std::size_t>(bytes.size(), kBufferBytes));
    ::mprotect(at(kReadOnly), kBufferBytes, PROT_READ);
    const long value = ::ioctl(fd, request, kReadOnly);
    return {value, errno, {}};
  }
  if (!where.empty()) {
    const long value = ::ioctl(fd, request, address(where));
    return {value, errno, {}};
  }
  const std::uint64_t room = operation.number("room", kBufferBytes);
  const std::uint64_t left = std::min(room, kBufferBytes);
  std::uint8_t* structure = at(kBuffer + kBufferBytes - left);
  std::memset(structure, kFill, left);
  std::memcpy(structure, bytes.data(), std::min<std::uint64_t>(bytes.size(), left));
  static std::uint8_t before[kBufferBytes];
  std::memcpy(before, structure, left);
  const long value = ::ioctl(fd, request, structure);
  const int error = errno;
  return {value, error,
          std::memcmp(before, structure, left) != 0 ? changes(before, structure, left) : std::string()};
}

std::string Worker::execute(const Operation& operation) {
  errno = 0;
  Answer answer = run(operation);
  // What follows from an eventfd has its time.
  if (watched_ && operation.name == "set_irqs") ::usleep(3000);
  if (answer.value == 0 &&
      (operation.name == "ioeventfd" ||
       (operation.name == "set_irqs" && operation.value("flags").find("unmask") != std::string::npos &&
        operation.find("data"))))
    watched_ = true;
  static const char* const wrong = std::getenv("VFIO_DIFFERENTIAL_WRONG");
  // For the test of the tester.
  if (wrong && operation.name == wrong && answer.value == 0 && operation.number("n") > 4) answer.value = 1;
  if (answer.value >= 0) return std::to_string(answer.value) + answer.more;
  const char* name = ::strerrorname_np(answer.error);
  return std::to_string(answer.value) + ' ' + (name ? name : "no errno") + answer.more;
}

Worker::Answer Worker::run(const Operation& operation) {
  static const std::set<std::string> kContainer{"api", "extension", "set_iommu", "info",
                                                "map", "unmap",     "dirty"};
  static const std::set<std::string> kObject{
      "container",       "group",  "device", "eventfd", "close", "dup",    "set_container",
      "unset_container", "status", "ioctl",  "poll",    "wait",  "signal", "munmap"};
  if (kContainer.contains(operation.name)) return run_container(operation);
  if (kObject.contains(operation.name)) return run_object(operation);
  return run_device(operation);
}

Worker::Answer Worker::run_object(const Operation& operation) {
  const std::string& name = operation.name;
  const std::string first = operation.word(0);
  const auto plain = [](long value) { return Answer{value, errno, {}}; };
  if (name == "container") return put(first, ::open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
  if (name == "group") {
    const std::string path = "/dev/vfio/" + group_of(operation.word(1));
    return put(first, ::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }
  if (name == "eventfd") return put(first, ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), true);
  if (name == "device") {
    const std::string device = address_of(operation.value("name", "edu"));
    const int group = slot(operation.word(1));
    if (const std::string* where = operation.find("at"))
      return plain(::ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address(*where)));
    const Answer answer = put(first, ::ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device.c_str()));
    if (answer.value >= 0) normalise(slot(first));
    return answer;
  }
  if (name == "close") {
    const int fd = slot(first);
    slots_.erase(first);
    std::erase(order_, first);
    return plain(::close(fd));
  }
  if (name == "dup")
    return put(operation.word(1), ::fcntl(slot(first), F_DUPFD_CLOEXEC, 0), eventfds_.contains(first));
  if (name == "set_container") {
    const std::int32_t fd = slot(operation.word(1));
    return call(operation, VFIO_GROUP_SET_CONTAINER, Fields().u32(static_cast<std::uint32_t>(fd)).bytes());
  }
  if (name == "unset_container") return plain(::ioctl(slot(first), VFIO_GROUP_UNSET_CONTAINER));
  if (name == "status")
    return call(operation, VFIO_GROUP_GET_STATUS,
                Fields().u32(operation.number("argsz", 8)).fill(4, kFill).bytes());
  if (name == "ioctl") {
    const unsigned long request = operation.number("request");
    if (const std::string* data = operation.find("data")) return call(operation, request, bytes_of(*data));
    return plain(::ioctl(slot(first), request, address(operation.value("arg"))));
  }
  if (name == "munmap") {
    const auto found = mappings_.find(first);
    if (found == mappings_.end()) return {-1, EINVAL, {}};
    const long value = ::munmap(at(address(first)), found->second.bytes);
    mappings_.erase(found);
    return plain(value);
  }
  return wait(operation);
}

// poll: what is there.  wait: what comes soon.  signal: the program's own event, and
// time for who waits for it.
Worker::Answer Worker::wait(const Operation& operation) {
  const int fd = slot(operation.word(0));
  std::uint64_t count = 1;
  if (operation.name == "signal") {
    const ssize_t written = ::write(fd, &count, sizeof count);
    const int error = errno;
    ::usleep(20'000);
    return {written, error, {}};
  }
  if (operation.name == "wait") {
    pollfd one{fd, POLLIN, 0};
    ::poll(&one, 1, 60);
  }
  const ssize_t got = ::read(fd, &count, sizeof count);
  return {got, errno,
          got > 0 && eventfds_.contains(operation.word(0)) ? " count " + hex(count) : std::string()};
}

Worker::Answer Worker::run_container(const Operation& operation) {
  const std::string& name = operation.name;
  const int fd = slot(operation.word(0));
  const auto plain = [](long value) { return Answer{value, errno, {}}; };
  if (name == "api") return plain(::ioctl(fd, VFIO_GET_API_VERSION, operation.number("n")));
  if (name == "extension") return plain(::ioctl(fd, VFIO_CHECK_EXTENSION, operation.number("n")));
  if (name == "set_iommu")
    return plain(::ioctl(fd, VFIO_SET_IOMMU, operation.number("type", VFIO_TYPE1v2_IOMMU)));
  if (name == "info")
    return call(operation, VFIO_IOMMU_GET_INFO,
                Fields().u32(operation.number("argsz", 24)).u32(operation.number("flags")).bytes());
  const std::uint64_t iova = operation.number("iova"), size = operation.number("size", kPage);
  if (name == "map")
    return call(
        operation, VFIO_IOMMU_MAP_DMA,
        Fields()
            .u32(operation.number("argsz", 32))
            .u32(operation.flags("flags", kMapFlags, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
            .u64(address(operation.value("vaddr", "m0")))
            .u64(iova)
            .u64(size)
            .bytes());
  // The other two may have a bitmap.
  const std::string data = operation.value("data", "b0");
  const std::uint64_t bits = size / kPage;
  Fields bitmap;
  bitmap.u64(operation.number("pgsize", kPage))
      .u64(operation.number("bytes", (bits + 63) / 64 * 8))
      .u64(address(data));
  std::memset(at(kBitmap), 0, kBitmapBytes);
  Answer answer;
  if (name == "unmap") {
    const std::uint64_t flags = operation.flags("flags", kUnmapFlags, 0);
    Fields unmap;
    unmap.u32(operation.number("argsz", flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP ? 48 : 24))
        .u32(flags)
        .u64(iova)
        .u64(size);
    if (flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) unmap.append(bitmap);
    answer = call(operation, VFIO_IOMMU_UNMAP_DMA, unmap.bytes());
  } else {
    const std::uint64_t flags = operation.flags("flags", kDirtyFlags, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP);
    Fields dirty;
    dirty.u32(operation.number("argsz", flags & VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP ? 48 : 8))
        .u32(flags)
        .u64(iova)
        .u64(size);
    dirty.append(bitmap);
    answer = call(operation, VFIO_IOMMU_DIRTY_PAGES, dirty.bytes());
  }
  if (data.starts_with("b0") && bits <= kBitmapBytes * 8) {
    // Bits behind the range: see doc/vfio-differences.md.
    const std::uint64_t offset = address(data) - kBitmap;
    if (offset + bits / 8 < kBitmapBytes) {
      Bytes now(at(kBitmap + offset), at(kBitmap + offset) + (bits + 7) / 8);
      if (bits % 8) now.back() &= static_cast<std::uint8_t>((1u << bits % 8) - 1);
      const Bytes zeros(now.size());
      if (const std::string set = changes(zeros.data(), now.data(), now.size()); !set.empty())
        answer.more += " bits" + set;
    }
  }
  return answer;
}

void Worker::finish() {
  for (const auto& [name, mapping] : mappings_) ::munmap(at(address(name)), mapping.bytes);
  mappings_.clear();
  for (auto name = order_.rbegin(); name != order_.rend(); ++name) ::close(slots_[*name]);
  order_.clear();
  slots_.clear();
  watched_ = false;
}

int serve() {
  Worker worker;
  char* line = nullptr;
  std::size_t capacity = 0;
  for (ssize_t length; (length = ::getline(&line, &capacity, stdin)) > 0;) {
    if (line[length - 1] == '\n') line[length - 1] = '\0';
    if (std::strcmp(line, ".") != 0) {
      std::puts(worker.execute(Operation::parse(line)).c_str());
      continue;
    }
    worker.finish();
    std::puts(".");
    std::fflush(stdout);
  }
  std::free(line);
  return 0;
}

}  // namespace differential
