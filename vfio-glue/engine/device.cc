// SPDX-License-Identifier: LGPL-2.1-or-later
// The device's life (open, start, close), its resets, and where its regions are mapped from.
// Regions are read and written in device_regions.cc, interrupts are in device_irqs.cc,
// ioeventfds in device_ioeventfds.cc.
#include "vfio-glue/engine/device.h"

#include <linux/pci_regs.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>

namespace pviommu::vfio {

Result<std::unique_ptr<Device>> Device::open(Hypervisor& hypervisor, AddressSpace& space, Sbdf sbdf) {
  auto hardware = PVIOMMU_TRY(hypervisor.open_device(sbdf));
  const auto capabilities = PVIOMMU_TRY(msi::read_capabilities(*hardware));
  std::unique_ptr<Device> device(new Device(space, std::move(hardware), hypervisor, capabilities));
  PVIOMMU_TRY(device->start());  // undone by the destructor
  return device;
}

/// What the hypervisor does not deliver the device does not have.  (Its registers
/// are there all the same, and are kept from the program as ever.)
static msi::InterruptCapabilities offered(msi::InterruptCapabilities capabilities, VectorKinds kinds) {
  if ((kinds & bit(VectorKind::intx)) == 0) capabilities.intx = false;
  if ((kinds & bit(VectorKind::msi)) == 0) capabilities.msi.reset();
  if ((kinds & bit(VectorKind::msix)) == 0) capabilities.msix.reset();
  return capabilities;
}

Device::Device(AddressSpace& space, std::unique_ptr<PciDevice> hardware, Hypervisor& hypervisor,
               const msi::InterruptCapabilities& capabilities)
    : space_(&space),
      hypervisor_(hypervisor),
      hardware_(std::move(hardware)),
      capabilities_(capabilities),
      router_(hypervisor.interrupts(), hypervisor.capabilities(), *hardware_, offered(capabilities, hypervisor.capabilities().vector_kinds)),
      msi_view_(capabilities, router_) {}

Status Device::start() {
  // The program starts with a quiet function whose BARs answer.
  std::uint32_t command = PVIOMMU_TRY(hardware_->config_read(PCI_COMMAND, 2));
  command &= ~std::uint32_t{PCI_COMMAND_MASTER};
  PVIOMMU_TRY(hardware_->config_write(PCI_COMMAND, 2, command));
  if (hardware_->can_reset()) PVIOMMU_TRY(hardware_->reset());
  for (unsigned i = 0; i < kPciBars; ++i) {
    const BarInfo bar = hardware_->bar(i);
    if (bar.size) command |= bar.is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
  }
  PVIOMMU_TRY(hardware_->config_write(PCI_COMMAND, 2, command));

  config_ = PVIOMMU_TRY(ConfigSpace::create(*hardware_, *this, msi_view_));
  if (router_.available(VectorKind::intx) == 0) config_->hide_intx();
  if (capabilities_.msix) shadow_ = PVIOMMU_TRY(msi::MsixShadow::create(*capabilities_.msix, kPageSize));

  if (hypervisor_.capabilities().vectors_before_attach) {
    // The last moment at which the hypervisor gives this device vectors.
    const VectorKind kind = router_.available(VectorKind::msix) != 0 ? VectorKind::msix : VectorKind::msi;
    if (const unsigned count = router_.available(kind)) (void)PVIOMMU_TRY(router_.reserve(kind, count));
  }
  return attach();
}

Status Device::attach() {
  PVIOMMU_TRY(space_->attach(info().sbdf));
  attached_ = true;
  return {};
}

Status Device::detach() {
  PVIOMMU_TRY(space_->detach(info().sbdf));
  attached_ = false;
  return {};
}

void tell_open_failed(bool quiet, Sbdf sbdf, const Error& error) {
  if (!quiet)
    std::fprintf(stderr, "pviommu: cannot open device %s: %s\n", to_string(sbdf).c_str(), to_string(error).c_str());
}

// All out, then all in: a hypervisor may have a group of devices in one space only.
Status Device::move(std::vector<Device*> devices, AddressSpace& to) {
  std::ranges::sort(devices, {}, [](const Device* device) { return device->info().sbdf; });
  std::vector<std::unique_lock<std::mutex>> guards;
  std::vector<bool> mastering;
  for (Device* device : devices) guards.emplace_back(device->lock_);
  for (Device* device : devices) {
    const std::uint32_t command = PVIOMMU_TRY(device->hardware_->config_read(PCI_COMMAND, 2));
    mastering.push_back(command & PCI_COMMAND_MASTER);
  }
  AddressSpace* const from = devices.front()->space_;
  const auto all_into = [&](AddressSpace* space) -> Status {
    for (Device* device : devices)
      if (device->attached_) PVIOMMU_TRY(device->detach());
    for (Device* device : devices) {
      device->space_ = space;
      PVIOMMU_TRY(device->attach());
    }
    return {};
  };
  Status done;
  for (Device* device : devices)
    if (done) done = device->config_->set_bus_master(false);
  if (done) done = all_into(&to);
  if (!done && from != &to)
    if (const Status back = all_into(from); !back) return back;  // bus mastering stays off
  for (std::size_t i = 0; i < devices.size(); ++i)
    if (mastering[i] && devices[i]->attached_)
      if (const Status on = devices[i]->config_->set_bus_master(true); !on && done) done = on;
  return done;
}

Result<unsigned> Device::enable_vectors(VectorKind kind, unsigned count) {
  if (hypervisor_.capabilities().vectors_before_attach && router_.available(kind) >= count && !router_.active() &&
      router_.reserved(kind) < count)
    PVIOMMU_TRY(bounce(kind));
  return router_.enable(kind, count);
}

/// Bus mastering off -> detach -> other vectors -> attach -> bus mastering as
/// before.  DMA of the device pauses; nothing of the address space changes.
Status Device::bounce(VectorKind kind) {
  const std::uint32_t command = PVIOMMU_TRY(hardware_->config_read(PCI_COMMAND, 2));
  PVIOMMU_TRY(config_->set_bus_master(false));
  const auto exchange = [&]() -> Status {
    PVIOMMU_TRY(detach());
    PVIOMMU_TRY(router_.release_reservation());
    (void)PVIOMMU_TRY(router_.reserve(kind, router_.available(kind)));
    return attach();
  };
  const Status exchanged = exchange();
  if (!exchanged && !attached_) {
    // Back to a device that can do DMA; its vectors may be of either kind, and
    // the next enable looks again.
    if (Status again = attach(); !again) return again;  // bus mastering stays off
  }
  if (command & PCI_COMMAND_MASTER) PVIOMMU_TRY(config_->set_bus_master(true));
  return exchanged;
}

Device::~Device() {
  ioeventfds_.clear();
  // Nobody is there to be told, so each step is tried again before it is given
  // up, and is taken whatever became of the one before: the hypervisor is the
  // last line that keeps the device out of memory.
  const auto insist = [&](const char* step, auto&& work) {
    Status status = work();
    for (int again = 0; !status && again < 3; ++again) status = work();
    if (!status)
      std::fprintf(stderr, "pviommu: closing %s: %s: %s\n", to_string(info().sbdf).c_str(), step,
                   to_string(status.error()).c_str());
  };
  if (config_) insist("bus mastering off", [&] { return config_->set_bus_master(false); });
  insist("interrupts off", [&] { return router_.close(); });
  if (config_ && hardware_->can_reset()) insist("reset", [&] { return hardware_->reset(); });
  if (attached_) insist("detach", [&] { return space_->detach(info().sbdf); });
}

Status Device::reset(Client& client) {
  const std::lock_guard guard(lock_);
  const Status done = reset_function();
  follow_decoding(client);
  return done;
}

Status Device::hot_reset(Client& client, std::vector<Device*> open) {
  std::ranges::sort(open, {}, [](const Device* device) { return device->info().sbdf; });
  std::vector<std::unique_lock<std::mutex>> guards;
  for (Device* device : open) guards.emplace_back(device->lock_);
  Status done = hardware_->hot_reset();
  if (!done) return done;
  for (Device* device : open) {
    if (const Status restored = device->after_reset(); !restored) done = restored;
    device->follow_decoding(client);
  }
  return done;
}

Status Device::reset_function() {
  PVIOMMU_TRY(hardware_->reset());
  return after_reset();
}

Status Device::after_reset() {
  PVIOMMU_TRY(config_->restore());
  return router_.reset_happened();
}

bool Device::set_low_power(Client& client, bool on) {
  const std::lock_guard guard(lock_);
  const bool before = low_power_.exchange(on);
  follow_decoding(client);
  return before;
}

void Device::follow_decoding(Client& client) {
  // The kernel's runtime suspend takes the power state over; each access ends in D0.
  if (low_power_) config_->wake();
  const bool now = config_->memory_enabled() && config_->powered() && !low_power_;
  // A mapping that is made meanwhile looks at accessible_ itself.
  if (accessible_.exchange(now) != now) client.refresh_mappings(this);
}

// ConfigEffects: called from a configuration write, lock held.
void Device::intx_disable_changed(bool disabled) {
  if (const Status status = router_.set_intx_disabled(disabled); !status)
    std::fprintf(stderr, "pviommu: %s: INTx %s: %s\n", to_string(info().sbdf).c_str(), disabled ? "disable" : "enable",
                 to_string(status.error()).c_str());
}

void Device::function_level_reset() {
  if (const Status status = reset_function(); !status)
    std::fprintf(stderr, "pviommu: %s: function level reset: %s\n", to_string(info().sbdf).c_str(),
                 to_string(status.error()).c_str());
}

std::optional<RegionInfo> Device::region(std::uint32_t index) const {
  switch (index) {
    case VFIO_PCI_BAR0_REGION_INDEX ... VFIO_PCI_BAR5_REGION_INDEX: {
      const BarInfo bar = hardware_->bar(index);
      RegionInfo region;
      if (bar.size == 0) return region;
      region.size = bar.size;
      region.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
      if (bar.mappable && !bar.is_io) {
        region.flags |= VFIO_REGION_INFO_FLAG_MMAP;
        region.msix_mappable = capabilities_.msix && capabilities_.msix->table_bar == index;
        if (region.msix_mappable && shadow_ && !shadow_->fills_its_pages()) {
          region.table_pages_offset = shadow_->covered_pages().offset;
          region.table_pages_bytes = shadow_->covered_pages().bytes;
        }
      }
      return region;
    }
    case VFIO_PCI_ROM_REGION_INDEX: {
      const BarInfo rom = hardware_->bar(kPciRomIndex);
      return RegionInfo{.size = rom.size, .flags = rom.size ? std::uint32_t{VFIO_REGION_INFO_FLAG_READ} : 0};
    }
    case VFIO_PCI_CONFIG_REGION_INDEX:
      return RegionInfo{.size = config_->size(), .flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE};
    default:
      return std::nullopt;  // VGA included: legacy ranges belong to the host
  }
}

std::optional<IrqInfo> Device::irq(std::uint32_t index) const {
  constexpr std::uint32_t kMsi = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
  static_assert(PVIOMMU_NOTIFY_EVENTFD == bit(NotificationKind::sink) &&
                PVIOMMU_NOTIFY_EVENT_CHANNEL == bit(NotificationKind::event_channel) &&
                PVIOMMU_NOTIFY_GUEST_VECTOR == bit(NotificationKind::guest_vector));
  const std::uint32_t kinds = hypervisor_.capabilities().notifications;
  const int event_fd = kinds & PVIOMMU_NOTIFY_EVENT_CHANNEL ? hypervisor_.interrupts().event_fd() : -1;
  switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      return IrqInfo{router_.available(VectorKind::intx),
                     VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
                     kinds & PVIOMMU_NOTIFY_EVENTFD};
    case VFIO_PCI_MSI_IRQ_INDEX:
      return IrqInfo{router_.available(VectorKind::msi), kMsi, kinds, event_fd};
    case VFIO_PCI_MSIX_IRQ_INDEX:
      return IrqInfo{router_.available(VectorKind::msix), router_.can_grow() ? VFIO_IRQ_INFO_EVENTFD : kMsi, kinds,
                     event_fd};
    case VFIO_PCI_ERR_IRQ_INDEX:
      return IrqInfo{1, kMsi, PVIOMMU_NOTIFY_EVENTFD};
    case VFIO_PCI_REQ_IRQ_INDEX:
      return IrqInfo{1, kMsi, PVIOMMU_NOTIFY_EVENTFD};
    default:
      return std::nullopt;
  }
}

Result<MmapPieces> Device::mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags) {
  // A device's registers are not there to be executed.
  if (prot & PROT_EXEC) return Error{EPERM, "executable mmap of a region"};
  const std::uint64_t index = region_index(offset);
  const std::uint64_t at = within_region(offset);
  if ((flags & MAP_TYPE) != MAP_SHARED && (flags & MAP_TYPE) != MAP_SHARED_VALIDATE)
    return Error{EINVAL, "private mmap of a region"};
  if (index >= kPciBars) return Error{EINVAL, "mmap of a region that is no BAR"};
  const auto bar_index = static_cast<unsigned>(index);
  const BarInfo bar = hardware_->bar(bar_index);
  if (!bar.mappable || bar.is_io) return Error{EINVAL, "mmap of an unmappable BAR"};
  const std::uint64_t whole = (bar.size + kPageSize - 1) & ~(kPageSize - 1);
  if (!page_aligned(at) || bytes == 0 || bytes > whole || at > whole - bytes)
    return Error{EINVAL, "mmap beyond the BAR"};

  const BarMapping real = PVIOMMU_TRY(hardware_->bar_mapping(bar_index));
  using Kind = MmapPiece::Kind;
  MmapPieces pieces;
  const std::vector<msi::BarPiece> stretches =
      shadow_ ? shadow_->pages(bar_index, at, bytes) : std::vector<msi::BarPiece>{{at, bytes, false}};
  for (const msi::BarPiece& stretch : stretches) {
    if (stretch.shadowed) {
      const BarMapping shadow = shadow_->mapping(stretch.offset);
      pieces.push_back({shadow.fd, shadow.offset, stretch.bytes, shadow_->fills_its_pages() ? Kind::direct : Kind::table});
      continue;
    }
    // |-- watched --|== direct ==|-- watched --|
    const std::uint64_t direct_end =
        real.direct_bytes > bar.size - real.direct_offset ? whole : real.direct_offset + real.direct_bytes;
    const std::uint64_t end = stretch.offset + stretch.bytes;
    for (std::uint64_t from = stretch.offset; from < end;) {
      const bool direct = from >= real.direct_offset && from < direct_end;
      const std::uint64_t change = direct ? direct_end : from < real.direct_offset ? real.direct_offset : end;
      const std::uint64_t to = std::min(end, change);
      pieces.push_back({real.fd, real.offset + from, to - from, direct ? Kind::direct : Kind::watched});
      from = to;
    }
  }
  return pieces;
}

void Device::mapping_changed(std::uint64_t offset, int delta) {
  const std::uint64_t index = region_index(offset);
  if (index >= kPciBars) return;
  const std::lock_guard guard(lock_);
  const int before = mappings_[index];
  mappings_[index] += delta;
  if ((before == 0) != (mappings_[index] == 0))
    hardware_->bar_mapped(static_cast<unsigned>(index), mappings_[index] != 0);
}

Result<MmioPlace> Device::mmio_place(std::uint64_t file_offset) {
  const std::uint64_t index = region_index(file_offset);
  if (index >= kPciBars) return Error{EFAULT, "peer-to-peer map of a region that is no BAR"};
  const std::lock_guard guard(lock_);
  if (!config_->memory_enabled()) return Error{EFAULT, "peer-to-peer map with memory decoding off"};
  return MmioPlace{info().sbdf, static_cast<unsigned>(index), within_region(file_offset)};
}

}  // namespace pviommu::vfio
