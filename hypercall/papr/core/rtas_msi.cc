// SPDX-License-Identifier: LGPL-2.1-or-later
// grant() asks until the answer is what was asked for, and gives all back when a later step
// fails; a busy answer brings the sequence number that the next call has to carry.
#include "hypercall/papr/core/rtas_msi.h"

namespace pviommu::papr {
namespace {

constexpr std::uint32_t kFirstSequence = 1;
constexpr std::uint32_t kVectorsMost = 2048;  // an MSI-X table has no more
constexpr unsigned kOffers = 8;               // how often an offer may become smaller

}  // namespace

RtasResult RtasMsi::change(MsiFunction kind, std::uint32_t count, std::uint32_t& granted) {
  std::uint32_t in[] = {function_.config,
                        high_cell(function_.buid),
                        low_cell(function_.buid),
                        static_cast<std::uint32_t>(kind),
                        count,
                        kFirstSequence};
  std::uint32_t out[2] = {};
  // A busy answer brings the sequence number to go on with.
  BusyWait busy(port_, patience_);
  RtasStatus status;
  for (;;) {
    status = port_.rtas(RtasCall::change_msi, in, 6, out, 2);
    if (!busy.again(busy_of(status))) break;
    in[5] = out[1];
  }
  granted = out[0];
  return rtas_result(status);
}

RtasResult RtasMsi::grant(MsiFunction kind, std::uint32_t count, Lisn* sources, std::uint32_t& granted) {
  granted = 0;
  RtasResult failure;
  failure.refusal = RtasRefusal::argument;
  if (count == 0 || count > kVectorsMost) return failure;

  failure.refusal = RtasRefusal::firmware;
  std::uint32_t wanted = count;
  std::uint32_t offered = 0;
  for (unsigned i = 0; offered != wanted; ++i) {
    if (i != 0) wanted = offered;
    if (i == kOffers) {
      (void)release(kind);
      return failure;
    }
    if (const RtasResult result = change(kind, wanted, offered); !result) {
      if (i != 0) (void)release(kind);  // the offer may have been a grant
      return result;
    }
    // Nothing, or more than was asked for, is no offer.
    if (offered == 0 || offered > wanted) {
      if (offered != 0) (void)release(kind);
      return failure;
    }
  }
  for (std::uint32_t vector = 0; vector < wanted; ++vector) {
    bool edge = false;
    RtasResult result = source(vector, sources[vector], edge);
    if (result && !edge) result = failure;  // a message is an edge
    if (!result) {
      (void)release(kind);
      return result;
    }
  }
  granted = wanted;
  return {};
}

RtasResult RtasMsi::source(std::uint32_t vector, Lisn& lisn, bool& edge) {
  const std::uint32_t in[] = {function_.config, high_cell(function_.buid), low_cell(function_.buid), vector};
  std::uint32_t out[2] = {};
  const RtasResult result =
      rtas_result(call(port_, RtasCall::query_interrupt_source_number, in, 4, out, 2, patience_));
  lisn = Lisn(out[0]);
  edge = out[1] == 1;
  return result;
}

RtasResult RtasMsi::release(MsiFunction kind) {
  std::uint32_t granted;
  return change(kind, 0, granted);
}

}  // namespace pviommu::papr
