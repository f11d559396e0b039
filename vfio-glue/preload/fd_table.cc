// SPDX-License-Identifier: LGPL-2.1-or-later
// OpenFile objects come from a pool of chunks that are never given back (fd_table.h says why);
// a slot's pointer is exchanged atomically, and whoever takes a file out of it owns its
// reference.
#include "vfio-glue/preload/fd_table.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "vfio-glue/preload/large_stack.h"

namespace pviommu::vfio {

// OpenFiles come in chunks that stay for the life of the process.
class OpenFilePool {
 public:
  OpenFile* take() {
    for (auto& entry : chunks_) {
      Chunk* chunk = entry.load(std::memory_order_acquire);
      if (chunk == nullptr) {
        auto* fresh = new (std::nothrow) Chunk;
        if (fresh == nullptr) return nullptr;
        if (entry.compare_exchange_strong(chunk, fresh, std::memory_order_acq_rel))
          chunk = fresh;
        else
          delete fresh;
      }
      for (OpenFile& open_file : *chunk)
        if (!open_file.taken_.load(std::memory_order_relaxed) &&
            !open_file.taken_.exchange(true, std::memory_order_acquire)) {
          count_.fetch_add(1, std::memory_order_relaxed);
          return &open_file;
        }
    }
    return nullptr;
  }

  Result<OpenFileRef> make(FileRef file, int access_mode, std::string_view path, int group) {
    OpenFile* open_file = take();
    if (open_file == nullptr) return Error{ENFILE, "open file"};
    open_file->file_ = std::move(file);
    open_file->incarnation_ = incarnation();
    open_file->access_mode_ = access_mode;
    open_file->group_ = group;
    open_file->path_.fill(0);
    std::memcpy(open_file->path_.data(), path.data(), std::min(path.size(), open_file->path_.size() - 1));
    open_file->position_.store(0, std::memory_order_relaxed);
    open_file->references_.store(1, std::memory_order_release);
    return OpenFileRef(open_file);
  }

  void give_back(OpenFile& open_file) {
    open_file.taken_.store(false, std::memory_order_release);
    count_.fetch_sub(1, std::memory_order_relaxed);
  }

  std::size_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  using Chunk = std::array<OpenFile, 64>;
  std::array<std::atomic<Chunk*>, 1024> chunks_{};
  std::atomic<std::size_t> count_{0};
};

namespace {
constinit OpenFilePool pool;
}

bool OpenFile::try_acquire() {
  std::uint32_t references = references_.load(std::memory_order_relaxed);
  while (references != 0)
    if (references_.compare_exchange_weak(references, references + 1, std::memory_order_acquire,
                                          std::memory_order_relaxed))
      return true;
  return false;
}

void OpenFile::release() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  finish_.open_file = this;
  finish_.run = finish;
  run_outside_engine(&finish_);
}

void OpenFile::finish(Deferred* deferred) {
  OpenFile& self = *static_cast<Finish*>(deferred)->open_file;
  FileRef file = std::move(self.file_);
  const bool ours = self.ours();
  pool.give_back(self);
  if (!ours) {
    // Inherited through fork: the object, its threads and locks are the parent's.
    file.detach();
    return;
  }
  EngineScope scope;
  with_stack([&] {
    file.reset();
    return true;
  });
}

Result<OpenFileRef> make_open_file(FileRef file, int access_mode, std::string_view path, int group) {
  return pool.make(std::move(file), access_mode, path, group);
}

std::size_t open_files() { return pool.count(); }

bool FdTable::put(int fd, OpenFileRef file) {
  if (static_cast<unsigned>(fd) >= kSlots) return false;
  int limit = limit_.load(std::memory_order_relaxed);
  while (limit <= fd && !limit_.compare_exchange_weak(limit, fd + 1, std::memory_order_relaxed)) {
  }
  const OpenFileRef stale(slot(fd).exchange(file.detach(), std::memory_order_acq_rel));
  return true;
}

OpenFileRef FdTable::take(int fd) {
  if (!contains(fd)) return {};
  return OpenFileRef(slot(fd).exchange(nullptr, std::memory_order_acq_rel));
}

}  // namespace pviommu::vfio
