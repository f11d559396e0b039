// SPDX-License-Identifier: LGPL-2.1-or-later
// Spaces of a hypervisor that only keeps books, exactly, and fails on request.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "hypercall/capabilities.h"
#include "hypercall/spaces.h"
#include "pviommu/frame_source.h"
#include "pviommu/locked_memory.h"

namespace pviommu::test {

/// One page a map entry; every rule of the interface is checked.
class FakeSpaces : public Spaces {
 public:
  struct Entry {
    Mfn mfn;
    Access access;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  struct Space {
    std::map<std::uint64_t, Entry> pages;
    std::set<std::uint32_t> devices;
    std::uint64_t unflushed = 0;
  };

  FakeSpaces() {
    limits.iova_ranges = {IovaRange::from_last(Iova(0), Iova(0xfedfffff)).value(),
                          IovaRange::from_last(Iova(0xfef00000), Iova(0x7fffffffff)).value()};
    limits.page_sizes = 0x40201000;
  }

  Capabilities limits;
  std::uint64_t scatter = 0;       ///< pages a run of frames; 0: always in one piece
  std::uint64_t pages_a_call = 0;  ///< does no more than this without an error; 0: all
  bool stuck = false;              ///< map and unmap get nowhere, without an error
  int fail_at = 0;                 ///< the n-th call fails; 0: none
  int fail_from = 0;               ///< and all from the n-th on
  int lose_at = 0;                 ///< the n-th call fails and the state is lost (Error::state_lost)
  std::uint64_t fail_after = 0;    ///< a failing map or unmap does so many pages first
  std::function<bool(const char*)> fail_if;

  int calls = 0;
  int maps = 0, unmaps = 0, flushes = 0;
  std::vector<std::size_t> runs_per_call;
  std::map<std::uint32_t, Space> spaces;
  std::map<const PinnedMemory*, std::vector<FrameRun>> known;
  std::set<std::uint64_t> within_reach;  ///< machine frames of calls that lost the state
  std::vector<const char*> violations;

  std::size_t live_pages() const {
    std::size_t pages = 0;
    for (const auto& [id, space] : spaces) pages += space.pages.size();
    return pages;
  }

  Result<SpaceId> create_space(const SpaceConfig&) override {
    if (fails("create_space")) return failure();
    spaces[++last_space_];
    return SpaceId(last_space_);
  }
  Status destroy_space(SpaceId space) override {
    if (fails("destroy_space")) return failure();
    if (!spaces.at(space.raw()).devices.empty()) return Error{EBUSY, "fake"};
    spaces.erase(space.raw());
    return {};
  }
  Status attach(SpaceId space, Sbdf sbdf) override {
    if (fails("attach")) return failure();
    if (!spaces.at(space.raw()).devices.insert(sbdf.raw()).second) return Error{EBUSY, "fake"};
    return {};
  }
  Status detach(SpaceId space, Sbdf sbdf) override {
    if (fails("detach")) return failure();
    if (spaces.at(space.raw()).devices.erase(sbdf.raw()) == 0) return Error{EINVAL, "fake"};
    return {};
  }

  BatchResult map(SpaceId id, std::span<const MapRun> runs) override {
    ++maps;
    check_limits(runs);
    auto& space = spaces.at(id.raw());
    return batch(fails("map"), runs, [&](const MapRun& run, std::uint64_t i) -> Status {
      if (!space.pages.emplace(run.dfn.raw() + i, Entry{run.mfn + i, run.access}).second)
        return Error{EEXIST, "fake"};
      return {};
    });
  }
  BatchResult unmap(SpaceId id, std::span<const UnmapRun> runs) override {
    ++unmaps;
    check_limits(runs);
    auto& space = spaces.at(id.raw());
    return batch(fails("unmap"), runs, [&](const UnmapRun& run, std::uint64_t i) -> Status {
      const auto it = space.pages.find(run.dfn.raw() + i);
      if (it == space.pages.end()) return Error{ENOENT, "fake"};
      if (it->second.mfn != run.mfn + i) violations.push_back("unmap with a wrong frame");
      space.pages.erase(it);
      ++space.unflushed;
      return {};
    });
  }
  Status flush(SpaceId space) override {
    ++flushes;
    if (fails("flush")) return failure();
    spaces.at(space.raw()).unflushed = 0;
    return {};
  }

  Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) override {
    if (fails("frames_of")) return failure();
    const auto [mine, first] = known.try_emplace(&memory);
    if (!first) violations.push_back("frames asked for twice");
    for (std::uint64_t at = 0; at < memory.pages();) {
      const std::uint64_t n = scatter != 0 ? std::min(scatter, memory.pages() - at) : memory.pages();
      out.push_back({Mfn(next_mfn_), n});
      mine->second.push_back(out.back());
      next_mfn_ += n + (scatter != 0 ? 1 : 0);
      at += n;
    }
    return {};
  }
  void forget_frames(PinnedMemory& memory) noexcept override {
    const auto mine = known.find(&memory);
    if (mine == known.end()) return violations.push_back("forgot unknown frames");
    for (const FrameRun& run : mine->second) {
      const auto found = within_reach.lower_bound(run.mfn.raw());
      if (found != within_reach.end() && *found < run.mfn.raw() + run.pages)
        violations.push_back("pages given back that devices may reach");
    }
    known.erase(mine);
    for (auto& [id, space] : spaces)
      if (limits.deferred_flush && space.unflushed != 0) violations.push_back("pages given back before flush");
  }
  Status frames_of_mmio(Sbdf, unsigned, std::uint64_t offset, std::uint64_t bytes,
                        std::vector<FrameRun>& out) override {
    if (fails("frames_of_mmio")) return failure();
    if (!limits.peer_to_peer) return Error{EOPNOTSUPP, "fake"};
    out.push_back({Mfn(0xfe000 + (offset >> kPageShift)), bytes >> kPageShift});
    return {};
  }

 private:
  Error failure() const { return Error{EREMOTEIO, "fake failure", -77, calls == lose_at}; }
  bool fails(const char* what) {
    ++calls;
    return calls == fail_at || calls == lose_at || (fail_from != 0 && calls >= fail_from) || (fail_if && fail_if(what));
  }
  template <class Run>
  void check_limits(std::span<const Run> runs) {
    runs_per_call.push_back(runs.size());
    if (runs.empty()) violations.push_back("empty call");
    if (limits.max_runs_per_call != 0 && runs.size() > limits.max_runs_per_call)
      violations.push_back("too many runs in a call");
    std::uint64_t entries = 0;
    for (const Run& run : runs) {
      if (run.pages == 0) violations.push_back("empty run");
      for (std::uint64_t at = 0; at < run.pages; ++entries) {
        const std::uint64_t alignment = (run.dfn.raw() + at) | (run.mfn.raw() + at);
        std::uint64_t step = 1;
        for (const std::uint64_t big : {std::uint64_t{512}, std::uint64_t{512 * 512}})
          if ((limits.page_sizes & big << kPageShift) != 0 && run.pages - at >= big && alignment % big == 0)
            step = big;
        at += step;
      }
    }
    if (limits.max_entries_per_call != 0 && entries > limits.max_entries_per_call)
      violations.push_back("too many entries in a call");
  }
  template <class Run, class PageWork>
  BatchResult batch(bool fail, std::span<const Run> runs, PageWork work) {
    if (stuck) return {};
    BatchResult result;
    if (calls == lose_at)
      for (const Run& run : runs)
        for (std::uint64_t i = 0; i < run.pages; ++i) within_reach.insert(run.mfn.raw() + i);
    for (const Run& run : runs)
      for (std::uint64_t i = 0; i < run.pages; ++i) {
        if (fail && result.pages_done == fail_after) {
          result.status = failure();
          return result;
        }
        if (pages_a_call != 0 && result.pages_done == pages_a_call) return result;
        result.status = work(run, i);
        if (!result.status) return result;
        ++result.pages_done;
      }
    if (fail) result.status = failure();
    return result;
  }

  std::uint32_t last_space_ = 0;
  std::uint64_t next_mfn_ = 0x1000;
};

/// Pins that are only counted.
class FakeFrames : public FrameSource {
 public:
  class Pin : public PinnedMemory {
   public:
    Pin(FakeFrames& source, HvaRange range) : PinnedMemory(range), source_(source) { ++source_.live; }
    ~Pin() override { --source_.live; }
    bool holds_pages() const override { return true; }
    int holder_fd() const override { return -1; }
    Status from_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EIO, "fake"}; }
    Status to_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EIO, "fake"}; }

   private:
    FakeFrames& source_;
  };

  std::string_view name() const override { return "fake"; }
  bool holds_pages() const override { return true; }
  Result<std::unique_ptr<PinnedMemory>> pin(HvaRange range, Access access) override {
    ++calls;
    last_access = access;
    if (calls == fail_at) return Error{EFAULT, "fake"};
    if (range.size() > PinnedMemory::kMaxBytes) return Error{EINVAL, "fake"};
    return std::unique_ptr<PinnedMemory>(new Pin(*this, range));
  }
  Status count(std::uint64_t pages) override { return locked_.add(pages); }
  void uncount(std::uint64_t pages) noexcept override { locked_.remove(pages); }

  int calls = 0;
  int fail_at = 0;
  int live = 0;
  Access last_access = Access::none;

 private:
  LockedMemory locked_;
};

}  // namespace pviommu::test
