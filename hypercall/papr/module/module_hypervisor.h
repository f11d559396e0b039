// SPDX-License-Identifier: LGPL-2.1-or-later
// Power through our own kernel module: what `papr:via=module` is.
//
//   space     what is mapped, by runs             run_shadow.h
//   window    a LIOBN of claimed functions        ../core/tce_window.h over port.h
//   frames    pinned by the module                calls.h
//   device    sysfs, claimed from the kernel      ../sysfs_device.h
//   vectors   MSIs, by read()                     vectors.h
//
// Functions behind one window are in one space: the hypervisor does not tell them
// apart.  A space may have several windows; every mapping is in each of them, or in
// none.  Mappings made before a function is attached are filled in when it is.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hypercall/device_lock.h"
#include "hypercall/hypervisor.h"
#include "hypercall/papr/module/port.h"
#include "hypercall/papr/module/vectors.h"
#include "hypercall/papr/run_shadow.h"
#include "hypercall/papr/core/tce_window.h"
#include "hypercall/sysfs_device.h"

namespace pviommu::papr {

class ModuleHypervisor final : public Hypervisor, public Spaces, public Interrupts {
 public:
  ModuleHypervisor(std::unique_ptr<ModuleCalls> calls, std::string sysfs);

  std::string_view name() const override { return "papr"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Result<std::vector<PciDeviceInfo>> devices() override;
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf sbdf) override;
  Result<std::unique_ptr<GuestBus>> guest_bus() override;
  Spaces& spaces() override { return *this; }
  Interrupts& interrupts() override { return *this; }

  Result<SpaceId> create_space(const SpaceConfig& config) override;
  Status destroy_space(SpaceId space) override;
  Status attach(SpaceId space, Sbdf sbdf) override;
  Status detach(SpaceId space, Sbdf sbdf) override;
  /// All or nothing, each call.
  BatchResult map(SpaceId space, std::span<const MapRun> runs) override;
  BatchResult unmap(SpaceId space, std::span<const UnmapRun> runs) override;
  Status flush(SpaceId space) override;
  Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) override;
  void forget_frames(PinnedMemory& memory) noexcept override;
  Status frames_of_mmio(Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t bytes,
                        std::vector<FrameRun>& out) override;

  Result<unsigned> allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) override;
  Status free_vectors(Sbdf sbdf, VectorKind kind) override;
  Status bind_vector(const Vector& vector, const Notification& notification) override;
  Status unbind_vector(const Vector& vector) override;
  Status mask_vector(const Vector& vector) override;
  Status unmask_vector(const Vector& vector) override;
  Result<bool> vector_pending(const Vector& vector) override;
  Status raise_vector(const Vector& vector) override;
  Result<EventPort> event_port(const Vector& vector) override;
  int event_fd() const override { return -1; }

 private:
  class OpenDevice;
  friend class OpenDevice;

  /// Of the functions of this process that share it.
  struct Window {
    Window(ModuleCalls& calls, const WindowGeometry& geometry) : port(calls), tces(port, geometry) {}
    ModulePort port;
    TceWindow tces;
    unsigned devices = 0;    ///< open
    unsigned attached = 0;   ///< of them
    SpaceId space{};         ///< when `attached`
  };
  /// Its calls are serialised by the caller; that it is there is lock_'s.
  struct Space {
    RunShadow runs;
    std::vector<Window*> windows;
  };
  struct Claimed {
    Window* window = nullptr;
    bool attached = false;
  };

  Space* find(SpaceId space);
  Status enter(Sbdf sbdf, const WindowGeometry& geometry);
  void leave(Sbdf sbdf) noexcept;
  Status fill(Window& window, const RunShadow& runs);
  Status empty(Window& window, const RunShadow& runs);
  Status map_group(Space& space, std::span<const MapRun> group);
  Status unmap_group(Space& space, std::span<const UnmapRun> group);
  bool put_back(const Space& space, Window& window, std::span<const UnmapRun> group, std::uint64_t pages);
  bool clear_group(Space& space, std::span<const MapRun> group);
  BatchResult do_map(Space& space, std::span<const MapRun> runs);
  BatchResult do_unmap(Space& space, std::span<const UnmapRun> runs);

  std::unique_ptr<ModuleCalls> calls_;
  const std::string sysfs_;
  Capabilities capabilities_;
  ModuleVectors vectors_;

  std::mutex lock_;  ///< all below
  std::map<Liobn, std::unique_ptr<Window>> windows_;
  std::map<Sbdf, Claimed> devices_;  ///< open ones
  std::map<SpaceId, std::unique_ptr<Space>> spaces_;
  std::uint32_t next_space_ = 1;
};

}  // namespace pviommu::papr
