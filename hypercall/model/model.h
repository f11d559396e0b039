// SPDX-License-Identifier: LGPL-2.1-or-later
// The model hypervisor: a machine with PCI devices, in this process.
//
//   Hypervisor calls ->  Model  -> PageTable      one for each address space
//                          |    -> FrameTable     what a frame number stands for
//                          |    -> MsiRouting     which message is which vector
//                          |    -> PciFunction    the devices
//   device DMA      -> Bus-'
//
// It is strict: it checks what a real hypervisor checks, and also what a real
// one lets pass and later pays for (frames given back while mapped, removals
// with a wrong frame).  Those are counted in Violations.
//
// Locks, in the order they may be taken:
//   a function's lock   (devices call the bus with it held)
//   spaces_lock_        which spaces exist, who is attached
//   Device::dma         shared for one access, alone to attach and detach
//   Space::calls        one change of mappings at a time
//   Space::reach        shared for one access, alone to unmap: when unmap has
//                       it no access is under way
// A device's lock is never wanted while one of the others is held.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "hypercall/backend.h"
#include "hypercall/device_lock.h"
#include "hypercall/hypervisor.h"
#include "hypercall/model/pci/bus.h"
#include "hypercall/model/call_log.h"
#include "hypercall/model/frame_table.h"
#include "hypercall/model/image_lock.h"
#include "hypercall/model/machine_options.h"
#include "hypercall/model/msi_routing.h"
#include "hypercall/model/page_table.h"
#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model {

/// Bugs of the caller that a real hypervisor would not have reported.
struct Violations {
  std::atomic<std::uint64_t> forgotten_in_use{0};  ///< forget_frames() while entries point there
  std::atomic<std::uint64_t> wrong_frame{0};       ///< unmap() with another frame than was mapped
  std::atomic<std::uint64_t> vectors_left{0};      ///< device given back with vectors allocated
};

class Model final : public Hypervisor, public Spaces, public Interrupts, public Bus {
 public:
  /// `conf` is a list separated by ';': machine options (machine_options.h)
  /// first if any, then devices: TYPE[,addr=SSSS:BB:DD.F][,group=N]
  /// [,mmap=on|off][,busy=on|off][,keys of the type].  Without devices: nvme,
  /// edu and virtio-net at 0000:00:05.0 and following.  A bus other than 0 is behind
  /// a port, which can reset it (PciDevice::hot_reset()).
  static Result<std::unique_ptr<Model>> open(std::string_view conf);
  ~Model() override;

  // ---- Hypervisor -----------------------------------------------------------
  std::string_view name() const override { return "model"; }
  const Capabilities& capabilities() const override { return options_.capabilities; }
  Result<std::vector<PciDeviceInfo>> devices() override;
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf sbdf) override;
  Result<std::unique_ptr<GuestBus>> guest_bus() override;
  Spaces& spaces() override { return *this; }
  Interrupts& interrupts() override { return *this; }

  // ---- Spaces ---------------------------------------------------------------
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

  // ---- Interrupts -----------------------------------------------------------
  Result<unsigned> allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) override;
  Status free_vectors(Sbdf sbdf, VectorKind kind) override;
  Status bind_vector(const Vector& vector, const Notification& notification) override;
  Status unbind_vector(const Vector& vector) override;
  Status mask_vector(const Vector& vector) override;
  Status unmask_vector(const Vector& vector) override;
  Status raise_vector(const Vector& vector) override;
  Result<EventPort> event_port(const Vector& vector) override;
  Result<bool> vector_pending(const Vector& vector) override;
  int event_fd() const override { return routing_.event_fd(); }

  // ---- Bus ------------------------------------------------------------------
  Status read(Sbdf source, Iova iova, std::span<std::byte> out) override;
  Status write(Sbdf source, Iova iova, std::span<const std::byte> in) override;
  Status read_to_file(Sbdf source, Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset) override;
  Status write_from_file(Sbdf source, Iova iova, std::size_t bytes, int fd,
                         std::uint64_t file_offset) override;
  void message(Sbdf source, std::uint64_t address, std::uint32_t data) override;
  void bus_master_off(Sbdf source, Iova iova, Access access) override;
  void intx(Sbdf source, bool asserted) override;

  // ---- for tests and tools --------------------------------------------------
  CallLog& calls() { return calls_; }
  const Violations& violations() const { return violations_; }
  std::vector<GuestInterrupt> guest_interrupts(Domid domid) const { return routing_.guest_interrupts(domid); }
  /// Null: no such device.
  PciFunction* function(Sbdf sbdf);
  /// Pages and entries of 4 KiB, 2 MiB and 1 GiB of a space; zeroes when there is none.
  struct SpaceUse {
    std::uint64_t pages = 0;
    std::array<std::uint64_t, PageTable::kLeafLevels> entries{};
  };
  SpaceUse space_use(SpaceId space);
  /// Spaces that exist.
  unsigned live_spaces();
  /// Takes waiting event channels; 0 when none waits.
  std::size_t read_events(std::span<EventPort> out) { return routing_.read_events(out); }
  /// Takes logged faults, oldest first; 0 when there is none.  What did not fit
  /// the log is only counted (Statistics::faults).
  std::size_t read_faults(std::span<Fault> out);

 private:
  static constexpr unsigned kSpaceBits = 10;  ///< of a SpaceId; above: its generation
  static constexpr std::size_t kFaultLog = 256;

  struct Space {
    Space(SpaceId i, std::string t, const MachineOptions& options, FrameTable& frames)
        : id(i), tag(std::move(t)), table(options.address_bits, options.capabilities.page_sizes, frames) {}
    const SpaceId id;
    const std::string tag;
    std::mutex calls;
    std::shared_mutex reach;
    PageTable table;
    bool dead = false;      ///< `calls` held
    unsigned attached = 0;  ///< spaces_lock_ held
  };

  /// Memory that bytes pass through on the way to and from pinned pages.
  struct Scratch {
    static constexpr std::size_t kBytes = 256 << 10;
    std::mutex lock;
    UniqueFd file;
    std::byte* memory = nullptr;
    ~Scratch();
    Status make();
  };

  struct Device {
    Sbdf sbdf;
    PciDeviceInfo info;
    std::string lock_name;  ///< empty: memory of this process only
    std::array<std::uint64_t, kPciBars> bar_addresses{};
    std::uint64_t rom_address = 0;  ///< 0: has none
    std::array<std::optional<Mfn>, kPciBars> bar_frames;
    std::unique_ptr<PciFunction> function;
    std::atomic<bool> open{false};
    std::optional<DeviceLock> lock;  ///< while open
    std::string image;               ///< file of a disk; empty: it has none
    bool image_read_only = false;
    std::optional<ImageLock> image_lock;  ///< while open
    std::shared_mutex dma;
    Space* space = nullptr;  ///< `dma` held
    std::mutex vectors;      ///< one change of its vectors at a time
    Scratch scratch;
  };
  class OpenDevice;

  explicit Model(MachineOptions options) : options_(std::move(options)), frames_(options_.scattered) {}

  // model_devices.cc
  std::string add_devices(const std::vector<ConfElement>& elements);
  std::string add_device(const ConfElement& element, unsigned position, bool optional);
  std::string finish_machine();
  void place_bars(Device& device);
  Device* find(Sbdf sbdf) const;
  void give_back(Device& device);

  // model.cc
  Space* find(SpaceId space) const;
  Status do_attach(SpaceId space, Sbdf sbdf);
  Status do_detach(SpaceId space, Sbdf sbdf);
  Status do_destroy(SpaceId space);

  // model_mapping.cc
  bool mappable(Dfn dfn, std::uint64_t pages) const;
  Status check_batch(std::size_t runs, std::uint64_t pages) const;
  template <class Run, class Do>
  BatchResult batch(HypercallOp op, SpaceId space, std::span<const Run> runs, Do&& do_run);

  // model_bus.cc
  template <class Copy>
  Status access(Sbdf source, Iova iova, std::size_t bytes, Access want, Copy&& copy);
  Status fault(Sbdf source, Iova iova, Access access, FaultReason reason);

  // model_vectors.cc
  Status check_vector(const Vector& vector, Device*& device) const;
  Status do_allocate(Device& device, VectorKind kind, unsigned& count);
  Status do_free(Device& device, VectorKind kind);

  const MachineOptions options_;
  CallLog calls_;
  Violations violations_;
  FrameTable frames_;
  MsiRouting routing_;

  std::mutex spaces_lock_;
  std::array<std::atomic<Space*>, 1u << kSpaceBits> spaces_{};
  std::uint32_t spaces_made_ = 0;
  unsigned spaces_live_ = 0;

  std::mutex faults_lock_;
  std::deque<Fault> faults_;

  /// In address order, constant once open.  Last: their threads use the rest.
  std::vector<std::unique_ptr<Device>> devices_;
};

}  // namespace pviommu::model
