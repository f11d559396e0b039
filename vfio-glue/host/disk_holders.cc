// SPDX-License-Identifier: LGPL-2.1-or-later
// Everything a PCI function drives is a folder below its own in /sys/devices.  What
// is built on top has folders elsewhere, which point back:
//
//   mount /home --- dm-0 --slaves--> md0 --slaves--> sda2 --- below 0000:00:1f.2
//   mount /img --- loop0 --backing_file--> a file below a mount that is held
//
// ZFS, blkback, export targets and the like leave no link; what they have open they have
// open exclusively, as a rule, and a second exclusive open is refused.
#include "vfio-glue/host/disk_holders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdio>
#include <map>
#include <set>

#include "hypercall/unique_fd.h"
#include "vfio-glue/host/open_files.h"
#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {
namespace {

namespace fs = std::filesystem;

std::string number_of(dev_t device) {
  return std::to_string(::major(device)) + ':' + std::to_string(::minor(device));
}

/// The block devices that are built on the function, by name.
class Disks {
 public:
  Disks(const HostRoots& roots, const fs::path& function, const std::vector<Mount>& mounts)
      : roots_(roots), classes_(fs::path(roots.sysfs) / "class/block"), function_(function), mounts_(mounts) {
    const std::vector<std::string> all = names_in(classes_);
    for (bool grows = true; grows;) {
      grows = false;
      for (const std::string& name : all)
        if (!numbers_.contains(name) && stands_on_it(name)) {
          numbers_[name] = first_line_of(classes_ / name / "dev");
          grows = true;
        }
    }
  }

  std::set<std::string> holders() {
    if (numbers_.empty()) return {};
    add_filesystems();
    add_layers();
    add_domains();
    add_processes();
    add_unknown();
    return std::move(holders_);
  }

 private:
  bool contains(const std::string& name) const { return numbers_.contains(name); }
  fs::path folder(const std::string& name) const { return resolved(classes_ / name); }

  /// The disk a mount is on; empty: none of these.
  std::string of(const Mount& mount) const {
    const std::string name = numbered(mount.number), source = block_name(mount.source);
    if (!name.empty()) return name;
    return contains(source) ? source : std::string();
  }
  std::string numbered(const std::string& number) const {
    for (const auto& [name, own] : numbers_)
      if (own == number) return name;
    return {};
  }

  bool stands_on_it(const std::string& name) const {
    const fs::path at = folder(name);
    if (is_below(at, function_)) return true;
    if (contains(at.parent_path().filename())) return true;  // a partition of such a disk
    for (const std::string& slave : names_in(at / "slaves"))
      if (contains(slave)) return true;
    if (is_multipath_head(at)) return true;
    const std::string file = first_line_of(at / "loop/backing_file");
    return !file.empty() && (contains(block_name(file)) || is_on_it(file));
  }
  /// NVMe multipath: the disk is the subsystem's, beside links to its controllers.
  bool is_multipath_head(const fs::path& at) const {
    if (!at.parent_path().filename().native().starts_with("nvme-subsys")) return false;
    for (const std::string& controller : names_in(at.parent_path()))
      if (controller.starts_with("nvme") && is_below(resolved(at.parent_path() / controller), function_))
        return true;
    return false;
  }
  bool is_on_it(const std::string& file) const {
    const Mount* best = nullptr;
    for (const Mount& mount : mounts_)
      if (mount.point == "/" || is_below(file, mount.point))
        if (best == nullptr || mount.point.size() >= best->point.size()) best = &mount;
    return best != nullptr && !of(*best).empty();
  }

  void add(const std::string& disk, const std::string& phrase) {
    holders_.insert(phrase);
    explained_.insert(disk);
  }

  void add_filesystems() {
    for (const Mount& mount : mounts_)
      if (const std::string disk = of(mount); !disk.empty())
        add(disk, mount.point + " is mounted from " + disk);
    // A multi-device filesystem names one of its devices in mountinfo, all of them here.
    const fs::path btrfs = fs::path(roots_.sysfs) / "fs/btrfs";
    for (const std::string& uuid : names_in(btrfs))
      for (const std::string& disk : names_in(btrfs / uuid / "devices"))
        if (contains(disk)) add(disk, "btrfs " + uuid + " is mounted from " + disk);
    std::ifstream swaps(roots_.proc + "/swaps");
    for (std::string line; std::getline(swaps, line);)
      if (const std::string disk = block_name(unescaped(line.substr(0, line.find_first_of(" \t"))));
          contains(disk))
        add(disk, "swap is on " + disk);
  }

  /// "dm-0 (vg-guest)", "md0".
  std::string shown(const std::string& name) const {
    const std::string own = first_line_of(classes_ / name / "dm/name");
    return own.empty() ? name : name + " (" + own + ")";
  }
  void add_layers() {
    for (const auto& [name, number] : numbers_) {
      const fs::path at = folder(name);
      for (const std::string& above : names_in(at / "holders"))
        add(name, shown(name) + " is held by " + shown(above));
      for (const std::string& below : names_in(at / "slaves"))
        if (contains(below)) add(below, shown(below) + " is held by " + shown(name));
      const std::string below = block_name(first_line_of(at / "loop/backing_file"));
      if (contains(below)) add(below, shown(below) + " is held by " + name);
      // A cache serves any number of disks and links to none.
      if (!explained_.contains(name) && fs::exists(at / "bcache")) add(name, name + " is held by bcache");
    }
  }

  /// drivers/block/xen-blkback/xenbus.c of Linux: the number in hexadecimal.
  void add_domains() {
    const fs::path backends = fs::path(roots_.sysfs) / "bus/xen-backend/devices";
    for (const std::string& backend : names_in(backends)) {
      unsigned major = 0, minor = 0, domain = 0;
      if (std::sscanf(backend.c_str(), "vbd-%u-", &domain) != 1 ||
          std::sscanf(first_line_of(backends / backend / "physical_device").c_str(), "%x:%x", &major,
                      &minor) != 2)
        continue;
      const std::string disk = numbered(std::to_string(major) + ':' + std::to_string(minor));
      if (!disk.empty())
        add(disk, shown(disk) + " is a disk of domain " + std::to_string(domain) + " (" + backend + ")");
    }
  }

  /// Emulators have raw disks open without claiming them.
  void add_processes() {
    visit_open_files(roots_, [&](const OpenFile& file) {
      const std::string& target = file.target.native();
      if (!target.starts_with("/dev/")) return true;
      std::string disk = file.target.filename();
      struct stat about {};
      if (::stat(file.link.c_str(), &about) == 0)
        disk = S_ISBLK(about.st_mode) ? numbered(number_of(about.st_rdev)) : std::string();
      if (!contains(disk)) return true;
      const std::string process = described_process(roots_, file.process);
      // It looks at what is new and at what was written, and is gone in a moment.
      if (process.find("udev") == process.npos) add(disk, shown(disk) + " is open in " + process);
      return true;
    });
  }

  /// The function's own disks and multipath heads of them, partitions first: who has a
  /// partition has a claim to the disk too, and the other way round.
  void add_unknown() {
    const auto claim = roots_.claim ? roots_.claim : claim_disk;
    std::map<std::string, std::set<std::string>> partitions;
    for (const auto& [name, number] : numbers_) {
      const fs::path at = folder(name);
      const bool is_partition = fs::exists(at / "partition");
      const fs::path disk = is_partition ? at.parent_path() : at;
      if (number.empty() || !(is_below(disk, function_) || is_multipath_head(disk))) continue;
      auto& parts = partitions[disk.filename()];
      if (is_partition) parts.insert(name);
    }
    const auto ask = [&](const std::string& name) {
      const Status claimed = claim(name, numbers_.at(name));
      if (!claimed && claimed.error().code == EBUSY)
        add(name, name + " is open exclusively (ZFS, a guest's disk, an exported one, a program)");
    };
    for (const auto& [disk, parts] : partitions) {
      if (explained_.contains(disk)) continue;
      bool has_reason = false;
      for (const std::string& part : parts) {
        if (!explained_.contains(part)) ask(part);
        has_reason = has_reason || explained_.contains(part);
      }
      if (!has_reason && contains(disk)) ask(disk);
    }
  }

  const HostRoots& roots_;
  const fs::path classes_, function_;
  const std::vector<Mount>& mounts_;
  std::map<std::string, std::string> numbers_;  ///< name -> "8:1"; empty: it has no node
  std::set<std::string> holders_;
  std::set<std::string> explained_;  ///< the disks whose holder is known
};

}  // namespace

std::vector<std::string> disk_holders(const HostRoots& roots, const fs::path& function,
                                      const std::vector<Mount>& mounts) {
  const std::set<std::string> holders = Disks(roots, function, mounts).holders();
  return {holders.begin(), holders.end()};
}

Status claim_disk(const std::string& name, const std::string& number) {
  std::string node = "/dev/" + name;
  for (char& c : node)
    if (c == '!') c = '/';  // sysfs has no slash in a name: "cciss!c0d0"
  // Nothing else than this disk is opened: O_PATH looks without opening.
  const UniqueFd path(::open(node.c_str(), O_PATH | O_CLOEXEC | O_NOFOLLOW));
  struct stat about {};
  if (!path || ::fstat(path.get(), &about) != 0) return Error{errno, "open"};
  if (!S_ISBLK(about.st_mode) || number_of(about.st_rdev) != number) return Error{ENXIO, "open"};
  const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return Error{errno, "open"};
  return {};
}

}  // namespace pviommu::host
