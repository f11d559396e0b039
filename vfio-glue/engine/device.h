// SPDX-License-Identifier: LGPL-2.1-or-later
// An open VFIO device: a PCI function in an address space.
//
// Exists while at least one device file does.  Open and close are the two
// places where the order of hypercalls matters:
//
//   open    take the function -> bus mastering off -> decoding on -> reset ->
//           (reserve vectors) -> attach to the address space
//   close   bus mastering off -> interrupts off -> reset -> detach ->
//           give the function back
//
// After close no access of the device is under way and none can begin.
#pragma once

#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "hypercall/hypervisor.h"
#include "hypercall/unique_fd.h"
#include "msi/capabilities.h"
#include "msi/eventfd_watcher.h"
#include "msi/msix_shadow.h"
#include "msi/vector_router.h"
#include "msi/virtual_capability.h"
#include "pviommu/address_space.h"
#include "vfio-glue/engine/config_space.h"
#include "vfio-glue/engine/file.h"
#include "vfio-glue/vfio_notification.h"

namespace pviommu::vfio {

/// Region offsets: index << 40, as Linux's VFIO_PCI_OFFSET_SHIFT; programs hard-code it.
inline constexpr unsigned kRegionShift = 40;
constexpr std::uint64_t region_offset(unsigned index) { return std::uint64_t{index} << kRegionShift; }
constexpr std::uint64_t region_index(std::uint64_t offset) { return offset >> kRegionShift; }
constexpr std::uint64_t within_region(std::uint64_t offset) { return offset & ((std::uint64_t{1} << kRegionShift) - 1); }

struct RegionInfo {
  std::uint64_t size = 0;
  std::uint32_t flags = 0;  ///< VFIO_REGION_INFO_FLAG_*
  bool msix_mappable = false;
  /// The pages of the MSI-X table when they hold something else as well, bytes into the region:
  /// who does not trap the accesses to them cannot map them.
  std::uint64_t table_pages_offset = 0;
  std::uint64_t table_pages_bytes = 0;
};

struct IrqInfo {
  std::uint32_t count = 0;
  std::uint32_t flags = 0;  ///< VFIO_IRQ_INFO_*
  std::uint32_t kinds = 0;  ///< PVIOMMU_NOTIFY_* bits
  int event_fd = -1;        ///< where ports that are made are read; the hypervisor's
};

/// A SET_IRQS whose header has passed validation (DeviceFile::set_irqs()).
struct IrqSet {
  std::uint32_t data_kind = 0;  ///< one VFIO_IRQ_SET_DATA_*
  std::uint32_t action = 0;     ///< VFIO_IRQ_SET_ACTION_* bits
  std::uint32_t index = 0;
  std::uint32_t start = 0;
  std::uint32_t count = 0;
  std::span<const std::uint8_t> bools;    ///< DATA_BOOL: count of them
  std::span<const std::int32_t> eventfds; ///< DATA_EVENTFD: count of them
  /// PVIOMMU_IRQ_SET_DATA_NOTIFICATION: count of them; ports that were made are written here
  std::span<pviommu_notification> notifications;
};

/// Says on stderr, unless `quiet`, why Device::open() failed.
void tell_open_failed(bool quiet, Sbdf sbdf, const Error& error);

/// Thread-safe: one lock; arrivals of interrupts do not take it.
class Device final : private ConfigEffects {
 public:
  static Result<std::unique_ptr<Device>> open(Hypervisor& hypervisor, AddressSpace& space, Sbdf sbdf);
  ~Device();

  /// Takes `devices`, all in one address space, into `to`, or leaves all where they are.  They
  /// do no DMA meanwhile, and reach nothing of either space that they are not in.
  static Status move(std::vector<Device*> devices, AddressSpace& to);

  const PciDeviceInfo& info() const { return hardware_->info(); }

  /// Files on the device; guarded by the group's lock.
  void add_user() { ++users_; }
  bool drop_user() { return --users_ == 0; }

  const msi::InterruptCapabilities& capabilities() const { return capabilities_; }

  bool can_reset() const { return hardware_->can_reset(); }
  /// VFIO_DEVICE_RESET; interrupts stay configured.
  Status reset(Client& client);
  bool is_among(const std::vector<HotResetMember>& members) const {
    return std::ranges::find(members, info().sbdf, &HotResetMember::sbdf) != members.end();
  }
  Result<std::vector<HotResetMember>> hot_reset_members() { return hardware_->hot_reset_members(); }
  /// VFIO_DEVICE_PCI_HOT_RESET by way of this one; `open` are the open devices among the
  /// members, this one too, and stay open meanwhile.
  Status hot_reset(Client& client, std::vector<Device*> open);

  /// The program allows the device to sleep, which it never does here.  False: it
  /// had done so already.
  bool enter_low_power(Client& client) { return !set_low_power(client, true); }
  void leave_low_power(Client& client) { set_low_power(client, false); }

  /// Empty: no such region / irq index.
  std::optional<RegionInfo> region(std::uint32_t index) const;
  std::optional<IrqInfo> irq(std::uint32_t index) const;

  /// Region access at a file offset; the bytes that were moved.  EFAULT: the buffer; EINVAL: no
  /// region or outside of it; EIO: the BAR does not decode.
  Result<std::size_t> read(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t offset);
  Result<std::size_t> write(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t offset);

  /// The function decodes its memory BARs and may not sleep: their mappings can be used.
  bool accessible() const { return accessible_; }
  Result<MmapPieces> mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags);
  /// An access by a mapping, as File::load() and store() say.
  Status load(std::uint64_t offset, void* to, std::size_t bytes);
  Status store(std::uint64_t offset, const void* from, std::size_t bytes);
  void mapping_changed(std::uint64_t offset, int delta);

  /// File::mmio_place() of this device's file.
  Result<MmioPlace> mmio_place(std::uint64_t file_offset);

  /// VFIO_DEVICE_IOEVENTFD: `width` bytes of `data` at a file offset for each write to
  /// the eventfd; fd -1 ends that.
  Status set_ioeventfd(Client& client, std::uint64_t file_offset, std::uint64_t data, unsigned width, std::int32_t fd);

  /// 0, or the number of vectors there are when it is fewer than asked for: then nothing is enabled.
  Result<long> set_irqs(Client& client, const IrqSet& set);

 private:
  Device(AddressSpace& space, std::unique_ptr<PciDevice> hardware, Hypervisor& hypervisor,
         const msi::InterruptCapabilities& capabilities);
  Status start();
  bool set_low_power(Client& client, bool on);  ///< what it was
  /// Resets the function and restores what the reset took from us; lock held.
  Status reset_function();
  Status after_reset();
  /// Mappings of the BARs follow the command register and the power state; lock held.
  void follow_decoding(Client& client);

  void intx_disable_changed(bool disabled) override;
  void function_level_reset() override;

  // Region accesses, lock held.
  Result<std::size_t> access_config(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t at,
                                    bool write);
  Result<std::size_t> access_bar(Client& client, unsigned bar, std::uint64_t buffer, std::size_t bytes,
                                 std::uint64_t at, bool write);
  template <class Access>
  Status access_mapped(std::uint64_t offset, std::size_t bytes, Access&& access);
  Result<std::size_t> access_rom(Client& client, std::uint64_t buffer, std::size_t bytes, std::uint64_t at);

  /// router_.enable(), with a bounce where the hypervisor needs one.
  Result<unsigned> enable_vectors(VectorKind kind, unsigned count);
  /// Takes the device out of its space to exchange the reserved vectors.
  Status bounce(VectorKind kind);
  /// Into space_, or out of it; lock held.
  Status attach();
  Status detach();

  // SET_IRQS by index and action (device_irqs.cc), lock held.
  Status set_intx_mask(const IrqSet& set);
  Status set_intx_unmask(Client& client, const IrqSet& set);
  Status set_intx_trigger(Client& client, const IrqSet& set);
  Result<long> set_msi_trigger(Client& client, const IrqSet& set);  ///< as set_irqs()
  Status give_eventfd(Client& client, unsigned index, std::int32_t fd);
  Status set_msi_block(Client& client, const IrqSet& set);
  Status set_msi_notifications(Client& client, const IrqSet& set);
  Status set_single_trigger(Client& client, const IrqSet& set, UniqueFd& eventfd);

  struct IoEventfd {
    unsigned bar;
    std::uint64_t offset, data;
    unsigned width;
    std::unique_ptr<msi::EventfdWatcher> watcher;
  };
  void write_register(unsigned bar, std::uint64_t offset, std::uint64_t data, unsigned width);

  AddressSpace* space_;  ///< never null
  Hypervisor& hypervisor_;
  std::unique_ptr<PciDevice> hardware_;
  const msi::InterruptCapabilities capabilities_;
  msi::VectorRouter router_;
  msi::VirtualCapability msi_view_;
  std::optional<msi::MsixShadow> shadow_;
  std::optional<ConfigSpace> config_;
  std::mutex lock_;
  bool attached_ = false;
  std::atomic<bool> low_power_{false};
  std::atomic<bool> accessible_{true};  ///< changed with lock_ held
  UniqueFd error_eventfd_;
  UniqueFd request_eventfd_;
  std::array<int, kPciBars> mappings_{};  ///< live mmaps of each BAR
  int users_ = 0;                         ///< guarded by the group's lock
  std::mutex ioeventfds_lock_;            ///< taken before lock_, never by a watcher
  std::vector<IoEventfd> ioeventfds_;
};

}  // namespace pviommu::vfio
