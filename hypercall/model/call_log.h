// SPDX-License-Identifier: LGPL-2.1-or-later
// What every hypercall of the model has in common: it is remembered in a short
// history, and can be told to fail.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "hypercall/result.h"
#include "hypercall/statistics.h"

namespace pviommu::model {

struct HypercallRecord {
  HypercallOp op = HypercallOp::create_space;
  std::uint32_t target = 0;  ///< SpaceId, or Sbdf for calls on a device
  std::uint64_t pages = 0;   ///< done by map and unmap
  int result = 0;            ///< errno
  std::uint64_t ns = 0;      ///< 0 unless statistics().timed
};

/// Thread-safe.
class CallLog {
 public:
  static constexpr std::size_t kHistory = 256;

  /// Makes the `nth` call since the machine was opened fail with the errno `code`, once.
  /// The first call is 1; counted are those of `op`, or all when it is empty.  map and
  /// unmap do `after_pages` pages of their batch first.
  void inject(std::optional<HypercallOp> op, std::uint64_t nth, int code, std::uint64_t after_pages = 0);
  /// Forgets the injections that have not happened yet.
  void forget_injections();

  std::uint64_t calls() const { return all_.load(std::memory_order_relaxed); }
  std::uint64_t calls(HypercallOp op) const {
    return by_op_[static_cast<std::size_t>(op)].load(std::memory_order_relaxed);
  }
  /// Oldest first, at most kHistory.
  std::vector<HypercallRecord> history() const;

  struct Injected {
    int code = 0;
    std::uint64_t after_pages = 0;
  };
  /// Counts work that is no hypercall by itself but can be made to fail by name.  Returns
  /// the errno that it has to fail with, or 0.
  int count_inner(HypercallOp op);

  /// One call, from construction to destruction.
  class Call {
   public:
    Call(CallLog& log, HypercallOp op, std::uint32_t target);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    const Injected& injected() const { return injected_; }
    void pages(std::uint64_t done) { record_.pages = done; }
    void target(std::uint32_t target) { record_.target = target; }
    void failed(int code) { record_.result = code; }
    /// `work()` unless the call is to fail, with its result noted.
    template <class Work>
    auto run(Work&& work) -> decltype(work()) {
      if (injected_.code != 0) {
        failed(injected_.code);
        return Error{injected_.code, "injected failure"};
      }
      auto result = std::forward<Work>(work)();
      if (!result) failed(result.error().code);
      return result;
    }

   private:
    CallLog& log_;
    HypercallRecord record_;
    Injected injected_;
    std::uint64_t start_ = 0;
  };

 private:
  struct Injection {
    std::optional<HypercallOp> op;
    std::uint64_t nth = 0;
    Injected what;
  };
  Injected take_injection(HypercallOp op, std::uint64_t nth_of_all, std::uint64_t nth_of_op);
  void remember(const HypercallRecord& record);

  std::atomic<std::uint64_t> all_{0};
  std::array<std::atomic<std::uint64_t>, kHypercallOps> by_op_{};
  std::atomic<bool> armed_{false};  ///< injections_ is not empty

  mutable std::mutex lock_;
  std::vector<Injection> injections_;
  std::array<HypercallRecord, kHistory> history_{};
  std::uint64_t remembered_ = 0;
};

}  // namespace pviommu::model
