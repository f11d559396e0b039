// SPDX-License-Identifier: LGPL-2.1-or-later
// Mapping and unmapping of frames, and the frames themselves.
//
//   map, unmap --> batch(): count, injected failure, limits, the space
//                    `--> PageTable, run by run, until one stops or the budget is used up
//
// Space::calls is held for a whole call; unmapping holds Space::reach alone besides.
#include <algorithm>
#include <cstdio>

#include "hypercall/model/model.h"

namespace pviommu::model {

// Reserved ranges have been cut out of iova_ranges already.
bool Model::mappable(Dfn dfn, std::uint64_t pages) const {
  constexpr std::uint64_t kFrames = std::uint64_t{1} << (64 - kPageShift);
  if (pages == 0 || dfn.raw() >= kFrames || pages > kFrames - dfn.raw()) return false;
  const Iova first = iova_of(dfn);
  const Iova last(first.raw() + ((pages << kPageShift) - 1));
  for (const IovaRange& range : capabilities().iova_ranges)
    if (range.first() <= first && last <= range.last()) return true;
  return false;
}

Status Model::check_batch(std::size_t runs, std::uint64_t pages) const {
  const Capabilities& caps = capabilities();
  if (caps.max_runs_per_call != 0 && runs > caps.max_runs_per_call) return Error{E2BIG, "too many runs"};
  if (options_.strict_batches && caps.max_entries_per_call != 0 && pages > caps.max_entries_per_call)
    return Error{E2BIG, "too many pages"};
  return {};
}

// What map and unmap share: the call itself, an injected failure that may come
// in mid-batch, the limits, the space.  `do_run(space, run, pages, budget)` does
// the first `pages` of a run and returns PageTable::Progress.
template <class Run, class Do>
BatchResult Model::batch(HypercallOp op, SpaceId id, std::span<const Run> runs, Do&& do_run) {
  CallLog::Call call(calls_, op, id.raw());
  BatchResult result;
  const auto end = [&](int code, const char* what) {
    if (code != 0) {
      result.status = Error{code, what};
      call.failed(code);
    }
    call.pages(result.pages_done);
    return result;
  };
  std::uint64_t page_limit = ~std::uint64_t{0};
  if (call.injected().code != 0) page_limit = call.injected().after_pages;

  Space* space = find(id);
  if (space == nullptr) return end(ENOENT, "no such space");
  std::uint64_t asked = 0;
  for (const Run& run : runs) asked += run.pages;
  if (Status fits = check_batch(runs.size(), asked); !fits) return end(E2BIG, fits.error().operation);

  std::uint64_t budget = capabilities().max_entries_per_call;
  if (budget == 0) budget = ~std::uint64_t{0};
  std::lock_guard guard(space->calls);
  if (space->dead) return end(EIO, "the space is dead");
  for (const Run& run : runs) {
    const std::uint64_t pages = std::min(run.pages, page_limit);
    const PageTable::Progress done = do_run(*space, run, pages, budget);
    result.pages_done += done.pages;
    page_limit -= done.pages;
    if (done.error != 0) return end(done.error, op == HypercallOp::map ? "map" : "unmap");
    if (done.pages < run.pages) break;
  }
  if (call.injected().code != 0) return end(call.injected().code, "injected failure");
  return end(0, "");
}

BatchResult Model::map(SpaceId id, std::span<const MapRun> runs) {
  return batch(HypercallOp::map, id, runs,
               [this](Space& space, const MapRun& run, std::uint64_t pages,
                      std::uint64_t& budget) -> PageTable::Progress {
                 if (!mappable(run.dfn, run.pages) || run.access == Access::none) return {0, EINVAL};
                 const bool enforced = run.access == Access::read    ? capabilities().read_only
                                       : run.access == Access::write ? capabilities().write_only
                                                                     : true;
                 const auto done = space.table.map(run.dfn, run.mfn, pages,
                                                   enforced ? run.access : Access::read_write, budget);
                 if (done.error == EEXIST && options_.overwrite_is_fatal) space.dead = true;
                 return done;
               });
}

BatchResult Model::unmap(SpaceId id, std::span<const UnmapRun> runs) {
  return batch(HypercallOp::unmap, id, runs,
               [this](Space& space, const UnmapRun& run, std::uint64_t pages,
                      std::uint64_t& budget) -> PageTable::Progress {
                 if (run.pages == 0) return {0, EINVAL};
                 // Alone: no access is under way, and none begins before the entries are gone.
                 std::lock_guard reach(space.reach);
                 const auto done =
                     space.table.unmap(run.dfn, run.mfn, pages, capabilities().deferred_flush, budget);
                 if (done.error == ENOENT && space.table.translate(run.dfn + done.pages).pages != 0)
                   violations_.wrong_frame.fetch_add(1, std::memory_order_relaxed);
                 return done;
               });
}

Status Model::flush(SpaceId id) {
  CallLog::Call call(calls_, HypercallOp::flush, id.raw());
  return call.run([&]() -> Status {
    Space* space = find(id);
    if (space == nullptr) return Error{ENOENT, "flush: no such space"};
    std::lock_guard guard(space->calls);
    if (space->dead) return Error{EIO, "flush: the space is dead"};
    std::lock_guard reach(space->reach);
    space->table.flush();
    return {};
  });
}

Status Model::frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) {
  if (const int code = calls_.count_inner(HypercallOp::frames); code != 0)
    return Error{code, "injected failure"};
  return frames_.add(memory, out);
}

void Model::forget_frames(PinnedMemory& memory) noexcept {
  const std::uint64_t left = frames_.retire(memory);
  if (left == 0) return;
  // The detector of use after unpin: loud, but not endless.
  if (violations_.forgotten_in_use.fetch_add(1) < 8)
    std::fprintf(stderr, "pviommu: model: memory at %#llx is given back while %llu pages of it are mapped\n",
                 static_cast<unsigned long long>(memory.range().first().raw()),
                 static_cast<unsigned long long>(left));
}

Status Model::frames_of_mmio(Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t bytes,
                             std::vector<FrameRun>& out) {
  if (!capabilities().peer_to_peer) return Error{EOPNOTSUPP, "frames_of_mmio: no peer to peer"};
  if (const int code = calls_.count_inner(HypercallOp::frames); code != 0)
    return Error{code, "injected failure"};
  Device* device = find(sbdf);
  if (device == nullptr) return Error{ENODEV, "frames_of_mmio: no such device"};
  if (bar >= kPciBars || !device->bar_frames[bar])
    return Error{EINVAL, "frames_of_mmio: BAR is not mappable"};
  const std::uint64_t size = device->function->bar(bar).size;
  if (!page_aligned(offset) || !page_aligned(bytes) || bytes == 0 || offset >= size || bytes > size - offset)
    return Error{EINVAL, "frames_of_mmio: outside the BAR"};
  out.push_back({*device->bar_frames[bar] + (offset >> kPageShift), bytes >> kPageShift});
  return {};
}

}  // namespace pviommu::model
