// SPDX-License-Identifier: LGPL-2.1-or-later
// The device tree, as programs read it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "hypercall/backend.h"
#include "vfio-glue/engine/sysfs_view.h"

namespace pviommu::vfio::test {
namespace {
namespace fs = std::filesystem;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : "(missing)";
}

TEST(SysfsPath, Normalise) {
  const auto n = SysfsView::normalise;
  EXPECT_EQ(n("/sys"), "/sys");
  EXPECT_EQ(n("//sys///bus/./pci/"), "/sys/bus/pci");
  EXPECT_EQ(n("/sys/a/../b"), "/sys/a/../b") << "may follow a link";
  EXPECT_EQ(n("/"), "/");
  EXPECT_EQ(n("/./"), "/");
}

TEST(SysfsPath, VfioNode) {
  EXPECT_EQ(SysfsView::vfio_node("/dev/vfio/vfio"), "vfio");
  EXPECT_EQ(SysfsView::vfio_node("/dev/vfio/12"), "12");
  EXPECT_EQ(SysfsView::vfio_node("/dev/vfio/devices/vfio3"), "devices/vfio3");
  EXPECT_EQ(SysfsView::vfio_node("/dev/iommu"), kIommuNode);
  for (const char* path : {"/dev/vfio/vfio", "/dev/vfio/12", "/dev/vfio/devices/vfio3", "/dev/iommu"})
    EXPECT_EQ(SysfsView::path_of_node(*SysfsView::vfio_node(path)), path);
  for (const char* other : {"/dev/vfio", "/dev/vfio/a/b", "/dev/vfio/devices", "/dev/vfio/devices/", "/dev/vfio/devices/a/b", "/dev/iommus", "/dev/vfiox/1", "/dev/null", "/sys"})
    EXPECT_FALSE(SysfsView::vfio_node(other)) << other;
}

class SysfsTree : public ::testing::Test {
 protected:
  static constexpr const char* kDevice = "0000:00:05.0";
  void SetUp() override {
    auto opened = open_hypervisor("model:nvme,size=16M,addr=0000:00:05.0;edu,addr=0001:02:06.0");
    ASSERT_TRUE(opened) << to_string(opened.error());
    hypervisor_ = std::move(*opened);
    auto folder = make_run_folder();
    ASSERT_TRUE(folder.ok());
    folder_ = *folder;
    auto built = SysfsView::build(folder_ + "/sys", *hypervisor_);
    ASSERT_TRUE(built.ok()) << to_string(built.error());
    view_.emplace(std::move(*built));
  }
  void TearDown() override {
    SysfsView::remove(folder_);
    EXPECT_FALSE(fs::exists(folder_));
  }
  /// Reads what `path` of a program leads to.
  std::string read(const std::string& path) {
    const auto led = view_->resolve(path);
    return led ? content(*led) : "(real)";
  }
  std::string link(const std::string& path) {
    const auto led = view_->resolve(path);
    return led ? fs::read_symlink(*led).string() : "(real)";
  }

  std::unique_ptr<Hypervisor> hypervisor_;
  std::string folder_;
  std::optional<SysfsView> view_;
};

TEST_F(SysfsTree, Attributes) {
  const std::string at = std::string("/sys/bus/pci/devices/") + kDevice;
  auto devices = hypervisor_->devices();
  ASSERT_TRUE(devices.ok());
  const PciDeviceInfo& nvme = devices->front();
  char expected[16];
  std::snprintf(expected, sizeof expected, "0x%04x\n", nvme.vendor);
  EXPECT_EQ(read(at + "/vendor"), expected);
  std::snprintf(expected, sizeof expected, "0x%04x\n", nvme.device);
  EXPECT_EQ(read(at + "/device"), expected);
  EXPECT_EQ(read(at + "/class"), "0x010802\n");
  EXPECT_EQ(read(at + "/numa_node"), "-1\n");
  EXPECT_EQ(link(at + "/vfio-dev/vfio0/device"), std::string("../../../") + kDevice);
  EXPECT_EQ(read(at + "/vfio-dev/vfio0/dev"), "242:0\n");
  EXPECT_EQ(read(at + "/max_vfs"), "0\n");
  EXPECT_EQ(read(at + "/no-such-attribute"), "(missing)") << "not the real device's";
  // vendor and device id, little endian
  const std::string config = read(at + "/config");
  ASSERT_EQ(config.size(), ::geteuid() == 0 ? 4096u : 64u) << "lspci -v shows root the capabilities";
  EXPECT_EQ(static_cast<unsigned char>(config[0]) | static_cast<unsigned char>(config[1]) << 8, nvme.vendor);
}

TEST_F(SysfsTree, ResourceIsWhatDpdkParses) {
  const std::string text = read(std::string("/sys/bus/pci/devices/") + kDevice + "/resource");
  std::istringstream lines(text);
  std::string line;
  int count = 0;
  auto device = hypervisor_->open_device(*parse_sbdf(kDevice));
  ASSERT_TRUE(device.ok());
  for (; std::getline(lines, line); ++count) {
    unsigned long long first = 1, last = 1, flags = 1;
    ASSERT_EQ(std::sscanf(line.c_str(), "0x%llx 0x%llx 0x%llx", &first, &last, &flags), 3) << line;
    const BarInfo bar = (*device)->bar(static_cast<unsigned>(count));
    if (bar.size != 0) {
      EXPECT_EQ(last - first + 1, bar.size);
      EXPECT_EQ((flags & 0x200) != 0, !bar.is_io);
    } else {
      EXPECT_EQ(first | last | flags, 0u);
    }
  }
  EXPECT_EQ(count, 7);
}

TEST_F(SysfsTree, LinksAreAsDeepAsTheKernels) {
  EXPECT_EQ(link(std::string("/sys/bus/pci/devices/") + kDevice), "../../../devices/pci0000:00/0000:00:05.0");
  const std::string group = link(std::string("/sys/bus/pci/devices/") + kDevice + "/iommu_group");
  EXPECT_EQ(fs::path(group).parent_path(), "../../../kernel/iommu_groups");
  EXPECT_EQ(fs::path(link(std::string("/sys/bus/pci/devices/") + kDevice + "/driver")).filename(),
            "vfio-pci");
  // Every link of the tree leads somewhere.
  for (const auto& entry : fs::recursive_directory_iterator(view_->root()))
    EXPECT_TRUE(!entry.is_symlink() || fs::exists(entry.path())) << entry.path();
  const std::string number = fs::path(group).filename();
  EXPECT_TRUE(
      fs::exists(*view_->resolve("/sys/kernel/iommu_groups/" + number + "/devices/" + kDevice + "/vendor")));
  EXPECT_TRUE(fs::exists(*view_->resolve("/dev/vfio/" + number)));
  EXPECT_TRUE(fs::exists(*view_->resolve("/dev/vfio/vfio")));
}

TEST_F(SysfsTree, WhatIsLedAndWhatIsNot) {
  EXPECT_TRUE(view_->resolve("/sys/bus/pci/devices"));
  EXPECT_TRUE(view_->resolve("/sys/kernel/iommu_groups"));
  EXPECT_TRUE(view_->resolve("/sys/module/vfio_pci"));
  EXPECT_TRUE(view_->resolve("/sys//bus/./pci/devices/0001:02:06.0/"));
  EXPECT_TRUE(view_->resolve("/sys/devices/pci0000:00/0000:00:05.0/vendor"));
  EXPECT_TRUE(view_->resolve("/dev/vfio"));
  for (const char* real :
       {"/sys", "/sys/bus", "/sys/kernel", "/sys/kernel/mm", "/sys/module", "/sys/devices",
        "/sys/devices/system/cpu", "/sys/bus/pci/devices/ffff:ff:1f.7", "/sys/kernel/iommu_groups/99999",
        "/sys/dev/vfio/vfio", "/dev/null", "/dev/vfio2", "/system/bus", "/proc/self", "relative", ""})
    EXPECT_FALSE(view_->resolve(real)) << real;
}

TEST_F(SysfsTree, RealPathsComeBackAsSys) {
  char* real = ::realpath((view_->root() + "/bus/pci/devices/0000:00:05.0/iommu_group").c_str(), nullptr);
  ASSERT_NE(real, nullptr);
  const auto shown = view_->unresolve(real);
  ASSERT_TRUE(shown);
  EXPECT_EQ(shown->substr(0, 25), "/sys/kernel/iommu_groups/");
  EXPECT_TRUE(view_->resolve(*shown));
  std::free(real);
  EXPECT_FALSE(view_->unresolve("/tmp"));
  EXPECT_FALSE(view_->unresolve(view_->root() + "x"));
}

TEST_F(SysfsTree, ADeviceInUseHasNoResourcesButIsThere) {
  auto device = hypervisor_->open_device(*parse_sbdf(kDevice));
  ASSERT_TRUE(device.ok());
  auto second = SysfsView::build(folder_ + "/second", *hypervisor_);
  ASSERT_TRUE(second.ok()) << to_string(second.error());
  EXPECT_EQ(content(second->root() + "/bus/pci/devices/0000:00:05.0/resource").substr(0, 18),
            "0x0000000000000000");
}

TEST_F(SysfsTree, NodesOfTheInterfacesThatAreOffered) {
  const auto tree = [&](const char* name, const char* interfaces) {
    return SysfsView::build(folder_ + name, *hypervisor_, Interfaces::from_text(interfaces).value()).value().root();
  };
  const std::string both = tree("/both", "cdev,group"), group = tree("/group", "group"), cdev = tree("/cdev", "cdev");
  const std::string own = "/devices/pci0000:00/0000:00:05.0/vfio-dev/vfio0";
  for (const char* node : {"/dev/iommu", "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"}) {
    EXPECT_TRUE(fs::exists(both + node) && fs::exists(cdev + node)) << node;
    EXPECT_FALSE(fs::exists(group + node)) << node;
  }
  EXPECT_TRUE(fs::exists(both + "/dev/vfio/vfio") && fs::exists(group + "/dev/vfio/vfio"));
  EXPECT_FALSE(fs::exists(cdev + "/dev/vfio/vfio"));
  EXPECT_TRUE(fs::exists(cdev + own + "/dev"));
  EXPECT_TRUE(fs::exists(group + own) && !fs::exists(group + own + "/dev")) << "as of a kernel without iommufd";
}

TEST_F(SysfsTree, FoldersThatCannotBeUsed) {
  const auto full = SysfsView::build(view_->root(), *hypervisor_);
  ASSERT_FALSE(full);
  EXPECT_EQ(to_string(full.error()), "device tree in " + view_->root() + ": the folder is not empty");
  const auto nowhere = SysfsView::build("/proc/no/such", *hypervisor_);
  ASSERT_FALSE(nowhere);
  EXPECT_NE(to_string(nowhere.error()).find("device tree in /proc/no/such: "), std::string::npos)
      << to_string(nowhere.error());
  EXPECT_FALSE(SysfsView::open("/etc").ok());
  EXPECT_TRUE(SysfsView::open(view_->root()).ok());
}

}  // namespace
}  // namespace pviommu::vfio::test
