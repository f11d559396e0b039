// SPDX-License-Identifier: LGPL-2.1-or-later
// The tree is written once, file by file, from what the hypervisor says of its devices; after
// that nobody writes to it.
#include "vfio-glue/engine/sysfs_view.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

namespace pviommu::vfio {
namespace fs = std::filesystem;
namespace {

// Folders whose entries we make.  A path to one of our entries, or to anything
// below it, is ours whether it exists or not; other entries are the real ones.
constexpr std::array kOwned = {std::string_view("/bus/pci/devices"), std::string_view("/bus/pci/drivers"),
                               std::string_view("/kernel/iommu_groups"), std::string_view("/module")};

// config space offsets, PCI Local Bus 3.0 section 6.1
constexpr unsigned kConfigBytesShown = 64;

std::string hex(unsigned value, int digits) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%0*x", digits, value);
  return text;
}

bool present(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

// "0000:00:05.0" -> "devices/pci0000:00/0000:00:05.0"
std::string device_folder(const std::string& address) {
  return "devices/pci" + address.substr(0, address.rfind(':')) + "/" + address;
}

class Builder {
 public:
  Builder(std::string root, Hypervisor& hypervisor, const Interfaces& interfaces)
      : root_(std::move(root)), hypervisor_(hypervisor), interfaces_(interfaces) {}

  Status build() {
    const auto devices = hypervisor_.devices();
    if (!devices)
      return devices.error().with_sentence("hypervisor " + std::string(hypervisor_.name()) +
                                           " cannot list its devices: " + to_string(devices.error()));
    if (::chmod(root_.c_str(), 0755) != 0) failed(root_, errno);
    folder("bus/pci/devices");
    folder("bus/pci/drivers/vfio-pci");
    folder("kernel/iommu_groups");
    folder("dev/vfio");
    for (const char* module : {"vfio", "vfio_pci", "vfio_iommu_type1"}) {
      folder(std::string("module/") + module + "/parameters");
      file(std::string("module/") + module + "/initstate", "live\n");
    }
    for (const char* action : {"bind", "unbind", "new_id", "remove_id"})
      file(std::string("bus/pci/drivers/vfio-pci/") + action, "", 0200);
    link("bus/pci/drivers/vfio-pci/module", "../../../../module/vfio_pci");
    if (interfaces_.group) file("dev/vfio/vfio", "", 0666);
    if (interfaces_.cdev) {
      folder("dev/vfio/devices");
      file("dev/iommu", "", 0660);
    }
    for (const PciDeviceInfo& info : *devices) add(info);
    // What is really there stays in sight.
    for (const char* real : {"bus/pci/devices", "bus/pci/drivers", "kernel/iommu_groups"})
      link_entries(std::string("/sys/") + real, real);
    if (status_) return {};
    return status_.error().with_sentence("device tree in " + root_ + ": " + problem_ + ": " +
                                         std::system_category().message(status_.error().code));
  }

 private:
  void failed(const std::string& what, int code) {
    if (!status_) return;
    status_ = Error{code, "device tree"};
    problem_ = what;
  }

  void folder(const std::string& path) {
    std::error_code error;
    fs::create_directories(root_ + "/" + path, error);
    if (error) return failed(path, error.value());
    // As sysfs: for everybody, whatever the umask is.
    for (std::size_t end = 0; end != path.npos;) {
      end = path.find('/', end + 1);
      if (::chmod((root_ + "/" + path.substr(0, end)).c_str(), 0755) != 0) failed(path, errno);
    }
  }

  void file(const std::string& path, std::string_view content, mode_t mode = 0444) {
    const std::string full = root_ + "/" + path;
    const int fd = ::open(full.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return failed(path, errno);
    if (::write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
        ::fchmod(fd, mode) != 0)
      failed(path, errno);
    ::close(fd);
  }

  void link(const std::string& path, const std::string& target) {
    if (::symlink(target.c_str(), (root_ + "/" + path).c_str()) != 0 && errno != EEXIST) failed(path, errno);
  }

  void link_entries(const std::string& real, const std::string& path) {
    std::error_code error;
    for (fs::directory_iterator it(real, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename();
      if (!present(root_ + "/" + path + "/" + name)) link(path + "/" + name, real + "/" + name);
    }
  }

  void add(const PciDeviceInfo& info) {
    const std::string address = to_string(info.sbdf);
    const std::string group = std::to_string(info.group);
    const std::string at = device_folder(address);
    const std::string group_at = "kernel/iommu_groups/" + group;
    const std::string driver = info.driver.empty() || info.driver == "model" ? "vfio-pci" : info.driver;
    folder(at);
    folder(group_at + "/devices");

    file(at + "/vendor", hex(info.vendor, 4) + "\n");
    file(at + "/device", hex(info.device, 4) + "\n");
    file(at + "/subsystem_vendor", hex(info.subsystem_vendor, 4) + "\n");
    file(at + "/subsystem_device", hex(info.subsystem_device, 4) + "\n");
    file(at + "/class", hex(info.class_code, 6) + "\n");
    file(at + "/revision", hex(info.revision, 2) + "\n");
    link(at + "/iommu_group", "../../../" + group_at);
    link(at + "/subsystem", "../../../bus/pci");
    if (!driver.empty()) link(at + "/driver", "../../../bus/pci/drivers/" + driver);

    // The device of VFIO itself, with a file of its own where there is iommufd.  Before the real
    // entries are linked: where the host's vfio-pci has the function, there is a real one, which
    // would lead past us.
    const std::string number = std::to_string(vfio_devices_++);
    const std::string own = at + "/vfio-dev/vfio" + number;
    folder(own);
    if (interfaces_.cdev) {
      file(own + "/dev", std::to_string(kDeviceNodeMajor) + ":" + number + "\n");
      file("dev/vfio/devices/vfio" + number, "", 0600);
    }
    file(own + "/uevent", "", 0644);
    link(own + "/device", "../../../" + address);

    const std::string real = "/sys/bus/pci/devices/" + address;
    if (is_really(real, info)) {
      // The function is in the real sysfs too (the hypervisor shows it to this
      // kernel): all else is as there.
      link_entries(real, at);
    } else {
      describe(info, at);
    }

    link("bus/pci/devices/" + address, "../../../" + at);
    link("bus/pci/drivers/vfio-pci/" + address, "../../../../" + at);
    link(group_at + "/devices/" + address, "../../../../" + at);
    file(group_at + "/type", "DMA\n");
    file(group_at + "/reserved_regions", reserved());
    if (interfaces_.group) file("dev/vfio/" + group, "", 0600);
  }

  // The same device, not just another one at the same address.
  static bool is_really(const std::string& real, const PciDeviceInfo& info) {
    const auto reads = [&](const char* attribute, unsigned value) {
      unsigned found = 0;
      FILE* stream = std::fopen((real + "/" + attribute).c_str(), "re");
      if (stream == nullptr) return false;
      const bool ok = std::fscanf(stream, "%x", &found) == 1 && found == value;
      std::fclose(stream);
      return ok;
    };
    return reads("vendor", info.vendor) && reads("device", info.device);
  }

  // Attributes that need a look at the device itself.  One that is in use now
  // shows no resources.
  void describe(const PciDeviceInfo& info, const std::string& at) {
    std::string resource;
    auto opened = hypervisor_.open_device(info.sbdf);
    // All of it for those who may see it, which is root (pci_read_config()).
    const std::size_t shown = opened && ::geteuid() == 0 ? (*opened)->config_size() : kConfigBytesShown;
    std::string config(shown, '\0');
    for (unsigned index = 0; index <= kPciRomIndex; ++index)
      resource += opened ? resource_line((*opened)->bar(index)) : resource_line({});
    for (unsigned offset = 0; opened && offset < shown; ++offset)
      if (const auto byte = (*opened)->config_read(offset, 1)) config[offset] = static_cast<char>(*byte);
    file(at + "/resource", resource);
    file(at + "/config", config, 0644);
    file(at + "/enable", "1\n", 0644);
    file(at + "/irq", "0\n");
    file(at + "/numa_node", "-1\n", 0644);
    file(at + "/max_vfs", "0\n");
    file(at + "/driver_override", "vfio-pci\n", 0644);
    file(at + "/msi_bus", "1\n", 0644);
    file(at + "/dma_mask_bits", "64\n");
    file(at + "/local_cpulist", "0\n");
    file(at + "/modalias", modalias(info));
    file(at + "/uevent", "DRIVER=vfio-pci\nPCI_SLOT_NAME=" + to_string(info.sbdf) + "\n", 0644);
  }

  // drivers/pci/pci-sysfs.c: start, end, flags (include/linux/ioport.h).
  static std::string resource_line(const BarInfo& bar) {
    constexpr unsigned kIo = 0x100, kMemory = 0x200, kPrefetch = 0x2000, kSizeAligned = 0x40000,
                       kMemory64 = 0x100000;
    unsigned long long first = 0, last = 0, flags = 0;
    if (bar.size != 0) {
      first = bar.address;
      last = bar.address + bar.size - 1;
      // The low nibble is the BAR's own.
      flags = kSizeAligned | (bar.is_io ? kIo | 1 : kMemory);
      if (bar.prefetchable) flags |= kPrefetch | 8;
      if (bar.is_64bit) flags |= kMemory64 | 4;
    }
    char text[80];
    std::snprintf(text, sizeof text, "0x%016llx 0x%016llx 0x%016llx\n", first, last, flags);
    return text;
  }

  static std::string modalias(const PciDeviceInfo& info) {
    char text[96];
    std::snprintf(text, sizeof text, "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X\n", info.vendor,
                  info.device, info.subsystem_vendor, info.subsystem_device, info.class_code >> 16 & 0xff,
                  info.class_code >> 8 & 0xff, info.class_code & 0xff);
    return text;
  }

  // Documentation/ABI/testing/sysfs-kernel-iommu_groups
  std::string reserved() const {
    std::string text;
    for (const ReservedRange& reserved : hypervisor_.capabilities().reserved) {
      char line[80];
      std::snprintf(line, sizeof line, "0x%016llx 0x%016llx %s\n",
                    static_cast<unsigned long long>(reserved.range.first().raw()),
                    static_cast<unsigned long long>(reserved.range.last().raw()),
                    reserved.kind == ReservedKind::msi_window ? "msi" : "direct");
      text += line;
    }
    return text;
  }

  std::string root_;
  Hypervisor& hypervisor_;
  const Interfaces interfaces_;
  Status status_;
  std::string problem_;
  unsigned vfio_devices_ = 0;
};

bool starts_with_folder(std::string_view path, std::string_view folder) {
  return path.substr(0, folder.size()) == folder &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

}  // namespace

Result<SysfsView> SysfsView::build(const std::string& root, Hypervisor& hypervisor, const Interfaces& interfaces) {
  std::error_code error;
  fs::create_directories(root, error);
  const bool empty = !error && fs::is_empty(root, error);
  if (error || !empty)
    return Error{error ? error.value() : ENOTEMPTY, "device tree"}.with_sentence(
        "device tree in " + root + ": " + (error ? error.message() : "the folder is not empty"));
  const fs::path canonical = fs::canonical(root, error);
  SysfsView view(error ? root : canonical.string());
  PVIOMMU_TRY(Builder(view.root_, hypervisor, interfaces).build());
  return view;
}

Result<SysfsView> SysfsView::open(const std::string& root) {
  if (!present(root + "/bus/pci/devices")) return Error{errno, "device tree"};
  std::error_code error;
  const fs::path canonical = fs::canonical(root, error);
  if (error) return Error{error.value(), "device tree"};
  return SysfsView(canonical.string());
}

void SysfsView::remove(const std::string& root) noexcept {
  std::error_code ignored;
  fs::remove_all(root, ignored);
}

std::string SysfsView::normalise(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (!part.empty() && part != ".") {
      out += '/';
      out += part;
    }
    at = end + 1;
  }
  return out.empty() ? "/" : out;
}

std::optional<std::string_view> SysfsView::vfio_node(std::string_view normalised) {
  constexpr std::string_view kFolder = "/dev/vfio/";
  constexpr std::string_view kDevices = "devices/";
  if (normalised == "/dev/iommu") return kIommuNode;
  if (normalised.substr(0, kFolder.size()) != kFolder) return std::nullopt;
  const std::string_view node = normalised.substr(kFolder.size());
  const std::string_view last = node.starts_with(kDevices) ? node.substr(kDevices.size()) : node;
  // "devices" is the folder.
  if (last.empty() || last.find('/') != last.npos || node == "devices") return std::nullopt;
  return node;
}

std::string SysfsView::path_of_node(std::string_view node) {
  return node == kIommuNode ? "/dev/iommu" : "/dev/vfio/" + std::string(node);
}

std::optional<std::string> SysfsView::resolve(std::string_view path) const {
  const std::string name = normalise(path);
  if (starts_with_folder(name, "/dev/vfio")) return root_ + name;
  if (name == "/dev/iommu" && present(root_ + name)) return root_ + name;
  if (!starts_with_folder(name, "/sys")) return std::nullopt;
  const std::string_view below = std::string_view(name).substr(4);
  const std::string inside = root_ + std::string(below);
  for (const std::string_view folder : kOwned) {
    if (!starts_with_folder(below, folder)) continue;
    if (below == folder) {
      // A listing: ours has links to the real entries, but not of all modules.
      if (folder == "/module" && present(name)) return std::nullopt;
      return inside;
    }
    const std::size_t end = std::min(below.find('/', folder.size() + 1), below.size());
    if (!present(root_ + std::string(below.substr(0, end)))) return std::nullopt;
    return inside;
  }
  if (below.substr(0, 12) == "/devices/pci") {
    // /devices/pci0000:00/0000:00:05.0...
    const std::size_t bus_end = below.find('/', 9);
    if (bus_end != below.npos) {
      const std::size_t end = std::min(below.find('/', bus_end + 1), below.size());
      if (present(root_ + std::string(below.substr(0, end)))) return inside;
      return std::nullopt;
    }
  }
  // A folder on the way, which the real sysfs may lack (no PCI bus at all).
  if (starts_with_folder(below, "/dev") || present(name) || !present(inside)) return std::nullopt;
  return inside;
}

std::optional<std::string> SysfsView::unresolve(std::string_view path) const {
  if (!starts_with_folder(path, root_)) return std::nullopt;
  const std::string_view below = path.substr(root_.size());
  if (starts_with_folder(below, "/dev/vfio") || below == "/dev/iommu") return std::string(below);
  return "/sys" + std::string(below);
}

Result<std::string> make_run_folder() {
  int code = ENOENT;
  for (const char* variable : {"XDG_RUNTIME_DIR", "TMPDIR", ""}) {
    const char* base = *variable != '\0' ? std::getenv(variable) : "/tmp";
    if (base == nullptr || base[0] != '/') continue;
    // A program of root's may become another user, who has to find its devices still.
    struct stat st {};
    if (::geteuid() == 0 && ::stat(base, &st) == 0 && (st.st_mode & S_IXOTH) == 0) continue;
    std::string folder = std::string(base) + "/pviommu-XXXXXX";
    if (::mkdtemp(folder.data()) != nullptr) return folder;
    code = errno;
  }
  return Error{code, "folder for the run"};
}

}  // namespace pviommu::vfio
