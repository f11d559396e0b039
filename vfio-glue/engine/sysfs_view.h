// SPDX-License-Identifier: LGPL-2.1-or-later
// The devices of a hypervisor as a sysfs tree.
//
//   ROOT/bus/pci/devices/0000:00:05.0 -> ../../../devices/pci0000:00/0000:00:05.0
//   ROOT/devices/pci0000:00/0000:00:05.0/{vendor,device,...,iommu_group->,driver->}
//   ROOT/bus/pci/drivers/vfio-pci/
//   ROOT/kernel/iommu_groups/<group>/devices/
//   ROOT/module/{vfio,vfio_pci,...}
//   ROOT/dev/vfio/{vfio,<group>}, ROOT/dev/vfio/devices/vfio<n>, ROOT/dev/iommu
//                                           stand-ins for the device nodes
//
// Links are relative and as deep as the kernel's, so that what a program reads
// out of one is right below /sys as well as below ROOT.  A program's paths
// below /sys are led into the tree for what is there; the real sysfs stays
// visible beside it (real devices appear as links).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "hypercall/hypervisor.h"
#include "vfio-glue/engine/engine_config.h"

namespace pviommu::vfio {

/// The device numbers of /dev/vfio/devices/vfio<n>, which sysfs shows as well; a major number of
/// those that are given out as they come.
inline constexpr unsigned kDeviceNodeMajor = 242;
/// /dev/iommu among nodes, whose names are otherwise below /dev/vfio.
inline constexpr std::string_view kIommuNode = "../iommu";

class SysfsView {
 public:
  /// Builds the tree in `root`, which is made if it does not exist and else
  /// must be empty.  Errors have a sentence.
  static Result<SysfsView> build(const std::string& root, Hypervisor& hypervisor, const Interfaces& interfaces = {});
  /// A tree that somebody built.  ENOENT: there is none; EACCES: it is not for this user.
  static Result<SysfsView> open(const std::string& root);
  /// Removes a tree; what is not there is no error.
  static void remove(const std::string& root) noexcept;

  const std::string& root() const { return root_; }

  /// Where the absolute path `path` really leads; empty: it is not ours.  At
  /// most one system call, none for paths that are neither /sys/... nor
  /// /dev/vfio....
  std::optional<std::string> resolve(std::string_view path) const;
  /// The inverse for results of realpath(): ROOT/... -> /sys/...
  std::optional<std::string> unresolve(std::string_view path) const;

  /// "vfio", "12", "devices/vfio3" for /dev/vfio/vfio, /dev/vfio/12, /dev/vfio/devices/vfio3, and
  /// kIommuNode; empty for other paths.
  static std::optional<std::string_view> vfio_node(std::string_view normalised);
  /// The inverse.
  static std::string path_of_node(std::string_view node);
  /// Without "//", "/./" and a "/" at the end; ".." stays (it may follow a link).
  static std::string normalise(std::string_view path);

 private:
  explicit SysfsView(std::string root) : root_(std::move(root)) {}
  std::string root_;
};

/// A new folder for a run's files, mode 0700: in $XDG_RUNTIME_DIR, $TMPDIR or /tmp; for root in
/// the first of these that other users may search.
Result<std::string> make_run_folder();

}  // namespace pviommu::vfio
