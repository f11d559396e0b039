// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu bind, unbind and list --host on a machine of files.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "hypercall/device_lock.h"
#include "tests/unit/host_command_rig.h"

namespace pviommu::command {
namespace {

TEST_F(HostCommandTest, BindGivesToVfioPci) {
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: nvme -> vfio-pci\n");
  EXPECT_EQ(machine.log, (Lines{"0000:00:05.0 > /bus/pci/drivers/nvme/unbind",
                                "vfio-pci > /bus/pci/devices/0000:00:05.0/driver_override",
                                "0000:00:05.0 > /bus/pci/drivers_probe"}));
  EXPECT_EQ(machine.driver(kNvme), "vfio-pci");
  EXPECT_EQ(machine.driver(kNic), "e1000e");
}

TEST_F(HostCommandTest, OnXenTheDeviceHasNoDriver) {
  FakeHost::write(machine.sys / "hypervisor/type", "xen\n");
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: nvme -> none\n");
  EXPECT_EQ(machine.driver(kNvme), "");
  EXPECT_EQ(machine.overridden(kNvme), "none");
  // A driver that is loaded later does not take it.
  auto write = machine.roots().write;
  EXPECT_TRUE(write(machine.sys / "bus/pci/drivers_probe", kNvme));
  EXPECT_EQ(machine.driver(kNvme), "");
}

TEST_F(HostCommandTest, UnbindGivesBackWhatBindTook) {
  for (const char* driver : {"vfio-pci", "none"}) {
    auto wanted = options({kNvme});
    wanted.driver = driver;
    EXPECT_EQ(do_bind(wanted), 0);
    EXPECT_EQ(do_unbind(options({kNvme})), 0);
    EXPECT_EQ(out, std::string("0000:00:05.0: ") + driver + " -> nvme\n");
    EXPECT_EQ(machine.driver(kNvme), "nvme");
    EXPECT_EQ(machine.overridden(kNvme), "(null)");
  }
}

TEST_F(HostCommandTest, ADryRunPrintsWhatARunWrites) {
  auto wanted = options({kNvme, kNic});
  wanted.dry_run = true;
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_EQ(machine.log, Lines{});
  const std::string dry = out;
  wanted.dry_run = false;
  EXPECT_EQ(do_bind(wanted), 0);
  std::string real;
  for (const std::string& line : machine.log) {
    const auto arrow = line.find(" > ");
    real += "echo " + line.substr(0, arrow + 3) + machine.sys.native() + line.substr(arrow + 3) + '\n';
  }
  EXPECT_EQ(dry, real);
}

TEST_F(HostCommandTest, WhatIsDoneIsNotDoneAgain) {
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: nothing to be done, its driver is vfio-pci\n");
  EXPECT_EQ(machine.log, Lines{});
  EXPECT_EQ(do_unbind(options({kNic})), 0);
  EXPECT_EQ(out, "0000:00:06.0: nothing to be done, its driver is e1000e\n");
  EXPECT_EQ(machine.log, Lines{});
}

TEST_F(HostCommandTest, AllOrNothingForEveryWriteThatFails) {
  for (const bool binds : {true, false}) {
    const std::string nvme = binds ? "nvme" : "vfio-pci", nic = binds ? "e1000e" : "vfio-pci";
    const std::string kept = binds ? "(null)" : "vfio-pci";
    if (!binds) {
      EXPECT_EQ(do_bind(options({kNvme, kNic})), 0);
    }
    for (unsigned n = 1; n <= 6; ++n) {
      machine.fail_at = n;
      EXPECT_EQ(do_bind(options({kNvme, kNic}), binds), kFailed) << n;
      EXPECT_FALSE(says("undone")) << err;
      EXPECT_TRUE(says("echo ")) << err;
      EXPECT_EQ(machine.driver(kNvme), nvme) << n;
      EXPECT_EQ(machine.driver(kNic), nic) << n;
      EXPECT_EQ(machine.overridden(kNvme), kept) << n;
      EXPECT_EQ(machine.overridden(kNic), kept) << n;
    }
    machine.fail_at = 0;
  }
}

TEST_F(HostCommandTest, WhatCannotBeUndoneIsSaid) {
  auto wanted = options({kNvme});
  auto kernel = wanted.roots.write;
  wanted.roots.write = [&](const std::string& path, std::string_view text) -> Status {
    if (path.ends_with("drivers_probe")) return Error{EIO, "write"};
    if (path.ends_with("nvme/bind")) return Error{ENODEV, "write"};
    return kernel(path, text);
  };
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("cannot be undone: echo 0000:00:05.0 > ")) << err;
}

TEST_F(HostCommandTest, ADriverThatRefusesGivesTheDeviceBack) {
  machine.refuses.insert("vfio-pci");
  EXPECT_EQ(do_bind(options({kNvme})), kFailed);
  EXPECT_TRUE(says("the driver vfio-pci did not take 0000:00:05.0")) << err;
  EXPECT_EQ(machine.driver(kNvme), "nvme");
  EXPECT_EQ(machine.overridden(kNvme), "(null)");
}

TEST_F(HostCommandTest, BadInputIsOneLine) {
  EXPECT_EQ(do_bind(options({"nvme0"})), kBadInput);
  EXPECT_TRUE(says("SSSS:BB:DD.F")) << err;
  EXPECT_EQ(do_bind(options({"0000:00:13.0"})), kBadInput);
  EXPECT_TRUE(says("0000:00:13.0")) << err;
  EXPECT_EQ(do_bind(options({kNvme, "00:05.0"})), kBadInput);
  EXPECT_TRUE(says("twice")) << err;
  auto wanted = options({kNvme});
  wanted.driver = "xen-pciback";
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("modprobe xen-pciback")) << err;
  std::filesystem::remove_all(machine.sys / "bus");
  EXPECT_EQ(do_bind(options({kNvme})), kFailed);
  EXPECT_TRUE(says("bus/pci/devices")) << err;
  EXPECT_EQ(machine.log, Lines{});
}

TEST_F(HostCommandTest, PcibackIsTheDriverOfXenPciback) {
  machine.add_driver("pciback");
  auto wanted = options({kNvme});
  wanted.driver = "xen-pciback";
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_EQ(machine.driver(kNvme), "pciback");
  // It would take the device again at the probe.
  for (unsigned n = 1; n <= 4; ++n) {
    machine.fail_at = n;
    EXPECT_EQ(do_unbind(options({kNvme})), kFailed);
    EXPECT_EQ(machine.driver(kNvme), "pciback") << n;
    EXPECT_EQ(machine.slots.size(), 1u) << n;
  }
  machine.fail_at = 0;
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_EQ(machine.driver(kNvme), "nvme");
  EXPECT_TRUE(machine.slots.empty());
}

// ---- the hypervisor's quarantine -------------------------------------------------------

/// As `xl pci-assignable-add` leaves it.
void set_aside(FakeHost& machine) {
  FakeHost::write(machine.sys / "hypervisor/type", "xen\n");
  machine.add_driver("pciback");
  FakeHost::write(machine.sys / "bus/pci/drivers/pciback/new_slot", "");
  const auto write = machine.roots().write;
  EXPECT_TRUE(write(machine.sys / "bus/pci/drivers/nvme/unbind", kNvme));
  EXPECT_TRUE(write(machine.sys / "bus/pci/drivers/pciback/new_slot", kNvme));
  EXPECT_TRUE(write(machine.sys / "bus/pci/drivers/pciback/bind", kNvme));
  machine.keepers[kNvme] = Keeper::quarantine;
}

TEST_F(HostCommandTest, UnbindLeavesTheQuarantineBeforeADriverProbes) {
  set_aside(machine);
  auto wanted = options({kNvme});
  wanted.dry_run = true;
  EXPECT_EQ(do_unbind(wanted), 0);
  EXPECT_NE(out.find("xl pci-assignable-remove 0000:00:05.0\necho 0000:00:05.0 > "), out.npos) << out;
  EXPECT_EQ(machine.log, Lines{});
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: pciback -> nvme\n");
  EXPECT_EQ(machine.log, (Lines{"0000:00:05.0 > /bus/pci/drivers/pciback/unbind",
                                "0000:00:05.0 > /bus/pci/drivers/pciback/remove_slot",
                                "0000:00:05.0 out of quarantine", "0000:00:05.0 > /bus/pci/drivers_probe"}));
  EXPECT_EQ(machine.keepers[kNvme], Keeper::host);
}

TEST_F(HostCommandTest, AFailedUnbindGoesBackIntoQuarantine) {
  set_aside(machine);
  for (unsigned n = 1; n <= 4; ++n) {
    machine.fail_at = n;
    EXPECT_EQ(do_unbind(options({kNvme})), kFailed);
    EXPECT_FALSE(says("undone")) << err;
    EXPECT_EQ(machine.driver(kNvme), "pciback") << n;
    EXPECT_EQ(machine.keepers[kNvme], Keeper::quarantine) << n;
  }
}

TEST_F(HostCommandTest, BindToNoneLeavesTheQuarantineAlone) {
  set_aside(machine);
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  EXPECT_EQ(machine.keepers[kNvme], Keeper::quarantine);
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: none -> nvme\n");
  EXPECT_EQ(machine.keepers[kNvme], Keeper::host);
}

TEST_F(HostCommandTest, BindToADriverThatUsesItLeavesTheQuarantine) {
  set_aside(machine);
  auto wanted = options({kNvme});
  wanted.driver = "vfio-pci";
  machine.slots.clear();
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_EQ(machine.keepers[kNvme], Keeper::host);
  machine.keepers[kNvme] = Keeper::quarantine;
  machine.add_driver("pci-stub");
  wanted.driver = "pci-stub";
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_EQ(machine.keepers[kNvme], Keeper::quarantine);
}

TEST_F(HostCommandTest, AQuarantineThatCannotBeAskedIsLeftAllTheSame) {
  set_aside(machine);
  machine.keepers[kNvme] = Keeper::unknown;
  machine.secretly_quarantined.insert(kNvme);
  auto wanted = options({kNvme});
  wanted.dry_run = true;
  EXPECT_EQ(do_unbind(wanted), 0);
  EXPECT_NE(out.find("\n# if it is in Xen's quarantine: xl pci-assignable-remove 0000:00:05.0\n"), out.npos) << out;
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: pciback -> nvme\n");
}

TEST_F(HostCommandTest, WhatAnotherDomainHasIsNotProbed) {
  set_aside(machine);
  machine.keepers[kNvme] = Keeper::guest;
  EXPECT_EQ(do_unbind(options({kNvme})), kFailed);
  EXPECT_TRUE(says("0000:00:05.0 belongs to a guest")) << err;
  machine.keepers[kNvme] = Keeper::space;
  EXPECT_EQ(do_unbind(options({kNvme})), kFailed);
  EXPECT_TRUE(says("pviommu reap")) << err;
  EXPECT_EQ(machine.log, Lines{});
  EXPECT_EQ(machine.driver(kNvme), "pciback");
}

TEST_F(HostCommandTest, NoDriverBackIsAnError) {
  FakeHost::write(machine.device(kNvme) / "modalias", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n");
  machine.tell_table("nvme", "pci:v*d*sv*sd*bc01sc08i02*");
  machine.tell_table("e1000e", "pci:v00008086d00001502sv*sd*bc*sc*i*");
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  machine.refuses.insert("nvme");
  EXPECT_EQ(do_unbind(options({kNvme})), kFailed);
  EXPECT_EQ(out, "0000:00:05.0: vfio-pci -> none\n");
  EXPECT_TRUE(says("0000:00:05.0 was given back, but the driver for it, nvme, has not taken it")) << err;
  EXPECT_EQ(do_unbind(options({kNvme})), kFailed) << "nor the second time";
  // A driver that is not loaded is nobody's fault.
  std::filesystem::remove_all(machine.sys / "bus/pci/drivers/nvme");
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_EQ(out, "0000:00:05.0: none -> none\n");
  // Nor does a kernel without the tables complain.
  machine.add_driver("nvme");
  std::filesystem::remove_all(machine.modules);
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
}

TEST_F(HostCommandTest, ADriverThatIsLinkedInCountsToo) {
  FakeHost::write(machine.device(kNvme) / "modalias", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n");
  machine.tell_table("nvme", "usb:v*");
  FakeHost::write(machine.modules / "6.12.1/modules.builtin.modinfo",
                  std::string("ahci.alias=pci:v*d*sv*sd*bc01sc06i01*") + '\0' +
                      "nvme.alias=pci:v*d*sv*sd*bc01sc08i02*" + '\0');
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  machine.refuses.insert("nvme");
  EXPECT_EQ(do_unbind(options({kNvme})), kFailed);
  EXPECT_TRUE(says("the driver for it, nvme,")) << err;
}

TEST_F(HostCommandTest, WhoTakesItBackIsSaid) {
  auto wanted = options({kNvme});
  EXPECT_EQ(do_bind(wanted), 0);
  machine.wanted[kNvme] = "vfio-pci";  // by new_id
  EXPECT_EQ(do_unbind(wanted), kFailed);
  EXPECT_TRUE(says("vfio-pci has taken it again")) << err;
}

TEST_F(HostCommandTest, ResetIsWhileNobodyHasIt) {
  auto wanted = options({kNvme});
  wanted.reset = true;
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_EQ(machine.log.back(), "1 > /bus/pci/devices/0000:00:05.0/reset");
  EXPECT_EQ(do_unbind(wanted), 0);
  EXPECT_EQ(machine.log.front(), "1 > /bus/pci/devices/0000:00:05.0/reset");
  EXPECT_EQ(machine.resets.size(), 2u);
  std::filesystem::remove(machine.device(kNvme) / "reset");
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("no way to reset")) << err;
  EXPECT_EQ(machine.driver(kNvme), "nvme");
}

// ---- what hangs on a device ---------------------------------------------------------

TEST_F(HostCommandTest, AMountedPartitionIsInUse) {
  machine.add_partition(machine.add_disk(kNvme, "nvme0n1", "259:0"), "nvme0n1p2", "259:2");
  machine.mount("259:2", "/srv/with\\040space", "/dev/nvme0n1p2");
  refused("0000:00:05.0 is in use: /srv/with space is mounted from nvme0n1p2; --force");
  auto wanted = options({kNvme});
  wanted.force = true;
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_NE(out.find("taken although /srv/with space is mounted"), out.npos) << out;
  EXPECT_EQ(machine.driver(kNvme), "vfio-pci");
}

TEST_F(HostCommandTest, AnotherDevicesMountIsNot) {
  machine.add_disk(kNic, "sda", "8:0");
  machine.mount("8:0", "/", "/dev/sda");
  EXPECT_EQ(uses(), Lines{});
  EXPECT_EQ(do_bind(options({kNvme})), 0);
}

TEST_F(HostCommandTest, ThroughDeviceMapperMdAndLoop) {
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.add_partition(disk, "nvme0n1p1", "259:1");
  const auto md = machine.add_disk("", "md0", "9:0"), dm = machine.add_disk("", "dm-3", "254:3"),
             loop = machine.add_disk("", "loop7", "7:7");
  FakeHost::link(md / "slaves/nvme0n1p1", disk / "nvme0n1p1");
  machine.add_partition(md, "md0p1", "9:1");
  FakeHost::link(dm / "slaves/md0p1", md / "md0p1");
  machine.mount("254:3", "/var", "/dev/mapper/vg-var");
  FakeHost::write(loop / "loop/backing_file", "/var/lib/images/a.img\n");
  machine.mount("7:7", "/mnt", "/dev/loop7");
  EXPECT_EQ(uses(), (Lines{"/mnt is mounted from loop7", "/var is mounted from dm-3", "md0p1 is held by dm-3",
                           "nvme0n1p1 is held by md0"}));
  refused("/var is mounted from dm-3");
}

TEST_F(HostCommandTest, ALoopOnAnotherMountIsNot) {
  machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.mount("259:0", "/", "/dev/nvme0n1");
  machine.mount("0:40", "/tmp", "tmpfs", "tmpfs");
  FakeHost::write(machine.add_disk("", "loop0", "7:0") / "loop/backing_file", "/tmp/a.img\n");
  machine.mount("7:0", "/mnt", "/dev/loop0");
  EXPECT_EQ(uses(), Lines{"/ is mounted from nvme0n1"});
}

TEST_F(HostCommandTest, NvmeMultipath) {
  const auto subsystem = machine.sys / "devices/virtual/nvme-subsystem/nvme-subsys0";
  FakeHost::write(machine.device(kNvme) / "nvme/nvme0/dev", "");
  FakeHost::link(subsystem / "nvme0", machine.device(kNvme) / "nvme/nvme0");
  FakeHost::write(subsystem / "nvme0n1/dev", "259:0\n");
  FakeHost::link(machine.sys / "class/block/nvme0n1", subsystem / "nvme0n1");
  machine.mount("259:0", "/", "/dev/nvme0n1");
  refused("/ is mounted from nvme0n1");
}

TEST_F(HostCommandTest, FilesystemsWithManyDevices) {
  machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.add_disk(kNic, "sdb", "8:16");
  machine.mount("0:50", "/data", "/dev/sdb", "btrfs");  // of sdb and nvme0n1
  FakeHost::link(machine.sys / "fs/btrfs/1234-abcd/devices/nvme0n1", machine.device(kNvme) / "block/nvme0n1");
  refused("btrfs 1234-abcd is mounted from nvme0n1");
  EXPECT_EQ(listed()[1]["uses"].get<Lines>(), Lines{"/data is mounted from sdb"});
}

TEST_F(HostCommandTest, Swap) {
  machine.add_partition(machine.add_disk(kNvme, "nvme0n1", "259:0"), "nvme0n1p3", "259:3");
  FakeHost::write(machine.proc / "swaps",
                  "Filename Type Size Used Priority\n/dev/nvme0n1p3\tpartition 1 0 -2\n");
  refused("swap is on nvme0n1p3");
}

TEST_F(HostCommandTest, TheMountsOfProcessOneCountToo) {
  machine.add_disk(kNvme, "nvme0n1", "259:0");
  FakeHost::write(machine.proc / "1/mountinfo", "30 22 259:0 / /hidden rw - ext4 /dev/nvme0n1 rw\n");
  refused("/hidden is mounted from nvme0n1");
}

TEST_F(HostCommandTest, WithoutMountinfoNothingIsTaken) {
  std::filesystem::remove(machine.proc / "self/mountinfo");
  refused("cannot be told");
}

TEST_F(HostCommandTest, TheDefaultRoute) {
  machine.add_interface(kNvme, "eth0");
  machine.add_interface(kNic, "eth1");
  machine.route4("eth0", "000200C0", "00FFFFFF");
  machine.route4("eth1", "00000000", "00000000");
  EXPECT_EQ(uses(), Lines{});
  machine.route4("eth0", "00000000", "00000080");  // 0.0.0.0/1 is not the default route
  EXPECT_EQ(uses(), Lines{});
  machine.route4("eth0", "00000000", "00000000");
  refused("the default route goes through eth0");
}

TEST_F(HostCommandTest, TheDefaultRouteOfIpv6ThroughVlanBridgeAndBond) {
  const auto below = machine.add_interface(kNvme, "eth0"), bond = machine.add_interface("", "bond0"),
             bridge = machine.add_interface("", "br0"), vlan = machine.add_interface("", "br0.5");
  FakeHost::link(bond / "lower_eth0", below);
  FakeHost::link(bridge / "lower_bond0", bond);
  FakeHost::link(vlan / "lower_br0", bridge);
  machine.route6("br0.5", "40");
  machine.route6("lo", "00");
  EXPECT_EQ(uses(), Lines{});
  machine.route6("br0.5", "00");
  refused("the default route goes through br0.5 (on eth0)");
}

TEST_F(HostCommandTest, AProgramThatHasItIsNotForced) {
  auto wanted = options({kNvme});
  EXPECT_EQ(do_bind(wanted), 0);
  wanted.force = true;
  {
    const auto lock = DeviceLock::acquire(std::string("xen-") + kNvme);
    ASSERT_TRUE(lock);
    EXPECT_EQ(do_unbind(wanted), kFailed);
    EXPECT_TRUE(says("is in use by process " + std::to_string(::getpid()))) << err;
  }
  // The kernel's VFIO: whoever has the group open.
  FakeHost::write(machine.proc / "77/comm", "qemu\n");
  FakeHost::link(machine.proc / "77/fd/9", "/dev/vfio/7");
  EXPECT_EQ(do_unbind(wanted), kFailed);
  EXPECT_TRUE(says("is in use by process 77 (qemu)")) << err;
  EXPECT_EQ(machine.driver(kNvme), "vfio-pci");
  std::filesystem::remove(machine.proc / "77/fd/9");
  EXPECT_EQ(do_unbind(wanted), 0);
}

TEST_F(HostCommandTest, TheRestOfTheGroupIsNamed) {
  machine.add_device("0000:00:05.1", "snd", 7);
  EXPECT_EQ(do_bind(options({kNvme})), 0);
  EXPECT_NE(out.find("its group 7 also has 0000:00:05.1, which is with snd"), out.npos) << out;
  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_EQ(do_bind(options({kNvme, "0000:00:05.1"})), 0);
  EXPECT_EQ(out.find("also has"), out.npos) << out;
}

TEST_F(HostCommandTest, Json) {
  machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.mount("259:0", "/", "/dev/nvme0n1");
  const auto all = listed();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["address"], kNvme);
  EXPECT_EQ(all[0]["group"], 7);
  EXPECT_EQ(all[0]["driver"], "nvme");
  EXPECT_EQ(all[0]["in_use"], true);
  EXPECT_EQ(all[1]["in_use"], false);
  auto wanted = options({kNic});
  wanted.json = true;
  EXPECT_EQ(do_bind(wanted), 0);
  const auto done = nlohmann::json::parse(out);
  EXPECT_EQ(done[0]["done"], true);
  EXPECT_EQ(done[0]["from"], "e1000e");
  EXPECT_EQ(done[0]["to"], "vfio-pci");
  EXPECT_EQ(done[0]["steps"].size(), 3u);
}

// ---- what lasts -----------------------------------------------------------------------------

std::string boot_rule(const FakeHost& machine) {
  std::ifstream in(machine.top / "rules" / ("80-pviommu-" + std::string(kNvme) + ".rules"));
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(HostCommandTest, PersistMakesARuleAndUnbindPersistRemovesIt) {
  BindOptions wanted = options({kNvme});
  wanted.persist = true;
  EXPECT_EQ(do_bind(wanted), 0);
  const std::string rule = boot_rule(machine);
  EXPECT_NE(rule.find("KERNEL==\"0000:00:05.0\", ATTR{driver_override}=\"vfio-pci\""), rule.npos) << rule;
  EXPECT_NE(rule.find("RUN{builtin}+=\"kmod load vfio-pci\""), rule.npos) << rule;
  EXPECT_NE(rule.find("/pviommu bind --driver=vfio-pci 0000:00:05.0\"\n"), rule.npos) << rule;
  EXPECT_EQ(listed()[0]["boot_driver"], "vfio-pci");
  EXPECT_EQ(listed()[1]["boot_driver"], "");
  // Nothing is left to be done, with the rule neither.
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_NE(out.find("nothing to be done"), out.npos) << out;

  EXPECT_EQ(do_unbind(options({kNvme})), 0);
  EXPECT_NE(out.find("bound again at the next boot (driver vfio-pci); unbind --persist"), out.npos) << out;
  EXPECT_EQ(boot_rule(machine), rule);
  EXPECT_EQ(do_unbind(wanted), 0);
  EXPECT_EQ(boot_rule(machine), "");
  EXPECT_EQ(machine.driver(kNvme), "nvme");
  EXPECT_TRUE(std::filesystem::is_empty(machine.top / "rules"));
}

TEST_F(HostCommandTest, ARuleForNoDriverLoadsNone) {
  BindOptions wanted = options({kNvme});
  wanted.persist = true;
  wanted.driver = "none";
  EXPECT_EQ(do_bind(wanted), 0);
  const std::string rule = boot_rule(machine);
  EXPECT_EQ(rule.find("kmod"), rule.npos) << rule;
  EXPECT_NE(rule.find("driver_override}=\"none\""), rule.npos) << rule;
}

TEST_F(HostCommandTest, ARuleIsPutBackWhenALaterStepFails) {
  BindOptions wanted = options({kNvme});
  wanted.persist = true;
  EXPECT_EQ(do_bind(wanted), 0);
  const std::string rule = boot_rule(machine);
  wanted.driver = "none";
  wanted.addresses = {kNvme, kNic};
  // The second device's driver is left last of all.
  wanted.roots.write = [kernel = wanted.roots.write](const std::string& path, std::string_view text) -> Status {
    if (path.find("e1000e/unbind") != path.npos) return Error{EBUSY, "write"};
    return kernel(path, text);
  };
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_EQ(boot_rule(machine), rule);
}

TEST_F(HostCommandTest, ADryRunWritesNoRule) {
  BindOptions wanted = options({kNvme});
  wanted.persist = wanted.dry_run = true;
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_NE(out.find("80-pviommu-0000:00:05.0.rules\n"), out.npos) << out;
  EXPECT_EQ(boot_rule(machine), "");
}

TEST_F(HostCommandTest, ARuleThatCannotBeWrittenUndoesTheBinding) {
  BindOptions wanted = options({kNvme});
  wanted.persist = true;
  machine.write(machine.top / "rules", "a file where the folder belongs");
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("80-pviommu-0000:00:05.0.rules")) << err;
  EXPECT_EQ(machine.driver(kNvme), "nvme");
}

TEST_F(HostCommandTest, ARuleChangedByHandIsShownAsSuch) {
  machine.write(machine.top / "rules" / ("80-pviommu-" + std::string(kNvme) + ".rules"), "# mine\n");
  EXPECT_EQ(listed()[0]["boot_driver"], "?");
}

}  // namespace
}  // namespace pviommu::command
