// SPDX-License-Identifier: LGPL-2.1-or-later
// What a program holds of the hypervisor, in a file that outlives it.
//
//   RUN/xen-PID-N.ledger     RUN: the folder of hypercall/device_lock.h
//
//   header     magic, program, BARs in guests
//   device 0   sbdf, carrier, MSI-X ... | vector 0 | vector 1 | ...
//   device 1   ...
//
// Carriers can be asked from Xen (carrier.h, list_carriers); pirqs and event
// channels of a dead process cannot: no hypercall lists them.  So the arguments
// of those hypercalls lie in the ledger itself, and Xen writes the number it
// gives straight into it: a process killed in mid-call has left its trace.
//
// The file is locked (open file description lock) by the program and, through
// the same description, its guardian.  A ledger that nobody locks is an orphan,
// and belongs to whoever locks it next (reaper.h).
//
// A vector's entry is written in this order, so that at every moment the reaper
// knows what may have been done:
//
//   none --mapping--> mapped --binding--> bound --closing--> mapped --unmapping--> none
//        ^ written before the hypercall   ^ written after it
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hypercall/notification.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"
#include "hypercall/unique_fd.h"
#include "hypercall/xen/xen_calls.h"
#include <xen/event_channel.h>
#include <xen/physdev.h>

namespace pviommu::xen {

/// One vector: the arguments of its hypercalls, into which Xen writes.  `pirq` and `port`
/// mean something only in the states that say so.
struct LedgerVector {
  enum State : std::uint32_t {
    none = 0,
    mapping = 1,  ///< map_pirq is under way: `map.pirq` was -1, or is the one asked for; and is the pirq if it was done
    mapped = 2,
    binding = 3,  ///< bind_pirq is under way: `bind.port` was 0
    bound = 4,
    closing = 5,    ///< EVTCHNOP_close is under way: `bind.port` may be somebody else's by now
    unmapping = 6,  ///< unmap_pirq is under way
  };
  std::atomic<std::uint32_t> state;
  std::uint32_t kernel_closes;  ///< 1: the port is the kernel's to close, with the last descriptor
  std::uint32_t guest_bound;    ///< 1: the pirq may be bound to a vector of `map.domid`
  physdev_map_pirq map;
  evtchn_bind_pirq bind;
};

struct LedgerDevice {
  static constexpr unsigned kVectors = 2048;  ///< all that MSI-X has
  std::atomic<std::uint32_t> used;       ///< 1: the rest is valid
  std::uint32_t sbdf;
  std::uint32_t enabled_here;            ///< 1: sysfs `enable` was 0 before us
  std::atomic<std::uint32_t> prepared;   ///< 1: PHYSDEVOP_prepare_msix may have been done
  std::uint32_t padding;
  std::atomic<std::uint32_t> carrier;    ///< domid + 1, a guest's too, while the device may be there; 0: with dom0
  std::atomic<std::uint32_t> vectors;    ///< entries below that may be in use
  multicall_entry fetch;                 ///< out of quarantine at the open (quarantine.h): Xen writes its answer
  LedgerVector vector[kVectors];
};

/// A piece of a BAR in the physical map of a guest, which outlives us.
struct LedgerBar {
  std::atomic<std::uint32_t> domid;  ///< + 1; 0: the rest means nothing
  std::uint32_t padding;
  std::uint64_t dfn, mfn, pages;
};

struct LedgerHeader {
  static constexpr std::uint64_t kMagic = 0x33756d6d6f697670;  // "pviommu3"
  /// Of this file, counted up by whoever changes a structure in it.  The hypercalls' arguments
  /// are laid out the same in every Xen.  (0x15 to 0x18: pviommu before it knew more than one.)
  static constexpr std::uint32_t kLayout = 2;
  static constexpr unsigned kDevices = 32;
  static constexpr unsigned kBars = 256;
  std::uint64_t magic;
  std::uint32_t layout;     ///< kLayout
  std::uint32_t pid;        ///< of the program
  std::uint32_t number;     ///< N: one for each engine of the program
  char boot[40];            ///< /proc/sys/kernel/random/boot_id: numbers of another boot mean nothing
  LedgerBar bar[kBars];
  LedgerDevice device[kDevices];
};

/// Which ledger: its file's name.
struct LedgerId {
  std::uint32_t pid = 0;
  std::uint32_t number = 0;
  friend auto operator<=>(const LedgerId&, const LedgerId&) = default;
};
LedgerId ledger_id(const std::string& path);

class Ledger {
 public:
  /// Makes, locks and maps a new ledger for this process.
  static Result<std::unique_ptr<Ledger>> create();
  /// Takes over the open and locked file of another process; for the guardian.
  static Result<std::unique_ptr<Ledger>> adopt(UniqueFd fd, std::string path);
  /// Locks and opens an orphan.  EBUSY: its program or guardian lives.  EAGAIN: it is just
  /// being made.  ESTALE: it was of another boot, and is removed.  EBADMSG: it is not a
  /// ledger of this version.
  static Result<std::unique_ptr<Ledger>> take(const std::string& path);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  LedgerHeader& header() { return *header_; }
  LedgerId id() const { return {header_->pid, header_->number}; }
  bool empty() const;  ///< no device and no BAR is noted in it

  /// A free entry for the device, its memory locked.  ENOSPC: kDevices are open.
  Result<LedgerDevice*> add(Sbdf sbdf);
  void remove(LedgerDevice& device);
  /// Locks the first `count` vectors in memory: Xen writes into them.
  Status lock_vectors(LedgerDevice& device, unsigned count);

  /// Removes the file: there is nothing left to be done.
  void discard();

  /// Paths of all ledgers of this machine.
  static std::vector<std::string> list();

 private:
  Ledger(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Status map();

  UniqueFd fd_;
  std::string path_;
  LedgerHeader* header_ = nullptr;
};

}  // namespace pviommu::xen
