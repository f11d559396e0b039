// SPDX-License-Identifier: LGPL-2.1-or-later
// The machine part of the model's configuration: "limits=xen,frames=scattered".
// It comes before the devices, from which a ';' separates it (model.h, Model::open()).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hypercall/conf.h"
#include "hypercall/capabilities.h"
#include "hypercall/result.h"
#include "hypercall/statistics.h"

namespace pviommu::model {

//   limits=none|xen|papr   mimic another hypervisor's limits
//     xen    64 entries a call, overwriting kills the space, vectors before attach
//     papr   windows [0, 1 GiB) and [2^59, + window), 4 KiB pages, 512 pages a call
//   window=SIZE            papr: size of the dynamic window (64G)
//   direct=on|off          xen: direct mapping, which cannot enforce access rights (off)
//   max-pages=N            most entries a call; what is above is left for the next call
//   max-runs=N             most runs a call; above: E2BIG
//   max-spaces=N           most address spaces
//   iova=FIRST-LAST        what can be mapped (0-0xffffffffffff)
//   rmrr=FIRST-LAST        a range that firmware keeps for itself
//   deferred-flush=on|off  unmapped entries stay reachable until flush (off)
//   p2p=on|off             BARs can be mapped for other devices (on)
//   frames=contiguous|scattered
//   grant=N                most vectors granted a device
//   fail=N or OP:N         the N-th hypercall (of that kind) fails; several: N/OP:N/...
//   fail-errno=NAME        ... with this error (ENOMEM)
//   fail-after-pages=N     ... after N pages of a map or unmap
struct MachineOptions {
  Capabilities capabilities;
  bool strict_batches = false;  ///< more than max_entries_per_call is E2BIG, not a part
  bool overwrite_is_fatal = false;  ///< mapping over a live entry leaves the space dead
  bool scattered = false;
  unsigned most_spaces = 0;   ///< 0: no limit
  unsigned most_vectors = 0;  ///< 0: no limit
  unsigned address_bits = 48;
  struct Failure {
    std::optional<HypercallOp> op;
    std::uint64_t nth = 0;
  };
  std::vector<Failure> failures;
  int failure_code = 0;
  std::uint64_t failure_after_pages = 0;
};

/// Reads all keys and calls finish().  EINVAL, with a sentence that names the value.
Result<MachineOptions> read_machine_options(ConfReader& conf);

}  // namespace pviommu::model
