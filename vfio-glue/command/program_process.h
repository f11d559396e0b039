// SPDX-License-Identifier: LGPL-2.1-or-later
// The program of a run: in our place, or as a child that gets each signal once.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace pviommu::command {

/// This process becomes the program.  Returns only when it cannot: the exit status, after a
/// complaint.
int become(const std::vector<std::string>& program);

/// Runs it as a child, and returns when it has ended: its wait status; -1: there is no child,
/// errno says why.  A signal reaches the program exactly once, whether it is sent to this process, to
/// the program or to the group of both; where the program stops, so do we.  All signals are
/// blocked afterwards.
int run_as_child(const std::vector<std::string>& program);

}  // namespace pviommu::command
