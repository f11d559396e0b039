// SPDX-License-Identifier: LGPL-2.1-or-later
// The hypervisor over the kernel module, the module being a fake and sysfs a folder.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hypercall/papr/device_tree.h"
#include "hypercall/papr/module/open.h"
#include "hypercall/papr/module/module_hypervisor.h"
#include "papr_linux_fake.h"

namespace pviommu::papr {
namespace {

namespace fs = std::filesystem;

constexpr Sbdf kFirst = make_sbdf(1, 0, 0, 0), kSecond = make_sbdf(1, 0, 1, 0),
               kAlone = make_sbdf(2, 0, 0, 0);
constexpr std::uint32_t kLiobn = 0x80000100, kOtherLiobn = 0x80000200;

class Memory final : public PinnedMemory {
 public:
  explicit Memory(std::uint64_t at, std::uint64_t pages)
      : PinnedMemory(HvaRange::from_size(Hva(at), pages * kPageSize).value()) {}
  bool holds_pages() const override { return true; }
  int holder_fd() const override { return -1; }
  Status from_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EOPNOTSUPP, ""}; }
  Status to_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EOPNOTSUPP, ""}; }
};

class Sink final : public EventSink {
 public:
  void event(const Vector& vector) noexcept override {
    last = vector;
    ++events;
  }
  bool wait(int wanted) const {
    for (int i = 0; i < 2000 && events != wanted; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return events == wanted;
  }
  Vector last;
  std::atomic<int> events{0};
};

std::string cell(std::uint32_t value) {
  std::string bytes(4, '\0');
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
  return bytes;
}

class PaprLinuxTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pviommu-papr-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    top_ = fs::canonical(name);
    ::setenv("PVIOMMU_RUN_DIR", (top_ / "run").c_str(), 1);
    fs::create_directories(top_ / "bus/pci/devices");
    add(kFirst, "pci@1", kLiobn, "7");
    add(kSecond, "pci@1", kLiobn, "7");
    add(kAlone, "pci@2", kOtherLiobn, "");
    auto module = std::make_unique<FakeModule>();
    module_ = module.get();
    module_->add_function(kFirst, kLiobn);
    module_->add_function(kSecond, kLiobn);
    module_->add_function(kAlone, kOtherLiobn);
    papr_ = std::make_unique<ModuleHypervisor>(std::move(module), top_.string());
    space_ = papr_->create_space({}).value();
  }
  void TearDown() override {
    papr_.reset();
    fs::remove_all(top_);
  }

  static void write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }
  fs::path folder(Sbdf sbdf) const { return top_ / "bus/pci/devices" / to_string(sbdf); }
  void set_driver(Sbdf sbdf, const std::string& driver) {
    fs::remove(folder(sbdf) / "driver");
    if (driver.empty()) return;
    fs::create_directories(top_ / "bus/pci/drivers" / driver);
    fs::create_directory_symlink(top_ / "bus/pci/drivers" / driver, folder(sbdf) / "driver");
  }
  /// The window's property is that of the bridge, one node above the device.
  void add(Sbdf sbdf, const std::string& bridge, std::uint32_t liobn, const std::string& group) {
    const fs::path at = folder(sbdf);
    const fs::path node =
        top_ / "firmware/devicetree/base" / bridge / ("device@" + std::to_string(sbdf.raw()));
    fs::create_directories(at);
    fs::create_directories(node);
    fs::create_directory_symlink(node, at / "of_node");
    if (liobn != 0)
      write(node.parent_path() / "ibm,dma-window",
            cell(liobn) + cell(0) + cell(0) + cell(0) + cell(1u << 30));
    if (!group.empty()) {
      fs::create_directories(top_ / "kernel/iommu_groups" / group);
      fs::create_directory_symlink(top_ / "kernel/iommu_groups" / group, at / "iommu_group");
    }
    for (const char* number : {"vendor", "device", "subsystem_vendor", "subsystem_device", "revision"})
      write(at / number, "0x0001\n");
    write(at / "class", "0x00ff00\n");
    write(at / "config", std::string(256, '\0'));
    write(at / "enable", "0\n");
    std::string none;
    for (int i = 0; i < 7; ++i) none += "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
    write(at / "resource", none);
  }
  /// Pinned pages, as runs from `dfn` on.
  std::vector<MapRun> runs(Memory& memory, std::uint64_t dfn, Access access = Access::read_write) {
    std::vector<FrameRun> frames;
    EXPECT_TRUE(papr_->frames_of(memory, frames));
    std::vector<MapRun> out;
    for (const FrameRun& frame : frames) {
      out.push_back({Dfn(dfn), frame.mfn, frame.pages, access});
      dfn += frame.pages;
    }
    return out;
  }
  static std::vector<UnmapRun> removals(const std::vector<MapRun>& runs) {
    std::vector<UnmapRun> out;
    for (const MapRun& run : runs) out.push_back({run.dfn, run.mfn, run.pages});
    return out;
  }

  fs::path top_;
  FakeModule* module_ = nullptr;
  std::unique_ptr<ModuleHypervisor> papr_;
  SpaceId space_;
};

TEST_F(PaprLinuxTest, WindowsAreReadFromTheDeviceTree) {
  const auto window = window_of(top_.string(), kFirst);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->liobn, Liobn(kLiobn));
  EXPECT_EQ(window->range, IovaRange::from_size(Iova(0), 1u << 30).value());
  EXPECT_EQ(window->node, (top_ / "firmware/devicetree/base/pci@1").string());
  EXPECT_FALSE(window_of(top_.string(), make_sbdf(9, 0, 0, 0)));
  EXPECT_FALSE(parse_dma_window(cell(1) + cell(0) + cell(0) + cell(0)));
  EXPECT_FALSE(parse_dma_window(cell(1) + cell(0) + cell(0) + cell(0) + cell(0))) << "of size 0";
  const auto narrow = parse_dma_window(cell(1) + cell(0x1000) + cell(0x2000), 1, 1);
  ASSERT_TRUE(narrow);
  EXPECT_EQ(narrow->range.first(), Iova(0x1000));
  EXPECT_EQ(narrow->range.size(), 0x2000u);
  EXPECT_FALSE(parse_dma_window(std::string(64, '\1'), 3, 2));
}

TEST_F(PaprLinuxTest, FunctionsAreGroupedByTheirWindow) {
  add(make_sbdf(3, 0, 0, 0), "pci@3", 0, "");
  auto all = papr_->devices();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3u) << "without a window there is nothing to be had";
  EXPECT_EQ((*all)[0].group, 7u);
  EXPECT_EQ((*all)[2].group, kOtherLiobn & 0x7fffffff);
  EXPECT_EQ((*all)[0].lock, "papr-0001:00:00.0");
  for (const auto& info : *all) EXPECT_TRUE(info.viable);
  // A driver of one function is in the way of the other, too; ours is not.
  set_driver(kSecond, "nvme");
  all = papr_->devices();
  EXPECT_FALSE((*all)[0].viable);
  EXPECT_FALSE((*all)[1].viable);
  EXPECT_TRUE((*all)[2].viable);
  EXPECT_EQ(papr_->open_device(kFirst).error().code, EBUSY);
  set_driver(kSecond, "pviommu-papr");
  EXPECT_TRUE((*papr_->devices())[0].viable);
  set_driver(kSecond, "pci-stub");
  EXPECT_FALSE((*papr_->devices())[0].viable);
}

TEST_F(PaprLinuxTest, WhatItCanDo) {
  const Capabilities& can = papr_->capabilities();
  ASSERT_EQ(can.iova_ranges.size(), 1u);
  EXPECT_EQ(can.iova_ranges[0], IovaRange::from_size(Iova(0), 1u << 30).value());
  EXPECT_EQ(can.max_entries_per_call, 512u);
  EXPECT_TRUE(can.pins_memory);
  EXPECT_FALSE(can.vector_kinds & bit(VectorKind::intx));
}

TEST_F(PaprLinuxTest, OpeningClaimsAndClosingReleases) {
  EXPECT_EQ(papr_->open_device(make_sbdf(9, 0, 0, 0)).error().code, ENODEV);
  {
    auto device = papr_->open_device(kFirst);
    ASSERT_TRUE(device);
    EXPECT_TRUE(module_->claimed.contains(kFirst));
    EXPECT_EQ(papr_->open_device(kFirst).error().code, EBUSY);
    EXPECT_EQ((*device)->info().group, 7u);
  }
  EXPECT_TRUE(module_->claimed.empty());
  // What fails half way gives back what it took.
  fs::remove(folder(kFirst) / "resource");
  EXPECT_FALSE(papr_->open_device(kFirst));
  EXPECT_TRUE(module_->claimed.empty());
  module_->fail_at(1, EBUSY);
  EXPECT_EQ(papr_->open_device(kAlone).error().code, EBUSY);
}

TEST_F(PaprLinuxTest, AWindowWithOtherAddressesIsRefused) {
  module_->add_function(kAlone, kOtherLiobn, 0, 1u << 20);
  EXPECT_EQ(papr_->open_device(kAlone).error().code, EINVAL);
  EXPECT_TRUE(module_->claimed.empty());
}

TEST_F(PaprLinuxTest, MemoryMappedBeforeIsInTheWindowAfterwards) {
  auto device = papr_->open_device(kFirst);
  ASSERT_TRUE(device);
  Memory memory(0x7000000, 8);
  const auto mapping = runs(memory, 0x100);
  ASSERT_EQ(mapping.size(), 4u);
  EXPECT_EQ(papr_->map(space_, mapping).pages_done, 8u);
  EXPECT_EQ(module_->mapped(), 0u);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  EXPECT_EQ(module_->mapped(), 8u);
  const auto& entries = module_->windows[kLiobn].entries;
  EXPECT_EQ(entries.at(0x100000), mapping[0].mfn.raw() << kPageShift | 3);
  EXPECT_EQ(entries.at(0x107000), (mapping[3].mfn.raw() + 1) << kPageShift | 3);
  EXPECT_EQ(papr_->destroy_space(space_).error().code, EBUSY);
  ASSERT_TRUE(papr_->detach(space_, kFirst));
  EXPECT_EQ(module_->mapped(), 0u);
  EXPECT_EQ(papr_->unmap(space_, removals(mapping)).pages_done, 8u);
  papr_->forget_frames(memory);
  EXPECT_TRUE(module_->pins.empty());
  EXPECT_TRUE(papr_->destroy_space(space_));
}

TEST_F(PaprLinuxTest, ScatteredPagesAreOneListWhenTheirAddressesFollow) {
  auto device = papr_->open_device(kFirst);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  Memory memory(0x7000000, 512);
  const auto mapping = runs(memory, 0x200);
  ASSERT_EQ(mapping.size(), 256u);
  EXPECT_EQ(papr_->map(space_, mapping).pages_done, 512u);
  EXPECT_EQ(module_->maps, 1u);
  EXPECT_EQ(papr_->unmap(space_, removals(mapping)).pages_done, 512u);
  EXPECT_EQ(module_->unmaps, 1u);
  EXPECT_EQ(module_->mapped(), 0u);
}

TEST_F(PaprLinuxTest, RightsAreEntered) {
  auto device = papr_->open_device(kFirst);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  Memory memory(0x7000000, 2), constant(FakeModule::kReadOnlyFrom, 2);
  ASSERT_TRUE(papr_->map(space_, runs(memory, 0, Access::read)).status);
  EXPECT_EQ(module_->windows[kLiobn].entries.at(0) & 3, kTceRead);
  ASSERT_TRUE(papr_->map(space_, runs(constant, 0x10, Access::read)).status);
  const auto readable = runs(constant, 0x20, Access::read_write);
  EXPECT_EQ(papr_->map(space_, readable).status.error().code, EFAULT);
}

TEST_F(PaprLinuxTest, SeveralWindowsHaveItAllOrNothing) {
  auto first = papr_->open_device(kFirst), alone = papr_->open_device(kAlone);
  ASSERT_TRUE(first && alone);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  ASSERT_TRUE(papr_->attach(space_, kAlone));
  Memory memory(0x7000000, 6);
  auto mapping = runs(memory, 0x100);
  mapping[2].dfn = Dfn(0x900);  // two lists
  for (unsigned n = 1; n <= 4; ++n) {
    module_->fail_at(n);
    const auto refused = papr_->map(space_, mapping);
    EXPECT_EQ(refused.status.error().code, EIO) << n;
    EXPECT_EQ(refused.status.error().raw, kResource) << n;
    EXPECT_EQ(refused.pages_done, 0u) << n;
    EXPECT_EQ(module_->mapped(), 0u) << n;
  }
  ASSERT_TRUE(papr_->map(space_, mapping).status) << "nothing of it stayed in the shadow";
  EXPECT_EQ(module_->mapped(), 12u);
  // An unmap that fails is a front piece, and goes on.  Each entry is tried twice.
  for (unsigned n = 1; n <= 2; ++n) {
    module_->fail_at(n);
    const auto half = papr_->unmap(space_, removals(mapping));
    EXPECT_TRUE(half.status) << "a failed list is gone through one by one";
    ASSERT_TRUE(papr_->map(space_, mapping).status);
  }
  EXPECT_TRUE(papr_->unmap(space_, removals(mapping)).status);
  EXPECT_EQ(module_->mapped(), 0u);
}

TEST_F(PaprLinuxTest, AnAttachThatFailsLeavesTheWindowEmpty) {
  auto device = papr_->open_device(kFirst);
  Memory memory(0x7000000, 8);
  const auto mapping = runs(memory, 0x100);
  ASSERT_TRUE(papr_->map(space_, mapping).status);
  for (unsigned n = 1; n <= 4; ++n) {
    module_->fail_at(n);
    EXPECT_EQ(papr_->attach(space_, kFirst).error().code, EIO) << n;
    EXPECT_EQ(module_->mapped(), 0u) << n;
  }
  EXPECT_TRUE(papr_->attach(space_, kFirst));
  EXPECT_EQ(module_->mapped(), 8u);
  EXPECT_EQ(papr_->attach(space_, kFirst).error().code, EBUSY);
}

TEST_F(PaprLinuxTest, AnUndoThatFailsLosesTheState) {
  auto first = papr_->open_device(kFirst), alone = papr_->open_device(kAlone);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  Memory memory(0x7000000, 6);
  auto mapping = runs(memory, 0x100);
  const auto one_list = mapping;
  mapping[2].dfn = Dfn(0x900);  // two lists
  // The list that failed is not surely out of its own window.
  module_->reads_fail = true;
  module_->fail_from(1);
  EXPECT_TRUE(papr_->map(space_, one_list).status.error().state_lost);
  module_->reads_fail = false;
  EXPECT_FALSE(papr_->map(space_, one_list).status.error().state_lost) << "there is surely nothing";
  // The list before it stays.
  module_->fail_from(2);
  const auto lost = papr_->map(space_, mapping);
  EXPECT_TRUE(lost.status.error().state_lost);
  EXPECT_EQ(lost.status.error().code, EIO);
  EXPECT_EQ(lost.pages_done, 0u);
  EXPECT_EQ(module_->mapped(), 4u);
  // Nor is it out of the window before.
  module_->windows[kLiobn].entries.clear();
  module_->fail_from(0);
  ASSERT_TRUE(papr_->attach(space_, kAlone));
  module_->fail_from(2);
  EXPECT_TRUE(papr_->map(space_, one_list).status.error().state_lost);
  EXPECT_EQ(module_->mapped(), 6u);
}

TEST_F(PaprLinuxTest, AnUnmapThatFailsPutsItBackOrLosesTheState) {
  auto first = papr_->open_device(kFirst), alone = papr_->open_device(kAlone);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  ASSERT_TRUE(papr_->attach(space_, kAlone));
  Memory memory(0x7000000, 6);
  const auto mapping = runs(memory, 0x100, Access::read);
  ASSERT_TRUE(papr_->map(space_, mapping).status);
  const auto before = module_->windows[kLiobn].entries;
  // A list, then entry by entry, each twice: a window at once, or after the other one.
  for (const unsigned n : {1u, 2u}) {
    module_->fail_from(n, 3);
    const auto failed = papr_->unmap(space_, removals(mapping));
    ASSERT_FALSE(failed.status) << n;
    EXPECT_EQ(failed.status.error().code, EIO);
    EXPECT_EQ(failed.status.error().raw, kHardware);
    EXPECT_FALSE(failed.status.error().state_lost);
    EXPECT_EQ(failed.pages_done, 0u);
    EXPECT_EQ(module_->windows[kLiobn].entries, before) << n;
    EXPECT_EQ(module_->windows[kOtherLiobn].entries, before) << n;
  }
  // The first window cannot be filled again.
  module_->fail_from(2);
  EXPECT_TRUE(papr_->unmap(space_, removals(mapping)).status.error().state_lost);
}

TEST_F(PaprLinuxTest, AnAttachThatCannotBeTakenBackLosesTheState) {
  auto device = papr_->open_device(kFirst);
  Memory memory(0x7000000, 8);
  ASSERT_TRUE(papr_->map(space_, runs(memory, 0x100)).status);
  module_->fail_from(1);
  const Status attached = papr_->attach(space_, kFirst);
  EXPECT_EQ(attached.error().code, EIO);
  EXPECT_TRUE(attached.error().state_lost);
}

TEST_F(PaprLinuxTest, FunctionsWithOneWindowAreInOneSpace) {
  auto first = papr_->open_device(kFirst), second = papr_->open_device(kSecond);
  ASSERT_TRUE(first && second);
  const SpaceId other = papr_->create_space({}).value();
  Memory memory(0x7000000, 2);
  ASSERT_TRUE(papr_->map(space_, runs(memory, 0)).status);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  EXPECT_EQ(papr_->attach(other, kSecond).error().code, EBUSY);
  ASSERT_TRUE(papr_->attach(space_, kSecond));
  EXPECT_EQ(module_->mapped(), 2u) << "once";
  EXPECT_EQ(papr_->detach(other, kFirst).error().code, ENOENT);
  ASSERT_TRUE(papr_->detach(space_, kFirst));
  EXPECT_EQ(module_->mapped(), 2u);
  ASSERT_TRUE(papr_->detach(space_, kSecond));
  EXPECT_EQ(module_->mapped(), 0u);
  EXPECT_TRUE(papr_->attach(other, kSecond));
}

TEST_F(PaprLinuxTest, WhatIsRefused) {
  auto device = papr_->open_device(kFirst);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  Memory memory(0x7000000, 4);
  const auto mapping = runs(memory, 0x100);
  ASSERT_TRUE(papr_->map(space_, mapping).status);
  EXPECT_EQ(papr_->map(space_, std::span(&mapping[1], 1)).status.error().code, EEXIST);
  const MapRun big{Dfn(0x1000), Mfn(1), 513, Access::read};
  EXPECT_EQ(papr_->map(space_, std::span(&big, 1)).status.error().code, E2BIG);
  const MapRun nothing{Dfn(0x1000), Mfn(1), 1, Access::none};
  EXPECT_EQ(papr_->map(space_, std::span(&nothing, 1)).status.error().code, EINVAL);
  const MapRun outside{Dfn(1u << 18), mapping[0].mfn, 1, Access::read};
  EXPECT_EQ(papr_->map(space_, std::span(&outside, 1)).status.error().code, EINVAL);
  const MapRun stranger{Dfn(0x1000), Mfn(1), 1, Access::read};
  EXPECT_EQ(papr_->map(space_, std::span(&stranger, 1)).status.error().code, EPERM);
  const UnmapRun wrong{mapping[0].dfn, mapping[0].mfn + 1, 1};
  EXPECT_EQ(papr_->unmap(space_, std::span(&wrong, 1)).status.error().code, ENOENT);
  EXPECT_EQ(papr_->map(SpaceId(99), mapping).status.error().code, ENOENT);
  EXPECT_EQ(module_->mapped(), 4u);
  // The page that is mapped stays pinned, whoever forgets it.
  papr_->forget_frames(memory);
  EXPECT_EQ(module_->pins.size(), 1u);
}

TEST_F(PaprLinuxTest, UnmapStopsAtWhatIsNotMapped) {
  auto device = papr_->open_device(kFirst);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  Memory memory(0x7000000, 4);
  const auto mapping = runs(memory, 0x100);
  ASSERT_TRUE(papr_->map(space_, mapping).status);
  auto list = removals(mapping);
  list.push_back({Dfn(0x104), Mfn(5), 1});
  const auto result = papr_->unmap(space_, list);
  EXPECT_EQ(result.pages_done, 4u);
  EXPECT_EQ(result.status.error().code, ENOENT);
  EXPECT_EQ(module_->mapped(), 0u);
}

TEST_F(PaprLinuxTest, ADeviceThatIsClosedAttachedIsForgotten) {
  auto device = papr_->open_device(kFirst);
  ASSERT_TRUE(papr_->attach(space_, kFirst));
  *device = nullptr;
  EXPECT_TRUE(papr_->destroy_space(space_));
}

TEST_F(PaprLinuxTest, ArrivalsGoToTheirSinks) {
  auto device = papr_->open_device(kFirst);
  EXPECT_EQ(papr_->allocate_vectors(kFirst, VectorKind::intx, 1).error().code, EOPNOTSUPP);
  EXPECT_EQ(papr_->allocate_vectors(kAlone, VectorKind::msi, 1).error().code, ENODEV);
  EXPECT_EQ(papr_->allocate_vectors(kFirst, VectorKind::msix, 8).value(), 3u);
  EXPECT_EQ(papr_->allocate_vectors(kFirst, VectorKind::msix, 1).error().code, EBUSY);
  Sink sink;
  const Vector vector{kFirst, VectorKind::msix, 2};
  Notification there;
  there.sink = &sink;
  EXPECT_EQ(papr_->bind_vector({kFirst, VectorKind::msix, 3}, there).error().code, ENOENT);
  EXPECT_EQ(papr_->bind_vector({kFirst, VectorKind::msi, 2}, there).error().code, ENOENT);
  ASSERT_TRUE(papr_->bind_vector(vector, there));
  module_->arrive(kFirst, 2, 1);
  EXPECT_TRUE(sink.wait(1));
  EXPECT_EQ(sink.last, vector);
  module_->arrive(kFirst, 2, 3);
  EXPECT_TRUE(sink.wait(4)) << "none is lost";
  module_->arrive(kFirst, 1, 1);  // not bound
  module_->arrive(kAlone, 0, 1);  // none of ours
  module_->arrive(kFirst, 77, 1);

  ASSERT_TRUE(papr_->mask_vector(vector));
  module_->arrive(kFirst, 2, 2);
  for (int i = 0; i < 2000 && !papr_->vector_pending(vector).value(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(papr_->vector_pending(vector).value());
  EXPECT_EQ(sink.events, 4);
  ASSERT_TRUE(papr_->unmask_vector(vector));
  EXPECT_EQ(sink.events, 5) << "one bit";
  EXPECT_FALSE(papr_->vector_pending(vector).value());

  EXPECT_EQ(papr_->free_vectors(kFirst, VectorKind::msix).error().code, EBUSY);
  ASSERT_TRUE(papr_->unbind_vector(vector));
  EXPECT_EQ(papr_->unbind_vector(vector).error().code, ENOENT);
  ASSERT_TRUE(papr_->free_vectors(kFirst, VectorKind::msix));
  EXPECT_TRUE(module_->vector_counts.empty());
  EXPECT_EQ(papr_->free_vectors(kFirst, VectorKind::msix).error().code, ENOENT);
}

TEST_F(PaprLinuxTest, WhatIsMissingIsSaid) {
  const std::string nowhere = "device=" + (top_ / "none").string();
  auto opened = open_over_module(nowhere);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ENOENT);
  std::string message = to_string(opened.error());
  EXPECT_NE(message.find("insmod pviommu_papr.ko"), std::string::npos) << message;
  write(top_ / "file", "");
  opened = open_over_module("device=" + (top_ / "file").string());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EPROTO) << to_string(opened.error());
  opened = open_over_module("via=module,colour=red");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EINVAL);
  message = to_string(opened.error());
  EXPECT_NE(message.find("colour"), std::string::npos) << message;
  EXPECT_EQ(open_over_module("red").error().code, EINVAL);
}

// ---- the shadow ------------------------------------------------------------------

TEST(RunShadowTest, NeighboursThatGoOnAreOne) {
  RunShadow shadow;
  const auto run = [](std::uint64_t dfn, std::uint64_t mfn, std::uint64_t pages) {
    return MapRun{Dfn(dfn), Mfn(mfn), pages, Access::read};
  };
  ASSERT_TRUE(shadow.insert(run(10, 110, 2)));
  ASSERT_TRUE(shadow.insert(run(14, 114, 2)));
  ASSERT_TRUE(shadow.insert(run(12, 112, 2)));  // closes the gap
  EXPECT_EQ(std::distance(shadow.begin(), shadow.end()), 1);
  EXPECT_TRUE(shadow.find({Dfn(11), Mfn(111), 4}));
  EXPECT_FALSE(shadow.find({Dfn(11), Mfn(111), 6}));
  EXPECT_EQ(shadow.insert(run(15, 1, 9)).error().code, EEXIST);
  EXPECT_EQ(shadow.insert(run(8, 1, 3)).error().code, EEXIST);
  shadow.erase({Dfn(11), Mfn(111), 4});
  EXPECT_EQ(std::distance(shadow.begin(), shadow.end()), 2);
  ASSERT_TRUE(shadow.insert(run(8, 108, 2)));   // goes on in the next
  ASSERT_TRUE(shadow.insert(run(11, 500, 1)));  // does not
  EXPECT_EQ(std::distance(shadow.begin(), shadow.end()), 3);
  EXPECT_TRUE(shadow.find({Dfn(8), Mfn(108), 3}));
  shadow.erase({Dfn(8), Mfn(108), 3});
  shadow.erase({Dfn(11), Mfn(500), 1});
  shadow.erase({Dfn(15), Mfn(115), 1});
  EXPECT_TRUE(shadow.empty());
}

}  // namespace
}  // namespace pviommu::papr
