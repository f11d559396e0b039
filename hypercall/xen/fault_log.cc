// SPDX-License-Identifier: LGPL-2.1-or-later
// A line at a time: feed() joins the pieces of the ring to lines, take_line() recognises
// those of the two vendors.  VT-d's first line waits for its second one, which has the reason;
// settle() ends the waiting, lost_text() starts afresh.
#include "hypercall/xen/fault_log.h"

#include <charconv>

#include "hypercall/pci_device.h"

namespace pviommu::xen {
namespace {

// Xen formats a message in 1024 bytes (console.c, vprintk_common); what is longer
// is not a message.
constexpr std::size_t kLongestLine = 2048;

// AMD I/O Virtualization Technology specification, 2.5.3: flags of IO_PAGE_FAULT,
// bits 16 to 27 of the event's second word.
constexpr std::uint64_t kAmdInterrupt = 0x008;
constexpr std::uint64_t kAmdPresent = 0x010;
constexpr std::uint64_t kAmdWrite = 0x020;
constexpr std::uint64_t kAmdPermission = 0x040;

// What an interrupt message is written to; the log has its index only.
constexpr Iova kMessageWindow{0xfee00000};

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<std::uint64_t> take_number(std::string_view& text, int base) {
  std::uint64_t value = 0;
  const auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (problem != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  return value;
}

std::optional<Sbdf> take_sbdf(std::string_view& text) {
  constexpr std::size_t kLength = sizeof "ssss:bb:dd.f" - 1;
  if (text.size() < kLength) return std::nullopt;
  const auto sbdf = parse_sbdf(text.substr(0, kLength));
  if (!sbdf) return std::nullopt;
  text.remove_prefix(kLength);
  return *sbdf;
}

/// VT-d specification 4.1, table 27.  An entry has no present bit, only one for
/// each right: 5 and 6 are also what an empty one gives, and as direct mappings
/// have every right, that is what they mean here.
FaultReason reason_of(std::uint64_t code) {
  switch (code) {
    case 0x01 ... 0x03:  // root or context entry
    case 0x08 ... 0x0b:
      return FaultReason::not_attached;
    case 0x0d:  // a device with a translation cache asked for a translation
      return FaultReason::not_permitted;
    case 0x20 ... 0x27:
      return FaultReason::bad_message;
    default:
      return FaultReason::not_mapped;
  }
}

/// Parses what stands behind "[VT-D]" in the first line.
std::optional<Fault> vtd_request(std::string_view text) {
  Fault fault;
  if (take(text, "DMAR:[DMA Read]"))
    fault.access = Access::read;
  else if (take(text, "DMAR:[DMA Write]") || text.starts_with("INTR-REMAP:"))
    fault.access = Access::write;
  else if (!text.starts_with("UNKNOWN:"))
    return std::nullopt;
  const bool message = take(text, "INTR-REMAP:");
  if (!message) (void)take(text, "UNKNOWN:");
  if (!take(text, " Request device [")) return std::nullopt;
  const auto sbdf = take_sbdf(text);
  if (!sbdf || !take(text, message ? "] fault index " : "] fault addr ")) return std::nullopt;
  const auto address = take_number(text, 16);
  if (!address) return std::nullopt;
  fault.sbdf = *sbdf;
  fault.iova = message ? kMessageWindow : Iova(*address);
  fault.reason = message ? FaultReason::bad_message : FaultReason::not_mapped;
  return fault;
}

/// Parses what stands behind "[VT-D]" in the second line.
std::optional<FaultReason> vtd_reason(std::string_view text) {
  if (!take(text, "DMAR: reason ") && !take(text, "INTR-REMAP: reason ") && !take(text, "UNKNOWN: reason "))
    return std::nullopt;
  const auto code = take_number(text, 16);
  if (!code) return std::nullopt;
  return reason_of(*code);
}

/// Parses what stands behind "AMD-Vi: IO_PAGE_FAULT: ".
std::optional<Fault> amd_fault(std::string_view text) {
  const auto sbdf = take_sbdf(text);
  if (!sbdf || !take(text, " d") || !take_number(text, 10) || !take(text, " addr ")) return std::nullopt;
  const auto address = take_number(text, 16);
  if (!address || !take(text, " flags ")) return std::nullopt;
  (void)take(text, "0x");  // printed as %#x: none before 0
  const auto flags = take_number(text, 16);
  if (!flags) return std::nullopt;
  Fault fault;
  fault.sbdf = *sbdf;
  fault.iova = Iova(*address);
  fault.access = (*flags & (kAmdWrite | kAmdInterrupt)) != 0 ? Access::write : Access::read;
  if ((*flags & kAmdInterrupt) != 0)
    fault.reason = FaultReason::bad_message;
  else if ((*flags & kAmdPresent) != 0 && (*flags & kAmdPermission) != 0)
    fault.reason = FaultReason::not_permitted;
  return fault;
}

/// What stands behind `marker`, wherever that is: before it are the console's
/// prefix, a time stamp, or what dom0 had begun to print.
std::optional<std::string_view> behind(std::string_view line, std::string_view marker) {
  const auto at = line.find(marker);
  if (at == line.npos) return std::nullopt;
  return line.substr(at + marker.size());
}

}  // namespace

void FaultLog::feed(std::string_view chunk, std::vector<Fault>& out) {
  while (!chunk.empty()) {
    const auto end = chunk.find('\n');
    const std::string_view piece = chunk.substr(0, end);
    if (!skipping_) {
      if (partial_.size() + piece.size() > kLongestLine) {
        skipping_ = true;
        partial_.clear();
      } else if (end == chunk.npos) {
        partial_ += piece;
      } else if (partial_.empty()) {
        take_line(piece, out);
      } else {
        partial_ += piece;
        take_line(partial_, out);
      }
    }
    if (end == chunk.npos) return;
    partial_.clear();
    skipping_ = false;
    chunk.remove_prefix(end + 1);
  }
}

void FaultLog::settle(std::vector<Fault>& out) {
  if (waiting_) out.push_back(*waiting_);
  waiting_.reset();
}

void FaultLog::lost_text(std::vector<Fault>& out) {
  partial_.clear();
  skipping_ = false;  // half a line is none by itself, and a whole one may come
  settle(out);        // the next reason is another fault's
}

void FaultLog::take_line(std::string_view line, std::vector<Fault>& out) {
  if (line.starts_with("(d")) return;
  if (auto text = behind(line, "[VT-D]")) {
    if (const auto fault = vtd_request(*text)) {
      settle(out);  // the one before stays without its second line
      waiting_ = fault;
    } else if (const auto reason = vtd_reason(*text); reason && waiting_) {
      waiting_->reason = *reason;
      settle(out);
    }
  } else if (text = behind(line, "AMD-Vi: IO_PAGE_FAULT: "); text) {
    if (const auto fault = amd_fault(*text)) out.push_back(*fault);
  } else if (text = behind(line, "printk: "); text) {
    if (const auto count = take_number(*text, 10); count && text->starts_with(" messages suppressed."))
      suppressed_ += *count;
  }
}

}  // namespace pviommu::xen
