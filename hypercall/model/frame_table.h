// SPDX-License-Identifier: LGPL-2.1-or-later
// The machine's memory: which bytes a machine frame number stands for.
//
//   mfn   51........42 41..........19 18............0
//         generation   slot           page in the slot
//
// A slot is one PinnedMemory (at most 2^18 pages) or the mappable BAR of a
// device.  Pages start inside the slot where their address has the same offset
// within 1 GiB, so that large entries are possible where the program's buffer
// is aligned for them; "scattered" memory instead spreads the pages over the
// slot so that no two neighbours are consecutive frames.
//
// Slots of memory that was given back keep refusing: their number gets another
// generation, so an entry that still points there is recognised.  That is what
// finds a page that was unpinned while a device could still reach it.
//
// Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "hypercall/spaces.h"
#include "hypercall/model/page_table.h"
#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model {

class FrameTable final : public PageTable::Watcher {
 public:
  explicit FrameTable(bool scattered) : scattered_(scattered) {}
  ~FrameTable();
  FrameTable(const FrameTable&) = delete;
  FrameTable& operator=(const FrameTable&) = delete;

  /// Appends the runs of `memory` to `out`, and makes a slot the first time.  EINVAL: more
  /// than 1 GiB, or the note is another table's.  ENOSPC: 2^23 pieces are held already.
  Status add(PinnedMemory& memory, std::vector<FrameRun>& out);
  /// Gives the memory's slot back.  Returns how many pages of entries still point at it,
  /// which is 0 unless somebody forgot to unmap.  No access is under way any more then.
  std::uint64_t retire(PinnedMemory& memory);
  /// Makes frames for the `pages` pages of a BAR, for good, and returns the first one.
  Result<Mfn> add_bar(PciFunction& function, unsigned bar, std::uint64_t pages);

  // PageTable::Watcher
  bool mapped(Mfn mfn, std::uint64_t pages) override;
  void unmapped(Mfn mfn, std::uint64_t pages) override;

  struct Slot;
  /// Holds what is behind a frame for the length of one access.
  class Use {
   public:
    Use(FrameTable& frames, Mfn mfn);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    /// False: the frame was given back.
    explicit operator bool() const { return slot_ != nullptr; }
    PinnedMemory* memory() const;   ///< null: a BAR
    PciFunction* function() const;  ///< null: memory
    unsigned bar() const;
    std::uint64_t offset() const { return offset_; }  ///< of the frame's first byte in the memory or BAR
    /// Whether `mfn` is the page `pages` behind the first one, also in bytes.
    bool continues(Mfn mfn, std::uint64_t pages) const;

   private:
    FrameTable& frames_;
    Slot* slot_ = nullptr;
    Mfn mfn_;
    std::uint64_t offset_ = 0;
  };

 private:
  static constexpr unsigned kPageBits = 19;
  static constexpr unsigned kSlotBits = 23;
  static constexpr unsigned kGenerationBits = 10;
  static constexpr std::uint64_t kPageMask = (1u << kPageBits) - 1;
  static constexpr unsigned kChunkBits = 12;
  static constexpr std::uint32_t kKeepRetired = 1024;  ///< retired slots that wait before one is used again

  struct Chunk;
  Slot* slot(std::uint32_t number) const;
  Slot* slot_of(Mfn mfn) const;  ///< null: none of that number and generation, or retired
  std::uint32_t take_slot();     ///< 0: none
  std::uint64_t place_of(const Slot& slot, std::uint64_t page) const;
  /// The page in the slot's memory; ~0: the frame does not belong to it.
  std::uint64_t page_of(const Slot& slot, Mfn mfn) const;

  const bool scattered_;
  std::mutex lock_;               ///< of what follows
  std::uint32_t slots_made_ = 1;  ///< slot 0 is not used: frame 0 is nobody's
  std::uint32_t retired_ = 0;
  std::uint32_t oldest_ = 0;
  std::uint32_t newest_ = 0;
  std::array<std::atomic<Chunk*>, 1u << (kSlotBits - kChunkBits)> chunks_{};
};

}  // namespace pviommu::model
