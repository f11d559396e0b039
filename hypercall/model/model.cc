// SPDX-License-Identifier: LGPL-2.1-or-later
// Address spaces and faults of the model, and its entry in the registry.
#include "hypercall/model/model.h"

#include <algorithm>

namespace pviommu::model {

Model::~Model() {
  // Device threads go first: they use everything else.
  devices_.clear();
  for (auto& space : spaces_) delete space.load();
}

// ---- address spaces -----------------------------------------------------------

Model::Space* Model::find(SpaceId space) const {
  Space* found = spaces_[space.raw() & ((1u << kSpaceBits) - 1)].load(std::memory_order_acquire);
  return found != nullptr && found->id == space ? found : nullptr;
}

Result<SpaceId> Model::create_space(const SpaceConfig& config) {
  CallLog::Call call(calls_, HypercallOp::create_space, 0);
  return call.run([&]() -> Result<SpaceId> {
    std::lock_guard guard(spaces_lock_);
    if (options_.most_spaces != 0 && spaces_live_ >= options_.most_spaces)
      return Error{ENOSPC, "create_space: no address space left"};
    for (unsigned tried = 0; tried < spaces_.size(); ++tried) {
      const SpaceId id(++spaces_made_);
      auto& place = spaces_[id.raw() & ((1u << kSpaceBits) - 1)];
      if (place.load() != nullptr) continue;
      Space* space = new (std::nothrow) Space(id, config.tag, options_, frames_);
      if (space == nullptr) return Error{ENOMEM, "create_space"};
      place.store(space, std::memory_order_release);
      ++spaces_live_;
      call.target(id.raw());
      return id;
    }
    return Error{ENOSPC, "create_space: no address space left"};
  });
}

Status Model::destroy_space(SpaceId id) {
  CallLog::Call call(calls_, HypercallOp::destroy_space, id.raw());
  return call.run([&] { return do_destroy(id); });
}

Status Model::do_destroy(SpaceId id) {
  std::lock_guard guard(spaces_lock_);
  Space* space = find(id);
  if (space == nullptr) return Error{ENOENT, "destroy_space: no such space"};
  if (space->attached != 0) return Error{EBUSY, "destroy_space: a device is attached"};
  spaces_[id.raw() & ((1u << kSpaceBits) - 1)].store(nullptr);
  --spaces_live_;
  delete space;
  return {};
}

Status Model::attach(SpaceId id, Sbdf sbdf) {
  CallLog::Call call(calls_, HypercallOp::attach, sbdf.raw());
  return call.run([&] { return do_attach(id, sbdf); });
}

Status Model::do_attach(SpaceId id, Sbdf sbdf) {
  std::lock_guard guard(spaces_lock_);
  Space* space = find(id);
  if (space == nullptr) return Error{ENOENT, "attach: no such space"};
  {
    std::lock_guard calls(space->calls);
    if (space->dead) return Error{EIO, "attach: the space is dead"};
  }
  Device* device = find(sbdf);
  if (device == nullptr) return Error{ENODEV, "attach: no such device"};
  if (!device->info.viable) return Error{EBUSY, "attach: the group is in use by the host"};
  std::lock_guard dma(device->dma);
  if (device->space != nullptr) return Error{EBUSY, "attach: attached already"};
  device->space = space;
  ++space->attached;
  return {};
}

Status Model::detach(SpaceId id, Sbdf sbdf) {
  CallLog::Call call(calls_, HypercallOp::detach, sbdf.raw());
  return call.run([&] { return do_detach(id, sbdf); });
}

// A dead space lets go of its devices, too: else nothing of it could be undone.
Status Model::do_detach(SpaceId id, Sbdf sbdf) {
  std::lock_guard guard(spaces_lock_);
  Space* space = find(id);
  if (space == nullptr) return Error{ENOENT, "detach: no such space"};
  Device* device = find(sbdf);
  if (device == nullptr) return Error{ENODEV, "detach: no such device"};
  std::lock_guard dma(device->dma);
  if (device->space != space) return Error{ENODEV, "detach: not attached there"};
  device->space = nullptr;
  --space->attached;
  return {};
}

Model::SpaceUse Model::space_use(SpaceId id) {
  std::lock_guard guard(spaces_lock_);
  SpaceUse use;
  Space* space = find(id);
  if (space == nullptr) return use;
  std::lock_guard calls(space->calls);
  use.pages = space->table.live_pages();
  for (unsigned level = 0; level < PageTable::kLeafLevels; ++level)
    use.entries[level] = space->table.leaves(level);
  return use;
}

unsigned Model::live_spaces() {
  std::lock_guard guard(spaces_lock_);
  return spaces_live_;
}

// ---- faults -------------------------------------------------------------------

Status Model::fault(Sbdf source, Iova iova, Access access, FaultReason reason) {
  count_fault({source, iova, access, reason});
  {
    std::lock_guard guard(faults_lock_);
    if (faults_.size() < kFaultLog) faults_.push_back({source, iova, access, reason});
  }
  return Error{EFAULT, to_string(reason)};
}

std::size_t Model::read_faults(std::span<Fault> out) {
  std::lock_guard guard(faults_lock_);
  const std::size_t taken = std::min(out.size(), faults_.size());
  std::copy_n(faults_.begin(), taken, out.begin());
  faults_.erase(faults_.begin(), faults_.begin() + static_cast<std::ptrdiff_t>(taken));
  return taken;
}

// ---- registry -----------------------------------------------------------------

namespace {

void* open_model(const pviommu_open_args* args, int* error) {
  return open_for_module<Hypervisor>(args, error, &Model::open);
}

const pviommu_module kEntry = {sizeof(pviommu_module),
                               PVIOMMU_MODULE_API_VERSION,
                               PVIOMMU_MODULE_HYPERVISOR,
                               "model",
                               "reference hypervisor in this process, with nvme, edu and virtio-net devices",
                               &open_model,
                               nullptr,
                               nullptr,
                               nullptr,
                               nullptr};

const bool registered = (register_builtin_module(&kEntry), true);

}  // namespace
}  // namespace pviommu::model
