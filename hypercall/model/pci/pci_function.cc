// SPDX-License-Identifier: LGPL-2.1-or-later
// BARs in memory files, DMA with the checks of the command register, and the thread that
// watches mapped BARs.  The thread sleeps in the kernel unless a BAR is mapped or the device
// has asked for more (poll() said true, or kick()).
#include "hypercall/model/pci/pci_function.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>

#include "hypercall/model/clock.h"
#include "hypercall/model/pci/pci_function_entry.h"
#include "hypercall/model/pci/pci_registers.h"

namespace pviommu::model {
namespace {

constexpr std::size_t kStack = 256 << 10;
constexpr std::uint64_t kSpinNs = 80'000;  // how long it watches closely after the last work
constexpr std::uint64_t kShortestSleepNs = 20'000;
constexpr std::uint64_t kLongestSleepNs = 1'000'000;

std::uint64_t all_ones(unsigned width) {
  return width >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * width)) - 1;
}

std::uint64_t load(const std::byte* at, unsigned width) {
  switch (width) {
    case 1:
      return __atomic_load_n(reinterpret_cast<const std::uint8_t*>(at), __ATOMIC_RELAXED);
    case 2:
      return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(at), __ATOMIC_RELAXED);
    case 4:
      return __atomic_load_n(reinterpret_cast<const std::uint32_t*>(at), __ATOMIC_RELAXED);
    default:
      return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_RELAXED);
  }
}

void store(std::byte* at, unsigned width, std::uint64_t value) {
  switch (width) {
    case 1:
      return __atomic_store_n(reinterpret_cast<std::uint8_t*>(at), static_cast<std::uint8_t>(value),
                              __ATOMIC_RELAXED);
    case 2:
      return __atomic_store_n(reinterpret_cast<std::uint16_t*>(at), static_cast<std::uint16_t>(value),
                              __ATOMIC_RELAXED);
    case 4:
      return __atomic_store_n(reinterpret_cast<std::uint32_t*>(at), static_cast<std::uint32_t>(value),
                              __ATOMIC_RELAXED);
    default:
      return __atomic_store_n(reinterpret_cast<std::uint64_t*>(at), value, __ATOMIC_RELAXED);
  }
}

}  // namespace

PciFunction::~PciFunction() {
  for (Bar& bar : bars_)
    if (bar.memory != nullptr) ::munmap(bar.memory, bar.memory_bytes);
}

// ---- BARs -------------------------------------------------------------------

// A mappable BAR that cannot get a file is declared not mappable: the device
// works on, by reads and writes.
void PciFunction::make_bar_memory(unsigned index) {
  Bar& bar = bars_[index];
  bar.memory_bytes = (bar.size + kPageSize - 1) & ~(kPageSize - 1);
  if (bar.options.mappable) {
    const std::string name = "pviommu " + to_string(sbdf_) + " bar" + std::to_string(index);
    UniqueFd file(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
    // Sealed: a program that truncated its descriptor would make us fault.
    if (file && page_aligned(bar.size) &&
        ::ftruncate(file.get(), static_cast<off_t>(bar.memory_bytes)) == 0 &&
        ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
      bar.file = std::move(file);
    bar.options.mappable = static_cast<bool>(bar.file);
  }
  const int flags = bar.file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* memory = ::mmap(nullptr, bar.memory_bytes, PROT_READ | PROT_WRITE, flags, bar.file.get(), 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  bar.memory = static_cast<std::byte*>(memory);
}

void PciFunction::forbid_mapping() {
  for (Bar& bar : bars_) bar.options.mappable = false;
}

BarInfo PciFunction::bar(unsigned index) const {
  BarInfo info;
  if (index == kPciRomIndex) info.size = rom_.size();
  if (index >= kPciBars || bars_[index].size == 0) return info;
  const Bar& bar = bars_[index];
  info.size = bar.size;
  info.is_io = bar.options.io;
  info.is_64bit = bar.options.is_64bit;
  info.prefetchable = bar.options.prefetchable;
  info.mappable = bar.options.mappable;
  info.address = bar.address.load(std::memory_order_relaxed);
  return info;
}

bool PciFunction::decodes(unsigned index) const {
  if (index >= kPciBars || bars_[index].size == 0) return false;
  const std::uint16_t bit = bars_[index].options.io ? reg::kCommandIo : reg::kCommandMemory;
  return (command_.load(std::memory_order_acquire) & bit) != 0;
}

std::uint64_t PciFunction::bar_read(unsigned index, std::uint64_t offset, unsigned width) {
  Entry entry(*this);
  if (index == kPciRomIndex) {  // the platform decodes it for the time of the access
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= std::to_integer<std::uint64_t>(rom_[offset + i]) << (8 * i);
    return value;
  }
  if (!decodes(index)) return all_ones(width);
  if (in_msix_table(index, offset, width) || in_msix_pba(index, offset, width))
    return load(bars_[index].memory + offset, width);
  return mmio_read(index, offset, width);
}

void PciFunction::bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) {
  Entry entry(*this);
  if (!decodes(index) || in_msix_pba(index, offset, width)) return;
  if (in_msix_table(index, offset, width)) {
    // Software must use aligned 4 or 8 byte accesses; others are undefined (7.7.2).
    if (width < 4) return;
    store(bars_[index].memory + offset, width, value);
    send_pending();
    return;
  }
  mmio_write(index, offset, width, value);
}

Result<BarMapping> PciFunction::bar_mapping(unsigned index) {
  if (index >= kPciBars || !bars_[index].options.mappable) return Error{EOPNOTSUPP, "BAR is not mappable"};
  const BarOptions& options = bars_[index].options;
  return BarMapping{bars_[index].file.get(), 0, options.direct_offset, options.direct_bytes};
}

void PciFunction::bar_mapped(unsigned index, bool mapped) {
  if (index >= kPciBars) return;
  if (mapped)
    mapped_bars_.fetch_or(1u << index);
  else
    mapped_bars_.fetch_and(~(1u << index));
  kick();
}

std::byte* PciFunction::peer_memory(unsigned index) {
  return decodes(index) && bars_[index].options.mappable ? bars_[index].memory : nullptr;
}

std::byte* PciFunction::bar_memory(unsigned index) { return bars_[index].memory; }

bool PciFunction::is_mapped(unsigned index) const { return (mapped_bars_.load() >> index & 1) != 0; }

// ---- DMA --------------------------------------------------------------------

bool PciFunction::bus_master() const {
  return (command_.load(std::memory_order_acquire) & reg::kCommandMaster) != 0;
}

bool PciFunction::memory_enabled() const {
  return (command_.load(std::memory_order_acquire) & reg::kCommandMemory) != 0;
}

Status PciFunction::may_master(Iova iova, Access access) {
  if (bus_master()) return {};
  bus_.bus_master_off(sbdf_, iova, access);
  return Error{EPERM, "bus mastering is off"};
}

Status PciFunction::dma_read(Iova iova, std::span<std::byte> out) {
  PVIOMMU_TRY(may_master(iova, Access::read));
  return bus_.read(sbdf_, iova, out);
}

Status PciFunction::dma_write(Iova iova, std::span<const std::byte> in) {
  PVIOMMU_TRY(may_master(iova, Access::write));
  return bus_.write(sbdf_, iova, in);
}

Status PciFunction::dma_to_file(Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset) {
  PVIOMMU_TRY(may_master(iova, Access::read));
  return bus_.read_to_file(sbdf_, iova, bytes, fd, file_offset);
}

Status PciFunction::dma_from_file(Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset) {
  PVIOMMU_TRY(may_master(iova, Access::write));
  return bus_.write_from_file(sbdf_, iova, bytes, fd, file_offset);
}

// ---- the thread -------------------------------------------------------------

void PciFunction::kick() {
  {
    std::lock_guard guard(wake_lock_);
    kicked_ = true;
  }
  wake_.notify_one();
}

Status PciFunction::start() {
  if (thread_.running()) return {};
  stopping_.store(false);
  const auto work = [this] {
    ::pthread_setname_np(::pthread_self(), "pviommu-device");
    ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);  // default 50 us would double the short sleeps
    run();
  };
  return thread_.start("device thread", work, kStack);
}

void PciFunction::stop() {
  thread_.end([this] {
    stopping_.store(true);
    kick();
  });
}

void PciFunction::run() {
  std::uint64_t idle_since = 0;  // 0: worked in the last round
  std::uint64_t sleep_ns = kShortestSleepNs;
  while (!stopping_.load()) {
    bool worked;
    {
      std::lock_guard guard(lock_);
      worked = poll();
    }
    // std::mutex is not fair: whoever waits for it goes first.
    while (entering_.load(std::memory_order_relaxed) != 0 && !stopping_.load()) ::sched_yield();
    if (worked) {
      idle_since = 0;
      sleep_ns = kShortestSleepNs;
      continue;
    }
    const std::uint64_t now = now_ns();
    if (idle_since == 0) idle_since = now;
    if (now - idle_since < kSpinNs) {
      ::sched_yield();
      continue;
    }
    std::unique_lock guard(wake_lock_);
    const auto woken = [this] { return kicked_ || stopping_.load(); };
    if (mapped_bars_.load() == 0) {
      wake_.wait(guard, woken);
    } else if (!wake_.wait_for(guard, std::chrono::nanoseconds(sleep_ns), woken)) {
      sleep_ns = std::min(2 * sleep_ns, kLongestSleepNs);
      continue;
    }
    kicked_ = false;
    idle_since = 0;
    sleep_ns = kShortestSleepNs;
  }
}

}  // namespace pviommu::model
