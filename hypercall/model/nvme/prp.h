// SPDX-License-Identifier: LGPL-2.1-or-later
// Physical region pages: how a command says where its data lies (NVMe 1.4, 4.3).
//
//   PRP1   first piece, may start within a page
//   PRP2   nothing            when the data ends in PRP1's page
//          the second page    when it ends there
//          a list of pages    otherwise; the last entry of a list that is not
//                             long enough points to the next list
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hypercall/model/nvme/spec.h"
#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu::model::nvme {

/// Bytes that are contiguous for the device.
struct Extent {
  Iova iova;
  std::size_t bytes = 0;
};

class PrpWalker {
 public:
  using ReadMemory = std::function<Status(Iova, std::span<std::byte>)>;

  explicit PrpWalker(ReadMemory read) : read_(std::move(read)) {}

  /// Fills extents() with the pieces of `bytes` (> 0) of data, neighbours
  /// merged.  invalid_prp_offset, or data_transfer_error when a list cannot be read.
  StatusCode walk(std::uint64_t prp1, std::uint64_t prp2, std::size_t bytes, unsigned page_shift);
  const std::vector<Extent>& extents() const { return extents_; }

 private:
  void add(std::uint64_t iova, std::size_t bytes);
  StatusCode walk_lists(std::uint64_t list, std::size_t bytes, std::uint64_t page);

  ReadMemory read_;
  std::vector<Extent> extents_;
  std::vector<std::uint64_t> list_;
};

}  // namespace pviommu::model::nvme
