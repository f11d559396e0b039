// SPDX-License-Identifier: LGPL-2.1-or-later
// The guest's writes, turned into VFIO calls on our own engine.
//
//   config_write()   command, BARs --> update_bars(): MAP_DMA, UNMAP_DMA, trapped pages
//                    MSI, MSI-X ----> update_msi(), update_msix(): SET_IRQS
//                    the rest ------> the device file's configuration region
//   memory_write()   MSI-X table ---> update_entry()
//
// What could not be done is said once on stderr (complain()); the guest sees what hardware
// would show it.  Called by one thread, that of GuestBus::serve().
#include "vfio-glue/guest/guest_device.h"

#include <linux/pci_regs.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "hypercall/msi_message.h"
#include "vfio-glue/engine/device_file.h"

namespace pviommu::vfio {
namespace {

bool same(const pviommu_notification& a, const pviommu_notification& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

/// An event channel of the guest's, for a pirq that it has chosen.
bool is_pirq(const pviommu_notification& target) {
  return target.kind == PVIOMMU_NOTIFY_GUEST_VECTOR && target.gvec == 0;
}

constexpr std::size_t kPciExtendedConfig = 4096;

constexpr std::uint32_t ones(unsigned width) { return width >= 4 ? ~0u : (1u << 8 * width) - 1; }

}  // namespace

/// The engine's caller: this process's memory, and descriptors that are an index.
class GuestDevice::Program final : public Client {
 public:
  explicit Program(Engine& engine) : engine(engine) {}

  Status copy_in(void* to, std::uint64_t from, std::size_t bytes) override {
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return {};
  }
  Status copy_out(std::uint64_t to, const void* from, std::size_t bytes) override {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return {};
  }
  FileRef file_of(int fd) override { return fd == kContainer ? container : FileRef(); }
  bool is_open(int fd) override { return fd == kContainer; }
  Result<int> install(FileRef file) override {
    device = std::move(file);
    return kDevice;
  }
  Result<UniqueFd> duplicate_eventfd(int) override { return Error{EBADF, "no eventfds here"}; }
  /// There is no memory to map but BARs, and their addresses are file offsets.
  MmioMapping mmio_at(std::uint64_t address, std::uint64_t) override { return {device, address - kMmio, PROT_READ | PROT_WRITE}; }
  /// It has no mapping of a BAR: the guest's own go by the hypervisor, and update_bars()
  /// makes and removes them.
  void refresh_mappings(const void*) override {}
  bool traps_registers() const override { return false; }
  /// It never asks for a descriptor, and keeps none of the engine's from itself.
  void lend(int) override {}

  template <class T>
  long ioctl(const FileRef& file, std::uint32_t request, T* argument) {
    return file->ioctl(*this, request, reinterpret_cast<std::uint64_t>(argument));
  }

  static constexpr int kContainer = 1, kDevice = 2;
  static constexpr std::uint64_t kMmio = std::uint64_t{1} << 62;
  Engine& engine;
  FileRef container, group, device;  // closed in the opposite order
};

Result<std::unique_ptr<GuestDevice>> GuestDevice::open(Engine& engine, GuestBus& bus, Sbdf sbdf, Domid guest) {
  std::unique_ptr<GuestDevice> device(new GuestDevice(engine, bus, sbdf, guest));
  PVIOMMU_TRY(device->start());
  return device;
}

GuestDevice::GuestDevice(Engine& engine, GuestBus& bus, Sbdf sbdf, Domid guest)
    : sbdf_(sbdf), guest_(guest), bus_(bus), program_(std::make_unique<Program>(engine)) {}

Status GuestDevice::start() {
  Program& program = *program_;
  const auto refused = [&](const char* step, long result) -> Status {
    return Error{static_cast<int>(-result), step}.with_sentence(
        to_string(sbdf_) + ": " + step + ": " + std::strerror(static_cast<int>(-result)));
  };
  const auto devices = PVIOMMU_TRY(program.engine.hypervisor().devices());
  const auto info = std::find_if(devices.begin(), devices.end(), [&](const auto& d) { return d.sbdf == sbdf_; });
  if (info == devices.end())
    return Error{ENODEV, "attach"}.with_sentence("there is no device " + to_string(sbdf_) +
                                                 "; `pviommu list` shows those there are");
  program.container = PVIOMMU_TRY(program.engine.open_container());
  auto group = program.engine.open_group(info->group);
  if (!group) return refused("its group cannot be had", -group.error().code);
  program.group = std::move(*group);
  int fd = Program::kContainer;
  if (const long result = program.ioctl(program.group, VFIO_GROUP_SET_CONTAINER, &fd); result < 0)
    return refused("its group is not viable: a driver of the host holds it (pviommu bind)", result);
  if (const long result = program.container->ioctl(program, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU); result < 0)
    return refused("the guest's address space", result);
  std::string name = to_string(sbdf_);
  if (const long result = program.ioctl(program.group, VFIO_GROUP_GET_DEVICE_FD, name.data()); result < 0)
    return refused("the device cannot be given to the guest", result);

  struct {
    pviommu_irq_info info;
    pviommu_irq_info_cap_notifications capability;
  } irq{};
  irq.info.info = {.argsz = sizeof irq, .flags = PVIOMMU_IRQ_INFO_FLAG_CAPS, .index = VFIO_PCI_MSI_IRQ_INDEX, .count = 0};
  if (const long result = program.ioctl(program.device, VFIO_DEVICE_GET_IRQ_INFO, &irq); result < 0)
    return refused("interrupts", result);
  if ((irq.capability.kinds & PVIOMMU_NOTIFY_GUEST_VECTOR) == 0)
    return refused("the hypervisor has no vectors of guests", -EOPNOTSUPP);
  return read_layout();
}

GuestDevice::~GuestDevice() {
  if (!program_->device) return;
  if (!msi_.empty()) complain("MSI off", disable(VFIO_PCI_MSI_IRQ_INDEX));
  if (vectors_ != 0) complain("MSI-X off", disable(VFIO_PCI_MSIX_IRQ_INDEX));
  for (unsigned i = 0; i < kPciBars; ++i) take_out(i);
}

void GuestDevice::complain(const char* what, const Status& status) const {
  if (!status)
    std::fprintf(stderr, "pviommu: %s: %s: %s\n", to_string(sbdf_).c_str(), what, to_string(status.error()).c_str());
}

void GuestDevice::complain_of_target(const char* what, const pviommu_notification& target,
                                     const Status& status) const {
  if (status || !is_pirq(target)) return complain(what, status);
  std::string text = std::string(what) + ", pirq " + std::to_string(target.gflags);
  if (status.error().code == EEXIST) text += ", which another interrupt of the guest has";
  if (status.error().code == EINVAL) text += ", which the guest does not have";
  complain(text.c_str(), status);
}

// ---- configuration space ---------------------------------------------------------

void GuestDevice::keep(std::size_t offset, unsigned width, std::uint32_t value, std::uint32_t writable) {
  for (unsigned i = 0; i < width; ++i) {
    kept_[offset + i] = true;
    value_[offset + i] = static_cast<std::uint8_t>(value >> 8 * i);
    writable_[offset + i] = static_cast<std::uint8_t>(writable >> 8 * i);
  }
}

std::uint32_t GuestDevice::kept(std::size_t offset, unsigned width) const {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= std::uint32_t{value_[offset + i]} << 8 * i;
  return value;
}

std::uint32_t GuestDevice::device_config(std::size_t offset, unsigned width) {
  std::uint32_t value = 0;
  const auto at = static_cast<std::int64_t>(region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + offset);
  const ssize_t got = program_->device->pread(*program_, reinterpret_cast<std::uint64_t>(&value), width, at);
  return got == static_cast<ssize_t>(width) ? value : ones(width);
}

Status GuestDevice::read_layout() {
  for (unsigned i = 0; i < kPciBars; ++i) {
    vfio_region_info region{};
    region.argsz = sizeof region;
    region.index = i;
    if (program_->ioctl(program_->device, VFIO_DEVICE_GET_REGION_INFO, &region) < 0 || region.size == 0) continue;
    const std::size_t at = PCI_BASE_ADDRESS_0 + 4 * i;
    const std::uint32_t value = device_config(at, 4);
    if (value & PCI_BASE_ADDRESS_SPACE_IO) {
      keep(at, 4, 0, 0);
      continue;
    }
    bars_[i].size = region.size;
    bars_[i].is_64bit = (value & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    bars_[i].mappable = (region.flags & VFIO_REGION_INFO_FLAG_MMAP) && region.size >= kPageSize;
  }
  keep(PCI_ROM_ADDRESS, 4, 0, 0);
  keep(PCI_INTERRUPT_PIN, 1, 0, 0);

  capabilities_ = dynamic_cast<DeviceFile&>(*program_->device).device().capabilities();
  // Bits that the guest sets first, and the device after it: enable, and the number of messages.
  if (const auto& msi = capabilities_.msi) {
    keep(msi->offset + 2u, 2, device_config(msi->offset + 2u, 2) & ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE),
         PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    keep(msi->offset + 4u, 4, 0, ~3u);
    if (msi->is_64bit) keep(msi->offset + 8u, 4, 0, ~0u);
    keep(msi->offset + msi->data_offset(), 2, 0, 0xffff);
  }
  if (const auto& msix = capabilities_.msix) {
    constexpr std::uint32_t kWritable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
    keep(msix->offset + 2u, 2, device_config(msix->offset + 2u, 2) & ~kWritable, kWritable);
    table_.resize(msix->vectors);
  }
  return {};
}

std::uint32_t GuestDevice::config_read(std::size_t offset, unsigned width) {
  if (offset + width > kPciExtendedConfig) return ones(width);
  std::uint32_t value = device_config(offset, width);
  for (unsigned i = 0; i < width && offset + i < kept_.size(); ++i) {
    if (!kept_[offset + i]) continue;
    value = (value & ~(0xffu << 8 * i)) | std::uint32_t{value_[offset + i]} << 8 * i;
  }
  return value;
}

void GuestDevice::config_write(std::size_t offset, unsigned width, std::uint32_t value) {
  if (offset + width > kPciExtendedConfig) return;
  for (unsigned i = 0; i < width;) {
    const std::size_t at = offset + i;
    if (at < kept_.size() && kept_[at]) {
      value_[at] = static_cast<std::uint8_t>((value_[at] & ~writable_[at]) | (value >> 8 * i & writable_[at]));
      ++i;
      continue;
    }
    // What is the device's goes there in one piece, as wide as it was written.
    unsigned bytes = 1;
    while (i + bytes < width && (at + bytes >= kept_.size() || !kept_[at + bytes])) ++bytes;
    const std::uint32_t part = value >> 8 * i;
    (void)program_->device->pwrite(*program_, reinterpret_cast<std::uint64_t>(&part), bytes,
                                   static_cast<std::int64_t>(region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + at));
    i += bytes;
  }
  const auto touches = [&](std::size_t first, std::size_t bytes) {
    return offset < first + bytes && first < offset + width;
  };
  if (touches(PCI_COMMAND, 2) || touches(PCI_BASE_ADDRESS_0, 4 * kPciBars)) update_bars();
  if (capabilities_.msi && touches(capabilities_.msi->offset, capabilities_.msi->size)) update_msi();
  if (capabilities_.msix && touches(capabilities_.msix->offset + 2u, 2)) update_msix();
}

// ---- BARs ------------------------------------------------------------------------

std::vector<GuestDevice::Piece> GuestDevice::pieces(unsigned bar) const {
  const std::uint64_t size = bars_[bar].size;
  if (!bars_[bar].mappable) return {{0, size, true}};
  if (!capabilities_.msix || capabilities_.msix->table_bar != bar) return {{0, size, false}};
  const std::uint64_t first = capabilities_.msix->table_offset & ~(kPageSize - 1);
  const std::uint64_t behind =
      (capabilities_.msix->table_offset + capabilities_.msix->table_bytes() + kPageSize - 1) & ~(kPageSize - 1);
  std::vector<Piece> all;
  if (first > 0) all.push_back({0, first, false});
  all.push_back({first, std::min(behind, size) - first, true});
  if (behind < size) all.push_back({behind, size - behind, false});
  return all;
}

void GuestDevice::update_bars() {
  const bool decoding = device_config(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY;
  for (unsigned i = 0; i < kPciBars; ++i) {
    Bar& bar = bars_[i];
    if (bar.size == 0) continue;
    std::uint64_t address = device_config(PCI_BASE_ADDRESS_0 + 4 * i, 4) & ~std::uint64_t{0xf};
    if (bar.is_64bit) address |= std::uint64_t{device_config(PCI_BASE_ADDRESS_0 + 4 * i + 4, 4)} << 32;
    // All ones in either half ask for the size of the BAR.
    const std::uint64_t sizing = ~(bar.size - 1);
    const bool asked = (address & 0xffffffff) == (sizing & 0xfffffff0) || (bar.is_64bit && address >> 32 == 0xffffffff);
    std::optional<Iova> wanted;
    if (decoding && address != 0 && !asked) wanted = Iova(address);
    if (wanted == bar.at) continue;
    if (bar.at) take_out(i);
    if (wanted) complain("a BAR cannot be where the guest wants it", place(i, *wanted));
  }
}

Status GuestDevice::place(unsigned bar, Iova at) {
  bars_[bar].at = at;  // what is done so far is undone by take_out()
  for (const Piece& piece : pieces(bar)) {
    const Iova iova(at.raw() + piece.offset);
    Status status;
    if (piece.trapped) {
      status = bus_.trap(PVIOMMU_TRY(IovaRange::from_size(iova, piece.bytes)));
    } else {
      vfio_iommu_type1_dma_map map{.argsz = sizeof map,
                                   .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                   .vaddr = Program::kMmio + region_offset(bar) + piece.offset,
                                   .iova = iova.raw(),
                                   .size = piece.bytes};
      const long result = program_->ioctl(program_->container, VFIO_IOMMU_MAP_DMA, &map);
      if (result < 0) status = Error{static_cast<int>(-result), "mapping a BAR"};
    }
    if (status) continue;
    take_out(bar);
    return status;
  }
  return {};
}

/// Takes all pieces of the BAR out, also those that could not be placed.
void GuestDevice::take_out(unsigned bar) {
  if (!bars_[bar].at) return;
  for (const Piece& piece : pieces(bar)) {
    const Iova iova(bars_[bar].at->raw() + piece.offset);
    if (piece.trapped) {
      if (const auto range = IovaRange::from_size(iova, piece.bytes)) (void)bus_.untrap(*range).ok();
      continue;
    }
    struct {
      std::uint32_t argsz, flags;
      std::uint64_t iova, size;
    } unmap{sizeof unmap, 0, iova.raw(), piece.bytes};
    const long result = program_->ioctl(program_->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
    if (result < 0) complain("taking a BAR out of the guest", Error{static_cast<int>(-result), "unmap"});
  }
  bars_[bar].at.reset();
}

std::uint32_t* GuestDevice::table_word(unsigned bar, std::uint64_t offset) {
  const auto& msix = capabilities_.msix;
  if (!msix || msix->table_bar != bar || offset < msix->table_offset) return nullptr;
  const std::uint64_t at = offset - msix->table_offset;
  return at < msix->table_bytes() ? &table_[at / 16].words[at % 16 / 4] : nullptr;
}

std::uint64_t GuestDevice::memory_read(Iova address, unsigned width) {
  for (unsigned i = 0; i < kPciBars; ++i) {
    if (!bars_[i].at || address < *bars_[i].at || address.raw() - bars_[i].at->raw() >= bars_[i].size) continue;
    const std::uint64_t offset = address.raw() - bars_[i].at->raw();
    if (const std::uint32_t* word = table_word(i, offset)) {
      const std::uint64_t value = width == 8 ? word[0] | std::uint64_t{word[1]} << 32 : word[0] >> 8 * (offset % 4);
      return width == 8 ? value : value & ones(width);
    }
    std::uint64_t value = 0;
    const ssize_t got = program_->device->pread(*program_, reinterpret_cast<std::uint64_t>(&value), width,
                                                static_cast<std::int64_t>(region_offset(i) + offset));
    return got == static_cast<ssize_t>(width) ? value : ~std::uint64_t{0};
  }
  return ~std::uint64_t{0};
}

void GuestDevice::memory_write(Iova address, unsigned width, std::uint64_t value) {
  for (unsigned i = 0; i < kPciBars; ++i) {
    if (!bars_[i].at || address < *bars_[i].at || address.raw() - bars_[i].at->raw() >= bars_[i].size) continue;
    const std::uint64_t offset = address.raw() - bars_[i].at->raw();
    std::uint32_t* word = table_word(i, offset);
    if (word == nullptr) {
      (void)program_->device->pwrite(*program_, reinterpret_cast<std::uint64_t>(&value), width,
                                     static_cast<std::int64_t>(region_offset(i) + offset));
      return;
    }
    // Entries are written by double and quad words only (PCI 3.0, 6.8.2).
    if (offset % 4 != 0 || width < 4) return;
    word[0] = static_cast<std::uint32_t>(value);
    if (width == 8 && offset % 8 == 0) word[1] = static_cast<std::uint32_t>(value >> 32);
    const std::uint64_t at = offset - capabilities_.msix->table_offset;
    if (at % 16 < PCI_MSIX_ENTRY_VECTOR_CTRL) table_[at / 16].written = true;
    if (msix_on_) update_entry(static_cast<unsigned>(at / 16));
    return;
  }
}

// ---- interrupts ------------------------------------------------------------------

pviommu_notification GuestDevice::target_of(std::uint64_t address, std::uint32_t data) const {
  const std::uint32_t gvec = data & 0xff;
  // Vector 0 is Xen's way of asking for the event channel of a pirq, which is where the
  // destination would be: bits 0 to 7 in its field, the others above the 32 bits.
  const auto pirq = static_cast<std::uint32_t>((address >> 12 & 0xff) | (address >> 32 & ~0xffu));
  const std::uint32_t gflags = gvec != 0 ? gflags_of(MsiMessage{address, data}) : pirq;
  pviommu_notification target{};
  if (gvec == 0 ? gflags == 0 : gvec < 16) return target;  // no interrupt
  target.kind = PVIOMMU_NOTIFY_GUEST_VECTOR;
  target.domid = guest_.raw();
  target.gvec = gvec;
  target.gflags = gflags;
  return target;
}

Status GuestDevice::set_irqs(std::uint32_t index, std::uint32_t start, std::span<pviommu_notification> targets) {
  struct Header {
    std::uint32_t argsz, flags, index, start, count;
  };
  const std::size_t bytes = sizeof(Header) + targets.size_bytes();
  const Header header{static_cast<std::uint32_t>(bytes),
                      VFIO_IRQ_SET_ACTION_TRIGGER |
                          (targets.empty() ? VFIO_IRQ_SET_DATA_NONE : PVIOMMU_IRQ_SET_DATA_NOTIFICATION),
                      index, start, static_cast<std::uint32_t>(targets.size())};
  std::vector<std::uint8_t> call(bytes);
  std::memcpy(call.data(), &header, sizeof header);
  if (!targets.empty()) std::memcpy(call.data() + sizeof header, targets.data(), targets.size_bytes());
  const long result = program_->ioctl(program_->device, VFIO_DEVICE_SET_IRQS, call.data());
  if (result == 0) return {};
  return Error{result < 0 ? static_cast<int>(-result) : ENOSPC, "SET_IRQS"};
}

void GuestDevice::update_msi() {
  const msi::MsiCapability& msi = *capabilities_.msi;
  const std::uint32_t control = kept(msi.offset + 2u, 2);
  std::vector<pviommu_notification> wanted;
  if (control & PCI_MSI_FLAGS_ENABLE) {
    const unsigned count = std::min(1u << (control >> 4 & 7), msi.vectors);
    std::uint64_t address = kept(msi.offset + 4u, 4);
    if (msi.is_64bit) address |= std::uint64_t{kept(msi.offset + 8u, 4)} << 32;
    const std::uint32_t data = kept(msi.offset + msi.data_offset(), 2);
    for (unsigned i = 0; i < count; ++i) wanted.push_back(target_of(address, (data & ~(count - 1)) | i));
  }
  if (wanted.size() == msi_.size() && std::equal(wanted.begin(), wanted.end(), msi_.begin(), same)) return;
  Status status;
  if (!msi_.empty() && wanted.size() != msi_.size()) {
    status = disable(VFIO_PCI_MSI_IRQ_INDEX);
    if (status) msi_.clear();
  }
  if (status && !wanted.empty()) {
    status = set_irqs(VFIO_PCI_MSI_IRQ_INDEX, 0, wanted);
    if (status) msi_ = wanted;
  }
  complain_of_target("MSI of the guest", wanted.empty() ? pviommu_notification{} : wanted[0], status);
}

void GuestDevice::update_msix() {
  const bool on = kept(capabilities_.msix->offset + 2u, 2) & PCI_MSIX_FLAGS_ENABLE;
  if (!on && vectors_ != 0) {
    const Status status = disable(VFIO_PCI_MSIX_IRQ_INDEX);
    complain("MSI-X of the guest off", status);
    if (!status) return;
    vectors_ = 0;
  }
  if (!on)
    for (Entry& entry : table_) entry.written = false;
  msix_on_ = on;
  if (!on) return;
  // MSI-X is on in the device as soon as it is for the guest, because on some devices
  // (QEMU's NVMe) queues that were made before have no messages.  All vectors in use are
  // taken at once, because the guest's event channel does not follow a vector that is taken
  // again.
  unsigned count = 1;
  for (unsigned i = 1; i < table_.size(); ++i)
    if (has_message(table_[i])) count = i + 1;
  if (count > vectors_)
    complain("MSI-X of the guest", enable_msix(count));
  else
    for (unsigned i = 0; i < vectors_; ++i) update_entry(i);
}

/// Whether the guest has written a message since MSI-X was off.  What it asked of Xen before
/// is void.
bool GuestDevice::has_message(const Entry& entry) const {
  return entry.words[2] != 0 && ((entry.words[2] & 0xff) != 0 || entry.written);
}

/// A masked entry is bound to nothing: Xen masks the hardware's, which holds an
/// arrival until the guest unmasks its own.  Linux on Xen leaves the mask bits of its
/// entries as they are: event channels have a mask of their own.
pviommu_notification GuestDevice::wanted(const Entry& entry) const {
  if (kept(capabilities_.msix->offset + 2u, 2) & PCI_MSIX_FLAGS_MASKALL) return {};
  const auto target = target_of(std::uint64_t{entry.words[1]} << 32 | entry.words[0], entry.words[2]);
  if (is_pirq(target) ? !has_message(entry) : (entry.words[3] & PCI_MSIX_ENTRY_CTRL_MASKBIT) != 0) return {};
  return target;
}

void GuestDevice::update_entry(unsigned index) {
  Entry& entry = table_[index];
  pviommu_notification target = wanted(entry);
  if (index >= vectors_) {
    if (target.kind != PVIOMMU_NOTIFY_NONE) complain("MSI-X of the guest", enable_msix(index + 1));
    return;
  }
  if (same(target, entry.target)) return;
  const Status status = set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, index, {&target, 1});
  if (status) entry.target = target;
  complain_of_target("an MSI-X vector of the guest", target, status);
}

/// A guest has fewer interrupts than a table has entries, so only those are taken
/// that it uses: up to the last one with a message, which drivers write for all of
/// theirs before they unmask the first.  When there are no more it keeps those it has.
Status GuestDevice::enable_msix(unsigned count) {
  for (unsigned i = count; i < table_.size(); ++i)
    if (has_message(table_[i])) count = i + 1;
  const unsigned before = vectors_;
  if (before != 0) PVIOMMU_TRY(disable(VFIO_PCI_MSIX_IRQ_INDEX));
  const auto enable = [&](unsigned number) {
    std::vector<pviommu_notification> none(number);
    const Status status = set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, 0, none);
    vectors_ = status ? number : 0;
    return status;
  };
  for (Entry& entry : table_) entry.target = {};
  Status status = enable(count);
  if (!status && before != 0) (void)enable(before).ok();
  for (unsigned i = 0; i < vectors_; ++i) update_entry(i);
  return status;
}

}  // namespace pviommu::vfio
