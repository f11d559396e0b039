// SPDX-License-Identifier: LGPL-2.1-or-later
// Descriptor numbers of a program -> open VFIO files.
//
//     slot[fd] --> OpenFile --> File
//     slot[dup] -----^   references: slots, calls under way, live BAR mappings
//
// A lookup takes no lock.  OpenFile objects are type-stable (their memory is
// never given back), so a lookup may touch one that was released a moment ago:
// it takes a reference only if there still are some, and then looks whether the
// slot still says the same.  Whoever drops the last reference releases the File.
//
// The kernel's numbers and this table change in two steps; the order is always
// so that a number without an entry is an ordinary descriptor:
//   open   kernel number first, entry second
//   close  entry first, kernel number second
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "vfio-glue/engine/file.h"
#include "vfio-glue/preload/process.h"

namespace pviommu::vfio {

/// One open file description as a program sees it.
class OpenFile {
 public:
  File& file() const { return *file_; }
  /// False for what a forked child inherited: the File is the parent's.
  bool ours() const { return incarnation_ == incarnation(); }
  /// O_RDONLY, O_WRONLY or O_RDWR.
  int access_mode() const { return access_mode_; }
  /// "/dev/vfio/vfio", "/dev/vfio/devices/vfio0", "anon_inode:[vfio-device]"
  const char* path() const { return path_.data(); }
  /// Of a device node, and not an anonymous inode.
  bool has_node() const { return path_[0] == '/'; }
  /// There is something to read and to write, at offsets: a device, whichever way it was opened.
  bool has_content() const { return std::string_view(file_->kind()) == "device"; }
  /// IOMMU group number of a group file, else -1.
  int group() const { return group_; }
  /// Where read() and write() go on.
  std::atomic<std::int64_t>& position() { return position_; }

 private:
  friend class OpenFileRef;
  friend class OpenFilePool;
  bool try_acquire();
  void acquire() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release();
  static void finish(Deferred* deferred);

  std::atomic<std::uint32_t> references_{0};
  std::atomic<bool> taken_{false};
  std::uint64_t incarnation_ = 0;
  FileRef file_;
  int access_mode_ = 0;
  int group_ = -1;
  std::array<char, 32> path_{};
  std::atomic<std::int64_t> position_{0};
  struct Finish : Deferred {
    OpenFile* open_file = nullptr;
  } finish_;
};

class OpenFileRef {
 public:
  OpenFileRef() = default;
  OpenFileRef(const OpenFileRef& other) : open_file_(other.open_file_) {
    if (open_file_ != nullptr) open_file_->acquire();
  }
  OpenFileRef(OpenFileRef&& other) noexcept : open_file_(std::exchange(other.open_file_, nullptr)) {}
  OpenFileRef& operator=(OpenFileRef other) noexcept {
    std::swap(open_file_, other.open_file_);
    return *this;
  }
  ~OpenFileRef() {
    if (open_file_ != nullptr) open_file_->release();
  }
  explicit operator bool() const { return open_file_ != nullptr; }
  OpenFile* operator->() const { return open_file_; }
  OpenFile& operator*() const { return *open_file_; }
  friend bool operator==(const OpenFileRef&, const OpenFileRef&) = default;

 private:
  friend class FdTable;
  friend class OpenFilePool;
  /// Adopts a reference.
  explicit OpenFileRef(OpenFile* open_file) : open_file_(open_file) {}
  static OpenFileRef try_from(OpenFile* open_file) {
    return open_file->try_acquire() ? OpenFileRef(open_file) : OpenFileRef();
  }
  OpenFile* detach() { return std::exchange(open_file_, nullptr); }
  OpenFile* open_file_ = nullptr;
};

/// Makes an open file description.  ENFILE: there are too many.  Lock-free.
Result<OpenFileRef> make_open_file(FileRef file, int access_mode, std::string_view path, int group = -1);
/// How many descriptions there are, for tests and for the end of the program.
std::size_t open_files();

/// All methods are lock-free, thread-safe and async-signal-safe, except that releasing the
/// last reference is not async-signal-safe.
class FdTable {
 public:
  /// Numbers from here on cannot be ours.
  static constexpr int kSlots = 1 << 20;

  constexpr FdTable() = default;

  /// The file behind `fd`; empty when it is not one of ours.
  OpenFileRef find(int fd) {
    if (static_cast<unsigned>(fd) >= kSlots) return {};
    for (;;) {
      OpenFile* open_file = slot(fd).load(std::memory_order_acquire);
      if (open_file == nullptr) return {};
      OpenFileRef reference = OpenFileRef::try_from(open_file);
      if (reference && slot(fd).load(std::memory_order_acquire) == open_file) return reference;
    }
  }
  bool contains(int fd) const {
    return static_cast<unsigned>(fd) < kSlots && slot(fd).load(std::memory_order_acquire) != nullptr;
  }
  /// Enters `file`; what the slot held (a number closed behind our back) is
  /// released.  False when `fd` is beyond the table.
  bool put(int fd, OpenFileRef file);
  /// Empties the slot and returns what it held.
  OpenFileRef take(int fd);
  /// No entry has a higher number.
  int highest() const { return limit_.load(std::memory_order_relaxed) - 1; }

 private:
  std::atomic_ref<OpenFile*> slot(int fd) const { return std::atomic_ref<OpenFile*>(slots_[fd]); }

  // Plain pointers: a million constructors, even constant ones, are too much
  // for a compiler.
  mutable OpenFile* slots_[kSlots] = {};
  std::atomic<int> limit_{0};  ///< all zero at first: the table costs no memory until it is used
};

}  // namespace pviommu::vfio
