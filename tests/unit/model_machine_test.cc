// SPDX-License-Identifier: LGPL-2.1-or-later
// The machine by configuration, and devices handed out and taken back.
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "hypercall/backend.h"
#include "tests/unit/model_test_machine.h"

namespace pviommu::model {
namespace {

std::string refusal(const std::string& conf) {
  register_device_type({"probe", "test device", &make_probe});
  const auto opened = Model::open(conf);
  if (opened) return "";
  EXPECT_NE(opened.error().code, 0);
  const std::string sentence(opened.error().sentence.view());
  EXPECT_NE(sentence, "");
  EXPECT_EQ(sentence.find('\n'), std::string::npos);
  return sentence;
}

TEST(ModelMachine, GroupsAddressesAndBars) {
  Machine machine("p2p=on",
                  "probe,addr=0000:03:00.1,group=7;probe;probe,busy=on,group=1;probe,group=1;probe,mmap=off");
  const auto devices = machine.model->devices().value();
  ASSERT_EQ(devices.size(), 5u);
  const char* names[] = {"0000:00:06.0", "0000:00:07.0", "0000:00:08.0", "0000:00:09.0", "0000:03:00.1"};
  const unsigned groups[] = {0, 1, 1, 2, 7};
  const bool viable[] = {true, false, false, true, true};
  std::vector<std::pair<std::uint64_t, std::uint64_t>> used;
  for (unsigned i = 0; i < 5; ++i) {
    EXPECT_EQ(to_string(devices[i].sbdf), names[i]);
    EXPECT_EQ(devices[i].group, groups[i]) << i;
    EXPECT_EQ(devices[i].viable, viable[i]) << i;
    EXPECT_EQ(devices[i].driver, i == 1 ? "probe" : "vfio-pci");
    EXPECT_EQ(devices[i].class_code, 0x010802u);
    PciFunction& function = *machine.model->function(devices[i].sbdf);
    for (unsigned b = 0; b < 6; ++b) {
      const BarInfo bar = function.bar(b);
      if (bar.size == 0) continue;
      EXPECT_NE(bar.address, 0u);
      EXPECT_EQ(bar.address % bar.size, 0u);
      for (const auto& [first, last] : used)
        EXPECT_TRUE(bar.address > last || bar.address + bar.size - 1 < first);
      used.push_back({bar.address, bar.address + bar.size - 1});
    }
    EXPECT_EQ(function.bar(0).mappable, i != 3);
  }
  EXPECT_EQ(code(machine.model->open_device(devices[1].sbdf)), EBUSY);
  EXPECT_EQ(code(machine.model->open_device(devices[2].sbdf)), EBUSY);
  const SpaceId space = machine.model->create_space({}).value();
  EXPECT_EQ(code(machine.model->attach(space, devices[2].sbdf)), EBUSY);
}

TEST(ModelMachine, BadConfigurations) {
  const auto says = [](const std::string& conf, const std::string& what) {
    const std::string message = refusal(conf);
    EXPECT_NE(message.find(what), std::string::npos) << conf << ": " << message;
  };
  says("floppy", "nvme");
  says("floppy", "probe");
  // The model names the device, once.
  EXPECT_EQ(refusal("probe,broken=on"), "probe: broken=on: it is");
  EXPECT_EQ(refusal("nvme,size=0"), "nvme: size=0 is not a positive multiple of lba=512");
  says("probe,colour=red", "colour");
  says("probe,broken=on", "broken=on");
  says("probe,addr=5", "addr=5");
  says("probe,addr=00:05.0;probe,addr=0000:00:05.0", "0000:00:05.0");
  says("probe,group=x", "group=x");
  says("probe;limits=xen", "limits");
  says("limits=vax", "vax");
  says("frames=upside-down", "frames");
  says("iova=5", "iova=5");
  says("iova=0x2000-0x1fff", "iova");
  says("rmrr=0xfee00000-0xfee00fff", "rmrr");
  says("iova=0xfee00000-0xfeefffff", "mapped");
  says("fail=0", "fail=0");
  says("fail=unplug:3", "unmask_vector");
  says("fail-errno=EGAD", "ENOMEM");
  says("limits=papr,window=5", "window");
}

TEST(ModelMachine, DefaultMachineByName) {
  auto opened = open_hypervisor("model");
  ASSERT_TRUE(opened) << to_string(opened.error());
  EXPECT_EQ((*opened)->name(), "model");
  const auto devices = (*opened)->devices().value();
  ASSERT_EQ(devices.size(), 3u);
  EXPECT_EQ(to_string(devices[0].sbdf), "0000:00:05.0");
  EXPECT_EQ(devices[0].class_code, 0x010802u);
  EXPECT_EQ(devices[1].device, 0x11e8);
  EXPECT_EQ(devices[2].vendor, 0x1af4);
  auto refused = open_hypervisor("model:floppy");
  ASSERT_FALSE(refused);
  EXPECT_NE(to_string(refused.error()).find("virtio-net"), std::string::npos);
}

TEST(ModelMachine, DeviceInOneHandOnly) {
  Machine machine;
  EXPECT_EQ(code(machine.model->open_device(make_sbdf(1, 0, 0, 0))), ENODEV);
  auto device = machine.model->open_device(Machine::kFirst);
  ASSERT_TRUE(device);
  EXPECT_EQ(code(machine.model->open_device(Machine::kFirst)), EBUSY);
  PciDevice& d = **device;
  EXPECT_EQ(d.config_read(4, 2).value(), 0x103u);
  EXPECT_EQ(code(d.config_read(3, 2)), EINVAL);
  EXPECT_EQ(code(d.config_read(4096, 1)), EINVAL);
  EXPECT_EQ(code(d.bar_read(1, 0, 4)), EINVAL);
  EXPECT_EQ(code(d.bar_read(0, 0x10000, 4)), EINVAL);
  EXPECT_EQ(code(d.bar_write(0, 0x4008, 4, 1)), EPERM);  // MSI-X table
  EXPECT_TRUE(d.bar_write(0, 0x3ff8, 8, 5));
  EXPECT_EQ(d.bar_read(0, 0x3ff8, 8).value(), 5u);
  EXPECT_TRUE(d.can_reset());
  EXPECT_TRUE(d.reset());
  EXPECT_EQ(machine.probe().resets, 1u);
  machine.model->calls().inject(HypercallOp::reset, 2, EIO);
  EXPECT_EQ(code(d.reset()), EIO);

  // Left in disorder.
  const std::uint64_t address = d.bar(0).address;
  ASSERT_TRUE(d.config_write(4, 2, 7));
  ASSERT_TRUE(d.config_write(0x10, 4, 0));
  d.bar_mapped(0, true);
  TestSink sink;
  ASSERT_TRUE(machine.model->allocate_vectors(Machine::kFirst, VectorKind::msix, 2));
  ASSERT_TRUE(machine.model->bind_vector({Machine::kFirst, VectorKind::msix, 1}, {.sink = &sink}));
  device->reset();
  EXPECT_EQ(machine.model->violations().vectors_left, 1u);
  EXPECT_EQ(machine.probe().config_read(4, 2), 0u);
  auto again = machine.model->open_device(Machine::kFirst);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->bar(0).address, address);
  EXPECT_TRUE(machine.model->allocate_vectors(Machine::kFirst, VectorKind::msi, 1));
  EXPECT_TRUE(machine.model->free_vectors(Machine::kFirst, VectorKind::msi));
}

TEST(ModelMachine, OneBackingFileOneOwner) {
  char folder[] = "/tmp/pviommu-model-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  ::setenv("PVIOMMU_RUN_DIR", (std::string(folder) + "/run").c_str(), 1);
  const std::string file = std::string(folder) + "/disk.img";
  std::ofstream(file) << "x";
  std::filesystem::create_symlink(file, std::string(folder) + "/alias.img");
  Machine one("", "probe,file=" + file), two("", "probe,file=" + std::string(folder) + "/alias.img");
  {
    auto device = one.model->open_device(Machine::kFirst);
    ASSERT_TRUE(device);
    EXPECT_EQ(code(two.model->open_device(Machine::kFirst)), EBUSY);
    EXPECT_EQ(code(two.model->open_device(Machine::kFirst)), EBUSY);
  }
  EXPECT_TRUE(two.model->open_device(Machine::kFirst));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace pviommu::model
