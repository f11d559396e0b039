// SPDX-License-Identifier: LGPL-2.1-or-later
// The statistics of a run as a table, and as JSON.
#include "vfio-glue/command/stats_report.h"

#include <cinttypes>
#include <cstdio>
#include <vector>

#include "hypercall/pci_device.h"

namespace pviommu::vfio {
namespace {

std::uint64_t value(const Counter& counter) { return counter.load(std::memory_order_relaxed); }

std::string duration(std::uint64_t nanoseconds) {
  char text[32];
  const double ns = static_cast<double>(nanoseconds);
  if (nanoseconds < 10'000)
    std::snprintf(text, sizeof text, "%.0f ns", ns);
  else if (nanoseconds < 10'000'000)
    std::snprintf(text, sizeof text, "%.1f us", ns / 1e3);
  else if (nanoseconds < 10'000'000'000)
    std::snprintf(text, sizeof text, "%.1f ms", ns / 1e6);
  else
    std::snprintf(text, sizeof text, "%.1f s", ns / 1e9);
  return text;
}

std::string amount(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  unsigned unit = 0;
  double shown = static_cast<double>(bytes);
  for (; shown >= 1024 && unit < 4; ++unit) shown /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", shown, kUnits[unit]);
  return text;
}

class Table {
 public:
  void head(const char* title, bool timed) {
    row(title, "count", "failed", timed ? "time" : "", timed ? "each" : "");
  }
  void timed_row(const char* name, const TimedCounter& counter, std::uint64_t failed) {
    const std::uint64_t count = value(counter.count);
    if (count == 0 && failed == 0) return;
    const std::uint64_t ns = value(counter.nanoseconds);
    row(name, std::to_string(count), std::to_string(failed), ns != 0 ? duration(ns) : "",
        ns != 0 && count != 0 ? duration(ns / count) : "");
  }
  void plain_row(const char* name, const std::string& text) { row(name, text, "", "", ""); }
  void line(const char* name, std::uint64_t count) {
    if (count != 0) plain_row(name, std::to_string(count));
  }
  void gap() { text_ += '\n'; }
  void text(const std::string& line) { text_ += line + '\n'; }
  std::string take() { return std::move(text_); }

 private:
  void row(const std::string& name, const std::string& count, const std::string& failed,
           const std::string& time, const std::string& each) {
    char line[160];
    std::snprintf(line, sizeof line, "%-28s %14s %10s %12s %12s", name.c_str(), count.c_str(), failed.c_str(),
                  time.c_str(), each.c_str());
    std::string shown = line;
    shown.erase(shown.find_last_not_of(' ') + 1);
    text_ += shown + '\n';
  }
  std::string text_;
};

/// Oldest first.
std::vector<Fault> latest_faults(const Statistics& s) {
  const std::uint64_t count = value(s.fault_count);
  std::vector<Fault> faults;
  for (std::uint64_t n = count > kLoggedFaults ? count - kLoggedFaults : 0; n < count; ++n) {
    const LoggedFault& record = s.last_faults[n % kLoggedFaults];
    faults.push_back({Sbdf(record.sbdf.load()), Iova(record.iova.load()), static_cast<Access>(record.access.load()),
                      static_cast<FaultReason>(record.reason.load())});
  }
  return faults;
}

const char* access_name(Access access) { return allows(access, Access::write) ? "write" : "read"; }

std::string hex(std::uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%" PRIx64, number);
  return text;
}

}  // namespace

std::string stats_table(const Statistics& s) {
  const bool timed = s.timed.load(std::memory_order_relaxed) != 0;
  Table table;
  if (value(s.files_opened) == 0) {
    table.text("no VFIO file was opened");
    return table.take();
  }
  table.plain_row("VFIO files opened", std::to_string(value(s.files_opened)));
  table.gap();
  table.head("DMA", timed);
  table.timed_row("VFIO_IOMMU_MAP_DMA", s.maps, value(s.map_failures));
  table.timed_row("VFIO_IOMMU_UNMAP_DMA", s.unmaps, value(s.unmap_failures));
  table.line("mapped with more rights than asked for", value(s.maps_widened));
  table.plain_row("pages mapped", std::to_string(value(s.pages_mapped)));
  table.plain_row("pages unmapped", std::to_string(value(s.pages_unmapped)));
  table.line("most pages mapped at once", value(s.peak_pages));
  table.plain_row("mappings now", std::to_string(s.live_mappings()));
  table.plain_row("pages mapped now", std::to_string(s.live_pages()));
  table.plain_row("pages pinned now", std::to_string(value(s.pinned_pages)));
  table.plain_row("read by devices", amount(value(s.dma_read_bytes)));
  table.plain_row("written by devices", amount(value(s.dma_write_bytes)));
  table.gap();
  table.head("hypercalls", timed);
  for (std::size_t op = 0; op < kHypercallOps; ++op)
    table.timed_row(to_string(static_cast<HypercallOp>(op)), s.hypercalls[op],
                    value(s.hypercall_failures[op]));
  table.gap();
  table.plain_row("interrupts", "count");
  table.line("INTx", value(s.interrupts_intx));
  table.line("MSI", value(s.interrupts_msi));
  table.line("MSI-X", value(s.interrupts_msix));
  table.line("held while masked", value(s.interrupts_held));
  table.gap();
  table.plain_row("faults", std::to_string(value(s.fault_count)));
  for (std::size_t reason = 0; reason < kFaultReasons; ++reason)
    table.line(to_string(static_cast<FaultReason>(reason)), value(s.faults[reason]));
  for (const Fault& fault : latest_faults(s))
    table.text("  " + to_string(fault.sbdf) + " " + access_name(fault.access) + " " + hex(fault.iova.raw()) + ": " +
               to_string(fault.reason));
  return table.take();
}

command::Json stats_json(const Statistics& s) {
  using command::Json;
  const auto timed = [](const TimedCounter& counter, std::uint64_t failed) {
    return Json{
        {"count", value(counter.count)}, {"failed", failed}, {"nanoseconds", value(counter.nanoseconds)}};
  };
  Json hypercalls = Json::object();
  for (std::size_t op = 0; op < kHypercallOps; ++op)
    hypercalls.set(to_string(static_cast<HypercallOp>(op)),
                   timed(s.hypercalls[op], value(s.hypercall_failures[op])));
  Json faults = Json::object();
  for (std::size_t reason = 0; reason < kFaultReasons; ++reason)
    faults.set(to_string(static_cast<FaultReason>(reason)), value(s.faults[reason]));
  Json latest = Json::array();
  for (const Fault& fault : latest_faults(s))
    latest.push_back({{"device", to_string(fault.sbdf)},
                      {"access", access_name(fault.access)},
                      {"iova", hex(fault.iova.raw())},
                      {"reason", to_string(fault.reason)}});
  return {
      {"timed", s.timed.load(std::memory_order_relaxed) != 0},
      {"files_opened", value(s.files_opened)},
      {"maps", timed(s.maps, value(s.map_failures))},
      {"unmaps", timed(s.unmaps, value(s.unmap_failures))},
      {"maps_widened", value(s.maps_widened)},
      {"pages_mapped", value(s.pages_mapped)},
      {"pages_unmapped", value(s.pages_unmapped)},
      {"peak_pages", value(s.peak_pages)},
      {"live_mappings", s.live_mappings()},
      {"live_pages", s.live_pages()},
      {"pinned_pages", value(s.pinned_pages)},
      {"dma_read_bytes", value(s.dma_read_bytes)},
      {"dma_write_bytes", value(s.dma_write_bytes)},
      {"hypercalls", std::move(hypercalls)},
      {"interrupts",
       {{"intx", value(s.interrupts_intx)},
        {"msi", value(s.interrupts_msi)},
        {"msix", value(s.interrupts_msix)},
        {"held", value(s.interrupts_held)}}},
      {"faults", std::move(faults)},
      {"latest_faults", std::move(latest)},
  };
}

}  // namespace pviommu::vfio
