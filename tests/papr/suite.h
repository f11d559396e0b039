// SPDX-License-Identifier: LGPL-2.1-or-later
// The PAPR conformance suite: one source, run on the model under GoogleTest and in
// a freestanding guest against QEMU's hcalls.
#pragma once

#include "tests/papr/platform.h"

namespace papr_suite {

void answers(Platform& platform);          ///< every TCE call and what it answers
void refusals(Platform& platform);         ///< what the core refuses by itself
void windows(Platform& platform);          ///< mappings, seen by a device
void failures(Platform& platform);         ///< the n-th call fails
void dynamic_windows(Platform& platform);  ///< windows made by RTAS
void isolation(Platform& platform);        ///< host bridges do not share entries
void msi(Platform& platform);              ///< vectors by RTAS
void delivery(Platform& platform);         ///< their way to the processor, XICS or XIVE

struct Section {
  const char* name;
  void (*run)(Platform&);
};
inline constexpr Section kSections[] = {
    {"answers", answers},         {"refusals", refusals},   {"windows", windows}, {"failures", failures},
    {"dynamic", dynamic_windows}, {"isolation", isolation}, {"msi", msi},         {"delivery", delivery},
};

}  // namespace papr_suite
