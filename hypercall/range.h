// SPDX-License-Identifier: LGPL-2.1-or-later
// Ranges with an inclusive last.
//
//        first                         last
//          |<---------- size() --------->|
//
// An exclusive end cannot name the top of a 64-bit space, and an end computed
// from an unchecked size can wrap.  A Range is made only by its factory, which
// decides overflow once; whoever holds a Range can do arithmetic on it.
#pragma once

#include <vector>

#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

template <class T>
class Range {
 public:
  using rep = typename T::rep;

  /// [first, first + size - 1].  EINVAL for size 0, EOVERFLOW when it wraps.
  static Result<Range> from_size(T first, rep size) {
    if (size == 0) return Error{EINVAL, "range of size 0"};
    // Converted back: a narrow rep is added as int, which does not wrap.
    const rep last = static_cast<rep>(first.raw() + (size - 1));
    if (last < first.raw()) return Error{EOVERFLOW, "range wraps"};
    return Range(first, T(last));
  }
  /// [first, last].  EINVAL when last < first.
  static Result<Range> from_last(T first, T last) {
    if (last < first) return Error{EINVAL, "range ends before it starts"};
    return Range(first, last);
  }

  constexpr T first() const { return first_; }
  constexpr T last() const { return last_; }
  /// 0 stands for the whole space, whose size does not fit.
  constexpr rep size() const { return static_cast<rep>(last_.raw() - first_.raw() + 1); }
  constexpr bool contains(T v) const { return first_ <= v && v <= last_; }
  constexpr bool contains(const Range& r) const { return first_ <= r.first_ && r.last_ <= last_; }
  constexpr bool overlaps(const Range& r) const { return first_ <= r.last_ && r.first_ <= last_; }
  friend constexpr bool operator==(const Range&, const Range&) = default;

 private:
  constexpr Range(T first, T last) : first_(first), last_(last) {}
  T first_;
  T last_;
};

using IovaRange = Range<Iova>;
using HvaRange = Range<Hva>;

/// What is left of `ranges` (ascending) without `hole`.
inline std::vector<IovaRange> without(const std::vector<IovaRange>& ranges, const IovaRange& hole) {
  std::vector<IovaRange> left;
  for (const IovaRange& range : ranges) {
    if (!range.overlaps(hole)) {
      left.push_back(range);
      continue;
    }
    if (range.first() < hole.first())
      left.push_back(IovaRange::from_last(range.first(), hole.first() - 1).value());
    if (hole.last() < range.last())
      left.push_back(IovaRange::from_last(hole.last() + 1, range.last()).value());
  }
  return left;
}

}  // namespace pviommu
