// SPDX-License-Identifier: LGPL-2.1-or-later
// The preload front end: the engine inside the program it serves.
//
//   files.cc, paths.cc,
//   disk_calls.cc        the wrapped C functions
//          |  fd -> OpenFile, path -> node or tree
//   FrontEnd                             this file: descriptors, mappings
//          |  File, Client
//   the engine                           engine_of_process.h
//
// There is one FrontEnd for the life of the process; it is never destroyed
// (threads may be inside a wrapped function to the very end).
#pragma once

#include <atomic>
#include <cerrno>
#include <string>
#include <string_view>

#include "vfio-glue/engine/engine.h"
#include "vfio-glue/preload/engine_of_process.h"
#include "vfio-glue/preload/fd_table.h"
#include "vfio-glue/preload/large_stack.h"
#include "vfio-glue/preload/mappings.h"

namespace pviommu::vfio {

class FrontEnd final : public Client {
 public:
  /// Replaces how the engine is made, for tests.  To be called before the first open.
  void set_engine_factory(EngineOfProcess::Factory factory) { process_.set_factory(std::move(factory)); }

  explicit FrontEnd(FdTable& table) : table_(table) {}
  FdTable& table() { return table_; }
  BarMappings& mappings() { return mappings_; }

  // ---- the wrapped functions; results are the kernel's: >= 0 or -errno ------

  /// What a node's name stands for.
  struct Node {
    enum class Kind : std::uint8_t { none, container, group, device, iommufd } kind = Kind::none;
    int number = -1;
  };
  /// `name` as SysfsView::vfio_node() says it; `none`: anything else.
  static Node node_of(std::string_view name);

  /// open() of a node as SysfsView::vfio_node() names it, or anything.
  int open_node(std::string_view node, int flags);
  long ioctl(OpenFile& file, unsigned long request, void* argument);
  ssize_t read(OpenFile& file, void* buffer, size_t bytes);
  ssize_t write(OpenFile& file, const void* buffer, size_t bytes);
  ssize_t pread(OpenFile& file, void* buffer, size_t bytes, off_t offset);
  ssize_t pwrite(OpenFile& file, const void* buffer, size_t bytes, off_t offset);
  /// The mapping's address, or -errno.
  std::intptr_t mmap(const OpenFileRef& file, void* address, size_t bytes, int prot, int flags, off_t offset);

  int close(int fd);
  int dup(int fd);
  /// dup2() and dup3(); `flags` < 0: dup2.
  int dup_onto(int fd, int target, int flags);
  /// fcntl(F_DUPFD*).
  int dup_above(int fd, int command, int lowest);
  int close_range(unsigned first, unsigned last, int flags);

  /// True for descriptors the engine lives on: for the program they are not open.
  bool hidden(int fd) const;
  /// Tells the Files what BarMappings found out.
  static void announce(BarMappings::Changes changes);

  // ---- paths ----------------------------------------------------------------

  /// The device tree (sysfs_view.h), which is made if need be; null: there is none.
  const SysfsView* view() {
    const SysfsView* known = known_view();
    return known != nullptr ? known : with_stack([this] { return process_.view(); });
  }
  /// The same, only if it has been made already.
  const SysfsView* known_view() const { return process_.known_view(); }
  /// A line for people on stderr, once for the same line.
  void complain(const std::string& message) { process_.complain(message); }
  /// When the library is loaded.
  void open_given_view() { process_.open_given_view(); }

  // ---- Client ---------------------------------------------------------------

  Status copy_in(void* to, std::uint64_t from, std::size_t bytes) override;
  Status copy_out(std::uint64_t to, const void* from, std::size_t bytes) override;
  FileRef file_of(int fd) override;
  bool is_open(int fd) override;
  Result<int> install(FileRef file) override;
  Result<UniqueFd> duplicate_eventfd(int fd) override;
  Result<UniqueFd> duplicate_memory_file(int fd) override;
  MmioMapping mmio_at(std::uint64_t address, std::uint64_t bytes) override;
  void refresh_mappings(const void* object) override;
  bool traps_registers() const override;
  void lend(int fd) override { lent_ = fd; }

  // ---- life of the process --------------------------------------------------

  void before_fork();
  void after_fork_in_parent();
  void after_fork_in_child();
  /// Releases everything in order, when the process exits.
  void finish();

 private:
  int open_node(std::string_view name, const Node& node, int flags);
  Result<int> install(FileRef file, int access_mode, bool close_on_exec, std::string_view path, int group);
  /// Why an operation on `file` cannot be done now, as -errno; 0: it can.
  int refuse(const OpenFile& file);
  /// Lets the pieces trap that must; what they are mapped from then, empty: none of them does.
  Result<UniqueFd> place_traps(MmapPieces& pieces);
  /// Puts nothing, or the BAR, in the place of a mapping.  False, and a line on stderr:
  /// the kernel did not let us.
  bool remap(const BarMappings::Mapping& mapping, bool fault);

  FdTable& table_;
  BarMappings mappings_;
  EngineOfProcess process_;
  std::atomic<bool> told_about_fork_{false};
  std::atomic<int> lent_{-1};  ///< the engine's, which the program may duplicate
};

/// The one of this process, and its table (apart, for a lookup of one load).
FrontEnd& front_end();
extern FdTable fd_table;

/// Keeps errno as it was; a wrapped function changes it only on failure.
class KeepErrno {
 public:
  KeepErrno() : errno_(errno) {}
  ~KeepErrno() { errno = errno_; }

 private:
  int errno_;
};

/// -errno to errno and -1.
inline long returned(long result) {
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace pviommu::vfio
