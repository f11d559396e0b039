// SPDX-License-Identifier: LGPL-2.1-or-later
// main() of the benchmarks: runs them, then prints one table with the goals.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench.h"

namespace pviommu::bench {

std::map<std::string, double>& figures() {
  static std::map<std::string, double> all;
  return all;
}

namespace {

class Collector : public benchmark::ConsoleReporter {
 public:
  Collector() : ConsoleReporter(OO_None) {}
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred || run.run_type != Run::RT_Iteration) continue;
      std::string name = run.benchmark_name();
      if (const auto at = name.find("/iterations:"); at != std::string::npos) name.resize(at);
      // The best of repetitions: others use the machine too.
      auto& best = figures().try_emplace(name, run.GetAdjustedCPUTime()).first->second;
      best = std::min(best, run.GetAdjustedCPUTime());
      for (const auto& [counter, value] : run.counters) figures()[name + "/" + counter] = value.value;
    }
    ConsoleReporter::ReportRuns(runs);
  }
};

/// "-" where it was not measured.
std::string cell(const std::string& name, const char* format = "%.0f") {
  const auto it = figures().find(name);
  if (it == figures().end()) return "-";
  char text[32];
  std::snprintf(text, sizeof text, format, it->second);
  return text;
}

void goal(const char* what, const std::string& name, double most, const char* unit) {
  const auto it = figures().find(name);
  if (it == figures().end())
    std::printf("  %-58s not measured\n", what);
  else
    std::printf("  %-58s %8.0f %-3s goal <= %.0f  %s\n", what, it->second, unit, most,
                it->second <= most ? "met" : "NOT MET");
}

void print_table() {
  std::printf("\nIndex of live 4 KiB mappings, ns (CPU) and bytes a mapping\n");
  std::printf("  pair: unmap a random one, map it again   move: unmap a random one, map another   lookup: find and read\n");
  std::printf("  %-18s", "");
  for (const char* live : {"1,000", "100,000", "1,000,000"}) std::printf("| %-32s", live);
  std::printf("\n  %-18s", "");
  for (int i = 0; i < 3; ++i) std::printf("| %6s %6s %6s %8s   ", "pair", "move", "lookup", "bytes");
  std::printf("\n");
  for (const char* name : {"pviommu", "std::map", "Boost rbtree", "absl::btree_map", "GTree"}) {
    std::printf("  %-18s", name);
    for (const char* live : {"1000", "100000", "1000000"}) {
      const std::string at = std::string(name) + "/" + live;
      std::printf("| %6s %6s %6s %8s   ", cell("pair/" + at).c_str(), cell("move/" + at).c_str(),
                  cell("lookup/" + at).c_str(), cell("pair/" + at + "/bytes", "%.1f").c_str());
    }
    std::printf("\n");
  }
  std::printf("\nMisaligned mappings, 100,000 live, ns\n");
  for (const char* size : {"4K", "2M", "1G"})
    std::printf("  %-4s pair %6s   lookup %6s\n", size, cell(std::string("misaligned-pair/") + size).c_str(),
                cell(std::string("misaligned-lookup/") + size).c_str());

  std::printf("\nFrame sources, ns: pin and release, transfers with a memfd\n");
  std::printf("  %-10s %8s %10s | to file %6s %8s %8s | from file %6s %8s %8s\n", "", "4K", "2M", "64", "4096", "65536",
              "64", "4096", "65536");
  for (const std::string kind : {"io_uring", "copy"}) {
    std::printf("  %-10s %8s %10s |        ", kind.c_str(), cell("pin/" + kind + "/4K").c_str(),
                cell("pin/" + kind + "/2M").c_str());
    for (const char* size : {"64", "4096", "65536"}) std::printf(" %7s", cell("to_file/" + kind + "/" + size).c_str());
    std::printf(" |          ");
    for (const char* size : {"64", "4096", "65536"})
      std::printf(" %7s", cell("from_file/" + kind + "/" + size).c_str());
    std::printf("\n");
  }

  std::printf("\nHypercalls for 1 GiB on the model (map, unmap)\n");
  for (const char* limits : {"none", "xen", "papr"})
    for (const char* frames : {"contiguous", "scattered"}) {
      const std::string name = std::string("gib/") + limits + "/" + frames;
      std::printf("  limits=%-5s %-11s %8s %8s\n", limits, frames, cell(name + "/map").c_str(),
                  cell(name + "/unmap").c_str());
    }

  auto& f = figures();
  if (f.contains("space/unmap+map") && f.contains("space/pin") && f.contains("pair/pviommu/1000"))
    f["space/above"] = f["space/unmap+map"] - f["space/pin"] - f["pair/pviommu/1000"];
  if (f.contains("misaligned-pair/4K"))
    for (const char* size : {"2M", "1G"})
      f[std::string("cliff/") + size] = 100 * f[std::string("misaligned-pair/") + size] / f["misaligned-pair/4K"];

  std::printf("\nAddress space, 1,000 live, no-op driver: unmap+map %s ns, of it pin %s ns, index %s ns\n",
              cell("space/unmap+map").c_str(), cell("space/pin").c_str(), cell("pair/pviommu/1000").c_str());
  std::printf("\nGoals\n");
  goal("index: unmap+map pair at 1,000,000 live", "pair/pviommu/1000000", 350, "ns");
  goal("index: the same, mapped elsewhere", "move/pviommu/1000000", 350, "ns");
  goal("index: bytes a mapping at 1,000,000 live", "pair/pviommu/1000000/bytes", 64, "");
  goal("index: misaligned 2 MiB against 4 KiB", "cliff/2M", 150, "%");
  goal("index: misaligned 1 GiB against 4 KiB", "cliff/1G", 150, "%");
  goal("address space above index and pin", "space/above", 60, "ns");
}

}  // namespace
}  // namespace pviommu::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  pviommu::bench::Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  pviommu::bench::measure_hypercalls_per_gib();
  pviommu::bench::print_table();
  // For bench-programs, which compares programs with these parts.
  if (const char* path = std::getenv("BENCH_FIGURES")) {
    std::FILE* file = std::fopen(path, "w");
    if (file == nullptr) {
      std::perror(path);
      return 1;
    }
    for (const auto& [name, figure] : pviommu::bench::figures()) std::fprintf(file, "%s %.1f\n", name.c_str(), figure);
    std::fclose(file);
  }
  return 0;
}
