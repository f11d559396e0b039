// SPDX-License-Identifier: LGPL-2.1-or-later
// A program's whole life as steps, each of which may meet a hypercall that fails.
//
// The failing step must answer the injected errno and leave things as they were,
// so that the same step works when it is tried again; in the end nothing is
// mapped, pinned, attached or allocated.
#pragma once

#include <functional>

#include "hypercall/statistics.h"
#include "vfio_engine_rig.h"

namespace pviommu::vfio {

inline constexpr int kInjected = EHOSTDOWN;  // no other place answers this

class Life {
 protected:
  static constexpr std::size_t kBytes = 300 * kPageSize;

  explicit Life(EngineRig& rig) : rig_(rig) {
    memory_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memset(memory_, 1, kBytes);
  }
  ~Life() { ::munmap(memory_, kBytes); }

  /// A step that answers the injected errno is checked, counted and repeated.
  void step(const char* name, const std::function<long()>& work) {
    const auto& statistics = pviommu::statistics();
    const std::uint64_t mappings = statistics.live_mappings(), pages = statistics.live_pages(),
                        pinned = statistics.pinned_pages.load();
    const long result = work();
    if (result == 0) return;
    ++failures_;
    EXPECT_EQ(result, -kInjected) << name;
    EXPECT_EQ(statistics.live_mappings(), mappings) << name;
    EXPECT_EQ(statistics.live_pages(), pages) << name;
    EXPECT_EQ(statistics.pinned_pages.load(), pinned) << name;
    EXPECT_EQ(work(), 0) << name << ", a second time";
  }

  EngineRig& rig_;
  std::uint8_t* memory_ = nullptr;
  int failures_ = 0;
};

/// `Lived(rig).run()` runs all steps and returns how many met a failure: without one, and then
/// with each of its hypercalls failing once, on an edu of `machine`.
template <class Lived>
void fail_every_hypercall_once(const std::string& machine) {
  std::uint64_t calls = 0;
  {
    EngineRig rig(machine);
    EXPECT_EQ(Lived(rig).run(), 0);
    calls = rig.model->calls().calls();
  }
  ASSERT_GT(calls, 10u);
  int seen = 0;
  for (std::uint64_t n = 1; n <= calls; ++n)
    for (std::uint64_t after_pages : {0, 3}) {
      SCOPED_TRACE("hypercall " + std::to_string(n) + " of " + std::to_string(calls) + " after " +
                   std::to_string(after_pages) + " pages");
      EngineRig rig(machine);
      rig.model->calls().inject(std::nullopt, n, kInjected, after_pages);
      seen += Lived(rig).run();
      const auto& statistics = pviommu::statistics();
      EXPECT_EQ(statistics.live_mappings(), 0u);
      EXPECT_EQ(statistics.live_pages(), 0u);
      EXPECT_EQ(statistics.pinned_pages.load(), 0u);
      EXPECT_EQ(rig.model->live_spaces(), 0u);
      EXPECT_EQ(rig.model->violations().forgotten_in_use, 0u);
      EXPECT_EQ(rig.model->violations().wrong_frame, 0u);
      EXPECT_EQ(rig.model->violations().vectors_left, 0u);
      EXPECT_EQ(Lived(rig).run(), 0) << "the device is free: a second life works";
      if (testing::Test::HasFailure()) return;
    }
  EXPECT_GT(seen, 10) << "some step must have seen a failure";
}

}  // namespace pviommu::vfio
