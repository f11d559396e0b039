// SPDX-License-Identifier: LGPL-2.1-or-later
// One device: config and resourceN by pread and pwrite, mappings by
// mmap of resourceN, resets by writing `reset`.  Opening switches memory decoding on and bus
// mastering off; closing puts back what was found.
#include "hypercall/sysfs_device.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "hypercall/sysfs_bus.h"

namespace pviommu {
namespace {

// The third column of `resource`: the kernel's IORESOURCE_* (linux/ioport.h),
// which sysfs shows as they are.
constexpr std::uint64_t kResourceIo = 0x100;
constexpr std::uint64_t kResourceMemory = 0x200;
constexpr std::uint64_t kResourcePrefetch = 0x2000;
constexpr std::uint64_t kResourceMemory64 = 0x100000;
constexpr std::uint64_t kResourceUnset = 0x20000000;

Status write_text(int fd, std::string_view text, const char* operation) {
  const ssize_t put = ::pwrite(fd, text.data(), text.size(), 0);
  if (put < 0) return Error{errno, operation};
  if (static_cast<std::size_t>(put) != text.size()) return Error{EIO, operation};
  return {};
}

bool is_natural(std::uint64_t offset, unsigned width, unsigned widest, std::uint64_t size) {
  return std::has_single_bit(width) && width <= widest && offset % width == 0 && offset < size &&
         width <= size - offset;
}

/// What mmap knows: 64 KiB on some kernels for Power.
std::uint64_t system_page() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

/// The next line of a `resource`; false at the end.
bool next_resource(const char*& line, std::uint64_t& first, std::uint64_t& last, std::uint64_t& flags) {
  if (line == nullptr || std::sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &first, &last, &flags) != 3)
    return false;
  line = std::strchr(line, '\n');
  if (line != nullptr) ++line;
  return true;
}

/// Whether a BAR smaller than a page of the system has it for itself, as the kernel's VFIO
/// has it (vfio_pci_probe_mmaps()): registers of others must not come with it.
bool alone_in_page(const std::string& folder, std::uint64_t address, std::uint64_t size) {
  const std::string devices = folder.substr(0, folder.rfind('/'));
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(devices.c_str()), ::closedir);
  if (!dir) return false;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] == '.') continue;
    const auto text = sysfs_text(devices + '/' + entry->d_name + "/resource");
    if (!text) return false;
    const char* line = text->c_str();
    std::uint64_t first = 0, last = 0, flags = 0;
    // BARs and ROM; the lines behind are windows of bridges, which hold BARs.
    for (unsigned i = 0; i <= kPciRomIndex && next_resource(line, first, last, flags); ++i) {
      const bool itself = first == address && last == address + size - 1;
      if ((flags & kResourceMemory) != 0 && !itself && first < address + system_page() && last >= address)
        return false;
    }
  }
  return true;
}

std::uint64_t all_ones(unsigned width) { return ~std::uint64_t{0} >> (64 - 8 * width); }

}  // namespace

// ---- opening and giving back ---------------------------------------------------

Result<std::unique_ptr<SysfsDevice>> SysfsDevice::open(Sbdf sbdf, std::string_view backend,
                                                      const std::string& sysfs) {
  std::unique_ptr<SysfsDevice> device(new SysfsDevice);
  PVIOMMU_TRY(device->start(sbdf, backend, sysfs));  // undone by the destructor
  return device;
}

Status SysfsDevice::start(Sbdf sbdf, std::string_view backend, const std::string& sysfs) {
  const std::string folder = sysfs_folder(sysfs, sbdf);
  auto info = read_pci_info(folder, sbdf, backend);
  if (!info) {
    if (info.error().code == ENOENT) return Error{ENODEV, "PCI device: not in sysfs"};
    return info.error();
  }
  if (!*info) return Error{ENODEV, "PCI device: a bridge"};
  if (!(*info)->viable) return Error{EBUSY, "PCI device: a kernel driver owns it"};
  info_ = **std::move(info);
  return open_files(folder);
}

Status SysfsDevice::open_files(const std::string& folder) {
  config_.reset(::open((folder + "/config").c_str(), O_RDWR | O_CLOEXEC));
  if (!config_) return Error{errno, "sysfs: open config"};
  struct stat about {};
  if (::fstat(config_.get(), &about) != 0) return Error{errno, "sysfs: stat config"};
  if (about.st_size != PCI_CFG_SPACE_SIZE && about.st_size != PCI_CFG_SPACE_EXP_SIZE)
    return Error{EIO, "sysfs: config has an odd size"};
  config_size_ = static_cast<std::size_t>(about.st_size);
  command_before_ = PVIOMMU_TRY(config_read(PCI_COMMAND, 2));
  // All ones is what a function that fell off the bus answers.
  if (command_before_ == 0xffff) return Error{ENODEV, "PCI device: does not answer"};
  started_ = true;

  reset_.reset(::open((folder + "/reset").c_str(), O_WRONLY | O_CLOEXEC));
  if (!reset_ && errno != ENOENT) return Error{errno, "sysfs: open reset"};
  reset_method_.reset(::open((folder + "/reset_method").c_str(), O_RDWR | O_CLOEXEC));
  if (!reset_method_ && errno != ENOENT) return Error{errno, "sysfs: open reset_method"};
  PVIOMMU_TRY(read_resources(folder));

  if (!info_.driver.empty()) {
    // The kernel refuses `enable` while any driver is bound, also one that only parks the
    // device.  So the part of it that matters is done here.
    PVIOMMU_TRY(power_up());
  } else {
    PVIOMMU_TRY(enable(folder));
  }
  std::uint32_t command = PVIOMMU_TRY(config_read(PCI_COMMAND, 2));
  for (unsigned i = 0; i < kPciBars; ++i)
    if (bars_[i].info.size != 0) command |= bars_[i].info.is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
  return config_write(PCI_COMMAND, 2, command);
}

/// A counter in the kernel: somebody else's "1" is not ours to take back.
Status SysfsDevice::enable(const std::string& folder) {
  enable_.reset(::open((folder + "/enable").c_str(), O_RDWR | O_CLOEXEC));
  if (!enable_) return Error{errno, "sysfs: open enable"};
  char count = '0';
  if (::pread(enable_.get(), &count, 1, 0) < 0) return Error{errno, "sysfs: read enable"};
  if (count != '0') return {};
  PVIOMMU_TRY(write_text(enable_.get(), "1", "sysfs: write enable"));
  enabled_here_ = true;
  return {};
}

/// To D0 (PCI Power Management 1.2, 3.2.4): in D3 only configuration space answers.
Status SysfsDevice::power_up() {
  const std::uint32_t status = PVIOMMU_TRY(config_read(PCI_STATUS, 2));
  if ((status & PCI_STATUS_CAP_LIST) == 0) return {};
  const std::uint32_t first = PVIOMMU_TRY(config_read(PCI_CAPABILITY_LIST, 1));
  // No more capabilities than places fit below 256: a loop ends too.
  for (unsigned at = first & ~3u, left = PCI_CFG_SPACE_SIZE / 4; at >= PCI_STD_HEADER_SIZEOF && left > 0;
       --left) {
    const std::uint32_t head = PVIOMMU_TRY(config_read(at, 2));
    if ((head & 0xff) != PCI_CAP_ID_PM) {
      at = head >> 8 & ~3u;
      continue;
    }
    const std::uint32_t control = PVIOMMU_TRY(config_read(at + PCI_PM_CTRL, 2));
    if ((control & PCI_PM_CTRL_STATE_MASK) == 0) return {};
    PVIOMMU_TRY(config_write(at + PCI_PM_CTRL, 2, control & ~std::uint32_t{PCI_PM_CTRL_STATE_MASK}));
    const timespec recovery{0, 10'000'000};  // table 5-6: 10 ms from D3hot
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &recovery, nullptr);
    return {};
  }
  return {};
}

SysfsDevice::~SysfsDevice() { give_back(); }

void SysfsDevice::give_back() {
  for (Bar& bar : bars_) {
    if (bar.page != nullptr) ::munmap(bar.page, bar.mapped);
    bar = {};
  }
  const auto tell = [&](const Status& status) {
    if (!status)
      std::fprintf(stderr, "pviommu: giving %s back: %s\n", to_string(info_.sbdf).c_str(),
                   to_string(status.error()).c_str());
  };
  if (started_) tell(config_write(PCI_COMMAND, 2, command_before_ & ~std::uint32_t{PCI_COMMAND_MASTER}));
  if (enabled_here_) tell(write_text(enable_.get(), "0", "sysfs: write enable"));
  started_ = enabled_here_ = false;
  for (UniqueFd* file : {&config_, &enable_, &reset_, &reset_method_}) file->reset();
}

/// Seven lines: BARs 0 to 5 and the ROM.  The second half of a 64-bit BAR is
/// zeros, and so is what is not implemented.
Status SysfsDevice::read_resources(const std::string& folder) {
  const std::string text = PVIOMMU_TRY(sysfs_text(folder + "/resource"));
  const char* line = text.c_str();
  for (unsigned i = 0; i <= kPciRomIndex; ++i) {
    std::uint64_t first = 0, last = 0, flags = 0;
    if (!next_resource(line, first, last, flags))
      return Error{EIO, "sysfs: resource has other lines than expected"};
    if ((flags & (kResourceIo | kResourceMemory)) == 0 || last == 0) continue;
    // Without an address there is nothing to access; firmware ran out of space.
    if ((flags & kResourceUnset) != 0 || first == 0) continue;

    Bar& bar = bars_[i];
    BarInfo& info = bar.info;
    if (last < first || !std::has_single_bit(last - first + 1))
      return Error{EIO, "sysfs: resource whose size is no power of two"};
    info.size = last - first + 1;
    info.address = first;
    info.is_io = (flags & kResourceIo) != 0;
    info.is_64bit = (flags & kResourceMemory64) != 0;
    info.prefetchable = (flags & kResourcePrefetch) != 0;
    // What is smaller may share its page with registers of another function.
    info.mappable = i != kPciRomIndex && !info.is_io && info.address % system_page() == 0 &&
                    (info.size >= system_page() ||
                     (info.size >= kPageSize && alone_in_page(folder, info.address, info.size)));

    // Prefetchable BARs too through resourceN: resourceN_wc is write-combining,
    // and neither our accesses nor those of VFIO programs expect that.
    const std::string path = folder + (i == kPciRomIndex ? "/rom" : "/resource" + std::to_string(i));
    bar.fd.reset(::open(path.c_str(), O_RDWR | O_SYNC | O_CLOEXEC));
    if (bar.fd) continue;
    if (i != kPciRomIndex || errno != ENOENT) return Error{errno, "sysfs: open resource"};
    bar.info = {};  // a ROM the kernel shows nothing of
  }
  return {};
}

// ---- configuration space -------------------------------------------------------

Result<std::uint32_t> SysfsDevice::config_read(std::size_t offset, unsigned width) {
  if (!is_natural(offset, width, 4, config_size_)) return Error{EINVAL, "config_read"};
  std::uint32_t value = 0;
  const ssize_t got = ::pread(config_.get(), &value, width, static_cast<off_t>(offset));
  if (got < 0) return Error{errno, "sysfs: read config"};
  // Without CAP_SYS_ADMIN the kernel ends the file after the header.
  if (got != static_cast<ssize_t>(width)) return Error{EPERM, "sysfs: config ends early"};
  return le32toh(value);
}

Status SysfsDevice::config_write(std::size_t offset, unsigned width, std::uint32_t value) {
  if (!is_natural(offset, width, 4, config_size_)) return Error{EINVAL, "config_write"};
  const std::uint32_t bytes = htole32(value);
  const ssize_t put = ::pwrite(config_.get(), &bytes, width, static_cast<off_t>(offset));
  if (put < 0) return Error{errno, "sysfs: write config"};
  if (put != static_cast<ssize_t>(width)) return Error{EIO, "sysfs: write config"};
  return {};
}

// ---- BARs ----------------------------------------------------------------------

/// The BAR's first register.  mmap knows pages only: a BAR smaller than one lies
/// somewhere in its page (never across two, BARs are naturally aligned).
///
///     page ........[ BAR ]......
///          ^ mapped         base = page + (address mod page size)
Result<volatile std::uint8_t*> SysfsDevice::base_of(Bar& bar) {
  const std::lock_guard guard(lock_);
  if (bar.page == nullptr) {
    const std::size_t bytes = std::max<std::uint64_t>(bar.info.size, system_page());
    void* page = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bar.fd.get(), 0);
    if (page == MAP_FAILED) return Error{errno, "sysfs: mmap resource"};
    bar.page = page;
    bar.mapped = bytes;
  }
  return static_cast<volatile std::uint8_t*>(bar.page) + (bar.info.address % system_page());
}

Result<std::uint64_t> SysfsDevice::bar_read(unsigned index, std::uint64_t offset, unsigned width) {
  if (!is_natural(offset, width, 8, bar(index).size)) return Error{EINVAL, "bar_read"};
  Bar& bar = bars_[index];
  if (index == kPciRomIndex) {
    PVIOMMU_TRY(read_rom());
    std::uint64_t value = all_ones(width);
    if (offset < rom_.size())
      std::memcpy(&value, rom_.data() + offset, std::min<std::uint64_t>(width, rom_.size() - offset));
    return le64toh(value);
  }
  if (bar.info.is_io) {
    if (width == 8) {  // ports have at most 4 bytes
      const std::uint64_t low = PVIOMMU_TRY(bar_read(index, offset, 4));
      const std::uint64_t high = PVIOMMU_TRY(bar_read(index, offset + 4, 4));
      return high << 32 | low;
    }
    std::uint64_t value = 0;
    const ssize_t got = ::pread(bar.fd.get(), &value, width, static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(width)) return Error{got < 0 ? errno : EIO, "sysfs: read I/O ports"};
    return le64toh(value);
  }
  const volatile std::uint8_t* at = PVIOMMU_TRY(base_of(bar))
  +offset;
  switch (width) {
    case 1:
      return std::uint64_t{*at};
    case 2:
      return std::uint64_t{le16toh(*reinterpret_cast<const volatile std::uint16_t*>(at))};
    case 4:
      return std::uint64_t{le32toh(*reinterpret_cast<const volatile std::uint32_t*>(at))};
    default:
      return le64toh(*reinterpret_cast<const volatile std::uint64_t*>(at));
  }
}

Status SysfsDevice::bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (!is_natural(offset, width, 8, bar(index).size)) return Error{EINVAL, "bar_write"};
  if (index == kPciRomIndex) return Error{EROFS, "bar_write: expansion ROM"};
  Bar& bar = bars_[index];
  if (bar.info.is_io) {
    if (width == 8) {
      PVIOMMU_TRY(SysfsDevice::bar_write(index, offset, 4, value & all_ones(4)));
      return SysfsDevice::bar_write(index, offset + 4, 4, value >> 32);
    }
    const std::uint64_t bytes = htole64(value);
    const ssize_t put = ::pwrite(bar.fd.get(), &bytes, width, static_cast<off_t>(offset));
    if (put != static_cast<ssize_t>(width)) return Error{put < 0 ? errno : EIO, "sysfs: write I/O ports"};
    return {};
  }
  volatile std::uint8_t* at = PVIOMMU_TRY(base_of(bar))
  +offset;
  switch (width) {
    case 1:
      *at = static_cast<std::uint8_t>(value);
      break;
    case 2:
      *reinterpret_cast<volatile std::uint16_t*>(at) = htole16(static_cast<std::uint16_t>(value));
      break;
    case 4:
      *reinterpret_cast<volatile std::uint32_t*>(at) = htole32(static_cast<std::uint32_t>(value));
      break;
    default:
      *reinterpret_cast<volatile std::uint64_t*>(at) = htole64(value);
  }
  return {};
}

Result<BarMapping> SysfsDevice::bar_mapping(unsigned index) {
  if (!bar(index).mappable) return Error{EOPNOTSUPP, "bar_mapping"};
  return BarMapping{bars_[index].fd.get(), 0};
}

/// The whole ROM at once, at the first read, and off again: on some devices the
/// ROM's decoder is shared with the BARs' (PCI Local Bus 3.0, 6.2.5.2).  It does
/// not change, so a copy is as good.  The kernel switches off for exactly "0\n".
Status SysfsDevice::read_rom() {
  const std::lock_guard guard(lock_);
  if (!rom_.empty()) return {};
  const int fd = bars_[kPciRomIndex].fd.get();
  PVIOMMU_TRY(write_text(fd, "1\n", "sysfs: switch ROM on"));
  std::vector<std::uint8_t> all(bars_[kPciRomIndex].info.size);
  std::size_t done = 0;
  int problem = 0;
  while (done < all.size()) {
    const ssize_t got = ::pread(fd, all.data() + done, all.size() - done, static_cast<off_t>(done));
    if (got < 0) problem = errno;
    if (got <= 0) break;  // 0: where the images end
    done += static_cast<std::size_t>(got);
  }
  PVIOMMU_TRY(write_text(fd, "0\n", "sysfs: switch ROM off"));
  if (problem != 0) return Error{problem, "sysfs: read ROM"};
  all.resize(done);
  if (all.empty()) all.assign(1, 0xff);  // read, and nothing there
  rom_ = std::move(all);
  return {};
}

// ---- reset and INTx ------------------------------------------------------------

Status SysfsDevice::reset() {
  if (!reset_) return Error{ENOTTY, "reset: the kernel knows no way for this device"};
  return write_text(reset_.get(), "1", "sysfs: reset");
}

/// "flr bus": the words of reset_method; empty: Linux before 5.15.
Result<std::string> SysfsDevice::reset_methods() {
  if (!reset_method_) return std::string();
  std::array<char, 256> text;
  const ssize_t got = ::pread(reset_method_.get(), text.data(), text.size(), 0);
  if (got < 0) return Error{errno, "sysfs: read reset_method"};
  std::string methods(text.data(), static_cast<std::size_t>(got));
  while (!methods.empty() && methods.back() == '\n') methods.pop_back();
  return methods;
}

Result<std::vector<HotResetMember>> SysfsDevice::hot_reset_members() {
  const std::string methods = PVIOMMU_TRY(reset_methods());
  if (!reset_ || (" " + methods + " ").find(" bus ") == std::string::npos)
    return Error{ENODEV, "hot reset: the kernel knows none for this device"};
  return std::vector<HotResetMember>{{info_.sbdf, info_.group}};
}

Status SysfsDevice::hot_reset() {
  (void)PVIOMMU_TRY(SysfsDevice::hot_reset_members());
  const std::string methods = PVIOMMU_TRY(reset_methods());
  PVIOMMU_TRY(write_text(reset_method_.get(), "bus", "sysfs: write reset_method"));
  const Status done = SysfsDevice::reset();  // not what a derived device makes of it
  const Status back = write_text(reset_method_.get(), methods, "sysfs: write reset_method");
  return done ? back : done;
}

bool SysfsDevice::intx_asserted() {
  const auto status = config_read(PCI_STATUS, 2);
  return status && (*status & PCI_STATUS_INTERRUPT) != 0;
}

}  // namespace pviommu
