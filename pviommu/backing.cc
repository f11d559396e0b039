// SPDX-License-Identifier: LGPL-2.1-or-later
// The end of pins: given back, or abandoned with their pages.
#include "pviommu/backing.h"

#include <atomic>
#include <mutex>
#include <new>

namespace pviommu {
namespace {

/// Pins that are never given back.  Named somewhere, so that a leak checker can
/// tell them from pins that were forgotten.
struct Abandoned {
  std::mutex lock;
  std::vector<std::uint64_t> owners;
  std::atomic<std::uint64_t> pages{0};
};
Abandoned& abandoned() noexcept {
  static auto* all = new Abandoned;  // outlives static destruction
  return *all;
}

}  // namespace

PendingPins::~PendingPins() {
  for (auto& pin : more) spaces.forget_frames(*pin);
  if (single && known) spaces.forget_frames(*single);
}

void abandon(std::uint64_t owner, std::uint64_t pages) noexcept {
  Abandoned& all = abandoned();
  all.pages.fetch_add(pages, std::memory_order_relaxed);
  const std::lock_guard guard(all.lock);
  try {
    all.owners.push_back(owner);
  } catch (const std::bad_alloc&) {
    // Only the name is lost; the pin stays all the same.
  }
}

std::uint64_t pages_abandoned() noexcept { return abandoned().pages.load(std::memory_order_relaxed); }

}  // namespace pviommu
