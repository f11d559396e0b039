// SPDX-License-Identifier: LGPL-2.1-or-later
// The fuzzer's program as a Client: a bad pointer is EFAULT by its own table of places.
#include "tests/fuzz/program.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "tests/fuzz/check.h"

namespace pviommu::fuzz {

Program::Program() {
  // 2 MiB aligned, so that every alignment of an offset is one of the address.
  constexpr std::size_t kAlign = 2 << 20;
  void* reserved =
      ::mmap(nullptr, kReserved + kAlign, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  FUZZ_CHECK(reserved != MAP_FAILED, "no address space");
  base_ = (reinterpret_cast<std::uint64_t>(reserved) + kAlign - 1) & ~(kAlign - 1);
  const auto open = [](std::uint64_t at, std::size_t bytes, int rights) {
    FUZZ_CHECK(::mprotect(reinterpret_cast<void*>(at), bytes, rights) == 0, "mprotect");
  };
  open(structures(), kStructures, PROT_READ | PROT_WRITE);
  open(memory(), kMemory, PROT_READ | PROT_WRITE);
  open(read_only(), kReadOnly, PROT_READ);
  for (UniqueFd& eventfd : eventfds_) {
    eventfd = UniqueFd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    FUZZ_CHECK(eventfd, "eventfd");
  }
}

Program::~Program() { end(0); }

bool Program::readable(std::uint64_t from, std::size_t bytes) const {
  const auto inside = [&](std::uint64_t start, std::size_t size) {
    return from >= start && from - start <= size && bytes <= size - (from - start);
  };
  return inside(structures(), kStructures) || inside(memory(), kMemory) || inside(read_only(), kReadOnly);
}

bool Program::writable(std::uint64_t to, std::size_t bytes) const {
  return readable(to, bytes) && (to < read_only() || to >= read_only() + kReadOnly);
}

Status Program::copy_in(void* to, std::uint64_t from, std::size_t bytes) {
  if (!readable(from, bytes)) return Error{EFAULT, "copy_in"};
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  if (in_map && bytes >= 16) {
    std::uint64_t address = 0;  // vfio_iommu_type1_dma_map::vaddr
    std::memcpy(&address, static_cast<char*>(to) + 8, sizeof address);
    address = harmless(address);
    std::memcpy(static_cast<char*>(to) + 8, &address, sizeof address);
  }
  return {};
}

Status Program::copy_out(std::uint64_t to, const void* from, std::size_t bytes) {
  if (!writable(to, bytes)) return Error{EFAULT, "copy_out"};
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return {};
}

vfio::FileRef Program::file_of(int fd) {
  const auto found = files_.find(fd);
  return found == files_.end() ? vfio::FileRef() : found->second;
}

bool Program::is_open(int fd) {
  return files_.contains(fd) || (fd >= kFirstEventfd && fd < kFirstEventfd + kEventfds + 2);
}

Result<int> Program::install(vfio::FileRef file) {
  if (refuse_) {
    --refuse_;
    return Error{EMFILE, "install"};
  }
  files_[next_] = std::move(file);
  return next_++;
}

Result<UniqueFd> Program::duplicate_eventfd(int fd) {
  if (!is_open(fd)) return Error{EBADF, "duplicate_eventfd"};
  if (fd < kFirstEventfd || fd >= kFirstEventfd + kEventfds) return Error{EINVAL, "duplicate_eventfd"};
  UniqueFd copy(::dup(eventfds_[fd - kFirstEventfd].get()));
  FUZZ_CHECK(copy, "out of descriptors");
  return copy;
}

// BAR mappings are not really there: a stray access to their addresses faults.
std::uint64_t Program::bar_address(unsigned number) const {
  return base_ + kPlaces + (number % kMappings) * kMmioWindow;
}

vfio::Client::MmioMapping Program::mmio_at(std::uint64_t address, std::uint64_t bytes) {
  for (unsigned i = 0; i < kMappings; ++i) {
    const std::uint64_t start = bar_address(i);
    const Mapping& mapping = mappings_[i];
    if (!mapping.file || address < start || address - start >= mapping.bytes) continue;
    if (bytes > mapping.bytes - (address - start)) continue;
    return {mapping.file, mapping.offset + (address - start), PROT_READ | PROT_WRITE};
  }
  return {};
}

void Program::map_bar(vfio::FileRef file, std::uint64_t offset, std::size_t bytes) {
  if (bytes > kMmioWindow) return;
  for (Mapping& mapping : mappings_) {
    if (mapping.file) continue;
    file->mapping_changed(offset, +1);
    mapping = {std::move(file), offset, bytes};
    return;
  }
}

bool Program::unmap_bar(unsigned number) {
  Mapping& mapping = mappings_[number % kMappings];
  if (!mapping.file) return false;
  mapping.file->mapping_changed(mapping.offset, -1);
  mapping = {};
  return true;
}

int Program::pick(unsigned number) const {
  if (files_.empty()) return -1;
  return std::next(files_.begin(), number % static_cast<unsigned>(files_.size()))->first;
}

int Program::pick(unsigned number, std::string_view kind) const {
  int last = -1;
  for (const auto& [fd, file] : files_) {
    if (file->kind() != kind) continue;
    last = fd;
    if (number-- == 0) break;
  }
  return last;
}

int Program::duplicate(int fd) {
  const auto file = file_of(fd);
  return file ? *install(file) : -1;
}

std::uint64_t Program::harmless(std::uint64_t address) const {
  constexpr std::uint64_t kUserEnd = std::uint64_t{1} << 47;
  constexpr std::uint64_t kLowest = 0x10000;  // below: mmap_min_addr
  if (address < kLowest || address >= kUserEnd) return address;
  if (address >= base_ && address < base_ + kReserved) return address;
  return base_ + address % kReserved;
}

void Program::store(std::uint64_t offset, const void* from, std::size_t bytes) {
  offset %= kMemory;
  std::memcpy(reinterpret_cast<void*>(memory() + offset), from, std::min(bytes, kMemory - offset));
}

void Program::signal(unsigned number) { (void)::eventfd_write(eventfds_[number % kEventfds].get(), 1); }

void Program::end(std::uint64_t order) {
  while (!files_.empty()) {
    if (order & 1) unmap_bar(static_cast<unsigned>(order >> 1));
    close(pick(static_cast<unsigned>(order >> 4 & 7)));
    order = order >> 7 | order << 57;
  }
  for (unsigned i = 0; i < kMappings; ++i) unmap_bar(i);
  next_ = kFirstFile;
  refuse_ = 0;
  in_map = false;
  for (UniqueFd& eventfd : eventfds_) {
    eventfd_t value;
    (void)::eventfd_read(eventfd.get(), &value);
  }
}

}  // namespace pviommu::fuzz
