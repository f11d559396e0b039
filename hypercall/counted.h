// SPDX-License-Identifier: LGPL-2.1-or-later
// Any hypervisor, with its calls counted.
//
//   vfio-glue, pviommu/, msi/  ->  Counted  ->  the backend
//                                     |
//                                     +-- Statistics: calls, failures, time
//
// open_hypervisor() puts it round whatever it opens, so a backend counts nothing
// itself, and a third party's module is counted like the ones of this tree.
#pragma once

#include <memory>

#include "hypercall/hypervisor.h"
#include "hypercall/statistics.h"

namespace pviommu {

/// Counts one call, from construction to destruction, and its time while
/// Statistics::timed is set.  Lock-free.
class HypercallTimer {
 public:
  explicit HypercallTimer(HypercallOp op) noexcept;
  ~HypercallTimer();
  HypercallTimer(const HypercallTimer&) = delete;
  HypercallTimer& operator=(const HypercallTimer&) = delete;
  void failed() noexcept;  ///< at most once

 private:
  HypercallOp op_;
  std::uint64_t start_ = 0;
};

/// Passes every call on and changes nothing about it.  What is counted is what has
/// a HypercallOp: questions (vector_pending(), event_port() ...) are not.  frames_of()
/// is counted where the hypervisor pins in it (Capabilities::pins_memory); elsewhere
/// it is no call of the hypervisor's.
///
/// Concurrency: that of the hypervisor it holds.
class Counted final : public Hypervisor, private Spaces, private Interrupts {
 public:
  /// `hypervisor` is not null.
  explicit Counted(std::unique_ptr<Hypervisor> hypervisor);

  /// The one inside.
  Hypervisor& inner() { return *hypervisor_; }

  std::string_view name() const override { return hypervisor_->name(); }
  const Capabilities& capabilities() const override { return hypervisor_->capabilities(); }
  Result<std::vector<PciDeviceInfo>> devices() override { return hypervisor_->devices(); }
  /// The device's resets are counted, too.
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf sbdf) override;
  Result<std::unique_ptr<GuestBus>> guest_bus() override { return hypervisor_->guest_bus(); }
  Spaces& spaces() override { return *this; }
  Interrupts& interrupts() override { return *this; }

 private:
  Result<SpaceId> create_space(const SpaceConfig& config) override;
  Status destroy_space(SpaceId space) override;
  Status attach(SpaceId space, Sbdf sbdf) override;
  Status detach(SpaceId space, Sbdf sbdf) override;
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
  int event_fd() const override;

  std::unique_ptr<Hypervisor> hypervisor_;
  Spaces& spaces_;
  Interrupts& interrupts_;
};

}  // namespace pviommu
