// SPDX-License-Identifier: LGPL-2.1-or-later
// RTAS of the model: interrupt sources, MSIs, dynamic windows.
#include <algorithm>

#include "tests/papr/model.h"

namespace papr_model {
namespace {

constexpr std::uint32_t kMsi = 3, kMsix = 4;
constexpr std::uint64_t kDynamicFirst = std::uint64_t{1} << 59;
constexpr std::uint32_t kPageSizes = 1 | 2 | 4 | 0x100;  // 4K 64K 16M 2M
constexpr std::uint64_t kShifts = std::uint64_t{1} << 12 | 1 << 16 | 1 << 21 | 1 << 24;
constexpr std::uint64_t kMostEntries = 0x80000000;
constexpr std::uint64_t kMessageAddress = std::uint64_t{0x40} << 32;

struct Shape {
  std::size_t ins, outs;  ///< cells behind the call, and behind the status
};

Shape shape_of(RtasCall call) {
  switch (call) {
    case RtasCall::query_pe_dma_window:
      return {3, 4};
    case RtasCall::create_pe_dma_window:
      return {5, 3};
    case RtasCall::remove_pe_dma_window:
      return {1, 0};
    case RtasCall::reset_pe_dma_window:
      return {3, 0};
    case RtasCall::change_msi:
      return {6, 2};
    case RtasCall::query_interrupt_source_number:
      return {4, 2};
    case RtasCall::set_xive:
      return {3, 0};
    case RtasCall::get_xive:
      return {1, 2};
    case RtasCall::int_off:
    case RtasCall::int_on:
      return {1, 0};
    default:
      return {~std::size_t{0}, 0};
  }
}

}  // namespace

RtasStatus Model::ModelRtas::rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                                  std::size_t outs) {
  ++model_.rtas_calls_;
  if (model_.rtas_failure_.now()) return static_cast<RtasStatus>(model_.rtas_failure_.answer);
  return model_.rtas(call, {in, ins}, {out, outs});
}

RtasStatus Model::rtas(RtasCall call, Cells in, std::span<std::uint32_t> out) {
  const Shape shape = shape_of(call);
  if (in.size() != shape.ins || out.size() != shape.outs) return kRtasParameter;
  switch (call) {
    case RtasCall::query_pe_dma_window:
      return query_window(in, out);
    case RtasCall::create_pe_dma_window:
      return create_window(in, out);
    case RtasCall::remove_pe_dma_window:
      return remove_window(in);
    case RtasCall::reset_pe_dma_window:
      return reset_windows(in);
    case RtasCall::change_msi:
      return change_msi(in, out);
    case RtasCall::query_interrupt_source_number:
      return query_source(in, out);
    default:
      return options_.xive ? kRtasAbsent : xics_source(call, in, out);
  }
}

Bridge* Model::bridge_of(Cells in) {
  const Buid buid(std::uint64_t{in[1]} << 32 | in[2]);
  const auto found = std::ranges::find(bridges_, buid, &Bridge::buid);
  return found == bridges_.end() ? nullptr : &*found;
}

Function* Model::function_of(Cells in) {
  for (Function& function : functions_)
    if (function.address.config == in[0] && high_cell(function.address.buid) == in[1] &&
        low_cell(function.address.buid) == in[2])
      return &function;
  return nullptr;
}

unsigned Model::active_windows(const Bridge& bridge) const {
  return (tables_.at(bridge.default_window.raw()).entries != 0) +
         (tables_.at(bridge.dynamic_window.raw()).entries != 0);
}

RtasStatus Model::query_window(Cells in, std::span<std::uint32_t> out) {
  const Bridge* bridge = bridge_of(in);
  if (bridge == nullptr || !bridge->dynamic) return kRtasParameter;
  out[0] = 2 - active_windows(*bridge);
  out[1] = kMostEntries;
  out[2] = kPageSizes;
  out[3] = 0;
  return kRtasSuccess;
}

RtasStatus Model::create_window(Cells in, std::span<std::uint32_t> out) {
  const Bridge* bridge = bridge_of(in);
  if (bridge == nullptr || !bridge->dynamic) return kRtasParameter;
  const std::uint32_t page_shift = in[3], window_shift = in[4];
  if (page_shift >= 64 || (kShifts >> page_shift & 1) == 0 || window_shift < page_shift || window_shift >= 64)
    return kRtasParameter;
  Table& table = tables_.at(bridge->dynamic_window.raw());
  if (table.entries != 0 || std::uint64_t{1} << (window_shift - page_shift) > kMostEntries)
    return kRtasHardware;
  table = {bridge->buid, kDynamicFirst, std::uint64_t{1} << (window_shift - page_shift), page_shift, {}};
  out[0] = bridge->dynamic_window.raw();
  out[1] = static_cast<std::uint32_t>(table.first >> 32);
  out[2] = static_cast<std::uint32_t>(table.first);
  return kRtasSuccess;
}

RtasStatus Model::remove_window(Cells in) {
  Table* table = find(in[0]);
  if (table == nullptr) return kRtasParameter;
  for (const Bridge& bridge : bridges_)
    if (bridge.buid == table->buid && !bridge.dynamic) return kRtasParameter;
  table->entries = 0;
  table->tces.clear();
  return kRtasSuccess;
}

RtasStatus Model::reset_windows(Cells in) {
  const Bridge* bridge = bridge_of(in);
  if (bridge == nullptr || !bridge->dynamic) return kRtasParameter;
  tables_[bridge->default_window.raw()] = {bridge->buid, 0, default_window(0).entries, 12, {}};
  tables_[bridge->dynamic_window.raw()] = {bridge->buid, 0, 0, 12, {}};
  return kRtasSuccess;
}

RtasStatus Model::change_msi(Cells in, std::span<std::uint32_t> out) {
  Function* function = function_of(in);
  const std::uint32_t kind = in[3], count = in[4];
  if (function == nullptr || kind != (function->msix ? kMsix : kMsi)) return kRtasParameter;
  if (count == 0) {
    if (function->granted == 0) return kRtasHardware;
    for (std::uint32_t i = 0; i < function->granted; ++i) {
      sources_.erase(function->first_source + i);
      presented_.erase(function->first_source + i);
    }
    function->granted = 0;
    function->message_address = 0;
    function->message_data = 0;
    out[0] = 0;
    out[1] = in[5] + 1;
    return kRtasSuccess;
  }
  out[1] = in[5] + 1;
  out[0] = std::min(count, function->vectors);
  if (count > function->vectors) return kRtasSuccess;  // an offer
  for (std::uint32_t i = 0; i < function->granted; ++i) sources_.erase(function->first_source + i);
  function->granted = count;
  function->first_source = next_source_;
  next_source_ += count;
  for (std::uint32_t i = 0; i < count; ++i) sources_[function->first_source + i] = {};
  function->message_address = kMessageAddress;
  function->message_data = function->first_source;
  return kRtasSuccess;
}

RtasStatus Model::query_source(Cells in, std::span<std::uint32_t> out) {
  const Function* function = function_of(in);
  if (function == nullptr) return kRtasParameter;
  if (in[3] >= function->granted) return kRtasHardware;
  out[0] = function->first_source + in[3];
  out[1] = 1;
  return kRtasSuccess;
}

RtasStatus Model::xics_source(RtasCall call, Cells in, std::span<std::uint32_t> out) {
  Source* found = source(in[0]);
  if (found == nullptr) return kRtasParameter;
  switch (call) {
    case RtasCall::set_xive:
      if (in[1] != 0 || in[2] > 0xff) return kRtasParameter;
      found->server = in[1];
      found->priority = found->saved_priority = static_cast<std::uint8_t>(in[2]);
      break;
    case RtasCall::get_xive:
      out[0] = found->server;
      out[1] = found->priority;
      return kRtasSuccess;
    case RtasCall::int_off:
      found->priority = 0xff;
      return kRtasSuccess;
    case RtasCall::int_on:
      found->priority = found->saved_priority;
      break;
    default:
      return kRtasAbsent;
  }
  present(in[0]);
  return kRtasSuccess;
}

}  // namespace papr_model
