// SPDX-License-Identifier: LGPL-2.1-or-later
// A guest of one MiB and a few hundred bytes of code, made by the host's libxenctrl alone: no
// firmware, no device model, no xenstore.  Its only work is to count interrupts.
//
//   0x01000  code: switches the local APIC on, then waits by HLT
//   0x02000  IDT, 256 gates          0x03000  GDT
//   0x04000  uint32_t counts[256]    arrivals of each vector
//   0x05000  uint64_t times[256]     the guest's TSC at the last arrival of each
//   0x07000  end of the stack
//   0x06000  evtchn_bind_interdomain, for the vectors below
//   0x08000  handlers, 64 bytes each
//   0x10000  free, for devices
//
// Vector 0x70 binds a port of its own to that of dom0 that is named at 0x6000, vectors
// 0x71 to 0x7f send to it: so a program in dom0 that waits learns of an arrival.
#pragma once

#include <cstdint>
#include <memory>

extern "C" {
#include <xen/xen.h>
#include <xenforeignmemory.h>
}

namespace tiny {

constexpr unsigned kPages = 256;
constexpr std::uint64_t kFree = 0x10000;

/// What can go wrong ends the program with a line: this is for tests.
class Guest {
 public:
  struct Kind {
    bool hvm = true;  ///< false: a PV domain that never runs
    bool iommu = true;
    std::uint8_t uuid_last = 1;  ///< of 00000000-0000-4000-8000-0000000000NN
  };
  static std::uint32_t make(const Kind& kind);
  static void destroy(std::uint32_t domid);
  static bool alive(std::uint32_t domid);

  /// Its memory, mapped.
  explicit Guest(std::uint32_t domid);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  std::uint32_t domid() const { return domid_; }
  std::uint8_t* memory() const { return memory_; }
  std::uint32_t count(unsigned vector) const {
    return reinterpret_cast<volatile std::uint32_t*>(memory_ + 0x4000)[vector];
  }
  std::uint64_t time(unsigned vector) const {
    return reinterpret_cast<volatile std::uint64_t*>(memory_ + 0x5000)[vector];
  }
  /// Makes vectors 0x71 to 0x7f tell dom0's `port`, that was made for this guest.
  void answer_to(std::uint32_t port);
  /// Waits until the vector has come `wanted` times; what it has.
  std::uint32_t await(unsigned vector, std::uint32_t wanted, unsigned milliseconds = 2000) const;

 private:
  std::uint32_t domid_;
  xenforeignmemory_handle* foreign_;
  std::uint8_t* memory_ = nullptr;
};

}  // namespace tiny
