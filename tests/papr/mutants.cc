// SPDX-License-Identifier: LGPL-2.1-or-later
// Ports that do one thing wrong, by name.
#include "tests/papr/mutants.h"

namespace papr_suite {
namespace {

constexpr std::uint64_t kRights = kTceRead | kTceWrite;

}  // namespace

bool mutant_named(const char* name, Mutant& mutant) {
  for (const MutantName& known : kMutants)
    if (__builtin_strcmp(known.name, name) == 0) {
      mutant = known.mutant;
      return true;
    }
  return false;
}

std::uint64_t MutantPort::changed(std::uint64_t tce) const {
  if ((tce & kRights) == 0) return tce;
  if (mutant_ == Mutant::always_read_write) return tce | kRights;
  if (mutant_ == Mutant::wrong_page) return tce + kPageSize;
  return tce;
}

Rc MutantPort::hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  if (mutant_ == Mutant::unmap_nothing &&
      (op == Hcall::stuff_tce || (op == Hcall::put_tce && (in[2] & kRights) == 0)))
    return kSuccess;
  if (op != Hcall::put_tce) return under_.hcall(op, in, out);
  const std::uint64_t other[kHcallRegisters] = {in[0], in[1], changed(in[2])};
  return under_.hcall(op, other, out);
}

Rc MutantPort::put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) {
  std::uint64_t words[kTcesPerCall];
  for (std::size_t i = 0; i < count; ++i)
    words[i] = mutant_ == Mutant::list_endianness ? __builtin_bswap64(tces[i]) : changed(tces[i]);
  return under_.put_tce_list(liobn, ioba, words, count);
}

}  // namespace papr_suite
