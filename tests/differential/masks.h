// SPDX-License-Identifier: LGPL-2.1-or-later
// What of an answer is of the nature of the platform and not compared.
#pragma once

#include <cstddef>
#include <string>

#include "tests/differential/operation.h"

namespace differential {

enum class Judgement { different, forgiven, forgiven_to_the_end };

/// Of different answers to `sequence[index]`.
Judgement judge(const Sequence& sequence, std::size_t index, const std::string& first,
                const std::string& second);
/// The table, for people.
std::string masks_text();

}  // namespace differential
