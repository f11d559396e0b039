// SPDX-License-Identifier: LGPL-2.1-or-later
// Identify and Get Log Page: what the controller tells about itself.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "hypercall/model/nvme/controller.h"

namespace pviommu::model::nvme {
namespace {

constexpr std::string_view kFirmware = "1.0";
/// Identify strings are padded with spaces and have no end mark (5.15.2.2).
template <std::size_t N>
void put_padded(char (&field)[N], std::string_view text) {
  std::memset(field, ' ', N);
  std::memcpy(field, text.data(), std::min(N, text.size()));
}

}  // namespace

// Sends `data` to the memory of the command.
StatusCode Controller::answer(const Command& command, std::span<const std::byte> data) {
  const StatusCode found = prps_.walk(command.prp1, command.prp2, data.size(), page_shift_);
  if (found != StatusCode::success) return found;
  bytes_moved_ += data.size();
  for (const Extent& extent : prps_.extents()) {
    if (!dma_write(extent.iova, data.first(extent.bytes))) return StatusCode::data_transfer_error;
    data = data.subspan(extent.bytes);
  }
  return StatusCode::success;
}

Controller::Outcome Controller::identify(const Command& command) {
  switch (static_cast<Cns>(command.cdw10 & 0xff)) {
    case Cns::ns: {
      // Namespace management is not supported, so there are no common attributes
      // to be had for kAllNamespaces; an identifier above NN is invalid.
      if (command.nsid != kNamespace) return StatusCode::invalid_namespace;
      const IdentifyNamespace ns = describe_namespace();
      return answer(command, std::as_bytes(std::span(&ns, 1)));
    }
    case Cns::controller: {
      const IdentifyController controller = describe_controller();
      return answer(command, std::as_bytes(std::span(&controller, 1)));
    }
    case Cns::active_list: {
      // Identifiers above NSID, ascending, ended by 0 (5.15.2.3).
      if (command.nsid >= 0xfffffffe) return StatusCode::invalid_namespace;
      std::array<std::uint32_t, 1024> list{};
      if (command.nsid < kNamespace) list[0] = kNamespace;
      return answer(command, std::as_bytes(std::span(list)));
    }
    case Cns::descriptors: {
      if (command.nsid != kNamespace) return StatusCode::invalid_namespace;
      // One descriptor: NIDT 3 (UUID), NIDL 16; a type of 0 ends the list
      // (5.15.2.4).  Made of the serial, so that it is the same every time.
      std::array<std::uint8_t, 4096> list{3, 16};
      std::uint64_t hash = 0xcbf29ce484222325;
      for (unsigned i = 0; i < 16; ++i) {
        for (const char c : options_.serial) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
        hash = (hash ^ i) * 0x100000001b3;
        list[4 + i] = static_cast<std::uint8_t>(hash >> 32);
      }
      list[4 + 6] = static_cast<std::uint8_t>((list[4 + 6] & 0x0f) | 0x80);  // RFC 9562: version 8,
      list[4 + 8] = static_cast<std::uint8_t>((list[4 + 8] & 0x3f) | 0x80);  // variant 10
      return answer(command, std::as_bytes(std::span(list)));
    }
  }
  return StatusCode::invalid_field;
}

IdentifyController Controller::describe_controller() const {
  IdentifyController id{};
  id.vid = identity().vendor;
  id.ssvid = identity().subsystem_vendor;
  put_padded(id.sn, options_.serial);
  put_padded(id.mn, "pviommu NVMe controller");
  put_padded(id.fr, kFirmware);
  id.rab = 4;
  id.mdts = kMdts;
  id.ver = kVersion;
  id.cntrltype = 1;
  id.acl = 0;
  id.aerl = kEventRequests - 1;
  id.frmw = 1 | 1 << 1;  // slot 1 is read only, one slot
  id.lpa = 1 << 2;       // log pages with offset
  id.elpe = kErrorLogEntries - 1;
  id.wctemp = 343;
  id.cctemp = 373;
  id.sqes = kSqeShift << 4 | kSqeShift;
  id.cqes = kCqeShift << 4 | kCqeShift;
  id.nn = 1;
  id.oncs = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4;  // Compare, Dataset Management, Write Zeroes, select
  id.vwc = 1 | 3 << 1;                          // present; Flush takes all namespaces
  const std::string nqn = "nqn.2024-01.org.pviommu:" + options_.serial;
  std::memcpy(id.subnqn, nqn.data(), std::min(nqn.size(), sizeof(id.subnqn) - 1));
  return id;
}

IdentifyNamespace Controller::describe_namespace() const {
  IdentifyNamespace ns{};
  ns.nsze = backing_.bytes() >> lba_shift_;
  ns.ncap = ns.nsze;
  ns.nuse = ns.nsze;
  ns.dlfeat = backing_.can_deallocate() ? 1 | 1 << 3 : 0;  // reads zeroes; Write Zeroes may deallocate
  ns.nsattr = backing_.read_only() ? 1 : 0;
  ns.lbaf[0].lba_shift = static_cast<std::uint8_t>(lba_shift_);
  return ns;
}

// ---- log pages (5.14) -------------------------------------------------------

Controller::Outcome Controller::get_log_page(const Command& command) {
  const auto page = static_cast<LogPage>(command.cdw10 & 0xff);
  const bool retain = (command.cdw10 >> 15 & 1) != 0;
  const std::uint64_t dwords = (std::uint64_t{command.cdw11 & 0xffff} << 16 | command.cdw10 >> 16) + 1;
  const std::uint64_t offset = std::uint64_t{command.cdw13} << 32 | command.cdw12;

  // Latest error first.
  std::array<ErrorLogEntry, kErrorLogEntries> errors{};
  SmartLog smart{};
  FirmwareLog firmware{};
  std::span<const std::byte> source;
  switch (page) {
    case LogPage::error:
      for (unsigned i = 0; i < kErrorLogEntries && i < errors_logged_; ++i)
        errors[i] = error_log_[(errors_logged_ - 1 - i) % kErrorLogEntries];
      source = std::as_bytes(std::span(errors));
      break;
    case LogPage::smart:
      // LPA bit 0 is clear: not by namespace.
      if (command.nsid != 0 && command.nsid != kAllNamespaces) return StatusCode::invalid_field;
      smart = describe_health();
      source = std::as_bytes(std::span(&smart, 1));
      break;
    case LogPage::firmware:
      firmware = describe_firmware();
      source = std::as_bytes(std::span(&firmware, 1));
      break;
    default:
      return StatusCode::invalid_log_page;
  }
  if (offset % 4 != 0 || offset >= source.size()) return StatusCode::invalid_field;
  // Beyond the end of a page nothing is defined; nothing is sent there.
  const auto bytes = std::min<std::uint64_t>(dwords * 4, source.size() - offset);
  const StatusCode status = answer(command, source.subspan(offset, bytes));
  if (status == StatusCode::success && !retain) {
    if (page == LogPage::error) masked_event_types_ &= ~(1u << kEventTypeError);
    if (page == LogPage::smart) masked_event_types_ &= ~(1u << kEventTypeHealth);
  }
  return status;
}

SmartLog Controller::describe_health() const {
  SmartLog log = health_;
  log.temperature[0] = kRoomTemperature & 0xff;
  log.temperature[1] = kRoomTemperature >> 8;
  log.spare = 100;
  log.spare_threshold = 10;
  log.data_units_read.low = (bytes_read_ + 511999) / 512000;
  log.data_units_written.low = (bytes_written_ + 511999) / 512000;
  log.error_log_entries.low = errors_logged_;
  if (warns_of_temperature()) log.critical_warning |= kWarningTemperature;
  return log;
}

FirmwareLog Controller::describe_firmware() const {
  FirmwareLog log{};
  log.afi = 1;
  put_padded(log.slot[0], kFirmware);
  return log;
}

}  // namespace pviommu::model::nvme
