// SPDX-License-Identifier: LGPL-2.1-or-later
// The attributes of sysfs that say what a function is, and who holds it.
#include "hypercall/sysfs_bus.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "hypercall/unique_fd.h"

namespace pviommu {
namespace {

constexpr std::uint32_t kBridgeClass = 0x06;
constexpr std::uint8_t kHeaderLayout = 0x7f;  // bit 7: more functions in this slot

/// Drivers that hold a device on the administrator's behalf and do nothing with
/// it.  Binding one is how people set a device aside for other domains (and keep
/// its real driver off it at boot), so such a device is free.  pviommu-papr is our
/// own kernel module, bound for as long as a program has the device.
constexpr std::array<std::string_view, 4> kParkingDrivers = {"pciback", "xen-pciback", "pci-stub", "pviommu-papr"};

bool is_parking(std::string_view driver) {
  return std::find(kParkingDrivers.begin(), kParkingDrivers.end(), driver) != kParkingDrivers.end();
}

Result<std::uint32_t> read_number(const std::string& path) {
  const std::string text = PVIOMMU_TRY(sysfs_text(path));
  char* end = nullptr;
  errno = 0;
  const unsigned long value = std::strtoul(text.c_str(), &end, 16);
  if (text.empty() || *end != '\0' || errno != 0 || value > UINT32_MAX)
    return Error{EIO, "sysfs: attribute is no number"};
  return static_cast<std::uint32_t>(value);
}

Result<std::string> driver_of(const std::string& folder) {
  std::array<char, 512> target;
  const ssize_t length = ::readlink((folder + "/driver").c_str(), target.data(), target.size());
  if (length < 0) {
    if (errno == ENOENT) return std::string();
    return Error{errno, "sysfs: read driver link"};
  }
  std::string_view path(target.data(), static_cast<std::size_t>(length));
  return std::string(path.substr(path.rfind('/') + 1));  // npos + 1 is 0: all of it
}

}  // namespace

std::string sysfs_folder(const std::string& sysfs, Sbdf sbdf) {
  return sysfs + "/bus/pci/devices/" + to_string(sbdf);
}

std::string sysfs_link_name(const std::string& path) {
  std::array<char, 512> target;
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length <= 0 || static_cast<std::size_t>(length) == target.size()) return {};
  const std::string_view whole(target.data(), static_cast<std::size_t>(length));
  return std::string(whole.substr(whole.rfind('/') + 1));
}

Result<std::string> sysfs_text(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error{errno, "sysfs: open attribute"};
  std::array<char, 4096> text;
  const ssize_t got = ::pread(fd.get(), text.data(), text.size(), 0);
  if (got < 0) return Error{errno, "sysfs: read attribute"};
  std::string_view all(text.data(), static_cast<std::size_t>(got));
  while (!all.empty() && (all.back() == '\n' || all.back() == ' ')) all.remove_suffix(1);
  return std::string(all);
}

Result<std::optional<PciDeviceInfo>> read_pci_info(const std::string& folder, Sbdf sbdf, std::string_view backend) {
  PciDeviceInfo info;
  info.sbdf = sbdf;
  info.class_code = PVIOMMU_TRY(read_number(folder + "/class"));
  if (info.class_code >> 16 == kBridgeClass) return std::optional<PciDeviceInfo>();
  const UniqueFd config(::open((folder + "/config").c_str(), O_RDONLY | O_CLOEXEC));
  if (!config) return Error{errno, "sysfs: open config"};
  std::uint8_t header_type = 0;
  const ssize_t got = ::pread(config.get(), &header_type, 1, PCI_HEADER_TYPE);
  if (got < 0) return Error{errno, "sysfs: read config"};
  if (got != 1) return Error{EIO, "sysfs: config is too short"};
  if ((header_type & kHeaderLayout) != PCI_HEADER_TYPE_NORMAL) return std::optional<PciDeviceInfo>();

  // Not from configuration space, where virtual functions have no numbers.
  info.vendor = static_cast<std::uint16_t>(PVIOMMU_TRY(read_number(folder + "/vendor")));
  info.device = static_cast<std::uint16_t>(PVIOMMU_TRY(read_number(folder + "/device")));
  info.subsystem_vendor = static_cast<std::uint16_t>(PVIOMMU_TRY(read_number(folder + "/subsystem_vendor")));
  info.subsystem_device = static_cast<std::uint16_t>(PVIOMMU_TRY(read_number(folder + "/subsystem_device")));
  info.revision = static_cast<std::uint8_t>(PVIOMMU_TRY(read_number(folder + "/revision")));
  info.driver = PVIOMMU_TRY(driver_of(folder));
  info.viable = info.driver.empty() || is_parking(info.driver);
  info.group = sbdf.raw();
  char text[sizeof "vvvv:dddd class cccccc"];
  std::snprintf(text, sizeof text, "%04x:%04x class %06x", info.vendor, info.device,
                info.class_code & 0xffffff);
  info.description = text;
  info.lock = std::string(backend) + '-' + to_string(sbdf);
  return std::optional<PciDeviceInfo>(std::move(info));
}

Result<std::vector<PciDeviceInfo>> list_pci_devices(std::string_view backend, const std::string& sysfs) {
  const std::string devices = sysfs + "/bus/pci/devices";
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(devices.c_str()), ::closedir);
  if (!dir) return Error{errno, "sysfs: open /sys/bus/pci/devices"};
  std::vector<PciDeviceInfo> out;
  for (errno = 0; const dirent* entry = ::readdir(dir.get()); errno = 0) {
    // Not an address: "." and "..", and segments above 0xffff, which Linux gives
    // to buses behind a device (VMD) that Xen does not know either.
    const auto sbdf = parse_sbdf(entry->d_name);
    if (!sbdf) continue;
    auto info = read_pci_info(devices + '/' + entry->d_name, *sbdf, backend);
    if (!info) {
      if (info.error().code == ENOENT || info.error().code == ENODEV) continue;  // unplugged meanwhile
      return info.error();
    }
    if (*info) out.push_back(*std::move(*info));
  }
  if (errno != 0) return Error{errno, "sysfs: read /sys/bus/pci/devices"};
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.sbdf < b.sbdf; });
  return out;
}

}  // namespace pviommu
