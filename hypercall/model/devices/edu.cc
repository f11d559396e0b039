// SPDX-License-Identifier: LGPL-2.1-or-later
// The registers exist twice: what the device holds (members) and what the program sees (the
// memory of the BAR).  A difference between the two is a store that came through a mapping.
//
//   pread/pwrite   mmio_read(), mmio_write() --.
//   a mapping      look(), by the thread -------+--> write_*(): member, then replace() in memory
//   the thread     poll(): look(), then compute() and transfer()
//
// replace() publishes only where the program has not stored again meanwhile; what it has
// stored is found by the next look().
#include "hypercall/model/devices/edu.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "hypercall/model/devices/device_factory.h"

namespace pviommu::model {
namespace {

constexpr unsigned kBar = 0;
constexpr std::uint64_t kBarSize = std::uint64_t{1} << 20;

constexpr std::uint64_t kIdentification = 0x00;
constexpr std::uint64_t kLiveness = 0x04;
constexpr std::uint64_t kFactorial = 0x08;
constexpr std::uint64_t kStatus = 0x20;
constexpr std::uint64_t kInterruptStatus = 0x24;
constexpr std::uint64_t kInterruptRaise = 0x60;
constexpr std::uint64_t kInterruptAcknowledge = 0x64;
constexpr std::uint64_t kWideRegisters = 0x80;
constexpr std::uint64_t kDmaSource = 0x80;
constexpr std::uint64_t kDmaDestination = 0x88;
constexpr std::uint64_t kDmaCount = 0x90;
constexpr std::uint64_t kDmaCommand = 0x98;
constexpr std::uint64_t kRegistersSize = 0x100;
constexpr std::uint64_t kDmaBuffer = 0x40000;

constexpr std::uint32_t kIdentity = 0x010000ed;  // version 1.0 of "edu"
constexpr std::uint32_t kStatusComputing = 0x01;
constexpr std::uint32_t kStatusInterrupt = 0x80;
constexpr std::uint32_t kFactorialDone = 0x001;  // bits of the interrupt status
constexpr std::uint32_t kDmaDone = 0x100;
constexpr std::uint64_t kRun = 1;
constexpr std::uint64_t kTowardsMemory = 2;
constexpr std::uint64_t kInterruptWhenDone = 4;

/// What an undocumented or write-only place reads as.
constexpr std::uint32_t kNothing = ~std::uint32_t{0};

constexpr std::uint64_t kMaxDelay = 60'000;  // ms

/// n! mod 2^32.  From 34 on the product holds 2 more than 31 times.
std::uint32_t factorial(std::uint32_t n) {
  if (n >= 34) return 0;
  std::uint32_t product = 1;
  for (; n > 1; --n) product *= n;
  return product;
}

bool width_fits(std::uint64_t offset, unsigned width) {
  return width == 4 || (width == 8 && offset >= kWideRegisters);
}

/// Register memory is little endian.
template <class T>
T little_endian(T value) {
  if constexpr (std::endian::native == std::endian::little) return value;
  return sizeof(T) == 4 ? static_cast<T>(__builtin_bswap32(static_cast<std::uint32_t>(value)))
                        : static_cast<T>(__builtin_bswap64(value));
}

template <class T>
std::atomic_ref<T> cell(std::byte* memory, std::uint64_t offset) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(memory + offset));
}

FunctionIdentity edu_identity() {
  FunctionIdentity identity;
  identity.vendor = 0x1234;
  identity.device = 0x11e8;
  identity.subsystem_vendor = 0x1af4;
  identity.subsystem_device = 0x1100;
  identity.class_code = 0x00ff00;
  identity.revision = 0x10;
  identity.description = "educational device (edu)";
  return identity;
}

}  // namespace

Result<EduOptions> EduOptions::from(ConfReader& conf) {
  EduOptions options;
  options.dma_mask = conf.size("dma_mask", options.dma_mask);
  const std::uint64_t delay = conf.size("dma-delay", 0);
  if (delay > kMaxDelay)
    return Error{EINVAL, "edu"}.with_sentence("dma-delay=" + std::to_string(delay) + " is more than " +
                                              std::to_string(kMaxDelay) + " ms");
  options.dma_delay = std::chrono::milliseconds(delay);
  return options;
}

Result<std::unique_ptr<PciFunction>> make_edu(Bus& bus, Sbdf sbdf, ConfReader& conf) {
  const EduOptions options = PVIOMMU_TRY(EduOptions::from(conf));
  return std::unique_ptr<PciFunction>(std::make_unique<Edu>(bus, sbdf, options));
}

Edu::Edu(Bus& bus, Sbdf sbdf, const EduOptions& options)
    : PciFunction(bus, sbdf, edu_identity()), options_(options) {
  BarOptions bar;
  bar.mappable = true;
  add_bar(kBar, kBarSize, bar);
  set_interrupt_pin(1);
  add_msi(1, /*address_64bit=*/true, /*per_vector_mask=*/false);
  registers_ = bar_memory(kBar);
  device_reset();
}

Edu::~Edu() { stop(); }

Edu::Counters Edu::counters() {
  std::lock_guard guard(lock());
  return counters_;
}

// ---- registers in memory -----------------------------------------------------

template <class T>
T Edu::load(std::uint64_t offset) const {
  return little_endian(cell<T>(registers_, offset).load(std::memory_order_acquire));
}

template <class T>
void Edu::store(std::uint64_t offset, T value) {
  cell<T>(registers_, offset).store(little_endian(value), std::memory_order_release);
}

template <class T>
T Edu::exchange(std::uint64_t offset, T value) {
  return little_endian(cell<T>(registers_, offset).exchange(little_endian(value)));
}

/// Publishes `value` unless the program has stored something in the meantime:
/// that stays, and the next look() finds it.
template <class T>
void Edu::replace(std::uint64_t offset, T expected, T value) {
  T old = little_endian(expected);
  cell<T>(registers_, offset).compare_exchange_strong(old, little_endian(value));
}

void Edu::device_reset() {
  liveness_ = 0;
  factorial_ = 0;
  status_ = 0;
  interrupt_status_ = 0;
  command_ = 0;
  buffer_.fill(std::byte{0});
  set_intx(false);

  const std::uint64_t bytes = bar(kBar).mappable ? kBarSize : kRegistersSize;
  for (std::uint64_t offset = 0; offset < bytes; offset += 8) {
    const bool dma = offset >= kDmaSource && offset <= kDmaCommand;
    store<std::uint64_t>(offset, dma ? 0 : ~std::uint64_t{0});
  }
  store(kIdentification, kIdentity);
  store(kLiveness, liveness_);
  store(kFactorial, factorial_);
  store(kStatus, status_);
  store(kInterruptStatus, interrupt_status_);
}

// ---- accesses ----------------------------------------------------------------

std::uint64_t Edu::mmio_read(unsigned, std::uint64_t offset, unsigned width) {
  if (width < 4) return 0;
  if (!width_fits(offset, width)) return ~std::uint64_t{0};
  if (look()) kick();
  switch (offset) {
    case kIdentification:
    case kLiveness:
    case kFactorial:
    case kStatus:
    case kInterruptStatus:
      return load<std::uint32_t>(offset);
    case kDmaSource:
    case kDmaDestination:
    case kDmaCount:
    case kDmaCommand:
      return width == 4 ? load<std::uint64_t>(offset) & 0xffffffff : load<std::uint64_t>(offset);
    default:
      return ~std::uint64_t{0};
  }
}

void Edu::mmio_write(unsigned, std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (!width_fits(offset, width)) return;
  // Stores through a mapping come before this one in the program's order.
  if (look()) kick();
  const auto low = static_cast<std::uint32_t>(value);
  switch (offset) {
    case kLiveness:
      write_liveness(low, liveness_);
      break;
    case kFactorial:
      write_factorial(low, factorial_);
      kick();
      break;
    case kStatus:
      write_status(low, status_);
      break;
    case kInterruptRaise:
      raise_interrupt(low);
      break;
    case kInterruptAcknowledge:
      acknowledge(low);
      break;
    case kDmaSource:
    case kDmaDestination:
    case kDmaCount:
      if (!(command_ & kRun)) store(offset, value);
      break;
    case kDmaCommand:
      if (!(command_ & kRun) && (value & kRun)) {
        start_transfer(value, command_);
        kick();
      }
      break;
    default:
      break;
  }
}

/// Takes the stores the program made through its mapping; true when there was
/// one.  Of registers that a driver writes in a fixed order the last one is
/// loaded first: whoever sees it sees the others too.
bool Edu::look() {
  bool seen = false;

  if (const std::uint32_t liveness = load<std::uint32_t>(kLiveness); liveness != liveness_) {
    write_liveness(liveness, liveness);
    seen = true;
  }

  const std::uint32_t factorial = load<std::uint32_t>(kFactorial);
  if (const std::uint32_t status = load<std::uint32_t>(kStatus); status != status_) {
    write_status(status, status);
    seen = true;
  }
  if (factorial != factorial_) {
    write_factorial(factorial, factorial);
    seen = true;
  }

  // An interrupt handler acknowledges, and raises again if it likes.
  const bool raised = load<std::uint32_t>(kInterruptRaise) != kNothing;
  if (load<std::uint32_t>(kInterruptAcknowledge) != kNothing) {
    acknowledge(exchange(kInterruptAcknowledge, kNothing));
    seen = true;
  }
  if (raised) {
    raise_interrupt(exchange(kInterruptRaise, kNothing));
    seen = true;
  }

  if (const std::uint64_t command = load<std::uint64_t>(kDmaCommand); command != command_) {
    if (!(command_ & kRun) && (command & kRun)) {
      start_transfer(command, command);
    } else {
      replace(kDmaCommand, command, command_);
    }
    seen = true;
  }

  if (load<std::uint32_t>(kIdentification) != kIdentity) store(kIdentification, kIdentity);
  if (load<std::uint32_t>(kInterruptStatus) != interrupt_status_) store(kInterruptStatus, interrupt_status_);
  return seen;
}

void Edu::write_liveness(std::uint32_t value, std::uint32_t in_memory) {
  liveness_ = ~value;
  replace(kLiveness, in_memory, liveness_);
}

void Edu::write_factorial(std::uint32_t value, std::uint32_t in_memory) {
  if (!(status_ & kStatusComputing)) {
    // In this order: a program that finds its n taken finds the computing bit set.
    set_status(status_ | kStatusComputing, status_);
    factorial_ = value;
  }
  replace(kFactorial, in_memory, factorial_);
}

void Edu::write_status(std::uint32_t value, std::uint32_t in_memory) {
  set_status((status_ & ~kStatusInterrupt) | (value & kStatusInterrupt), in_memory);
}

void Edu::set_status(std::uint32_t status, std::uint32_t in_memory) {
  status_ = status;
  replace(kStatus, in_memory, status_);
}

void Edu::set_interrupt_status(std::uint32_t status) {
  interrupt_status_ = status;
  store(kInterruptStatus, interrupt_status_);
}

// ---- interrupts --------------------------------------------------------------

void Edu::raise_interrupt(std::uint32_t value) {
  set_interrupt_status(interrupt_status_ | value);
  if (interrupt_status_ == 0) return;
  if (uses_intx()) {
    set_intx(true);
  } else {
    raise(0);
  }
}

void Edu::acknowledge(std::uint32_t value) {
  set_interrupt_status(interrupt_status_ & ~value);
  if (interrupt_status_ == 0) set_intx(false);
}

// ---- work of the thread ------------------------------------------------------

bool Edu::poll() {
  bool worked = look();
  if (status_ & kStatusComputing) {
    compute();
    worked = true;
  }
  if (command_ & kRun) {
    if (const auto now = std::chrono::steady_clock::now(); now >= due_) {
      transfer();
    } else {
      // The thread has no timer: true asks to be called again, and accesses must
      // get through meanwhile.  Nothing learnt above is used after the sleep.
      const auto left = std::min<std::chrono::nanoseconds>(due_ - now, std::chrono::milliseconds(1));
      lock().unlock();
      std::this_thread::sleep_for(left);
      lock().lock();
    }
    worked = true;
  }
  return worked;
}

void Edu::compute() {
  const std::uint32_t n = factorial_;
  factorial_ = factorial(n);
  replace(kFactorial, n, factorial_);
  set_status(status_ & ~kStatusComputing, status_);
  if (status_ & kStatusInterrupt) raise_interrupt(kFactorialDone);
}

void Edu::start_transfer(std::uint64_t command, std::uint64_t in_memory) {
  source_ = load<std::uint64_t>(kDmaSource);
  destination_ = load<std::uint64_t>(kDmaDestination);
  count_ = load<std::uint64_t>(kDmaCount);
  command_ = command;
  replace(kDmaCommand, in_memory, command_);
  due_ = std::chrono::steady_clock::now() + options_.dma_delay;
}

void Edu::transfer() {
  const bool towards_memory = command_ & kTowardsMemory;
  const std::uint64_t inside = (towards_memory ? source_ : destination_) - kDmaBuffer;
  const std::uint64_t address = towards_memory ? destination_ : source_;

  if (inside > kBufferSize || count_ > kBufferSize - inside) {
    ++counters_.refused;
  } else {
    if (address & ~options_.dma_mask) ++counters_.clamped;
    const Iova iova(address & options_.dma_mask);
    const auto bytes = std::span(buffer_).subspan(inside, count_);
    const Status status = towards_memory ? dma_write(iova, bytes) : dma_read(iova, bytes);
    ++(status ? counters_.transfers : counters_.failed);
  }

  // The run bit ends and the interrupt comes whatever became of the bytes, so that a driver
  // never waits in vain.
  replace(kDmaCommand, command_, command_ & ~kRun);
  command_ &= ~kRun;
  if (command_ & kInterruptWhenDone) raise_interrupt(kDmaDone);
}

}  // namespace pviommu::model
