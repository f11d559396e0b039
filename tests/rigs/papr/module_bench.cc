// SPDX-License-Identifier: LGPL-2.1-or-later
// papr_module_bench: 512 x 4 KiB map and unmap through the kernel module, at 0001:00:00.0,
// and through the kernel's VFIO sPAPR v2 by bare ioctls, at 0003:00:00.0 (with vfio-pci).
//
// Hcalls are counted by the kernel's own tracepoint hcall_entry, in a round of its own;
// times are of rounds without it, in turns, the least and the median of them.
#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "module_client.h"

namespace pviommu::rig {
namespace {

constexpr std::uint64_t kPages = 512, kBytes = kPages * kTceBytes;
constexpr unsigned kRounds = 60;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "papr_module_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}
void check(bool good, const char* what) {
  if (!good) fail(what);
}
void check_error(int error, const char* what) {
  errno = error;
  check(error == 0, what);
}

double now_us() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// ---- hcalls --------------------------------------------------------------------

constexpr const char* kTracing = "/sys/kernel/tracing/";
void tell(const std::string& file, const std::string& text) {
  std::ofstream out(kTracing + file);
  out << text;
  out.close();
  check(out.good(), file.c_str());
}

/// By opcode, those for TCEs.
std::map<std::string, unsigned> count_hcalls(const std::function<void()>& work) {
  static const std::map<std::string, std::string> names = {{"28", "H_GET_TCE"},
                                                           {"32", "H_PUT_TCE"},
                                                           {"312", "H_STUFF_TCE"},
                                                           {"316", "H_PUT_TCE_INDIRECT"}};
  tell("buffer_size_kb", "4096");
  tell("trace", "");
  tell("events/powerpc/hcall_entry/filter", "opcode == 28 || opcode == 32 || opcode == 312 || opcode == 316");
  tell("events/powerpc/hcall_entry/enable", "1");
  work();
  tell("events/powerpc/hcall_entry/enable", "0");
  std::ifstream trace(std::string(kTracing) + "trace");
  std::map<std::string, unsigned> counts;
  for (std::string line; std::getline(trace, line);) {
    const auto at = line.find("opcode=");
    if (at == std::string::npos || line[0] == '#') continue;
    const std::string opcode = line.substr(at + 7, line.find_first_not_of("0123456789", at + 7) - at - 7);
    const auto name = names.find(opcode);
    if (name != names.end()) ++counts[name->second];
  }
  return counts;
}
unsigned sum(const std::map<std::string, unsigned>& counts) {
  unsigned all = 0;
  for (const auto& [name, count] : counts) all += count;
  return all;
}
std::string text_of(const std::map<std::string, unsigned>& counts) {
  std::string text;
  for (const auto& [name, count] : counts) text += (text.empty() ? "" : " + ") + std::to_string(count) + " " + name;
  return text.empty() ? "none" : text;
}

// ---- the two ways ----------------------------------------------------------------

struct Way {
  const char* name;
  std::function<void()> map, unmap;
  std::array<double, kRounds> map_us{}, unmap_us{};
};

class Module {
 public:
  Module() {
    check(file_.fd() >= 0, PVIOMMU_PAPR_DEVICE);
    check_error(file_.claim(1u << 16), "claim");
    std::memset(pages_.data(), 1, pages_.size());
    check_error(file_.pin(pages_.data(), pages_.size(), frames_, pin_), "pin");
    for (auto& frame : frames_) frame |= kRead | kWrite;
  }
  void map() { check_error(file_.map(file_.window.liobn, 0x100000, frames_), "map"); }
  void unmap() { check_error(file_.unmap(file_.window.liobn, 0x100000, kPages), "unmap"); }

 private:
  ModuleFile file_;
  Pages pages_{kBytes};
  std::vector<std::uint64_t> frames_;
  std::uint32_t pin_ = 0;
};

class Kernel {
 public:
  explicit Kernel(const char* device) {
    std::array<char, 256> link;
    const std::string path = std::string("/sys/bus/pci/devices/") + device + "/iommu_group";
    const ssize_t length = ::readlink(path.c_str(), link.data(), link.size() - 1);
    check(length > 0, path.c_str());
    link[static_cast<std::size_t>(length)] = 0;
    container_ = ::open("/dev/vfio/vfio", O_RDWR);
    group_ = ::open((std::string("/dev/vfio/") + (std::strrchr(link.data(), '/') + 1)).c_str(), O_RDWR);
    check(container_ >= 0 && group_ >= 0, "/dev/vfio");
    check(::ioctl(group_, VFIO_GROUP_SET_CONTAINER, &container_) == 0, "VFIO_GROUP_SET_CONTAINER");
    check(::ioctl(container_, VFIO_SET_IOMMU, VFIO_SPAPR_TCE_v2_IOMMU) == 0, "VFIO_SET_IOMMU");
    std::memset(pages_.data(), 1, pages_.size());
    vfio_iommu_spapr_register_memory memory{};
    memory.argsz = sizeof memory;
    memory.vaddr = reinterpret_cast<std::uintptr_t>(pages_.data());
    memory.size = pages_.size();
    check(::ioctl(container_, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, &memory) == 0, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY");
    vfio_iommu_spapr_tce_create window{};
    window.argsz = sizeof window;
    window.page_shift = 12;
    window.window_size = 1u << 30;
    window.levels = 1;
    check(::ioctl(container_, VFIO_IOMMU_SPAPR_TCE_CREATE, &window) == 0, "VFIO_IOMMU_SPAPR_TCE_CREATE");
    first_ = window.start_addr + 0x100000;
  }
  void map() {
    vfio_iommu_type1_dma_map map{};
    map.argsz = sizeof map;
    map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    map.vaddr = reinterpret_cast<std::uintptr_t>(pages_.data());
    map.iova = first_;
    map.size = kBytes;
    check(::ioctl(container_, VFIO_IOMMU_MAP_DMA, &map) == 0, "VFIO_IOMMU_MAP_DMA");
  }
  void unmap() {
    vfio_iommu_type1_dma_unmap unmap{};
    unmap.argsz = sizeof unmap;
    unmap.iova = first_;
    unmap.size = kBytes;
    check(::ioctl(container_, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0, "VFIO_IOMMU_UNMAP_DMA");
  }

 private:
  int container_ = -1, group_ = -1;
  std::uint64_t first_ = 0;
  Pages pages_{kBytes};
};

}  // namespace
}  // namespace pviommu::rig

int main() {
  using namespace pviommu::rig;
  Module module;
  Kernel kernel("0003:00:00.0");
  Way ways[2] = {{"module", [&] { module.map(); }, [&] { module.unmap(); }, {}, {}},
                 {"kernel's VFIO", [&] { kernel.map(); }, [&] { kernel.unmap(); }, {}, {}}};
  unsigned hcalls[2][2];
  for (int w = 0; w < 2; ++w) {
    const auto map = count_hcalls(ways[w].map), unmap = count_hcalls(ways[w].unmap);
    hcalls[w][0] = sum(map);
    hcalls[w][1] = sum(unmap);
    std::printf("%s: 512 x 4 KiB: map %s; unmap %s\n", ways[w].name, text_of(map).c_str(), text_of(unmap).c_str());
  }
  for (unsigned round = 0; round < kRounds; ++round)
    for (Way& way : ways) {
      const double start = now_us();
      way.map();
      const double mapped = now_us();
      way.unmap();
      way.map_us[round] = mapped - start;
      way.unmap_us[round] = now_us() - mapped;
    }
  double median[2][2];
  for (int w = 0; w < 2; ++w) {
    std::ranges::sort(ways[w].map_us);
    std::ranges::sort(ways[w].unmap_us);
    median[w][0] = ways[w].map_us[kRounds / 2];
    median[w][1] = ways[w].unmap_us[kRounds / 2];
    std::printf("%s: map %.0f us (least %.0f), unmap %.0f us (least %.0f); median of %u rounds\n", ways[w].name,
                median[w][0], ways[w].map_us[0], median[w][1], ways[w].unmap_us[0], kRounds);
  }
  const double map = median[0][0] / median[1][0], unmap = median[0][1] / median[1][1];
  std::printf("module / kernel: map %.2f, unmap %.2f, both %.2f (goal: <= 0.25)\n", map, unmap,
              (median[0][0] + median[0][1]) / (median[1][0] + median[1][1]));
  const bool one = hcalls[0][0] == 1 && hcalls[0][1] == 1;
  std::printf("hcalls through the module: %u and %u (goal: 1 and 1)\n", hcalls[0][0], hcalls[0][1]);
  return one ? 0 : 1;
}
