// SPDX-License-Identifier: LGPL-2.1-or-later
// The one interface to a hypervisor.
//
// Drawn from what Xen (domctl/physdev/event channels) and PAPR (TCE and RTAS
// calls) can do; the model implements the same.  What a backend cannot do it
// declares in its Capabilities, it never emulates it in silence, and no method
// here has a default body that succeeds.
//
//   address spaces   create_space -> attach devices -> map/unmap -> detach -> destroy
//   interrupts       allocate_vectors -> bind -> mask/unmask -> unbind -> free
//   faults           read_faults
//
// Concurrency: every method may be called from any thread.  Calls on one space
// are serialised by the caller (pviommu::AddressSpace holds its lock); calls on
// different spaces and devices run concurrently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/guest_bus.h"
#include "hypercall/notification.h"
#include "hypercall/pci_device.h"
#include "hypercall/pinned_memory.h"
#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu {

/// A device address space of the hypervisor: Xen carrier domain (or one of its
/// translation contexts), PAPR LIOBN, model space.
using SpaceId = Strong<struct SpaceIdTag, std::uint32_t>;

/// Consecutive device frames onto consecutive machine frames.
struct MapRun {
  Dfn dfn;
  Mfn mfn;
  std::uint64_t pages = 0;  ///< 4 KiB pages, > 0
  Access access = Access::read_write;
};

/// `mfn` is what was mapped there: Xen's XEN_DOMCTL_memory_mapping wants it for
/// the removal too, and a removal with a wrong frame is a bug to report.
struct UnmapRun {
  Dfn dfn;
  Mfn mfn;
  std::uint64_t pages = 0;
};

/// How far a batch came.  `pages_done` counts pages from the front of the
/// batch, also when `status` is an error; fewer than asked for without an error
/// means "call again with the rest" (Xen's positive return, H_BUSY, a limit).
/// Exactly those pages were done and the others are as before, unless the error
/// has Error::state_lost: then nobody knows how far it came, and devices of the
/// space may still reach any frame of the batch until the space is gone.
struct [[nodiscard]] BatchResult {
  std::uint64_t pages_done = 0;
  Status status;
};

/// Consecutive frames behind a piece of pinned memory.
struct FrameRun {
  Mfn mfn;
  std::uint64_t pages = 0;
};

enum class ReservedKind : std::uint8_t {
  msi_window,     ///< interrupt messages, never memory
  device_direct,  ///< RMRR/IVMD: firmware uses it, identity mapped
};

struct ReservedRange {
  IovaRange range;
  ReservedKind kind;
};

/// The limits of a backend.  Constant while it is open, except that PAPR may
/// report other iova ranges for another space configuration.
struct Capabilities {
  std::vector<IovaRange> iova_ranges;   ///< mappable, ascending, reserved ranges already cut out
  std::vector<ReservedRange> reserved;  ///< ascending
  std::uint64_t page_sizes = kPageSize;  ///< bit n set: entries of 2^n bytes exist
  std::uint64_t max_pages_per_call = 0;  ///< 0: no limit; counted in entries, so a 2 MiB entry is one
  std::uint32_t max_runs_per_call = 0;   ///< 0: no limit
  std::uint32_t max_spaces = 0;          ///< 0: no limit
  std::uint32_t contexts_per_space = 1;  ///< translation contexts a domain can hold
  NotificationKinds notifications = 0;   ///< what bind_vector() accepts
  VectorKinds vector_kinds = bit(VectorKind::intx) | bit(VectorKind::msi) | bit(VectorKind::msix);
                                         ///< what allocate_vectors() can give, of what a device has
  bool vectors_before_attach = false;    ///< allocate_vectors() fails with ENODEV once attached
  bool overwrite_is_fatal = false;       ///< mapping over a live entry destroys the space (Xen)
  bool read_only = true;                 ///< Access::read is enforced; else mapped read-write
  bool write_only = true;                ///< Access::write is enforced; else mapped read-write
  bool deferred_flush = false;           ///< unmap() leaves the IOTLB to flush()
  bool peer_to_peer = false;             ///< MMIO of devices can be mapped (frames_of_mmio)
  bool held_frames_only = false;         ///< frames_of() wants PinnedMemory::holds_pages()
  bool pins_memory = false;              ///< frames_of() itself pins what it is given, by its address, until
                                         ///< forget_frames(), and counts it against RLIMIT_MEMLOCK;
                                         ///< no frame source is used (EFAULT, ENOMEM come from it or from map())
};

struct SpaceConfig {
  /// Shown by the hypervisor's own tools, so that an orphan can be recognised.
  std::string tag;
  /// Devices that are going to be attached, as far as that is known.  Backends
  /// whose spaces are made of devices (a kernel container wants its group first)
  /// take them now; others need not look.
  std::vector<Sbdf> devices = {};
};

enum class FaultReason : std::uint8_t {
  not_mapped,     ///< no entry at the address
  not_permitted,  ///< entry without the right
  not_attached,   ///< device in no space, or bus mastering off
  bad_message,    ///< write to the MSI window that no bound vector matches
  stale_frame,    ///< entry onto a frame that was given back: a bug of ours
  unreachable,    ///< frame could not be accessed (copying frame source: memory is gone)
};
const char* to_string(FaultReason reason);

struct Fault {
  Sbdf sbdf;
  Iova iova;
  Access access = Access::none;
  FaultReason reason = FaultReason::not_mapped;
};

class Hypervisor {
 public:
  Hypervisor() = default;
  Hypervisor(const Hypervisor&) = delete;
  Hypervisor& operator=(const Hypervisor&) = delete;
  virtual ~Hypervisor() = default;

  /// The name it was opened by ("model", "xen", ...).
  virtual std::string_view name() const = 0;
  virtual const Capabilities& capabilities() const = 0;

  // ---- devices ------------------------------------------------------------

  /// Devices that can be handed to a program, in Sbdf order.
  virtual Result<std::vector<PciDeviceInfo>> devices() = 0;

  /// Takes the device for this process and gives access to its configuration
  /// space and BARs.  ENODEV: no such device.  EBUSY: taken, by this process or
  /// another one.  Destroying the result gives the device back; it must be
  /// detached and without vectors by then.
  virtual Result<std::unique_ptr<PciDevice>> open_device(Sbdf sbdf) = 0;

  // ---- address spaces -----------------------------------------------------

  virtual Result<SpaceId> create_space(const SpaceConfig& config) = 0;
  /// All devices detached before (else EBUSY).  Mappings go with it.
  virtual Status destroy_space(SpaceId space) = 0;

  /// From here on the device's DMA is translated by `space`.  EBUSY when it is
  /// attached anywhere already.
  virtual Status attach(SpaceId space, Sbdf sbdf) = 0;
  /// When this returns without error no access of the device is under way any more.
  virtual Status detach(SpaceId space, Sbdf sbdf) = 0;

  // After an error of map() and unmap() the state of every page of the batch must be
  // known (BatchResult); a backend that cannot say, because its own undo failed or a
  // call came back without a word, sets Error::state_lost, with code EIO unless it has
  // a better one.  So do attach(), detach() and flush(): there the flag is about every
  // frame mapped in the space.  None of these throws.

  /// Maps the runs in order.  The target entries must be empty: EEXIST, and
  /// where `overwrite_is_fatal` the space is dead afterwards: every call but
  /// detach() and destroy_space() fails with EIO and changes nothing, so that what
  /// was mapped stays within reach of devices until the space is destroyed.
  /// E2BIG: above the declared limits of a call; nothing done.
  virtual BatchResult map(SpaceId space, std::span<const MapRun> runs) = 0;
  /// Removes the runs in order.  ENOENT at the first page not mapped so.  When
  /// it returns the device cannot reach the pages any more, unless
  /// `deferred_flush`: then after flush().
  virtual BatchResult unmap(SpaceId space, std::span<const UnmapRun> runs) = 0;
  virtual Status flush(SpaceId space) = 0;

  /// The machine frames behind pinned memory, appended to `out` in order of
  /// address.  They stay valid until forget_frames().  Not counted as a
  /// hypercall by backends that need none for it.
  virtual Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) = 0;
  /// Before the memory is unpinned, after it was unmapped everywhere.
  virtual void forget_frames(PinnedMemory& memory) noexcept = 0;

  /// The machine frames of an mmap-able BAR piece (peer-to-peer), at byte
  /// `offset` of BAR `bar`.  EOPNOTSUPP unless `peer_to_peer`.
  virtual Status frames_of_mmio(Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t bytes,
                                std::vector<FrameRun>& out) = 0;

  // ---- interrupts ---------------------------------------------------------

  /// Reserves vectors [0, count) of the kind and programs the messages into the
  /// device.  The grant may be smaller than asked for (PAPR, Xen's multi-MSI),
  /// never 0 without an error.  ENODEV: `vectors_before_attach` and the device
  /// is attached.  EBUSY: vectors of some kind are allocated already.  The
  /// enable bit in configuration space stays the caller's.
  virtual Result<unsigned> allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) = 0;
  /// All unbound before (else EBUSY).
  virtual Status free_vectors(Sbdf sbdf, VectorKind kind) = 0;

  /// Where arrivals of the vector go from now on.  Rebinding replaces the
  /// target without losing an arrival, and a mask stays; when it returns no call
  /// of a former sink is under way.  EOPNOTSUPP: kind not declared.
  virtual Status bind_vector(const Vector& vector, const Notification& notification) = 0;
  /// A mask, and what it held, ends with the binding.
  virtual Status unbind_vector(const Vector& vector) = 0;

  /// Masked arrivals are held (one bit) and delivered by unmask_vector().  A
  /// level-triggered vector (intx) masks itself when it is delivered; unmask
  /// looks at the line again.
  virtual Status mask_vector(const Vector& vector) = 0;
  virtual Status unmask_vector(const Vector& vector) = 0;
  virtual Result<bool> vector_pending(const Vector& vector) = 0;

  /// One arrival more at a vector bound to an event channel or a guest vector, as
  /// if the device had sent it: for what the caller held back while the target was
  /// another one.  Not while the vector is masked.  ENOENT: not bound; EOPNOTSUPP:
  /// bound to a sink, whose owner calls it itself.
  virtual Status raise_vector(const Vector& vector) = 0;
  /// The event channel of this domain behind a vector that is bound to one.
  /// ENOENT: to none.
  virtual Result<EventPort> event_port(const Vector& vector) = 0;

  /// Readable while notifications of event channels of this domain wait that are
  /// read here; -1 when the backend has none.  Owned by the hypervisor.  Who has it, or
  /// a copy in another process, can do without read_events(): read(2) gives ports of 4
  /// bytes, written back when the next may come, as on /dev/xen/evtchn; non-blocking.
  virtual int event_fd() const = 0;
  /// Takes waiting event channels; 0 when none waits.
  virtual Result<std::size_t> read_events(std::span<EventPort> out) = 0;

  // ---- guests -------------------------------------------------------------

  /// The PCI bus of the guest that this hypervisor was opened for, for one function on
  /// it.  EOPNOTSUPP: it was opened for none, or has no guests.
  virtual Result<std::unique_ptr<GuestBus>> guest_bus() = 0;

  // ---- faults -------------------------------------------------------------

  /// Takes logged faults, oldest first; 0 when there is none.  What did not fit
  /// the log is only counted (Statistics::faults).
  virtual Result<std::size_t> read_faults(std::span<Fault> out) = 0;
};

}  // namespace pviommu
