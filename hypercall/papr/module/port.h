// SPDX-License-Identifier: LGPL-2.1-or-later
// The core's way to the hypervisor through the kernel module.
//
// The module makes the hcall, follows busy answers and does without H_PUT_TCE_INDIRECT
// and H_STUFF_TCE where there are none, so that one call here is all or nothing already.
#pragma once

#include "hypercall/papr/module/calls.h"
#include "hypercall/papr/core/port.h"

namespace pviommu::papr {

class ModulePort final : public Port {
 public:
  explicit ModulePort(ModuleCalls& calls) : calls_(calls) {}

  /// H_PUT_TCE, H_STUFF_TCE and H_GET_TCE; anything else answers H_FUNCTION.
  Rc hcall(Hcall op, const std::uint64_t in[kHcallRegisters], std::uint64_t out[kHcallRegisters]) override;
  Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) override;
  void wait(std::uint32_t milliseconds) override;

  /// Why the last call that answered kHardware was not made, or H_HARDWARE it was.
  const Error& refusal() const { return refusal_; }

 private:
  Rc answer(const Status& status);

  ModuleCalls& calls_;
  Error refusal_;
};

}  // namespace pviommu::papr
