// SPDX-License-Identifier: LGPL-2.1-or-later
// Runs are a sequence of pages, counted from the front:
//
//   runs     |---- 0 ----|-- 1 --|------ 2 ------|
//   pages    0                ^ done              total
//
// A call takes the next pages up to the limits of a call, and the hypervisor
// says how far it came.  Undoing walks the same sequence backwards, in calls
// that are built the same way, so that the state after every call is a prefix
// of the sequence and nothing else.
#include "pviommu/hypercall_iommu.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "hypercall/table_entries.h"

namespace pviommu {
namespace {

/// How often a hypervisor is asked that neither fails nor makes progress.
constexpr unsigned kFruitlessTries = 16;
/// How often undoing is tried before the state is given up as lost.
constexpr unsigned kUndoTries = 3;
/// How many runs a call has where the hypervisor states no limit.
constexpr std::size_t kRunsPerCall = 512;
/// Page table entries of a call where the hypervisor states no limit.
constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

std::uint64_t pages_of(std::span<const MapRun> runs) {
  std::uint64_t pages = 0;
  for (const MapRun& run : runs) pages += run.pages;
  return pages;
}

/// A position in the sequence of pages, moved forwards or backwards.
class Position {
 public:
  explicit Position(std::span<const MapRun> runs) : runs_(runs) {}

  std::uint64_t done() const { return done_; }
  /// The rest of the run behind the position, joined with runs that go on where
  /// it ends.
  MapRun ahead() const {
    MapRun joined = slice(run_, offset_, runs_[run_].pages - offset_);
    for (std::size_t i = run_ + 1; i < runs_.size() && continues(joined, runs_[i]); ++i)
      joined.pages += runs_[i].pages;
    return joined;
  }
  /// Whole runs behind the position, as they are; empty inside of one, and where
  /// some could be joined.
  std::span<const MapRun> whole(std::size_t most) const {
    if (offset_ != 0) return {};
    const auto found = runs_.subspan(run_, std::min(most, runs_.size() - run_));
    for (std::size_t i = 1; i < found.size(); ++i)
      if (continues(found[i - 1], found[i])) return {};
    return found;
  }
  /// The run before the position.
  MapRun behind() const {
    if (offset_ != 0) return slice(run_, 0, offset_);
    return runs_[run_ - 1];
  }
  void forward(std::uint64_t pages) {
    done_ += pages;
    while (pages != 0) {
      const std::uint64_t step = std::min(pages, runs_[run_].pages - offset_);
      offset_ += step;
      pages -= step;
      if (offset_ == runs_[run_].pages) {
        ++run_;
        offset_ = 0;
      }
    }
  }
  void backward(std::uint64_t pages) {
    done_ -= pages;
    while (pages != 0) {
      if (offset_ == 0) offset_ = runs_[--run_].pages;
      const std::uint64_t step = std::min(pages, offset_);
      offset_ -= step;
      pages -= step;
    }
  }

 private:
  MapRun slice(std::size_t run, std::uint64_t from, std::uint64_t pages) const {
    const MapRun& whole = runs_[run];
    return {whole.dfn + from, whole.mfn + from, pages, whole.access};
  }
  static bool continues(const MapRun& a, const MapRun& b) {
    return a.dfn + a.pages == b.dfn && a.mfn + a.pages == b.mfn && a.access == b.access;
  }

  std::span<const MapRun> runs_;
  std::size_t run_ = 0;
  std::uint64_t offset_ = 0;  ///< pages into runs_[run_]
  std::uint64_t done_ = 0;
};

class HypercallDomain final : public IommuDomain {
 public:
  HypercallDomain(Spaces& spaces, const Capabilities& capabilities, SpaceId space)
      : spaces_(spaces), capabilities_(capabilities), space_(space) {
    most_runs_ = capabilities_.max_runs_per_call != 0
                     ? std::min<std::size_t>(capabilities_.max_runs_per_call, kRunsPerCall)
                     : kRunsPerCall;
    forward_.reserve(most_runs_);
    back_.reserve(most_runs_);
    removals_.reserve(most_runs_);
    if (capabilities_.max_entries_per_call != 0) most_entries_ = capabilities_.max_entries_per_call;
  }

  ~HypercallDomain() override {
    Status destroyed;
    for (unsigned i = 0; i < kUndoTries; ++i) {
      destroyed = spaces_.destroy_space(space_);
      if (destroyed) return;
    }
    // The hypervisor keeps the space, under its tag; nothing else can be done.
    std::fprintf(stderr, "pviommu: address space %u is left behind: %s\n", space_.raw(),
                 to_string(destroyed.error()).c_str());
  }

  // What these lose is passed on as it is.
  Status attach(Sbdf sbdf) override { return spaces_.attach(space_, sbdf); }
  Status detach(Sbdf sbdf) override { return spaces_.detach(space_, sbdf); }

  Status map(std::span<const MapRun> runs) override {
    const std::uint64_t total = pages_of(runs);
    Position position(runs);
    lost_ = false;
    const Status mapped = go_forward(position, total, Direction::map);
    if (mapped) return {};
    // Undone in any case: the fewer frames are within reach, the better.
    if (!undo_map(position) || lost_) return Error{EIO, "map: state lost", mapped.error().raw, true};
    return mapped;
  }

  Status unmap(std::span<const MapRun> runs) override {
    const std::uint64_t total = pages_of(runs);
    Position position(runs);
    lost_ = false;
    Status status = go_forward(position, total, Direction::unmap);
    if (status && capabilities_.deferred_flush) status = flush();
    if (status) return {};
    for (unsigned i = 0; i < kUndoTries; ++i)
      if (go_back(position, Direction::map)) {
        if (lost_) break;
        return status;
      }
    return Error{EIO, "unmap: state lost", status.error().raw, true};
  }

 private:
  enum class Direction { map, unmap };

  /// Every map and unmap of the hypervisor, those of an undo included.
  BatchResult call(Direction direction, std::span<const MapRun> batch) {
    BatchResult result;
    if (direction == Direction::map) {
      result = spaces_.map(space_, batch);
    } else {
      removals_.clear();
      for (const MapRun& run : batch) removals_.push_back({run.dfn, run.mfn, run.pages});
      result = spaces_.unmap(space_, removals_);
    }
    note(result.status);
    return result;
  }

  Status flush() {
    Status flushed = spaces_.flush(space_);
    note(flushed);
    return flushed;
  }

  void note(const Status& status) {
    if (!status) [[unlikely]] lost_ = lost_ || status.error().state_lost;
  }

  /// The runs of one call, in forward_: joined where they go on, cut where a limit is.
  std::span<const MapRun> cut_batch(Position ahead, std::uint64_t total) {
    forward_.clear();
    std::uint64_t entries = most_entries_;
    while (forward_.size() < most_runs_ && entries != 0 && ahead.done() < total) {
      MapRun run = ahead.ahead();
      if (most_entries_ != kNoLimit)
        run.pages = take_entries(run.dfn, run.mfn, run.pages, capabilities_.page_sizes, entries);
      ahead.forward(run.pages);
      forward_.push_back(run);
    }
    return forward_;
  }

  /// Maps or unmaps from `position` on until `total` pages are done or an error.
  Status go_forward(Position& position, std::uint64_t total, Direction direction) {
    unsigned fruitless = 0;
    while (position.done() < total) {
      // Where entries are not counted nothing needs to be cut.
      std::span<const MapRun> batch;
      if (most_entries_ == kNoLimit) batch = position.whole(most_runs_);
      if (batch.empty()) batch = cut_batch(position, total);
      const BatchResult result = call(direction, batch);
      position.forward(std::min(result.pages_done, pages_of(batch)));
      if (!result.status) return result.status;
      fruitless = result.pages_done != 0 ? 0 : fruitless + 1;
      if (fruitless == kFruitlessTries)
        return Error{EIO, direction == Direction::map ? "map: no progress" : "unmap: no progress"};
    }
    return {};
  }

  /// Takes back what lies before `position`, the last pages first: unmaps what
  /// was mapped, or maps what was unmapped.  `position` says how much is left.
  Status go_back(Position& position, Direction direction) {
    unsigned fruitless = 0;
    while (position.done() != 0) {
      // A call works from its front, so it gets the runs of a stretch in
      // reverse order, and one run at a time where that is cut.
      MapRun run = position.behind();
      std::uint64_t entries = most_entries_;
      const std::uint64_t most = std::min(run.pages, entries);
      run = {run.dfn + (run.pages - most), run.mfn + (run.pages - most), most, run.access};
      back_.clear();
      back_.push_back(run);
      entries -= most;
      Position back = position;
      back.backward(most);
      while (back_.size() < most_runs_ && back.done() != 0) {
        const MapRun next = back.behind();
        if (next.pages > entries) break;
        entries -= next.pages;
        back.backward(next.pages);
        back_.push_back(next);
      }
      const BatchResult result = call(direction, back_);
      // Runs done wholly move the position; of a run done in part the front is
      // done, so its rest is finished here before going on.
      std::uint64_t left = result.pages_done;
      Status status = result.status;
      for (const MapRun& part : back_) {
        if (left < part.pages) {
          if (left != 0) {
            PVIOMMU_TRY(finish(part, left, direction));
            position.backward(part.pages);
          }
          break;
        }
        left -= part.pages;
        position.backward(part.pages);
      }
      if (!status) return status;
      fruitless = result.pages_done != 0 ? 0 : fruitless + 1;
      if (fruitless == kFruitlessTries) return Error{EIO, "undo: no progress"};
    }
    return {};
  }

  /// The pages of `run` behind its first `done`.
  Status finish(const MapRun& run, std::uint64_t done, Direction direction) {
    const MapRun rest[] = {{run.dfn + done, run.mfn + done, run.pages - done, run.access}};
    Position position(rest);
    Status status;
    for (unsigned i = 0; i < kUndoTries; ++i) {
      status = go_forward(position, rest[0].pages, direction);
      if (status) break;
    }
    return status;
  }

  Status undo_map(Position& position) {
    Status status;
    const bool anything = position.done() != 0;
    for (unsigned i = 0; i < kUndoTries; ++i) {
      status = go_back(position, Direction::unmap);
      if (status && anything && capabilities_.deferred_flush) status = flush();
      if (status) break;
    }
    return status;
  }

  Spaces& spaces_;
  const Capabilities& capabilities_;
  const SpaceId space_;
  std::size_t most_runs_;
  std::uint64_t most_entries_ = kNoLimit;
  bool lost_ = false;  ///< the hypervisor lost the state in the request under way, once is enough
  // One call's runs.  Full size from the start: nothing is allocated later.
  std::vector<MapRun> forward_;
  std::vector<MapRun> back_;
  std::vector<UnmapRun> removals_;
};

class HypercallIommu final : public IommuDriver {
 public:
  HypercallIommu(Spaces& spaces, const Capabilities& capabilities) : spaces_(spaces), capabilities_(capabilities) {}

  std::string_view name() const override { return "hypercall"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Result<std::unique_ptr<IommuDomain>> create_domain(const SpaceConfig& config) override {
    const SpaceId space = PVIOMMU_TRY(spaces_.create_space(config));
    try {
      return std::unique_ptr<IommuDomain>(new HypercallDomain(spaces_, capabilities_, space));
    } catch (const std::bad_alloc&) {
      (void)spaces_.destroy_space(space);
      return Error{ENOMEM, "create domain"};
    }
  }

 private:
  Spaces& spaces_;
  const Capabilities& capabilities_;
};

}  // namespace

std::unique_ptr<IommuDriver> make_hypercall_iommu(Spaces& spaces, const Capabilities& capabilities) {
  return std::make_unique<HypercallIommu>(spaces, capabilities);
}

}  // namespace pviommu
