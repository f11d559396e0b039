// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a path of the program leads: into the device tree, or past it.
//
// The program sees one tree of files, in which the device tree (sysfs_view.h) lies over parts
// of /sys and /dev.  The kernel knows nothing of that, so a path is walked here, component by
// component, as the kernel would walk it in the tree that the program sees:
//
//   "x/../link/vendor"    from the working folder or a descriptor's folder, which may be real
//        |                folders of the device tree themselves
//   ".", "..", links      of the program's own, of the real sysfs, of the device tree, and
//        |                /proc/self/{root,cwd,fd/N}
//   /sys/devices/pci0000:0c/0000:0c:00.0/vendor      canonical, as the program sees it
//        |
//   RUN/sys/devices/pci0000:0c/0000:0c:00.0/vendor   what the kernel is asked for
//
// Most paths have nothing to do with devices.  For these a walk costs a readlink() a
// component, allocates nothing, and the kernel is given what the program gave.
#pragma once

#include <fcntl.h>

#include <optional>
#include <string>
#include <string_view>

namespace pviommu::vfio {

/// What becomes of the last component when it is a link.
enum class LastLink { follow, keep };
inline LastLink last_of(int at_flags) {
  return (at_flags & AT_SYMLINK_NOFOLLOW) != 0 ? LastLink::keep : LastLink::follow;
}

struct Place {
  bool led = false;      ///< `path` and not the program's path is for the kernel
  bool in_tree = false;  ///< `path` is of the device tree
  std::string path{};    ///< absolute; "": there is nothing, as the hypervisor cannot be opened
  std::string shown{};   ///< of what is led: as the program sees it, absolute and without links
  std::string node{};    ///< of /dev/vfio/NODE, else empty
  int descriptor = -1;   ///< N of /proc/self/fd/N and its like, with a VFIO file behind it
  int error = 0;         ///< the walk ends here with this errno

  /// What the kernel is to be asked for in the place of `given` and `given_folder`.
  const char* name(const char* given) const { return led ? path.c_str() : given; }
  int folder(int given_folder) const { return led ? AT_FDCWD : given_folder; }
};

/// Walks `path` from `folder` (AT_FDCWD: the working folder).  Inside the engine, and for null
/// and empty paths, nothing is led.  Keeps errno.  Thread-safe, and async-signal-safe for a
/// path that is not led.
Place find_place(int folder, const char* path, LastLink last = LastLink::follow);

/// The folder behind `fd` (AT_FDCWD: the working folder) as the program sees it: canonical and
/// absolute; nothing for what has no path.  `in_tree`: whether it is really one of the tree's.
struct ShownFolder {
  std::string path;
  bool in_tree = false;
};
std::optional<ShownFolder> shown_folder(int fd);
/// `path`, which the kernel said, as the program sees it; nothing when it is no tree's.
std::optional<std::string> shown_path(std::string_view path);
/// Whether a walk through all that is below `path` can come to the device tree.
bool may_lead_into_tree(const char* path);

}  // namespace pviommu::vfio
