// SPDX-License-Identifier: LGPL-2.1-or-later
// The judging half of the doctor: facts in, checks out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "hypercall/xen/doctor.h"

namespace pviommu::xen {
namespace {

constexpr const char* kBoot =
    "(XEN) Xen version 4.17.7 (Debian)\n"
    "(XEN) I/O virtualisation enabled\n"
    "(XEN)  - Dom0 mode: Relaxed\n"
    "(XEN) Interrupt remapping enabled\n";

HostFacts healthy_host() {
  HostFacts host;
  host.type = "xen";
  host.version = "4.17.7";
  host.guest_type = "PV";
  host.kernel = "6.12.9";
  host.nodes = {{"/dev/xen/privcmd", "xen-privcmd", 0}, {"/dev/xen/evtchn", "xen-evtchn", 0}};
  host.interface_error = 0;
  host.interface = {0x15, 0x15};
  host.iommu = host.hap = true;
  host.iommu_bits = 48;
  host.console = kBoot;
  host.bind_static = true;
  return host;
}

DeviceFacts healthy_device() {
  DeviceFacts device;
  device.text = "0000:00:05.0";
  device.sbdf = make_sbdf(0, 0, 5, 0);
  device.exists = device.usable_type = true;
  device.info.sbdf = *device.sbdf;
  device.info.description = "1b36:0010 class 010802";
  device.can_reset = true;
  device.reset_methods = "flr bus";
  device.msix = 9;
  device.owner = "d0";
  return device;
}

const Check* find(const std::vector<Check>& checks, std::string_view name) {
  const auto it = std::find_if(checks.begin(), checks.end(), [&](const Check& c) { return c.check == name; });
  return it == checks.end() ? nullptr : &*it;
}

/// The check of that name is in the state, says `part` and (unless it is fine or
/// nobody can do anything) what to do.
void expect(const std::vector<Check>& checks, const char* name, CheckState state, const char* part,
            const char* remedy = "") {
  const Check* check = find(checks, name);
  ASSERT_NE(check, nullptr) << name;
  EXPECT_EQ(static_cast<int>(check->state), static_cast<int>(state)) << name << ": " << check->detail;
  EXPECT_NE(check->detail.find(part), std::string::npos) << name << ": " << check->detail;
  EXPECT_NE(check->remedy.find(remedy), std::string::npos) << name << ": " << check->remedy;
}

unsigned count(const std::vector<Check>& checks, CheckState state) {
  return static_cast<unsigned>(
      std::count_if(checks.begin(), checks.end(), [&](const Check& c) { return c.state == state; }));
}

// ---- the host ------------------------------------------------------------------------

TEST(XenDoctorTest, NothingIsWrongWithAHealthyHost) {
  const auto checks = judge(healthy_host());
  EXPECT_EQ(count(checks, CheckState::ok), checks.size());
  for (const char* name : {"Xen", "device nodes", "interface", "privileges", "dom0", "io_uring",
                           "interrupts", "kernel module", "IOMMU", "HAP", "interrupt remapping", "fault log"})
    EXPECT_NE(find(checks, name), nullptr) << name;
  for (const Check& check : checks) EXPECT_EQ(check.remedy, "") << check.check;
}

TEST(XenDoctorTest, WithoutXenNothingElseIsSaid) {
  HostFacts host;
  auto checks = judge(host);
  ASSERT_EQ(checks.size(), 1u);
  expect(checks, "Xen", CheckState::problem, "does not run on Xen", "boot Xen");
  host.type = "kvm";
  checks = judge(host);
  expect(checks, "Xen", CheckState::problem, "runs on kvm");
}

TEST(XenDoctorTest, DeviceNodes) {
  auto host = healthy_host();
  host.nodes[1].error = ENOENT;
  expect(judge(host), "device nodes", CheckState::problem, "/dev/xen/evtchn", "modprobe xen-evtchn");
  host.nodes[1].error = EACCES;
  expect(judge(host), "device nodes", CheckState::problem, "/dev/xen/evtchn", "root");
}

TEST(XenDoctorTest, TheInterface) {
  auto host = healthy_host();
  expect(judge(host), "interface", CheckState::ok, "domctl 0x15, sysctl 0x15, of Xen 4.17");
  host.interface = {0x17, 0x16};
  expect(judge(host), "interface", CheckState::ok, "domctl 0x17, sysctl 0x16, of Xen 4.21");
  host.interface = {0x1a, 0x17};
  auto checks = judge(host);
  expect(checks, "interface", CheckState::problem, "domctl 0x1a, sysctl 0x17", "assume-interface=0x1a/0x17");
  EXPECT_EQ(find(checks, "IOMMU"), nullptr);
  EXPECT_EQ(count(checks, CheckState::problem), 1u);
  host.assumed = host.interface;
  checks = judge(host);
  expect(checks, "interface", CheckState::warning, "used like Xen 4.22, 4.23", "install a pviommu that knows");
  EXPECT_NE(find(checks, "IOMMU"), nullptr);
  EXPECT_EQ(count(checks, CheckState::problem), 0u);
  host.interface_error = EPERM;
  expect(judge(host), "privileges", CheckState::problem, "does not let", "dom0");
  host.interface_error.reset();
  EXPECT_EQ(find(judge(host), "interface"), nullptr);
}

TEST(XenDoctorTest, TheLibraryOfThisXen) {
  auto host = healthy_host();
  EXPECT_EQ(find(judge(host), "libxenctrl"), nullptr);
  host.control_problem = "libxenctrl.so.4.17, ...; install libxenmisc4.17";
  expect(judge(host), "libxenctrl", CheckState::problem, "libxenctrl.so.4.17");
}

TEST(XenDoctorTest, TheKindOfDom0) {
  auto host = healthy_host();
  host.guest_type = "PVH";
  expect(judge(host), "dom0", CheckState::problem, "PVH: only in a PV dom0", "dom0=pvh");
  host.guest_type.clear();
  expect(judge(host), "dom0", CheckState::problem, "unknown kind");
}

TEST(XenDoctorTest, TheIommu) {
  auto host = healthy_host();
  host.iommu = false;
  auto checks = judge(host);
  expect(checks, "IOMMU", CheckState::problem, "none", "firmware");
  EXPECT_EQ(find(checks, "interrupt remapping"), nullptr);
  host = healthy_host();
  host.hap = false;
  expect(judge(host), "HAP", CheckState::problem, "no hardware-assisted paging", "hap=off");
  host = healthy_host();
  host.iommu_bits = 0;
  expect(judge(host), "IOMMU", CheckState::ok, "39 bits");
  host.physinfo_error = EACCES;
  checks = judge(host);
  expect(checks, "IOMMU", CheckState::unknown, "capabilities");
  EXPECT_EQ(find(checks, "HAP"), nullptr);
}

TEST(XenDoctorTest, InterruptRemapping) {
  EXPECT_EQ(interrupt_remapping(kBoot), true);
  EXPECT_EQ(interrupt_remapping("(XEN) Interrupt remapping disabled\n"), false);
  EXPECT_EQ(interrupt_remapping("(XEN) Intel VT-d Interrupt Remapping enabled.\n"), true);
  EXPECT_EQ(interrupt_remapping("(XEN) Intel VT-d Interrupt Remapping not enabled.\n"), false);
  EXPECT_EQ(interrupt_remapping("(XEN) I/O virtualisation disabled\n"), std::nullopt);
  auto host = healthy_host();
  host.console = "(XEN) Interrupt remapping disabled\n";
  expect(judge(host), "interrupt remapping", CheckState::warning, "forge", "firmware");
  host.console = "(XEN) the end only\n";
  expect(judge(host), "interrupt remapping", CheckState::unknown, "no longer");
  host.console.reset();
  expect(judge(host), "interrupt remapping", CheckState::unknown, "cannot be read");
  expect(judge(host), "fault log", CheckState::unknown, "not counted");
}

TEST(XenDoctorTest, WhatXenLogsOfGuests) {
  auto host = healthy_host();
  for (const char* line :
       {"", "loglvl=all", "guest_loglvl=all", "guest_loglvl=warning", "guest_loglvl=none/warning",
        "guest_loglvl=none guest_loglvl=info", "xguest_loglvl=none", "guest_loglvlx=none"}) {
    host.command_line = line;
    expect(judge(host), "fault log", CheckState::ok, "counted");
  }
  for (const char* line : {"a guest_loglvl=none b", "guest_loglvl=error", "guest_loglvl=none/error",
                           "guest_loglvl=all guest_loglvl=none"}) {
    host.command_line = line;
    expect(judge(host), "fault log", CheckState::warning, "none are counted", "guest_loglvl");
  }
}

TEST(XenDoctorTest, TheKernel) {
  auto host = healthy_host();
  host.kernel = "6.1.0-41-amd64";
  host.bind_static = false;
  expect(judge(host), "interrupts", CheckState::warning, "6.1.0-41-amd64", "6.6 or newer");
  host.bind_static.reset();
  expect(judge(host), "interrupts", CheckState::unknown, "/dev/xen/evtchn");
  host.io_uring_error = EPERM;
  expect(judge(host), "io_uring", CheckState::problem, "ring", "io_uring_disabled");
  host.io_uring_error = ENOSYS;
  expect(judge(host), "io_uring", CheckState::problem, "ring", "CONFIG_IO_URING");
}

// ---- the device ----------------------------------------------------------------------

TEST(XenDoctorTest, AHealthyDeviceAndWhatRunWouldDo) {
  const auto checks = judge(healthy_device(), healthy_host(), "");
  EXPECT_EQ(count(checks, CheckState::ok), checks.size());
  std::string steps;
  for (const Check& check : checks)
    if (check.check == kRunStep) steps += check.detail + '\n';
  for (const char* part : {"devices/0000:00:05.0/enable", "reset the device", "map 9 MSI-X vectors",
                           "carrier", "assign 0000:00:05.0", "in the end"})
    EXPECT_NE(steps.find(part), std::string::npos) << part << " in\n" << steps;
}

TEST(XenDoctorTest, TheStepsStopAtTheFirstProblem) {
  auto checks = judge(healthy_device(), healthy_host(), "Xen uses none");
  EXPECT_EQ(checks.back().detail, "stop with an error: Xen uses none");
  auto device = healthy_device();
  device.info.driver = "nvme";
  device.info.viable = false;
  checks = judge(device, healthy_host(), "");
  expect(checks, "driver", CheckState::problem, "nvme", "devices/0000:00:05.0/driver/unbind");
  expect(checks, kRunStep, CheckState::ok, "stop with an error: nvme");
  EXPECT_EQ(std::count_if(checks.begin(), checks.end(), [](const Check& c) { return c.check == kRunStep; }), 1);
  device.owner = "d9";
  checks = judge(device, healthy_host(), "");
  EXPECT_EQ(count(checks, CheckState::problem), 2u);
  expect(checks, kRunStep, CheckState::ok, "stop with an error: nvme");
}

TEST(XenDoctorTest, WhatIsNoDevice) {
  DeviceFacts device;
  device.text = "nvme0";
  expect(judge(device, healthy_host(), ""), "device", CheckState::problem, "nvme0", "0000:00:05.0");
  device.sbdf = make_sbdf(0, 0, 5, 0);
  expect(judge(device, healthy_host(), ""), "device", CheckState::problem, "does not exist", "pviommu list");
  device.exists = true;
  expect(judge(device, healthy_host(), ""), "device", CheckState::problem, "bridge");
}

TEST(XenDoctorTest, AParkedDevice) {
  auto device = healthy_device();
  device.info.driver = "pciback";
  const auto checks = judge(device, healthy_host(), "");
  expect(checks, "driver", CheckState::ok, "pciback");
  expect(checks, kRunStep, CheckState::ok, "leave pciback bound");
}

TEST(XenDoctorTest, WhoHasTheDevice) {
  auto device = healthy_device();
  device.user = DeviceOwner{77, "qemu-io"};
  expect(judge(device, healthy_host(), ""), "user", CheckState::problem, "process 77 (qemu-io)");
  device.owner = "d3";
  device.carrier_of = 77;
  expect(judge(device, healthy_host(), ""), "domain", CheckState::ok, "carrier d3 of process 77");
  device.user.reset();
  expect(judge(device, healthy_host(), ""), "domain", CheckState::warning, "has ended", "next run");
  device.carrier_of.reset();
  expect(judge(device, healthy_host(), ""), "domain", CheckState::problem, "domain 3",
         "xl pci-detach 3 0000:00:05.0");
  device.owner = "DomIO:7ff0";
  expect(judge(device, healthy_host(), ""), "domain", CheckState::ok, "quarantine",
         "pviommu unbind 0000:00:05.0");
  device.owner = "d[IO]";
  expect(judge(device, healthy_host(), ""), "domain", CheckState::ok, "quarantine");
  device.owner = "d[XEN]";
  expect(judge(device, healthy_host(), ""), "domain", CheckState::problem, "for itself");
  device.owner.clear();
  expect(judge(device, healthy_host(), ""), "domain", CheckState::unknown, "does not say");
  auto host = healthy_host();
  host.interface_error = EPERM;
  EXPECT_EQ(find(judge(device, host, ""), "domain"), nullptr);
}

TEST(XenDoctorTest, ResetVectorsAndIsolation) {
  auto device = healthy_device();
  device.can_reset = false;
  device.msix = 0;
  device.msi = 4;
  device.reserved = {IovaRange::from_size(Iova(0xdf000000), 0x10000).value()};
  device.same_requester = {make_sbdf(0, 3, 1, 0)};
  PciDeviceInfo neighbour;
  neighbour.sbdf = make_sbdf(0, 0, 5, 1);
  neighbour.driver = "ahci";
  device.neighbours = {neighbour};
  auto checks = judge(device, healthy_host(), "");
  expect(checks, "reset", CheckState::warning, "no way", "function-level reset");
  expect(checks, "vectors", CheckState::ok, "MSI, vectors: 4");
  expect(checks, "reserved memory", CheckState::warning, "0xdf000000-0xdf00ffff", "firmware");
  expect(checks, "isolation", CheckState::problem, "0000:03:01.0", "slot");
  EXPECT_EQ(count(checks, CheckState::warning), 3u);
  EXPECT_TRUE(std::ranges::any_of(checks, [](const Check& c) {
    return c.detail.find("0000:00:05.1 (ahci)") != c.detail.npos || c.remedy.find("0000:00:05.1 (ahci)") != c.remedy.npos;
  }));
  auto host = healthy_host();
  host.bind_static = false;
  expect(judge(device, host, ""), "vectors", CheckState::warning, "not offered");
  device.msi = 0;
  expect(judge(device, host, ""), "vectors", CheckState::warning, "poll");
}

// ---- text and bytes ----------------------------------------------------------------------

TEST(XenDoctorTest, TheKernelModule) {
  HostFacts host = healthy_host();
  expect(judge(host), "kernel module", CheckState::ok, "not installed; this kernel can have it");
  host.module_installed = true;
  expect(judge(host), "kernel module", CheckState::ok, "installed and not loaded");
  host.signed_only = true;
  expect(judge(host), "kernel module", CheckState::ok, "signed with a key");
  host.module_loaded = true;
  expect(judge(host), "kernel module", CheckState::ok, "without `pviommu run`");
  host = healthy_host();
  host.kernel = "6.6.13-amd64";
  expect(judge(host), "kernel module", CheckState::ok, "Linux 6.12 and newer");
}

TEST(XenDoctorTest, KernelsThatCanHaveTheModule) {
  for (const char* release : {"6.12.0", "6.12.117+deb12-amd64", "6.13-rc1", "7.0.1", "10.2"}) EXPECT_TRUE(can_have_module(release)) << release;
  for (const char* release : {"6.11.9", "6.1.0-40-amd64", "5.15", "4.19.0", "", "next"}) EXPECT_FALSE(can_have_module(release)) << release;
}

TEST(XenDoctorTest, ADeviceOfTheKernelModule) {
  HostFacts host = healthy_host();
  host.module_loaded = true;
  DeviceFacts device = healthy_device();
  device.info.driver = "vfio-pci";
  device.info.viable = true;
  expect(judge(device, host, ""), "driver", CheckState::ok, "any VFIO program");
  expect(judge(device, host, ""), kRunStep, CheckState::ok, "start the program by itself");
  device.owner = "d3";
  device.kernels_carrier = true;
  expect(judge(device, host, ""), "domain", CheckState::problem, "carrier d3 of the kernel module", "wait for its end");
}

TEST(XenDoctorTest, OwnerByXensOwnWords) {
  constexpr const char* kLog =
      "(XEN) ==== PCI devices ====\n"
      "(XEN) 0000:00:05.0 - d7 - node -1 \n"
      "(XEN) [  12.5] ==== PCI devices ====\n"
      "(XEN) ==== segment 0000 ====\n"
      "(XEN) 0000:00:1f.2 - d0 - node -1  - MSIs < 27 >\n"
      "(XEN) 0000:00:05.0 - DomIO:7ff1 - node -1 \n"
      "(XEN) 0000:00:06.0 - d[XEN] - node 0  \n"
      "(XEN) 0000:00:07.0 - d1";
  EXPECT_EQ(owner_of(kLog, make_sbdf(0, 0, 5, 0)), "DomIO:7ff1");
  EXPECT_EQ(owner_of(kLog, make_sbdf(0, 0, 0x1f, 2)), "d0");
  EXPECT_EQ(owner_of(kLog, make_sbdf(0, 0, 6, 0)), "d[XEN]");
  EXPECT_EQ(owner_of(kLog, make_sbdf(0, 0, 7, 0)), "");
  EXPECT_EQ(owner_of(kLog, make_sbdf(0, 0, 8, 0)), "");
  EXPECT_EQ(owner_of("", make_sbdf(0, 0, 5, 0)), "");
}

TEST(XenDoctorTest, VectorsOfCapabilities) {
  std::vector<std::uint8_t> config(256);
  unsigned msi = 9, msix = 9;
  count_vectors(config, msi, msix);
  EXPECT_EQ(msi, 0u);
  EXPECT_EQ(msix, 0u);
  config[0x06] = 0x10;
  config[0x34] = 0x40;
  config[0x40] = 0x05;
  config[0x41] = 0x50;
  config[0x42] = 3 << 1;
  config[0x50] = 0x11;
  config[0x51] = 0x40;  // a loop
  config[0x52] = 0x08;
  config[0x53] = 0x01;
  count_vectors(config, msi, msix);
  EXPECT_EQ(msi, 8u);
  EXPECT_EQ(msix, 0x109u);
  config.resize(64);  // what others than root may read
  count_vectors(config, msi, msix);
  EXPECT_EQ(msi + msix, 0u);
}

}  // namespace
}  // namespace pviommu::xen
