// SPDX-License-Identifier: LGPL-2.1-or-later
// From the environment to an engine: the hypervisor and the IOMMU driver by their names, the
// frame source that the hypervisor wants, then the groups.
#include "vfio-glue/engine/engine.h"

#include <cstdio>
#include <map>
#include <mutex>

#include "hypercall/backend.h"
#include "pviommu/named_memory.h"
#include "vfio-glue/engine/container.h"
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
    return FileRef(new Container(*driver_, hypervisor_->spaces(), *frames_, config_));
  }

  Result<FileRef> open_group(unsigned group) override {
    const std::lock_guard guard(lock_);
    const auto found = groups_.find(group);
    if (found == groups_.end()) return Error{ENOENT, "open group"};
    if (found->second.open) return Error{EBUSY, "open group"};
    // A program of another run has one of its devices; the device's own lock
    // decides in the end (Hypervisor::open_device).
    for (const PciDeviceInfo& info : found->second.devices) {
      if (info.lock.empty()) continue;
      const auto owner = DeviceLock::owner(info.lock);
      if (owner && owner->has_value()) return Error{EBUSY, "open group"};
    }
    if (!config_.session.empty())
      found->second.lock = PVIOMMU_TRY(DeviceLock::acquire("group-" + std::to_string(group), config_.session));
    FileRef file(new Group(*hypervisor_, config_, found->second, *this));
    found->second.open = true;
    return file;
  }

 private:
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
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const EngineConfig& config) {
  auto engine = std::make_unique<EngineImpl>(config);
  PVIOMMU_TRY(engine->open());
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace pviommu::vfio
