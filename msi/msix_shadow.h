// SPDX-License-Identifier: LGPL-2.1-or-later
// The MSI-X table as a program may touch it: not at all by pread and pwrite,
// and as dead memory by mmap.
//
// Whoever writes the real table decides where interrupts go, which is for the
// hypervisor alone to decide.  So the pages that hold the table are replaced by a
// shadow that looks like a table after reset.  What else these pages hold, registers or
// pending bits, is not in it: a front end makes such accesses one by one (Device::load()),
// or the pages cannot be mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/result.h"
#include "hypercall/unique_fd.h"
#include "msi/capabilities.h"

namespace pviommu::msi {

/// A stretch of a BAR, in bytes.
struct BarPiece {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  bool shadowed = false;
  friend bool operator==(const BarPiece&, const BarPiece&) = default;
};

class MsixShadow {
 public:
  /// `page_size`: the machine's, in bytes, a power of two.  ENOMEM and others: there is no
  /// memory for the shadow.
  static Result<MsixShadow> create(const MsixCapability& capability, std::uint64_t page_size);

  /// The front part of a pread/pwrite of [offset, offset + bytes) that is
  /// either all table entries (shadowed: reads 0xff, writes are dropped) or
  /// has none.  Loop until bytes are used up.  Exact to the byte, so registers
  /// and the pending bits beside the table stay reachable.
  BarPiece front(unsigned bar, std::uint64_t offset, std::uint64_t bytes) const;

  /// [offset, offset + bytes), both multiples of the page size, cut into what
  /// may be mapped from the BAR and what must come from mapping().
  std::vector<BarPiece> pages(unsigned bar, std::uint64_t offset, std::uint64_t bytes) const;

  /// The pages of the BAR that the table touches.
  BarPiece covered_pages() const { return covered_; }
  /// False: something else of the BAR, its registers perhaps, lies in these pages too.
  bool fills_its_pages() const { return capability_.table_bytes() == covered_.bytes; }
  /// True when the pending bits live in a page that is shadowed.
  bool hides_pending_bits() const;

  /// What the shadow holds, [offset, offset + bytes) of the BAR inside the table.  EIO and
  /// others: its file fails.
  Status load(std::uint64_t offset, void* to, std::size_t bytes) const;
  Status store(std::uint64_t offset, const void* from, std::size_t bytes) const;

  /// Where to mmap a shadowed page from.  `offset`, in bytes into the BAR, lies inside
  /// covered_pages().  The descriptor stays the shadow's.
  BarMapping mapping(std::uint64_t offset) const;

 private:
  MsixShadow(const MsixCapability& capability, BarPiece covered, UniqueFd fd)
      : capability_(capability), covered_(covered), fd_(std::move(fd)) {}

  MsixCapability capability_;
  BarPiece covered_;
  UniqueFd fd_;
};

}  // namespace pviommu::msi
