// SPDX-License-Identifier: LGPL-2.1-or-later
// The handler runs where the program was, on its stack or an alternate one, and with its locks
// held perhaps, but never inside one of our own calls.
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "vfio-glue/preload/bus_errors.h"
#include "vfio-glue/preload/front_end.h"
#include "vfio-glue/preload/large_stack.h"
#include "vfio-glue/preload/traps.h"
#include "vfio-glue/preload/user_memory.h"
#include "vfio-glue/preload/x86_instruction.h"

namespace pviommu::vfio {
namespace {

constinit std::atomic<FrontEnd*> trapping{nullptr};

/// The program's addresses: BARs that it has mapped, and its memory.  In a forked child, where the
/// engine is not, a BAR is the memory that its parent's device watches.
class ProgramBus final : public TrapBus {
 public:
  explicit ProgramBus(BarMappings& mappings) : mappings_(mappings) {}

  Status load(std::uint64_t address, void* to, std::size_t bytes) override {
    auto* out = static_cast<std::byte*>(to);
    return each_piece(
        address, bytes,
        [&](const BarMappings::Mapping& found, std::size_t at, std::size_t count) -> Status {
          if (found.open_file->ours()) return found.open_file->file().load(found.offset, out + at, count);
          if (!found.memory) return Error{EIO, "mapping of a parent"};
          copy(out + at, found.memory->at(found.offset), count);
          return {};
        },
        [&](std::size_t at, std::size_t count) { return copy_from_program(out + at, address + at, count); });
  }
  Status store(std::uint64_t address, const void* from, std::size_t bytes) override {
    const auto* in = static_cast<const std::byte*>(from);
    return each_piece(
        address, bytes,
        [&](const BarMappings::Mapping& found, std::size_t at, std::size_t count) -> Status {
          if (found.open_file->ours()) return found.open_file->file().store(found.offset, in + at, count);
          if (!found.memory) return Error{EIO, "mapping of a parent"};
          copy(found.memory->at(found.offset), in + at, count);
          return {};
        },
        [&](std::size_t at, std::size_t count) { return copy_to_program(address + at, in + at, count); });
  }

 private:
  /// A value of natural width in one piece, as the device that watches has to see it.
  static void copy(void* to, const void* from, std::size_t bytes) {
    const bool natural = (reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % bytes == 0;
    switch (natural ? bytes : 1) {
      case 2: return copy_value<std::uint16_t>(to, from);
      case 4: return copy_value<std::uint32_t>(to, from);
      case 8: return copy_value<std::uint64_t>(to, from);
      default: std::memcpy(to, from, bytes);
    }
  }
  template <class T>
  static void copy_value(void* to, const void* from) {
    __atomic_store_n(static_cast<T*>(to), __atomic_load_n(static_cast<const T*>(from), __ATOMIC_RELAXED), __ATOMIC_RELEASE);
  }

  /// Whole where it lies in one mapping, else page by page.
  template <class OfDevice, class OfMemory>
  Status each_piece(std::uint64_t address, std::size_t bytes, OfDevice&& of_device, OfMemory&& of_memory) {
    for (std::size_t done = 0; done < bytes;) {
      const std::uint64_t here = address + done;
      std::size_t count = bytes - done;
      BarMappings::Mapping found = mappings_.find(here, count);
      if (!found.open_file) {
        count = std::min<std::size_t>(count, kPageSize - here % kPageSize);
        found = mappings_.find(here, count);
      }
      PVIOMMU_TRY(found.open_file ? of_device(found, done, count) : of_memory(done, count));
      done += count;
    }
    return {};
  }

  BarMappings& mappings_;
};

std::string hexadecimal(const unsigned char* bytes, std::size_t count) {
  std::string text;
  char two[4];
  for (std::size_t i = 0; i < count; ++i) {
    std::snprintf(two, sizeof two, "%02x", bytes[i]);
    text += (i == 0 ? "" : " ") + std::string(two);
  }
  return text;
}

/// Makes the access; false: the program is to have its SIGBUS.
bool make_access(FrontEnd& front_end, std::uint64_t fault, ucontext_t& context) {
  const BarMappings::Mapping found = front_end.mappings().find(fault, 1);
  if (!found.open_file) return false;
  X86State state(context);
  if (fault - state.next() < X86Instruction::kLongest) return false;  // a fetch
  // What the processor has fetched can be read; only the next page may be missing.
  unsigned char code[X86Instruction::kLongest];
  std::size_t bytes = std::min<std::size_t>(sizeof code, kPageSize - state.next() % kPageSize);
  std::memcpy(code, reinterpret_cast<const void*>(state.next()), bytes);
  if (bytes < sizeof code && copy_from_program(code, state.next(), sizeof code)) bytes = sizeof code;
  const std::optional<X86Instruction> instruction = X86Instruction::decode(code, bytes);
  ProgramBus bus(front_end.mappings());
  Error failure;
  const X86Instruction::Outcome outcome =
      instruction ? instruction->make(state, bus, fault, failure) : X86Instruction::Outcome::unknown;
  if (outcome == X86Instruction::Outcome::unknown) {
    char place[32];
    std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(found.offset & ((1ull << 40) - 1)));
    front_end.complain("BAR " + std::to_string(found.offset >> 40) + " + " + place + " is accessed with an instruction " +
                       "that pviommu does not make for registers: " +
                       (instruction ? instruction->text(state.next()) : std::string("unknown")) + " (" +
                       hexadecimal(code, bytes) + "); use accesses of 1, 2, 4 or 8 bytes, or pread and pwrite");
  }
  // EIO, a BAR that does not decode, is SIGBUS from the kernel as well.
  if (outcome == X86Instruction::Outcome::failed && failure.code != EIO && failure.code != EFAULT)
    front_end.complain("an access by a mapping of BAR " + std::to_string(found.offset >> 40) + " fails: " + to_string(failure));
  return outcome == X86Instruction::Outcome::made;
}

bool trapped(siginfo_t* info, void* context) {
  FrontEnd* front_end = trapping.load(std::memory_order_acquire);
  const auto fault = reinterpret_cast<std::uintptr_t>(info->si_addr);
  // Inside the engine: a handler of the program has come there by a fault of its own, and the
  // locks that an access takes may be held.
  if (front_end == nullptr || info->si_code != BUS_ADRERR || !front_end->mappings().may_overlap(fault, 1) || inside_engine())
    return false;
  const EngineScope scope;
  return with_stack([&] { return make_access(*front_end, fault, *static_cast<ucontext_t*>(context)); });
}

}  // namespace

bool can_trap() { return true; }

bool start_trapping(FrontEnd& front_end) {
  trapping.store(&front_end, std::memory_order_release);
  return take_bus_errors(trapped);
}

}  // namespace pviommu::vfio
