// SPDX-License-Identifier: LGPL-2.1-or-later
// Names of RTAS calls, and what a status means to a caller.
#include "hypercall/papr/core/rtas.h"

namespace pviommu::papr {

const char* name_of(RtasCall call) {
  switch (call) {
    case RtasCall::query_pe_dma_window:
      return "ibm,query-pe-dma-window";
    case RtasCall::create_pe_dma_window:
      return "ibm,create-pe-dma-window";
    case RtasCall::remove_pe_dma_window:
      return "ibm,remove-pe-dma-window";
    case RtasCall::reset_pe_dma_window:
      return "ibm,reset-pe-dma-window";
    case RtasCall::change_msi:
      return "ibm,change-msi";
    case RtasCall::query_interrupt_source_number:
      return "ibm,query-interrupt-source-number";
    case RtasCall::set_xive:
      return "ibm,set-xive";
    case RtasCall::get_xive:
      return "ibm,get-xive";
    case RtasCall::int_off:
      return "ibm,int-off";
    case RtasCall::int_on:
      return "ibm,int-on";
    case RtasCall::read_pci_config:
      return "ibm,read-pci-config";
    case RtasCall::write_pci_config:
      return "ibm,write-pci-config";
  }
  return "?";
}

RtasStatus call(RtasPort& port, RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                std::size_t outs, const Patience& patience) {
  BusyWait busy(port, patience);
  RtasStatus status;
  do status = port.rtas(call, in, ins, out, outs);
  while (busy.again(busy_of(status)));
  return status;
}

RtasResult rtas_result(RtasStatus status) {
  RtasResult result;
  result.status = status;
  if (status == kRtasAbsent)
    result.refusal = RtasRefusal::absent;
  else if (busy_of(status) != kSuccess)
    result.refusal = RtasRefusal::busy;
  else if (status != kRtasSuccess)
    result.refusal = RtasRefusal::firmware;
  return result;
}

}  // namespace pviommu::papr
