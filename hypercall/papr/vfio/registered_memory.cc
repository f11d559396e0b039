// SPDX-License-Identifier: LGPL-2.1-or-later
//   add(piece)   along the piece: a registration that covers a part gets one user more,
//                a gap becomes a registration in all containers, or in none
//   remove()     one user less for each; the last one ends it everywhere
#include "hypercall/papr/vfio/registered_memory.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace pviommu::spapr {

RegisteredMemory::RegisteredMemory(VfioCalls& calls, std::uint64_t page, const std::string& pagemap)
    : calls_(calls),
      page_(page),
      watched_(!pagemap.empty()),
      pagemap_(pagemap.empty() ? -1 : ::open(pagemap.c_str(), O_RDONLY | O_CLOEXEC)) {}

/// Empty: not all of them are known.
std::vector<std::uint64_t> RegisteredMemory::frames_at(std::uint64_t first, std::uint64_t last) const {
  if (!pagemap_) return {};
  // Documentation/admin-guide/mm/pagemap.rst: bits 0 to 54, 0 for who may not know.
  constexpr std::uint64_t kFrame = (std::uint64_t{1} << 55) - 1;
  std::vector<std::uint64_t> frames((last - first + 1) / page_);
  const auto bytes = static_cast<ssize_t>(frames.size() * sizeof frames[0]);
  if (::pread(pagemap_.get(), frames.data(), static_cast<std::size_t>(bytes), static_cast<off_t>(first / page_ * sizeof frames[0])) != bytes)
    return {};
  for (std::uint64_t& frame : frames)
    if ((frame &= kFrame) == 0) return {};
  return frames;
}

bool RegisteredMemory::same_pages(std::uint64_t first, const Registration& registration) const {
  return !watched_ || (!registration.frames.empty() && frames_at(first, registration.last) == registration.frames);
}

HvaRange RegisteredMemory::whole_pages(HvaRange piece) const {
  const std::uint64_t mask = page_ - 1;
  return HvaRange::from_last(Hva(piece.first().raw() & ~mask), Hva(piece.last().raw() | mask)).value();
}

Status RegisteredMemory::call(int container, unsigned long request, std::uint64_t first, std::uint64_t last) {
  vfio_iommu_spapr_register_memory memory{};
  memory.argsz = sizeof memory;
  memory.vaddr = first;
  memory.size = last - first + 1;
  const auto done = calls_.ioctl(container, request, &memory);
  const char* name = request == VFIO_IOMMU_SPAPR_REGISTER_MEMORY ? "register memory" : "unregister memory";
  // A positive answer is the number of pages that could be pinned, of which none is
  // any more (mm_iommu_do_alloc() hands it on, Linux 6.12).
  if (done && *done > 0) return Error{EFAULT, name, *done};
  // Alignment and overlap are right, so it is the address.
  if (!done) return Error{done.error().code == EINVAL ? EFAULT : done.error().code, name, done.error().raw};
  return {};
}

Status RegisteredMemory::register_everywhere(std::uint64_t first, std::uint64_t last) {
  for (std::size_t i = 0; i < containers_.size(); ++i) {
    const Status registered = call(containers_[i], VFIO_IOMMU_SPAPR_REGISTER_MEMORY, first, last);
    if (registered) continue;
    while (i-- > 0) (void)call(containers_[i], VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, first, last);
    return registered;
  }
  return {};
}

void RegisteredMemory::unregister_everywhere(std::uint64_t first, std::uint64_t last) noexcept {
  for (const int container : containers_) {
    Status gone;
    for (int tries = 0; tries < 3; ++tries)
      if (gone = call(container, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, first, last); gone) break;
    // It stays pinned until the container is closed, and cannot be mapped by accident.
    if (!gone)
      std::fprintf(stderr, "pviommu: memory at 0x%llx stays pinned: %s\n", static_cast<unsigned long long>(first),
                   to_string(gone.error()).c_str());
  }
}

Status RegisteredMemory::add_container(int container) {
  const std::lock_guard guard(lock_);
  containers_.reserve(containers_.size() + 1);
  for (auto at = registrations_.begin(); at != registrations_.end(); ++at) {
    const Status registered = call(container, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, at->first, at->second.last);
    if (registered) continue;
    while (at != registrations_.begin()) {
      --at;
      (void)call(container, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, at->first, at->second.last);
    }
    return registered;
  }
  containers_.push_back(container);
  return {};
}

void RegisteredMemory::remove_container(int container) noexcept {
  const std::lock_guard guard(lock_);
  std::erase(containers_, container);
}

Status RegisteredMemory::add(HvaRange piece) {
  const HvaRange whole = whole_pages(piece);
  const std::uint64_t end = whole.last().raw();
  const std::lock_guard guard(lock_);
  std::uint64_t at = whole.first().raw();
  auto next = registrations_.upper_bound(at);
  if (next != registrations_.begin() && std::prev(next)->second.last >= at) --next;
  // Along the piece: what is there is used once more, the gaps are filled.
  while (true) {
    std::uint64_t last = end;
    if (next != registrations_.end() && next->first <= at) {
      if (!same_pages(next->first, next->second)) {
        if (at != whole.first().raw()) drop(whole.first().raw(), at - 1);
        return Error{EBUSY, "register memory: the addresses are registered, with other pages"};
      }
      ++next->second.users;
      last = next->second.last;
      ++next;
    } else {
      if (next != registrations_.end() && next->first <= end) last = next->first - 1;
      const auto made = registrations_.emplace_hint(next, at, Registration{last, 1});
      if (const Status registered = register_everywhere(at, last); !registered) {
        registrations_.erase(made);
        if (at != whole.first().raw()) drop(whole.first().raw(), at - 1);
        return registered;
      }
      if (watched_) made->second.frames = frames_at(at, last);
    }
    if (last >= end) return {};
    at = last + 1;
  }
}

void RegisteredMemory::remove(HvaRange piece) noexcept {
  const HvaRange whole = whole_pages(piece);
  const std::lock_guard guard(lock_);
  drop(whole.first().raw(), whole.last().raw());
}

/// Takes a user from every registration that [first, last] touches.
void RegisteredMemory::drop(std::uint64_t first, std::uint64_t last) noexcept {
  auto at = registrations_.upper_bound(first);
  if (at != registrations_.begin() && std::prev(at)->second.last >= first) --at;
  while (at != registrations_.end() && at->first <= last) {
    if (--at->second.users != 0) {
      ++at;
      continue;
    }
    unregister_everywhere(at->first, at->second.last);
    at = registrations_.erase(at);
  }
}

std::size_t RegisteredMemory::registrations() const {
  const std::lock_guard guard(lock_);
  return registrations_.size();
}

}  // namespace pviommu::spapr
