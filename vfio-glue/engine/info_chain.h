// SPDX-License-Identifier: LGPL-2.1-or-later
// Capability chains behind the VFIO info structures.
//
//   | info structure | cap header, body | cap header, body | ...
//        cap_offset --^        next -----^
//
// Offsets count from the start of the info structure (vfio.h, struct
// vfio_info_cap_header).  Each capability takes a multiple of 8 bytes, as on Linux
// since 6.6, so that the u64 in the next one are aligned.
#pragma once

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hypercall/range.h"

namespace pviommu::vfio {

class InfoChain {
 public:
  /// `base`: size of the info structure the chain follows, a multiple of 8.
  explicit InfoChain(std::uint32_t base) : base_(base) {}

  /// Appends a capability; `body` begins with a vfio_info_cap_header, whose
  /// fields are filled in here.
  void add(std::uint16_t id, std::uint16_t version, const void* body, std::size_t bytes) {
    const std::size_t at = bytes_.size();
    bytes_.resize((at + bytes + 7) & ~std::size_t{7});
    std::memcpy(bytes_.data() + at, body, bytes);
    const vfio_info_cap_header header{.id = id, .version = version, .next = 0};
    std::memcpy(bytes_.data() + at, &header, sizeof header);
    if (at != 0) {
      const std::uint32_t next = base_ + static_cast<std::uint32_t>(at);
      std::memcpy(bytes_.data() + last_ + offsetof(vfio_info_cap_header, next), &next, sizeof next);
    }
    last_ = at;
  }

  /// VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE of a container's or an IOAS's addresses.
  void add_iova_ranges(const std::vector<IovaRange>& ranges) {
    vfio_iommu_type1_info_cap_iova_range head{};
    head.nr_iovas = static_cast<std::uint32_t>(ranges.size());
    std::vector<std::uint8_t> body(sizeof head + ranges.size() * sizeof(vfio_iova_range));
    std::memcpy(body.data(), &head, sizeof head);
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      const vfio_iova_range range{ranges[i].first().raw(), ranges[i].last().raw()};
      std::memcpy(body.data() + sizeof head + i * sizeof range, &range, sizeof range);
    }
    add(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, body.data(), body.size());
  }

  bool empty() const { return bytes_.empty(); }
  /// argsz that takes the structure and the whole chain.
  std::uint32_t total() const { return base_ + static_cast<std::uint32_t>(bytes_.size()); }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  std::uint32_t base_;
  std::size_t last_ = 0;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace pviommu::vfio
