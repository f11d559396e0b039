// SPDX-License-Identifier: LGPL-2.1-or-later
// Over a tree of regular files: what the kernel does at an access is not here,
// that the right bytes of the right file are accessed is.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hypercall/sysfs_bus.h"
#include "hypercall/sysfs_device.h"

namespace pviommu {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoResource = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string resource(std::uint64_t first, std::uint64_t bytes, std::uint64_t flags) {
  return hex(first) + ' ' + hex(first + bytes - 1) + ' ' + hex(flags) + '\n';
}

/// An NVMe-like function: BAR 0 64-bit 16 KiB, BAR 2 I/O, BAR 3 256 bytes inside
/// a page, BAR 4 64-bit prefetchable, ROM 2 KiB.
struct FakeDevice {
  std::string address = "0000:00:04.0";
  std::uint32_t class_code = 0x010802;
  std::uint8_t header_type = 0;
  std::string driver = "";
  std::string enable = "0\n";
  std::size_t config_bytes = 4096;
  bool reset = true;
  std::string resources = resource(0xfeb00000, 0x4000, 0x140204) + kNoResource +
                          resource(0xc000, 0x20, 0x40101) + resource(0xfeb05800, 0x100, 0x40200) +
                          resource(0x380000000000, 0x10000, 0x14220c) + kNoResource +
                          resource(0xfeb40000, 0x800, 0x46200);
};

class SysfsDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pviommu-sysfs-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    top_ = name;
    fs::create_directories(top_ / "bus/pci/devices");
  }
  void TearDown() override { fs::remove_all(top_); }

  fs::path folder(const std::string& address = "0000:00:04.0") const {
    return top_ / "bus/pci/devices" / address;
  }
  static void write(const fs::path& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << text;
    ASSERT_TRUE(out.good()) << path;
  }
  static std::string read(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void add(const FakeDevice& device) {
    const fs::path at = folder(device.address);
    fs::create_directories(at);
    write(at / "vendor", "0x8086\n");
    write(at / "device", "0x5845\n");
    write(at / "subsystem_vendor", "0x1af4\n");
    write(at / "subsystem_device", "0x1100\n");
    write(at / "revision", "0x02\n");
    char text[16];
    std::snprintf(text, sizeof text, "0x%06x\n", device.class_code);
    write(at / "class", text);
    std::string config(device.config_bytes, '\0');
    config[0x0e] = static_cast<char>(device.header_type);
    write(at / "config", config);
    write(at / "enable", device.enable);
    write(at / "resource", device.resources);
    write(at / "resource0", std::string(0x4000, '\0'));
    write(at / "resource2", std::string(0x20, '\0'));
    write(at / "resource3", std::string(0x1000, '\0'));
    write(at / "resource4", std::string(0x10000, '\0'));
    std::string rom(0x800, 'r');
    write(at / "rom", rom);
    if (device.reset) write(at / "reset", "");
    if (!device.driver.empty()) {
      fs::create_directories(top_ / "bus/pci/drivers" / device.driver);
      fs::create_directory_symlink("../../drivers/" + device.driver, at / "driver");
    }
  }

  std::unique_ptr<SysfsDevice> opened() {
    auto device = SysfsDevice::open(make_sbdf(0, 0, 4, 0), "xen", top_);
    if (!device) {
      ADD_FAILURE() << to_string(device.error());
      return nullptr;
    }
    return std::move(device).value();
  }
  int open_error() {
    auto device = SysfsDevice::open(make_sbdf(0, 0, 4, 0), "xen", top_);
    return device ? 0 : device.error().code;
  }
  std::uint8_t byte(const char* file, std::size_t offset) {
    const std::string all = read(folder() / file);
    return offset < all.size() ? static_cast<std::uint8_t>(all[offset]) : 0xee;
  }
  void poke_config(std::size_t offset, std::uint8_t value) {
    std::string all = read(folder() / "config");
    all[offset] = static_cast<char>(value);
    write(folder() / "config", all);
  }

  fs::path top_;
};

// ---- the list --------------------------------------------------------------------

TEST_F(SysfsDeviceTest, ListsFunctionsInOrderWithoutBridges) {
  add({.address = "0001:02:1f.7"});
  add({.address = "0000:03:00.1", .header_type = 0x80});
  add({});
  add({.address = "0000:00:00.0", .class_code = 0x060000});
  add({.address = "0000:00:1c.0", .class_code = 0x060400, .header_type = 1});
  add({.address = "0000:00:1d.0", .class_code = 0x088000, .header_type = 0x81});
  fs::create_directories(folder("10000:00:01.0"));
  const auto list = list_pci_devices("xen", top_);
  ASSERT_TRUE(list) << to_string(list.error());
  std::vector<std::string> addresses;
  for (const PciDeviceInfo& info : *list) addresses.push_back(to_string(info.sbdf));
  EXPECT_EQ(addresses, (std::vector<std::string>{"0000:00:04.0", "0000:03:00.1", "0001:02:1f.7"}));

  const PciDeviceInfo& info = list->back();
  EXPECT_EQ(info.vendor, 0x8086);
  EXPECT_EQ(info.device, 0x5845);
  EXPECT_EQ(info.subsystem_vendor, 0x1af4);
  EXPECT_EQ(info.subsystem_device, 0x1100);
  EXPECT_EQ(info.class_code, 0x010802u);
  EXPECT_EQ(info.revision, 2);
  EXPECT_EQ(info.group, info.sbdf.raw());
  EXPECT_EQ(info.group, 0x102ffu);
  EXPECT_EQ(info.lock, "xen-0001:02:1f.7");
  EXPECT_EQ(info.description, "8086:5845 class 010802");
  EXPECT_EQ(info.driver, "");
  EXPECT_TRUE(info.viable);
}

TEST_F(SysfsDeviceTest, ADriverMakesADeviceNotViableUnlessItOnlyParksIt) {
  for (const auto& [driver, viable] : std::vector<std::pair<std::string, bool>>{{"nvme", false},
                                                                                {"vfio-pci", false},
                                                                                {"pciback", true},
                                                                                {"xen-pciback", true},
                                                                                {"pci-stub", true}}) {
    fs::remove_all(folder());
    add({.driver = driver});
    const auto list = list_pci_devices("xen", top_);
    ASSERT_TRUE(list);
    ASSERT_EQ(list->size(), 1u);
    EXPECT_EQ(list->front().driver, driver);
    EXPECT_EQ(list->front().viable, viable) << driver;
    EXPECT_EQ(open_error(), viable ? 0 : EBUSY) << driver;
  }
}

TEST_F(SysfsDeviceTest, AnEmptyBusIsNoErrorAndNoBusIsOne) {
  const auto list = list_pci_devices("xen", top_);
  ASSERT_TRUE(list);
  EXPECT_TRUE(list->empty());
  const auto none = list_pci_devices("xen", top_ / "nothing");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ENOENT);
}

TEST_F(SysfsDeviceTest, ADeviceThatGoesWhileListingIsLeftOut) {
  add({});
  fs::create_directories(folder("0000:00:05.0"));  // all attributes are gone already
  const auto list = list_pci_devices("xen", top_);
  ASSERT_TRUE(list) << to_string(list.error());
  EXPECT_EQ(list->size(), 1u);
}

TEST_F(SysfsDeviceTest, AnAttributeThatIsNoNumberIsAnError) {
  add({});
  for (const char* text : {"", "0x80zz\n", "0x123456789\n"}) {
    write(folder() / "vendor", text);
    const auto list = list_pci_devices("xen", top_);
    ASSERT_FALSE(list) << text;
    EXPECT_EQ(list.error().code, EIO);
  }
}

// ---- opening ---------------------------------------------------------------------

TEST_F(SysfsDeviceTest, WhatCannotBeOpened) {
  EXPECT_EQ(open_error(), ENODEV);
  add({.class_code = 0x060100});
  EXPECT_EQ(open_error(), ENODEV);
  add({.config_bytes = 64});
  EXPECT_EQ(open_error(), EIO);
  add({});
  poke_config(4, 0xff);
  poke_config(5, 0xff);
  EXPECT_EQ(open_error(), ENODEV);
}

TEST_F(SysfsDeviceTest, APermissionProblemIsPassedOn) {
  add({});
  fs::permissions(top_, fs::perms::all);
  for (const auto& file : fs::directory_iterator(folder())) fs::permissions(file, fs::perms::all);
  fs::permissions(folder() / "resource4", fs::perms::none);
  const bool root = ::geteuid() == 0;  // who may open everything
  if (root) {
    ASSERT_EQ(::seteuid(65534), 0);
  }
  EXPECT_EQ(open_error(), EACCES);
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
}

TEST_F(SysfsDeviceTest, EnableAndDecodersAreOnWhileOpen) {
  add({});
  poke_config(4, 0x04);  // somebody left bus mastering on
  {
    const auto device = opened();
    ASSERT_NE(device, nullptr);
    EXPECT_EQ(read(folder() / "enable"), "1\n");
    EXPECT_EQ(byte("config", 4), 0x07);
    ASSERT_TRUE(device->config_write(4, 2, 0x0407));
  }
  EXPECT_EQ(read(folder() / "enable"), "0\n");
  EXPECT_EQ(byte("config", 4), 0x00);
  EXPECT_EQ(byte("config", 5), 0x00);
}

TEST_F(SysfsDeviceTest, WhatWasEnabledStaysSo) {
  add({.enable = "2\n"});
  poke_config(4, 0x06);
  {
    const auto device = opened();
    ASSERT_NE(device, nullptr);
    EXPECT_EQ(read(folder() / "enable"), "2\n");
  }
  EXPECT_EQ(read(folder() / "enable"), "2\n");
  EXPECT_EQ(byte("config", 4), 0x02);
}

TEST_F(SysfsDeviceTest, OddResourceFilesAreRefused) {
  for (const std::string& resources :
       {std::string("nonsense"), std::string(), std::string(kNoResource) + kNoResource,
        resource(0xfeb00000, 0x3000, 0x40200) + kNoResource + kNoResource + kNoResource + kNoResource +
            kNoResource + kNoResource}) {
    add({.resources = resources});
    EXPECT_EQ(open_error(), EIO) << resources;
  }
}

TEST_F(SysfsDeviceTest, WithoutAnAddressOrAFileThereIsNoBar) {
  add({.resources = resource(0, 0x1000, 0x20040200) + resource(0xfeb00000, 0x1000, 0x20040200) +
                    resource(0, 0x1000, 0x40200) + kNoResource + kNoResource + kNoResource +
                    resource(0xfeb40000, 0x800, 0x46200)});
  fs::remove(folder() / "rom");
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  for (unsigned i = 0; i <= kPciRomIndex + 1; ++i) EXPECT_EQ(device->bar(i).size, 0u) << i;
  EXPECT_EQ(byte("config", 4), 0);  // nothing to decode
}

TEST_F(SysfsDeviceTest, Bars) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  const BarInfo registers = device->bar(0);
  EXPECT_EQ(registers.size, 0x4000u);
  EXPECT_EQ(registers.address, 0xfeb00000u);
  EXPECT_TRUE(registers.is_64bit);
  EXPECT_FALSE(registers.prefetchable);
  EXPECT_FALSE(registers.is_io);
  EXPECT_TRUE(registers.mappable);
  EXPECT_EQ(device->bar(1).size, 0u);
  EXPECT_TRUE(device->bar(2).is_io);
  EXPECT_EQ(device->bar(2).size, 0x20u);
  EXPECT_FALSE(device->bar(2).mappable);
  EXPECT_EQ(device->bar(3).size, 0x100u);
  EXPECT_FALSE(device->bar(3).mappable);
  EXPECT_TRUE(device->bar(4).prefetchable);
  EXPECT_TRUE(device->bar(4).mappable);
  EXPECT_EQ(device->bar(4).address, 0x380000000000u);
  EXPECT_EQ(device->bar(6).size, 0x800u);
  EXPECT_FALSE(device->bar(6).mappable);
}

// ---- accesses --------------------------------------------------------------------

TEST_F(SysfsDeviceTest, ConfigurationSpace) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->config_size(), 4096u);
  ASSERT_TRUE(device->config_write(0x40, 4, 0x44332211));
  EXPECT_EQ(byte("config", 0x40), 0x11);
  EXPECT_EQ(byte("config", 0x43), 0x44);
  EXPECT_EQ(*device->config_read(0x42, 2), 0x4433u);
  EXPECT_EQ(*device->config_read(0x41, 1), 0x22u);
  ASSERT_TRUE(device->config_write(0xffc, 4, 1));
  for (const auto& [offset, width] : std::vector<std::pair<std::size_t, unsigned>>{
           {0x41, 2}, {0x42, 4}, {0x40, 0}, {0x40, 3}, {0x40, 8}, {4096, 1}, {~std::size_t{0} - 3, 4}}) {
    EXPECT_EQ(device->config_read(offset, width).error().code, EINVAL) << offset << ' ' << width;
    EXPECT_EQ(device->config_write(offset, width, 0).error().code, EINVAL);
  }
  // What the kernel does for those without CAP_SYS_ADMIN.
  fs::resize_file(folder() / "config", 64);
  const auto refused = device->config_read(0x40, 4);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EPERM);
}

TEST_F(SysfsDeviceTest, ConfigurationSpaceOf256Bytes) {
  add({.config_bytes = 256});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->config_size(), 256u);
  EXPECT_FALSE(device->config_read(256, 1));
}

TEST_F(SysfsDeviceTest, MemoryBarsOfEveryWidth) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  const std::uint64_t pattern = 0x8877665544332211;
  for (const unsigned width : {1u, 2u, 4u, 8u}) {
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * width);
    ASSERT_TRUE(device->bar_write(0, 0x1000, 8, ~std::uint64_t{0}));
    ASSERT_TRUE(device->bar_write(0, 0x1000, width, pattern));
    EXPECT_EQ(*device->bar_read(0, 0x1000, width), pattern & mask);
    EXPECT_EQ(*device->bar_read(0, 0x1000, 8), (~std::uint64_t{0} & ~mask) | (pattern & mask)) << width;
  }
  EXPECT_EQ(byte("resource0", 0x1001), 0x22);
  ASSERT_TRUE(device->bar_write(4, 0xfff8, 8, pattern));
  EXPECT_EQ(byte("resource4", 0xffff), 0x88);
  EXPECT_EQ(byte("resource0", 0x3ff8), 0);
  for (const auto& [offset, width] : std::vector<std::pair<std::uint64_t, unsigned>>{
           {1, 2}, {4, 8}, {0, 0}, {0, 16}, {0x4000, 1}, {0x3ffc, 8}, {~std::uint64_t{0} - 7, 8}}) {
    EXPECT_EQ(device->bar_read(0, offset, width).error().code, EINVAL) << offset << ' ' << width;
    EXPECT_EQ(device->bar_write(0, offset, width, 0).error().code, EINVAL);
  }
  EXPECT_EQ(device->bar_read(1, 0, 4).error().code, EINVAL);
  EXPECT_EQ(device->bar_read(7, 0, 4).error().code, EINVAL);
}

TEST_F(SysfsDeviceTest, ASmallBarIsAccessedWhereItLiesInItsPage) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->bar_write(3, 0x10, 4, 0xcafe));
  EXPECT_EQ(byte("resource3", 0x810), 0xfe);
  EXPECT_EQ(byte("resource3", 0x10), 0);
  EXPECT_EQ(*device->bar_read(3, 0x11, 1), 0xcau);
  EXPECT_EQ(device->bar_mapping(3).error().code, EOPNOTSUPP);
}

TEST_F(SysfsDeviceTest, IoBars) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->bar_write(2, 0x10, 2, 0x1234));
  EXPECT_EQ(byte("resource2", 0x10), 0x34);
  EXPECT_EQ(byte("resource2", 0x12), 0);
  EXPECT_EQ(*device->bar_read(2, 0x11, 1), 0x12u);
  ASSERT_TRUE(device->bar_write(2, 0x18, 8, 0x8877665544332211));
  EXPECT_EQ(*device->bar_read(2, 0x18, 8), 0x8877665544332211u);
  EXPECT_EQ(*device->bar_read(2, 0x1c, 4), 0x88776655u);
  EXPECT_EQ(device->bar_mapping(2).error().code, EOPNOTSUPP);
  fs::resize_file(folder() / "resource2", 4);
  EXPECT_EQ(device->bar_read(2, 0x10, 4).error().code, EIO);
}

TEST_F(SysfsDeviceTest, TinyBars) {
  add({.resources = std::string(kNoResource) + kNoResource + resource(0xc000, 4, 0x40101) +
                    resource(0xfeb05000, 0x100, 0x40200) + kNoResource + kNoResource + kNoResource});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  EXPECT_FALSE(device->bar(3).mappable);  // begins a page, and does not fill it
  EXPECT_TRUE(device->bar_write(2, 0, 4, 1));
  EXPECT_EQ(device->bar_write(2, 0, 8, 1).error().code, EINVAL);
}

TEST_F(SysfsDeviceTest, FirstAccessesFromManyThreads) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->config_write(0x40, 4, 7));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      const auto bar = device->bar_read(0, 0x3ff8, 8), rom = device->bar_read(6, 0x10, 4);
      if (bar && *bar == 0 && rom && *rom == 0x72727272 && *device->config_read(0x40, 4) == 7) ++good;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 4);
}

TEST_F(SysfsDeviceTest, TheMappingForProgramsIsTheSameMemory) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  const auto mapping = device->bar_mapping(4);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->offset, 0u);
  void* memory = ::mmap(nullptr, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, mapping->fd, 0);
  ASSERT_NE(memory, MAP_FAILED);
  static_cast<std::uint32_t*>(memory)[3] = 77;
  device->bar_mapped(4, true);
  EXPECT_EQ(*device->bar_read(4, 12, 4), 77u);
  ::munmap(memory, 0x10000);
  EXPECT_EQ(device->bar_mapping(6).error().code, EOPNOTSUPP);
  EXPECT_EQ(device->bar_mapping(9).error().code, EOPNOTSUPP);
}

TEST_F(SysfsDeviceTest, TheRomIsReadOnceBetweenOnAndOff) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  fs::resize_file(folder() / "rom", 0x402);  // its images end before the BAR
  EXPECT_EQ(read(folder() / "rom")[0], 'r');
  EXPECT_EQ(*device->bar_read(6, 4, 4), 0x72727272u);
  EXPECT_EQ(*device->bar_read(6, 0, 2), 0x0a31u);  // "1\n" was there while it was read
  EXPECT_EQ(read(folder() / "rom").substr(0, 3), "0\nr");
  EXPECT_EQ(*device->bar_read(6, 0x400, 4), 0xffff7272u);
  EXPECT_EQ(*device->bar_read(6, 0x404, 4), 0xffffffffu);
  EXPECT_EQ(*device->bar_read(6, 0x7ff, 1), 0xffu);
  EXPECT_EQ(*device->bar_read(6, 0x7f8, 8), ~std::uint64_t{0});
  EXPECT_FALSE(device->bar_read(6, 0x800, 1));
  EXPECT_EQ(device->bar_write(6, 0, 1, 0).error().code, EROFS);
}

// ---- reset, INTx, power ------------------------------------------------------------

TEST_F(SysfsDeviceTest, ResetWhereTheKernelHasOne) {
  add({});
  {
    const auto device = opened();
    ASSERT_NE(device, nullptr);
    EXPECT_TRUE(device->can_reset());
    EXPECT_TRUE(device->reset());
    EXPECT_EQ(read(folder() / "reset"), "1");
  }
  fs::remove(folder() / "reset");
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  EXPECT_FALSE(device->can_reset());
  EXPECT_EQ(device->reset().error().code, ENOTTY);
}

TEST_F(SysfsDeviceTest, IntxIsTheStatusRegistersBit) {
  add({});
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  EXPECT_FALSE(device->intx_asserted());
  ASSERT_TRUE(device->config_write(6, 1, 0x08));
  EXPECT_TRUE(device->intx_asserted());
  ASSERT_TRUE(device->config_write(6, 1, 0xf7));
  EXPECT_FALSE(device->intx_asserted());
}

TEST_F(SysfsDeviceTest, AParkedDeviceIsPoweredUpWithoutEnable) {
  add({.driver = "pciback"});
  poke_config(0x06, 0x10);  // capabilities: 0x40 MSI, 0x50 power management in D3
  poke_config(0x34, 0x40);
  poke_config(0x40, 0x05);
  poke_config(0x41, 0x50);
  poke_config(0x50, 0x01);
  poke_config(0x54, 0x0b);
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(byte("config", 0x54), 0x08);
  EXPECT_EQ(byte("config", 4), 0x03);
  EXPECT_EQ(read(folder() / "enable"), "0\n");
}

TEST_F(SysfsDeviceTest, ACapabilityListThatIsALoopEnds) {
  add({.driver = "pciback"});
  poke_config(0x06, 0x10);
  poke_config(0x34, 0x40);
  poke_config(0x40, 0x05);
  poke_config(0x41, 0x40);
  EXPECT_NE(opened(), nullptr);
}

// The kernel's methods are written before a hot reset and as they were after it.
TEST_F(SysfsDeviceTest, HotResetWhereTheKernelKnowsTheBus) {
  add({.reset = true});
  {
    const auto before = opened();  // Linux before 5.15
    ASSERT_NE(before, nullptr);
    EXPECT_FALSE(before->hot_reset_members());
    EXPECT_FALSE(before->hot_reset());
  }
  write(folder() / "reset_method", "flr pm\n");
  {
    const auto device = opened();
    ASSERT_NE(device, nullptr);
    EXPECT_EQ(device->hot_reset_members().error().code, ENODEV);
  }
  write(folder() / "reset_method", "flr bus\n");
  const auto device = opened();
  ASSERT_NE(device, nullptr);
  const auto members = device->hot_reset_members();
  ASSERT_TRUE(members);
  ASSERT_EQ(members->size(), 1u);
  EXPECT_EQ(members->front().sbdf, make_sbdf(0, 0, 4, 0));
  EXPECT_EQ(members->front().group, device->info().group);
  EXPECT_TRUE(device->hot_reset());
  EXPECT_EQ(read(folder() / "reset"), "1");
  EXPECT_EQ(read(folder() / "reset_method"), "flr bus\n") << "a file keeps the rest of what was there";
}

}  // namespace
}  // namespace pviommu
