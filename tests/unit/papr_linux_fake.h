// SPDX-License-Identifier: LGPL-2.1-or-later
// A kernel module in this process: strict, and willing to fail at a given call.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "hypercall/papr/module/calls.h"

namespace pviommu::papr {

class FakeModule final : public ModuleCalls {
 public:
  struct Window {
    WindowGeometry geometry;
    std::map<std::uint64_t, std::uint64_t> entries;  ///< by bus address
    unsigned claimed = 0;
  };

  FakeModule() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) {}

  void add_function(Sbdf sbdf, std::uint32_t liobn, std::uint64_t first = 0, std::uint64_t bytes = 1u << 30) {
    const std::lock_guard guard(lock);
    functions[sbdf] = liobn;
    windows[liobn].geometry = {Liobn(liobn), Ioba(first), bytes >> kPageShift, kTcePageShift,
                               RealAddress(~std::uint64_t{0})};
  }
  /// The call `n` from now on (1: the next one) fails with `code`, and once only.
  void fail_at(unsigned n, int code = EIO) {
    const std::lock_guard guard(lock);
    left_ = n;
    times_ = 1;
    code_ = code;
  }
  /// And so do those after it, `times` in all: the undo of what failed.
  void fail_from(unsigned n, unsigned times = ~0u) {
    fail_at(n);
    times_ = times;
  }
  bool reads_fail = false;  ///< get_tce(), by its own switch
  void arrive(Sbdf sbdf, std::uint32_t vector, std::uint64_t count) {
    {
      const std::lock_guard guard(lock);
      arrivals.push_back({sbdf.raw(), vector, count});
    }
    const std::uint64_t one = 1;
    (void)!::write(event_.get(), &one, sizeof one);
  }
  /// Entries of all windows.
  std::size_t mapped() {
    const std::lock_guard guard(lock);
    std::size_t all = 0;
    for (const auto& [liobn, window] : windows) all += window.entries.size();
    return all;
  }

  Result<WindowGeometry> claim(Sbdf sbdf) override {
    const std::lock_guard guard(lock);
    ++calls;
    if (fails()) return Error{code_, "claim"};
    if (!functions.contains(sbdf)) return Error{ENODEV, "claim"};
    if (!claimed.insert(sbdf).second) return Error{EBUSY, "claim"};
    Window& window = windows[functions[sbdf]];
    ++window.claimed;
    return window.geometry;
  }
  Status release(Sbdf sbdf) override {
    const std::lock_guard guard(lock);
    ++calls;
    if (claimed.erase(sbdf) == 0) return Error{ENODEV, "release"};
    Window& window = windows[functions[sbdf]];
    if (--window.claimed == 0) window.entries.clear();
    vector_counts.erase(sbdf);
    return {};
  }
  Result<std::uint32_t> pin(const HvaRange& range, bool writable, std::span<std::uint64_t> frames) override {
    const std::lock_guard guard(lock);
    ++calls;
    if (fails()) return Error{code_, "pin"};
    if (writable && range.first().raw() >= kReadOnlyFrom) return Error{EFAULT, "pin"};
    // Every second pair of pages follows the one before it.
    for (std::size_t i = 0; i < frames.size(); ++i) {
      if (i % 2 == 0) next_frame_ += 16 * kPageSize;
      frames[i] = next_frame_ + (i % 2) * kPageSize;
      pinned[frames[i]] = {next_pin_, writable};
    }
    pins[next_pin_].assign(frames.begin(), frames.end());
    return next_pin_++;
  }
  Status unpin(std::uint32_t pin) override {
    const std::lock_guard guard(lock);
    ++calls;
    if (!pins.contains(pin)) return Error{ENOENT, "unpin"};
    for (const auto& [liobn, window] : windows)
      for (const auto& [ioba, tce] : window.entries)
        if (pinned[tce & ~(kPageSize - 1)].first == pin) return Error{EBUSY, "unpin"};
    for (const std::uint64_t frame : pins[pin]) pinned.erase(frame);
    pins.erase(pin);
    return {};
  }
  Status map(Liobn liobn, Ioba ioba, std::span<const std::uint64_t> tces) override {
    const std::lock_guard guard(lock);
    ++calls;
    ++maps;
    if (fails()) return Error{code_, "map", code_ == EIO ? kResource : 0};
    Window* window = find(liobn);
    if (window == nullptr) return Error{ENODEV, "map"};
    if (tces.empty() || tces.size() > kTcesPerCall) return Error{EINVAL, "map"};
    for (std::size_t i = 0; i < tces.size(); ++i) {
      const auto found = pinned.find(tces[i] & ~(kPageSize - 1));
      if (found == pinned.end()) return Error{EPERM, "map"};
      if ((tces[i] & kTceWrite) != 0 && !found->second.second) return Error{EACCES, "map"};
      if (window->entries.contains(ioba.raw() + i * kPageSize)) return Error{EEXIST, "map"};
    }
    for (std::size_t i = 0; i < tces.size(); ++i) window->entries[ioba.raw() + i * kPageSize] = tces[i];
    return {};
  }
  Status unmap(Liobn liobn, Ioba ioba, std::uint64_t count) override {
    const std::lock_guard guard(lock);
    ++calls;
    ++unmaps;
    if (fails()) return Error{code_, "unmap", code_ == EIO ? kHardware : 0};
    Window* window = find(liobn);
    if (window == nullptr) return Error{ENODEV, "unmap"};
    for (std::uint64_t i = 0; i < count; ++i) window->entries.erase(ioba.raw() + i * kPageSize);
    return {};
  }
  Result<std::uint64_t> get_tce(Liobn liobn, Ioba ioba) override {
    const std::lock_guard guard(lock);
    ++calls;
    Window* window = find(liobn);
    if (window == nullptr) return Error{ENODEV, "get"};
    if (reads_fail) return Error{EIO, "get", kHardware};
    const auto found = window->entries.find(ioba.raw());
    return found == window->entries.end() ? 0 : found->second;
  }
  Result<unsigned> vectors(Sbdf sbdf, VectorKind, unsigned count) override {
    const std::lock_guard guard(lock);
    ++calls;
    if (fails()) return Error{code_, "vectors"};
    if (!claimed.contains(sbdf)) return Error{ENODEV, "vectors"};
    if (count == 0) {
      vector_counts.erase(sbdf);
      return 0u;
    }
    if (vector_counts.contains(sbdf)) return Error{EBUSY, "vectors"};
    vector_counts[sbdf] = std::min(count, 3u);
    return vector_counts[sbdf];
  }
  Result<std::size_t> read(std::span<pviommu_papr_arrival> out) override {
    const std::lock_guard guard(lock);
    std::size_t n = 0;
    for (; n < out.size() && !arrivals.empty(); ++n) {
      out[n] = arrivals.front();
      arrivals.pop_front();
      std::uint64_t one;
      (void)!::read(event_.get(), &one, sizeof one);
    }
    return n;
  }
  int fd() const override { return event_.get(); }

  /// Memory from here on can be read only.
  static constexpr std::uint64_t kReadOnlyFrom = std::uint64_t{1} << 40;

  std::mutex lock;
  std::map<Sbdf, std::uint32_t> functions;
  std::map<std::uint32_t, Window> windows;
  std::map<std::uint64_t, std::pair<std::uint32_t, bool>> pinned;
  std::map<std::uint32_t, std::vector<std::uint64_t>> pins;
  std::map<Sbdf, unsigned> vector_counts;
  std::set<Sbdf> claimed;
  std::deque<pviommu_papr_arrival> arrivals;
  unsigned calls = 0, maps = 0, unmaps = 0;

 private:
  bool fails() {
    if (left_ == 0 || --left_ != 0) return false;
    if (--times_ != 0) left_ = 1;
    return true;
  }
  Window* find(Liobn liobn) {
    const auto found = windows.find(liobn.raw());
    return found == windows.end() || found->second.claimed == 0 ? nullptr : &found->second;
  }

  UniqueFd event_;
  unsigned left_ = 0, times_ = 0;
  int code_ = 0;
  std::uint32_t next_pin_ = 1;
  std::uint64_t next_frame_ = 0x10000000;
};

}  // namespace pviommu::papr
