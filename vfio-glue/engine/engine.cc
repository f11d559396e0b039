// SPDX-License-Identifier: LGPL-2.1-or-later
// From the environment to an engine: the hypervisor and the IOMMU driver by their names, the
// frame source that the hypervisor wants, then the groups.
#include "vfio-glue/engine/engine.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>

#include "hypercall/backend.h"
#include "pviommu/named_memory.h"
#include "vfio-glue/engine/container.h"
#include "vfio-glue/engine/device_node.h"
#include "vfio-glue/engine/group.h"

namespace pviommu::vfio {
namespace {

class EngineImpl final : public Engine, private GroupOwner {
 public:
  explicit EngineImpl(EngineConfig config) : config_(std::move(config)) {}

  Status open() {
    hypervisor_ = PVIOMMU_TRY(open_hypervisor(config_.hypervisor));
    driver_ = PVIOMMU_TRY(open_iommu_driver(config_.iommu_driver, *hypervisor_));

    std::string notice;
    if (hypervisor_->capabilities().pins_memory) {
      frames_ = make_naming_source();
    } else {
      ChosenFrames chosen = PVIOMMU_TRY(make_frame_source(config_.frame_source));
      frames_ = std::move(chosen.source);
      notice = std::move(chosen.notice);
    }
    if (hypervisor_->capabilities().held_frames_only && !frames_->holds_pages())
      return Error{EOPNOTSUPP, "frame source"}.with_sentence(
          "'" + config_.hypervisor + "' needs memory that is really held, and the frame source '" +
          std::string(frames_->name()) + "' holds none: a kernel with io_uring (sysctl kernel.io_uring_disabled=0) does");
    if (!notice.empty() && !config_.quiet) std::fprintf(stderr, "pviommu: %s\n", notice.c_str());

    auto devices = hypervisor_->devices();
    if (!devices)
      return devices.error().with_sentence("cannot list the devices of '" + config_.hypervisor +
                                           "': " + to_string(devices.error()));
    for (auto& info : *devices) {
      nodes_.push_back({info.group, info.sbdf});
      auto& slot = groups_[info.group];
      slot.number = info.group;
      slot.devices.push_back(std::move(info));
    }
    return {};
  }

  Hypervisor& hypervisor() override { return *hypervisor_; }
  IommuDriver& iommu_driver() override { return *driver_; }
  FrameSource& frames() override { return *frames_; }

  Result<FileRef> open_container() override {
    if (!config_.interfaces.group) return Error{ENOENT, "open container"};
    return FileRef(new Container(*driver_, hypervisor_->spaces(), *frames_, config_));
  }

  Result<FileRef> open_group(unsigned group) override {
    if (!config_.interfaces.group) return Error{ENOENT, "open group"};
    const std::lock_guard guard(lock_);
    const auto found = groups_.find(group);
    if (found == groups_.end()) return Error{ENOENT, "open group"};
    if (found->second.open || found->second.blocked != 0) return Error{EBUSY, "open group"};
    // A program of another run has one of its devices; the device's own lock
    // decides in the end (Hypervisor::open_device).
    for (const PciDeviceInfo& info : found->second.devices) {
      if (info.lock.empty()) continue;
      const auto owner = DeviceLock::owner(info.lock);
      if (owner && owner->has_value()) return Error{EBUSY, "open group"};
    }
    PVIOMMU_TRY(keep_others_out(found->second));
    FileRef file(new Group(*hypervisor_, config_, found->second, *this));
    found->second.open = true;
    return file;
  }

  Result<FileRef> open_iommufd() override {
    if (!config_.interfaces.cdev) return Error{ENOENT, "open iommufd"};
    return FileRef(new Iommufd(*hypervisor_, *driver_, *frames_, config_));
  }

  Result<FileRef> open_device_node(unsigned number) override {
    if (!config_.interfaces.cdev || number >= nodes_.size()) return Error{ENOENT, "open device"};
    GroupSlot& slot = groups_.at(nodes_[number].first);
    const auto info = std::ranges::find(slot.devices, nodes_[number].second, &PciDeviceInfo::sbdf);
    return FileRef(new DeviceNode(slot, *this, *info));
  }

 private:
  /// The lock_ held.
  Status keep_others_out(GroupSlot& slot) {
    if (!config_.session.empty() && !slot.lock)
      slot.lock = PVIOMMU_TRY(DeviceLock::acquire("group-" + std::to_string(slot.number), config_.session));
    return {};
  }

  Status block_group(GroupSlot& slot) override {
    const std::lock_guard guard(lock_);
    if (slot.open) return Error{EBUSY, "BIND_IOMMUFD: the group is open"};
    PVIOMMU_TRY(keep_others_out(slot));
    ++slot.blocked;
    return {};
  }

  void unblock_group(GroupSlot& slot) override {
    const std::lock_guard guard(lock_);
    if (--slot.blocked == 0) slot.lock.reset();
  }

  Status claim_device(GroupSlot& slot, Sbdf sbdf, const void* iommufd) override {
    const std::lock_guard guard(lock_);
    if (std::ranges::count(slot.bound, sbdf) != 0) return Error{EINVAL, "BIND_IOMMUFD: bound already"};
    if (!slot.bound.empty() && slot.iommufd != iommufd) return Error{EBUSY, "BIND_IOMMUFD: the group is another iommufd's"};
    if (!std::ranges::all_of(slot.devices, &PciDeviceInfo::viable)) return Error{EBUSY, "BIND_IOMMUFD: the group is not viable"};
    slot.bound.push_back(sbdf);
    slot.iommufd = iommufd;
    return {};
  }

  void release_device(GroupSlot& slot, Sbdf sbdf) override {
    const std::lock_guard guard(lock_);
    std::erase(slot.bound, sbdf);
  }

  void group_closed(GroupSlot& slot) override {
    const std::lock_guard guard(lock_);
    slot.open = false;
    slot.lock.reset();
  }

  const EngineConfig config_;
  // In order of dependency: the hypervisor goes last.
  std::unique_ptr<Hypervisor> hypervisor_;
  std::unique_ptr<IommuDriver> driver_;
  std::unique_ptr<FrameSource> frames_;
  std::mutex lock_;
  std::map<unsigned, GroupSlot> groups_;
  std::vector<std::pair<unsigned, Sbdf>> nodes_;  ///< group and address of each, in their order; constant
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const EngineConfig& config) {
  auto engine = std::make_unique<EngineImpl>(config);
  PVIOMMU_TRY(engine->open());
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace pviommu::vfio
