// SPDX-License-Identifier: LGPL-2.1-or-later
// What a page and an interrupt cost on Xen, beside the bare hypercalls.
//
//   xen_bench maps DEVICE DEVICE     map and unmap of 512 pages in each shape
//   xen_bench interrupt NVME
//
// To be run where time counts instructions (tests/rigs/xen/boot --icount): 1 us
// is 1,000 instructions there, and the figures are the same every time.
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/statistics.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/xen_calls.h"
#include "vfio-glue/engine/engine.h"
#include "vfio_local_client.h"

using namespace pviommu;

namespace {

constexpr std::size_t kPages = 512;
constexpr std::uint64_t kIova = 0x40000000;

double now() {  // microseconds: thousands of instructions
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "xen_bench: %s\n", what.c_str());
  std::exit(1);
}

/// The least of a few rounds: the first fills caches and page tables.
double least(const std::function<double()>& round) {
  double best = 1e18;
  for (int i = 0; i < 5; ++i) best = std::min(best, round());
  return best;
}

/// An engine with the device in a container.
struct Program {
  explicit Program(Sbdf sbdf) {
    vfio::EngineConfig config;
    config.hypervisor = "xen";
    auto created = vfio::Engine::create(config);
    if (!created) die(to_string(created.error()));
    engine = std::move(*created);
    container = *client.install(*engine->open_container());
    unsigned number = 0;
    for (const auto& info : *engine->hypervisor().devices())
      if (info.sbdf == sbdf) number = info.group;
    auto opened = engine->open_group(number);
    if (!opened) die(to_string(opened.error()));
    group = *client.install(std::move(*opened));
    const std::string name = to_string(sbdf);
    if (client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) != 0 ||
        client.ioctl(container, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU)) != 0)
      die("no container");
    device = static_cast<int>(client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>(name.c_str())));
    if (device < 0) die("no device");
  }
  ~Program() {
    client.close_all();
    engine.reset();
  }
  void map(std::uint64_t iova, const void* memory, std::uint64_t bytes) {
    if (client.map(container, iova, memory, bytes) != 0) die("map");
  }
  void unmap(std::uint64_t iova, std::uint64_t bytes) {
    if (client.unmap(container, iova, bytes) != 0) die("unmap");
  }

  vfio::LocalClient client;
  std::unique_ptr<vfio::Engine> engine;
  int container = -1, group = -1, device = -1;
};

// ---- pages ---------------------------------------------------------------------

/// The bare hypercalls: the runs, in multicalls of 64, on a carrier of our own.
class Bare {
 public:
  /// With a device in it, as the other has: else there is no IOTLB to flush.
  explicit Bare(Sbdf sbdf) : sbdf_(sbdf) {
    auto opened = xen::XenCalls::open();
    if (!opened) die(to_string(opened.error()));
    calls_ = std::move(*opened);
    const auto carrier = xen::create_carrier(*calls_, {static_cast<std::uint32_t>(::getpid()), 0, 9999}, Mfn(0xfffff));
    if (!carrier) die(to_string(carrier.error()));
    domid_ = *carrier;
    if (!xen::assign_device(*calls_, domid_, sbdf_)) die("assign");
    batch_ = *xen::XenCalls::Batch::make(*calls_);
  }
  ~Bare() {
    (void)xen::deassign_device(*calls_, domid_, sbdf_);
    (void)xen::fetch_from_quarantine(*calls_, sbdf_);
    (void)xen::destroy_carrier(*calls_, domid_);
  }

  double change(const std::vector<FrameRun>& runs, bool add, std::uint64_t skew) {
    const double start = now();
    std::uint64_t dfn = (kIova + skew) >> kPageShift;
    batch_->clear();
    const auto send = [&] {
      if (batch_->count() == 0) return;
      if (!batch_->run()) die("multicall");
      for (unsigned i = 0; i < batch_->count(); ++i)
        if (batch_->result(i) != 0) die("bare hypercall: " + std::to_string(batch_->result(i)));
      batch_->clear();
    };
    for (const FrameRun& run : runs)
      for (std::uint64_t at = 0; at < run.pages;) {
        // A call does 64 entries; an aligned 2 MiB is one.
        const bool large = (dfn | (run.mfn.raw() + at)) % 512 == 0 && run.pages - at >= 512;
        const std::uint64_t pages = large ? 512 : std::min<std::uint64_t>(64, run.pages - at);
        xen_domctl& op = batch_->add(XEN_DOMCTL_memory_mapping, domid_.raw());
        op.u.memory_mapping.first_gfn = dfn;
        op.u.memory_mapping.first_mfn = run.mfn.raw() + at;
        op.u.memory_mapping.nr_mfns = pages;
        op.u.memory_mapping.add_mapping = add;
        dfn += pages;
        at += pages;
        if (batch_->full()) send();
      }
    send();
    return now() - start;
  }

 private:
  std::unique_ptr<xen::XenCalls> calls_;
  std::unique_ptr<xen::XenCalls::Batch> batch_;
  const Sbdf sbdf_;
  Domid domid_{};
};

/// `skew`: added to the IOVA.  Where there was a mapping of single pages Xen keeps
/// the table for them and makes no large entry again, so each shape has its own.
void shape(Program& program, Bare& bare, const char* name, std::uint8_t* memory, std::uint64_t skew = 0) {
  Hypervisor& xen = program.engine->hypervisor();
  FrameSource& source = program.engine->frames();
  const std::uint64_t bytes = kPages * kPageSize;
  const auto range = *HvaRange::from_size(Hva(reinterpret_cast<std::uint64_t>(memory)), bytes);
  std::vector<FrameRun> runs;
  double pin = 1e18, frames = 1e18, release = 1e18;
  for (int i = 0; i < 5; ++i) {
    runs.clear();
    const double start = now();
    auto pinned = source.pin(range, Access::read_write);
    const double between = now();
    if (!pinned || !xen.spaces().frames_of(**pinned, runs)) die("frames");
    const double end = now();
    xen.spaces().forget_frames(**pinned);
    pinned->reset();
    pin = std::min(pin, between - start);
    frames = std::min(frames, end - between);
    release = std::min(release, now() - end);
  }
  double bare_unmap = 1e18;
  const double bare_map = least([&] {
    const double took = bare.change(runs, true, skew);
    bare_unmap = std::min(bare_unmap, bare.change(runs, false, skew));
    return took;
  });
  double unmap = 1e18, backend = 1e18;
  statistics().timed.store(1);
  auto& inside = statistics().hypercalls[static_cast<std::size_t>(HypercallOp::map)].nanoseconds;
  const double map = least([&] {
    const std::uint64_t before = inside.load();
    const double start = now();
    program.map(kIova + skew, memory, bytes);
    const double between = now();
    backend = std::min(backend, static_cast<double>(inside.load() - before) / 1e3);
    program.unmap(kIova + skew, bytes);
    unmap = std::min(unmap, now() - between);
    return between - start;
  });
  const double n = kPages;
  std::printf("%-11s %4zu runs | bare map %6.2f unmap %6.2f | MAP_DMA %6.2f = pin %5.2f + frames %5.2f + %6.2f (%.3f x bare, in the backend %.3f)"
              " | UNMAP_DMA %6.2f = release %5.2f + %6.2f (%.3f x bare)   k-instructions a page\n",
              name, runs.size(), bare_map / n, bare_unmap / n, map / n, pin / n, frames / n, (map - pin - frames) / n,
              (map - pin - frames) / bare_map, backend / bare_map, unmap / n, release / n, (unmap - release) / n,
              (unmap - release) / bare_unmap);
}

std::uint8_t* anonymous(std::uint64_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return static_cast<std::uint8_t*>(memory);
}

/// 2 MiB of frames that are neighbours and aligned.  A PV dom0 has no huge pages,
/// so single pages are collected and moved into the order of their frames.
std::uint8_t* contiguous(vfio::Engine& engine) {
  constexpr std::uint64_t kPool = 96 << 20, kLarge = kPages * kPageSize;
  std::uint8_t* pool = anonymous(kPool);
  std::memset(pool, 1, kPool);
  std::vector<FrameRun> runs;
  const auto range = *HvaRange::from_size(Hva(reinterpret_cast<std::uint64_t>(pool)), kPool);
  {
    auto pinned = engine.frames().pin(range, Access::read_write);
    if (!pinned || !engine.hypervisor().spaces().frames_of(**pinned, runs)) die("frames");
    engine.hypervisor().spaces().forget_frames(**pinned);
  }
  std::vector<std::pair<std::uint64_t, std::uint8_t*>> pages;  // frame, where
  std::uint8_t* at = pool;
  for (const FrameRun& run : runs)
    for (std::uint64_t i = 0; i < run.pages; ++i, at += kPageSize) pages.emplace_back(run.mfn.raw() + i, at);
  std::sort(pages.begin(), pages.end());
  for (std::size_t i = 0; i + kPages <= pages.size(); ++i) {
    if (pages[i].first % kPages != 0 || pages[i + kPages - 1].first != pages[i].first + kPages - 1) continue;
    std::uint8_t* place = anonymous(2 * kLarge);
    place = reinterpret_cast<std::uint8_t*>((reinterpret_cast<std::uintptr_t>(place) + kLarge - 1) & ~(kLarge - 1));
    for (std::size_t page = 0; page < kPages; ++page)
      if (::mremap(pages[i + page].second, kPageSize, kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place + page * kPageSize) == MAP_FAILED)
        die("mremap");
    return place;
  }
  die("no 2 MiB of neighbouring frames in 96 MiB");
}

int maps(Sbdf sbdf, Sbdf other) {
  Program program(sbdf);
  Bare bare(other);
  const std::uint64_t bytes = kPages * kPageSize;
  // Pages taken in a random order: frames that are no neighbours.
  std::uint8_t* scattered = anonymous(bytes);
  ::madvise(scattered, bytes, MADV_NOHUGEPAGE);
  std::vector<std::size_t> order(kPages);
  for (std::size_t i = 0; i < kPages; ++i) order[i] = i;
  std::uint64_t seed = 1;
  for (std::size_t i = kPages; i > 1; --i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    std::swap(order[i - 1], order[(seed >> 33) % i]);
  }
  for (const std::size_t page : order) scattered[page * kPageSize] = 1;
  std::uint8_t* neighbours = contiguous(*program.engine);
  shape(program, bare, "scattered", scattered);
  shape(program, bare, "contiguous", neighbours, (1 << 30) + kPageSize);
  shape(program, bare, "2 MiB", neighbours, std::uint64_t{2} << 30);
  return 0;
}

// ---- interrupts ------------------------------------------------------------------

/// As much of an NVMe driver as an admin command needs (NVM Express 1.4).
class Nvme {
 public:
  Nvme(Program& program) : program_(program), memory_(anonymous(3 * kPageSize)) {
    std::memset(memory_, 0, 3 * kPageSize);
    file_ = program.client.file_of(program.device);
    std::uint16_t command = 6;
    if (file_->pwrite(program.client, reinterpret_cast<std::uint64_t>(&command), 2, (7ull << 40) + 4) != 2) die("command");
    program.map(0x10000, memory_, 3 * kPageSize);
    set(0x14, 0);
    for (int i = 0; (get(0x1c) & 1) != 0 && i < 1000000; ++i) {
    }
    set(0x24, 31u << 16 | 31);
    set(0x28, 0x10000);
    set(0x2c, 0);
    set(0x30, 0x11000);
    set(0x34, 0);
    set(0x14, 6u << 16 | 4u << 20 | 1);
    for (int i = 0; (get(0x1c) & 1) == 0 && i < 1000000; ++i) {
    }
  }
  /// Identify controller; how long from the doorbell until `event` is read.
  double identify(int event) {
    auto* entry = reinterpret_cast<std::uint32_t*>(memory_ + tail_ * 64);
    std::memset(entry, 0, 64);
    entry[0] = 0x06 | tail_ << 16;
    entry[6] = 0x12000;  // PRP 1
    entry[10] = 1;
    const volatile std::uint16_t* status =
        reinterpret_cast<const volatile std::uint16_t*>(memory_ + kPageSize + head_ * 16 + 14);
    tail_ = (tail_ + 1) % 32;
    const double start = now();
    set(0x1000, tail_);
    std::uint64_t count = 0;
    if (::read(event, &count, sizeof count) != sizeof count || count != 1) die("eventfd");
    const double took = now() - start;
    if ((*status & 1) != phase_) die("interrupt before its completion");
    head_ = (head_ + 1) % 32;
    if (head_ == 0) phase_ ^= 1;
    set(0x1004, head_);
    return took;
  }

 private:
  void set(std::uint64_t offset, std::uint32_t value) {
    if (file_->pwrite(program_.client, reinterpret_cast<std::uint64_t>(&value), 4, offset) != 4) die("BAR");
  }
  std::uint32_t get(std::uint64_t offset) {
    std::uint32_t value = 0;
    if (file_->pread(program_.client, reinterpret_cast<std::uint64_t>(&value), 4, offset) != 4) die("BAR");
    return value;
  }
  Program& program_;
  std::uint8_t* memory_;
  vfio::FileRef file_;
  std::uint32_t tail_ = 0, head_ = 0;
  std::uint16_t phase_ = 1;
};

int interrupt(Sbdf sbdf) {
  Program program(sbdf);
  const int event = ::eventfd(0, EFD_CLOEXEC);
  if (program.client.set_irqs(program.device, VFIO_PCI_MSIX_IRQ_INDEX, true, event) != 0) die("SET_IRQS");
  Nvme nvme(program);
  std::vector<double> woken;
  for (int i = 0; i < 501; ++i) woken.push_back(nvme.identify(event));
  std::sort(woken.begin(), woken.end());
  std::printf("MSI-X: doorbell to eventfd %.1f k-instructions (median of 501; least %.1f)\n", woken[250], woken[0]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Sbdf> devices;
  for (int i = 2; i < argc; ++i)
    if (const auto sbdf = parse_sbdf(argv[i])) devices.push_back(*sbdf);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "maps" && devices.size() == 2) return maps(devices[0], devices[1]);
  if (what == "interrupt" && devices.size() == 1) return interrupt(devices[0]);
  std::fprintf(stderr, "usage: xen_bench maps DEVICE DEVICE | interrupt NVME\n");
  return 2;
}
