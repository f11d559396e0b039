// SPDX-License-Identifier: LGPL-2.1-or-later
// Counting, history and injected failures.  A call costs two relaxed increments as long as
// nothing is to fail; only an armed log takes its lock to look for an injection that is due.
#include "hypercall/model/call_log.h"

#include <algorithm>

#include "hypercall/model/clock.h"

namespace pviommu::model {

void CallLog::inject(std::optional<HypercallOp> op, std::uint64_t nth, int code, std::uint64_t after_pages) {
  std::lock_guard guard(lock_);
  injections_.push_back({op, nth, {code, after_pages}});
  armed_.store(true);
}

void CallLog::forget_injections() {
  std::lock_guard guard(lock_);
  injections_.clear();
  armed_.store(false);
}

CallLog::Injected CallLog::take_injection(HypercallOp op, std::uint64_t nth_of_all, std::uint64_t nth_of_op) {
  std::lock_guard guard(lock_);
  const auto due = std::find_if(injections_.begin(), injections_.end(), [&](const Injection& i) {
    return i.op ? *i.op == op && i.nth == nth_of_op : i.nth == nth_of_all;
  });
  if (due == injections_.end()) return {};
  const Injected what = due->what;
  injections_.erase(due);
  armed_.store(!injections_.empty());
  return what;
}

int CallLog::count_inner(HypercallOp op) {
  const std::uint64_t nth = by_op_[static_cast<std::size_t>(op)].fetch_add(1, std::memory_order_relaxed) + 1;
  return armed_.load(std::memory_order_relaxed) ? take_injection(op, 0, nth).code : 0;
}

std::vector<HypercallRecord> CallLog::history() const {
  std::lock_guard guard(lock_);
  std::vector<HypercallRecord> out;
  const std::uint64_t kept = std::min<std::uint64_t>(remembered_, kHistory);
  for (std::uint64_t i = remembered_ - kept; i < remembered_; ++i) out.push_back(history_[i % kHistory]);
  return out;
}

void CallLog::remember(const HypercallRecord& record) {
  std::lock_guard guard(lock_);
  history_[remembered_++ % kHistory] = record;
}

CallLog::Call::Call(CallLog& log, HypercallOp op, std::uint32_t target) : log_(log) {
  record_.op = op;
  record_.target = target;
  const std::uint64_t nth = log.all_.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::uint64_t nth_of_op =
      log.by_op_[static_cast<std::size_t>(op)].fetch_add(1, std::memory_order_relaxed) + 1;
  if (log.armed_.load(std::memory_order_relaxed)) injected_ = log.take_injection(op, nth, nth_of_op);
  if (statistics().timed.load(std::memory_order_relaxed) != 0) start_ = now_ns();
}

CallLog::Call::~Call() {
  if (start_ != 0) record_.ns = now_ns() - start_;
  log_.remember(record_);
}

}  // namespace pviommu::model
