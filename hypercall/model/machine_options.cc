// SPDX-License-Identifier: LGPL-2.1-or-later
// From "key=value" to MachineOptions.  The presets of `limits=` come first; every other key
// then overrides one of their values.
#include "hypercall/model/machine_options.h"

#include <algorithm>
#include <bit>

#include "hypercall/model/msi_routing.h"

namespace pviommu::model {
namespace {

constexpr std::uint64_t k2M = std::uint64_t{1} << 21;
constexpr std::uint64_t k1G = std::uint64_t{1} << 30;
constexpr std::uint64_t kDynamicWindow = std::uint64_t{1} << 59;  // where PAPR platforms put it

struct ErrnoName {
  const char* name;
  int code;
};
constexpr ErrnoName kErrnoNames[] = {{"ENOMEM", ENOMEM}, {"EIO", EIO},       {"EBUSY", EBUSY},
                                     {"EPERM", EPERM},   {"EINVAL", EINVAL}, {"ENOSPC", ENOSPC},
                                     {"ENODEV", ENODEV}, {"EAGAIN", EAGAIN}, {"ENOSYS", ENOSYS}};

/// "FIRST-LAST", in whole pages.
std::optional<IovaRange> parse_range(const std::string& text) {
  const auto dash = text.find('-');
  if (dash == std::string::npos) return {};
  const auto first = parse_size(std::string_view(text).substr(0, dash));
  const auto last = parse_size(std::string_view(text).substr(dash + 1));
  if (!first || !last || !page_aligned(*first) || !page_aligned(*last + 1)) return {};
  const auto range = IovaRange::from_last(Iova(*first), Iova(*last));
  if (!range) return {};
  return range.value();
}

std::optional<HypercallOp> parse_op(std::string_view name) {
  for (std::size_t i = 0; i < kHypercallOps; ++i)
    if (name == to_string(static_cast<HypercallOp>(i))) return static_cast<HypercallOp>(i);
  return {};
}

Error wrong(const std::string& what) { return Error{EINVAL, "machine options"}.with_sentence(what); }

Status read_failures(std::string text, MachineOptions& options) {
  while (!text.empty()) {
    const auto slash = text.find('/');
    const std::string one = text.substr(0, slash);
    text = slash == std::string::npos ? "" : text.substr(slash + 1);
    MachineOptions::Failure failure;
    const auto colon = one.find(':');
    if (colon != std::string::npos) {
      failure.op = parse_op(std::string_view(one).substr(0, colon));
      if (!failure.op) {
        std::string names;
        for (std::size_t i = 0; i < kHypercallOps; ++i)
          names += std::string(i == 0 ? "" : ", ") + to_string(static_cast<HypercallOp>(i));
        return wrong("fail=" + one + ": no such call; there are " + names);
      }
    }
    const auto nth = parse_size(std::string_view(one).substr(colon == std::string::npos ? 0 : colon + 1));
    if (!nth || *nth == 0) return wrong("fail=" + one + ": expected N or CALL:N with N from 1");
    failure.nth = *nth;
    options.failures.push_back(failure);
  }
  return {};
}

}  // namespace

Result<MachineOptions> read_machine_options(ConfReader& conf) {
  MachineOptions options;
  Capabilities& caps = options.capabilities;
  const std::string limits = conf.choice("limits", "none", {"none", "xen", "papr"});
  const std::uint64_t window = conf.size("window", std::uint64_t{64} << 30);
  const bool direct = conf.flag("direct", false);
  const std::string iova = conf.text("iova", "");
  const std::string rmrr = conf.text("rmrr", "");
  caps.page_sizes = kPageSize | k2M | k1G;
  if (limits == "papr") {
    caps.page_sizes = kPageSize;
    options.strict_batches = true;  // H_PARAMETER
  }
  caps.max_entries_per_call = conf.size("max-pages", limits == "xen" ? 64 : limits == "papr" ? 512 : 0);
  caps.max_runs_per_call = static_cast<std::uint32_t>(conf.size("max-runs", 0));
  options.most_spaces = static_cast<unsigned>(conf.size("max-spaces", 0));
  caps.notifications = bit(NotificationKind::sink) | bit(NotificationKind::event_channel) |
                       bit(NotificationKind::guest_vector);
  caps.vectors_before_attach = options.overwrite_is_fatal = limits == "xen";
  caps.vectors_grow = limits == "none";
  caps.read_only = caps.write_only = !direct;
  caps.deferred_flush = conf.flag("deferred-flush", false);
  caps.peer_to_peer = conf.flag("p2p", true);
  options.scattered = conf.choice("frames", "contiguous", {"contiguous", "scattered"}) == "scattered";
  options.most_vectors = static_cast<unsigned>(conf.size("grant", 0));
  const std::string failures = conf.text("fail", "");
  const std::string code = conf.text("fail-errno", "ENOMEM");
  options.failure_after_pages = conf.size("fail-after-pages", 0);
  if (const std::string unread = conf.finish(); !unread.empty()) return wrong(unread);

  PVIOMMU_TRY(read_failures(failures, options));
  const auto named = std::find_if(std::begin(kErrnoNames), std::end(kErrnoNames),
                                  [&](const ErrnoName& e) { return code == e.name; });
  if (named == std::end(kErrnoNames)) {
    std::string known = "fail-errno=" + code + ": there are";
    for (const ErrnoName& e : kErrnoNames) known += std::string(" ") + e.name;
    return wrong(known);
  }
  options.failure_code = named->code;

  std::vector<IovaRange> ranges;
  if (!iova.empty()) {
    const auto range = parse_range(iova);
    if (!range) return wrong("iova=" + iova + ": expected FIRST-LAST in whole pages, like 0x1000-0xffffffff");
    ranges.push_back(*range);
  } else if (limits == "papr") {
    if (window == 0 || !page_aligned(window) || window > kDynamicWindow)
      return wrong("window: expected whole pages up to 2^59 bytes");
    ranges.push_back(IovaRange::from_size(Iova(0), k1G).value());
    ranges.push_back(IovaRange::from_size(Iova(kDynamicWindow), window).value());
  } else {
    ranges.push_back(IovaRange::from_size(Iova(0), std::uint64_t{1} << 48).value());
  }
  options.address_bits = static_cast<unsigned>(std::bit_width(ranges.back().last().raw()));

  caps.reserved.push_back(
      {IovaRange::from_last(Iova(kMsiWindowFirst), Iova(kMsiWindowLast)).value(), ReservedKind::msi_window});
  if (!rmrr.empty()) {
    const auto range = parse_range(rmrr);
    if (!range || range->overlaps(caps.reserved[0].range))
      return wrong("rmrr=" + rmrr + ": expected FIRST-LAST in whole pages, outside the MSI window");
    caps.reserved.push_back({*range, ReservedKind::device_direct});
  }
  std::sort(caps.reserved.begin(), caps.reserved.end(),
            [](const ReservedRange& a, const ReservedRange& b) { return a.range.first() < b.range.first(); });
  for (const ReservedRange& reserved : caps.reserved) ranges = without(ranges, reserved.range);
  if (ranges.empty()) return wrong("nothing is left that can be mapped");
  caps.iova_ranges = std::move(ranges);
  return options;
}

}  // namespace pviommu::model
