// SPDX-License-Identifier: LGPL-2.1-or-later
// Finding a guest by name, id or UUID; and its address space, where a map of memory is a
// check and only BARs are really mapped.  A BAR is noted in the ledger before Xen hears of
// it, and the note goes after Xen has forgotten it.
#include "hypercall/xen/guest.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

extern "C" {
#include <xenstore.h>
}

#include "hypercall/xen/domain_list.h"
#include "hypercall/xen/events.h"

namespace pviommu::xen {
namespace {

std::optional<std::uint16_t> parse_domid(std::string_view text) {
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// 8-4-4-4-12 hexadecimal digits.
std::optional<DomainHandle> parse_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  DomainHandle handle{};
  std::size_t digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    unsigned digit = 0;
    if (std::from_chars(&c, &c + 1, digit, 16).ec != std::errc{}) return std::nullopt;
    handle[digits / 2] = static_cast<std::uint8_t>(handle[digits / 2] << 4 | digit);
    ++digits;
  }
  return handle;
}

/// The domain; ESRCH where there is none, or the next one above it (before Xen 4.18).
Result<xen_domctl_getdomaininfo> info_of(XenCalls& calls, std::uint16_t domid) {
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_DOMCTL_getdomaininfo;
  op.domain = domid;
  PVIOMMU_TRY(calls.domctl(op, "XEN_DOMCTL_getdomaininfo"));
  return op.u.getdomaininfo;
}

/// Finds the first domain for which `matches(info)` is true; empty: there is none.
template <class Matches>
Result<std::optional<xen_domctl_getdomaininfo>> find_domain(XenCalls& calls, Matches&& matches) {
  const auto domains = PVIOMMU_TRY(list_domains(calls));
  for (const xen_domctl_getdomaininfo& info : domains)
    if (matches(info)) return std::optional(info);
  return std::optional<xen_domctl_getdomaininfo>();
}

class Names {
 public:
  Names() : store_(open_store()) {}
  ~Names() {
    if (store_ != nullptr) ::xs_close(store_);
  }
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;
  bool there() const { return store_ != nullptr; }
  std::string of(std::uint16_t domid) const {
    unsigned length = 0;
    char* value = static_cast<char*>(
        ::xs_read(store_, XBT_NULL, ("/local/domain/" + std::to_string(domid) + "/name").c_str(), &length));
    std::string name = value != nullptr ? std::string(value, length) : std::string();
    std::free(value);
    return name;
  }

 private:
  xs_handle* store_;
};

/// Whether the domain has an IOMMU.  Xen is asked whether a device that does not exist
/// could be assigned: it answers EOPNOTSUPP where there is no IOMMU, else another error.
bool has_iommu(XenCalls& calls, Domid domid) {
  xen_domctl op;
  std::memset(&op, 0, sizeof op);
  op.cmd = XEN_DOMCTL_test_assign_device;
  op.domain = domid.raw();
  op.u.assign_device.dev = XEN_DOMCTL_DEV_PCI;
  op.u.assign_device.u.pci.machine_sbdf = 0xffff;
  const auto asked = calls.domctl(op, "XEN_DOMCTL_test_assign_device");
  return asked || asked.error().code != EOPNOTSUPP;
}

}  // namespace

Result<std::unique_ptr<Guest>> find_guest(XenCalls& calls, std::string_view text) {
  const std::string name(text);
  const auto tell = [&](int code, const std::string& what) {
    return Error{code, "open xen"}.with_sentence("domain=" + name + ": " + what);
  };
  Result<std::optional<xen_domctl_getdomaininfo>> found = std::optional<xen_domctl_getdomaininfo>();
  if (const auto domid = parse_domid(text)) {
    found = find_domain(calls, [&](const auto& info) { return info.domain == *domid; });
  } else if (const auto uuid = parse_uuid(text)) {
    found = find_domain(calls, [&](const auto& info) {
      return info.domain != 0 && std::memcmp(info.handle, uuid->data(), uuid->size()) == 0;
    });
  } else {
    const Names names;
    if (!names.there())
      return tell(ENOENT, "names need xenstore, which does not answer; give the domain's ID or UUID");
    found = find_domain(calls, [&](const auto& info) { return names.of(info.domain) == text; });
  }
  if (!found) return tell(found.error().code, to_string(found.error()));
  if (!*found)
    return tell(ENOENT, "no domain runs by that name, ID or UUID (`xl list -v` shows those that do)");
  const xen_domctl_getdomaininfo& info = **found;
  CarrierTag tag;
  if (info.domain == 0) return tell(EINVAL, "this is dom0 itself; to use a device here leave domain= out");
  if (parse_handle(info.handle, tag))
    return tell(EINVAL, "this is a carrier domain of pviommu's, not a guest");
  if ((info.flags & XEN_DOMINF_dying) != 0) return tell(ESRCH, "the domain is being destroyed");
  if ((info.flags & XEN_DOMINF_hvm_guest) == 0)
    return tell(
        EOPNOTSUPP,
        "this is a PV guest, whose memory Xen does not translate; HVM and PVH guests can have devices so");
  if (!has_iommu(calls, Domid(info.domain)))
    return tell(EOPNOTSUPP,
                "the domain was made without an IOMMU; make it with passthrough=\"enabled\" (xl) or with a "
                "<hostdev> or <iommu> of libvirt's");
  std::unique_ptr<Guest> guest(new Guest);
  guest->domid = Domid(info.domain);
  std::memcpy(guest->handle.data(), info.handle, guest->handle.size());
  guest->text = name;
  guest->end.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!guest->end) return Error{errno, "eventfd"};
  return guest;
}

bool guest_lives(XenCalls& calls, const Guest& guest) {
  const auto info = info_of(calls, guest.domid.raw());
  if (!info) return info.error().code != ESRCH || info.error().raw == 0;  // anything else says nothing
  return info->domain == guest.domid.raw() && (info->flags & XEN_DOMINF_dying) == 0 &&
         std::memcmp(info->handle, guest.handle.data(), guest.handle.size()) == 0;
}

// ---- mappings --------------------------------------------------------------------

Result<std::unique_ptr<GuestMapping>> GuestMapping::make(XenCalls& calls, const Guest& guest,
                                                         Ledger& ledger) {
  std::unique_ptr<GuestMapping> mapping(new GuestMapping(calls, guest, ledger));
  mapping->bars_ = PVIOMMU_TRY(Mapping::make(calls, guest.domid));
  return mapping;
}

Status GuestMapping::check_frames(Dfn first, std::uint64_t pages, bool ram) {
  for (std::uint64_t done = 0; done < pages;) {
    const std::size_t count = std::min<std::uint64_t>(pages - done, XenCalls::kPageTypes);
    frames_.resize(count);
    for (std::size_t i = 0; i < count; ++i) frames_[i] = first.raw() + done + i;
    PVIOMMU_TRY(calls_.page_types(guest_.domid.raw(), frames_));
    for (const std::uint64_t type : frames_) {
      // Nothing there, not RAM, or broken RAM.
      const bool is_ram = (type & XEN_DOMCTL_PFINFO_LTAB_MASK) != XEN_DOMCTL_PFINFO_XTAB &&
                          (type & XEN_DOMCTL_PFINFO_LTAB_MASK) != XEN_DOMCTL_PFINFO_BROKEN;
      if (is_ram == ram) continue;
      if (ram) return Error{EFAULT, "map: not RAM of the guest"};
      return Error{EEXIST, "map: the guest has RAM there"};
    }
    done += count;
  }
  return {};
}

Status GuestMapping::map_bar(const MapRun& run) {
  // Xen does not ask whether the place is free, so we do, as far as it tells.
  PVIOMMU_TRY(check_frames(run.dfn, run.pages, false));
  LedgerBar* entry = nullptr;
  for (LedgerBar& bar : ledger_.header().bar)
    if (bar.domid.load() == 0) {
      entry = &bar;
      break;
    }
  if (entry == nullptr) return Error{ENOSPC, "map: more pieces of BARs than a guest can have"};
  entry->dfn = run.dfn.raw();
  entry->mfn = run.mfn.raw();
  entry->pages = run.pages;
  entry->domid.store(guest_.domid.raw() + 1u, std::memory_order_release);
  const MapRun one[] = {run};
  const BatchResult mapped = bars_->map(one);
  if (mapped.status) return {};
  Status undone;
  bool lost = mapped.status.error().state_lost;
  if (mapped.pages_done != 0) {
    const UnmapRun back[] = {{run.dfn, run.mfn, mapped.pages_done}};
    for (int again = 0; again < 3; ++again) {
      undone = bars_->unmap(back).status;
      if (undone) break;
      lost = lost || undone.error().state_lost;
    }
  }
  if (undone && !lost) {
    entry->domid.store(0, std::memory_order_release);
    return mapped.status;
  }
  // The note stays, and the guardian puts back what is left.
  return Error{EIO, "map: state lost", mapped.status.error().raw, true};
}

BatchResult GuestMapping::map(std::span<const MapRun> runs) {
  BatchResult result;
  for (const MapRun& run : runs) {
    if (guest_.gone.load())
      result.status = Error{ESRCH, "map: the guest has ended"};
    else if ((run.mfn.raw() & kNamedFrame) != 0)
      result.status = check_frames(run.dfn, run.pages, true);
    else
      result.status = map_bar(run);
    if (!result.status) break;
    result.pages_done += run.pages;
  }
  // Memory of a guest that is about to end is gone before the guest is; and who watches it may
  // have seen the end since we asked for the memory.
  if (!result.status && (guest_.gone.load() || !guest_lives(calls_, guest_)))
    result.status = Error{ESRCH, "map: the guest has ended", 0, result.status.error().state_lost};
  return result;
}

BatchResult GuestMapping::unmap(std::span<const UnmapRun> runs) {
  BatchResult result;
  for (const UnmapRun& run : runs) {
    if ((run.mfn.raw() & kNamedFrame) == 0) {
      const UnmapRun one[] = {run};
      BatchResult removed;
      if (!guest_.gone.load()) removed = bars_->unmap(one);
      if (!removed.status && removed.status.error().code == ESRCH && removed.status.error().raw != 0)
        removed = {};
      if (!removed.status) {
        result.pages_done += removed.pages_done;
        result.status = removed.status;
        break;
      }
      for (LedgerBar& bar : ledger_.header().bar)
        if (bar.domid.load() == guest_.domid.raw() + 1u && bar.dfn >= run.dfn.raw() &&
            bar.dfn + bar.pages <= run.dfn.raw() + run.pages)
          bar.domid.store(0, std::memory_order_release);
    }
    result.pages_done += run.pages;
  }
  return result;
}

}  // namespace pviommu::xen
