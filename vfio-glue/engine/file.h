// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine's side of an open file, and the front end's side of a caller.
//
//   program -> front end (preload, ...) -> File -> ioctl table -> container | group | device
//
// A front end owns descriptor numbers; the engine owns objects.  They meet in
// two small interfaces: File (what can be done to an open /dev/vfio file) and
// Client (what the engine needs of the caller: its memory, its descriptors).
#pragma once

#include <sys/types.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "hypercall/result.h"
#include "hypercall/strong.h"
#include "hypercall/unique_fd.h"

namespace pviommu::vfio {

/// Where a program's addresses end: TASK_SIZE_MAX of x86-64 with 4-level page tables.
inline constexpr std::uint64_t kUserEnd = 0x7ffffffff000;
/// Linux's access_ok(): EFAULT, or EINVAL, before anything is looked at.
constexpr bool user_range(std::uint64_t address, std::uint64_t bytes) {
  return bytes <= kUserEnd && address <= kUserEnd - bytes;
}

class File;
using FileRef = boost::intrusive_ptr<File>;

/// The caller of an operation.  Thread-safe.
class Client {
 public:
  /// Copies from / to the caller's memory.  EFAULT when any byte of it is not
  /// accessible; then nothing or a part has been copied.
  virtual Status copy_in(void* to, std::uint64_t from, std::size_t bytes) = 0;
  virtual Status copy_out(std::uint64_t to, const void* from, std::size_t bytes) = 0;
  /// The VFIO file behind one of the caller's descriptors; null: not one of ours.
  virtual FileRef file_of(int fd) = 0;
  /// True when `fd` is an open descriptor of the caller.
  virtual bool is_open(int fd) = 0;
  /// A new descriptor (close-on-exec, O_RDWR) for `file`.
  virtual Result<int> install(FileRef file) = 0;
  /// Our own duplicate of the caller's eventfd.  EBADF: not open; EINVAL: not an eventfd.
  virtual Result<UniqueFd> duplicate_eventfd(int fd) = 0;
  /// Our own duplicate of a file that is memory (a memfd, of tmpfs, of hugetlbfs).  EBADF: not
  /// open; EINVAL: something else; EOPNOTSUPP: from a front end that cannot.
  virtual Result<UniqueFd> duplicate_memory_file(int) { return Error{EOPNOTSUPP, "memory of a file"}; }
  /// Resolves an address of the caller into a BAR mapping made through a File's
  /// mmap(): for peer-to-peer maps.  Null when it is plain memory.
  struct MmioMapping {
    FileRef file;
    std::uint64_t offset = 0;  ///< file offset (index << 40 | byte) of the address
    int prot = 0;              ///< PROT_* that all of it has now
  };
  virtual MmioMapping mmio_at(std::uint64_t address, std::uint64_t bytes) = 0;
  /// File::mappings_fault() of the files on `object` has changed; when this returns
  /// the caller's mappings of them do fault, or do not.
  virtual void refresh_mappings(const void* object) = 0;
  /// True when the caller's accesses to pieces that are not MmapPiece::Kind::direct come by
  /// File::load() and store().
  virtual bool traps_registers() const = 0;
  /// The caller was told the number of a descriptor of ours, of which an engine has
  /// one, and may duplicate it.  For a front end that keeps ours from the caller.
  virtual void lend(int fd) = 0;

 protected:
  ~Client() = default;
};

/// Where a byte of a device's memory lies.
struct MmioPlace {
  Sbdf sbdf;
  unsigned bar = 0;
  std::uint64_t offset = 0;  ///< bytes, within the BAR
};

/// Where a part of an mmap of a File really goes.
struct MmapPiece {
  int fd = -1;               ///< stays the File's
  std::uint64_t offset = 0;  ///< into fd, page aligned
  std::size_t bytes = 0;     ///< whole pages
  enum class Kind : std::uint8_t {
    direct,   ///< a load or store there is the device's
    watched,  ///< registers of a device model; exact by File::load() and store() only
    table,    ///< registers beside an MSI-X table: without load() and store() not to be had
  };
  Kind kind = Kind::direct;
};
/// The pieces follow each other without a gap and make up the whole mapping.
/// More than one where a page must not be the real one: the MSI-X table of a
/// BAR is a shadow (msi/msix_shadow.h).
using MmapPieces = std::vector<MmapPiece>;

/// What an ioctl returns when its function has returned this.
inline Result<long> number_of(const Status& status) {
  if (!status) return status.error();
  return 0;
}
inline Result<long> number_of(Result<long> result) { return result; }

/// One open file description.  Operations may run concurrently; the destructor
/// is release(): it runs when the last descriptor, mapping and operation is gone.
///
/// This is the edge of the engine: below it errors are values, above it are the
/// kernel's return values, >= 0 or -errno.  answer() is the one place that makes them.
class File : public boost::intrusive_ref_counter<File, boost::thread_safe_counter> {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;

  /// "container", "group", "device" or "iommufd".
  virtual const char* kind() const = 0;
  long ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
    return answer(do_ioctl(client, request, argument));
  }
  /// `buffer` is an address of the caller.
  ssize_t pread(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) {
    return answer(do_pread(client, buffer, bytes, offset));
  }
  ssize_t pwrite(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) {
    return answer(do_pwrite(client, buffer, bytes, offset));
  }
  /// Checks an mmap; the front end then maps the pieces, all or nothing (the
  /// first over the whole length, the others with MAP_FIXED inside it).  `prot`
  /// and `flags` as for mmap(2), `bytes` rounded up to pages.
  virtual Result<MmapPieces> mmap(std::uint64_t offset, std::size_t bytes, int prot, int flags) = 0;
  /// One load or store of the program by a mapping, at a file offset: cut into the widest
  /// natural accesses of at most 8 bytes, in ascending order.  EIO: the BAR does not decode.
  virtual Status load(std::uint64_t offset, void* to, std::size_t bytes) = 0;
  virtual Status store(std::uint64_t offset, const void* from, std::size_t bytes) = 0;
  /// Told after such a mapping was made (+1) and removed (-1), unless all of its accesses come
  /// by load() and store().
  virtual void mapping_changed(std::uint64_t offset, int delta) = 0;
  /// What the mappings show: that of several files can be one.
  virtual const void* mapped_object() const { return this; }
  /// True while an access to a mapping raises SIGBUS: a BAR whose device does not decode.
  /// No lock is taken.
  virtual bool mappings_fault() const = 0;
  /// What lies at a file offset, for peer-to-peer maps.  EFAULT when that is no BAR, or
  /// its decoding is off.
  virtual Result<MmioPlace> mmio_place(std::uint64_t offset) = 0;

 private:
  /// The same calls, for those who answer them: what an ioctl returns, which may be
  /// a number of its own, and the bytes that were moved.
  virtual Result<long> do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) = 0;
  virtual Result<std::size_t> do_pread(Client& client, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) = 0;
  virtual Result<std::size_t> do_pwrite(Client& client, std::uint64_t buffer, std::size_t bytes,
                                        std::int64_t offset) = 0;

  template <class T>
  static long answer(const Result<T>& result) {
    return result ? static_cast<long>(*result) : -static_cast<long>(result.error().code);
  }
};

}  // namespace pviommu::vfio
