// SPDX-License-Identifier: LGPL-2.1-or-later
//   frames_of(): pagemap, 4096 pages a read --> leaf(): four levels of dom0's p2m --> runs
//
// A leaf, once mapped, is used until the kernel says (p2m_generation) that it has changed the
// tree; then all are forgotten and looked up again.
#include "hypercall/xen/physical_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
extern "C" {
#include <xenforeignmemory.h>
}

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

namespace pviommu::xen {
namespace {

// Documentation/admin-guide/mm/pagemap.rst
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kPfnMask = (std::uint64_t{1} << 55) - 1;
/// Entries of pagemap that are read at once.
constexpr std::size_t kPagemapPages = 4096;

// Entries of the p2m that are not dom0's RAM (arch/x86/include/asm/xen/page.h): foreign and
// identity frames have these bits, an invalid one has all bits.
constexpr std::uint64_t kForeignFrame = std::uint64_t{1} << 63;
constexpr std::uint64_t kIdentityFrame = std::uint64_t{1} << 62;

constexpr std::uint64_t kEntriesPerPage = 512;
constexpr std::uint64_t kTableAddress = 0x000ffffffffff000;
constexpr std::uint64_t kTablePresent = 1;
constexpr int kGenerationTries = 1000;
constexpr int kPresentTries = 8;

}  // namespace

Result<std::unique_ptr<PhysicalMap>> PhysicalMap::open(XenCalls& calls) {
  std::unique_ptr<PhysicalMap> map(new (std::nothrow) PhysicalMap);
  if (!map) return Error{ENOMEM, "p2m"};
  map->entries_.resize(kPagemapPages);
  map->pagemap_.reset(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!map->pagemap_) return Error{errno, "open /proc/self/pagemap"};
  map->foreign_ = map->fds_.watch([] { return ::xenforeignmemory_open(nullptr, 0); });
  if (map->foreign_ == nullptr) return Error{errno, "xenforeignmemory_open"};

  xen_domctl op{};
  op.cmd = XEN_DOMCTL_getdomaininfo;
  PVIOMMU_TRY(calls.domctl(op, "XEN_DOMCTL_getdomaininfo (0)"));
  if (op.u.getdomaininfo.domain != 0) return Error{ESRCH, "domain 0"};
  map->shared_ = static_cast<const shared_info_t*>(map->map_frame(op.u.getdomaininfo.shared_info_frame));
  if (map->shared_ == nullptr) return Error{errno, "shared info page of domain 0"};
  if (map->shared_->arch.p2m_cr3 == 0 || map->shared_->arch.p2m_vaddr == 0)
    return Error{EOPNOTSUPP, "p2m of domain 0: none (not a PV dom0)"};
  return map;
}

PhysicalMap::~PhysicalMap() {
  forget_leaves();
  if (shared_ != nullptr) unmap_frame(shared_);
  fds_.forget();
  if (foreign_ != nullptr) ::xenforeignmemory_close(foreign_);
}

const void* PhysicalMap::map_frame(std::uint64_t mfn) {
  const xen_pfn_t frame = mfn;
  int error = 0;
  void* page = ::xenforeignmemory_map(foreign_, DOMID_SELF, PROT_READ, 1, &frame, &error);
  if (page == nullptr && error != 0) errno = -error;
  return page;
}

void PhysicalMap::unmap_frame(const void* page) {
  ::xenforeignmemory_unmap(foreign_, const_cast<void*>(page), 1);
}

std::uint64_t PhysicalMap::generation() const {
  return __atomic_load_n(&shared_->arch.p2m_generation, __ATOMIC_ACQUIRE);
}

void PhysicalMap::forget_leaves() {
  for (const auto& [number, page] : leaves_) unmap_frame(page);
  leaves_.clear();
}

Result<const std::uint64_t*> PhysicalMap::leaf(std::uint64_t pfn) {
  const std::uint64_t number = pfn / kEntriesPerPage;
  for (int again = 0; again < kGenerationTries; ++again) {
    const std::uint64_t now = generation();
    if ((now & 1) != 0) {  // the kernel is at it
      ::usleep(100);
      continue;
    }
    if (now != generation_) {
      forget_leaves();
      generation_ = now;
    }
    if (const auto found = leaves_.find(number); found != leaves_.end()) return found->second;

    const std::uint64_t address = shared_->arch.p2m_vaddr + number * kPageSize;
    std::uint64_t table = xen_cr3_to_pfn(shared_->arch.p2m_cr3);
    for (int level = 3; level >= 0; --level) {
      const auto* entries = static_cast<const std::uint64_t*>(map_frame(table));
      if (entries == nullptr) return Error{errno, "p2m: page table"};
      const std::uint64_t entry = entries[address >> (12 + 9 * level) & 511];
      unmap_frame(entries);
      if ((entry & kTablePresent) == 0) return Error{EFAULT, "p2m: hole"};
      table = (entry & kTableAddress) >> kPageShift;
    }
    const auto* page = static_cast<const std::uint64_t*>(map_frame(table));
    if (page == nullptr) return Error{errno, "p2m: leaf"};
    if (generation() != now) {
      unmap_frame(page);
      continue;
    }
    try {
      leaves_.emplace(number, page);
    } catch (const std::bad_alloc&) {
      unmap_frame(page);
      return Error{ENOMEM, "p2m"};
    }
    return page;
  }
  return Error{EAGAIN, "p2m: changes all the time"};
}

Result<std::uint64_t> PhysicalMap::awaited(std::uint64_t page) {
  for (int again = 0; again < kPresentTries; ++again) {
    // Waits until the kernel is done with the page.  Before Linux 5.14 there is no such call.
    if (::madvise(reinterpret_cast<void*>(page << kPageShift), std::size_t{1} << kPageShift, MADV_POPULATE_READ) != 0)
      ::usleep(100);
    std::uint64_t entry = 0;
    const auto at = static_cast<off_t>(page * sizeof entry);
    if (::pread(pagemap_.get(), &entry, sizeof entry, at) != sizeof entry) return Error{EFAULT, "read /proc/self/pagemap"};
    if ((entry & kPresent) != 0) return entry;
  }
  return Error{EFAULT, "page is not in memory"};
}

Status PhysicalMap::frames_of(HvaRange range, std::vector<FrameRun>& out) {
  const std::lock_guard guard(lock_);
  const std::uint64_t first_page = range.first().raw() >> kPageShift;
  const std::uint64_t pages = range.size() >> kPageShift;
  const std::uint64_t* leaf_page = nullptr;
  std::uint64_t leaf_number = ~std::uint64_t{0};
  for (std::uint64_t at = 0; at < pages;) {
    const std::size_t step = static_cast<std::size_t>(std::min<std::uint64_t>(pages - at, kPagemapPages));
    const ssize_t got = ::pread(pagemap_.get(), entries_.data(), step * sizeof(std::uint64_t),
                                static_cast<off_t>((first_page + at) * sizeof(std::uint64_t)));
    if (got != static_cast<ssize_t>(step * sizeof(std::uint64_t)))
      return Error{got < 0 ? errno : EFAULT, "read /proc/self/pagemap"};
    for (std::size_t i = 0; i < step; ++i) {
      if ((entries_[i] & kPresent) == 0) entries_[i] = PVIOMMU_TRY(awaited(first_page + at + i));
      const std::uint64_t pfn = entries_[i] & kPfnMask;
      // Page frame numbers read as 0 without CAP_SYS_ADMIN.
      if (pfn == 0) return Error{EPERM, "page frame numbers need CAP_SYS_ADMIN"};
      if (pfn / kEntriesPerPage != leaf_number) {
        leaf_number = pfn / kEntriesPerPage;
        leaf_page = PVIOMMU_TRY(leaf(pfn));
      }
      const std::uint64_t mfn = leaf_page[pfn % kEntriesPerPage];
      if ((mfn & (kForeignFrame | kIdentityFrame)) != 0) return Error{EFAULT, "page is not this domain's memory"};
      if (!out.empty() && out.back().mfn + out.back().pages == Mfn(mfn))
        ++out.back().pages;
      else
        out.push_back({Mfn(mfn), 1});
    }
    at += step;
  }
  return {};
}

}  // namespace pviommu::xen
