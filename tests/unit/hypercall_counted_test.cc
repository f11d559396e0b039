// SPDX-License-Identifier: LGPL-2.1-or-later
// Counted: each call once, failures beside it, and nothing changed on the way.
#include <gtest/gtest.h>

#include <functional>

#include "hypercall/counted.h"
#include "msi_fake.h"
#include "pviommu_fakes.h"

namespace pviommu {
namespace {

using Counts = std::array<std::uint64_t, kHypercallOps>;

Counts counts() {
  Counts now{};
  for (std::size_t i = 0; i < kHypercallOps; ++i) now[i] = statistics().hypercalls[i].count;
  return now;
}
Counts failures() {
  Counts now{};
  for (std::size_t i = 0; i < kHypercallOps; ++i) now[i] = statistics().hypercall_failures[i];
  return now;
}
Counts with(Counts counts, HypercallOp op, std::uint64_t more = 1) {
  counts[static_cast<std::size_t>(op)] += more;
  return counts;
}

/// The fakes of both halves, which count for themselves what reaches them.
class FakeHypervisor final : public Hypervisor {
 public:
  msi::test::Script script;
  msi::test::FakeDevice device{script};
  test::FakeSpaces fake_spaces;
  msi::test::FakeInterrupts fake_interrupts{script, device};
  bool broken = false;

  std::string_view name() const override { return "fake"; }
  const Capabilities& capabilities() const override { return fake_spaces.limits; }
  Result<std::vector<PciDeviceInfo>> devices() override { return std::vector<PciDeviceInfo>{device.info()}; }
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf) override {
    if (broken) return Error{EBUSY, "fake"};
    return std::unique_ptr<PciDevice>(std::make_unique<msi::test::FakeDevice>(script));
  }
  Result<std::unique_ptr<GuestBus>> guest_bus() override { return Error{EOPNOTSUPP, "fake"}; }
  Spaces& spaces() override { return fake_spaces; }
  Interrupts& interrupts() override { return fake_interrupts; }
};

class CountedTest : public testing::Test {
 protected:
  static constexpr Sbdf kDevice = make_sbdf(0, 0, 5, 0);

  /// `call` succeeds: one more of its kind, and of no other.
  template <class Call>
  void expect_counted(HypercallOp op, Call call) {
    Counts all = counts(), failed = failures();
    EXPECT_TRUE(call()) << to_string(op);
    EXPECT_EQ(counts(), with(all, op)) << to_string(op);
    EXPECT_EQ(failures(), failed) << to_string(op);
  }
  /// `call` is refused: the same, and one more failure.
  template <class Call>
  void expect_failure(HypercallOp op, Call call) {
    Counts all = counts(), failed = failures();
    EXPECT_FALSE(call()) << to_string(op);
    EXPECT_EQ(counts(), with(all, op)) << to_string(op);
    EXPECT_EQ(failures(), with(failed, op)) << to_string(op);
  }

  FakeHypervisor* fake = new FakeHypervisor;
  Counted hypervisor{std::unique_ptr<Hypervisor>(fake)};
  Spaces& spaces = hypervisor.spaces();
  Interrupts& interrupts = hypervisor.interrupts();
};

TEST_F(CountedTest, IsTheOneInside) {
  EXPECT_EQ(&hypervisor.inner(), fake);
  EXPECT_EQ(hypervisor.name(), "fake");
  EXPECT_EQ(&hypervisor.capabilities(), &fake->capabilities());
  EXPECT_EQ(hypervisor.devices()->size(), 1u);
  EXPECT_EQ(hypervisor.guest_bus().error().code, EOPNOTSUPP);
  EXPECT_EQ(&spaces, &hypervisor.spaces());
  EXPECT_EQ(&interrupts, &hypervisor.interrupts());
  EXPECT_EQ(interrupts.event_fd(), -1);
}

TEST_F(CountedTest, EveryCallOfSpaces) {
  SpaceId space{};
  const MapRun run{Dfn(16), Mfn(7), 4, Access::read};
  const UnmapRun back{Dfn(16), Mfn(7), 4};
  expect_counted(HypercallOp::create_space, [&] {
    const auto made = spaces.create_space({"tag"});
    if (made) space = *made;
    return made.ok();
  });
  expect_counted(HypercallOp::attach, [&] { return spaces.attach(space, kDevice).ok(); });
  expect_failure(HypercallOp::attach, [&] { return spaces.attach(space, kDevice).ok(); });
  expect_counted(HypercallOp::map, [&] { return spaces.map(space, {&run, 1}).pages_done == 4; });
  EXPECT_EQ(fake->fake_spaces.live_pages(), 4u);
  expect_failure(HypercallOp::map, [&] { return spaces.map(space, {&run, 1}).status.ok(); });
  expect_counted(HypercallOp::unmap, [&] { return spaces.unmap(space, {&back, 1}).pages_done == 4; });
  expect_failure(HypercallOp::unmap, [&] { return spaces.unmap(space, {&back, 1}).status.ok(); });
  expect_counted(HypercallOp::flush, [&] { return spaces.flush(space).ok(); });
  expect_failure(HypercallOp::destroy_space, [&] { return spaces.destroy_space(space).ok(); });
  expect_counted(HypercallOp::detach, [&] { return spaces.detach(space, kDevice).ok(); });
  expect_failure(HypercallOp::detach, [&] { return spaces.detach(space, kDevice).ok(); });
  expect_counted(HypercallOp::destroy_space, [&] { return spaces.destroy_space(space).ok(); });
  EXPECT_TRUE(fake->fake_spaces.violations.empty());
}

TEST_F(CountedTest, FramesAreACallWhereTheHypervisorPins) {
  test::FakeFrames source;
  const auto pin = *source.pin(HvaRange::from_size(Hva(0x1000), 0x1000).value(), Access::read);
  std::vector<FrameRun> frames;
  const Counts before = counts(), failed = failures();
  EXPECT_TRUE(spaces.frames_of(*pin, frames));
  spaces.forget_frames(*pin);
  fake->fake_spaces.fail_from = 1;
  EXPECT_FALSE(spaces.frames_of(*pin, frames));
  fake->fake_spaces.fail_from = 0;
  EXPECT_EQ(counts(), before);
  EXPECT_EQ(failures(), failed);

  fake->fake_spaces.limits.pins_memory = true;
  expect_counted(HypercallOp::frames, [&] { return spaces.frames_of(*pin, frames).ok(); });
  EXPECT_EQ(frames.size(), 2u);
  spaces.forget_frames(*pin);
  EXPECT_TRUE(fake->fake_spaces.known.empty());
  EXPECT_EQ(spaces.frames_of_mmio(kDevice, 0, 0, 0x1000, frames).error().code, EOPNOTSUPP);
}

TEST_F(CountedTest, EveryCallOfInterrupts) {
  const Vector vector{kDevice, VectorKind::msi, 0};
  Notification target;
  target.kind = NotificationKind::event_channel;
  const struct {
    HypercallOp op;
    const char* script;  ///< the fake's name of it
    std::function<bool()> call;
  } calls[] = {
      {HypercallOp::allocate_vectors, "allocate",
       [&] { return interrupts.allocate_vectors(kDevice, VectorKind::msi, 2).ok(); }},
      {HypercallOp::bind_vector, "bind", [&] { return interrupts.bind_vector(vector, target).ok(); }},
      {HypercallOp::raise_vector, "raise", [&] { return interrupts.raise_vector(vector).ok(); }},
      {HypercallOp::mask_vector, "mask", [&] { return interrupts.mask_vector(vector).ok(); }},
      {HypercallOp::unmask_vector, "unmask", [&] { return interrupts.unmask_vector(vector).ok(); }},
      {HypercallOp::unbind_vector, "unbind", [&] { return interrupts.unbind_vector(vector).ok(); }},
      {HypercallOp::free_vectors, "free",
       [&] { return interrupts.free_vectors(kDevice, VectorKind::msi).ok(); }},
  };
  for (const auto& each : calls) {
    fake->script.fail_always(each.script);
    expect_failure(each.op, each.call);
    fake->script.fail_always("");
    expect_counted(each.op, each.call);
    if (each.op != HypercallOp::raise_vector) continue;
    const Counts before = counts();
    EXPECT_EQ(*interrupts.event_port(vector), EventPort(100));
    EXPECT_FALSE(interrupts.vector_pending(vector)) << "the fake's answer";
    EXPECT_EQ(counts(), before) << "questions";
    EXPECT_EQ(fake->fake_interrupts.arrivals[0], 1u);
  }
}

TEST_F(CountedTest, DevicesAndTheirResets) {
  std::unique_ptr<PciDevice> device;
  expect_counted(HypercallOp::open_device, [&] {
    auto opened = hypervisor.open_device(kDevice);
    if (opened) device = std::move(*opened);
    return device != nullptr;
  });
  fake->broken = true;
  expect_failure(HypercallOp::open_device, [&] { return hypervisor.open_device(kDevice).ok(); });
  expect_counted(HypercallOp::reset, [&] { return device->reset().ok(); });
  expect_failure(HypercallOp::reset, [&] { return device->hot_reset().ok(); });

  const Counts before = counts();
  EXPECT_EQ(device->info().sbdf, kDevice);
  EXPECT_EQ(device->bar(0).size, 0x10000u);
  EXPECT_EQ(device->config_size(), 4096u);
  EXPECT_TRUE(device->config_write(4, 2, 0x402));
  EXPECT_EQ(*device->config_read(4, 2), 0x402u);
  EXPECT_EQ(device->bar_read(0, 0, 4).error().code, EIO);
  EXPECT_EQ(device->bar_write(0, 0, 4, 1).error().code, EIO);
  EXPECT_EQ(device->bar_mapping(0).error().code, EOPNOTSUPP);
  device->bar_mapped(0, true);
  EXPECT_TRUE(device->can_reset());
  EXPECT_EQ(device->hot_reset_members().error().code, ENODEV);
  EXPECT_FALSE(device->intx_asserted());
  EXPECT_EQ(counts(), before);
}

TEST_F(CountedTest, TimeIsTakenWhenAsked) {
  auto& time = statistics().hypercalls[static_cast<std::size_t>(HypercallOp::create_space)].nanoseconds;
  const std::uint64_t before = time;
  const SpaceId untimed = *spaces.create_space({});
  EXPECT_EQ(time, before);
  statistics().timed = 1;
  const SpaceId timed = *spaces.create_space({});
  statistics().timed = 0;
  EXPECT_GT(time, before);
  EXPECT_TRUE(spaces.destroy_space(untimed));
  EXPECT_TRUE(spaces.destroy_space(timed));
}

}  // namespace
}  // namespace pviommu
