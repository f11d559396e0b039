// SPDX-License-Identifier: LGPL-2.1-or-later
// The hypervisor "xen": stock Xen under a stock PV dom0.
//
//   space     a carrier domain                     carrier.h
//             or an existing guest (domain=)       guest.h
//   map       XEN_DOMCTL_memory_mapping            mapping.h
//   frames    pagemap and dom0's p2m               physical_map.h
//   device    sysfs; assign and deassign           ../sysfs_device.h, carrier.h
//   vectors   pirqs, event channels                pirq_vectors.h
//             straight into the guest              guest_vectors.h
//   faults    Xen's console ring                   fault_log.h
//   and a guardian for the end of the program      guardian_link.h, ledger.h
//
// Opening is cheap and takes nothing: it checks that all is there, and cleans up
// behind programs that died with their guardian.  The first device or space
// starts the rest (activate()): the guardian, the ledger, one thread.
//
// Locks, in the order they may be taken:
//   activation_lock_   the start of all that, once
//   spaces_lock_       which spaces there are; alone for attach and detach.  Calls on one
//                      space are serialised by its owner, not here
//   faults_lock_       the reader of Xen's console
//   devices_lock_      which devices are open, and whose each one is
//   and then the locks of the parts: the vectors', the guardian link's
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>

#include "hypercall/backend.h"
#include "hypercall/delivery_thread.h"
#include "hypercall/device_lock.h"
#include "hypercall/hypervisor.h"
#include "hypercall/sysfs_device.h"
#include "hypercall/xen/events.h"
#include "hypercall/xen/fault_log.h"
#include "hypercall/xen/guest.h"
#include "hypercall/xen/guest_vectors.h"
#include "hypercall/xen/guardian_link.h"
#include "hypercall/xen/host.h"
#include "hypercall/xen/ledger.h"
#include "hypercall/xen/mapping.h"
#include "hypercall/xen/physical_map.h"
#include "hypercall/xen/pirq_vectors.h"
#include "hypercall/xen/vectors.h"
#include "hypercall/xen/xen_calls.h"

namespace pviommu::xen {

class XenHypervisor final : public Hypervisor, public Spaces, public Interrupts {
 public:
  /// `conf`: as xen_conf.h has it (interrupts=may-crash-dom0: also on Linux before 6.6, see
  /// Delivery::swap_port).
  static Result<std::unique_ptr<XenHypervisor>> open(std::string_view conf);
  ~XenHypervisor() override;

  std::string_view name() const override { return "xen"; }
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
  Status flush(SpaceId) override { return {}; }  // Xen flushes in every unmap
  Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) override;
  void forget_frames(PinnedMemory&) noexcept override {}  // nothing is kept per memory
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
  /// Only what is bound statically can be handed over.
  int event_fd() const override {
    return channels_ && channels_->delivery() == Delivery::bind_static ? channels_->consumer_fd() : -1;
  }

 private:
  class OpenDevice;
  friend class OpenDevice;
  struct Space {
    std::unique_ptr<SpaceMapping> mapping;
    unsigned attached = 0;
  };

  XenHypervisor(Host host, std::unique_ptr<XenCalls> calls, std::unique_ptr<Guest> guest);
  Status use_channels(bool may_crash_dom0, bool none);
  Status activate();
  Status start_channels(bool quiet);
  Result<SpaceId> make_carrier();
  Result<SpaceId> take_guest();
  /// Guest mode: looks whether it is still there, and if not takes its devices back.
  void watch_guest();
  void watch();
  bool read_console();  ///< whether there was text

  /// devices_lock_ held; null: not open.
  OpenDevice* find(Sbdf sbdf);
  Space* find(SpaceId space);
  /// `work` on the vectors of an open device; ENODEV, ENOENT.
  template <class Work>
  auto with_vector(Sbdf sbdf, VectorKind kind, Work&& work) -> decltype(work(std::declval<DeviceVectors&>()));

  Host host_;
  std::unique_ptr<XenCalls> calls_;
  Capabilities capabilities_;
  std::uint64_t fail_ = 0;       ///< from the configuration
  bool no_interrupts_ = false;   ///< the same

  std::mutex activation_lock_;
  std::atomic<bool> active_{false};
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<GuardianLink> guardian_;
  std::unique_ptr<PhysicalMap> physical_;
  std::unique_ptr<Guest> guest_;           ///< null: carriers
  std::unique_ptr<PirqVectors> channels_;  ///< null in guest mode
  std::unique_ptr<GuestVectors> injected_; ///< only there
  Vectors* vectors_ = nullptr;             ///< the one that is there

  std::shared_mutex spaces_lock_;
  std::map<std::uint32_t, Space> spaces_;  ///< by domid
  std::uint16_t carriers_made_ = 0;

  std::mutex devices_lock_;
  std::map<std::uint32_t, OpenDevice*> devices_;  ///< open ones, by sbdf

  FaultLog fault_log_;  ///< of the watcher, and console_index_ too
  std::uint32_t console_index_ = 0;

  std::mutex held_lock_;
  std::set<int> held_;  ///< pin rings that the guardian has

  std::unique_ptr<ConsoleEvents> console_events_;  ///< of the watcher; null: it asks
  std::unique_ptr<DomainEnds> domain_ends_;        ///< the same, in guest mode
  UniqueFd stop_;
  DeliveryThread watcher_;
};

}  // namespace pviommu::xen
