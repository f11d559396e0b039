// SPDX-License-Identifier: LGPL-2.1-or-later
// BAR mappings the program made through our mmap().
//
// They keep their device open (a kernel mapping holds its file), they fault while
// their device does not decode, they can be cut to pieces by munmap() and MAP_FIXED,
// and an address inside one means a device, not memory, when it is given to
// VFIO_IOMMU_MAP_DMA.
//
//   addresses   |--- BAR 0, device A ---|     |-- BAR 2, device A --|
//   munmap          |------|
//   afterwards  |---|      |------------|     |-- BAR 2, device A --|    one more piece
//
// The lock is held around the kernel's own call wherever addresses may be given to
// somebody else by it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "vfio-glue/preload/fd_table.h"

namespace pviommu::vfio {

/// The memory of a BAR that is mapped with traps in the program's place: for a forked child, whose
/// accesses its parent's device sees there, by watching it.
class BarMemory {
 public:
  /// [address, address + bytes) shows the file from `offset` on, and is unmapped with this.
  BarMemory(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset)
      : address_(address), bytes_(bytes), offset_(offset) {}
  BarMemory(const BarMemory&) = delete;
  BarMemory& operator=(const BarMemory&) = delete;
  ~BarMemory();
  void* at(std::uint64_t offset) const { return reinterpret_cast<void*>(address_ + (offset - offset_)); }

 private:
  const std::uint64_t address_, bytes_, offset_;
};

/// Thread-safe.
class BarMappings {
 public:
  struct Mapping {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint64_t offset = 0;  ///< file offset of the first byte
    OpenFileRef open_file;
    int prot = 0;           ///< as it was mapped
    bool faulting = false;  ///< leads nowhere: an access is SIGBUS
    bool trapped = false;   ///< all of its accesses are trapped (traps.h): no mapping for the device
    std::shared_ptr<BarMemory> memory = nullptr;  ///< behind what is trapped
  };
  /// What File::mapping_changed() is to be told, when the lock is not held any more.
  struct Change {
    OpenFileRef open_file;
    std::uint64_t offset = 0;
    int delta = 0;  ///< 0: only the reference is to be dropped
  };
  using Changes = std::vector<Change>;

  /// False: nothing of ours is in the range.  No lock, one or two loads; may be
  /// true for a range that only lies between two mappings.
  bool may_overlap(std::uint64_t address, std::uint64_t bytes) const {
    const std::uint64_t high = high_.load(std::memory_order_acquire);
    return high != 0 && address < high && bytes > 0 &&
           address + (bytes - 1) >= low_.load(std::memory_order_acquire);
  }

  /// `remap` (see refresh()) when the mapping has to fault from the start.
  template <class Remap>
  Changes add(Mapping mapping, Remap&& remap) {
    const std::scoped_lock lock(mutex_);
    const std::uint64_t address = mapping.address;
    Changes changes = insert(std::move(mapping));
    refresh(mappings_.at(address), remap);
    return changes;
  }

  /// Runs `remap`, with the lock held, for the mappings of `object` that fault and
  /// should not, or the other way around; it answers true when it has changed that.
  template <class Remap>
  void refresh(const void* object, Remap&& remap) {
    const std::scoped_lock lock(mutex_);
    for (auto& [address, mapping] : mappings_)
      if (mapping.open_file->ours() && mapping.open_file->file().mapped_object() == object) refresh(mapping, remap);
  }

  /// Runs `unmap` (which returns true when the kernel has removed what was in
  /// the range) with the lock held, so that nobody can be given the addresses
  /// before they are forgotten here.
  template <class Unmap>
  Changes remove_around(std::uint64_t address, std::uint64_t bytes, Unmap&& unmap) {
    const std::scoped_lock lock(mutex_);
    return unmap() ? remove(address, bytes) : Changes();
  }

  /// mremap(): runs `remap`, which returns the new address or 0 for failure.
  template <class Remap>
  Changes move_around(std::uint64_t address, std::uint64_t bytes, std::uint64_t new_bytes, Remap&& remap) {
    const std::scoped_lock lock(mutex_);
    const std::uint64_t new_address = remap();
    return new_address != 0 ? move(address, bytes, new_address, new_bytes) : Changes();
  }

  /// The mapping that holds all of the range (also one made of pieces that
  /// follow each other), as file and offset; empty when there is none.
  Mapping find(std::uint64_t address, std::uint64_t bytes);

  std::size_t size();

  /// Removes all; at the end of the program.
  Changes clear();

  // Around fork().
  /// With the lock held: a child may use what was trapped until now, so devices have to watch it.
  Changes share_with_child();
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }
  /// In the child, where the thread that held the mutex may not exist.
  void reinitialise_lock() { new (&mutex_) std::mutex; }

 private:
  template <class Remap>
  static void refresh(Mapping& mapping, Remap&& remap) {
    const bool fault = mapping.open_file->file().mappings_fault();
    if (fault != mapping.faulting && remap(mapping, fault)) mapping.faulting = fault;
  }
  static int one(const Mapping& mapping) { return mapping.trapped ? 0 : 1; }
  Changes insert(Mapping mapping);
  Changes remove(std::uint64_t address, std::uint64_t bytes);
  Changes move(std::uint64_t address, std::uint64_t bytes, std::uint64_t new_address,
               std::uint64_t new_bytes);
  /// Makes `address` a boundary between two entries.
  void split(std::uint64_t address, Changes& changes);
  void update_hull();

  std::mutex mutex_;
  std::map<std::uint64_t, Mapping> mappings_;  ///< by address, disjoint
  std::atomic<std::uint64_t> low_{0};          ///< all mappings lie in [low_, high_)
  std::atomic<std::uint64_t> high_{0};         ///< 0: there are none
};

}  // namespace pviommu::vfio
