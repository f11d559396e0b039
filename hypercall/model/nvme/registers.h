// SPDX-License-Identifier: LGPL-2.1-or-later
// The controller's registers (NVM Express 1.4, section 3.1) and how BAR0 is laid out:
//
//   0x0000  controller registers
//   0x1000  doorbells: queue n has its tail at 0x1000 + 8n, its head at 0x1004 + 8n
//   0x2000  MSI-X table
//   0x3000  MSI-X pending bits
//
// The registers live in the memory of the BAR itself, because a program that
// mapped it may read and write them there without telling anybody: doorbells
// always, the page before them where its accesses are not trapped.  Whoever uses
// this class sees one register file either way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pviommu::model::nvme {

namespace reg {
inline constexpr std::uint64_t kCap = 0x00;
inline constexpr std::uint64_t kVs = 0x08;
inline constexpr std::uint64_t kIntms = 0x0c;
inline constexpr std::uint64_t kIntmc = 0x10;
inline constexpr std::uint64_t kCc = 0x14;
inline constexpr std::uint64_t kCsts = 0x1c;
inline constexpr std::uint64_t kAqa = 0x24;
inline constexpr std::uint64_t kAsq = 0x28;
inline constexpr std::uint64_t kAcq = 0x30;
inline constexpr std::uint64_t kEnd = 0x38;
inline constexpr std::uint64_t kDoorbells = 0x1000;
}  // namespace reg

inline constexpr std::uint64_t kBarBytes = 0x4000;
inline constexpr std::uint64_t kDoorbellBytes = 0x1000;
inline constexpr std::uint64_t kRegisterBytes = 0x2000;
inline constexpr std::uint32_t kMsixTableOffset = 0x2000;
inline constexpr std::uint32_t kMsixPbaOffset = 0x3000;
inline constexpr unsigned kMostVectors = 256;  // entries of 16 bytes before the PBA
inline constexpr unsigned kMostQueues = 511;   // pairs of doorbells beside the admin queue's

inline constexpr unsigned kSqeShift = 6;
inline constexpr unsigned kCqeShift = 4;
inline constexpr unsigned kLargestQueue = 1024;  // entries
inline constexpr unsigned kLargestPageShift = 16;
inline constexpr unsigned kMdts = 9;  // 2 MiB, in pages of 4 KiB
inline constexpr std::size_t kLargestTransfer = std::size_t{4096} << kMdts;

// 3.1.1: MQES 0's based, CQR, TO in 500 ms, the NVM command set, pages of 4 to 64 KiB.
inline constexpr std::uint64_t kCapValue = (kLargestQueue - 1) | std::uint64_t{1} << 16 |
                                           std::uint64_t{15} << 24 | std::uint64_t{1} << 37 |
                                           std::uint64_t{kLargestPageShift - 12} << 52;

namespace cc {  // 3.1.5
inline constexpr std::uint32_t kEnable = 1;
constexpr unsigned command_set(std::uint32_t v) { return v >> 4 & 7; }
constexpr unsigned page_shift(std::uint32_t v) { return (v >> 7 & 15) + 12; }
constexpr unsigned arbitration(std::uint32_t v) { return v >> 11 & 7; }
constexpr unsigned shutdown(std::uint32_t v) { return v >> 14 & 3; }
constexpr unsigned sqe_shift(std::uint32_t v) { return v >> 16 & 15; }
constexpr unsigned cqe_shift(std::uint32_t v) { return v >> 20 & 15; }
}  // namespace cc

namespace csts {  // 3.1.6
inline constexpr std::uint32_t kReady = 1;
inline constexpr std::uint32_t kFatal = 2;
inline constexpr std::uint32_t kShutdownComplete = 2 << 2;
inline constexpr std::uint32_t kShutdownMask = 3 << 2;
}  // namespace csts

/// Memory shared with the program.  Relaxed single accesses for values; a
/// doorbell or CC is read with acquire, so that what the program stored before
/// it is seen, and CSTS is stored with release.
class RegisterFile {
 public:
  explicit RegisterFile(std::byte* memory = nullptr) : memory_(memory) {}

  std::uint64_t load(std::uint64_t offset, unsigned width) const {
    switch (width) {
      case 1: return at<std::uint8_t>(offset).load(std::memory_order_acquire);
      case 2: return at<std::uint16_t>(offset).load(std::memory_order_acquire);
      case 4: return at<std::uint32_t>(offset).load(std::memory_order_acquire);
      default: return at<std::uint64_t>(offset).load(std::memory_order_acquire);
    }
  }
  void store(std::uint64_t offset, unsigned width, std::uint64_t value) {
    switch (width) {
      case 1: return at<std::uint8_t>(offset).store(static_cast<std::uint8_t>(value), std::memory_order_release);
      case 2: return at<std::uint16_t>(offset).store(static_cast<std::uint16_t>(value), std::memory_order_release);
      case 4: return at<std::uint32_t>(offset).store(static_cast<std::uint32_t>(value), std::memory_order_release);
      default: return at<std::uint64_t>(offset).store(value, std::memory_order_release);
    }
  }
  std::uint32_t load32(std::uint64_t offset) const {
    return at<std::uint32_t>(offset).load(std::memory_order_acquire);
  }
  void store32(std::uint64_t offset, std::uint32_t value) {
    at<std::uint32_t>(offset).store(value, std::memory_order_release);
  }
  std::uint64_t load64(std::uint64_t offset) const {
    return at<std::uint64_t>(offset).load(std::memory_order_acquire);
  }
  std::uint32_t exchange32(std::uint64_t offset, std::uint32_t value) {
    return at<std::uint32_t>(offset).exchange(value, std::memory_order_acq_rel);
  }
  bool replace32(std::uint64_t offset, std::uint32_t expected, std::uint32_t value) {
    return at<std::uint32_t>(offset).compare_exchange_strong(expected, value, std::memory_order_acq_rel);
  }

  static std::uint64_t sq_doorbell(unsigned qid) { return reg::kDoorbells + 8 * std::uint64_t{qid}; }
  static std::uint64_t cq_doorbell(unsigned qid) { return sq_doorbell(qid) + 4; }

 private:
  template <class T>
  std::atomic_ref<T> at(std::uint64_t offset) const {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(memory_ + offset));
  }
  std::byte* memory_;
};

}  // namespace pviommu::model::nvme
