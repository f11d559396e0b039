// SPDX-License-Identifier: LGPL-2.1-or-later
// Address spaces over the kernel's containers.
#include <gtest/gtest.h>

#include <random>

#include "spapr_rig.h"

namespace pviommu::spapr {
namespace {

constexpr std::uint32_t kRead = VFIO_DMA_MAP_FLAG_READ, kWrite = VFIO_DMA_MAP_FLAG_WRITE;

/// Both ways the kernel has.
class SpaprSpaceTest : public SpaprTest, public testing::WithParamInterface<ContainerType> {
 protected:
  SpaprSpaceTest() { config_.container = GetParam(); }
  bool is_v2() const { return GetParam() == ContainerType::v2; }
  bool has_page(unsigned group, std::uint64_t dfn, const NamedMemory& memory, std::uint64_t page = 0) {
    return kernel_.reach(group, dfn << kPageShift) ==
           reinterpret_cast<std::byte*>(memory.range().first().raw() + page * kPageSize);
  }
};
INSTANTIATE_TEST_SUITE_P(Containers, SpaprSpaceTest, testing::Values(ContainerType::v1, ContainerType::v2),
                         [](const auto& info) { return info.param == ContainerType::v1 ? "v1" : "v2"; });

TEST_P(SpaprSpaceTest, DevicesKnownBeforeHaveTheirMemoryAtOnce) {
  const SpaceId space = space_of({kFirst});
  EXPECT_EQ(kernel_.open_files(), 2u) << "a group and its container";
  NamedMemory memory(kMemory, 4);
  ASSERT_TRUE(pin(memory));
  EXPECT_EQ(kernel_.registrations(), is_v2() ? 1u : 0u);
  ASSERT_TRUE(map(space, run(memory, 0x10)));
  EXPECT_TRUE(has_page(1, 0x10, memory));
  EXPECT_TRUE(has_page(1, 0x13, memory, 3));
  EXPECT_EQ(kernel_.entries(1).size(), 4u);
  auto device = open_device(kFirst);
  ASSERT_TRUE(spapr().attach(space, kFirst));
  EXPECT_EQ(kernel_.entries(1).size(), 4u);
  ASSERT_TRUE(spapr().detach(space, kFirst));
  ASSERT_TRUE(unmap(space, removal(run(memory, 0x10))));
  EXPECT_TRUE(kernel_.entries(1).empty());
  spapr().forget_frames(memory);
  EXPECT_EQ(kernel_.registrations(), 0u);
  ASSERT_TRUE(spapr().destroy_space(space));
  device.reset();
  EXPECT_TRUE(kernel_.is_empty());
}

TEST_P(SpaprSpaceTest, RightsAreEntered) {
  const SpaceId space = space_of({kFirst});
  NamedMemory memory(kMemory, 1);
  ASSERT_TRUE(pin(memory));
  ASSERT_TRUE(map(space, run(memory, 1, Access::read)));
  ASSERT_TRUE(map(space, run(memory, 2, Access::write)));
  ASSERT_TRUE(map(space, run(memory, 3)));
  const auto entries = kernel_.entries(1);
  EXPECT_EQ(entries.at(0x1000).flags, kRead);
  EXPECT_EQ(entries.at(0x2000).flags, kWrite);
  EXPECT_EQ(entries.at(0x3000).flags, kRead | kWrite);
  ASSERT_TRUE(spapr().destroy_space(space)) << "mappings go with it";
  spapr().forget_frames(memory);
  EXPECT_TRUE(kernel_.is_empty());
}

TEST_P(SpaprSpaceTest, AGroupThatJoinsLaterGetsWhatThereIs) {
  const SpaceId space = space_of();
  EXPECT_EQ(kernel_.open_files(), 0u);
  NamedMemory memory(kMemory, 8);
  ASSERT_TRUE(pin(memory));
  ASSERT_TRUE(map(space, {Dfn(4), Mfn(kMemory >> 12), 2, Access::read}));
  ASSERT_TRUE(map(space, {Dfn(0x40), Mfn((kMemory >> 12) + 2), 6, Access::read_write}));
  ASSERT_TRUE(unmap(space, {Dfn(0x42), Mfn((kMemory >> 12) + 4), 2}));
  EXPECT_EQ(spapr().attach(space, kFirst).error().code, ENODEV) << "not open";
  auto device = open_device(kFirst);
  ASSERT_TRUE(spapr().attach(space, kFirst));
  std::vector<std::uint64_t> at;
  for (const auto& [iova, entry] : kernel_.entries(1)) at.push_back(iova >> 12);
  EXPECT_EQ(at, (std::vector<std::uint64_t>{4, 5, 0x40, 0x41, 0x44, 0x45}));
  EXPECT_EQ(kernel_.entries(1).at(0x4000).flags, kRead);
  EXPECT_TRUE(has_page(1, 0x45, memory, 7));
  ASSERT_TRUE(spapr().detach(space, kFirst));
  ASSERT_TRUE(spapr().destroy_space(space));
  EXPECT_TRUE(kernel_.entries(1).empty()) << "the device is open, its window is empty";
  device.reset();
  spapr().forget_frames(memory);
  EXPECT_TRUE(kernel_.is_empty());
}

TEST_P(SpaprSpaceTest, AJoinThatFailsAtEveryCallLeavesNothing) {
  const SpaceId space = space_of();
  NamedMemory memory(kMemory, 8);
  ASSERT_TRUE(pin(memory));
  for (const std::uint64_t i : {0, 1, 2, 3})
    ASSERT_TRUE(map(space, {Dfn(0x10 * i), Mfn((kMemory >> 12) + i), 1, Access::read_write}));
  auto device = open_device(kFirst);
  for (unsigned n = 1; n <= 4; ++n) {
    kernel_.fail_at(n, ENOMEM);
    const Status attached = spapr().attach(space, kFirst);
    ASSERT_FALSE(attached) << n;
    EXPECT_EQ(attached.error().code, ENOMEM);
    EXPECT_TRUE(kernel_.entries(1).empty()) << n;
    EXPECT_EQ(spapr().detach(space, kFirst).error().code, ENOENT);
  }
  ASSERT_TRUE(spapr().attach(space, kFirst));
  EXPECT_EQ(kernel_.entries(1).size(), 4u);
  ASSERT_TRUE(spapr().detach(space, kFirst));
  ASSERT_TRUE(spapr().destroy_space(space));
  spapr().forget_frames(memory);
}

TEST_P(SpaprSpaceTest, TwoGroupsHaveTheSame) {
  const SpaceId space = space_of({kFirst, kSecond, kOther});
  EXPECT_EQ(kernel_.open_files(), 4u);
  NamedMemory memory(kMemory, 2);
  ASSERT_TRUE(pin(memory));
  EXPECT_EQ(kernel_.count(VFIO_IOMMU_SPAPR_REGISTER_MEMORY), is_v2() ? 2u : 0u) << "each container";
  ASSERT_TRUE(map(space, run(memory, 7)));
  EXPECT_EQ(kernel_.entries(1), kernel_.entries(2));
  EXPECT_EQ(kernel_.entries(1).size(), 2u);
  // The second one fails: the first one has it not either.
  NamedMemory more(kMemory + 0x100000, 2);
  ASSERT_TRUE(pin(more));
  kernel_.fail_at(2, ENOMEM);
  EXPECT_EQ(map(space, run(more, 0x20)).error().code, ENOMEM);
  EXPECT_EQ(kernel_.entries(1).size(), 2u);
  EXPECT_EQ(kernel_.entries(1), kernel_.entries(2));
  ASSERT_TRUE(map(space, run(more, 0x20, Access::read)));
  // Nor does it lose it.
  for (const unsigned n : {1, 2}) {
    kernel_.fail_at(n, EIO);
    EXPECT_EQ(unmap(space, removal(run(more, 0x20))).error().code, EIO);
    EXPECT_EQ(kernel_.entries(1).size(), 4u);
    EXPECT_EQ(kernel_.entries(1), kernel_.entries(2));
    EXPECT_EQ(kernel_.entries(1).at(0x20000).flags, kRead);
  }
  ASSERT_TRUE(unmap(space, removal(run(more, 0x20))));
  spapr().forget_frames(more);
  ASSERT_TRUE(spapr().destroy_space(space));
  spapr().forget_frames(memory);
  EXPECT_TRUE(kernel_.is_empty());
}

TEST_P(SpaprSpaceTest, AMapThatCannotBeTakenBackLosesTheState) {
  const SpaceId space = space_of({kFirst, kSecond, kOther});
  NamedMemory memory(kMemory, 2);
  ASSERT_TRUE(pin(memory));
  // The second group refuses it, and the first one keeps it.
  kernel_.fail_at(2, ENOMEM);
  kernel_.fail_request(VFIO_IOMMU_UNMAP_DMA, 1);
  const Status status = map(space, run(memory, 0x10));
  EXPECT_EQ(status.error().code, EIO);
  EXPECT_TRUE(status.error().state_lost);
  EXPECT_EQ(kernel_.entries(1).size() + kernel_.entries(2).size(), 2u);
}

TEST_P(SpaprSpaceTest, AnUnmapThatCannotBeTakenBackLosesTheState) {
  const SpaceId space = space_of({kFirst, kSecond, kOther});
  NamedMemory memory(kMemory, 2);
  ASSERT_TRUE(pin(memory));
  ASSERT_TRUE(map(space, run(memory, 0x10)));
  kernel_.fail_at(2, ENOMEM);
  Status status = unmap(space, removal(run(memory, 0x10)));
  EXPECT_EQ(status.error().code, ENOMEM);
  EXPECT_FALSE(status.error().state_lost);
  EXPECT_EQ(kernel_.entries(1).size() + kernel_.entries(2).size(), 4u);
  kernel_.fail_at(2, ENOMEM);
  kernel_.fail_request(VFIO_IOMMU_MAP_DMA, 1);
  status = unmap(space, removal(run(memory, 0x10)));
  EXPECT_EQ(status.error().code, EIO);
  EXPECT_TRUE(status.error().state_lost);
  EXPECT_EQ(kernel_.entries(1).size() + kernel_.entries(2).size(), 2u);
}

TEST_P(SpaprSpaceTest, AJoinThatCannotBeTakenBackLosesTheState) {
  const SpaceId space = space_of();
  NamedMemory memory(kMemory, 2);
  ASSERT_TRUE(pin(memory));
  for (const std::uint64_t dfn : {0x100, 0x200})
    ASSERT_TRUE(map(space, {Dfn(dfn), Mfn(kMemory >> kPageShift), 1, Access::read}));
  auto device = open_device(kFirst);
  kernel_.fail_at(2, ENOMEM);
  kernel_.fail_request(VFIO_IOMMU_UNMAP_DMA, 1);
  const Status status = spapr().attach(space, kFirst);
  EXPECT_EQ(status.error().code, EIO);
  EXPECT_TRUE(status.error().state_lost);
  EXPECT_EQ(kernel_.entries(1).size(), 1u);
  device.reset();
}

TEST_P(SpaprSpaceTest, AGroupMovesWhenNothingIsAttached) {
  const SpaceId first = space_of({kFirst}), second = space_of();
  auto device = open_device(kFirst), sibling = open_device(kSecond);
  NamedMemory memory(kMemory, 2);
  ASSERT_TRUE(pin(memory));
  ASSERT_TRUE(map(first, run(memory, 1)));
  ASSERT_TRUE(map(second, run(memory, 0x100)));
  ASSERT_TRUE(spapr().attach(first, kFirst));
  EXPECT_EQ(spapr().attach(first, kFirst).error().code, EBUSY);
  EXPECT_EQ(spapr().attach(second, kFirst).error().code, EBUSY);
  EXPECT_EQ(spapr().attach(second, kSecond).error().code, EBUSY) << "its group is there";
  EXPECT_EQ(spapr().destroy_space(first).error().code, EBUSY);
  EXPECT_EQ(spapr().create_space({"", {kOther, kFirst}}).error().code, EBUSY);
  EXPECT_EQ(kernel_.count(VFIO_GROUP_GET_STATUS), 2u);
  EXPECT_EQ(kernel_.open_files(), 4u) << "what was opened for it is closed";
  ASSERT_TRUE(spapr().attach(first, kSecond));
  ASSERT_TRUE(spapr().detach(first, kFirst));
  EXPECT_EQ(spapr().attach(second, kFirst).error().code, EBUSY);
  EXPECT_EQ(spapr().detach(second, kSecond).error().code, ENOENT);
  ASSERT_TRUE(spapr().detach(first, kSecond));
  EXPECT_EQ(spapr().detach(first, kSecond).error().code, ENOENT);
  ASSERT_TRUE(spapr().attach(second, kSecond));
  EXPECT_FALSE(kernel_.reach(1, 0x1000));
  EXPECT_TRUE(has_page(1, 0x100, memory));
  // The space it left goes on without it.
  ASSERT_TRUE(unmap(first, removal(run(memory, 1))));
  ASSERT_TRUE(spapr().destroy_space(first));
  ASSERT_TRUE(spapr().detach(second, kSecond));
  ASSERT_TRUE(spapr().destroy_space(second));
  spapr().forget_frames(memory);
}

/// The space that a group leaves keeps it whole when the removal fails.
TEST_P(SpaprSpaceTest, AMoveThatFailsAtEveryCall) {
  const SpaceId first = space_of({kFirst}), second = space_of();
  auto device = open_device(kFirst);
  NamedMemory memory(kMemory, 8);
  ASSERT_TRUE(pin(memory));
  for (const std::uint64_t i : {0, 1, 2})
    ASSERT_TRUE(map(first, {Dfn(0x10 * i), Mfn((kMemory >> 12) + i), 1, Access::read}));
  for (const std::uint64_t i : {4, 5})
    ASSERT_TRUE(map(second, {Dfn(0x10 * i), Mfn((kMemory >> 12) + i), 1, Access::read}));
  for (unsigned n = 1; n <= 5; ++n) {
    kernel_.fail_at(n);
    EXPECT_EQ(spapr().attach(second, kFirst).error().code, EIO) << n;
    ASSERT_TRUE(spapr().attach(first, kFirst)) << n;
    EXPECT_EQ(kernel_.entries(1).size(), 3u) << n;
    for (const std::uint64_t i : {0, 1, 2}) EXPECT_TRUE(has_page(1, 0x10 * i, memory, i)) << n;
    ASSERT_TRUE(spapr().detach(first, kFirst));
  }
  ASSERT_TRUE(spapr().attach(second, kFirst));
  EXPECT_EQ(kernel_.entries(1).size(), 2u);
  ASSERT_TRUE(spapr().detach(second, kFirst));
  ASSERT_TRUE(spapr().destroy_space(first));
  ASSERT_TRUE(spapr().destroy_space(second));
  spapr().forget_frames(memory);
}

TEST_P(SpaprSpaceTest, ADestructionThatFailsCanBeRepeated) {
  const SpaceId space = space_of({kFirst, kOther});
  NamedMemory memory(kMemory, 8);
  ASSERT_TRUE(pin(memory));
  for (const std::uint64_t i : {0, 1})
    ASSERT_TRUE(map(space, {Dfn(0x10 * i), Mfn((kMemory >> 12) + i), 1, Access::read}));
  for (unsigned n = 1; n <= 2; ++n) {
    kernel_.fail_at(n);
    EXPECT_EQ(spapr().destroy_space(space).error().code, EIO) << n;
  }
  ASSERT_TRUE(spapr().destroy_space(space));
  EXPECT_EQ(spapr().destroy_space(space).error().code, ENOENT);
  spapr().forget_frames(memory);
  EXPECT_TRUE(kernel_.is_empty());
}

TEST_P(SpaprSpaceTest, WhatIsRefused) {
  const SpaceId space = space_of({kFirst}), none(77);
  NamedMemory memory(kMemory, 8);
  ASSERT_TRUE(pin(memory));
  const MapRun all = run(memory, 0x10);
  ASSERT_TRUE(map(space, all));
  const unsigned before = kernel_.calls();
  EXPECT_EQ(map(space, {Dfn(0x17), Mfn(1), 1, Access::read}).error().code, EEXIST);
  EXPECT_EQ(map(space, {Dfn(0xf), Mfn(1), 2, Access::read}).error().code, EEXIST);
  EXPECT_EQ(unmap(space, {Dfn(0x20), all.mfn, 1}).error().code, ENOENT);
  EXPECT_EQ(unmap(space, {Dfn(0x10), all.mfn + 1, 1}).error().code, ENOENT) << "another frame";
  EXPECT_EQ(unmap(space, {Dfn(0x10), all.mfn, 9}).error().code, ENOENT);
  EXPECT_EQ(map(none, all).error().code, ENOENT);
  EXPECT_EQ(unmap(none, removal(all)).error().code, ENOENT);
  EXPECT_EQ(spapr().flush(none).error().code, ENOENT);
  EXPECT_TRUE(spapr().flush(space));
  EXPECT_EQ(spapr().attach(none, kFirst).error().code, ENOENT);
  EXPECT_EQ(spapr().detach(none, kFirst).error().code, ENOENT);
  EXPECT_EQ(spapr().detach(space, kFirst).error().code, ENOENT);
  EXPECT_EQ(spapr().destroy_space(none).error().code, ENOENT);
  std::vector<FrameRun> frames;
  EXPECT_EQ(spapr().frames_of_mmio(kFirst, 0, 0, kPageSize, frames).error().code, EOPNOTSUPP);
  EXPECT_EQ(kernel_.calls(), before) << "nothing of that is the kernel's to tell";
  EXPECT_EQ(spapr().create_space({"", {make_sbdf(9, 0, 0, 0)}}).error().code, ENODEV);
  EXPECT_EQ(map(space, {Dfn(kGiB >> 12), all.mfn, 1, Access::read}).error().code, EINVAL) << "outside";
  EXPECT_EQ(map(space, {Dfn((kGiB >> 12) - 1), all.mfn, 2, Access::read}).error().code, EINVAL)
      << "over the end";
  EXPECT_EQ(kernel_.entries(1).size(), 8u);
  // What was refused is not taken for mapped.
  EXPECT_EQ(unmap(space, {Dfn(kGiB >> 12), all.mfn, 1}).error().code, ENOENT);
  ASSERT_TRUE(spapr().destroy_space(space));
  spapr().forget_frames(memory);
}

TEST_P(SpaprSpaceTest, PiecesOfRunsAreUnmapped) {
  const SpaceId space = space_of({kFirst});
  NamedMemory memory(kMemory, 16);
  ASSERT_TRUE(pin(memory));
  const Mfn mfn(kMemory >> 12);
  // Two maps that go on in each other, taken down in other pieces.
  ASSERT_TRUE(map(space, {Dfn(0x10), mfn, 8, Access::read_write}));
  ASSERT_TRUE(map(space, {Dfn(0x18), mfn + 8, 8, Access::read_write}));
  ASSERT_TRUE(unmap(space, {Dfn(0x16), mfn + 6, 4}));
  EXPECT_EQ(kernel_.entries(1).size(), 12u);
  EXPECT_EQ(unmap(space, {Dfn(0x15), mfn + 5, 2}).error().code, ENOENT);
  ASSERT_TRUE(map(space, {Dfn(0x17), mfn, 2, Access::read}));
  EXPECT_TRUE(has_page(1, 0x17, memory));
  // A batch says how far it came.
  const std::array<UnmapRun, 3> list = {
      {{Dfn(0x10), mfn, 6}, {Dfn(0x16), mfn + 6, 1}, {Dfn(0x1a), mfn + 10, 6}}};
  const auto result = spapr().unmap(space, list);
  EXPECT_EQ(result.pages_done, 6u);
  EXPECT_EQ(result.status.error().code, ENOENT);
  const std::array<MapRun, 3> more = {{{Dfn(0x30), mfn, 2}, {Dfn(0x32), mfn, 1}, {Dfn(0x31), mfn, 1}}};
  const auto mapped = spapr().map(space, more);
  EXPECT_EQ(mapped.pages_done, 3u);
  EXPECT_EQ(mapped.status.error().code, EEXIST);
  EXPECT_EQ(kernel_.entries(1).size(), 6u + 2u + 3u);
  ASSERT_TRUE(spapr().destroy_space(space));
  spapr().forget_frames(memory);
}

/// One whole life, a call failing at every place.
TEST_P(SpaprSpaceTest, AFailureAtEveryCallOfALife) {
  SpaprHypervisor& papr = spapr();
  const auto life = [&]() {
    std::vector<int> errors;
    const auto keep = [&](const auto& result) {
      if (!result) errors.push_back(result.error().code);
      return static_cast<bool>(result);
    };
    // What a caller does when a removal fails: it asks again.
    const auto repeat = [&](auto&& work) {
      for (int tries = 0; tries < 2; ++tries)
        if (keep(work())) return;
      ADD_FAILURE() << "not the second time either";
    };
    NamedMemory memory(kMemory, 4), second(kMemory + 2 * kPageSize, 4);
    const auto space = papr.create_space({"", {kFirst}});
    if (!keep(space)) return errors;
    std::vector<FrameRun> frames;
    const bool pinned = keep(papr.frames_of(memory, frames));
    const bool mapped = pinned && keep(map(*space, run(memory, 0x10)));
    auto device = papr.open_device(kFirst);
    auto other = papr.open_device(kOther);
    const bool attached = keep(device) && keep(papr.attach(*space, kFirst));
    const bool joined = keep(other) && keep(papr.attach(*space, kOther));
    const bool pinned_too = pinned && keep(papr.frames_of(second, frames));
    const bool mapped_too = pinned_too && keep(map(*space, run(second, 0x20)));
    if (mapped) {
      EXPECT_EQ(kernel_.entries(1).size(), mapped_too ? 8u : 4u);
    }
    if (joined) {
      EXPECT_EQ(kernel_.entries(1), kernel_.entries(2));
    }
    if (device && *device) {
      const auto vectors = papr.allocate_vectors(kFirst, VectorKind::msi, 2);
      if (keep(vectors)) repeat([&] { return papr.free_vectors(kFirst, VectorKind::msi); });
    }
    if (mapped_too) repeat([&] { return unmap(*space, removal(run(second, 0x20))); });
    if (pinned_too) papr.forget_frames(second);
    if (joined) repeat([&] { return papr.detach(*space, kOther); });
    if (attached) repeat([&] { return papr.detach(*space, kFirst); });
    if (device) device->reset();
    repeat([&] { return papr.destroy_space(*space); });
    if (pinned) papr.forget_frames(memory);
    return errors;
  };
  testing::internal::CaptureStderr();
  EXPECT_TRUE(life().empty());
  unsigned n = 1, told = 0;
  for (;; ++n) {
    const int code = n % 2 != 0 ? ENOMEM : EBUSY;
    kernel_.fail_at(n, code);
    const auto errors = life();
    EXPECT_TRUE(kernel_.is_empty()) << "call " << n;
    if (!kernel_.has_failed()) {
      EXPECT_TRUE(errors.empty());
      break;
    }
    const unsigned long failed = kernel_.failed_request();
    std::vector<int> expected = {failed == VFIO_SET_IOMMU ? EOPNOTSUPP : code};
    if (failed == VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY) expected.clear();  // tried again
    EXPECT_EQ(errors, expected) << "call " << n << ", request " << failed;
    told += static_cast<unsigned>(errors.size());
    if (HasFailure()) break;
  }
  kernel_.fail_at(0);
  testing::internal::GetCapturedStderr();
  EXPECT_GT(n, 40u);
  EXPECT_GE(told + 10, n) << "only a few can be got over";
}

/// Beside a picture of what is mapped.
TEST_P(SpaprSpaceTest, RandomMapsAndUnmaps) {
  auto device = open_device(kFirst), other = open_device(kOther);
  const SpaceId space = space_of({kFirst});
  std::mt19937 random(7);
  struct Mapping {
    std::unique_ptr<NamedMemory> memory;
    std::uint64_t dfn;
  };
  std::map<std::uint64_t, std::uint64_t> picture;  // dfn -> page number
  std::vector<Mapping> live;
  bool with_other = false;
  for (int step = 0; step < 1500; ++step) {
    const bool fail = random() % 3 == 0;
    if (random() % 100 == 0) {
      if (with_other) {
        ASSERT_TRUE(spapr().detach(space, kOther));
        const SpaceId away = space_of({kOther});  // takes the group from it
        ASSERT_TRUE(spapr().destroy_space(away));
      } else {
        ASSERT_TRUE(spapr().attach(space, kOther));
      }
      with_other = !with_other;
    } else if (live.empty() || (live.size() < 20 && random() % 2 == 0)) {
      auto memory = std::make_unique<NamedMemory>(kMemory + random() % 64 * kPageSize, 1 + random() % 12);
      const std::uint64_t dfn = random() % 256;
      if (fail) kernel_.fail_at(1 + random() % 8, ENOMEM);
      bool free = true;
      for (std::uint64_t i = 0; i < memory->pages(); ++i) free &= !picture.contains(dfn + i);
      Status done = pin(*memory);
      if (done && !(done = map(space, run(*memory, dfn)))) spapr().forget_frames(*memory);
      const bool failed = fail && kernel_.has_failed();
      kernel_.fail_at(0);
      if (done) {
        EXPECT_TRUE(free);
        for (std::uint64_t i = 0; i < memory->pages(); ++i)
          picture[dfn + i] = (memory->range().first().raw() >> 12) + i;
        live.push_back({std::move(memory), dfn});
      } else {
        EXPECT_EQ(done.error().code, free || (failed && done.error().code == ENOMEM) ? ENOMEM : EEXIST);
      }
    } else {
      std::swap(live[random() % live.size()], live.back());
      const Mapping& gone = live.back();
      if (fail) kernel_.fail_at(1 + random() % 3);
      Status done = unmap(space, removal(run(*gone.memory, gone.dfn)));
      kernel_.fail_at(0);
      if (!done) {
        EXPECT_EQ(done.error().code, EIO);
      } else {
        spapr().forget_frames(*gone.memory);
        for (std::uint64_t i = 0; i < gone.memory->pages(); ++i) picture.erase(gone.dfn + i);
        live.pop_back();
      }
    }
    const auto entries = kernel_.entries(1);
    ASSERT_EQ(entries.size(), picture.size()) << step;
    for (const auto& [dfn, page] : picture) ASSERT_EQ(entries.at(dfn << 12).address, page << 12) << step;
    if (with_other) {
      ASSERT_EQ(kernel_.entries(2), entries) << step;
    }
  }
  if (with_other) {
    ASSERT_TRUE(spapr().detach(space, kOther));
  }
  ASSERT_TRUE(spapr().destroy_space(space));
  for (const Mapping& mapping : live) spapr().forget_frames(*mapping.memory);
}

TEST_P(SpaprSpaceTest, ADeviceThatIsClosedAttachedIsForgotten) {
  const SpaceId space = space_of();
  auto device = open_device(kFirst);
  ASSERT_TRUE(spapr().attach(space, kFirst));
  device.reset();
  EXPECT_EQ(spapr().detach(space, kFirst).error().code, ENOENT);
  EXPECT_TRUE(spapr().destroy_space(space));
}

TEST_P(SpaprSpaceTest, SpacesAtOnce) {
  const SpaceId first = space_of({kFirst}), second = space_of({kOther});
  const auto work = [&](SpaceId space, std::uint64_t at) {
    for (int i = 0; i < 200; ++i) {
      NamedMemory memory(at + (i % 8) * kPageSize, 4);  // of both, in part
      std::vector<FrameRun> frames;
      EXPECT_TRUE(spapr().frames_of(memory, frames));
      EXPECT_TRUE(map(space, run(memory, 0x10)));
      EXPECT_TRUE(unmap(space, removal(run(memory, 0x10))));
      spapr().forget_frames(memory);
    }
  };
  std::thread one(work, first, kMemory), two(work, second, kMemory + 2 * kPageSize);
  for (int i = 0; i < 50; ++i) {
    auto device = open_device(kFirst);
    EXPECT_TRUE(spapr().attach(first, kFirst));
    EXPECT_TRUE(spapr().detach(first, kFirst));
  }
  one.join();
  two.join();
  EXPECT_TRUE(spapr().destroy_space(first));
  EXPECT_TRUE(spapr().destroy_space(second));
}

using SpaprRegisteredTest = SpaprTest;

TEST_F(SpaprRegisteredTest, MemoryThatCannotBePinned) {
  const SpaceId space = space_of({kFirst});
  kernel_.add_hole(kMemory + 2 * kPageSize, kPageSize);
  NamedMemory partly(kMemory, 4), wholly(kMemory + 2 * kPageSize, 1), good(kMemory, 2);
  EXPECT_EQ(pin(partly).error().code, EFAULT);
  EXPECT_EQ(pin(wholly).error().code, EFAULT);
  EXPECT_EQ(kernel_.registrations(), 0u);
  kernel_.most_bytes = kPageSize;
  EXPECT_EQ(pin(good).error().code, ENOMEM);
  kernel_.most_bytes = ~std::uint64_t{0};
  EXPECT_TRUE(pin(good));
  spapr().forget_frames(good);
  ASSERT_TRUE(spapr().destroy_space(space));
}

/// v1 pins when it maps.
TEST_F(SpaprRegisteredTest, TheFirstTypePinsWhenItMaps) {
  config_.container = ContainerType::v1;
  const SpaceId space = space_of({kFirst});
  kernel_.add_hole(kMemory + 2 * kPageSize, kPageSize);
  NamedMemory memory(kMemory, 4);
  ASSERT_TRUE(pin(memory));
  EXPECT_EQ(map(space, run(memory, 0)).error().code, EFAULT);
  EXPECT_TRUE(kernel_.entries(1).empty());
  EXPECT_TRUE(map(space, {Dfn(0), Mfn(kMemory >> 12), 2, Access::read}));
  ASSERT_TRUE(spapr().destroy_space(space));
  spapr().forget_frames(memory);
}

}  // namespace
}  // namespace pviommu::spapr
