// SPDX-License-Identifier: LGPL-2.1-or-later
// A Power machine for tests of hypercall/papr/vfio/: the kernel is a fake, sysfs a folder.
//
//   host bridge pci@1, group 1: 0001:00:01.0 and 0001:00:02.0
//   host bridge pci@2, group 2: 0002:00:01.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "spapr_fake_kernel.h"
#include "hypercall/papr/vfio/spapr_hypervisor.h"

namespace pviommu::spapr {

inline constexpr Sbdf kFirst = make_sbdf(1, 0, 1, 0), kSecond = make_sbdf(1, 0, 2, 0),
                      kOther = make_sbdf(2, 0, 1, 0);
inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

class NamedMemory final : public PinnedMemory {
 public:
  NamedMemory(std::uint64_t at, std::uint64_t pages)
      : PinnedMemory(HvaRange::from_size(Hva(at), pages * kPageSize).value()) {}
  bool holds_pages() const override { return true; }
  int holder_fd() const override { return -1; }
  Status from_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EOPNOTSUPP, ""}; }
  Status to_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EOPNOTSUPP, ""}; }
};

template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 5000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return condition();
}

class CountingSink final : public EventSink {
 public:
  void event(const Vector& vector) noexcept override {
    last_index = vector.index;
    ++events;
  }
  bool wait(int wanted) const {
    return eventually([&] { return events == wanted; });
  }
  Notification here() {
    Notification notification;
    notification.sink = this;
    return notification;
  }
  std::atomic<unsigned> last_index{~0u};
  std::atomic<int> events{0};
};

class FakeSysfs {
 public:
  FakeSysfs() {
    char name[] = "/tmp/pviommu-spapr-XXXXXX";
    if (::mkdtemp(name) == nullptr) std::abort();
    top_ = std::filesystem::canonical(name);
    std::filesystem::create_directories(top_ / "bus/pci/devices");
  }
  ~FakeSysfs() { std::filesystem::remove_all(top_); }
  FakeSysfs(const FakeSysfs&) = delete;
  FakeSysfs& operator=(const FakeSysfs&) = delete;

  std::string path() const { return top_.string(); }
  void add_bridge(const std::string& bridge, std::uint64_t first, std::uint64_t bytes) {
    write(node(bridge) / "ibm,dma-window",
          cells(0x80000000) + cells(first >> 32) + cells(first) + cells(bytes >> 32) + cells(bytes));
  }
  /// An empty `group`: Linux has none for it.
  void add(Sbdf sbdf, const std::string& bridge, const std::string& group,
           const std::string& driver = "vfio-pci") {
    namespace fs = std::filesystem;
    const fs::path at = folder(sbdf), device = node(bridge) / ("device@" + std::to_string(sbdf.raw()));
    fs::create_directories(at);
    fs::create_directories(device);
    fs::create_directory_symlink(device, at / "of_node");
    if (!group.empty()) {
      const fs::path members = top_ / "kernel/iommu_groups" / group / "devices";
      fs::create_directories(members);
      fs::create_directory_symlink(at, members / to_string(sbdf));
      fs::create_directory_symlink(members.parent_path(), at / "iommu_group");
    }
    for (const char* number : {"vendor", "device", "subsystem_vendor", "subsystem_device", "revision"})
      write(at / number, "0x0001\n");
    write(at / "class", "0x00ff00\n");
    write(at / "config", std::string(256, '\0'));
    set_driver(sbdf, driver);
  }
  void set_driver(Sbdf sbdf, const std::string& driver) {
    namespace fs = std::filesystem;
    fs::remove(folder(sbdf) / "driver");
    if (driver.empty()) return;
    fs::create_directories(top_ / "bus/pci/drivers" / driver);
    fs::create_directory_symlink(top_ / "bus/pci/drivers" / driver, folder(sbdf) / "driver");
  }
  void remove(Sbdf sbdf) { std::filesystem::remove_all(folder(sbdf)); }
  void write(const std::filesystem::path& file, const std::string& text) const {
    std::filesystem::create_directories((top_ / file).parent_path());
    std::ofstream(top_ / file, std::ios::binary | std::ios::trunc) << text;
  }

 private:
  std::filesystem::path folder(Sbdf sbdf) const { return top_ / "bus/pci/devices" / to_string(sbdf); }
  std::filesystem::path node(const std::string& bridge) const {
    return top_ / "firmware/devicetree/base" / bridge;
  }
  static std::string cells(std::uint64_t value) {
    std::string bytes(4, '\0');
    for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
    return bytes;
  }

  std::filesystem::path top_;
};

class SpaprTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kMemory = 0x7f0000000000;

  SpaprTest() {
    sysfs_.add_bridge("pci@1", 0, kGiB);
    sysfs_.add_bridge("pci@2", 0, kGiB);
    add_device(kFirst, "pci@1", 1);
    add_device(kSecond, "pci@1", 1);
    add_device(kOther, "pci@2", 2);
    config_.sysfs = sysfs_.path();
  }
  void TearDown() override {
    spapr_.reset();
    EXPECT_TRUE(kernel_.is_empty());
  }
  void add_device(Sbdf sbdf, const std::string& bridge, unsigned group) {
    sysfs_.add(sbdf, bridge, std::to_string(group));
    kernel_.add_device(sbdf, group);
  }
  int open_error() {
    auto opened = SpaprHypervisor::open(config_, kernel_.make_calls());
    message_ = opened ? "" : to_string(opened.error());
    if (!opened) return opened.error().code;
    spapr_ = std::move(*opened);
    return 0;
  }
  SpaprHypervisor& spapr() {
    if (!spapr_ && open_error() != 0) throw std::runtime_error(message_);
    return *spapr_;
  }
  std::unique_ptr<PciDevice> open_device(Sbdf sbdf) {
    auto device = spapr().open_device(sbdf);
    EXPECT_TRUE(device) << to_string(device.error());
    return device ? std::move(*device) : nullptr;
  }
  SpaceId space_of(std::vector<Sbdf> devices = {}) {
    return spapr().create_space({"test", std::move(devices)}).value();
  }
  /// Pinned, as the run that goes to `dfn`.
  MapRun run(const NamedMemory& memory, std::uint64_t dfn, Access access = Access::read_write) {
    return {Dfn(dfn), Mfn(memory.range().first().raw() >> kPageShift), memory.pages(), access};
  }
  Status pin(NamedMemory& memory) {
    std::vector<FrameRun> frames;
    const Status pinned = spapr().frames_of(memory, frames);
    if (pinned) {
      EXPECT_EQ(frames.size(), 1u);
      EXPECT_EQ(frames[0].mfn, Mfn(memory.range().first().raw() >> kPageShift));
      EXPECT_EQ(frames[0].pages, memory.pages());
    } else {
      EXPECT_TRUE(frames.empty());
    }
    return pinned;
  }
  Status map(SpaceId space, const MapRun& run) { return spapr().map(space, std::span(&run, 1)).status; }
  Status unmap(SpaceId space, const UnmapRun& run) { return spapr().unmap(space, std::span(&run, 1)).status; }
  static UnmapRun removal(const MapRun& run) { return {run.dfn, run.mfn, run.pages}; }

  FakeKernel kernel_;
  FakeSysfs sysfs_;
  SpaprHypervisor::Config config_;
  std::string message_;
  std::unique_ptr<SpaprHypervisor> spapr_;
};

}  // namespace pviommu::spapr
