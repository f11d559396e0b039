// SPDX-License-Identifier: LGPL-2.1-or-later
// XICS and XIVE of the model: sources, presentation, queues.
#include <cstring>

#include "tests/papr/model.h"

namespace papr_model {
namespace {

constexpr std::uint8_t kReservedPriority = 7;
constexpr unsigned kEsbShift = 16;

std::uint32_t big_cell(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

}  // namespace

Source* Model::source(std::uint64_t lisn) {
  const auto found = sources_.find(static_cast<std::uint32_t>(lisn));
  return lisn >> 32 != 0 || found == sources_.end() ? nullptr : &found->second;
}

void Model::message(std::uint32_t data) { options_.xive ? xive_trigger(data) : xics_trigger(data); }

// ---- XICS ---------------------------------------------------------------------------

void Model::present(std::uint32_t lisn) {
  Source& found = sources_.at(lisn);
  if (found.priority == 0xff || !found.held) return;
  found.held = false;
  presented_.insert(lisn);
}

void Model::xics_trigger(std::uint32_t lisn) {
  Source* found = source(lisn);
  if (found == nullptr) return;
  found->held = true;
  present(lisn);
}

/// The most urgent source that may interrupt now.
std::uint32_t Model::pending() const {
  std::uint32_t best = 0;
  unsigned urgency = cppr_;
  for (const std::uint32_t lisn : presented_)
    if (const unsigned priority = sources_.at(lisn).priority; priority < urgency) {
      best = lisn;
      urgency = priority;
    }
  return best;
}

Rc Model::xics(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  switch (op) {
    case Hcall::cppr:
      cppr_ = static_cast<std::uint8_t>(in[0]);
      return kSuccess;
    case Hcall::ipoll:
      if (in[0] != 0) return kParameter;
      out[0] = std::uint64_t{cppr_} << 24 | pending();
      return kSuccess;
    case Hcall::xirr: {
      const std::uint32_t lisn = pending();
      out[0] = std::uint64_t{cppr_} << 24 | lisn;
      if (lisn != 0) {
        cppr_ = sources_.at(lisn).priority;
        presented_.erase(lisn);
      }
      return kSuccess;
    }
    case Hcall::eoi:
      cppr_ = static_cast<std::uint8_t>(in[0] >> 24);
      return kSuccess;
    default:
      return kFunction;
  }
}

// ---- XIVE ---------------------------------------------------------------------------

void Model::xive_notify(const Source& from) {
  const auto queue = queues_.find(from.priority);
  if (!from.routed || queue == queues_.end() || queue->second.shift == 0) return;
  Queue& to = queue->second;
  const std::uint32_t entry = to.generation << 31 | (from.number & 0x7fffffff);
  std::uint8_t* at = memory_.get() + to.at + std::size_t{4} * to.offset;
  for (unsigned byte = 0; byte < 4; ++byte) at[byte] = static_cast<std::uint8_t>(entry >> (24 - 8 * byte));
  to.offset = (to.offset + 1) % (std::uint32_t{1} << (to.shift - 2));
  if (to.offset == 0) to.generation ^= 1;
}

void Model::xive_trigger(std::uint32_t lisn) {
  Source* found = source(lisn);
  if (found == nullptr) return;
  switch (found->pq) {
    case 0:
      found->pq = 2;
      xive_notify(*found);
      break;
    case 2:
      found->pq = 3;
      break;
    default:
      break;
  }
}

Rc Model::esb(const std::uint64_t* in, std::uint64_t* out) {
  Source* found = source(in[1]);
  if ((in[0] & ~std::uint64_t{1}) != 0) return kParameter;
  if (found == nullptr) return kP2;
  if (in[2] >= std::uint64_t{1} << kEsbShift) return kP3;
  out[0] = found->pq;
  switch (in[2] & 0xf00) {
    case 0x000:
      found->pq = found->pq == 3 ? 2 : found->pq == 2 ? 0 : found->pq;
      if (out[0] == 3) xive_notify(*found);
      break;
    case 0x800:
      break;
    case 0xc00:
    case 0xd00:
    case 0xe00:
    case 0xf00:
      found->pq = (in[2] >> 8) & 3;
      break;
    default:
      out[0] = ~std::uint64_t{0};
  }
  return kSuccess;
}

Rc Model::set_queue(const std::uint64_t* in) {
  if ((in[0] & ~std::uint64_t{1}) != 0) return kParameter;
  if (in[1] != 0) return kP2;
  if (in[2] >= kReservedPriority) return kP3;
  const std::uint64_t at = in[3], shift = in[4];
  if (shift == 0) {
    queues_.erase(static_cast<unsigned>(in[2]));
    return kSuccess;
  }
  if (shift != 12 && shift != 16 && shift != 21 && shift != 24) return kP5;
  const std::uint64_t bytes = std::uint64_t{1} << shift;
  if ((at & (bytes - 1)) != 0 || at >= options_.memory_bytes || options_.memory_bytes - at < bytes)
    return kP4;
  queues_[static_cast<unsigned>(in[2])] = {at, static_cast<unsigned>(shift), 0, 1};
  return kSuccess;
}

Rc Model::xive(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  Source* found = source(in[1]);
  switch (op) {
    case Hcall::int_esb:
      return esb(in, out);
    case Hcall::int_set_queue_config:
      return set_queue(in);
    case Hcall::int_get_queue_config: {
      if (in[0] != 0) return kParameter;
      if (in[1] != 0) return kP2;
      if (in[2] >= kReservedPriority) return kP3;
      const Queue queue =
          queues_.contains(static_cast<unsigned>(in[2])) ? queues_[static_cast<unsigned>(in[2])] : Queue{};
      out[0] = queue.shift != 0;
      out[1] = queue.at;
      out[2] = queue.shift;
      return kSuccess;
    }
    case Hcall::int_set_source_config:
      if ((in[0] & ~std::uint64_t{3}) != 0) return kParameter;
      if (found == nullptr) return kP2;
      if (in[3] == 0xff) {
        found->routed = false;
        return kSuccess;
      }
      if (in[3] >= kReservedPriority) return kP4;
      if (in[2] != 0) return kP3;
      found->routed = (in[0] & 1) == 0;
      found->priority = static_cast<std::uint8_t>(in[3]);
      found->number = (in[0] & 2) != 0 ? static_cast<std::uint32_t>(in[4]) : found->number;
      return kSuccess;
    default:
      break;
  }
  if (in[0] != 0) return kParameter;
  if (found == nullptr) return kP2;
  switch (op) {
    case Hcall::int_get_source_info:
      out[0] = 0;
      out[1] = out[2] = ~std::uint64_t{0};
      out[3] = kEsbShift;
      return kSuccess;
    case Hcall::int_get_source_config:
      out[0] = found->server;
      out[1] = found->routed ? found->priority : 0xff;
      out[2] = found->number;
      return kSuccess;
    default:
      return kSuccess;  // int_sync: nothing is ever under way here
  }
}

// Pairs of (mask, processor), then vectors: see ask_for_xive().
Rc Model::client_architecture_support(const std::uint64_t* in) {
  if (!options_.xive || in[0] > options_.memory_bytes - kPageSize || in[2] < 8) return kParameter;
  const std::uint8_t* at = memory_.get() + in[0];
  const std::uint8_t* end = at + kPageSize;
  bool known = false;
  for (;; at += 8) {
    if (at + 8 > end) return kParameter;
    const std::uint32_t mask = big_cell(at), processor = big_cell(at + 4);
    if ((~mask & processor) != 0) break;
    known = known || processor == 0x0f000005 || processor == 0x0f000006;
  }
  at += 8;
  if (!known) return kHardware;
  const unsigned vectors = *at++ + 1u;
  if (vectors < 5) return kParameter;
  for (unsigned i = 1; i < 5; ++i) at += *at + 2;
  const unsigned bytes = *at++ + 1u;
  exploitation_ = bytes >= 23 && (at[22] & 0xc0) == 0x40;
  return exploitation_ ? kSuccess : kParameter;
}

}  // namespace papr_model
