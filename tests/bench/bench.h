// SPDX-License-Identifier: LGPL-2.1-or-later
// Shared by the benchmarks: figures that end up in the table.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace pviommu::bench {

/// A random walk through a set of live addresses that ends where it began, so
/// that it can be repeated without end:  erase from[i], insert to[i].
struct Walk {
  std::vector<std::uint64_t> live;  ///< at the start
  std::vector<std::uint64_t> from, to;
};
/// `stride` bytes between possible places; half of them are live.
Walk make_walk(std::size_t live, std::uint64_t stride, bool elsewhere);

/// name -> figure, filled by the reporter from every benchmark's time and by
/// measurements that are no benchmarks.
std::map<std::string, double>& figures();

/// Hypercalls for 1 GiB; negative: the model cannot be opened.
void measure_hypercalls_per_gib();

}  // namespace pviommu::bench
