// SPDX-License-Identifier: LGPL-2.1-or-later
// What every subcommand says in the same way.
#include <cstdio>

#include "vfio-glue/command/command.h"

namespace pviommu::command {

void complain(const std::string& message) { std::fprintf(stderr, "pviommu: %s\n", message.c_str()); }

std::string hex(unsigned value, int digits) {
  char text[16];
  std::snprintf(text, sizeof text, "%0*x", digits, value);
  return text;
}

}  // namespace pviommu::command
