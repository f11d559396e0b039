// SPDX-License-Identifier: LGPL-2.1-or-later
// From the doorbell to the completion: fetching, completing, interrupts, errors.
//
//   submission queue --fetch, if its completion has room--> admin.cc, io.cc
//        --> held back until the data is synced, where asked for
//        --> completion queue: entry with the old phase tag, then the tag --> vector
#include <algorithm>

#include "hypercall/model/nvme/controller.h"

namespace pviommu::model::nvme {

// 4.13: round robin, each submission queue up to kBurst commands in its turn.
// One round at most, so that whoever waits for the lock gets it soon.
bool Controller::run_queues() {
  bytes_moved_ = 0;
  unsigned executed = 0;
  const unsigned limit = queue_limit_;
  for (unsigned turn = 0; turn < limit && state_ == State::ready && bytes_moved_ < kBytesPerPoll; ++turn) {
    if (next_sq_ >= queue_limit_) next_sq_ = 0;
    SubmissionQueue& sq = sqs_[next_sq_++];
    if (sq.live) executed += run_burst(sq);
  }
  return executed != 0;
}

// Returns the number of commands executed.  A command is fetched only when its
// completion has room, so there is never a completion that cannot be posted.
unsigned Controller::run_burst(SubmissionQueue& sq) {
  CompletionQueue& cq = cqs_[sq.cqid];
  const unsigned fetched = std::min({sq.contiguous(), cq.room(), std::uint32_t{kBurst}});
  if (fetched == 0) return 0;
  std::array<Command, kBurst> commands;
  std::array<Outcome, kBurst> outcomes;
  if (!dma_read(sq.base + (std::uint64_t{sq.head} << kSqeShift),
                std::as_writable_bytes(std::span(commands).first(fetched)))) {
    fail_fatally();
    return 0;
  }
  burst_entries_ = fetched;
  bool sync = false;
  unsigned done = 0;
  while (done < fetched && bytes_moved_ < kBytesPerPoll) {
    outcomes[done] = execute(sq, commands[done]);
    sync |= outcomes[done].needs_sync;
    ++done;
  }
  if (sync) {
    ++counters_.syncs;
    if (!backing_.sync()) {
      for (unsigned i = 0; i < done; ++i)
        if (outcomes[i].needs_sync) outcomes[i] = StatusCode::write_fault;
    }
  }
  std::array<Completion, kBurst> entries;
  unsigned count = 0;
  for (unsigned i = 0; i < done; ++i) {
    sq.head = sq.after(sq.head, 1);
    if (!outcomes[i].held) entries[count++] = completion_of(sq, commands[i], outcomes[i]);
  }
  if (count != 0 && post(cq, std::span(entries).first(count))) signal(cq);
  return done;
}

Controller::Outcome Controller::execute(const SubmissionQueue& sq, const Command& command) {
  ++counters_.commands;
  // 4.2: no fused operations (FUSES 0), no SGLs (SGLS 0).
  if ((command.flags & 0xc3) != 0) return StatusCode::invalid_field;
  return sq.id == 0 ? execute_admin(command) : execute_io(command);
}

Completion Controller::completion_of(const SubmissionQueue& sq, const Command& command, const Outcome& outcome) {
  if (outcome.status != StatusCode::success) log_error(sq, command, outcome.status);
  Completion entry{};
  entry.result = outcome.result;
  entry.sq_head = static_cast<std::uint16_t>(sq.head);
  entry.sq_id = sq.id;
  entry.cid = command.cid;
  entry.status = static_cast<std::uint16_t>(status_field(outcome.status) << 1);
  return entry;
}

// The program may look at any time, and the bytes of one bus write may appear in
// any order.  So the entries come with the old phase tag first; the second write
// changes nothing but the tags.  It does not matter which of those appears first:
// a program takes the entries in order.
bool Controller::post(CompletionQueue& cq, std::span<Completion> entries) {
  while (!entries.empty()) {
    const auto piece = entries.first(std::min<std::size_t>(entries.size(), cq.size - cq.tail));
    const Iova iova = cq.base + (std::uint64_t{cq.tail} << kCqeShift);
    for (Completion& entry : piece) entry.status = static_cast<std::uint16_t>(entry.status | (cq.phase ? 0 : 1));
    bool written = dma_write(iova, std::as_bytes(piece)).ok();
    for (Completion& entry : piece) entry.status ^= 1;
    // A single one needs only its last word.
    constexpr std::size_t kTail = offsetof(Completion, cid);
    const std::size_t skip = piece.size() == 1 ? kTail : 0;
    written = written && dma_write(iova + skip, std::as_bytes(piece).subspan(skip)).ok();
    if (!written) {
      fail_fatally();
      return false;
    }
    cq.advance_tail(static_cast<std::uint32_t>(piece.size()));
    entries = entries.subspan(piece.size());
  }
  return true;
}

void Controller::signal(CompletionQueue& cq) {
  if (cq.interrupts && !uses_intx()) raise(cq.vector);
}

void Controller::log_error(const SubmissionQueue& sq, const Command& command, StatusCode code) {
  ++counters_.failures;
  if (code == StatusCode::write_fault || code == StatusCode::unrecovered_read) ++health_.media_errors.low;
  ErrorLogEntry& entry = error_log_[errors_logged_ % kErrorLogEntries];
  entry = {};
  entry.count = ++errors_logged_;
  entry.sq_id = sq.id;
  entry.cid = command.cid;
  entry.status = static_cast<std::uint16_t>(status_field(code) << 1);
  entry.parameter_location = 0xffff;
  entry.lba = sq.id == 0 ? 0 : std::uint64_t{command.cdw11} << 32 | command.cdw10;
  entry.nsid = command.nsid;
}

// 9.5: the memory of a queue cannot be reached.  Nothing goes on until the
// program resets the controller.
void Controller::fail_fatally() {
  state_ = State::failed;
  ++counters_.fatal;
  set_csts(csts_ | csts::kFatal);
}

// ---- asynchronous events (5.2) ----------------------------------------------

void Controller::add_event(ErrorEvent event) {
  ++counters_.invalid_doorbells;
  add_event({kEventTypeError, static_cast<std::uint8_t>(event), LogPage::error});
}

void Controller::add_event(Event event) {
  if (events_.size() >= kEventsKept) return;  // the program does not ask: the oldest are kept
  events_.push_back(event);
}

bool Controller::warns_of_temperature() const {
  return kRoomTemperature >= feature(Feature::temperature_threshold) || kRoomTemperature <= under_temperature_;
}

// The temperature never changes; what is beyond what does.
void Controller::report_temperature() {
  if (!warns_of_temperature() || (feature(Feature::async_event_config) & kWarningTemperature) == 0) return;
  const auto same = [](const Event& event) { return event.type == kEventTypeHealth; };
  if (std::none_of(events_.begin(), events_.end(), same))
    add_event({kEventTypeHealth, kHealthEventTemperature, LogPage::smart});
}

bool Controller::post_events() {
  CompletionQueue& cq = cqs_[0];
  bool posted = false;
  for (auto event = events_.begin(); event != events_.end() && !event_requests_.empty() && cq.room() > 0;) {
    if (masked_event_types_ >> event->type & 1) {
      ++event;
      continue;
    }
    Completion entry{};
    entry.result = event->type | std::uint32_t{event->info} << 8 |
                   static_cast<std::uint32_t>(event->page) << 16;
    entry.sq_head = static_cast<std::uint16_t>(sqs_[0].head);
    entry.cid = event_requests_.front();
    event_requests_.erase(event_requests_.begin());
    masked_event_types_ |= 1u << event->type;
    event = events_.erase(event);
    if (!post(cq, {&entry, 1})) return true;
    posted = true;
  }
  if (posted) signal(cq);
  return posted;
}

}  // namespace pviommu::model::nvme
