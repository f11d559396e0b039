// SPDX-License-Identifier: LGPL-2.1-or-later
// What is mapped in a space, by its runs.
//
// A TCE table overwrites and forgets without a word; what was mapped where is kept
// here, to refuse what the interface refuses and to fill a window that joins a space
// later.  Runs that go on where one ends are one: a removal may begin in what one
// call mapped and end in what the next one did.
#pragma once

#include <cstdint>
#include <map>

#include "hypercall/spaces.h"

namespace pviommu::papr {

/// Not thread-safe: a space's calls are serialised.
class RunShadow {
 public:
  bool empty() const { return runs_.empty(); }

  /// EEXIST: a page of the run is taken.
  Status insert(const MapRun& run) {
    const auto next = runs_.lower_bound(run.dfn);
    if (next != runs_.end() && next->first - run.dfn < run.pages)
      return Error{EEXIST, "map: there is a mapping"};
    const auto before = next == runs_.begin() ? runs_.end() : std::prev(next);
    if (before != runs_.end() && run.dfn - before->first < before->second.pages)
      return Error{EEXIST, "map: there is a mapping"};
    const bool after = before != runs_.end() && goes_on(before->second, run);
    const bool ahead = next != runs_.end() && goes_on(run, next->second);
    if (after) {
      before->second.pages += run.pages + (ahead ? next->second.pages : 0);
      if (ahead) runs_.erase(next);
      return {};
    }
    MapRun whole = run;
    if (ahead) whole.pages += next->second.pages;
    const auto made = runs_.emplace_hint(next, run.dfn, whole);
    if (ahead) runs_.erase(std::next(made));
    return {};
  }

  /// The rights of the run's pages; ENOENT when they are not mapped so.
  Result<Access> find(const UnmapRun& run) const {
    const MapRun* found = containing(run);
    if (found == nullptr) return Error{ENOENT, "unmap: no such mapping"};
    return Access(found->access);
  }

  /// A run that find() finds; what is left of the one it lay in stays.
  void erase(const UnmapRun& run) {
    const MapRun whole = *containing(run);
    const std::uint64_t ahead = run.dfn - whole.dfn;
    const std::uint64_t behind = whole.pages - ahead - run.pages;
    // The tail first: an allocation that fails changes nothing.
    if (behind != 0) {
      const std::uint64_t skip = ahead + run.pages;
      runs_.emplace(whole.dfn + skip, MapRun{whole.dfn + skip, whole.mfn + skip, behind, whole.access});
    }
    if (ahead != 0)
      runs_.at(whole.dfn).pages = ahead;
    else
      runs_.erase(whole.dfn);
  }

  auto begin() const { return runs_.begin(); }
  auto end() const { return runs_.end(); }

 private:
  using Runs = std::map<Dfn, MapRun>;

  static bool goes_on(const MapRun& a, const MapRun& b) {
    return a.dfn + a.pages == b.dfn && a.mfn + a.pages == b.mfn && a.access == b.access;
  }

  /// The mapping that `run` is, or is a piece of; null: there is none.
  const MapRun* containing(const UnmapRun& run) const {
    auto at = runs_.upper_bound(run.dfn);
    if (at == runs_.begin()) return nullptr;
    const MapRun& whole = std::prev(at)->second;
    const std::uint64_t ahead = run.dfn - whole.dfn;
    const bool inside =
        ahead < whole.pages && run.pages <= whole.pages - ahead && whole.mfn + ahead == run.mfn;
    return inside ? &whole : nullptr;
  }

  Runs runs_;
};

}  // namespace pviommu::papr
