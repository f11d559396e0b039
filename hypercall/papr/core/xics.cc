// SPDX-License-Identifier: LGPL-2.1-or-later
// Sources by RTAS (set, get, mask, unmask), the processor's presentation by hcalls.
#include "hypercall/papr/core/xics.h"

namespace pviommu::papr {

RtasResult Xics::set(Lisn source, std::uint32_t server, std::uint8_t priority) {
  const std::uint32_t in[] = {source.raw(), server, priority};
  return rtas_result(call(rtas_, RtasCall::set_xive, in, 3, nullptr, 0));
}

RtasResult Xics::get(Lisn source, std::uint32_t& server, std::uint8_t& priority) {
  const std::uint32_t in[] = {source.raw()};
  std::uint32_t out[2] = {};
  const RtasResult result = rtas_result(call(rtas_, RtasCall::get_xive, in, 1, out, 2));
  server = out[0];
  priority = static_cast<std::uint8_t>(out[1]);
  return result;
}

RtasResult Xics::mask(Lisn source) {
  const std::uint32_t in[] = {source.raw()};
  return rtas_result(call(rtas_, RtasCall::int_off, in, 1, nullptr, 0));
}

RtasResult Xics::unmask(Lisn source) {
  const std::uint32_t in[] = {source.raw()};
  return rtas_result(call(rtas_, RtasCall::int_on, in, 1, nullptr, 0));
}

Rc Xics::set_cppr(std::uint8_t cppr) { return call(port_, Hcall::cppr, cppr); }

Rc Xics::poll(std::uint32_t server, std::uint32_t& xirr) {
  const std::uint64_t in[kHcallRegisters] = {server};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port_, Hcall::ipoll, in, out);
  xirr = rc == kSuccess ? static_cast<std::uint32_t>(out[0]) : 0;
  return rc;
}

Rc Xics::accept(std::uint32_t& xirr) {
  const std::uint64_t in[kHcallRegisters] = {};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port_, Hcall::xirr, in, out);
  xirr = rc == kSuccess ? static_cast<std::uint32_t>(out[0]) : 0;
  return rc;
}

Rc Xics::eoi(std::uint32_t xirr) { return call(port_, Hcall::eoi, xirr); }

}  // namespace pviommu::papr
