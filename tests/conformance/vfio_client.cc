// SPDX-License-Identifier: LGPL-2.1-or-later
// The client's system calls, and the driver of edu that most tests of hardware use.
#include "vfio_client.h"

#include <linux/pci_regs.h>
#include <poll.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace conformance {

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  if (outcome.error) return out << "-1 " << ::strerrorname_np(outcome.error);
  return out << outcome.value;
}

Outcome outcome_of(long value) { return value < 0 ? Outcome{-1, errno} : Outcome{value, 0}; }

Memory::Memory(std::size_t bytes, int prot, int flags, int fd) : bytes_(bytes) {
  void* address = ::mmap(nullptr, bytes, prot, flags, fd, 0);
  if (address == MAP_FAILED) throw std::runtime_error("mmap of test memory failed");
  data_ = static_cast<std::uint8_t*>(address);
}

int Memory::punch(std::size_t from, std::size_t bytes) {
  hole_ = from;
  hole_bytes_ = bytes;
  return ::munmap(data_ + from, bytes);
}

void Memory::reset() {
  const std::size_t behind = hole_ + hole_bytes_;
  if (data_ && hole_bytes_ == 0) ::munmap(data_, bytes_);
  if (data_ && hole_bytes_ != 0 && hole_ != 0) ::munmap(data_, hole_);
  if (data_ && hole_bytes_ != 0 && behind < bytes_) ::munmap(data_ + behind, bytes_ - behind);
  data_ = nullptr;
}

Outcome Container::map(std::uint64_t iova, std::uint64_t hva, std::uint64_t size, std::uint32_t flags,
                       std::uint32_t argsz) const {
  vfio_iommu_type1_dma_map map{.argsz = argsz, .flags = flags, .vaddr = hva, .iova = iova, .size = size};
  return ioctl(VFIO_IOMMU_MAP_DMA, reinterpret_cast<std::uint64_t>(&map));
}

Mapped Container::unmap(std::uint64_t iova, std::uint64_t size, std::uint32_t flags, std::uint32_t argsz) const {
  alignas(8) std::uint8_t buffer[sizeof(vfio_iommu_type1_dma_unmap)] = {};
  auto& unmap = *reinterpret_cast<vfio_iommu_type1_dma_unmap*>(buffer);
  unmap.argsz = argsz;
  unmap.flags = flags;
  unmap.iova = iova;
  unmap.size = size;
  const Outcome outcome = ioctl(VFIO_IOMMU_UNMAP_DMA, reinterpret_cast<std::uint64_t>(&unmap));
  return {outcome, unmap.size};
}

std::vector<std::uint8_t> Container::info() const {
  std::vector<std::uint8_t> bytes(4096);
  auto& info = *reinterpret_cast<vfio_iommu_type1_info*>(bytes.data());
  info.argsz = static_cast<std::uint32_t>(bytes.size());
  if (ioctl(VFIO_IOMMU_GET_INFO, reinterpret_cast<std::uint64_t>(&info)) != ok()) return {};
  return bytes;
}

namespace {
/// Finds a capability of an info structure; null: none.
const vfio_info_cap_header* find_capability(const std::vector<std::uint8_t>& bytes, std::uint32_t offset,
                                            std::uint16_t id) {
  for (unsigned hops = 0; offset != 0 && offset + sizeof(vfio_info_cap_header) <= bytes.size() && hops < 64; ++hops) {
    const auto* header = reinterpret_cast<const vfio_info_cap_header*>(bytes.data() + offset);
    if (header->id == id) return header;
    offset = header->next;
  }
  return nullptr;
}
}  // namespace

long Container::live() const {
  static const long limit = std::getenv("CONFORMANCE_ENTRY_LIMIT") ? std::atol(std::getenv("CONFORMANCE_ENTRY_LIMIT")) : 65535;
  const auto bytes = info();
  if (bytes.empty()) return -1;
  const auto& head = *reinterpret_cast<const vfio_iommu_type1_info*>(bytes.data());
  const auto* found = find_capability(bytes, head.cap_offset, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
  if (!found) return -1;
  return limit - reinterpret_cast<const vfio_iommu_type1_info_dma_avail*>(found)->avail;
}

std::vector<vfio_iova_range> Container::iova_ranges() const {
  const auto bytes = info();
  if (bytes.empty()) return {};
  const auto& head = *reinterpret_cast<const vfio_iommu_type1_info*>(bytes.data());
  const auto* found = find_capability(bytes, head.cap_offset, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  if (!found) return {};
  // Linux 6.1 does not align capabilities: nothing here may be used in place.
  const auto* bytes_of_it = reinterpret_cast<const std::uint8_t*>(found);
  std::uint32_t count = 0;
  std::memcpy(&count, bytes_of_it + offsetof(vfio_iommu_type1_info_cap_iova_range, nr_iovas), sizeof count);
  std::vector<vfio_iova_range> ranges(count);
  std::memcpy(ranges.data(), bytes_of_it + sizeof(vfio_iommu_type1_info_cap_iova_range), count * sizeof ranges[0]);
  return ranges;
}

Outcome Group::set_container(const Container& container) const {
  const int fd = container.fd();
  return outcome_of(::ioctl(fd_.get(), VFIO_GROUP_SET_CONTAINER, &fd));
}

Outcome Group::status(std::uint32_t* flags, std::uint32_t argsz) const {
  vfio_group_status status{.argsz = argsz, .flags = 0};
  const Outcome outcome = outcome_of(::ioctl(fd_.get(), VFIO_GROUP_GET_STATUS, &status));
  if (flags) *flags = status.flags;
  return outcome;
}

Region Device::region(std::uint32_t index, std::uint32_t argsz) const {
  std::vector<std::uint8_t> bytes(512);
  auto& info = *reinterpret_cast<vfio_region_info*>(bytes.data());
  info.argsz = argsz;
  info.index = index;
  Region region;
  region.outcome = ioctl(VFIO_DEVICE_GET_REGION_INFO, reinterpret_cast<std::uint64_t>(&info));
  region.info = info;
  if (region.outcome != ok()) return region;
  std::uint32_t offset = info.cap_offset;
  while (offset && offset + sizeof(vfio_info_cap_header) <= bytes.size() && region.capabilities.size() < 32) {
    const auto& header = *reinterpret_cast<const vfio_info_cap_header*>(bytes.data() + offset);
    region.capabilities.push_back(header.id);
    offset = header.next;
  }
  return region;
}

Outcome Device::irq_info(std::uint32_t index, vfio_irq_info* info, std::uint32_t argsz) const {
  *info = {.argsz = argsz, .flags = 0, .index = index, .count = 0};
  return ioctl(VFIO_DEVICE_GET_IRQ_INFO, reinterpret_cast<std::uint64_t>(info));
}

Outcome Device::read(std::uint32_t region, std::uint64_t offset, void* data, std::size_t bytes) const {
  return outcome_of(::pread(fd_.get(), data, bytes, static_cast<off_t>(std::uint64_t{region} << 40 | offset)));
}
Outcome Device::write(std::uint32_t region, std::uint64_t offset, const void* data, std::size_t bytes) const {
  return outcome_of(::pwrite(fd_.get(), data, bytes, static_cast<off_t>(std::uint64_t{region} << 40 | offset)));
}
std::uint32_t Device::config(std::size_t offset, unsigned width) const {
  std::uint32_t value = 0;
  if (read(VFIO_PCI_CONFIG_REGION_INDEX, offset, &value, width) != ok(width)) throw std::runtime_error("config read");
  return value;
}
void Device::set_config(std::size_t offset, unsigned width, std::uint32_t value) const {
  if (write(VFIO_PCI_CONFIG_REGION_INDEX, offset, &value, width) != ok(width)) throw std::runtime_error("config write");
}
std::uint32_t Device::bar0(std::uint64_t offset) const {
  std::uint32_t value = 0;
  if (read(0, offset, &value, 4) != ok(4)) throw std::runtime_error("BAR0 read");
  return swaps() ? __builtin_bswap32(value) : value;
}
bool Device::swaps() const { return Machine::edu_swaps() && config(PCI_VENDOR_ID, 2) == kEduVendor; }
void Device::set_bar0(std::uint64_t offset, std::uint32_t value) const {
  if (swaps()) value = __builtin_bswap32(value);
  if (write(0, offset, &value, 4) != ok(4)) throw std::runtime_error("BAR0 write");
}
void Device::set_bus_master(bool on) const {
  const std::uint32_t command = config(PCI_COMMAND, 2);
  set_config(PCI_COMMAND, 2, on ? command | PCI_COMMAND_MASTER : command & ~std::uint32_t{PCI_COMMAND_MASTER});
}
unsigned Device::capability(std::uint8_t id) const {
  unsigned at = config(PCI_CAPABILITY_LIST, 1);
  for (unsigned hops = 0; at && hops < 48; ++hops) {
    if (config(at, 1) == id) return at;
    at = config(at + PCI_CAP_LIST_NEXT, 1);
  }
  return 0;
}

Outcome Device::set_irqs(std::uint32_t index, std::uint32_t flags, std::uint32_t start, std::uint32_t count,
                         const void* data, std::size_t bytes, std::optional<std::uint32_t> argsz) const {
  std::vector<std::uint8_t> buffer(sizeof(vfio_irq_set) + bytes);
  auto& set = *reinterpret_cast<vfio_irq_set*>(buffer.data());
  set.argsz = argsz.value_or(static_cast<std::uint32_t>(buffer.size()));
  set.flags = flags;
  set.index = index;
  set.start = start;
  set.count = count;
  if (bytes) std::memcpy(set.data, data, bytes);
  return ioctl(VFIO_DEVICE_SET_IRQS, reinterpret_cast<std::uint64_t>(&set));
}

Outcome Device::eventfds(std::uint32_t index, std::uint32_t start, const std::vector<int>& fds) const {
  return set_irqs(index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, start,
                  static_cast<std::uint32_t>(fds.size()), fds.data(), fds.size() * sizeof(int));
}
Outcome Device::irqs_off(std::uint32_t index) const {
  return set_irqs(index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
}

bool without(const std::string& what) {
  const char* value = std::getenv("CONFORMANCE_WITHOUT");
  return value && (" " + std::string(value) + " ").find(" " + what + " ") != std::string::npos;
}

const Machine& Machine::get() {
  static const Machine machine = [] {
    const auto from = [](const char* name, const char* fallback) {
      const char* value = std::getenv(name);
      return std::string(value ? value : fallback);
    };
    return Machine{from("CONFORMANCE_EDU", "0000:00:06.0"), from("CONFORMANCE_NVME", "0000:00:05.0"), from("CONFORMANCE_EDU2", "0000:00:07.0")};
  }();
  return machine;
}

bool Machine::edu_swaps() {
  static const bool swaps = std::getenv("CONFORMANCE_EDU_SWAPS") != nullptr;
  return swaps;
}

std::string Machine::group_of(const std::string& name) {
  char target[512];
  const std::string link = "/sys/bus/pci/devices/" + name + "/iommu_group";
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  if (length <= 0) throw std::runtime_error("no IOMMU group: " + link);
  const std::string text(target, static_cast<std::size_t>(length));
  return text.substr(text.rfind('/') + 1);
}

Session::Session(const std::string& device_name, unsigned long type) : group(Machine::group_of(device_name)) {
  if (container.fd() < 0) throw std::runtime_error("cannot open /dev/vfio/vfio");
  if (group.fd() < 0) throw std::runtime_error("cannot open the group of " + device_name);
  if (group.set_container(container) != ok()) throw std::runtime_error("SET_CONTAINER failed");
  if (const Outcome set = container.ioctl(VFIO_SET_IOMMU, type); set != ok())
    throw std::runtime_error(std::string("SET_IOMMU: ") + ::strerrorname_np(set.error));
  const Outcome opened = group.device(device_name);
  if (opened.error) throw std::runtime_error("GET_DEVICE_FD " + device_name + ": " + ::strerror(opened.error));
  device = Device(static_cast<int>(opened.value));
}

static thread_local sigjmp_buf bus_error;

std::optional<std::uint32_t> load_or_fault(const volatile void* at) {
  struct sigaction action {}, before {};
  action.sa_handler = [](int) { ::siglongjmp(bus_error, 1); };
  ::sigaction(SIGBUS, &action, &before);
  volatile std::uint32_t value = 0;  // as it is what the jump may find half done
  const bool faulted = sigsetjmp(bus_error, 1) != 0;
  if (!faulted) value = *static_cast<const volatile std::uint32_t*>(at);
  ::sigaction(SIGBUS, &before, nullptr);
  if (faulted) return std::nullopt;
  return value;
}

std::uint64_t take(int eventfd, int milliseconds) {
  pollfd wait{.fd = eventfd, .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, milliseconds) <= 0) return 0;
  std::uint64_t value = 0;
  return ::read(eventfd, &value, sizeof value) == sizeof value ? value : 0;
}

void Edu::begin(std::uint64_t source, std::uint64_t destination, std::size_t bytes, std::uint32_t command) {
  const std::uint64_t registers[][2] = {{0x80, source}, {0x88, destination}, {0x90, bytes}, {0x98, command}};
  if (!device_.swaps()) {
    for (const auto& [at, value] : registers) (void)device_.write(0, at, &value, 8);
    return;
  }
  // A kernel may write 8 bytes in halves, of which the second one is lost: where the
  // device swaps, the one with the value.
  void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device_.fd(), 0);
  if (bar == MAP_FAILED) throw std::runtime_error("mmap of edu's BAR");
  for (const auto& [at, value] : registers)
    static_cast<volatile std::uint64_t*>(bar)[at / 8] = __builtin_bswap64(value);
  ::munmap(bar, kPage);
}

bool Edu::transfer(std::uint64_t source, std::uint64_t destination, std::size_t bytes, std::uint32_t command) {
  begin(source, destination, bytes, command);
  // QEMU's device takes 100 ms for a transfer.
  for (int waited = 0; waited < 4000; ++waited) {
    if (!(device_.bar0(0x98) & 1)) return true;
    const timespec pause{0, waited < 100 ? 20'000 : 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return false;
}

int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    try {
      ::_exit(body());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in a child: %s\n", error.what());
    }
    ::_exit(99);
  }
  int status = -1;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace conformance
