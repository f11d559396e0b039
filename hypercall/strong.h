// SPDX-License-Identifier: LGPL-2.1-or-later
// Strong integer types: addresses and numbers that must not be mixed up.
//
// An I/O virtual address, a machine frame and a host virtual address are all
// 64-bit numbers; every one of the expensive bugs of this field is one of them
// used as another.  They are distinct types here, without implicit conversion
// in or out; the few conversions that mean something are named functions.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace pviommu {

template <class Tag, class Rep = std::uint64_t>
class Strong {
 public:
  using rep = Rep;
  constexpr Strong() = default;
  constexpr explicit Strong(Rep value) : value_(value) {}
  constexpr Rep raw() const { return value_; }
  friend constexpr auto operator<=>(Strong, Strong) = default;

  // Displacement by a count of the type's own unit (bytes for addresses,
  // frames for frame numbers).  Wraps like the representation: callers work on
  // checked ranges (range.h), where a wrap has already been refused.
  constexpr Strong operator+(Rep n) const { return Strong(value_ + n); }
  constexpr Strong operator-(Rep n) const { return Strong(value_ - n); }
  constexpr Rep operator-(Strong other) const { return value_ - other.value_; }

 private:
  Rep value_ = 0;
};

using Iova = Strong<struct IovaTag>;  ///< I/O virtual address, bytes (what a device puts on the bus)
using Dfn = Strong<struct DfnTag>;    ///< device frame number: Iova >> 12
using Gfn = Strong<struct GfnTag>;    ///< guest frame number of a domain's physical map
using Mfn = Strong<struct MfnTag>;    ///< machine frame number, 4 KiB unit
using Hva = Strong<struct HvaTag>;    ///< address in this process, bytes
using Domid = Strong<struct DomidTag, std::uint16_t>;  ///< Xen domain id

/// PCI segment, bus, device, function: seg << 16 | bus << 8 | dev << 3 | fn
/// (Xen's pci_sbdf_t, xen/include/xen/pci.h).
using Sbdf = Strong<struct SbdfTag, std::uint32_t>;

constexpr Sbdf make_sbdf(unsigned segment, unsigned bus, unsigned device, unsigned function) {
  return Sbdf((segment & 0xffff) << 16 | (bus & 0xff) << 8 | (device & 0x1f) << 3 | (function & 7));
}

inline constexpr unsigned kPageShift = 12;
inline constexpr std::uint64_t kPageSize = std::uint64_t{1} << kPageShift;

constexpr bool page_aligned(std::uint64_t bytes) { return (bytes & (kPageSize - 1)) == 0; }
/// The frame an address lies in.
constexpr Dfn dfn_of(Iova iova) { return Dfn(iova.raw() >> kPageShift); }
constexpr Iova iova_of(Dfn dfn) { return Iova(dfn.raw() << kPageShift); }

/// What a device may do with a mapping, seen from the device (VFIO_DMA_MAP_FLAG_*).
enum class Access : std::uint8_t { none = 0, read = 1, write = 2, read_write = 3 };
constexpr Access operator&(Access a, Access b) {
  return static_cast<Access>(static_cast<std::uint8_t>(a) & static_cast<std::uint8_t>(b));
}
constexpr Access operator|(Access a, Access b) {
  return static_cast<Access>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}
/// True when every right in `wanted` is in `granted`.
constexpr bool allows(Access granted, Access wanted) { return (granted & wanted) == wanted; }

}  // namespace pviommu

template <class Tag, class Rep>
struct std::hash<pviommu::Strong<Tag, Rep>> {
  std::size_t operator()(pviommu::Strong<Tag, Rep> v) const noexcept { return std::hash<Rep>()(v.raw()); }
};
