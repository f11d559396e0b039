// SPDX-License-Identifier: LGPL-2.1-or-later
// Power through the kernel's VFIO: what `papr:via=vfio` is.
//
// The kernel makes the hcalls; this turns address spaces into its sPAPR
// containers, so that programs that know type1 only can run:
//
//   program       type1 MAP_DMA                     any address, any time
//     engine      address space, one for each container
//       here      space -> groups, one container each; v2: memory registered
//         kernel  VFIO_IOMMU_MAP_DMA                H_GET_TCE, H_PUT_TCE a page
//
// A frame is the address of the memory here (Mfn = Hva >> 12): the kernel finds
// and pins what is behind it, when it is mapped (v1) or registered (v2).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/hypervisor.h"
#include "hypercall/papr/run_shadow.h"
#include "hypercall/papr/vfio/kernel_device.h"
#include "hypercall/papr/vfio/kernel_group.h"
#include "hypercall/papr/vfio/kernel_vectors.h"
#include "hypercall/papr/vfio/platform.h"
#include "hypercall/papr/vfio/registered_memory.h"

namespace pviommu::spapr {

class SpaprHypervisor final : public Hypervisor, public Spaces, public Interrupts {
 public:
  struct Config {
    ContainerType container = ContainerType::v2;
    WindowChoice window;  ///< v2
    std::string sysfs = "/sys";
    std::string pagemap;  ///< v2, see RegisteredMemory
  };
  /// Takes nothing yet.  Errors have a sentence.
  static Result<std::unique_ptr<SpaprHypervisor>> open(const Config& config, std::unique_ptr<VfioCalls> calls);
  ~SpaprHypervisor() override;

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
  struct Space {
    std::mutex lock;  ///< taken after lock_ where both are
    papr::RunShadow runs;
    std::vector<KernelGroup*> groups;  ///< each holds all runs
  };
  struct OpenDevice {
    KernelGroup* group = nullptr;
    DeviceVectors vectors;
  };

  SpaprHypervisor(const Config& config, std::unique_ptr<VfioCalls> calls);
  Result<PlatformDevice> find_device(Sbdf sbdf) const;
  Result<KernelGroup*> group_of(const PlatformDevice& device);
  void close_unused(unsigned number) noexcept;
  void device_closed(Sbdf sbdf, unsigned group) noexcept;
  Space* find_space(SpaceId space);
  Status join(SpaceId id, Space& space, KernelGroup& group);
  Status leave(Space& space, KernelGroup& group);
  Status map_everywhere(Space& space, const MapRun& run);
  Status unmap_everywhere(Space& space, const UnmapRun& run, Access access);
  template <class Work>
  auto with_vectors(Sbdf sbdf, Work&& work) -> decltype(work(std::declval<DeviceVectors&>()));
  template <class Work>
  auto with_vectors(const Vector& vector, Work&& work) -> decltype(work(std::declval<DeviceVectors&>()));

  const Config config_;
  std::unique_ptr<VfioCalls> calls_;
  Capabilities capabilities_;
  RegisteredMemory memory_;
  std::mutex lock_;  ///< all below
  std::unique_ptr<KernelVectors> vectors_;
  std::map<unsigned, std::unique_ptr<KernelGroup>> groups_;
  std::map<SpaceId, std::unique_ptr<Space>> spaces_;
  std::map<Sbdf, OpenDevice> devices_;
  std::uint32_t next_space_ = 1;
};

}  // namespace pviommu::spapr
