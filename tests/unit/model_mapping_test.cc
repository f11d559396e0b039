// SPDX-License-Identifier: LGPL-2.1-or-later
// Address spaces: limits, partial batches, failures, frames.
#include "tests/unit/model_test_machine.h"

namespace pviommu::model {
namespace {

constexpr std::uint64_t k2M = 1 << 21;
constexpr std::uint64_t k1G = 1 << 30;

TEST(ModelMapping, ReservedAndImpossibleRanges) {
  Machine machine("rmrr=0x7000000-0x7ffffff");
  const SpaceId space = machine.attached();
  TestMemory memory(16);
  const Mfn mfn = machine.frames(memory)[0].mfn;
  const auto map = [&](std::uint64_t iova, std::uint64_t pages, Access access = Access::read) {
    const MapRun run{dfn_of(Iova(iova)), mfn, pages, access};
    return machine.model->map(space, std::span(&run, 1));
  };
  for (const std::uint64_t bad : {0xfee00000ull, 0xfeeff000ull, 0xfedff000ull, 0x6fff000ull, 0x7fff000ull,
                                  0xfffffffff000ull, 0x1000000000000ull, 0xfffffffffffff000ull}) {
    const BatchResult result = map(bad, 2);
    EXPECT_EQ(code(result.status), EINVAL) << std::hex << bad;
    EXPECT_EQ(result.pages_done, 0u);
  }
  EXPECT_EQ(code(map(0x1000, 0).status), EINVAL);
  EXPECT_EQ(code(map(0x1000, 1, Access::none).status), EINVAL);
  EXPECT_EQ(code(map(0x1000, 17).status), EPERM);  // more than the memory has
  EXPECT_TRUE(map(0xfedff000, 1).status);
  EXPECT_TRUE(map(0xfef00000, 1).status);
  EXPECT_TRUE(map(0xfffffffff000, 1).status);
  const auto& caps = machine.model->capabilities();
  ASSERT_EQ(caps.iova_ranges.size(), 3u);
  EXPECT_EQ(caps.iova_ranges[0].last(), Iova(0x6ffffff));
  EXPECT_EQ(caps.iova_ranges[1].last(), Iova(0xfedfffff));
  EXPECT_EQ(caps.iova_ranges[2].first(), Iova(0xfef00000));
  ASSERT_EQ(caps.reserved.size(), 2u);
  EXPECT_EQ(caps.reserved[0].kind, ReservedKind::device_direct);
  EXPECT_EQ(caps.page_sizes, 0x40201000u);
}

TEST(ModelMapping, FramesNobodyHas) {
  Machine machine;
  const SpaceId space = machine.attached();
  for (const std::uint64_t mfn : {0ull, 1ull, 0x500000ull, 0xfffffffffffffull}) {
    const MapRun run{Dfn(1), Mfn(mfn), 1, Access::read};
    EXPECT_NE(code(machine.model->map(space, std::span(&run, 1)).status), 0) << mfn;
  }
  EXPECT_EQ(machine.model->space_use(space).pages, 0u);
}

TEST(ModelMapping, LargeEntriesWhereTheProgramIsAligned) {
  Machine machine;
  const SpaceId space = machine.attached();
  // 2 MiB less a page, so that the first page is just below a border.
  TestMemory memory(1 + 512 + 3, 0x7f0000000000 + k2M - kPageSize);
  const auto runs = machine.frames(memory);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].mfn.raw() % 512, 511u);
  ASSERT_TRUE(machine.map(space, memory, 16 * k2M - kPageSize).status);
  const auto use = machine.model->space_use(space);
  EXPECT_EQ(use.pages, 516u);
  EXPECT_EQ(use.entries[0], 4u);
  EXPECT_EQ(use.entries[1], 1u);
  // A second question gives the same frames.
  EXPECT_EQ(machine.frames(memory)[0].mfn, runs[0].mfn);

  TestMemory gig(k1G / kPageSize, 0x7f0040000000);
  ASSERT_TRUE(machine.map(space, gig, 64 * k1G).status);
  EXPECT_EQ(machine.model->space_use(space).entries[2], 1u);
}

TEST(ModelMapping, ScatteredFramesHaveNoConsecutiveNeighbours) {
  Machine machine("frames=scattered");
  const SpaceId space = machine.attached();
  TestMemory memory(2000);
  const auto runs = machine.frames(memory);
  ASSERT_EQ(runs.size(), 2000u);
  for (std::size_t i = 1; i < runs.size(); ++i) {
    EXPECT_EQ(runs[i].pages, 1u);
    EXPECT_NE(runs[i].mfn, runs[i - 1].mfn + 1);
  }
  ASSERT_TRUE(machine.map(space, memory, 0x100000).status);
  for (std::uint64_t page = 0; page < 2000; ++page) memory.at<std::uint64_t>(page * kPageSize + 8) = page;
  for (std::uint64_t page = 0; page < 2000; page += 7)
    EXPECT_EQ(machine.probe().get<std::uint64_t>(0x100000 + page * kPageSize + 8).value(), page);
  // Across a border, where the frames are far apart.
  std::vector<std::byte> pattern(20000, std::byte{0x5a});
  ASSERT_TRUE(machine.probe().dma_out(0x100ff8, pattern));
  EXPECT_EQ(std::memcmp(memory.bytes() + 0xff8, pattern.data(), pattern.size()), 0);
  EXPECT_EQ(memory.at<std::uint8_t>(0xff8 + 20000), 0);
}

TEST(ModelMapping, OverwriteIsRefused) {
  Machine machine;
  const SpaceId space = machine.attached();
  TestMemory memory(4), other(4);
  ASSERT_TRUE(machine.map(space, memory, 0x2000).status);
  const auto runs = machine.runs(other, 0x0000);
  const BatchResult result = machine.model->map(space, runs);
  EXPECT_EQ(code(result.status), EEXIST);
  EXPECT_EQ(result.pages_done, 2u);
  EXPECT_EQ(machine.model->space_use(space).pages, 6u);
  EXPECT_TRUE(machine.unmap(space, memory, 0x2000).status);
}

TEST(ModelMapping, OverwriteKillsTheSpaceOnXen) {
  Machine machine("limits=xen");
  const SpaceId space = machine.attached();
  TestMemory memory(4), other(4);
  ASSERT_TRUE(machine.map(space, memory, 0x2000).status);
  EXPECT_EQ(code(machine.map(space, other, 0x3000).status), EEXIST);
  EXPECT_EQ(code(machine.map(space, other, 0x10000).status), EIO);
  EXPECT_EQ(code(machine.unmap(space, memory, 0x2000).status), EIO);
  EXPECT_EQ(code(machine.model->flush(space)), EIO);
  EXPECT_EQ(code(machine.model->attach(space, Machine::kSecond)), EIO);
  EXPECT_TRUE(machine.model->detach(space, Machine::kFirst));
  EXPECT_TRUE(machine.model->destroy_space(space));
  machine.model->forget_frames(memory);
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 0u);
}

TEST(ModelMapping, XenDoesSixtyFourEntriesACall) {
  Machine machine("limits=xen");
  const auto& caps = machine.model->capabilities();
  EXPECT_TRUE(caps.vectors_before_attach && caps.read_only);
  EXPECT_EQ(caps.max_entries_per_call, 64u);
  const SpaceId space = machine.attached();
  TestMemory memory(1 + 512 + 100, 0x7f0000000000 + k2M - kPageSize);
  const std::uint64_t iova = 4 * k2M - kPageSize;
  const auto runs = machine.runs(memory, iova);
  BatchResult result = machine.model->map(space, runs);
  EXPECT_TRUE(result.status);
  EXPECT_EQ(result.pages_done, 1u + 512u + 62u);
  const MapRun rest{runs[0].dfn + result.pages_done, runs[0].mfn + result.pages_done,
                    runs[0].pages - result.pages_done, Access::read};
  result = machine.model->map(space, std::span(&rest, 1));
  EXPECT_EQ(result.pages_done, 38u);
  result = machine.unmap(space, memory, iova);
  EXPECT_TRUE(result.status);
  EXPECT_EQ(result.pages_done, 1u + 512u + 62u);
  EXPECT_EQ(machine.model->space_use(space).pages, 38u);
}

TEST(ModelMapping, DirectMappingCannotEnforceRights) {
  Machine machine("limits=xen,direct=on");
  EXPECT_FALSE(machine.model->capabilities().read_only);
  const SpaceId space = machine.attached();
  TestMemory memory(1);
  ASSERT_TRUE(machine.map(space, memory, 0x1000, Access::read).status);
  EXPECT_TRUE(machine.probe().put<std::uint32_t>(0x1000, 1));
}

TEST(ModelMapping, PaprWindows) {
  Machine machine("limits=papr,window=1G");
  const auto& caps = machine.model->capabilities();
  ASSERT_EQ(caps.iova_ranges.size(), 2u);
  EXPECT_EQ(caps.iova_ranges[0].size(), k1G);
  EXPECT_EQ(caps.iova_ranges[1].first(), Iova(std::uint64_t{1} << 59));
  EXPECT_EQ(caps.page_sizes, kPageSize);
  const SpaceId space = machine.attached();
  TestMemory memory(513, 0x7f0000000000);
  EXPECT_EQ(code(machine.map(space, memory, 0).status), E2BIG);
  EXPECT_EQ(machine.model->space_use(space).pages, 0u);
  TestMemory fits(512, 0x7f0000000000);
  const std::uint64_t high = (std::uint64_t{1} << 59) + k1G - k2M;
  ASSERT_TRUE(machine.map(space, fits, high).status);
  EXPECT_EQ(machine.model->space_use(space).entries[0], 512u);
  EXPECT_TRUE(machine.probe().put<std::uint64_t>(high + k2M - 8, 0x1122334455667788));
  EXPECT_EQ(fits.at<std::uint64_t>(k2M - 8), 0x1122334455667788u);
  EXPECT_EQ(code(machine.map(space, fits, k1G - kPageSize).status), EINVAL);
}

TEST(ModelMapping, MostRunsAndSpaces) {
  Machine machine("max-runs=2,max-pages=3,max-spaces=2,iova=0x1000-0xffff");
  const SpaceId space = machine.attached();
  TestMemory memory(4);
  const Mfn mfn = machine.frames(memory)[0].mfn;
  const MapRun runs[3] = {{Dfn(1), mfn, 1}, {Dfn(3), mfn + 1, 3}, {Dfn(6), mfn, 1}};
  BatchResult result = machine.model->map(space, runs);
  EXPECT_EQ(code(result.status), E2BIG);
  EXPECT_EQ(result.pages_done, 0u);
  result = machine.model->map(space, std::span(runs).first(2));
  EXPECT_TRUE(result.status);
  EXPECT_EQ(result.pages_done, 3u);
  EXPECT_TRUE(machine.model->create_space({}));
  EXPECT_EQ(code(machine.model->create_space({})), ENOSPC);
}

TEST(ModelMapping, SpacesOfYesterday) {
  Machine machine;
  const SpaceId space = machine.model->create_space({}).value();
  EXPECT_TRUE(machine.model->attach(space, Machine::kFirst));
  EXPECT_EQ(code(machine.model->attach(space, Machine::kFirst)), EBUSY);
  EXPECT_EQ(code(machine.model->attach(space, make_sbdf(0, 9, 9, 0))), ENODEV);
  EXPECT_EQ(code(machine.model->destroy_space(space)), EBUSY);
  EXPECT_EQ(code(machine.model->detach(space, Machine::kSecond)), ENODEV);
  EXPECT_TRUE(machine.model->detach(space, Machine::kFirst));
  EXPECT_TRUE(machine.model->destroy_space(space));
  EXPECT_EQ(code(machine.model->destroy_space(space)), ENOENT);
  EXPECT_EQ(code(machine.model->attach(space, Machine::kFirst)), ENOENT);
  for (int i = 0; i < 3000; ++i) {
    const SpaceId next = machine.model->create_space({}).value();
    EXPECT_NE(next, space);
    EXPECT_TRUE(machine.model->destroy_space(next));
  }
  EXPECT_EQ(machine.model->live_spaces(), 0u);
}

TEST(ModelMapping, WrongFrameIsReportedAndNothingDone) {
  Machine machine;
  const SpaceId space = machine.attached();
  TestMemory memory(4);
  ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
  const UnmapRun wrong{Dfn(1), machine.frames(memory)[0].mfn + 1, 1};
  EXPECT_EQ(code(machine.model->unmap(space, std::span(&wrong, 1)).status), ENOENT);
  EXPECT_EQ(machine.model->violations().wrong_frame, 1u);
  const UnmapRun empty{Dfn(100), machine.frames(memory)[0].mfn, 1};
  EXPECT_EQ(code(machine.model->unmap(space, std::span(&empty, 1)).status), ENOENT);
  EXPECT_EQ(machine.model->violations().wrong_frame, 1u);
  EXPECT_EQ(machine.model->space_use(space).pages, 4u);
}

TEST(ModelMapping, FramesGivenBackWhileMapped) {
  Machine machine;
  const SpaceId space = machine.attached();
  auto memory = std::make_unique<TestMemory>(4);
  ASSERT_TRUE(machine.map(space, *memory, 0x1000).status);
  const UnmapRun mapped{Dfn(1), machine.frames(*memory)[0].mfn, 4};
  machine.model->forget_frames(*memory);
  memory.reset();
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 1u);
  EXPECT_EQ(code(machine.probe().put<std::uint32_t>(0x1004, 1)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x1004, FaultReason::stale_frame));
  // Also when its number would have come round.
  for (int i = 0; i < 5000; ++i) {
    TestMemory* next = new TestMemory(1);
    const Mfn mfn = machine.frames(*next)[0].mfn;
    EXPECT_NE(mfn.raw() >> 19, mapped.mfn.raw() >> 19);
    machine.model->forget_frames(*next);
    delete next;
  }
  EXPECT_EQ(code(machine.probe().put<std::uint32_t>(0x1004, 1)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x1004, FaultReason::stale_frame));
  EXPECT_TRUE(machine.model->unmap(space, std::span(&mapped, 1)).status);
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 1u);
}

TEST(ModelMapping, DeferredFlush) {
  Machine machine("deferred-flush=on");
  EXPECT_TRUE(machine.model->capabilities().deferred_flush);
  const SpaceId space = machine.attached();
  TestMemory memory(4);
  ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
  ASSERT_TRUE(machine.unmap(space, memory, 0x1000).status);
  EXPECT_TRUE(machine.probe().put<std::uint32_t>(0x1000, 7));  // still in the IOTLB
  EXPECT_EQ(memory.at<std::uint32_t>(0), 7u);
  ASSERT_TRUE(machine.model->flush(space));
  EXPECT_EQ(code(machine.probe().put<std::uint32_t>(0x1000, 7)), EFAULT);
  EXPECT_TRUE(machine.one_fault(0x1000, FaultReason::not_mapped));
  machine.model->forget_frames(memory);
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 0u);
  // Giving frames back before the flush is the bug to find.
  ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
  ASSERT_TRUE(machine.unmap(space, memory, 0x1000).status);
  machine.model->forget_frames(memory);
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 1u);
}

// ---- failures on demand ---------------------------------------------------------

/// A whole life in hypercalls; stops at the first failure and cleans up.
/// Returns the errno, 0 when all went well.
int life(Machine& machine, TestMemory& memory) {
  Model& model = *machine.model;
  const auto space = model.create_space({"life"});
  if (!space) return space.error().code;
  int failure = 0;
  const auto note = [&](const auto& result) {
    if (!result && failure == 0) failure = result.error().code;
    return static_cast<bool>(result);
  };
  const auto until = [](auto&& work) {  // cleaning up must not fail twice
    while (!work()) {
    }
  };
  const Vector vector{Machine::kFirst, VectorKind::msix, 0};
  TestSink sink;
  if (note(model.allocate_vectors(Machine::kFirst, VectorKind::msix, 3))) {
    if (note(model.bind_vector(vector, {.sink = &sink}))) {
      if (note(model.mask_vector(vector))) note(model.unmask_vector(vector));
      until([&] { return note(model.unbind_vector(vector)); });
    }
    until([&] { return note(model.free_vectors(Machine::kFirst, VectorKind::msix)); });
  }
  if (failure == 0 && note(model.attach(*space, Machine::kFirst))) {
    std::vector<FrameRun> frames;
    if (note(model.frames_of(memory, frames))) {
      const MapRun run{Dfn(16), frames[0].mfn, frames[0].pages};
      const BatchResult mapped = model.map(*space, std::span(&run, 1));
      note(mapped.status);
      EXPECT_EQ(model.space_use(*space).pages, mapped.pages_done);
      UnmapRun left{run.dfn, run.mfn, mapped.pages_done};
      while (left.pages != 0) {
        const BatchResult unmapped = model.unmap(*space, std::span(&left, 1));
        note(unmapped.status);
        left.dfn = left.dfn + unmapped.pages_done;
        left.mfn = left.mfn + unmapped.pages_done;
        left.pages -= unmapped.pages_done;
        EXPECT_EQ(model.space_use(*space).pages, left.pages);
      }
      note(model.flush(*space));
      model.forget_frames(memory);
    }
    until([&] { return note(model.detach(*space, Machine::kFirst)); });
  }
  until([&] { return note(model.destroy_space(*space)); });
  return failure;
}

TEST(ModelMapping, EveryNthHypercallFails) {
  Machine machine;
  TestMemory memory(8);
  ASSERT_EQ(life(machine, memory), 0);
  const std::uint64_t calls = machine.model->calls().calls();
  EXPECT_EQ(calls, 13u);
  for (std::uint64_t n = 1; n <= calls; ++n) {
    machine.model->calls().inject({}, machine.model->calls().calls() + n, ENOMEM, n % 4);
    EXPECT_EQ(life(machine, memory), ENOMEM) << n;
    EXPECT_EQ(machine.model->live_spaces(), 0u) << n;
    EXPECT_EQ(life(machine, memory), 0) << n;
  }
  EXPECT_EQ(machine.model->violations().forgotten_in_use, 0u);
}

TEST(ModelMapping, FailuresByConfiguration) {
  Machine machine("fail=map:2/frames:2/unmap:1,fail-errno=EIO,fail-after-pages=3");
  const SpaceId space = machine.attached();
  TestMemory memory(8);
  const auto runs = machine.runs(memory, 0x1000);
  const auto more = std::vector<MapRun>{{Dfn(100), runs[0].mfn, 2}, {Dfn(200), runs[0].mfn, 8}};
  EXPECT_TRUE(machine.model->map(space, runs).status);
  BatchResult result = machine.model->map(space, more);
  EXPECT_EQ(code(result.status), EIO);
  EXPECT_EQ(result.pages_done, 3u);
  EXPECT_EQ(machine.model->space_use(space).pages, 11u);
  std::vector<FrameRun> frames;
  EXPECT_EQ(code(machine.model->frames_of(memory, frames)), EIO);
  EXPECT_TRUE(frames.empty());
  const UnmapRun all{Dfn(1), runs[0].mfn, 8};
  result = machine.model->unmap(space, std::span(&all, 1));
  EXPECT_EQ(code(result.status), EIO);
  EXPECT_EQ(result.pages_done, 3u);
  EXPECT_EQ(code(machine.probe().put<int>(0x1000, 1)), EFAULT);
  EXPECT_TRUE(machine.probe().put<int>(0x4000, 1));
}

TEST(ModelMapping, HistoryAndCounters) {
  Machine machine;
  const SpaceId space = machine.attached();
  TestMemory memory(8);
  ASSERT_TRUE(machine.map(space, memory, 0x1000).status);
  EXPECT_EQ(code(machine.map(space, memory, 0x1000).status), EEXIST);
  const auto history = machine.model->calls().history();
  ASSERT_EQ(history.size(), 4u);
  EXPECT_EQ(history[0].op, HypercallOp::create_space);
  EXPECT_EQ(history[0].target, space.raw());
  EXPECT_EQ(history[1].op, HypercallOp::attach);
  EXPECT_EQ(history[1].target, Machine::kFirst.raw());
  EXPECT_EQ(history[2].pages, 8u);
  EXPECT_EQ(history[2].result, 0);
  EXPECT_EQ(history[3].result, EEXIST);
  EXPECT_EQ(machine.model->calls().calls(HypercallOp::map), 2u);
  // Statistics count round the model, not in it.
  const std::uint64_t before = statistics().hypercalls[static_cast<std::size_t>(HypercallOp::map)].count;
  const auto opened = open_hypervisor("model:edu");
  ASSERT_TRUE(opened) << to_string(opened.error());
  for (int i = 0; i < 2; ++i) EXPECT_EQ(code((*opened)->spaces().map(SpaceId(99), {}).status), ENOENT);
  EXPECT_EQ(statistics().hypercalls[static_cast<std::size_t>(HypercallOp::map)].count, before + 2);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(machine.unmap(space, memory, 0x1000).status || true);
  EXPECT_EQ(machine.model->calls().history().size(), CallLog::kHistory);
}

}  // namespace
}  // namespace pviommu::model
