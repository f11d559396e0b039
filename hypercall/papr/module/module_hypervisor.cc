// SPDX-License-Identifier: LGPL-2.1-or-later
// Which functions, windows and spaces there are (lock_), and the program's memory; what is
// entered in the windows is in module_mapping.cc.
#include "hypercall/papr/module/module_hypervisor.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "hypercall/conf.h"
#include "hypercall/papr/device_tree.h"
#include "hypercall/papr/module/open.h"
#include "hypercall/papr/module/open_device.h"
#include "hypercall/sysfs_bus.h"

namespace pviommu::papr {
namespace {

constexpr std::string_view kDriver = "pviommu-papr";

/// The functions with a window, and where.  They are viable when no driver has one
/// that shares it.
struct Found {
  PciDeviceInfo info;
  DmaWindow window;
};
Result<std::vector<Found>> find_functions(const std::string& sysfs) {
  std::vector<Found> out;
  for (PciDeviceInfo& info : PVIOMMU_TRY(list_pci_devices("papr", sysfs))) {
    auto window = window_of(sysfs, info.sbdf);
    if (!window) continue;
    const std::string group = sysfs_link_name(sysfs + "/bus/pci/devices/" + to_string(info.sbdf) + "/iommu_group");
    // Without CONFIG_IOMMU_API there are no groups; the window is what groups.
    info.group = group.empty() ? window->liobn.raw() & 0x7fffffff
                               : static_cast<unsigned>(std::strtoul(group.c_str(), nullptr, 10));
    out.push_back({std::move(info), *std::move(window)});
  }
  for (Found& one : out)
    one.info.viable = std::ranges::all_of(out, [&](const Found& other) {
      return other.window.node != one.window.node || other.info.driver.empty() || other.info.driver == kDriver;
    });
  return out;
}

}  // namespace

ModuleHypervisor::ModuleHypervisor(std::unique_ptr<ModuleCalls> calls, std::string sysfs)
    : calls_(std::move(calls)), sysfs_(std::move(sysfs)), vectors_(*calls_) {
  capabilities_.page_sizes = kPageSize;
  capabilities_.max_entries_per_call = kTcesPerCall;
  capabilities_.max_runs_per_call = kTcesPerCall;
  capabilities_.notifications = bit(NotificationKind::sink);
  capabilities_.vector_kinds = bit(VectorKind::msi) | bit(VectorKind::msix);
  capabilities_.pins_memory = true;
  // Of all windows: a space can get any of them.
  if (const auto found = find_functions(sysfs_)) {
    for (const Found& one : *found) {
      if (!one.info.viable) continue;
      if (capabilities_.iova_ranges.empty()) {
        capabilities_.iova_ranges.push_back(one.window.range);
        continue;
      }
      const IovaRange all = capabilities_.iova_ranges.front();
      const auto both = IovaRange::from_last(std::max(all.first(), one.window.range.first()),
                                             std::min(all.last(), one.window.range.last()));
      if (both) capabilities_.iova_ranges.front() = *both;  // else open_device() says no
    }
  }
}

Result<std::unique_ptr<Hypervisor>> open_over_module(std::string_view conf) {
  ConfError problem;
  const auto elements = parse_conf(conf, problem);
  std::string device = PVIOMMU_PAPR_DEVICE, sysfs = "/sys";
  if (problem.message.empty() && elements.size() > 1) problem.message = "one element expected, not several";
  if (problem.message.empty() && !elements.empty()) {
    ConfReader reader(elements.front());
    reader.choice("via", "module", {"module", "auto"});
    sysfs = reader.text("sysfs", sysfs);
    device = reader.text("device", device);
    problem.message = elements.front().head.empty() ? reader.finish() : "\"" + elements.front().head + "\" is no key";
  }
  if (!problem.message.empty())
    return Error{EINVAL, "papr: configuration"}.with_sentence("papr: " + problem.message);
  auto calls = PVIOMMU_TRY(open_module(device));
  return std::unique_ptr<Hypervisor>(std::make_unique<ModuleHypervisor>(std::move(calls), std::move(sysfs)));
}

// ---- devices -------------------------------------------------------------------

Result<std::vector<PciDeviceInfo>> ModuleHypervisor::devices() {
  std::vector<PciDeviceInfo> out;
  for (Found& one : PVIOMMU_TRY(find_functions(sysfs_))) out.push_back(std::move(one.info));
  return out;
}

Result<std::unique_ptr<PciDevice>> ModuleHypervisor::open_device(Sbdf sbdf) {
  return OpenDevice::open(*this, sbdf);
}

Result<std::unique_ptr<PciDevice>> ModuleHypervisor::OpenDevice::open(ModuleHypervisor& papr, Sbdf sbdf) {
  const auto all = PVIOMMU_TRY(find_functions(papr.sysfs_));
  const auto found = std::ranges::find(all, sbdf, [](const Found& one) { return one.info.sbdf; });
  if (found == all.end()) return Error{ENODEV, "open_device: no such function with a DMA window"};
  if (!found->info.viable) return Error{EBUSY, "open_device: a driver has it, or another function of its window"};
  auto lock = PVIOMMU_TRY(DeviceLock::acquire(found->info.lock));
  std::unique_ptr<OpenDevice> device(new OpenDevice(papr, sbdf, std::move(lock)));
  device->info_ = found->info;
  const WindowGeometry window = PVIOMMU_TRY(papr.calls_->claim(sbdf));
  device->claimed_ = true;
  PVIOMMU_TRY(papr.enter(sbdf, window));
  device->entered_ = true;
  PVIOMMU_TRY(device->start(sbdf, "papr", papr.sysfs_));
  return std::unique_ptr<PciDevice>(std::move(device));
}

ModuleHypervisor::OpenDevice::~OpenDevice() {
  give_back();
  if (entered_) papr_.leave(sbdf_);
  if (!claimed_) return;
  // Whatever was left attached or allocated ends here.
  if (const Status released = papr_.calls_->release(sbdf_); !released)
    std::fprintf(stderr, "pviommu: giving %s back: %s\n", to_string(sbdf_).c_str(),
                 to_string(released.error()).c_str());
}

Status ModuleHypervisor::enter(Sbdf sbdf, const WindowGeometry& geometry) {
  if (!TceWindow::valid(geometry) || geometry.page_shift != kPageShift)
    return Error{EINVAL, "open_device: a window that is none"};
  const auto range = IovaRange::from_size(Iova(geometry.first.raw()), geometry.entries << geometry.page_shift);
  if (!range || capabilities_.iova_ranges.empty() || !range->contains(capabilities_.iova_ranges.front()))
    return Error{EINVAL, "open_device: its window has other addresses than the others'"};
  const std::lock_guard guard(lock_);
  auto& window = windows_[geometry.liobn];
  if (!window) window = std::make_unique<Window>(*calls_, geometry);
  ++window->devices;
  devices_[sbdf] = {window.get(), false};
  return {};
}

void ModuleHypervisor::leave(Sbdf sbdf) noexcept {
  vectors_.forget(sbdf);
  const std::lock_guard guard(lock_);
  const auto found = devices_.find(sbdf);
  if (found == devices_.end()) return;
  Window& window = *found->second.window;
  if (found->second.attached && --window.attached == 0) {
    // Not detached: the module empties the window when the last function goes.
    const auto space = spaces_.find(window.space);
    if (space != spaces_.end()) std::erase(space->second->windows, &window);
  }
  devices_.erase(found);
  if (--window.devices == 0) windows_.erase(window.tces.geometry().liobn);
}

// ---- spaces --------------------------------------------------------------------

ModuleHypervisor::Space* ModuleHypervisor::find(SpaceId space) {
  const std::lock_guard guard(lock_);
  const auto found = spaces_.find(space);
  return found == spaces_.end() ? nullptr : found->second.get();
}

Result<SpaceId> ModuleHypervisor::create_space(const SpaceConfig&) {
  const std::lock_guard guard(lock_);
  const SpaceId id(next_space_++);
  spaces_[id] = std::make_unique<Space>();
  return id;
}

Status ModuleHypervisor::destroy_space(SpaceId space) {
  const std::lock_guard guard(lock_);
  const auto found = spaces_.find(space);
  if (found == spaces_.end()) return Error{ENOENT, "destroy_space: no such space"};
  if (!found->second->windows.empty()) return Error{EBUSY, "destroy_space: a device is attached"};
  spaces_.erase(found);
  return {};
}

Status ModuleHypervisor::attach(SpaceId id, Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  const auto space = spaces_.find(id);
  if (space == spaces_.end()) return Error{ENOENT, "attach: no such space"};
  const auto found = devices_.find(sbdf);
  if (found == devices_.end()) return Error{ENODEV, "attach: the device is not open"};
  Claimed& device = found->second;
  if (device.attached) return Error{EBUSY, "attach: the device is attached"};
  Window& window = *device.window;
  if (window.attached != 0 && window.space != id)
    return Error{EBUSY, "attach: a device with the same window is in another space"};
  if (window.attached == 0) {
    space->second->windows.reserve(space->second->windows.size() + 1);
    PVIOMMU_TRY(fill(window, space->second->runs));
    space->second->windows.push_back(&window);
    window.space = id;
  }
  ++window.attached;
  device.attached = true;
  return {};
}

Status ModuleHypervisor::detach(SpaceId id, Sbdf sbdf) {
  const std::lock_guard guard(lock_);
  const auto space = spaces_.find(id);
  const auto found = devices_.find(sbdf);
  if (space == spaces_.end() || found == devices_.end() || !found->second.attached ||
      found->second.window->space != id)
    return Error{ENOENT, "detach: the device is not there"};
  Window& window = *found->second.window;
  if (window.attached == 1) {
    PVIOMMU_TRY(empty(window, space->second->runs));  // when it fails, again from the start
    std::erase(space->second->windows, &window);
  }
  --window.attached;
  found->second.attached = false;
  return {};
}

// ---- memory --------------------------------------------------------------------

Status ModuleHypervisor::frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) {
  const std::size_t before = out.size();
  try {
    std::vector<std::uint64_t> frames(memory.pages());
    auto pin = calls_->pin(memory.range(), true, frames);
    // What the program cannot write to, the device may read.
    if (!pin && pin.error().code == EFAULT) pin = calls_->pin(memory.range(), false, frames);
    if (!pin) return pin.error();
    memory.hypervisor_note = *pin;
    for (const std::uint64_t address : frames) {
      const Mfn mfn(address >> kPageShift);
      if (out.size() > before && out.back().mfn + out.back().pages == mfn)
        ++out.back().pages;
      else
        out.push_back({mfn, 1});
    }
  } catch (const std::bad_alloc&) {
    out.resize(before);
    forget_frames(memory);
    return Error{ENOMEM, "frames_of"};
  }
  return {};
}

void ModuleHypervisor::forget_frames(PinnedMemory& memory) noexcept {
  if (memory.hypervisor_note == 0) return;
  const Status done = calls_->unpin(static_cast<std::uint32_t>(memory.hypervisor_note));
  memory.hypervisor_note = 0;
  // EBUSY: an entry is left that should not be; the module holds the pages until the end.
  if (!done) std::fprintf(stderr, "pviommu: pages stay pinned: %s\n", to_string(done.error()).c_str());
}

Status ModuleHypervisor::frames_of_mmio(Sbdf, unsigned, std::uint64_t, std::uint64_t, std::vector<FrameRun>&) {
  return Error{EOPNOTSUPP, "frames_of_mmio: only memory can be in a window"};
}

// ---- interrupts ----------------------------------------------------------------

Result<unsigned> ModuleHypervisor::allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) {
  return vectors_.allocate(sbdf, kind, count);
}

Status ModuleHypervisor::free_vectors(Sbdf sbdf, VectorKind kind) {
  return vectors_.free(sbdf, kind);
}

Status ModuleHypervisor::bind_vector(const Vector& vector, const Notification& notification) {
  if (notification.kind != NotificationKind::sink || notification.sink == nullptr)
    return Error{EOPNOTSUPP, "bind_vector: notification kind"};
  return vectors_.bind(vector, *notification.sink);
}

Status ModuleHypervisor::unbind_vector(const Vector& vector) {
  return vectors_.unbind(vector);
}

Status ModuleHypervisor::mask_vector(const Vector& vector) { return vectors_.mask(vector); }
Status ModuleHypervisor::unmask_vector(const Vector& vector) { return vectors_.unmask(vector); }

Status ModuleHypervisor::raise_vector(const Vector&) { return Error{EOPNOTSUPP, "raise_vector: bound to a sink"}; }

Result<std::unique_ptr<GuestBus>> ModuleHypervisor::guest_bus() { return Error{EOPNOTSUPP, "guest_bus: no guests"}; }

Result<EventPort> ModuleHypervisor::event_port(const Vector&) { return Error{ENOENT, "there are no event channels"}; }
Result<bool> ModuleHypervisor::vector_pending(const Vector& vector) { return vectors_.pending(vector); }

}  // namespace pviommu::papr
