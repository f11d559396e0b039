// SPDX-License-Identifier: LGPL-2.1-or-later
// Slots come in chunks of 4096 that stay until the end, so a frame number can be looked up
// without a lock; what makes a frame valid is checked by a user after it has announced itself.
//
//   access   users + 1, then: live and of this generation?   ...   users - 1
//   retire   not live, then: wait until users is 0, next generation
//
// Retired slots wait in a list of at least kKeepRetired before their number is used again, so
// that the generation (10 bits) does not come round while an old entry may still name it.
#include "hypercall/model/frame_table.h"

#include <sched.h>

#include <new>

namespace pviommu::model {
namespace {

// Multiplying by an odd number permutes the numbers below 2^19; this one takes
// neighbours far apart.  kGather is its inverse modulo 2^19.
constexpr std::uint64_t kScatter = 0x4f1bb;
constexpr std::uint64_t inverse(std::uint64_t odd) {
  std::uint64_t x = odd;  // correct to 3 bits; each round doubles them
  for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
  return x;
}
constexpr std::uint64_t kGather = inverse(kScatter);
static_assert(((kScatter * kGather) & 0x7ffff) == 1);

constexpr std::uint64_t kGigPages = std::uint64_t{1} << 18;

}  // namespace

struct FrameTable::Slot {
  std::atomic<PinnedMemory*> memory{nullptr};
  PciFunction* function = nullptr;
  unsigned bar = 0;
  std::uint32_t base = 0;  ///< place of page 0
  std::uint64_t pages = 0;
  std::atomic<std::uint32_t> generation{0};
  std::atomic<bool> live{false};
  std::atomic<std::uint32_t> users{0};    ///< accesses under way
  std::atomic<std::uint64_t> entries{0};  ///< pages that address spaces map onto it
  std::uint32_t number = 0;
  std::uint32_t next = 0;  ///< in the queue of retired slots
};

struct FrameTable::Chunk {
  std::array<Slot, 1u << kChunkBits> slots;
};

FrameTable::~FrameTable() {
  for (auto& chunk : chunks_) delete chunk.load();
}

FrameTable::Slot* FrameTable::slot(std::uint32_t number) const {
  Chunk* chunk = chunks_[number >> kChunkBits].load(std::memory_order_acquire);
  return chunk == nullptr ? nullptr : &chunk->slots[number & ((1u << kChunkBits) - 1)];
}

FrameTable::Slot* FrameTable::slot_of(Mfn mfn) const {
  const auto number = static_cast<std::uint32_t>(mfn.raw() >> kPageBits & ((1u << kSlotBits) - 1));
  Slot* found = slot(number);
  const std::uint64_t generation = mfn.raw() >> (kPageBits + kSlotBits);
  if (found == nullptr || !found->live.load() || found->generation.load() != generation) return nullptr;
  return found;
}

std::uint32_t FrameTable::take_slot() {
  std::lock_guard guard(lock_);
  if (retired_ > kKeepRetired || (slots_made_ == 1u << kSlotBits && retired_ != 0)) {
    const std::uint32_t number = oldest_;
    oldest_ = slot(number)->next;
    --retired_;
    return number;
  }
  if (slots_made_ == 1u << kSlotBits) return 0;
  const std::uint32_t number = slots_made_;
  auto& chunk = chunks_[number >> kChunkBits];
  if (chunk.load(std::memory_order_relaxed) == nullptr) {
    Chunk* fresh = new (std::nothrow) Chunk();
    if (fresh == nullptr) return 0;
    chunk.store(fresh, std::memory_order_release);
  }
  ++slots_made_;
  return number;
}

std::uint64_t FrameTable::place_of(const Slot& slot, std::uint64_t page) const {
  const std::uint64_t place = slot.base + page;
  return scattered_ && slot.function == nullptr ? place * kScatter & kPageMask : place;
}

std::uint64_t FrameTable::page_of(const Slot& slot, Mfn mfn) const {
  std::uint64_t place = mfn.raw() & kPageMask;
  if (scattered_ && slot.function == nullptr) place = place * kGather & kPageMask;
  const std::uint64_t page = place - slot.base;  // wraps below base: too large then
  return page < slot.pages ? page : ~std::uint64_t{0};
}

Status FrameTable::add(PinnedMemory& memory, std::vector<FrameRun>& out) {
  Slot* made;
  if (memory.hypervisor_note != 0) {
    made = slot_of(Mfn(memory.hypervisor_note));
    if (made == nullptr || made->memory.load() != &memory) return Error{EINVAL, "frames of other memory"};
  } else {
    if (memory.pages() > kGigPages) return Error{EINVAL, "pinned memory above 1 GiB"};
    const std::uint32_t number = take_slot();
    if (number == 0) return Error{ENOSPC, "frames"};
    made = slot(number);
    made->number = number;
    made->pages = memory.pages();
    made->base = static_cast<std::uint32_t>(memory.range().first().raw() >> kPageShift & (kGigPages - 1));
    made->memory.store(&memory);
    made->entries.store(0);
    made->live.store(true);
  }
  const std::uint64_t first = (std::uint64_t{made->generation.load()} << kSlotBits | made->number)
                              << kPageBits;
  // The note names the slot, which no frame number with a page of 0 may hide.
  memory.hypervisor_note = first;
  if (!scattered_) {
    out.push_back({Mfn(first | place_of(*made, 0)), made->pages});
  } else {
    for (std::uint64_t page = 0; page < made->pages; ++page)
      out.push_back({Mfn(first | place_of(*made, page)), 1});
  }
  return {};
}

std::uint64_t FrameTable::retire(PinnedMemory& memory) {
  if (memory.hypervisor_note == 0) return 0;
  Slot* gone = slot_of(Mfn(memory.hypervisor_note));
  memory.hypervisor_note = 0;
  if (gone == nullptr || gone->memory.load() != &memory) return 0;
  gone->live.store(false);
  while (gone->users.load() != 0) ::sched_yield();
  gone->memory.store(nullptr);
  gone->generation.store((gone->generation.load() + 1) & ((1u << kGenerationBits) - 1));
  const std::uint64_t left = gone->entries.load();
  // A slot that entries still point to is never used again.
  if (left != 0) return left;
  std::lock_guard guard(lock_);
  if (retired_++ == 0)
    oldest_ = gone->number;
  else
    slot(newest_)->next = gone->number;
  newest_ = gone->number;
  return 0;
}

Result<Mfn> FrameTable::add_bar(PciFunction& function, unsigned bar, std::uint64_t pages) {
  const std::uint32_t number = take_slot();
  if (number == 0) return Error{ENOSPC, "frames of a BAR"};
  Slot* made = slot(number);
  made->number = number;
  made->function = &function;
  made->bar = bar;
  made->pages = pages;
  made->live.store(true);
  return Mfn((std::uint64_t{made->generation.load()} << kSlotBits | number) << kPageBits);
}

bool FrameTable::mapped(Mfn mfn, std::uint64_t pages) {
  Slot* onto = slot_of(mfn);
  if (onto == nullptr || (mfn.raw() & kPageMask) + pages > kPageMask + 1) return false;
  if (scattered_ && onto->function == nullptr) {
    for (std::uint64_t i = 0; i < pages; ++i)
      if (page_of(*onto, mfn + i) == ~std::uint64_t{0}) return false;
  } else {
    const std::uint64_t page = page_of(*onto, mfn);
    if (page == ~std::uint64_t{0} || pages > onto->pages - page) return false;
  }
  onto->entries.fetch_add(pages);
  return true;
}

void FrameTable::unmapped(Mfn mfn, std::uint64_t pages) {
  // Entries of memory that was given back are not counted any more.
  if (Slot* onto = slot_of(mfn)) onto->entries.fetch_sub(pages);
}

// Announce first, look then: retire() looks the other way round, so one of the
// two sees the other.
FrameTable::Use::Use(FrameTable& frames, Mfn mfn) : frames_(frames), mfn_(mfn) {
  Slot* found = frames.slot_of(mfn);
  if (found == nullptr) return;
  found->users.fetch_add(1);
  const std::uint64_t page = frames.slot_of(mfn) == found ? frames.page_of(*found, mfn) : ~std::uint64_t{0};
  if (page == ~std::uint64_t{0}) {
    found->users.fetch_sub(1);
    return;
  }
  slot_ = found;
  offset_ = page << kPageShift;
}

FrameTable::Use::~Use() {
  if (slot_ != nullptr) slot_->users.fetch_sub(1);
}

PinnedMemory* FrameTable::Use::memory() const { return slot_->memory.load(); }
PciFunction* FrameTable::Use::function() const { return slot_->function; }
unsigned FrameTable::Use::bar() const { return slot_->bar; }

bool FrameTable::Use::continues(Mfn mfn, std::uint64_t pages) const {
  return mfn.raw() >> kPageBits == mfn_.raw() >> kPageBits &&
         frames_.page_of(*slot_, mfn) == (offset_ >> kPageShift) + pages;
}

}  // namespace pviommu::model
