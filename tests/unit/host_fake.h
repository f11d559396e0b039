// SPDX-License-Identifier: LGPL-2.1-or-later
// A machine of regular files: /sys and /proc in a folder, and a kernel that
// answers writes as the real one does.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

class FakeHost {
 public:
  FakeHost() {
    char name[] = "/tmp/pviommu-host-XXXXXX";
    top = ::mkdtemp(name);
    sys = top / "sys";
    proc = top / "proc";
    modules = top / "modules";
    for (const char* folder : {"bus/pci/devices", "bus/pci/drivers", "class/block", "class/net"})
      std::filesystem::create_directories(sys / folder);
    write(proc / "self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\n");
    write(proc / "swaps", "Filename Type Size Used Priority\n");
    write(sys / "bus/pci/drivers_probe", "");
  }
  ~FakeHost() { std::filesystem::remove_all(top); }
  FakeHost(const FakeHost&) = delete;

  HostRoots roots() {
    return {sys,
            proc,
            [this](const std::string& path, std::string_view text) { return kernel(path, text); },
            [this](const std::string& name, const std::string&) -> Status {
              asked.push_back(name);
              if (claimed.contains(name)) return Error{EBUSY, "open"};
              return {};
            },
            [this](Sbdf sbdf) -> Result<Keeper> {
              const auto found = keepers.find(to_string(sbdf));
              return found == keepers.end() ? Keeper::host : found->second;
            },
            [this](Sbdf sbdf, Keeper keeper) -> Result<bool> {
              log.push_back(to_string(sbdf) + (keeper == Keeper::host ? " out of quarantine" : " into quarantine"));
              if (log.size() == fail_at) return Error{EIO, "set_keeper"};
              auto& now = secretly_quarantined.contains(to_string(sbdf)) ? hidden : keepers[to_string(sbdf)];
              return std::exchange(now, keeper) != keeper;
            },
            modules,
            top / "rules"};
  }

  static void write(const std::filesystem::path& path, const std::string& text) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::trunc) << text;
  }
  static void link(const std::filesystem::path& path, const std::filesystem::path& target) {
    std::filesystem::create_directories(path.parent_path());
    std::filesystem::create_symlink(target, path);
  }

  std::filesystem::path device(const std::string& address) const {
    return sys / "devices/pci0000:00" / address;
  }
  /// As device mapper and md link them, both ways.
  void stack(const std::filesystem::path& below, const std::filesystem::path& above) {
    link(above / "slaves" / below.filename(), below);
    link(below / "holders" / above.filename(), above);
  }
  /// As the kernel links interfaces, both ways.
  void stack_interface(const std::filesystem::path& below, const std::filesystem::path& above) {
    link(above / ("lower_" + below.filename().string()), below);
    link(below / ("upper_" + above.filename().string()), above);
  }
  void add_vf(const std::string& physical, const std::string& address, const std::string& wants, int group,
              unsigned number) {
    add_device(address, wants, group);
    link(device(physical) / ("virtfn" + std::to_string(number)), device(address));
    link(device(address) / "physfn", device(physical));
  }

  void add_driver(const std::string& name) {
    write(sys / "bus/pci/drivers" / name / "bind", "");
    write(sys / "bus/pci/drivers" / name / "unbind", "");
  }
  /// The driver's module is loaded, and says that it is for such devices.
  void tell_table(const std::string& name, const std::string& pattern) {
    link(sys / "bus/pci/drivers" / name / "module", sys / "module" / name);
    write(proc / "sys/kernel/osrelease", "6.12.1\n");
    std::filesystem::create_directories(modules / "6.12.1");
    std::ofstream(modules / "6.12.1/modules.alias", std::ios::app) << "alias " << pattern << ' ' << name << '\n';
  }
  /// `wants`: the driver that takes it when no override says otherwise.
  void add_device(const std::string& address, const std::string& wants = "", int group = -1) {
    const auto at = device(address);
    for (const char* number : {"vendor", "device", "subsystem_vendor", "subsystem_device"})
      write(at / number, "0x1234\n");
    write(at / "revision", "0x01\n");
    write(at / "class", "0x010802\n");
    write(at / "config", std::string(256, '\0'));
    write(at / "driver_override", "(null)\n");
    write(at / "reset", "");
    link(sys / "bus/pci/devices" / address, at);
    wanted[address] = wants;
    if (!wants.empty()) give(address, wants);
    if (group < 0) return;
    const auto groups = sys / "kernel/iommu_groups" / std::to_string(group);
    link(groups / "devices" / address, at);
    link(at / "iommu_group", groups);
  }
  std::string driver(const std::string& address) const {
    const auto at = device(address) / "driver";
    return std::filesystem::is_symlink(at) ? std::filesystem::read_symlink(at).filename().string() : "";
  }
  std::string overridden(const std::string& address) const {
    std::ifstream in(device(address) / "driver_override");
    std::string line;
    std::getline(in, line);
    return line;
  }
  /// A disk below a device, or (address empty) a virtual one; partitions by their disk.
  std::filesystem::path add_disk(const std::string& address, const std::string& name,
                                 const std::string& number) {
    const auto at = (address.empty() ? sys / "devices/virtual/block" : device(address) / "block") / name;
    write(at / "dev", number + "\n");
    link(sys / "class/block" / name, at);
    return at;
  }
  void add_partition(const std::filesystem::path& disk, const std::string& name, const std::string& number) {
    write(disk / name / "dev", number + "\n");
    write(disk / name / "partition", "1\n");
    link(sys / "class/block" / name, disk / name);
  }
  void mount(const std::string& number, const std::string& point, const std::string& source,
             const char* type = "ext4", const char* options = "rw") {
    std::ofstream(proc / "self/mountinfo", std::ios::app)
        << "30 22 " << number << " / " << point << " rw shared:1 master:2 - " << type << ' ' << source << ' '
        << options << '\n';
  }
  void open_file(unsigned process, const std::string& comm, unsigned fd, const std::string& target) {
    const auto at = proc / std::to_string(process);
    write(at / "comm", comm + "\n");
    link(at / "fd" / std::to_string(fd), target);
  }
  std::filesystem::path add_interface(const std::string& address, const std::string& name) {
    const auto at = (address.empty() ? sys / "devices/virtual/net" : device(address) / "net") / name;
    std::filesystem::create_directories(at);
    link(sys / "class/net" / name, at);
    return at;
  }
  void route4(const std::string& name, const std::string& destination, const std::string& mask,
              unsigned metric = 0, const char* flags = "0003") {
    const auto file = proc / "net/route";
    if (!std::filesystem::exists(file))
      write(file, "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n");
    std::ofstream(file, std::ios::app)
        << name << '\t' << destination << "\t010200C0\t" << flags << "\t0\t0\t" << metric << '\t' << mask
        << "\t0\t0\t0\n";
  }
  void route6(const std::string& name, const std::string& length,
              const std::string& destination = std::string(32, '0')) {
    std::filesystem::create_directories(proc / "net");
    const std::string zero(32, '0');
    std::ofstream(proc / "net/ipv6_route", std::ios::app)
        << destination << ' ' << length << ' ' << zero << " 00 " << zero << " 00000400 00000003 00000000 00000003 "
        << name << '\n';
  }

  std::filesystem::path top, sys, proc, modules;
  std::map<std::string, Keeper> keepers;          ///< of the hypervisor; others are with the host
  std::set<std::string> secretly_quarantined;     ///< whose keeper can be set, and not be asked
  Keeper hidden = Keeper::quarantine;             ///< of those
  std::map<std::string, std::string> wanted;
  std::set<std::string> refuses;  ///< drivers whose probe fails
  std::set<std::string> claimed;  ///< disks that somebody has open exclusively
  std::vector<std::string> asked; ///< disks that were claimed
  std::vector<std::string> log;   ///< "text > path below sys"
  unsigned fail_at = 0;           ///< the write that fails, from 1

 private:
  void give(const std::string& address, const std::string& name) {
    if (!std::filesystem::exists(sys / "bus/pci/drivers" / name)) add_driver(name);
    link(device(address) / "driver", sys / "bus/pci/drivers" / name);
    if (name == "pciback") {
      slots.insert(address);
      list_slots();
    }
  }
  void list_slots() {
    std::string all;
    for (const std::string& address : slots) all += address + '\n';
    for (const char* file : {"new_slot", "remove_slot"}) write(sys / "bus/pci/drivers/pciback" / file, "");
    write(sys / "bus/pci/drivers/pciback/slots", all);
  }
  bool matches(const std::string& address, const std::string& name) const {
    const std::string only = overridden(address);
    if (name == "pciback" && slots.contains(address)) return true;
    return only != "(null)" ? only == name : wanted.at(address) == name;
  }
  bool is_usable(const std::string& address) const {
    if (secretly_quarantined.contains(address)) return hidden == Keeper::host;
    const auto found = keepers.find(address);
    return found == keepers.end() || found->second == Keeper::host;
  }
  void probe(const std::string& address) {
    if (!driver(address).empty()) return;
    std::vector<std::string> names = {"pciback"};  // loaded first, the worst case
    for (const auto& entry : std::filesystem::directory_iterator(sys / "bus/pci/drivers"))
      if (entry.path().filename() != "pciback") names.push_back(entry.path().filename());
    for (const std::string& name : names)
      if (std::filesystem::exists(sys / "bus/pci/drivers" / name) && matches(address, name) &&
          !refuses.contains(name) && (is_parking_driver(name) || is_usable(address))) {
        give(address, name);
        return;
      }
  }

  /// drivers/base/bus.c and drivers/pci/pci-driver.c of Linux.
  Status kernel(const std::string& path, std::string_view text) {
    log.push_back(std::string(text.substr(0, text.find('\n'))) + " > " + path.substr(sys.native().size()));
    if (log.size() == fail_at) return Error{EIO, "write"};
    const std::filesystem::path file(path);
    if (!std::filesystem::exists(file)) return Error{ENOENT, "open"};
    const std::string name = file.filename(), word(text.substr(0, text.find('\n'))),
                      owner = file.parent_path().filename();
    if (name == "driver_override") {
      write(file, word.empty() ? "(null)\n" : word + '\n');
    } else if (name == "drivers_probe") {
      probe(word);
    } else if (name == "unbind") {
      if (driver(word) != owner) return Error{ENODEV, "write"};
      std::filesystem::remove(device(word) / "driver");
    } else if (name == "bind") {
      if (!driver(word).empty() || !matches(word, owner)) return Error{ENODEV, "write"};
      give(word, owner);
    } else if (name == "new_slot") {
      slots.insert(word);
      list_slots();
    } else if (name == "remove_slot") {
      if (slots.erase(word) == 0) return Error{ENOENT, "write"};
      list_slots();
    } else if (name == "reset") {
      resets.push_back(file.parent_path().filename());
    } else {
      return Error{EACCES, "open"};
    }
    return {};
  }

 public:
  std::vector<std::string> resets;
  std::set<std::string> slots;  ///< that pciback takes at any probe
};

}  // namespace pviommu::host
