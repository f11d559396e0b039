// SPDX-License-Identifier: LGPL-2.1-or-later
// One block for the process: its own memory at first, a shared file after
// share_statistics().  The blocks before it stay, because somebody may be counting in them.
#include "hypercall/statistics.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <type_traits>

namespace pviommu {
namespace {

// The block is read by another process: no pointers, no locks inside.
static_assert(std::is_standard_layout_v<Statistics>);
static_assert(Counter::is_always_lock_free);
// Its arrays have a place for each.
static_assert(static_cast<std::size_t>(FaultReason::unreachable) + 1 == kFaultReasons);
static_assert(static_cast<std::size_t>(HypercallOp::reset) + 1 == kHypercallOps);

constinit Statistics own_block{};
constinit std::atomic<Statistics*> block{&own_block};

}  // namespace

Statistics& statistics() noexcept { return *block.load(std::memory_order_acquire); }

void count_fault(const Fault& fault) noexcept {
  Statistics& s = statistics();
  s.faults[static_cast<std::size_t>(fault.reason)].fetch_add(1, std::memory_order_relaxed);
  LoggedFault& record = s.last_faults[s.fault_count.fetch_add(1, std::memory_order_relaxed) % kLoggedFaults];
  record.sbdf.store(fault.sbdf.raw(), std::memory_order_relaxed);
  record.access.store(static_cast<std::uint8_t>(fault.access), std::memory_order_relaxed);
  record.reason.store(static_cast<std::uint8_t>(fault.reason), std::memory_order_relaxed);
  record.iova.store(fault.iova.raw(), std::memory_order_relaxed);
}

Status share_statistics(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Error{errno, "statistics: fstat"};
  if (st.st_size < static_cast<off_t>(sizeof(Statistics)))
    return Error{EINVAL, "statistics: file is smaller than the block"};
  void* memory = ::mmap(nullptr, sizeof(Statistics), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return Error{errno, "statistics: mmap"};
  auto* shared = static_cast<Statistics*>(memory);

  // All zero is a valid block but for the magic; the first of several
  // processes sets it.
  std::uint32_t magic = 0;
  if (!std::atomic_ref(shared->magic).compare_exchange_strong(magic, Statistics::kMagic) &&
      magic != Statistics::kMagic) {
    ::munmap(memory, sizeof(Statistics));
    return Error{EINVAL, "statistics: not a block of this version"};
  }
  // The block before this one stays where it is: somebody may hold a reference.
  block.store(shared, std::memory_order_release);
  return {};
}

// No default label: the compiler names a forgotten enumerator.
const char* to_string(HypercallOp op) {
  switch (op) {
    case HypercallOp::create_space:
      return "create_space";
    case HypercallOp::destroy_space:
      return "destroy_space";
    case HypercallOp::attach:
      return "attach";
    case HypercallOp::detach:
      return "detach";
    case HypercallOp::map:
      return "map";
    case HypercallOp::unmap:
      return "unmap";
    case HypercallOp::flush:
      return "flush";
    case HypercallOp::frames:
      return "frames";
    case HypercallOp::allocate_vectors:
      return "allocate_vectors";
    case HypercallOp::free_vectors:
      return "free_vectors";
    case HypercallOp::bind_vector:
      return "bind_vector";
    case HypercallOp::unbind_vector:
      return "unbind_vector";
    case HypercallOp::mask_vector:
      return "mask_vector";
    case HypercallOp::unmask_vector:
      return "unmask_vector";
    case HypercallOp::raise_vector:
      return "raise_vector";
    case HypercallOp::open_device:
      return "open_device";
    case HypercallOp::reset:
      return "reset";
  }
  return "?";
}

}  // namespace pviommu
