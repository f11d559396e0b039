// SPDX-License-Identifier: LGPL-2.1-or-later
// The bus: what devices do to memory and to interrupts.
//
//   access(source, iova)   who is attached where --> its page table --> frame
//        |                 --> FrameTable::Use: memory, a BAR, or given back
//        v
//   fault(), or copy(): page by page, by the pinned pages and not by the program's address
//
// Space::reach is held, shared, while an access is under way; unmap takes it alone.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "hypercall/model/model.h"

namespace pviommu::model {
namespace {

bool in_msi_window(Iova iova) { return iova.raw() >= kMsiWindowFirst && iova.raw() <= kMsiWindowLast; }

/// BAR memory is registers: words of natural width, each accessed once.
void copy_words(std::byte* to, const std::byte* from, std::size_t bytes) {
  while (bytes != 0) {
    const auto both = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from);
    if (both % 8 == 0 && bytes >= 8) {
      __atomic_store_n(reinterpret_cast<std::uint64_t*>(to),
                       __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from), __ATOMIC_RELAXED),
                       __ATOMIC_RELAXED);
      to += 8, from += 8, bytes -= 8;
    } else if (both % 4 == 0 && bytes >= 4) {
      __atomic_store_n(reinterpret_cast<std::uint32_t*>(to),
                       __atomic_load_n(reinterpret_cast<const std::uint32_t*>(from), __ATOMIC_RELAXED),
                       __ATOMIC_RELAXED);
      to += 4, from += 4, bytes -= 4;
    } else {
      __atomic_store_n(reinterpret_cast<std::uint8_t*>(to),
                       __atomic_load_n(reinterpret_cast<const std::uint8_t*>(from), __ATOMIC_RELAXED),
                       __ATOMIC_RELAXED);
      to += 1, from += 1, bytes -= 1;
    }
  }
}

/// Where an access to a BAR's frame goes; null: the device does not decode it.
std::byte* peer(const FrameTable::Use& use, std::uint64_t offset) {
  std::byte* memory = use.function()->peer_memory(use.bar());
  return memory == nullptr ? nullptr : memory + offset;
}

}  // namespace

Model::Scratch::~Scratch() {
  if (memory != nullptr) ::munmap(memory, kBytes);
}

Status Model::Scratch::make() {
  if (memory != nullptr) return {};
  file.reset(::memfd_create("pviommu dma", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), kBytes) != 0) return Error{ENOMEM, "dma scratch"};
  void* at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (at == MAP_FAILED) return Error{ENOMEM, "dma scratch"};
  memory = static_cast<std::byte*>(at);
  return {};
}

// One access, cut where frames stop being consecutive.  The locks are held until
// the bytes have moved: that is what unmap() and detach() wait for.
// `copy(use, offset, done, bytes)` moves one piece.
template <class Copy>
Status Model::access(Sbdf source, Iova iova, std::size_t bytes, Access want, Copy&& copy) {
  Device* device = find(source);
  if (device == nullptr) return fault(source, iova, want, FaultReason::not_attached);
  std::shared_lock dma(device->dma);
  Space* space = device->space;
  if (space == nullptr) return fault(source, iova, want, FaultReason::not_attached);
  std::shared_lock reach(space->reach);
  std::size_t done = 0;
  while (done < bytes) {
    const Iova at = iova + done;
    const std::uint64_t in_page = at.raw() & (kPageSize - 1);
    Dfn dfn = dfn_of(at);
    const auto found = space->table.translate(dfn);
    if (at < iova || found.pages == 0) return fault(source, at, want, FaultReason::not_mapped);
    if (!allows(found.access, want)) return fault(source, at, want, FaultReason::not_permitted);
    const FrameTable::Use use(frames_, found.mfn);
    if (!use) return fault(source, at, want, FaultReason::stale_frame);

    std::uint64_t pages = found.pages;
    while ((pages << kPageShift) - in_page < bytes - done) {
      const auto more = space->table.translate(dfn + pages);
      if (more.pages == 0 || !allows(more.access, want) || !use.continues(more.mfn, pages)) break;
      pages += more.pages;
    }
    const auto piece =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes - done, (pages << kPageShift) - in_page));
    if (!copy(use, use.offset() + in_page, done, piece))
      return fault(source, at, want, FaultReason::unreachable);
    Counter& moved = want == Access::read ? statistics().dma_read_bytes : statistics().dma_write_bytes;
    moved.fetch_add(piece, std::memory_order_relaxed);
    done += piece;
  }
  return {};
}

Status Model::read(Sbdf source, Iova iova, std::span<std::byte> out) {
  return access(source, iova, out.size(), Access::read,
                [&](const FrameTable::Use& use, std::uint64_t offset, std::size_t done, std::size_t bytes) {
                  if (use.memory() == nullptr) {
                    const std::byte* from = peer(use, offset);
                    if (from == nullptr) return false;
                    copy_words(&out[done], from, bytes);
                    return true;
                  }
                  Scratch& scratch = find(source)->scratch;
                  std::lock_guard guard(scratch.lock);
                  if (!scratch.make()) return false;
                  for (std::size_t i = 0; i < bytes;) {
                    const std::size_t part = std::min(bytes - i, Scratch::kBytes);
                    if (!use.memory()->to_file(scratch.file.get(), 0, offset + i, part)) return false;
                    std::memcpy(&out[done + i], scratch.memory, part);
                    i += part;
                  }
                  return true;
                });
}

Status Model::write(Sbdf source, Iova iova, std::span<const std::byte> in) {
  if (in_msi_window(iova)) {
    // The window takes aligned words and nothing else.
    if (in.size() != 4 || iova.raw() % 4 != 0)
      return fault(source, iova, Access::write, FaultReason::bad_message);
    std::uint32_t data;
    std::memcpy(&data, in.data(), sizeof data);
    message(source, iova.raw(), data);
    return {};
  }
  return access(source, iova, in.size(), Access::write,
                [&](const FrameTable::Use& use, std::uint64_t offset, std::size_t done, std::size_t bytes) {
                  if (use.memory() == nullptr) {
                    std::byte* to = peer(use, offset);
                    if (to == nullptr) return false;
                    copy_words(to, &in[done], bytes);
                    use.function()->peer_written();
                    return true;
                  }
                  Scratch& scratch = find(source)->scratch;
                  std::lock_guard guard(scratch.lock);
                  if (!scratch.make()) return false;
                  for (std::size_t i = 0; i < bytes;) {
                    const std::size_t part = std::min(bytes - i, Scratch::kBytes);
                    std::memcpy(scratch.memory, &in[done + i], part);
                    if (!use.memory()->from_file(scratch.file.get(), 0, offset + i, part)) return false;
                    i += part;
                  }
                  return true;
                });
}

Status Model::read_to_file(Sbdf source, Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset) {
  return access(source, iova, bytes, Access::read,
                [&](const FrameTable::Use& use, std::uint64_t offset, std::size_t done, std::size_t piece) {
                  if (use.memory() != nullptr)
                    return use.memory()->to_file(fd, file_offset + done, offset, piece).ok();
                  const std::byte* from = peer(use, offset);
                  return from != nullptr &&
                         ::pwrite(fd, from, piece, static_cast<off_t>(file_offset + done)) ==
                             static_cast<ssize_t>(piece);
                });
}

Status Model::write_from_file(Sbdf source, Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset) {
  if (in_msi_window(iova)) return fault(source, iova, Access::write, FaultReason::bad_message);
  return access(source, iova, bytes, Access::write,
                [&](const FrameTable::Use& use, std::uint64_t offset, std::size_t done, std::size_t piece) {
                  if (use.memory() != nullptr)
                    return use.memory()->from_file(fd, file_offset + done, offset, piece).ok();
                  std::byte* to = peer(use, offset);
                  if (to == nullptr || ::pread(fd, to, piece, static_cast<off_t>(file_offset + done)) !=
                                           static_cast<ssize_t>(piece))
                    return false;
                  use.function()->peer_written();
                  return true;
                });
}

void Model::message(Sbdf source, std::uint64_t address, std::uint32_t data) {
  switch (routing_.arrive(source, address, data)) {
    case MsiRouting::Arrival::delivered:
    case MsiRouting::Arrival::held:
      return;
    case MsiRouting::Arrival::unbound:
    case MsiRouting::Arrival::unknown:
      (void)fault(source, Iova(address), Access::write, FaultReason::bad_message);
  }
}

void Model::bus_master_off(Sbdf source, Iova iova, Access access) {
  (void)fault(source, iova, access, FaultReason::not_attached);
}

void Model::intx(Sbdf source, bool asserted) { routing_.line(source, asserted); }

}  // namespace pviommu::model
