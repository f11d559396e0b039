// SPDX-License-Identifier: LGPL-2.1-or-later
// Pieces of memory that overlap, as registrations that do not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>

#include "spapr_fake_kernel.h"
#include "hypercall/papr/vfio/registered_memory.h"

namespace pviommu::spapr {
namespace {

constexpr std::uint64_t kPage = 0x10000;  // the system's, larger than that of pieces
constexpr std::uint64_t kBase = 0x7f0000000000;

/// Pages of the system.
HvaRange piece(std::uint64_t first, std::uint64_t pages) {
  return HvaRange::from_size(Hva(kBase + first * kPage), pages * kPage).value();
}

class SpaprMemoryTest : public testing::Test {
 protected:
  SpaprMemoryTest() {
    kernel_.add_group(1);
    kernel_.add_group(2);
    container_ = kernel_.container_of(*calls_, 1, group_);
  }
  void TearDown() override {
    memory_.remove_container(container_.get());
    group_.reset();
    container_.reset();
    other_group_.reset();
    other_.reset();
    EXPECT_TRUE(kernel_.is_empty());
  }
  bool is_registered(std::uint64_t page) { return kernel_.is_registered(kBase + page * kPage); }
  std::vector<bool> picture(std::uint64_t pages) {
    std::vector<bool> all;
    for (std::uint64_t i = 0; i < pages; ++i) all.push_back(is_registered(i));
    return all;
  }

  FakeKernel kernel_{kPage};
  std::unique_ptr<VfioCalls> calls_ = kernel_.make_calls();
  RegisteredMemory memory_{*calls_, kPage};
  UniqueFd group_, container_, other_group_, other_;
};

TEST_F(SpaprMemoryTest, WithoutAContainerNothingIsAsked) {
  const unsigned before = kernel_.calls();
  ASSERT_TRUE(memory_.add(piece(0, 4)));
  memory_.remove(piece(0, 4));
  EXPECT_EQ(kernel_.calls(), before);
  EXPECT_EQ(memory_.registrations(), 0u);
}

TEST_F(SpaprMemoryTest, APieceIsRegisteredInWholePages) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  const auto small = HvaRange::from_size(Hva(kBase + kPage - 0x1000), 0x2000).value();
  ASSERT_TRUE(memory_.add(small));
  EXPECT_EQ(kernel_.registered_bytes(), 2 * kPage);
  EXPECT_TRUE(is_registered(0) && is_registered(1));
  // Another piece of one of the pages.
  const auto tail = HvaRange::from_size(Hva(kBase + 2 * kPage - 0x1000), 0x1000).value();
  ASSERT_TRUE(memory_.add(tail));
  memory_.remove(small);
  EXPECT_TRUE(is_registered(1));
  memory_.remove(tail);
  EXPECT_EQ(kernel_.registrations(), 0u);
}

TEST_F(SpaprMemoryTest, TheTopOfTheAddressSpace) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  const auto top = HvaRange::from_last(Hva(~std::uint64_t{0} - kPage + 1), Hva(~std::uint64_t{0})).value();
  ASSERT_TRUE(memory_.add(top));
  ASSERT_TRUE(memory_.add(top));
  EXPECT_EQ(kernel_.registered_bytes(), kPage);
  memory_.remove(top);
  memory_.remove(top);
  EXPECT_EQ(kernel_.registrations(), 0u);
}

/// Pieces that lie in every way to each other, added and removed in every order.
TEST_F(SpaprMemoryTest, OverlappingPiecesInEveryOrder) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  const std::array<std::pair<int, int>, 4> pieces = {{{2, 4}, {4, 4}, {0, 10}, {7, 1}}};
  std::array<int, 4> order = {0, 1, 2, 3};
  do {
    std::array<int, 4> back = {0, 1, 2, 3};
    do {
      std::array<int, 10> users{};
      const auto change = [&](int which, int by) {
        const auto [first, pages] = pieces[which];
        for (int i = first; i < first + pages; ++i) users[i] += by;
        if (by > 0)
          ASSERT_TRUE(memory_.add(piece(first, pages)));
        else
          memory_.remove(piece(first, pages));
        // A page may stay for as long as others of its registration are used.
        for (int i = 0; i < 10; ++i) {
          if (users[i] > 0) {
            EXPECT_TRUE(is_registered(i)) << i;
          }
        }
      };
      for (const int which : order) change(which, 1);
      EXPECT_EQ(kernel_.registered_bytes(), 10 * kPage);
      for (const int which : back) change(which, -1);
      ASSERT_EQ(kernel_.registrations(), 0u);
      ASSERT_EQ(memory_.registrations(), 0u);
    } while (std::ranges::next_permutation(back).found);
  } while (std::ranges::next_permutation(order).found);
}

/// Only what a new piece lacks is registered.
TEST_F(SpaprMemoryTest, TheGapsAreFilled) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  ASSERT_TRUE(memory_.add(piece(2, 2)));
  ASSERT_TRUE(memory_.add(piece(6, 2)));
  ASSERT_TRUE(memory_.add(piece(0, 12)));
  EXPECT_EQ(memory_.registrations(), 5u);  // 0-1, 2-3, 4-5, 6-7, 8-11
  EXPECT_EQ(kernel_.count(VFIO_IOMMU_SPAPR_REGISTER_MEMORY), 5u);
  memory_.remove(piece(2, 2));
  EXPECT_EQ(memory_.registrations(), 5u);
  memory_.remove(piece(0, 12));
  EXPECT_EQ(memory_.registrations(), 1u);
  EXPECT_TRUE(is_registered(6));
  memory_.remove(piece(6, 2));
  EXPECT_EQ(kernel_.count(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY), 5u);
  EXPECT_EQ(kernel_.registrations(), 0u);
}

/// Neighbours do not use each other's registrations.
TEST_F(SpaprMemoryTest, PiecesThatTouch) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  for (const std::uint64_t first : {2, 4, 0}) ASSERT_TRUE(memory_.add(piece(first, 2)));
  memory_.remove(piece(2, 2));
  EXPECT_EQ(picture(6), (std::vector<bool>{true, true, false, false, true, true}));
  memory_.remove(piece(0, 2));
  EXPECT_EQ(picture(6), (std::vector<bool>{false, false, false, false, true, true}));
  memory_.remove(piece(4, 2));
}

/// Beside counts of each page.  A registration goes as one, so a page that nobody
/// uses may be registered, but never one that somebody uses may be not.
TEST_F(SpaprMemoryTest, RandomPieces) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  other_ = kernel_.container_of(*calls_, 2, other_group_);
  bool with_other = false;
  constexpr unsigned kPages = 48;
  std::mt19937 random(4);
  std::array<int, kPages> users{};
  std::vector<std::pair<unsigned, unsigned>> live;
  unsigned failures = 0;
  for (int step = 0; step < 4000; ++step) {
    if (step % 500 == 499) {
      if (with_other) {
        memory_.remove_container(other_.get());
        other_group_.reset();
        other_.reset();
        other_ = kernel_.container_of(*calls_, 2, other_group_);
      } else {
        ASSERT_TRUE(memory_.add_container(other_.get()));
      }
      with_other = !with_other;
    }
    if (live.empty() || (live.size() < 14 && random() % 2 == 0)) {
      const unsigned first = random() % kPages, pages = 1 + random() % std::min(12u, kPages - first);
      const bool fail = random() % 4 == 0;
      if (fail) kernel_.fail_at(1 + random() % 6, ENOMEM);
      const auto before = picture(kPages);
      const Status added = memory_.add(piece(first, pages));
      const bool failed = fail && kernel_.has_failed();
      kernel_.fail_at(0);
      EXPECT_EQ(added.ok(), !failed);
      if (added) {
        live.emplace_back(first, pages);
        for (unsigned i = first; i < first + pages; ++i) ++users[i];
      } else {
        ++failures;
        EXPECT_EQ(added.error().code, ENOMEM);
        EXPECT_EQ(picture(kPages), before);
      }
    } else {
      std::swap(live[random() % live.size()], live.back());
      const auto [first, pages] = live.back();
      live.pop_back();
      memory_.remove(piece(first, pages));
      for (unsigned i = first; i < first + pages; ++i) --users[i];
    }
    for (unsigned i = 0; i < kPages; ++i) {
      if (users[i] > 0) {
        ASSERT_TRUE(is_registered(i)) << "step " << step << " page " << i;
      }
    }
    if (live.empty()) {
      ASSERT_EQ(kernel_.registrations(), 0u);
    }
  }
  EXPECT_GT(failures, 50u);
  for (const auto& [first, pages] : live) memory_.remove(piece(first, pages));
  EXPECT_EQ(kernel_.registrations(), 0u);
  EXPECT_EQ(memory_.registrations(), 0u);
  memory_.remove_container(other_.get());
}

TEST_F(SpaprMemoryTest, AFailureAtEveryCallLeavesItAsBefore) {
  other_ = kernel_.container_of(*calls_, 2, other_group_);
  ASSERT_TRUE(memory_.add_container(container_.get()));
  ASSERT_TRUE(memory_.add_container(other_.get()));
  ASSERT_TRUE(memory_.add(piece(2, 2)));
  ASSERT_TRUE(memory_.add(piece(6, 2)));
  unsigned n = 1;
  for (;; ++n) {
    kernel_.fail_at(n, ENOMEM);
    const Status added = memory_.add(piece(0, 10));
    if (!kernel_.has_failed()) {
      EXPECT_TRUE(added);
      break;
    }
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, ENOMEM);
    EXPECT_EQ(memory_.registrations(), 2u);
    EXPECT_EQ(picture(10),
              (std::vector<bool>{false, false, true, true, false, false, true, true, false, false}));
  }
  kernel_.fail_at(0);
  EXPECT_EQ(n, 7u) << "three gaps in two containers";
  // What was there before has the users that it had.
  memory_.remove(piece(0, 10));
  EXPECT_EQ(kernel_.registrations(), 2u);
  memory_.remove(piece(2, 2));
  memory_.remove(piece(6, 2));
  EXPECT_EQ(kernel_.registrations(), 0u);
  memory_.remove_container(other_.get());
}

TEST_F(SpaprMemoryTest, ALaterContainerGetsAllOrNothing) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  for (const std::uint64_t first : {0, 4, 8}) ASSERT_TRUE(memory_.add(piece(first, 2)));
  other_ = kernel_.container_of(*calls_, 2, other_group_);
  for (unsigned n = 1; n <= 3; ++n) {
    kernel_.fail_at(n, EAGAIN);
    const Status added = memory_.add_container(other_.get());
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, EAGAIN);
    // Nothing is left in it: the memory goes with the first one's.
    memory_.remove(piece(0, 2));
    EXPECT_FALSE(is_registered(0));
    ASSERT_TRUE(memory_.add(piece(0, 2)));
  }
  ASSERT_TRUE(memory_.add_container(other_.get()));
  EXPECT_EQ(kernel_.registrations(), 3u);
  memory_.remove_container(container_.get());
  group_.reset();
  container_.reset();
  EXPECT_EQ(kernel_.registrations(), 3u) << "the other one has them, too";
  for (const std::uint64_t first : {0, 4, 8}) memory_.remove(piece(first, 2));
  EXPECT_EQ(kernel_.registrations(), 0u);
  memory_.remove_container(other_.get());
}

TEST_F(SpaprMemoryTest, WhatTheKernelRefuses) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  kernel_.add_hole(kBase + 4 * kPage, kPage);
  const Status partly = memory_.add(piece(1, 6));
  ASSERT_FALSE(partly) << "a positive answer is none";
  EXPECT_EQ(partly.error().code, EFAULT);
  EXPECT_EQ(partly.error().raw, 3);
  const Status wholly = memory_.add(piece(4, 1));
  ASSERT_FALSE(wholly);
  EXPECT_EQ(wholly.error().code, EFAULT);
  kernel_.fail_at(1, EINVAL);
  const Status address = memory_.add(piece(0, 1));
  ASSERT_FALSE(address);
  EXPECT_EQ(address.error().code, EFAULT) << "no address of ours";
  kernel_.most_bytes = 2 * kPage;
  const Status much = memory_.add(piece(8, 3));
  ASSERT_FALSE(much);
  EXPECT_EQ(much.error().code, ENOMEM);
  EXPECT_EQ(kernel_.registrations(), 0u);
  EXPECT_EQ(memory_.registrations(), 0u);
}

TEST_F(SpaprMemoryTest, UnregisteringIsTriedAgain) {
  ASSERT_TRUE(memory_.add_container(container_.get()));
  ASSERT_TRUE(memory_.add(piece(0, 1)));
  testing::internal::CaptureStderr();
  kernel_.fail_request(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, 2, EBUSY);
  memory_.remove(piece(0, 1));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(kernel_.registrations(), 0u);

  ASSERT_TRUE(memory_.add(piece(0, 1)));
  testing::internal::CaptureStderr();
  kernel_.fail_request(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, 3, EBUSY);
  memory_.remove(piece(0, 1));
  EXPECT_NE(testing::internal::GetCapturedStderr().find("stays pinned"), std::string::npos);
  EXPECT_EQ(memory_.registrations(), 0u);
  EXPECT_EQ(kernel_.registrations(), 1u) << "until the container is closed";
}

/// With a pagemap: whether the pages are still those that were registered.
class SpaprWatchedMemoryTest : public SpaprMemoryTest {
 protected:
  void SetUp() override {
    file_ = std::tmpfile();
    ASSERT_NE(file_, nullptr);
    watched_ = std::make_unique<RegisteredMemory>(*calls_, kPage,
                                                  "/proc/self/fd/" + std::to_string(::fileno(file_)));
    ASSERT_TRUE(watched_->add_container(container_.get()));
    for (std::uint64_t page = 0; page < 16; ++page) set_frame(page, 0x1000 + page);
  }
  void TearDown() override {
    watched_->remove_container(container_.get());
    watched_.reset();
    std::fclose(file_);
    SpaprMemoryTest::TearDown();
  }
  /// Entries have flags above the frame number.
  void set_frame(std::uint64_t page, std::uint64_t frame, std::uint64_t flags = std::uint64_t{1} << 63) {
    const std::uint64_t entry = frame | flags;
    ASSERT_EQ(::pwrite(::fileno(file_), &entry, sizeof entry,
                       static_cast<off_t>((kBase / kPage + page) * sizeof entry)),
              8);
  }

  std::FILE* file_ = nullptr;
  std::unique_ptr<RegisteredMemory> watched_;
};

TEST_F(SpaprWatchedMemoryTest, TheSamePagesAreUsedAgain) {
  ASSERT_TRUE(watched_->add(piece(2, 4)));
  set_frame(2, 0x1002, std::uint64_t{1} << 55 | std::uint64_t{1} << 63);  // soft-dirty
  ASSERT_TRUE(watched_->add(piece(0, 8)));
  ASSERT_TRUE(watched_->add(piece(3, 1)));
  EXPECT_EQ(watched_->registrations(), 3u);
  for (const auto& [first, pages] : {std::pair{2, 4}, {0, 8}, {3, 1}}) watched_->remove(piece(first, pages));
  EXPECT_EQ(kernel_.registrations(), 0u);
}

TEST_F(SpaprWatchedMemoryTest, OtherPagesAtTheAddressAreRefused) {
  ASSERT_TRUE(watched_->add(piece(2, 2)));
  ASSERT_TRUE(watched_->add(piece(6, 2)));
  const auto before = picture(12);
  set_frame(7, 0x2000);
  EXPECT_EQ(watched_->add(piece(7, 1)).error().code, EBUSY);
  EXPECT_EQ(watched_->add(piece(6, 1)).error().code, EBUSY) << "the registration goes as one";
  EXPECT_EQ(watched_->add(piece(0, 12)).error().code, EBUSY);
  EXPECT_EQ(picture(12), before) << "all or nothing";
  ASSERT_TRUE(watched_->add(piece(0, 6)));
  watched_->remove(piece(0, 6));
  // What was replaced can be had when the old one is gone.
  watched_->remove(piece(6, 2));
  ASSERT_TRUE(watched_->add(piece(7, 1)));
  ASSERT_TRUE(watched_->add(piece(7, 1)));
  watched_->remove(piece(7, 1));
  watched_->remove(piece(7, 1));
  watched_->remove(piece(2, 2));
  EXPECT_EQ(kernel_.registrations(), 0u);
}

TEST_F(SpaprWatchedMemoryTest, WhereNobodyCanTellItIsRefused) {
  set_frame(4, 0);  // who may not know gets 0
  ASSERT_TRUE(watched_->add(piece(3, 2)));
  EXPECT_EQ(watched_->add(piece(3, 2)).error().code, EBUSY);
  set_frame(4, 0x1004);
  EXPECT_EQ(watched_->add(piece(3, 2)).error().code, EBUSY) << "what was registered is not known";
  watched_->remove(piece(3, 2));
  ASSERT_TRUE(watched_->add(piece(20, 2))) << "behind the file's end";
  EXPECT_EQ(watched_->add(piece(21, 2)).error().code, EBUSY);
  watched_->remove(piece(20, 2));
  EXPECT_EQ(kernel_.registrations(), 0u);
  RegisteredMemory blind(*calls_, kPage, "/nonexistent/pagemap");
  ASSERT_TRUE(blind.add(piece(0, 2)));
  EXPECT_EQ(blind.add(piece(0, 1)).error().code, EBUSY);
  ASSERT_TRUE(blind.add(piece(2, 2))) << "beside it";
}

}  // namespace
}  // namespace pviommu::spapr
