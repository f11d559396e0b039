// SPDX-License-Identifier: LGPL-2.1-or-later
// Runs a sequence on both sides, and makes one that differs small.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "tests/differential/operation.h"
#include "tests/differential/side.h"

namespace differential {

struct Difference {
  std::size_t index = 0;      ///< of the operation
  std::string name;           ///< what differs: the operation, and of bytes which
  std::string first, second;  ///< the answers
  /// The same for what is likely the same cause.
  std::string kind() const;
};

class Comparison {
 public:
  Comparison(Side& first, Side& second) : first_(first), second_(second) {}
  /// The first operation that is answered differently.  Later ones mean nothing.
  std::optional<Difference> run(const Sequence& sequence);
  /// The smallest that was found in some hundred tries and has a difference of the same operation.
  Sequence shrink(Sequence sequence, Difference& difference);
  /// Both answers of each operation.
  std::string transcript(const Sequence& sequence);

 private:
  Side& first_;
  Side& second_;
};

}  // namespace differential
