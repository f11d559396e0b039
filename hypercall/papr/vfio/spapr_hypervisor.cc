// SPDX-License-Identifier: LGPL-2.1-or-later
// Devices, groups, spaces and mappings, in this order.  A map goes to every group of the
// space; when one refuses it, the groups before it are unmapped again.
//
// Locks: lock_ (devices, groups, which spaces there are), then Space::lock (its mappings).
#include "hypercall/papr/vfio/spapr_hypervisor.h"

#include <linux/vfio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>


namespace pviommu::spapr {
namespace {

std::uint64_t system_page() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

// ---- life --------------------------------------------------------------------------

SpaprHypervisor::SpaprHypervisor(const Config& config, std::unique_ptr<VfioCalls> calls)
    : config_(config), calls_(std::move(calls)), memory_(*calls_, system_page(), config.pagemap) {}

SpaprHypervisor::~SpaprHypervisor() = default;

Result<std::unique_ptr<SpaprHypervisor>> SpaprHypervisor::open(const Config& config,
                                                               std::unique_ptr<VfioCalls> calls) {
  auto container = calls->open("/dev/vfio/vfio");
  if (!container)
    return container.error().with_sentence(
        std::string("/dev/vfio/vfio: ") + std::strerror(container.error().code) +
        (container.error().code == ENOENT ? " (modprobe vfio-pci vfio_iommu_spapr_tce)" : ""));
  const std::uintptr_t type = config.container == ContainerType::v2 ? VFIO_SPAPR_TCE_v2_IOMMU : VFIO_SPAPR_TCE_IOMMU;
  const auto extension = calls->ioctl(container->get(), VFIO_CHECK_EXTENSION, type);
  if (!extension || *extension == 0)
    return Error{ENODEV, "check extension"}.with_sentence(
        "the kernel's VFIO has no sPAPR IOMMU (modprobe vfio_iommu_spapr_tce; Linux 6.11 or newer on a Power LPAR)");
  auto devices = list_platform_devices(config.sysfs);
  if (!devices) return devices.error().with_sentence("no PCI bus: " + to_string(devices.error()));

  std::unique_ptr<SpaprHypervisor> spapr(new SpaprHypervisor(config, std::move(calls)));
  Capabilities& limits = spapr->capabilities_;
  // What is in every window: of the devices that can be used, or else of all.
  const bool any_viable = std::ranges::any_of(*devices, [](const auto& device) { return device.info.viable; });
  std::optional<IovaRange> common;
  for (const PlatformDevice& device : *devices) {
    if (any_viable && !device.info.viable) continue;
    const IovaRange& window = device.default_window;
    const auto both = !common ? Result<IovaRange>(window)
                              : IovaRange::from_last(std::max(common->first(), window.first()), std::min(common->last(), window.last()));
    if (!both)
      return Error{EOPNOTSUPP, "windows"}.with_sentence(
          "the DMA windows of the devices have nothing in common: give fewer devices to vfio-pci");
    common = *both;
  }
  // A machine without a device still has limits to tell.
  if (!common) common = IovaRange::from_size(Iova(0), std::uint64_t{1} << 30).value();
  limits.iova_ranges = {*common};
  if (config.window.size != 0) {
    limits.iova_ranges.push_back(IovaRange::from_size(Iova(WindowChoice::kStart), config.window.size).value());
    limits.page_sizes |= std::uint64_t{1} << config.window.page_shift;
  }
  limits.notifications = bit(NotificationKind::sink);
  limits.pins_memory = true;
  return spapr;
}

// ---- devices and groups ------------------------------------------------------------

Result<std::vector<PciDeviceInfo>> SpaprHypervisor::devices() {
  std::vector<PciDeviceInfo> infos;
  for (PlatformDevice& device : PVIOMMU_TRY(list_platform_devices(config_.sysfs))) infos.push_back(std::move(device.info));
  return infos;
}

Result<PlatformDevice> SpaprHypervisor::find_device(Sbdf sbdf) const {
  for (PlatformDevice& device : PVIOMMU_TRY(list_platform_devices(config_.sysfs)))
    if (device.info.sbdf == sbdf) return std::move(device);
  return Error{ENODEV, "no such device"};
}

/// The device's group, opened when it is not; lock held.
Result<KernelGroup*> SpaprHypervisor::group_of(const PlatformDevice& device) {
  auto& slot = groups_[device.info.group];
  if (!slot) {
    auto opened = KernelGroup::open(*calls_, memory_, config_.container, device.info.group, device.default_window, config_.window);
    if (!opened) {
      groups_.erase(device.info.group);
      return opened.error();
    }
    slot = std::move(*opened);
  }
  return slot.get();
}

void SpaprHypervisor::close_unused(unsigned number) noexcept {
  const auto found = groups_.find(number);
  if (found != groups_.end() && !found->second->space && found->second->open_devices == 0) groups_.erase(found);
}

Result<std::unique_ptr<PciDevice>> SpaprHypervisor::open_device(Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  const auto open = [&]() -> Result<std::unique_ptr<PciDevice>> {
    if (devices_.contains(sbdf)) return Error{EBUSY, "open_device: the device is open"};
    if (!vectors_) vectors_ = PVIOMMU_TRY(KernelVectors::open(*calls_));
    PlatformDevice found = PVIOMMU_TRY(find_device(sbdf));
    KernelGroup* group = PVIOMMU_TRY(group_of(found));
    const unsigned number = group->number();
    const auto opened = [&]() -> Result<std::unique_ptr<KernelDevice>> {
      UniqueFd fd = PVIOMMU_TRY(group->open_device(sbdf));
      return KernelDevice::open(*calls_, std::move(found.info), std::move(fd), [this, sbdf, number] { device_closed(sbdf, number); });
    };
    auto device = opened();
    if (!device) {
      close_unused(number);
      return device.error();
    }
    ++group->open_devices;
    OpenDevice& entry = devices_[sbdf];
    entry.group = group;
    entry.vectors.sbdf = sbdf;
    entry.vectors.fd = (*device)->fd();
    return std::unique_ptr<PciDevice>(std::move(*device));
  };
  return open();
}

void SpaprHypervisor::device_closed(Sbdf sbdf, unsigned number) noexcept {
  const std::lock_guard guard(lock_);
  if (const auto device = devices_.find(sbdf); device != devices_.end()) {
    vectors_->close(device->second.vectors);
    devices_.erase(device);
  }
  if (const auto found = groups_.find(number); found != groups_.end()) {
    --found->second->open_devices;
    std::erase(found->second->attached, sbdf);
  }
  close_unused(number);
}

// ---- spaces ------------------------------------------------------------------------

SpaprHypervisor::Space* SpaprHypervisor::find_space(SpaceId space) {
  const std::lock_guard guard(lock_);
  const auto found = spaces_.find(space);
  return found == spaces_.end() ? nullptr : found->second.get();
}

Result<SpaceId> SpaprHypervisor::create_space(const SpaceConfig& config) {
  const std::lock_guard guard(lock_);
  const SpaceId id(next_space_++);
  auto space = std::make_unique<Space>();
  // The groups that are known to come, now: memory is pinned from its map on.
  for (const Sbdf sbdf : config.devices) {
    const auto joined = [&]() -> Status {
      KernelGroup* group = PVIOMMU_TRY(group_of(PVIOMMU_TRY(find_device(sbdf))));
      return group->space == id ? Status{} : join(id, *space, *group);
    }();
    if (joined) continue;
    for (KernelGroup* group : std::vector(space->groups)) {
      const unsigned number = group->number();
      (void)leave(*space, *group);
      close_unused(number);
    }
    return joined.error();
  }
  spaces_.emplace(id, std::move(space));
  return id;
}

Status SpaprHypervisor::destroy_space(SpaceId id) {
  const std::lock_guard guard(lock_);
  const auto found = spaces_.find(id);
  if (found == spaces_.end()) return Error{ENOENT, "destroy_space: no such space"};
  Space& space = *found->second;
  if (std::ranges::any_of(space.groups, [](const KernelGroup* group) { return !group->attached.empty(); }))
    return Error{EBUSY, "destroy_space: a device is attached"};
  for (KernelGroup* group : std::vector(space.groups)) {
    const unsigned number = group->number();
    if (const Status left = leave(space, *group); !left) return left;
    close_unused(number);
  }
  spaces_.erase(found);
  return {};
}

/// The group gets all that the space holds; lock held.
Status SpaprHypervisor::join(SpaceId id, Space& space, KernelGroup& group) {
  if (group.space) {
    if (!group.attached.empty()) return Error{EBUSY, "attach: the device's group is in another space"};
    if (const auto other = spaces_.find(*group.space); other != spaces_.end()) PVIOMMU_TRY(leave(*other->second, group));
  }
  const std::lock_guard guard(space.lock);
  space.groups.reserve(space.groups.size() + 1);
  for (auto at = space.runs.begin(); at != space.runs.end(); ++at) {
    const Status mapped = group.map(at->second);
    if (mapped) continue;
    bool certain = true;
    while (at != space.runs.begin()) {
      --at;
      certain = group.unmap({at->second.dfn, at->second.mfn, at->second.pages}) && certain;
    }
    if (!certain) return Error{EIO, "attach: state lost", mapped.error().raw, true};
    return mapped;
  }
  space.groups.push_back(&group);
  group.space = id;
  return {};
}

/// The group has nothing of the space any more, or all of it as before.
Status SpaprHypervisor::leave(Space& space, KernelGroup& group) {
  const std::lock_guard guard(space.lock);
  for (auto at = space.runs.begin(); at != space.runs.end(); ++at) {
    const Status unmapped = group.unmap({at->second.dfn, at->second.mfn, at->second.pages});
    if (unmapped) continue;
    while (at != space.runs.begin()) {
      --at;
      (void)group.map(at->second);
    }
    return unmapped;
  }
  std::erase(space.groups, &group);
  group.space.reset();
  return {};
}

Status SpaprHypervisor::attach(SpaceId id, Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  const auto attached = [&]() -> Status {
    const auto found = spaces_.find(id);
    if (found == spaces_.end()) return Error{ENOENT, "attach: no such space"};
    const auto device = devices_.find(sbdf);
    if (device == devices_.end()) return Error{ENODEV, "attach: the device is not open"};
    KernelGroup* group = device->second.group;
    if (std::ranges::find(group->attached, sbdf) != group->attached.end()) return Error{EBUSY, "attach: attached"};
    if (group->space != id) PVIOMMU_TRY(join(id, *found->second, *group));
    group->attached.push_back(sbdf);
    return {};
  };
  return attached();
}

/// The group stays in the space: its devices are not on the bus without us, and
/// another space that wants it gets it.
Status SpaprHypervisor::detach(SpaceId id, Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  for (const auto& [number, group] : groups_)
    if (group->space == id && std::erase(group->attached, sbdf) != 0) return {};
  return Error{ENOENT, "detach: the device is not there"};
}

// ---- mappings ----------------------------------------------------------------------

Status SpaprHypervisor::map_everywhere(Space& space, const MapRun& run) {
  for (std::size_t i = 0; i < space.groups.size(); ++i) {
    const Status mapped = space.groups[i]->map(run);
    if (mapped) continue;
    bool certain = true;
    while (i-- > 0) certain = space.groups[i]->unmap({run.dfn, run.mfn, run.pages}) && certain;
    if (!certain) return Error{EIO, "map: state lost", mapped.error().raw, true};
    return mapped;
  }
  return {};
}

Status SpaprHypervisor::unmap_everywhere(Space& space, const UnmapRun& run, Access access) {
  for (std::size_t i = 0; i < space.groups.size(); ++i) {
    const Status unmapped = space.groups[i]->unmap(run);
    if (unmapped) continue;
    bool restored = true;
    while (i-- > 0) restored = space.groups[i]->map({run.dfn, run.mfn, run.pages, access}) && restored;
    if (!restored) return Error{EIO, "unmap: state lost", unmapped.error().raw, true};
    return unmapped;
  }
  return {};
}

BatchResult SpaprHypervisor::map(SpaceId id, std::span<const MapRun> runs) {
  BatchResult result;
  Space* space = find_space(id);
  if (space == nullptr) return {0, Error{ENOENT, "map: no such space"}};
  const std::lock_guard guard(space->lock);
  for (const MapRun& run : runs) {
    try {
      result.status = space->runs.insert(run);
    } catch (const std::bad_alloc&) {
      result.status = Error{ENOMEM, "map"};
    }
    if (result.status) {
      result.status = map_everywhere(*space, run);
      if (!result.status) space->runs.erase({run.dfn, run.mfn, run.pages});
    }
    if (!result.status) break;
    result.pages_done += run.pages;
  }
  return result;
}

BatchResult SpaprHypervisor::unmap(SpaceId id, std::span<const UnmapRun> runs) {
  BatchResult result;
  Space* space = find_space(id);
  if (space == nullptr) return {0, Error{ENOENT, "unmap: no such space"}};
  const std::lock_guard guard(space->lock);
  for (const UnmapRun& run : runs) {
    const auto access = space->runs.find(run);
    result.status = access ? unmap_everywhere(*space, run, *access) : Status(access.error());
    if (!result.status) break;
    try {
      space->runs.erase(run);
    } catch (const std::bad_alloc&) {
      // The kernel is without it, we are not: it would be refused from now on.
      result.status = Error{EIO, "unmap: state lost", 0, true};
      break;
    }
    result.pages_done += run.pages;
  }
  return result;
}

/// The kernel flushes with each call.
Status SpaprHypervisor::flush(SpaceId id) {
  return find_space(id) != nullptr ? Status{} : Status(Error{ENOENT, "flush: no such space"});
}

Status SpaprHypervisor::frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) {
  if (config_.container == ContainerType::v2)
    if (const Status added = memory_.add(memory.range()); !added) return added;
  out.push_back({Mfn(memory.range().first().raw() >> kPageShift), memory.pages()});
  return {};
}

void SpaprHypervisor::forget_frames(PinnedMemory& memory) noexcept {
  if (config_.container == ContainerType::v2) memory_.remove(memory.range());
}

Status SpaprHypervisor::frames_of_mmio(Sbdf, unsigned, std::uint64_t, std::uint64_t, std::vector<FrameRun>&) {
  return Error{EOPNOTSUPP, "frames_of_mmio: TCEs name memory only"};
}

// ---- interrupts --------------------------------------------------------------------

template <class Work>
auto SpaprHypervisor::with_vectors(Sbdf sbdf, Work&& work) -> decltype(work(std::declval<DeviceVectors&>())) {
  DeviceVectors* vectors = nullptr;
  {
    const std::lock_guard guard(lock_);
    const auto found = devices_.find(sbdf);
    if (found == devices_.end()) return Error{ENODEV, "the device is not open"};
    vectors = &found->second.vectors;
  }
  return work(*vectors);
}

template <class Work>
auto SpaprHypervisor::with_vectors(const Vector& vector, Work&& work) -> decltype(work(std::declval<DeviceVectors&>())) {
  return with_vectors(vector.sbdf, [&](DeviceVectors& device) -> decltype(work(device)) {
    if (device.slots.empty() || device.kind != vector.kind) return Error{ENOENT, "no such vector"};
    return work(device);
  });
}

Result<unsigned> SpaprHypervisor::allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) {
  return with_vectors(sbdf, [&](DeviceVectors& device) { return vectors_->allocate(device, kind, count); });
}

Status SpaprHypervisor::free_vectors(Sbdf sbdf, VectorKind kind) {
  return with_vectors(Vector{sbdf, kind, 0}, [&](DeviceVectors& device) { return vectors_->free(device); });
}

Status SpaprHypervisor::bind_vector(const Vector& vector, const Notification& notification) {
  if (notification.kind != NotificationKind::sink || notification.sink == nullptr)
    return Error{EOPNOTSUPP, "bind_vector: notification kind"};
  return with_vectors(vector, [&](DeviceVectors& device) {
    return vectors_->bind(device, vector.index, *notification.sink);
  });
}

Status SpaprHypervisor::unbind_vector(const Vector& vector) {
  return with_vectors(vector, [&](DeviceVectors& device) { return vectors_->unbind(device, vector.index); });
}

Status SpaprHypervisor::mask_vector(const Vector& vector) {
  return with_vectors(vector, [&](DeviceVectors& device) { return vectors_->mask(device, vector.index); });
}

Status SpaprHypervisor::unmask_vector(const Vector& vector) {
  return with_vectors(vector, [&](DeviceVectors& device) { return vectors_->unmask(device, vector.index); });
}

Result<bool> SpaprHypervisor::vector_pending(const Vector& vector) {
  return with_vectors(vector, [&](DeviceVectors& device) { return vectors_->pending(device, vector.index); });
}

Status SpaprHypervisor::raise_vector(const Vector&) { return Error{EOPNOTSUPP, "raise_vector: bound to a sink"}; }

Result<std::unique_ptr<GuestBus>> SpaprHypervisor::guest_bus() { return Error{EOPNOTSUPP, "guest_bus: no guests"}; }

Result<EventPort> SpaprHypervisor::event_port(const Vector&) { return Error{ENOENT, "there are no event channels"}; }

}  // namespace pviommu::spapr
