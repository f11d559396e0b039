// SPDX-License-Identifier: LGPL-2.1-or-later
// A bus for tests of single devices: some memory, and a record of what came.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "hypercall/model/pci/bus.h"
#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model::test {

/// Memory at [kBase, kBase + size).  Copies by atomics of 1, 2, 4 or 8 bytes, so
/// that a test may look at the memory while a device works on it.
class TestBus final : public Bus {
 public:
  static constexpr std::uint64_t kBase = 0x100000;

  explicit TestBus(std::size_t bytes) : words_(bytes / 8) {}

  std::byte* at(std::uint64_t iova) { return reinterpret_cast<std::byte*>(words_.data()) + (iova - kBase); }
  std::size_t size() const { return words_.size() * 8; }
  template <class T>
  T get(std::uint64_t iova) {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(at(iova))).load(std::memory_order_seq_cst);
  }
  template <class T>
  void set(std::uint64_t iova, T value) {
    std::atomic_ref<T>(*reinterpret_cast<T*>(at(iova))).store(value, std::memory_order_seq_cst);
  }

  Status read(Sbdf, Iova iova, std::span<std::byte> out) override {
    reads.fetch_add(1);
    return copy(iova, out.size(), [&](std::byte* memory, std::size_t offset, auto type) {
      using T = decltype(type);
      const T value = std::atomic_ref<T>(*reinterpret_cast<T*>(memory)).load(std::memory_order_acquire);
      std::memcpy(&out[offset], &value, sizeof(T));
    });
  }
  Status write(Sbdf, Iova iova, std::span<const std::byte> in) override {
    writes.fetch_add(1);
    if (refuse_writes.load()) return fault();
    const Status status = copy(iova, in.size(), [&](std::byte* memory, std::size_t offset, auto type) {
      using T = decltype(type);
      T value;
      std::memcpy(&value, &in[offset], sizeof(T));
      std::atomic_ref<T>(*reinterpret_cast<T*>(memory)).store(value, std::memory_order_release);
    });
    // A copy, because it may take itself away.
    if (const auto hook = after_write) hook(iova.raw());
    return status;
  }
  Status read_to_file(Sbdf, Iova, std::size_t, int, std::uint64_t) override { return Error{ENOSYS, "file"}; }
  Status write_from_file(Sbdf, Iova, std::size_t, int, std::uint64_t) override {
    return Error{ENOSYS, "file"};
  }

  struct Message {
    std::uint64_t address;
    std::uint32_t data;
    friend bool operator==(const Message&, const Message&) = default;
  };
  void message(Sbdf, std::uint64_t address, std::uint32_t data) override {
    std::lock_guard guard(lock_);
    messages_.push_back({address, data});
  }
  std::vector<Message> messages() {
    std::lock_guard guard(lock_);
    return messages_;
  }
  void bus_master_off(Sbdf, Iova, Access) override { master_off.fetch_add(1); }
  void intx(Sbdf, bool asserted) override { line.store(asserted); }

  std::atomic<unsigned> reads{0}, writes{0}, faults{0}, master_off{0};
  std::atomic<bool> line{false}, refuse_writes{false};
  std::function<void(std::uint64_t iova)> after_write;  ///< only while no thread runs

 private:
  Status fault() {
    faults.fetch_add(1);
    return Error{EFAULT, "not mapped"};
  }
  template <class Copy>
  Status copy(Iova iova, std::size_t bytes, Copy one) {
    const std::uint64_t first = iova.raw();
    if (first < kBase || bytes > size() || first - kBase > size() - bytes) return fault();
    for (std::size_t done = 0; done < bytes;) {
      const std::uint64_t address = first + done;
      const std::size_t left = bytes - done;
      const auto fits = [&](std::size_t width) { return address % width == 0 && left >= width; };
      if (fits(8)) {
        one(at(address), done, std::uint64_t{});
        done += 8;
      } else if (fits(4)) {
        one(at(address), done, std::uint32_t{});
        done += 4;
      } else if (fits(2)) {
        one(at(address), done, std::uint16_t{});
        done += 2;
      } else {
        one(at(address), done, std::uint8_t{});
        done += 1;
      }
    }
    return {};
  }

  std::vector<std::uint64_t> words_;
  std::mutex lock_;
  std::vector<Message> messages_;
};

/// Calls poll() of a function that was not started: its work in single steps.
class Stepper : public PciFunction {
 public:
  static bool step(PciFunction& function) {
    bool (PciFunction::*poll)() = &Stepper::poll;
    std::mutex& (PciFunction::*lock)() = &Stepper::lock;
    std::lock_guard guard((function.*lock)());
    return (function.*poll)();
  }
  /// Until there is nothing to do; false when that does not come.
  static bool settle(PciFunction& function, unsigned steps = 1'000'000) {
    while (steps-- > 0)
      if (!step(function)) return true;
    return false;
  }
};

// Configuration space, offsets of the PCI specification.
inline constexpr std::size_t kCommand = 0x04;
inline constexpr std::uint32_t kCommandIo = 1, kCommandMemory = 2, kCommandMaster = 4;

/// Offset of the capability, 0 when there is none.
inline std::size_t find_capability(PciFunction& function, std::uint8_t id) {
  for (std::size_t at = function.config_read(0x34, 1); at != 0; at = function.config_read(at + 1, 1))
    if (function.config_read(at, 1) == id) return at;
  return 0;
}

}  // namespace pviommu::model::test
