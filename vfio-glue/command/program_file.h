// SPDX-License-Identifier: LGPL-2.1-or-later
// The file of a program that is to be run: can a preloaded library get into it?
#pragma once

#include <string>

namespace pviommu::command {

/// The first file that execvp(3) of `program` would find with the rights `mode` of access(2): `program`
/// itself when it has a slash, unasked, else by PATH; "": none.
std::string in_path(const std::string& program, int mode);

/// Why the preload front end will not be in `program`, as a line for people that says what to
/// do instead; "": it will, or nothing can be told.  `program` as for execvp(3).
std::string why_not_reached(const std::string& program);

}  // namespace pviommu::command
