// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypercall/model/edu.h"

#include <endian.h>

#include <algorithm>
#include <span>

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

template <class T>
std::atomic_ref<T> cell(std::byte* memory, std::uint64_t offset) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(memory + offset));
}

FunctionIdentity identity() {
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

EduOptions EduOptions::from(ConfReader& conf) {
  EduOptions options;
  options.mmap = conf.flag("mmap", options.mmap);
  options.dma_mask = conf.size("dma_mask", options.dma_mask);
  options.dma_delay = std::chrono::milliseconds(std::min(conf.size("dma-delay", 0), kMaxDelay));
  return options;
}

Edu::Edu(Bus& bus, Sbdf sbdf, const EduOptions& options)
    : PciFunction(bus, sbdf, identity()), options_(options) {
  BarOptions bar;
  bar.mappable = options_.mmap;
  add_bar(kBar, kBarSize, bar);
  set_interrupt_pin(1);
  add_msi(1, /*address_64bit=*/true, /*per_vector_mask=*/false);
  if (options_.mmap) registers_ = bar_memory(kBar);
  device_reset();
  start();
}

Edu::~Edu() { stop(); }

Edu::Counters Edu::counters() {
  std::lock_guard guard(lock());
  return counters_;
}

// ---- registers in memory -----------------------------------------------------

std::uint32_t Edu::load32(std::uint64_t offset) const {
  return le32toh(cell<std::uint32_t>(registers_, offset).load(std::memory_order_acquire));
}

std::uint64_t Edu::load64(std::uint64_t offset) const {
  return le64toh(cell<std::uint64_t>(registers_, offset).load(std::memory_order_acquire));
}

void Edu::store32(std::uint64_t offset, std::uint32_t value) {
  cell<std::uint32_t>(registers_, offset).store(htole32(value), std::memory_order_release);
}

void Edu::store64(std::uint64_t offset, std::uint64_t value) {
  cell<std::uint64_t>(registers_, offset).store(htole64(value), std::memory_order_release);
}

std::uint32_t Edu::exchange32(std::uint64_t offset, std::uint32_t value) {
  return le32toh(cell<std::uint32_t>(registers_, offset).exchange(htole32(value)));
}

void Edu::device_reset() {
  liveness_ = 0;
  factorial_ = 0;
  status_ = 0;
  interrupt_status_ = 0;
  command_ = 0;
  buffer_.fill(std::byte{0});
  set_intx(false);

  const std::uint64_t bytes = options_.mmap ? kBarSize : own_registers_.size();
  for (std::uint64_t offset = 0; offset < bytes; offset += 8) {
    const bool dma = offset >= kDmaSource && offset <= kDmaCommand;
    cell<std::uint64_t>(registers_, offset).store(dma ? 0 : ~std::uint64_t{0}, std::memory_order_relaxed);
  }
  store32(kIdentification, kIdentity);
  store32(kLiveness, 0);
  store32(kFactorial, 0);
  store32(kStatus, 0);
  store32(kInterruptStatus, 0);
}

// ---- accesses ----------------------------------------------------------------

std::uint64_t Edu::mmio_read(unsigned, std::uint64_t offset, unsigned width) {
  if (width < 4) return 0;
  if (!width_fits(offset, width)) return ~std::uint64_t{0};
  if (options_.mmap && look()) kick();
  switch (offset) {
    case kIdentification:
    case kLiveness:
    case kFactorial:
    case kStatus:
    case kInterruptStatus:
      return load32(offset);
    case kDmaSource:
    case kDmaDestination:
    case kDmaCount:
    case kDmaCommand:
      return width == 4 ? load64(offset) & 0xffffffff : load64(offset);
    default:
      return ~std::uint64_t{0};
  }
}

void Edu::mmio_write(unsigned, std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (!width_fits(offset, width)) return;
  // Stores through a mapping come before this one in the program's order.
  if (options_.mmap && look()) kick();
  const auto low = static_cast<std::uint32_t>(value);
  switch (offset) {
    case kLiveness:
      write_liveness(low);
      break;
    case kFactorial:
      write_factorial(low);
      kick();
      break;
    case kStatus:
      write_status(low);
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
      if (!(command_ & kRun)) store64(offset, value);
      break;
    case kDmaCommand:
      if (!(command_ & kRun) && (value & kRun)) {
        start_transfer(value);
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

  if (const std::uint32_t liveness = load32(kLiveness); liveness != liveness_) {
    write_liveness(liveness);
    seen = true;
  }

  const std::uint32_t factorial = load32(kFactorial);
  if (const std::uint32_t status = load32(kStatus); status != status_) {
    write_status(status);
    seen = true;
  }
  if (factorial != factorial_) {
    write_factorial(factorial);
    seen = true;
  }

  // An interrupt handler acknowledges, and raises again if it likes.
  const bool raised = load32(kInterruptRaise) != kNothing;
  if (load32(kInterruptAcknowledge) != kNothing) {
    acknowledge(exchange32(kInterruptAcknowledge, kNothing));
    seen = true;
  }
  if (raised) {
    raise_interrupt(exchange32(kInterruptRaise, kNothing));
    seen = true;
  }

  if (const std::uint64_t command = load64(kDmaCommand); command != command_) {
    if (!(command_ & kRun) && (command & kRun)) {
      start_transfer(command);
    } else {
      store64(kDmaCommand, command_);
    }
    seen = true;
  }

  if (load32(kIdentification) != kIdentity) store32(kIdentification, kIdentity);
  if (load32(kInterruptStatus) != interrupt_status_) store32(kInterruptStatus, interrupt_status_);
  return seen;
}

void Edu::write_liveness(std::uint32_t value) {
  liveness_ = ~value;
  store32(kLiveness, liveness_);
}

void Edu::write_factorial(std::uint32_t value) {
  if (!(status_ & kStatusComputing)) {
    // In this order: a program that reads its n back finds the computing bit set.
    status_ |= kStatusComputing;
    store32(kStatus, status_);
    factorial_ = value;
  }
  store32(kFactorial, factorial_);
}

void Edu::write_status(std::uint32_t value) {
  status_ = (status_ & ~kStatusInterrupt) | (value & kStatusInterrupt);
  store32(kStatus, status_);
}

// ---- interrupts --------------------------------------------------------------

void Edu::raise_interrupt(std::uint32_t value) {
  interrupt_status_ |= value;
  store32(kInterruptStatus, interrupt_status_);
  if (interrupt_status_ == 0) return;
  if (uses_intx()) {
    set_intx(true);
  } else {
    raise(0);
  }
}

void Edu::acknowledge(std::uint32_t value) {
  interrupt_status_ &= ~value;
  store32(kInterruptStatus, interrupt_status_);
  if (interrupt_status_ == 0) set_intx(false);
}

// ---- work of the thread ------------------------------------------------------

bool Edu::poll() {
  bool worked = options_.mmap && look();
  if (status_ & kStatusComputing) {
    compute();
    worked = true;
  }
  if (command_ & kRun) {
    // Not due yet: true, to be asked again.
    if (std::chrono::steady_clock::now() >= due_) transfer();
    worked = true;
  }
  return worked;
}

void Edu::compute() {
  factorial_ = factorial(factorial_);
  store32(kFactorial, factorial_);
  status_ &= ~kStatusComputing;
  store32(kStatus, status_);
  if (status_ & kStatusInterrupt) raise_interrupt(kFactorialDone);
}

void Edu::start_transfer(std::uint64_t command) {
  source_ = load64(kDmaSource);
  destination_ = load64(kDmaDestination);
  count_ = load64(kDmaCount);
  command_ = command;
  store64(kDmaCommand, command_);
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

  // A driver that waits for the run bit or the interrupt must not wait for ever,
  // whatever became of the bytes.
  command_ &= ~kRun;
  store64(kDmaCommand, command_);
  if (command_ & kInterruptWhenDone) raise_interrupt(kDmaDone);
}

}  // namespace pviommu::model
