// SPDX-License-Identifier: LGPL-2.1-or-later
// The program that a fuzzer's input plays: descriptors, memory, eventfds.
//
// Its memory is four places with nothing accessible between them:
//
//     guard | structures, RW | guard | memory for devices, RW | guard | read-only | guard | BARs
//
// The engine reaches structures through the Client and nowhere else; devices
// reach what was mapped for them.  A store anywhere else ends the process.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string_view>

#include "hypercall/unique_fd.h"
#include "vfio-glue/engine/file.h"

namespace pviommu::fuzz {

class Program final : public vfio::Client {
 public:
  static constexpr std::size_t kStructures = 64 << 10;
  static constexpr std::size_t kMemory = 256 << 10;
  static constexpr std::size_t kReadOnly = 64 << 10;
  static constexpr int kFirstFile = 100;
  static constexpr int kFirstEventfd = 3;  ///< 3..6 are eventfds, 7 and 8 something else
  static constexpr int kEventfds = 4;

  Program();
  ~Program();

  // ---- Client -----------------------------------------------------------------
  Status copy_in(void* to, std::uint64_t from, std::size_t bytes) override;
  Status copy_out(std::uint64_t to, const void* from, std::size_t bytes) override;
  vfio::FileRef file_of(int fd) override;
  bool is_open(int fd) override;
  Result<int> install(vfio::FileRef file) override;
  Result<UniqueFd> duplicate_eventfd(int fd) override;
  MmioMapping mmio_at(std::uint64_t address, std::uint64_t bytes) override;
  void refresh_mappings(const void*) override {}  // its mappings are not really there
  bool traps_registers() const override { return traps; }
  void lend(int) override {}

  bool traps = false;  ///< what a front end says that makes the accesses of mappings itself

  // ---- descriptors ------------------------------------------------------------
  /// One of the open files by an arbitrary number; -1 when there is none.
  int pick(unsigned number) const;
  /// The same of one kind ("container", ...).
  int pick(unsigned number, std::string_view kind) const;
  void close(int fd) { files_.erase(fd); }
  int duplicate(int fd);
  std::size_t open_files() const { return files_.size(); }

  // ---- memory -----------------------------------------------------------------
  std::uint64_t structures() const { return base_ + kGuard; }
  std::uint64_t structures_end() const { return structures() + kStructures; }
  std::uint64_t memory() const { return structures_end() + kGuard; }
  std::uint64_t read_only() const { return memory() + kMemory + kGuard; }
  std::uint64_t nowhere() const { return read_only() + kReadOnly; }
  /// An address a MAP_DMA may be given: one of ours, or one where no process has
  /// memory.  Anything else would be the fuzzer's own.
  std::uint64_t harmless(std::uint64_t address) const;
  /// Stores into the memory for devices.
  void store(std::uint64_t offset, const void* from, std::size_t bytes);

  // ---- mappings of BARs ---------------------------------------------------------
  static constexpr std::uint64_t kMmioWindow = 1 << 20;  ///< address space of one mapping
  void map_bar(vfio::FileRef file, std::uint64_t offset, std::size_t bytes);
  bool unmap_bar(unsigned number);
  std::uint64_t bar_address(unsigned number) const;

  /// The next `n` files are refused.
  void refuse_install(unsigned n) { refuse_ = n; }
  /// While MAP_DMA runs: what it is told of addresses goes through harmless().
  bool in_map = false;

  /// Writes to one of the eventfds.
  void signal(unsigned number);
  /// Ends everything the program holds, files in the order `order` chooses.
  void end(std::uint64_t order);

 private:
  static constexpr std::size_t kGuard = std::size_t{1} << 20;
  static constexpr unsigned kMappings = 8;
  static constexpr std::size_t kPlaces = 8 << 20;  ///< all above, the last guard included
  static constexpr std::size_t kReserved = kPlaces + kMappings * kMmioWindow;
  struct Mapping {
    vfio::FileRef file;
    std::uint64_t offset = 0;
    std::size_t bytes = 0;
  };
  bool readable(std::uint64_t from, std::size_t bytes) const;
  bool writable(std::uint64_t to, std::size_t bytes) const;

  std::uint64_t base_ = 0;
  std::map<int, vfio::FileRef> files_;
  int next_ = kFirstFile;
  unsigned refuse_ = 0;
  std::array<Mapping, kMappings> mappings_;
  UniqueFd eventfds_[kEventfds];
};

}  // namespace pviommu::fuzz
