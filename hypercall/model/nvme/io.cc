// SPDX-License-Identifier: LGPL-2.1-or-later
// The NVM command set (NVM Express 1.4, chapter 6).
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "hypercall/model/nvme/controller.h"

namespace pviommu::model::nvme {
namespace {

constexpr std::uint32_t kForceUnitAccess = 1u << 30;
constexpr std::uint32_t kDeallocate = 1u << 25;         // Write Zeroes
constexpr std::uint32_t kDeallocateAttribute = 1u << 2;  // Dataset Management

std::uint64_t start_of(const Command& command) {
  return std::uint64_t{command.cdw11} << 32 | command.cdw10;
}
std::uint64_t blocks_of(const Command& command) { return (command.cdw12 & 0xffff) + std::uint64_t{1}; }

/// The bus answers EFAULT when the translation refuses and EPERM without bus
/// mastering; everything else is the file's.
StatusCode transfer_error(const Error& error, StatusCode medium) {
  return error.code == EFAULT || error.code == EPERM ? StatusCode::data_transfer_error : medium;
}

}  // namespace

Controller::Outcome Controller::execute_io(const Command& command) {
  const auto opcode = static_cast<IoOpcode>(command.opcode);
  if (opcode == IoOpcode::flush) {
    // Flush takes all namespaces too (VWC bits 2:1, 6.8).
    if (command.nsid != kNamespace && command.nsid != kAllNamespaces) return StatusCode::invalid_namespace;
    Outcome outcome;
    outcome.needs_sync = true;
    return outcome;
  }
  using Handler = Outcome (Controller::*)(const Command&);
  Handler handler = nullptr;
  bool writes = true;
  switch (opcode) {
    case IoOpcode::read:
      handler = &Controller::read;
      writes = false;
      break;
    case IoOpcode::compare:
      handler = &Controller::compare;
      writes = false;
      break;
    case IoOpcode::write:
      handler = &Controller::write;
      break;
    case IoOpcode::write_zeroes:
      handler = &Controller::write_zeroes;
      break;
    case IoOpcode::dataset_management:
      handler = &Controller::manage_dataset;
      break;
    default:
      return StatusCode::invalid_opcode;
  }
  if (command.nsid != kNamespace) return StatusCode::invalid_namespace;
  if (writes && backing_.read_only()) return StatusCode::write_protected;
  return (this->*handler)(command);
}

StatusCode Controller::check_range(std::uint64_t slba, std::uint64_t blocks) const {
  const std::uint64_t size = backing_.bytes() >> lba_shift_;
  return slba > size || blocks > size - slba ? StatusCode::lba_out_of_range : StatusCode::success;
}

// Checks the range and finds the memory of Read, Write and Compare.
StatusCode Controller::find_data(const Command& command, std::size_t& bytes) {
  bytes = blocks_of(command) << lba_shift_;
  if (bytes > kLargestTransfer) return StatusCode::invalid_field;  // 5.15.2.2, MDTS
  const StatusCode range = check_range(start_of(command), blocks_of(command));
  if (range != StatusCode::success) return range;
  return prps_.walk(command.prp1, command.prp2, bytes, page_shift_);
}

Controller::Outcome Controller::read(const Command& command) {
  std::size_t bytes = 0;
  const StatusCode found = find_data(command, bytes);
  if (found != StatusCode::success) return found;
  std::uint64_t offset = start_of(command) << lba_shift_;
  for (const Extent& extent : prps_.extents()) {
    const Status status = dma_from_file(extent.iova, extent.bytes, backing_.fd(), offset);
    if (!status) return transfer_error(status.error(), StatusCode::unrecovered_read);
    offset += extent.bytes;
  }
  ++health_.read_commands.low;
  bytes_read_ += bytes;
  bytes_moved_ += bytes;
  return StatusCode::success;
}

Controller::Outcome Controller::write(const Command& command) {
  std::size_t bytes = 0;
  const StatusCode found = find_data(command, bytes);
  if (found != StatusCode::success) return found;
  std::uint64_t offset = start_of(command) << lba_shift_;
  for (const Extent& extent : prps_.extents()) {
    const Status status = dma_to_file(extent.iova, extent.bytes, backing_.fd(), offset);
    if (!status) return transfer_error(status.error(), StatusCode::write_fault);
    offset += extent.bytes;
  }
  ++health_.write_commands.low;
  bytes_written_ += bytes;
  bytes_moved_ += bytes;
  Outcome outcome;
  outcome.needs_sync = (command.cdw12 & kForceUnitAccess) != 0 || !write_cache();
  return outcome;
}

Controller::Outcome Controller::compare(const Command& command) {
  std::size_t bytes = 0;
  const StatusCode found = find_data(command, bytes);
  if (found != StatusCode::success) return found;
  bytes_moved_ += bytes;
  std::uint64_t offset = start_of(command) << lba_shift_;
  std::array<std::byte, 4096> ours;
  std::array<std::byte, 4096> theirs;
  for (const Extent& extent : prps_.extents()) {
    for (std::size_t at = 0; at < extent.bytes;) {
      const std::size_t piece = std::min(extent.bytes - at, ours.size());
      const ssize_t n = ::pread(backing_.fd(), ours.data(), piece, static_cast<off_t>(offset));
      if (n != static_cast<ssize_t>(piece)) return StatusCode::unrecovered_read;
      if (!dma_read(extent.iova + at, std::span(theirs).first(piece))) return StatusCode::data_transfer_error;
      if (std::memcmp(ours.data(), theirs.data(), piece) != 0) return StatusCode::compare_failure;
      at += piece;
      offset += piece;
    }
  }
  return StatusCode::success;
}

Controller::Outcome Controller::write_zeroes(const Command& command) {
  const StatusCode range = check_range(start_of(command), blocks_of(command));
  if (range != StatusCode::success) return range;
  if (!backing_.zero(start_of(command) << lba_shift_, blocks_of(command) << lba_shift_,
                     (command.cdw12 & kDeallocate) != 0)) {
    return StatusCode::write_fault;
  }
  Outcome outcome;
  outcome.needs_sync = (command.cdw12 & kForceUnitAccess) != 0 || !write_cache();
  return outcome;
}

// All ranges are checked before the first is deallocated.  The attributes other
// than deallocation are hints (6.7).
Controller::Outcome Controller::manage_dataset(const Command& command) {
  std::array<DatasetRange, 256> ranges;
  const std::size_t count = (command.cdw10 & 0xff) + std::size_t{1};
  const StatusCode found =
      prps_.walk(command.prp1, command.prp2, count * sizeof(DatasetRange), page_shift_);
  if (found != StatusCode::success) return found;
  std::span<std::byte> rest = std::as_writable_bytes(std::span(ranges));
  for (const Extent& extent : prps_.extents()) {
    if (!dma_read(extent.iova, rest.first(extent.bytes))) return StatusCode::data_transfer_error;
    rest = rest.subspan(extent.bytes);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const StatusCode range = check_range(ranges[i].slba, ranges[i].blocks);
    if (range != StatusCode::success) return range;
  }
  if ((command.cdw11 & kDeallocateAttribute) == 0) return StatusCode::success;
  for (std::size_t i = 0; i < count; ++i) {
    if (!backing_.deallocate(ranges[i].slba << lba_shift_, std::uint64_t{ranges[i].blocks} << lba_shift_))
      return StatusCode::write_fault;
  }
  return StatusCode::success;
}

}  // namespace pviommu::model::nvme
