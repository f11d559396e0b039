// SPDX-License-Identifier: LGPL-2.1-or-later
// From the core's hcalls to the module's ioctls: only the four TCE calls get through.
#include "hypercall/papr/module/port.h"

#include <ctime>

namespace pviommu::papr {

Rc ModulePort::answer(const Status& status) {
  if (status) return kSuccess;
  // The module has waited for busy ones long enough.
  if (status.error().code == EIO && status.error().raw < 0) {
    refusal_ = {};  // the hypervisor's own word, kHardware included
    return status.error().raw;
  }
  refusal_ = status.error();
  return kHardware;
}

Rc ModulePort::hcall(Hcall op, const std::uint64_t in[kHcallRegisters], std::uint64_t out[kHcallRegisters]) {
  const Liobn liobn(static_cast<std::uint32_t>(in[0]));
  const Ioba ioba(in[1]);
  switch (op) {
    case Hcall::put_tce:
      if ((in[2] & (kTceRead | kTceWrite)) == 0) return answer(calls_.unmap(liobn, ioba, 1));
      return answer(calls_.map(liobn, ioba, std::span(&in[2], 1)));
    case Hcall::stuff_tce:
      // A list of one page many times over is none of ours.
      if (in[2] != 0) return kFunction;
      return answer(calls_.unmap(liobn, ioba, in[3]));
    case Hcall::get_tce: {
      const auto tce = calls_.get_tce(liobn, ioba);
      if (!tce) return answer(tce.error());
      out[0] = *tce;
      return kSuccess;
    }
    default:
      return kFunction;
  }
}

Rc ModulePort::put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) {
  return answer(calls_.map(liobn, ioba, std::span(tces, count)));
}

void ModulePort::wait(std::uint32_t milliseconds) {
  const timespec time{static_cast<time_t>(milliseconds / 1000),
                      static_cast<long>(milliseconds % 1000) * 1'000'000};
  ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

}  // namespace pviommu::papr
