// SPDX-License-Identifier: LGPL-2.1-or-later
// Admin commands that change the controller (NVM Express 1.4, chapter 5).
#include <algorithm>

#include "hypercall/model/nvme/controller.h"

namespace pviommu::model::nvme {
namespace {

// Create I/O queues, CDW11.
constexpr std::uint32_t kContiguous = 1;
constexpr std::uint32_t kInterruptsEnabled = 2;

// Temperature Threshold (5.21.1.4): sensor in 19:16 (0 composite, 15 all), under
// temperature instead of over in 21:20.
constexpr std::uint32_t kOverComposite = 0x00;
constexpr std::uint32_t kOverAll = 0x0f;
constexpr std::uint32_t kUnderComposite = 0x10;
constexpr std::uint32_t kUnderAll = 0x1f;
constexpr std::uint32_t kDefaultThreshold = 0x157;  // 343 K

// Get Features, select (5.13, figure 179).
enum class Select : std::uint8_t { current = 0, defaults = 1, saved = 2, capabilities = 3 };
constexpr std::uint32_t kChangeable = 1u << 2;

constexpr std::uint32_t kSave = 1u << 31;

bool is_known(std::uint32_t id) {
  switch (static_cast<Feature>(id)) {
    case Feature::arbitration:
    case Feature::power_management:
    case Feature::temperature_threshold:
    case Feature::error_recovery:
    case Feature::volatile_write_cache:
    case Feature::number_of_queues:
    case Feature::interrupt_coalescing:
    case Feature::interrupt_vector_config:
    case Feature::write_atomicity:
    case Feature::async_event_config:
      return true;
  }
  return false;
}

}  // namespace

Controller::Outcome Controller::execute_admin(const Command& command) {
  switch (static_cast<AdminOpcode>(command.opcode)) {
    case AdminOpcode::delete_sq:
      return delete_sq(command);
    case AdminOpcode::create_sq:
      return create_sq(command);
    case AdminOpcode::get_log_page:
      return get_log_page(command);
    case AdminOpcode::delete_cq:
      return delete_cq(command);
    case AdminOpcode::create_cq:
      return create_cq(command);
    case AdminOpcode::identify:
      return identify(command);
    case AdminOpcode::abort:
      return abort(command);
    case AdminOpcode::set_features:
      return set_features(command);
    case AdminOpcode::get_features:
      return get_features(command);
    case AdminOpcode::async_event_request:
      return hold_event_request(command);
  }
  return StatusCode::invalid_opcode;
}

// ---- queues (5.3 to 5.6) ----------------------------------------------------

bool Controller::valid_queue_size(std::uint32_t entries) const { return entries >= 2 && entries <= kLargestQueue; }

Controller::Outcome Controller::create_cq(const Command& command) {
  const unsigned qid = command.cdw10 & 0xffff;
  const std::uint32_t entries = (command.cdw10 >> 16) + 1;
  const unsigned vector = command.cdw11 >> 16;
  if (qid == 0 || qid >= cqs_.size() || cqs_[qid].live) return StatusCode::invalid_queue_id;
  if (!valid_queue_size(entries) || cc::cqe_shift(cc_) != kCqeShift) return StatusCode::invalid_queue_size;
  if ((command.cdw11 & kContiguous) == 0) return StatusCode::invalid_field;  // CAP.CQR
  if (command.prp1 & ((std::uint64_t{1} << page_shift_) - 1)) return StatusCode::invalid_prp_offset;
  const bool interrupts = (command.cdw11 & kInterruptsEnabled) != 0;
  // Only vector 0 exists on the pin (5.3).
  if (vector >= options_.vectors || (interrupts && uses_intx() && vector != 0))
    return StatusCode::invalid_interrupt_vector;
  CompletionQueue& cq = cqs_[qid];
  cq = {};
  cq.live = true;
  cq.id = static_cast<std::uint16_t>(qid);
  cq.base = Iova(command.prp1);
  cq.size = entries;
  cq.vector = static_cast<std::uint16_t>(vector);
  cq.interrupts = interrupts;
  registers_.store32(RegisterFile::cq_doorbell(qid), 0);
  queue_limit_ = std::max(queue_limit_, qid + 1);
  return StatusCode::success;
}

Controller::Outcome Controller::create_sq(const Command& command) {
  const unsigned qid = command.cdw10 & 0xffff;
  const std::uint32_t entries = (command.cdw10 >> 16) + 1;
  const unsigned cqid = command.cdw11 >> 16;
  if (cqid == 0) return StatusCode::cq_invalid;
  if (cqid >= cqs_.size()) return StatusCode::invalid_queue_id;
  if (!cqs_[cqid].live) return StatusCode::cq_invalid;
  if (qid == 0 || qid >= sqs_.size() || sqs_[qid].live) return StatusCode::invalid_queue_id;
  if (!valid_queue_size(entries) || cc::sqe_shift(cc_) != kSqeShift) return StatusCode::invalid_queue_size;
  if ((command.cdw11 & kContiguous) == 0) return StatusCode::invalid_field;  // CAP.CQR
  if (command.prp1 & ((std::uint64_t{1} << page_shift_) - 1)) return StatusCode::invalid_prp_offset;
  SubmissionQueue& sq = sqs_[qid];
  sq = {};
  sq.live = true;
  sq.id = static_cast<std::uint16_t>(qid);
  sq.base = Iova(command.prp1);
  sq.size = entries;
  sq.cqid = static_cast<std::uint16_t>(cqid);
  ++cqs_[cqid].users;
  registers_.store32(RegisterFile::sq_doorbell(qid), 0);
  queue_limit_ = std::max(queue_limit_, qid + 1);
  return StatusCode::success;
}

// Commands that were submitted but not fetched are gone with the queue (5.6).
Controller::Outcome Controller::delete_sq(const Command& command) {
  const unsigned qid = command.cdw10 & 0xffff;
  if (qid == 0 || qid >= sqs_.size() || !sqs_[qid].live) return StatusCode::invalid_queue_id;
  --cqs_[sqs_[qid].cqid].users;
  sqs_[qid] = {};
  sqs_[qid].id = static_cast<std::uint16_t>(qid);
  return StatusCode::success;
}

Controller::Outcome Controller::delete_cq(const Command& command) {
  const unsigned qid = command.cdw10 & 0xffff;
  if (qid == 0 || qid >= cqs_.size() || !cqs_[qid].live) return StatusCode::invalid_queue_id;
  if (cqs_[qid].users != 0) return StatusCode::invalid_queue_deletion;
  cqs_[qid] = {};
  cqs_[qid].id = static_cast<std::uint16_t>(qid);
  return StatusCode::success;
}

// ---- abort and event requests (5.1, 5.2) ------------------------------------

// Fetched commands are executed before anything else is fetched, so only event
// requests can be waiting.  Bit 0 of the result: not aborted.
Controller::Outcome Controller::abort(const Command& command) {
  const auto cid = static_cast<std::uint16_t>(command.cdw10 >> 16);
  const auto held = std::find(event_requests_.begin(), event_requests_.end(), cid);
  Outcome outcome;
  outcome.result = 1;
  if ((command.cdw10 & 0xffff) != 0 || held == event_requests_.end() || cqs_[0].room() <= burst_entries_)
    return outcome;
  event_requests_.erase(held);
  Completion entry{};
  entry.sq_head = static_cast<std::uint16_t>(sqs_[0].head);
  entry.cid = cid;
  entry.status = static_cast<std::uint16_t>(status_field(StatusCode::abort_requested) << 1);
  if (!post(cqs_[0], {&entry, 1})) return StatusCode::internal_error;
  outcome.result = 0;
  return outcome;
}

Controller::Outcome Controller::hold_event_request(const Command& command) {
  if (event_requests_.size() >= kEventRequests) return StatusCode::aer_limit_exceeded;
  event_requests_.push_back(command.cid);
  Outcome outcome;
  outcome.held = true;
  return outcome;
}

// ---- features (5.13, 5.21) --------------------------------------------------

std::uint32_t Controller::default_feature(Feature which) const {
  switch (which) {
    case Feature::arbitration:
      return 4;  // bursts of 2^4: kBurst
    case Feature::temperature_threshold:
      return kDefaultThreshold;
    case Feature::volatile_write_cache:
      return 1;
    case Feature::number_of_queues:
      return (options_.queues - 1) * 0x10001;
    default:
      return 0;
  }
}

void Controller::reset_features() {
  for (unsigned id = 0; id < kFeatures; ++id)
    features_[id] = is_known(id) ? default_feature(static_cast<Feature>(id)) : 0;
  under_temperature_ = 0;
  std::fill(coalescing_disabled_.begin(), coalescing_disabled_.end(), false);
}

Controller::Outcome Controller::get_features(const Command& command) {
  const std::uint32_t id = command.cdw10 & 0xff;
  const auto select = static_cast<Select>(command.cdw10 >> 8 & 7);
  if (!is_known(id)) return StatusCode::invalid_field;
  const auto which = static_cast<Feature>(id);
  const std::uint32_t argument = command.cdw11;
  if (which == Feature::interrupt_vector_config && (argument & 0xffff) >= options_.vectors)
    return StatusCode::invalid_field;
  Outcome outcome;
  switch (select) {
    case Select::current:
      outcome.result = feature(which);
      if (which == Feature::interrupt_vector_config) {
        const std::uint32_t vector = argument & 0xffff;
        outcome.result = vector | (coalescing_disabled_[vector] ? 1u << 16 : 0);
      }
      break;
    case Select::defaults:
    case Select::saved:  // nothing can be saved
      outcome.result = default_feature(which);
      if (which == Feature::interrupt_vector_config) outcome.result = argument & 0xffff;
      break;
    case Select::capabilities:
      outcome.result = kChangeable;
      return outcome;
    default:
      return StatusCode::invalid_field;
  }
  if (which == Feature::temperature_threshold) {
    const std::uint32_t threshold = argument >> 16 & 0x3f;
    if (threshold == kUnderComposite) {
      outcome.result = select == Select::current ? under_temperature_ : 0;
    } else if (threshold != kOverComposite) {
      return StatusCode::invalid_field;
    }
  }
  return outcome;
}

Controller::Outcome Controller::set_features(const Command& command) {
  const std::uint32_t id = command.cdw10 & 0xff;
  const std::uint32_t value = command.cdw11;
  if (!is_known(id)) return StatusCode::invalid_field;
  if (command.cdw10 & kSave) return StatusCode::feature_not_saveable;
  const auto which = static_cast<Feature>(id);
  std::uint32_t& stored = features_[id];
  Outcome outcome;
  switch (which) {
    case Feature::power_management:
      if ((value & 0x1f) != 0) return StatusCode::invalid_field;  // one power state
      break;
    case Feature::temperature_threshold:
      switch (value >> 16 & 0x3f) {
        case kOverComposite:
        case kOverAll:
          stored = value & 0xffff;
          report_temperature();
          return outcome;
        case kUnderComposite:
        case kUnderAll:
          under_temperature_ = value & 0xffff;
          report_temperature();
          return outcome;
        default:
          return StatusCode::invalid_field;
      }
    case Feature::async_event_config: {
      const bool wanted = (stored & kWarningTemperature) != 0;
      stored = value;
      if (!wanted) report_temperature();
      return outcome;
    }
    case Feature::volatile_write_cache:
      // Turning the cache off writes it out, so that nothing volatile is left.
      outcome.needs_sync = (value & 1) == 0 && write_cache();
      stored = value & 1;
      return outcome;
    case Feature::number_of_queues: {
      if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff) return StatusCode::invalid_field;
      const auto live = [](const Ring& queue) { return queue.live; };
      if (std::any_of(sqs_.begin() + 1, sqs_.end(), live) || std::any_of(cqs_.begin() + 1, cqs_.end(), live))
        return StatusCode::command_sequence_error;
      outcome.result = stored;
      return outcome;
    }
    case Feature::interrupt_vector_config:
      if ((value & 0xffff) >= options_.vectors) return StatusCode::invalid_field;
      coalescing_disabled_[value & 0xffff] = (value >> 16 & 1) != 0;
      return outcome;
    default:
      break;
  }
  stored = value;
  return outcome;
}

}  // namespace pviommu::model::nvme
