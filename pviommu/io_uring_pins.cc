// SPDX-License-Identifier: LGPL-2.1-or-later
//   IoUringSource --> RingPool --> PinRing, PinRing, ...     each with a table of slots
//                        ^
//   IoUringPin ----------'  a slot in one ring; keeps the pool alive
//
// ForkGuard knows all pools, so that a forked child can close the copies of the rings that it
// has got and does not keep the parent's pages pinned.
#include "pviommu/io_uring_pins.h"

#include <pthread.h>

#include <boost/intrusive/list.hpp>
#include <list>
#include <mutex>
#include <vector>

#include "hypercall/statistics.h"
#include "pviommu/copying_pins.h"
#include "pviommu/io_uring_ring.h"
#include "pviommu/locked_memory.h"

namespace pviommu {
namespace {

namespace bi = boost::intrusive;

/// The rings of one source.  Lives as long as the source or any of its pins:
/// pins that were kept on purpose stay pinned.
class RingPool : public bi::list_base_hook<> {
 public:
  RingPool();
  ~RingPool();

  struct Slot {
    PinRing* ring;
    unsigned number;
  };
  Result<Slot> take() {
    const std::lock_guard guard(lock_);
    while (!with_room_.empty() && !with_room_.front().usable()) with_room_.pop_front();
    if (with_room_.empty()) {
      auto ring = PinRing::create();
      if (!ring) return ring.error();
      try {
        rings_.push_back(std::move(*ring));
      } catch (const std::bad_alloc&) {
        return Error{ENOMEM, "io_uring"};
      }
      with_room_.push_back(*rings_.back());
    }
    PinRing& ring = with_room_.front();
    const unsigned number = ring.take_slot();
    if (!ring.has_room()) with_room_.pop_front();
    return Slot{&ring, number};
  }
  void give(const Slot& slot) {
    const std::lock_guard guard(lock_);
    slot.ring->give_slot(slot.number);
    if (!slot.ring->is_linked() && slot.ring->usable()) with_room_.push_back(*slot.ring);
  }

 private:
  friend class ForkGuard;
  void abandon() {
    // The old rings stay as the objects that the parent's pins refer to, but
    // take no new ones: they are never linked again.
    with_room_.clear();
    for (auto& ring : rings_) ring->abandon();
    abandoned_.splice(abandoned_.end(), rings_);
  }

  std::mutex lock_;
  std::list<std::unique_ptr<PinRing>> rings_;
  std::list<std::unique_ptr<PinRing>> abandoned_;
  bi::list<PinRing, bi::constant_time_size<false>> with_room_;
};

/// All pools, for fork().
class ForkGuard {
 public:
  static ForkGuard& instance() {
    // Never destroyed: pools may outlive static destruction.
    static ForkGuard* guard = new ForkGuard;
    return *guard;
  }
  void add(RingPool& pool) {
    const std::lock_guard guard(lock_);
    pools_.push_back(pool);
  }
  void remove(RingPool& pool) {
    const std::lock_guard guard(lock_);
    pools_.erase(pools_.iterator_to(pool));
  }

 private:
  ForkGuard() {
    ::pthread_atfork([] { instance().prepare(); }, [] { instance().release(); }, [] { instance().child(); });
  }
  void prepare() {
    lock_.lock();
    for (RingPool& pool : pools_) pool.lock_.lock();
  }
  void release() {
    for (RingPool& pool : pools_) pool.lock_.unlock();
    lock_.unlock();
  }
  void child() {
    for (RingPool& pool : pools_) pool.abandon();
    release();
  }

  std::mutex lock_;
  bi::list<RingPool, bi::constant_time_size<false>> pools_;
};

RingPool::RingPool() { ForkGuard::instance().add(*this); }
RingPool::~RingPool() {
  ForkGuard::instance().remove(*this);
  with_room_.clear();
}

class IoUringPin final : public PinnedMemory {
 public:
  IoUringPin(HvaRange range, std::shared_ptr<RingPool> pool, RingPool::Slot slot)
      : PinnedMemory(range), pool_(std::move(pool)), slot_(slot) {
    statistics().pinned_pages.fetch_add(pages(), std::memory_order_relaxed);
  }
  ~IoUringPin() override {
    slot_.ring->empty(slot_.number);
    pool_->give(slot_);
    statistics().pinned_pages.fetch_sub(pages(), std::memory_order_relaxed);
  }

  bool holds_pages() const override { return true; }
  int holder_fd() const override { return slot_.ring->fd(); }
  Status from_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) override {
    return transfer(PinRing::Direction::from_file, fd, file_offset, offset, bytes);
  }
  Status to_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) override {
    return transfer(PinRing::Direction::to_file, fd, file_offset, offset, bytes);
  }

 private:
  Status transfer(PinRing::Direction direction, int fd, std::uint64_t file_offset, std::uint64_t offset,
                  std::size_t bytes) {
    if (offset > range().size() || bytes > range().size() - offset)
      return Error{EFAULT, "transfer beyond the pinned memory"};
    return slot_.ring->transfer(direction, slot_.number, fd, file_offset, range().first().raw() + offset, bytes);
  }

  std::shared_ptr<RingPool> pool_;
  RingPool::Slot slot_;
};

class IoUringSource final : public FrameSource {
 public:
  explicit IoUringSource(std::shared_ptr<RingPool> pool) : pool_(std::move(pool)) {}

  std::string_view name() const override { return "io_uring"; }
  bool holds_pages() const override { return true; }

  Result<std::unique_ptr<PinnedMemory>> pin(HvaRange range, Access access) override {
    if (range.size() == 0 || range.size() > PinnedMemory::kMaxBytes || !page_aligned(range.first().raw()) ||
        !page_aligned(range.size()))
      return Error{EINVAL, "pin"};
    const auto slot = pool_->take();
    // No ring can be made: out of descriptors or memory.
    if (!slot) return Error{slot.error().code == ENOMEM ? ENOMEM : ENOSPC, "pin", slot.error().code};
    const Status filled = slot->ring->fill(slot->number, range);
    if (!filled) {
      pool_->give(*slot);
      if (filled.error().code == EFAULT && !allows(access, Access::write)) return make_copying_pin(range, access);
      return filled.error();
    }
    auto* pin = new (std::nothrow) IoUringPin(range, pool_, *slot);
    if (pin == nullptr) {
      slot->ring->empty(slot->number);
      pool_->give(*slot);
      return Error{ENOMEM, "pin"};
    }
    return std::unique_ptr<PinnedMemory>(pin);
  }
  Status count(std::uint64_t pages) override { return locked_.add(pages); }
  void uncount(std::uint64_t pages) noexcept override { locked_.remove(pages); }

 private:
  std::shared_ptr<RingPool> pool_;
  LockedMemory locked_;
};

}  // namespace

Result<std::unique_ptr<FrameSource>> make_io_uring_source() {
  auto pool = std::make_shared<RingPool>();
  // The first ring shows whether there are any.
  const auto slot = pool->take();
  // ENOSYS: there is no such source here; the reason is the kernel's, as raw code and in words.
  if (!slot)
    return Error{ENOSYS, slot.error().operation, slot.error().code}.with_sentence(to_string(slot.error()));
  pool->give(*slot);
  return std::unique_ptr<FrameSource>(std::make_unique<IoUringSource>(std::move(pool)));
}

}  // namespace pviommu
