// SPDX-License-Identifier: LGPL-2.1-or-later
// The entries of windows.
//
//   map     runs that follow each other become one list --> TceWindow of each window
//           --> run_shadow; an error takes back what this call did, window by window
//   attach  the function's window is filled from the shadow, then the function is in
//
// The owner of a space serialises the calls on it.
#include <algorithm>
#include <array>
#include <new>

#include "hypercall/papr/module/module_hypervisor.h"

namespace pviommu::papr {
namespace {

Ioba ioba_of(Dfn dfn) { return Ioba(dfn.raw() << kPageShift); }
UnmapRun removal_of(const MapRun& run) { return {run.dfn, run.mfn, run.pages}; }

/// What a refusal of the window is to a program.
Error error_of(const WindowResult& result, const ModulePort& port, const char* operation) {
  switch (result.refusal) {
    case Refusal::hypervisor:
      if (result.rc != kHardware || port.refusal().code == 0) return {EIO, operation, result.rc};
      // Pinned for reading, because the program cannot write to it either.
      if (port.refusal().code == EACCES) return {EFAULT, operation};
      return port.refusal();
    case Refusal::busy:
      return {EBUSY, operation, result.rc};
    default:
      return {EINVAL, operation};
  }
}

template <class Run>
std::uint64_t pages_of(std::span<const Run> runs) {
  std::uint64_t pages = 0;
  for (const Run& run : runs) pages += run.pages;
  return pages;
}

/// How many of the runs from `at` on follow each other in the window: one list.
template <class Run>
std::size_t group_at(std::span<const Run> runs, std::size_t at) {
  std::size_t end = at + 1;
  while (end < runs.size() && runs[end].dfn == runs[end - 1].dfn + runs[end - 1].pages) ++end;
  return end - at;
}

/// Null: a call with these runs can be made.
template <class Run>
Status check(std::span<const Run> runs, const char* operation) {
  std::uint64_t pages = 0;
  for (const Run& run : runs) {
    if (run.pages == 0) return Error{EINVAL, operation};
    if (run.pages > kTcesPerCall - pages) return Error{E2BIG, operation};
    pages += run.pages;
  }
  return {};
}

}  // namespace

// ---- attach, detach ------------------------------------------------------------

Status ModuleHypervisor::fill(Window& window, const RunShadow& runs) {
  std::array<Tce, kTcesPerCall> tces;
  for (const auto& [dfn, run] : runs) {
    for (std::uint64_t at = 0; at < run.pages; at += kTcesPerCall) {
      const std::uint64_t count = std::min<std::uint64_t>(run.pages - at, kTcesPerCall);
      for (std::uint64_t i = 0; i < count; ++i)
        tces[i] = make_tce(RealAddress((run.mfn + at + i).raw() << kPageShift), run.access);
      const WindowResult done = window.tces.map(ioba_of(dfn + at), tces.data(), count);
      if (done) continue;
      const Error error = error_of(done, window.port, "attach: H_PUT_TCE");
      if (!empty(window, runs)) return Error{EIO, "attach: state lost", error.raw, true};
      return error;
    }
  }
  return {};
}

Status ModuleHypervisor::empty(Window& window, const RunShadow& runs) {
  for (const auto& [dfn, run] : runs) {
    const WindowResult done = window.tces.unmap(ioba_of(dfn), run.pages);
    if (!done) return error_of(done, window.port, "detach: H_STUFF_TCE");
  }
  return {};
}

// ---- map, unmap ----------------------------------------------------------------

/// One list, in each window or in none.
Status ModuleHypervisor::map_group(Space& space, std::span<const MapRun> group) {
  std::array<Tce, kTcesPerCall> tces;
  std::size_t count = 0;
  for (const MapRun& run : group)
    for (std::uint64_t i = 0; i < run.pages; ++i)
      tces[count++] = make_tce(RealAddress((run.mfn + i).raw() << kPageShift), run.access);
  const Ioba ioba = ioba_of(group.front().dfn);
  for (std::size_t w = 0; w < space.windows.size(); ++w) {
    const WindowResult done = space.windows[w]->tces.map(ioba, tces.data(), count);
    if (done) continue;
    bool certain = !done.uncertain;
    const Error error = error_of(done, space.windows[w]->port, "map: H_PUT_TCE");
    while (w-- > 0)
      if (!space.windows[w]->tces.unmap(ioba, count)) certain = false;
    return certain ? error : Error{EIO, "map: state lost", error.raw, true};
  }
  return {};
}

/// One list, out of each window or of none; after an error the shadow says what is
/// mapped, or the state is lost.
Status ModuleHypervisor::unmap_group(Space& space, std::span<const UnmapRun> group) {
  const std::uint64_t count = pages_of(group);
  for (std::size_t w = 0; w < space.windows.size(); ++w) {
    const WindowResult done = space.windows[w]->tces.unmap(ioba_of(group.front().dfn), count);
    if (done) continue;
    const Error error = error_of(done, space.windows[w]->port, "unmap: H_STUFF_TCE");
    bool restored = put_back(space, *space.windows[w], group, done.done);
    while (w-- > 0) restored = put_back(space, *space.windows[w], group, count) && restored;
    return restored ? error : Error{EIO, "unmap: state lost", error.raw, true};
  }
  return {};
}

/// The first `pages` of a list that was in the window before.
bool ModuleHypervisor::put_back(const Space& space, Window& window, std::span<const UnmapRun> group,
                                std::uint64_t pages) {
  if (pages == 0) return true;
  std::array<Tce, kTcesPerCall> tces;
  std::size_t count = 0;
  for (const UnmapRun& run : group) {
    const Access access = space.runs.find(run).value();
    for (std::uint64_t i = 0; i < run.pages && count < pages; ++i)
      tces[count++] = make_tce(RealAddress((run.mfn + i).raw() << kPageShift), access);
  }
  return static_cast<bool>(window.tces.map(ioba_of(group.front().dfn), tces.data(), count));
}

/// Out of every window, whatever is left of it: what a map takes back.
bool ModuleHypervisor::clear_group(Space& space, std::span<const MapRun> group) {
  bool clear = true;
  for (Window* window : space.windows)
    clear = window->tces.unmap(ioba_of(group.front().dfn), pages_of(group)) && clear;
  return clear;
}

BatchResult ModuleHypervisor::do_map(Space& space, std::span<const MapRun> runs) {
  std::size_t inserted = 0;
  Status status = check(runs, "map: more than a call takes");
  for (const MapRun& run : runs)
    if (run.access == Access::none) status = Error{EINVAL, "map: no access"};
  for (; status && inserted < runs.size(); ++inserted) {
    status = space.runs.insert(runs[inserted]);
    if (!status) break;
  }
  std::size_t at = 0;
  while (status && at < runs.size()) {
    const std::size_t length = group_at(runs, at);
    status = map_group(space, runs.subspan(at, length));
    if (status) at += length;
  }
  if (status) return {pages_of(runs), {}};
  for (std::size_t back = 0; back < at;) {
    const std::size_t length = group_at(runs, back);
    if (!clear_group(space, runs.subspan(back, length)))
      status = Error{EIO, "map: state lost", status.error().raw, true};
    back += length;
  }
  while (inserted > 0) space.runs.erase(removal_of(runs[--inserted]));
  return {0, status};
}

BatchResult ModuleHypervisor::do_unmap(Space& space, std::span<const UnmapRun> runs) {
  BatchResult result;
  result.status = check(runs, "unmap: more than a call takes");
  for (std::size_t at = 0; result.status && at < runs.size();) {
    // As many as are mapped so, of those that are one range.
    const std::size_t length = group_at(runs, at);
    std::size_t known = 0;
    while (known < length) {
      const auto found = space.runs.find(runs[at + known]);
      if (!found) {
        result.status = found.error();
        break;
      }
      ++known;
    }
    if (known == 0) break;
    const auto group = runs.subspan(at, known);
    if (const Status done = unmap_group(space, group); !done) {
      result.status = done;
      break;
    }
    for (const UnmapRun& run : group) {
      space.runs.erase(run);
      result.pages_done += run.pages;
    }
    at += known;
  }
  return result;
}

BatchResult ModuleHypervisor::map(SpaceId id, std::span<const MapRun> runs) {
  Space* space = find(id);
  if (space == nullptr) return {0, Error{ENOENT, "map: no such space"}};
  try {
    return do_map(*space, runs);
  } catch (const std::bad_alloc&) {
    return {0, Error{EIO, "map: state lost", 0, true}};  // what is in the shadow is not known
  }
}

BatchResult ModuleHypervisor::unmap(SpaceId id, std::span<const UnmapRun> runs) {
  Space* space = find(id);
  if (space == nullptr) return {0, Error{ENOENT, "unmap: no such space"}};
  try {
    return do_unmap(*space, runs);
  } catch (const std::bad_alloc&) {
    // The windows are without it, the shadow is not: it would be refused from now on.
    return {0, Error{EIO, "unmap: state lost", 0, true}};
  }
}

/// H_STUFF_TCE returns when the entries' translations are gone.
Status ModuleHypervisor::flush(SpaceId space) {
  if (find(space) == nullptr) return Error{ENOENT, "flush: no such space"};
  return {};
}

}  // namespace pviommu::papr
