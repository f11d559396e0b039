// SPDX-License-Identifier: LGPL-2.1-or-later
// Everything a PCI function drives is a folder below its own in /sys/devices.  What
// is built on top has folders elsewhere, which point back:
//
//   mount /home --- dm-0 --slaves--> md0 --slaves--> sda2 --- below 0000:00:1f.2
//   mount /img --- loop0 --backing_file--> a file below a mount that is held
//   default route --- br0 --lower_eth0--> eth0 --- below 0000:00:03.0
#include "vfio-glue/host/holders.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "hypercall/device_lock.h"

namespace pviommu::host {
namespace {

namespace fs = std::filesystem;

/// Names in a folder; none where there is no such folder.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename());
  return names;
}

fs::path resolved(const fs::path& path) {
  std::error_code error;
  fs::path out = fs::canonical(path, error);
  return error ? fs::path() : out;
}

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

bool is_below(const fs::path& path, const fs::path& folder) {
  return !folder.empty() && path.native().starts_with(folder.native() + '/');
}

/// "\040" for a space and the like, as in /proc/self/mountinfo and /proc/swaps.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// "dm-0" of /dev/mapper/root, "sda1" of /dev/sda1.
std::string block_name(const std::string& source) {
  if (!source.starts_with("/dev/")) return {};
  const fs::path real = resolved(source);
  return (real.empty() ? fs::path(source) : real).filename();
}

struct Mount {
  std::string number;  ///< "8:1"; "0:N" for filesystems with more than one device
  std::string point;
  std::string source;  ///< a name below /sys/class/block, or empty
};

/// proc(5): 36 35 98:0 /root /point options [optional...] - type source options
Result<std::vector<Mount>> mounts(const HostRoots& roots) {
  std::vector<Mount> out;
  for (const char* process : {"self", "1"}) {
    std::ifstream in(roots.proc + '/' + process + "/mountinfo");
    if (!in && process == std::string_view("self")) return Error{errno, "read mountinfo"};
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string skip, number, point, type, source;
      words >> skip >> skip >> number >> skip >> point;
      while (words >> skip && skip != "-") {
      }
      words >> type >> source;
      out.push_back({number, unescaped(point), block_name(unescaped(source))});
    }
  }
  return out;
}

/// The block devices that are built on the function, by name.
class Disks {
 public:
  Disks(const HostRoots& roots, const fs::path& function, const std::vector<Mount>& mounts)
      : classes_(fs::path(roots.sysfs) / "class/block"), function_(function), mounts_(mounts) {
    const std::vector<std::string> all = names_in(classes_);
    for (bool grows = true; grows;) {
      grows = false;
      for (const std::string& name : all)
        if (!numbers_.contains(name) && stands_on_it(name)) {
          numbers_[name] = first_line(classes_ / name / "dev");
          grows = true;
        }
    }
  }

  bool contains(const std::string& name) const { return numbers_.contains(name); }
  /// The disk a mount is on; empty: none of these.
  std::string of(const Mount& mount) const {
    for (const auto& [name, number] : numbers_)
      if (number == mount.number) return name;
    return contains(mount.source) ? mount.source : std::string();
  }

 private:
  bool stands_on_it(const std::string& name) const {
    const fs::path at = resolved(classes_ / name);
    if (is_below(at, function_)) return true;
    if (contains(at.parent_path().filename())) return true;  // a partition of such a disk
    for (const std::string& slave : names_in(at / "slaves"))
      if (contains(slave)) return true;
    // NVMe multipath: the disk is the subsystem's, beside links to its controllers.
    if (at.parent_path().filename().native().starts_with("nvme-subsys"))
      for (const std::string& controller : names_in(at.parent_path()))
        if (controller.starts_with("nvme") && is_below(resolved(at.parent_path() / controller), function_))
          return true;
    const std::string file = first_line(at / "loop/backing_file");
    return !file.empty() && is_on_it(file);
  }
  bool is_on_it(const std::string& file) const {
    const Mount* best = nullptr;
    for (const Mount& mount : mounts_)
      if (mount.point == "/" || is_below(file, mount.point))
        if (best == nullptr || mount.point.size() >= best->point.size()) best = &mount;
    return best != nullptr && !of(*best).empty();
  }

  const fs::path classes_, function_;
  const std::vector<Mount>& mounts_;
  std::map<std::string, std::string> numbers_;  ///< name -> "8:1"
};

/// The interface below the function that `name` stands on; empty: none.
std::string interface_of(const HostRoots& roots, const std::string& name, const fs::path& function,
                         unsigned depth = 8) {
  const fs::path at = resolved(fs::path(roots.sysfs) / "class/net" / name);
  if (is_below(at, function)) return name;
  if (depth == 0) return {};
  for (const std::string& link : names_in(at))
    if (link.starts_with("lower_"))
      if (const std::string found = interface_of(roots, link.substr(6), function, depth - 1); !found.empty())
        return found;
  return {};
}

/// Interfaces of default routes.  /proc/net/route: interface first, destination
/// second, mask eighth; /proc/net/ipv6_route: destination, length, ..., interface.
/// IPv6 has a default route on "lo" that refuses everything; it is left out.
std::set<std::string> default_interfaces(const HostRoots& roots) {
  std::set<std::string> names;
  std::ifstream four(roots.proc + "/net/route"), six(roots.proc + "/net/ipv6_route");
  for (std::string line; std::getline(four, line);) {
    std::istringstream in(line);
    std::vector<std::string> word;
    for (std::string next; in >> next;) word.push_back(next);
    if (word.size() >= 8 && word[1] == "00000000" && word[7] == "00000000") names.insert(word[0]);
  }
  for (std::string line; std::getline(six, line);) {
    std::istringstream in(line);
    std::vector<std::string> word;
    for (std::string next; in >> next;) word.push_back(next);
    if (word.size() >= 10 && word[0] == std::string(32, '0') && word[1] == "00" && word.back() != "lo")
      names.insert(word.back());
  }
  return names;
}

std::string described(const DeviceOwner& owner) {
  return "process " + std::to_string(owner.pid) + " (" + owner.comm + ")";
}

}  // namespace

Result<std::vector<std::string>> host_holders(const HostRoots& roots, Sbdf sbdf) {
  const fs::path function = resolved(roots.sysfs + "/bus/pci/devices/" + to_string(sbdf));
  if (function.empty()) return Error{ENODEV, "PCI device: not in sysfs"};
  const std::vector<Mount> mounted = PVIOMMU_TRY(mounts(roots));
  const Disks disks(roots, function, mounted);
  std::set<std::string> holders;
  for (const Mount& mount : mounted)
    if (const std::string disk = disks.of(mount); !disk.empty())
      holders.insert(mount.point + " is mounted from " + disk);
  // A multi-device filesystem names one of its devices in mountinfo, all of them here.
  const fs::path btrfs = fs::path(roots.sysfs) / "fs/btrfs";
  for (const std::string& uuid : names_in(btrfs))
    for (const std::string& disk : names_in(btrfs / uuid / "devices"))
      if (disks.contains(disk)) holders.insert("btrfs " + uuid + " is mounted from " + disk);
  std::ifstream swaps(roots.proc + "/swaps");
  for (std::string line; std::getline(swaps, line);)
    if (const std::string disk = block_name(unescaped(line.substr(0, line.find_first_of(" \t"))));
        disks.contains(disk))
      holders.insert("swap is on " + disk);
  for (const std::string& name : default_interfaces(roots))
    if (const std::string lower = interface_of(roots, name, function); !lower.empty())
      holders.insert("the default route goes through " + name + (lower == name ? "" : " (on " + lower + ")"));
  return std::vector<std::string>(holders.begin(), holders.end());
}

std::string device_user(const HostRoots& roots, const HostDevice& device) {
  const std::string address = to_string(device.sbdf);
  for (const char* backend : {"xen-", "papr-"})
    if (const auto owner = DeviceLock::owner(backend + address); owner && *owner) return described(**owner);
  // As long as a process has one of these open, unbinding the device would wait for it.
  std::set<std::string> nodes;
  if (device.group) nodes.insert("/dev/vfio/" + std::to_string(*device.group));
  for (const std::string& node : names_in(roots.sysfs + "/bus/pci/devices/" + address + "/vfio-dev"))
    nodes.insert("/dev/vfio/devices/" + node);
  if (nodes.empty() || !is_parking_driver(device.driver)) return {};
  for (const std::string& process : names_in(roots.proc)) {
    if (process.find_first_not_of("0123456789") != process.npos) continue;
    const fs::path at = fs::path(roots.proc) / process;
    for (const std::string& fd : names_in(at / "fd")) {
      std::error_code error;
      const fs::path target = fs::read_symlink(at / "fd" / fd, error);
      if (!error && nodes.contains(target))
        return "process " + process + " (" + first_line(at / "comm") + ")";
    }
  }
  return {};
}

}  // namespace pviommu::host
