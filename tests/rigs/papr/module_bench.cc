// SPDX-License-Identifier: LGPL-2.1-or-later
// papr_module_bench, in `pviommu run --hypervisor=papr:via=vfio --`: 512 x 4 KiB map and
// unmap in four ways:
//
//   module        the kernel module's device            0001:00:00.0
//   sPAPR v2      the kernel's VFIO by bare ioctls,      0003:00:00.0, memory registered before
//   sPAPR v1      the same, memory pinned at each map    0004:00:00.0
//   pviommu       a type1 program's calls, over v1       0002:00:00.0
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

// ---- the ways -------------------------------------------------------------------

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

/// The kernel's own calls, not those that the preload front end has.
struct Bare {
  static int open(const char* path) { return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, O_RDWR)); }
  static int ioctl(int fd, unsigned long request, std::uintptr_t argument) {
    return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
  }
};
/// What a program calls.
struct Libc {
  static int open(const char* path) { return ::open(path, O_RDWR); }
  static int ioctl(int fd, unsigned long request, std::uintptr_t argument) { return ::ioctl(fd, request, argument); }
};

template <class Calls>
class Vfio {
 public:
  Vfio(const char* device, unsigned long type) {
    std::array<char, 256> link;
    const std::string path = std::string("/sys/bus/pci/devices/") + device + "/iommu_group";
    const ssize_t length = ::readlink(path.c_str(), link.data(), link.size() - 1);
    check(length > 0, path.c_str());
    link[static_cast<std::size_t>(length)] = 0;
    container_ = Calls::open("/dev/vfio/vfio");
    group_ = Calls::open((std::string("/dev/vfio/") + (std::strrchr(link.data(), '/') + 1)).c_str());
    check(container_ >= 0 && group_ >= 0, "/dev/vfio");
    call(group_, VFIO_GROUP_SET_CONTAINER, &container_, "VFIO_GROUP_SET_CONTAINER");
    check(Calls::ioctl(container_, VFIO_SET_IOMMU, type) == 0, "VFIO_SET_IOMMU");
    std::memset(pages_.data(), 1, pages_.size());
    if (type == VFIO_SPAPR_TCE_IOMMU) check(Calls::ioctl(container_, VFIO_IOMMU_ENABLE, 0) == 0, "VFIO_IOMMU_ENABLE");
    if (type != VFIO_SPAPR_TCE_v2_IOMMU) return;
    vfio_iommu_spapr_register_memory memory{};
    memory.argsz = sizeof memory;
    memory.vaddr = reinterpret_cast<std::uintptr_t>(pages_.data());
    memory.size = pages_.size();
    call(container_, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, &memory, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY");
  }
  void map() {
    vfio_iommu_type1_dma_map map{};
    map.argsz = sizeof map;
    map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    map.vaddr = reinterpret_cast<std::uintptr_t>(pages_.data());
    map.iova = kFirst;
    map.size = kBytes;
    call(container_, VFIO_IOMMU_MAP_DMA, &map, "VFIO_IOMMU_MAP_DMA");
  }
  void unmap() {
    vfio_iommu_type1_dma_unmap unmap{};
    unmap.argsz = sizeof unmap;
    unmap.iova = kFirst;
    unmap.size = kBytes;
    call(container_, VFIO_IOMMU_UNMAP_DMA, &unmap, "VFIO_IOMMU_UNMAP_DMA");
  }

 private:
  template <class Argument>
  static void call(int fd, unsigned long request, Argument* argument, const char* what) {
    check(Calls::ioctl(fd, request, reinterpret_cast<std::uintptr_t>(argument)) == 0, what);
  }
  int container_ = -1, group_ = -1;
  static constexpr std::uint64_t kFirst = 0x100000;
  Pages pages_{kBytes};
};

}  // namespace
}  // namespace pviommu::rig

int main() {
  using namespace pviommu::rig;
  Module module;
  Vfio<Bare> v2("0003:00:00.0", VFIO_SPAPR_TCE_v2_IOMMU), v1("0004:00:00.0", VFIO_SPAPR_TCE_IOMMU);
  Vfio<Libc> ours("0002:00:00.0", VFIO_TYPE1v2_IOMMU);
  Way ways[] = {{"module", [&] { module.map(); }, [&] { module.unmap(); }, {}, {}},
                {"sPAPR v2", [&] { v2.map(); }, [&] { v2.unmap(); }, {}, {}},
                {"sPAPR v1", [&] { v1.map(); }, [&] { v1.unmap(); }, {}, {}},
                {"pviommu", [&] { ours.map(); }, [&] { ours.unmap(); }, {}, {}}};
  constexpr std::size_t kWays = std::size(ways);
  unsigned hcalls[kWays][2];
  for (std::size_t w = 0; w < kWays; ++w) {
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
  double median[kWays][2];
  for (std::size_t w = 0; w < kWays; ++w) {
    std::ranges::sort(ways[w].map_us);
    std::ranges::sort(ways[w].unmap_us);
    median[w][0] = ways[w].map_us[kRounds / 2];
    median[w][1] = ways[w].unmap_us[kRounds / 2];
    std::printf("%s: map %.0f us (least %.0f), unmap %.0f us (least %.0f); median of %u rounds\n", ways[w].name,
                median[w][0], ways[w].map_us[0], median[w][1], ways[w].unmap_us[0], kRounds);
  }
  const auto ratio = [&](const char* name, std::size_t one, std::size_t other, const char* goal) {
    std::printf("%s: map %.2f, unmap %.2f, both %.2f (goal: <= %s)\n", name, median[one][0] / median[other][0],
                median[one][1] / median[other][1], (median[one][0] + median[one][1]) / (median[other][0] + median[other][1]), goal);
  };
  ratio("module / sPAPR v2", 0, 1, "0.25");
  ratio("pviommu / sPAPR v1", 3, 2, "1.05");
  std::printf("hcalls through the module: %u and %u (goal: 1 and 1)\n", hcalls[0][0], hcalls[0][1]);
  std::printf("hcalls through pviommu: %u and %u (goal: not above the kernel's %u and %u)\n", hcalls[3][0], hcalls[3][1],
              hcalls[2][0], hcalls[2][1]);
  const bool good = hcalls[0][0] == 1 && hcalls[0][1] == 1 && hcalls[3][0] <= hcalls[2][0] && hcalls[3][1] <= hcalls[2][1];
  return good ? 0 : 1;
}
