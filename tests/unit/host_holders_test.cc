// SPDX-License-Identifier: LGPL-2.1-or-later
// What bind refuses and list --host shows as in use, kind by kind; the trees are drawn as the
// kernel makes them.  tests/rigs/oracle/holders.test.sh asks the same of a kernel.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hypercall/device_lock.h"
#include "tests/unit/host_command_rig.h"
#include "vfio-glue/host/disk_holders.h"
#include "vfio-glue/host/pci_address.h"
#include "vfio-glue/host/routes.h"

namespace pviommu::command {
namespace {

class HolderTest : public HostCommandTest {
 protected:
  /// The network card is refused for `reason` alone, in the list and by bind, until it is forced.
  void nic_refused(const std::string& reason) {
    EXPECT_EQ(uses(1), Lines{reason});
    EXPECT_EQ(do_bind(options({kNic})), kFailed);
    EXPECT_EQ(err, "pviommu: 0000:00:06.0 is in use: " + reason + "; --force takes it all the same\n");
    EXPECT_EQ(machine.log, Lines{});
    auto forced = options({kNic});
    forced.force = forced.dry_run = true;
    EXPECT_EQ(do_bind(forced), 0);
    EXPECT_NE(out.find("# 0000:00:06.0: taken although " + reason), out.npos) << out;
  }
};

// ---- disks ---------------------------------------------------------------------------

TEST_F(HolderTest, AMemberOfAnArrayWithoutAMount) {
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:0"), md = machine.add_disk("", "md0", "9:0"),
             dm = machine.add_disk("", "dm-0", "253:0");
  machine.add_partition(disk, "nvme0n1p3", "259:3");
  machine.stack(disk / "nvme0n1p3", md);
  machine.stack(md, dm);
  FakeHost::write(dm / "dm/name", "vg-guest\n");
  EXPECT_EQ(uses(), (Lines{"md0 is held by dm-0 (vg-guest)", "nvme0n1p3 is held by md0"}));
  refused("in use: md0 is held by dm-0 (vg-guest), nvme0n1p3 is held by md0; --force");
}

TEST_F(HolderTest, EachLinkAloneTellsALayer) {
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:0"), dm = machine.add_disk("", "dm-0", "253:0");
  FakeHost::link(dm / "slaves/nvme0n1", disk);
  EXPECT_EQ(uses(), Lines{"nvme0n1 is held by dm-0"});
  std::filesystem::remove(dm / "slaves/nvme0n1");
  FakeHost::link(disk / "holders/dm-0", dm);
  EXPECT_EQ(uses(), Lines{"nvme0n1 is held by dm-0"});
}

TEST_F(HolderTest, BcacheHasNoLinkAtItsCache) {
  FakeHost::write(machine.add_disk(kNvme, "nvme0n1", "259:0") / "bcache/cache_replacement_policy", "");
  EXPECT_EQ(uses(), Lines{"nvme0n1 is held by bcache"});
  EXPECT_EQ(machine.asked, Lines{});
}

TEST_F(HolderTest, ALoopOnADiskItself) {
  const auto disk = machine.add_disk(kNvme, "nvme9n1", "259:0");
  machine.add_partition(disk, "nvme9n1p1", "259:1");
  FakeHost::write(machine.add_disk("", "loop3", "7:3") / "loop/backing_file", "/dev/nvme9n1p1\n");
  refused("in use: nvme9n1p1 is held by loop3; --force");
}

TEST_F(HolderTest, WhatIsOpenExclusivelyIsSaidOnce) {
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.add_partition(disk, "nvme0n1p1", "259:1");
  machine.add_partition(disk, "nvme0n1p9", "259:9");
  // The kernel refuses the disk for the sake of its partition.
  machine.claimed = {"nvme0n1", "nvme0n1p1"};
  refused("in use: nvme0n1p1 is open exclusively (ZFS, a guest's disk, an exported one, a program); --force");
  EXPECT_EQ(machine.asked, (Lines{"nvme0n1p1", "nvme0n1p9"}));
  machine.claimed = {"nvme0n1"};
  EXPECT_EQ(uses(), Lines{"nvme0n1 is open exclusively (ZFS, a guest's disk, an exported one, a program)"});
  machine.claimed = {};
  EXPECT_EQ(uses(), Lines{});
}

TEST_F(HolderTest, WhoseHolderIsKnownIsNotAsked) {
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.add_partition(disk, "nvme0n1p1", "259:1");
  machine.claimed = {"nvme0n1", "nvme0n1p1"};
  machine.mount("259:1", "/srv", "/dev/nvme0n1p1");
  EXPECT_EQ(uses(), Lines{"/srv is mounted from nvme0n1p1"});
  EXPECT_EQ(machine.asked, Lines{});
}

TEST_F(HolderTest, OnlyDisksOfTheDeviceAreAsked) {
  machine.add_disk(kNic, "sda", "8:0");
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:0"), dm = machine.add_disk("", "dm-0", "253:0");
  machine.stack(disk, dm);
  machine.add_disk("", "loop0", "7:0");
  machine.claimed = {"sda", "loop0"};
  EXPECT_EQ(uses(), Lines{"nvme0n1 is held by dm-0"});
  EXPECT_EQ(machine.asked, Lines{"sda"});  // of the other row
}

TEST_F(HolderTest, AHeadOfMultipathIsAskedItsHiddenPathNot) {
  const auto subsystem = machine.sys / "devices/virtual/nvme-subsystem/nvme-subsys0";
  const auto controller = machine.device(kNvme) / "nvme/nvme0";
  FakeHost::write(controller / "nvme0c0n1/size", "1\n");
  FakeHost::link(machine.sys / "class/block/nvme0c0n1", controller / "nvme0c0n1");
  FakeHost::link(subsystem / "nvme0", controller);
  FakeHost::write(subsystem / "nvme0n1/dev", "259:0\n");
  FakeHost::link(machine.sys / "class/block/nvme0n1", subsystem / "nvme0n1");
  machine.claimed = {"nvme0n1", "nvme0c0n1"};
  refused("nvme0n1 is open exclusively");
  EXPECT_EQ(machine.asked, Lines{"nvme0n1"});
}

TEST_F(HolderTest, ADomainsDiskByBlkback) {
  const auto disk = machine.add_disk(kNvme, "nvme0n1", "259:16"), dm = machine.add_disk("", "dm-18", "253:18");
  machine.stack(disk, dm);
  FakeHost::write(dm / "dm/name", "vg-guest\n");
  FakeHost::write(machine.sys / "bus/xen-backend/devices/vbd-3-51712/physical_device", "fd:12\n");
  FakeHost::write(machine.sys / "bus/xen-backend/devices/vbd-4-51712/physical_device", "103:11\n");
  FakeHost::write(machine.sys / "bus/xen-backend/devices/vif-4-0/mode", "");
  EXPECT_EQ(uses(), (Lines{"dm-18 (vg-guest) is a disk of domain 3 (vbd-3-51712)",
                           "nvme0n1 is held by dm-18 (vg-guest)"}));
}

TEST_F(HolderTest, AProgramThatHasADiskOpen) {
  machine.add_disk(kNvme, "nvme9n1", "259:0");
  machine.open_file(77, "qemu-system-x86", 9, "/dev/nvme9n1");
  machine.open_file(78, "(udev-worker)", 3, "/dev/nvme9n1");
  machine.open_file(79, "cat", 3, "/srv/nvme9n1");
  machine.claimed = {"nvme9n1"};
  refused("in use: nvme9n1 is open in process 77 (qemu-system-x86); --force");
}

TEST_F(HolderTest, NothingElseThanTheDiskIsOpened) {
  // A name that is no block device, and one of another number.
  EXPECT_EQ(host::claim_disk("null", "1:3").error().code, ENXIO);
  EXPECT_EQ(host::claim_disk("no-such-disk", "259:0").error().code, ENOENT);
  EXPECT_EQ(host::claim_disk("fd", "0:0").error().code, ENXIO);  // a link
}

// ---- interfaces ----------------------------------------------------------------------

TEST_F(HolderTest, APortOfABridgeWithoutARoute) {
  const auto bridge = machine.add_interface("", "br0");
  FakeHost::write(bridge / "uevent", "DEVTYPE=bridge\nINTERFACE=br0\nIFINDEX=4\n");
  machine.stack_interface(machine.add_interface(kNic, "eth0"), bridge);
  nic_refused("eth0 is below br0 (bridge)");
}

TEST_F(HolderTest, BondTeamVlanAndMacvlan) {
  const auto port = machine.add_interface(kNic, "eth0");
  machine.add_interface(kNvme, "eth1");
  for (const char* name : {"bond0", "team0", "eth0.5", "macvlan0"}) {
    const auto above = machine.add_interface("", name);
    machine.stack_interface(port, above);
    EXPECT_EQ(uses(1), Lines{std::string("eth0 is below ") + name});
    EXPECT_EQ(uses(0), Lines{});
    std::filesystem::remove(port / (std::string("upper_") + name));
  }
  EXPECT_EQ(uses(1), Lines{});
}

TEST_F(HolderTest, OpenVswitchBelowTheDefaultRoute) {
  const auto port = machine.add_interface(kNic, "eth0"), datapath = machine.add_interface("", "ovs-system");
  machine.add_interface("", "xenbr0");
  machine.stack_interface(port, datapath);
  EXPECT_EQ(uses(1), Lines{"eth0 is below ovs-system (Open vSwitch)"});
  machine.route4("xenbr0", "00000000", "00000000");
  EXPECT_EQ(uses(1), (Lines{"eth0 is below ovs-system (Open vSwitch)",
                            "the default route goes through xenbr0 (by Open vSwitch on eth0)"}));
  EXPECT_EQ(uses(0), Lines{});
}

TEST_F(HolderTest, OpenVswitchOverABond) {
  const auto port = machine.add_interface(kNic, "eth0"), bond = machine.add_interface("", "bond0"),
             datapath = machine.add_interface("", "ovs-system");
  machine.add_interface("", "xenbr0");
  machine.stack_interface(port, bond);
  machine.stack_interface(bond, datapath);
  machine.route4("xenbr0", "00000000", "00000000");
  EXPECT_EQ(uses(1), (Lines{"eth0 is below bond0",
                            "the default route goes through xenbr0 (by Open vSwitch on eth0)"}));
}

TEST_F(HolderTest, AnotherCardsRouteIsNotOpenVswitchs) {
  machine.stack_interface(machine.add_interface(kNic, "eth0"), machine.add_interface("", "ovs-system"));
  machine.add_interface(kNvme, "eth1");
  machine.route4("eth1", "00000000", "00000000");
  EXPECT_EQ(uses(1), Lines{"eth0 is below ovs-system (Open vSwitch)"});
  EXPECT_EQ(uses(0), Lines{"the default route goes through eth1"});
}

// 192.0.2.0/24 is 000200C0, as a number of this machine's.
TEST_F(HolderTest, AnNfsServerByARouteOfItsOwn) {
  machine.add_interface(kNic, "eth0");
  machine.add_interface(kNvme, "eth1");
  machine.route4("eth1", "00000000", "00000000");
  machine.route4("eth0", "000200C0", "00FFFFFF");
  machine.mount("0:60", "/home", "server:/home", "nfs4", "rw,vers=4.2,clientaddr=192.0.2.9,addr=192.0.2.1");
  nic_refused("/home is mounted from server:/home through eth0");
  EXPECT_EQ(uses(0), Lines{"the default route goes through eth1"});
}

TEST_F(HolderTest, TheBestRouteCounts) {
  machine.add_interface(kNic, "eth0");
  machine.add_interface(kNvme, "eth1");
  machine.route4("eth1", "000200C0", "00FFFFFF", 200);
  machine.route4("eth0", "000200C0", "00FFFFFF", 100);
  machine.route4("eth1", "010200C0", "FFFFFFFF", 0, "0205");  // it refuses
  machine.mount("0:60", "/home", "server:/home", "nfs", "rw,addr=192.0.2.1");
  EXPECT_EQ(uses(1), Lines{"/home is mounted from server:/home through eth0"});
  EXPECT_EQ(uses(0), Lines{});
  machine.route4("eth1", "010200C0", "FFFFFFFF");
  EXPECT_EQ(uses(1), Lines{});
  EXPECT_EQ(uses(0), Lines{"/home is mounted from server:/home through eth1"});
}

TEST_F(HolderTest, AServerOfIpv6ThroughABridge) {
  machine.stack_interface(machine.add_interface(kNic, "eth0"), machine.add_interface("", "br0"));
  machine.route6("br0", "40", "20010db8000000010000000000000000");
  machine.mount("0:60", "/home", "server:/home", "nfs4", "rw,addr=2001:db8:0:1::5");
  machine.mount("0:61", "/tmp2", "server:/tmp", "nfs4", "rw,addr=2001:db8:0:2::5");
  EXPECT_EQ(uses(1), (Lines{"/home is mounted from server:/home through br0 (on eth0)", "eth0 is below br0"}));
}

TEST_F(HolderTest, ALinkLocalServerNamesItsInterface) {
  machine.add_interface(kNic, "eth0");
  machine.mount("0:60", "/home", "server:/home", "nfs4", "rw,addr=fe80::1%eth0");
  EXPECT_EQ(uses(1), Lines{"/home is mounted from server:/home through eth0"});
}

TEST_F(HolderTest, IscsiNvmeOverTcpAndNbd) {
  machine.add_interface(kNic, "eth0");
  machine.route4("eth0", "000200C0", "00FFFFFF");
  FakeHost::write(machine.sys / "class/iscsi_connection/connection1:0/address", "192.0.2.3\n");
  EXPECT_EQ(uses(1), Lines{"iSCSI connection1:0 goes to 192.0.2.3 through eth0"});
  std::filesystem::remove_all(machine.sys / "class/iscsi_connection");

  FakeHost::write(machine.sys / "class/nvme/nvme4/transport", "tcp\n");
  FakeHost::write(machine.sys / "class/nvme/nvme4/address", "traddr=192.0.2.4,trsvcid=4420,src_addr=192.0.2.9\n");
  FakeHost::write(machine.sys / "class/nvme/nvme5/transport", "pcie\n");
  EXPECT_EQ(uses(1), Lines{"nvme4 (NVMe over tcp) is at 192.0.2.4 through eth0"});
  FakeHost::write(machine.sys / "class/nvme/nvme4/address", "traddr=198.51.100.4,trsvcid=4420,host_iface=eth0\n");
  EXPECT_EQ(uses(1), Lines{"nvme4 (NVMe over tcp) is at 198.51.100.4 through eth0"});
  std::filesystem::remove_all(machine.sys / "class/nvme");

  const auto nbd = machine.add_disk("", "nbd0", "43:0");
  machine.open_file(88, "nbd-client", 3, "socket:[4711]");
  FakeHost::write(machine.proc / "net/tcp",
                  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n"
                  "   0: 090200C0:A1B2 050200C0:2711 01 00000000:00000000 00:00000000 00000000 0 0 4711 1 0\n"
                  "   1: 090200C0:A1B3 060200C0:2A39 01 00000000:00000000 00:00000000 00000000 0 0 4712 1 0\n"
                  "   2: 00000000:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1 0\n");
  EXPECT_EQ(uses(1), Lines{});  // no connection of NBD's
  FakeHost::write(nbd / "pid", "88\n");
  EXPECT_EQ(uses(1), Lines{"nbd0 is at 192.0.2.5 through eth0"});
  FakeHost::write(nbd / "pid", "89\n");  // it has ended, its port is left
  EXPECT_EQ(uses(1), Lines{"nbd0 is at 192.0.2.6 through eth0"});
}

TEST(HostRoutes, WhatIsNoAddressHasNoRoute) {
  const std::vector<host::Route> routes = {{.interface = "eth0"}};
  EXPECT_EQ(host::interfaces_to(routes, "192.0.2.1"), std::set<std::string>{"eth0"});
  for (const char* text : {"", "server", "192.0.2", "2001:db8::1", ":"})
    EXPECT_EQ(host::interfaces_to(routes, text), std::set<std::string>{}) << text;
}

// ---- virtual functions ---------------------------------------------------------------

class VirtualFunctions : public HolderTest {
 protected:
  static constexpr const char* kFree = "0000:00:10.0";
  static constexpr const char* kUsed = "0000:00:10.2";
  void SetUp() override {
    HolderTest::SetUp();
    machine.add_vf(kNic, kFree, "igbvf", 20, 0);
    machine.add_vf(kNic, kUsed, "igbvf", 21, 1);
  }
};

TEST_F(VirtualFunctions, EndWithTheDriverWhichIsSaid) {
  EXPECT_EQ(uses(1), Lines{});
  auto wanted = options({kNic});
  wanted.dry_run = true;
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_NE(out.find("# 0000:00:06.0: its 2 virtual functions end with its driver e1000e\n"), out.npos) << out;
  wanted.json = true;
  EXPECT_EQ(do_bind(wanted), 0);
  EXPECT_EQ(nlohmann::json::parse(out)[0]["virtual_functions"], (Lines{kFree, kUsed}));
}

TEST_F(VirtualFunctions, TheirRouteAndTheirDiskHoldThePhysicalFunction) {
  machine.add_interface(kUsed, "eth7");
  machine.route4("eth7", "00000000", "00000000");
  nic_refused("its VF 0000:00:10.2: the default route goes through eth7");
  machine.add_disk(kFree, "nvme1n1", "259:5");
  machine.mount("259:5", "/srv", "/dev/nvme1n1");
  EXPECT_EQ(uses(1), (Lines{"its VF 0000:00:10.0: /srv is mounted from nvme1n1",
                            "its VF 0000:00:10.2: the default route goes through eth7"}));
}

TEST_F(VirtualFunctions, SetAsideForGuests) {
  for (const char* driver : {"vfio-pci", "xen-pciback"}) {
    if (driver == std::string("xen-pciback")) machine.add_driver("pciback");
    auto aside = options({kUsed});
    aside.driver = driver;
    EXPECT_EQ(do_bind(aside), 0);
    nic_refused(std::string("its VF 0000:00:10.2 is set aside for programs and guests (") +
                (driver == std::string("vfio-pci") ? driver : "pciback") + ")");
    EXPECT_EQ(do_unbind(options({kUsed})), 0);
  }
}

TEST_F(VirtualFunctions, AProgramThatHasOneIsNotForced) {
  EXPECT_EQ(do_bind(options({kUsed})), 0);
  machine.open_file(77, "qemu", 9, "/dev/vfio/21");
  auto wanted = options({kNic});
  wanted.force = true;
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("0000:00:06.0 is in use by process 77 (qemu) by its VF 0000:00:10.2; it has to end first")) << err;
  std::filesystem::remove(machine.proc / "77/fd/9");
  FakeHost::write(machine.device(kUsed) / "vfio-dev/vfio0/dev", "");
  machine.open_file(78, "qemu", 9, "/dev/vfio/devices/vfio0");
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("by process 78 (qemu) by its VF 0000:00:10.2")) << err;
  EXPECT_EQ(machine.driver(kNic), "e1000e");
  std::filesystem::remove(machine.proc / "78/fd/9");
  const auto lock = DeviceLock::acquire(std::string("xen-") + kUsed);
  ASSERT_TRUE(lock);
  EXPECT_EQ(do_bind(wanted), kFailed);
  EXPECT_TRUE(says("by its VF 0000:00:10.2")) << err;
}

// vfio-pci makes virtual functions too, and takes them back when it loses the device.
TEST_F(VirtualFunctions, OfWhatOnlyKeepsTheDevice) {
  EXPECT_EQ(do_bind(options({kNic, kUsed})), 0);
  EXPECT_EQ(do_unbind(options({kNic})), kFailed);
  EXPECT_TRUE(says("its VF 0000:00:10.2 is set aside")) << err;
  EXPECT_TRUE(says("; that has to end first")) << err;
  EXPECT_EQ(do_unbind(options({kUsed})), 0);
  EXPECT_EQ(do_unbind(options({kNic})), 0);
}

TEST_F(HolderTest, AResetDisturbsWhatIsInUse) {
  machine.add_disk(kNvme, "nvme0n1", "259:0");
  machine.mount("259:0", "/srv", "/dev/nvme0n1");
  auto wanted = options({kNvme});
  wanted.reset = true;
  EXPECT_EQ(do_unbind(wanted), kFailed);
  EXPECT_TRUE(says("/srv is mounted from nvme0n1; that has to end first")) << err;
  EXPECT_TRUE(machine.resets.empty());
}

// ---- domains above ffff --------------------------------------------------------------

TEST_F(HolderTest, DomainsAboveFfffAreShownAndNotTaken) {
  constexpr const char* kBehind = "10000:01:00.0";
  machine.add_device("0000:00:0e.0", "vmd", 4);
  machine.add_device("10000:00:01.0", "pcieport", 4);
  FakeHost::write(machine.device("10000:00:01.0") / "class", "0x060400\n");
  machine.add_device(kBehind, "nvme", 4);
  const auto all = listed();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[2]["address"], "0000:00:0e.0");
  EXPECT_EQ(all[2]["group_members"], (Lines{"10000:00:01.0", kBehind}));
  EXPECT_EQ(all[2]["can_be_bound"], true);
  EXPECT_EQ(all[3]["address"], kBehind);
  EXPECT_EQ(all[3]["driver"], "nvme");
  EXPECT_EQ(all[3]["group"], 4);
  EXPECT_EQ(all[3]["class"], "010802");
  EXPECT_EQ(all[3]["can_be_bound"], false);

  for (const char* name : {kBehind, "00010000:01:00.0"}) {
    EXPECT_EQ(do_bind(options({name})), kFailed);
    EXPECT_TRUE(says("10000:01:00.0 cannot be bound: its PCI domain is 10000")) << err;
  }
  EXPECT_EQ(do_bind(options({"10000:02:00.0"})), kBadInput);
  EXPECT_TRUE(says("there is no device 10000:02:00.0")) << err;
  EXPECT_EQ(machine.log, Lines{});

  auto wanted = options({"0000:00:0e.0"});
  wanted.json = true;
  EXPECT_EQ(do_bind(wanted), 0);
  const auto left = nlohmann::json::parse(out)[0]["group_members_with_host"];
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0]["address"], kBehind);
  EXPECT_EQ(left[0]["driver"], "nvme");
}

TEST(HostPciAddress, TextAndBack) {
  for (const char* text : {"0000:00:05.0", "ffff:ff:1f.7", "10000:01:00.0", "ffffffff:ff:1f.7"}) {
    const auto address = host::parse_pci_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
    EXPECT_EQ(address->sbdf().has_value(), std::string_view(text).size() == 12) << text;
  }
  EXPECT_EQ(*host::parse_pci_address("3f:1f.7"), host::PciAddress(make_sbdf(0, 0x3f, 0x1f, 7)));
  EXPECT_EQ(*host::parse_pci_address("0000000A:01:02.3"), host::PciAddress(make_sbdf(10, 1, 2, 3)));
  for (const char* text : {"", "100000000:00:00.0", "1000g:00:00.0", "-1000:00:00.0", "+1000:00:00.0",
                           "10000:00:20.0", "10000:00:00.8", "10000:000:00.0", "10000.00:00.0", "x10000:00:00.0"})
    EXPECT_EQ(host::parse_pci_address(text).ok(), false) << text;
}

}  // namespace
}  // namespace pviommu::command
