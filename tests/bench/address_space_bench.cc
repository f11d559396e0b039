// SPDX-License-Identifier: LGPL-2.1-or-later
// What an address space adds to its index, pins on real memory, and how many
// hypercalls a mapping takes on the model.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "bench.h"
#include "hypercall/backend.h"
#include "hypercall/statistics.h"
#include "pviommu/address_space.h"
#include "pviommu/locked_memory.h"

namespace pviommu::bench {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

/// Pins that cost one allocation and nothing else.
class NullFrames final : public FrameSource {
 public:
  class Pin final : public PinnedMemory {
   public:
    using PinnedMemory::PinnedMemory;
    bool holds_pages() const override { return true; }
    int holder_fd() const override { return -1; }
    Status from_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EIO}; }
    Status to_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return Error{EIO}; }
  };
  std::string_view name() const override { return "null"; }
  bool holds_pages() const override { return true; }
  Result<std::unique_ptr<PinnedMemory>> pin(HvaRange range, Access) override {
    return std::unique_ptr<PinnedMemory>(new Pin(range));
  }
  Status count(std::uint64_t pages) override { return locked_.add(pages); }
  void uncount(std::uint64_t pages) noexcept override { locked_.remove(pages); }

 private:
  LockedMemory locked_;
};

/// A driver that does nothing.
class NullDriver final : public IommuDriver {
 public:
  class Domain final : public IommuDomain {
   public:
    Status attach(Sbdf) override { return {}; }
    Status detach(Sbdf) override { return {}; }
    Status map(std::span<const MapRun>) override { return {}; }
    Status unmap(std::span<const MapRun>) override { return {}; }
  };
  NullDriver() { limits_.iova_ranges = {IovaRange::from_last(Iova(0), Iova(~std::uint64_t{0} >> 8)).value()}; }
  std::string_view name() const override { return "null"; }
  const Capabilities& capabilities() const override { return limits_; }
  Result<std::unique_ptr<IommuDomain>> create_domain(const SpaceConfig&) override {
    return std::unique_ptr<IommuDomain>(std::make_unique<Domain>());
  }

 private:
  Capabilities limits_;
};

/// Only knows frames.
class NullSpaces final : public Spaces {
 public:
  static Error no() { return Error{EOPNOTSUPP}; }
  Result<SpaceId> create_space(const SpaceConfig&) override { return no(); }
  Status destroy_space(SpaceId) override { return no(); }
  Status attach(SpaceId, Sbdf) override { return no(); }
  Status detach(SpaceId, Sbdf) override { return no(); }
  BatchResult map(SpaceId, std::span<const MapRun>) override { return {0, no()}; }
  BatchResult unmap(SpaceId, std::span<const UnmapRun>) override { return {0, no()}; }
  Status flush(SpaceId) override { return no(); }
  Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) override {
    out.push_back({Mfn(memory.range().first().raw() >> kPageShift), memory.pages()});
    return {};
  }
  void forget_frames(PinnedMemory&) noexcept override {}
  Status frames_of_mmio(Sbdf, unsigned, std::uint64_t, std::uint64_t, std::vector<FrameRun>&) override { return no(); }
};

constexpr std::size_t kLive = 1000;

void space_pair(benchmark::State& state) {
  NullDriver driver;
  NullSpaces spaces;
  NullFrames frames;
  auto space = std::move(*AddressSpace::create(driver, spaces, frames, {}));
  const Walk walk = make_walk(kLive, kPageSize, false);
  for (const std::uint64_t first : walk.live)
    if (!space->map(Iova(first), Hva(first), kPageSize, Access::read_write)) std::abort();
  std::size_t i = 0;
  for (auto _ : state) {
    if (!space->unmap(Iova(walk.from[i]), kPageSize)) std::abort();
    if (!space->map(Iova(walk.to[i]), Hva(walk.to[i]), kPageSize, Access::read_write)) std::abort();
    i = i + 1 == walk.from.size() ? 0 : i + 1;
  }
}
BENCHMARK(space_pair)->Name("space/unmap+map")->Iterations(2'000'000);

/// The share of the above that is the pin's: the frame source and its virtual calls.
void null_pin(benchmark::State& state) {
  NullFrames frames;
  FrameSource* source = &frames;
  benchmark::DoNotOptimize(source);
  const HvaRange range = HvaRange::from_size(Hva(kPageSize), kPageSize).value();
  for (auto _ : state) {
    auto pin = source->pin(range, Access::read_write);
    benchmark::DoNotOptimize(pin);
  }
}
BENCHMARK(null_pin)->Name("space/pin")->Iterations(2'000'000);

/// The model's own part of a map and an unmap: its frames and its two calls,
/// in a space with as many live mappings.
void model_pair(benchmark::State& state) {
  auto opened = open_hypervisor("model:nvme,size=1M");
  if (!opened) {
    state.SkipWithError(to_string(opened.error()).c_str());
    return;
  }
  Spaces& model = (*opened)->spaces();
  const SpaceId space = *model.create_space({"bench"});
  NullFrames::Pin memory(HvaRange::from_size(Hva(0x10000000), kPageSize).value());
  NullFrames::Pin others(HvaRange::from_size(Hva(0x20000000), kLive * kPageSize).value());
  std::vector<FrameRun> runs;
  if (!model.frames_of(others, runs)) std::abort();
  for (std::uint64_t i = 0; i < kLive; ++i) {
    const MapRun run{Dfn(2 * i), runs[0].mfn + i, 1, Access::read_write};
    if (!model.map(space, std::span(&run, 1)).status) std::abort();
  }
  std::uint64_t i = 0;
  for (auto _ : state) {
    const Dfn dfn(2 * (i++ * 7919 % kLive) + 1);
    runs.clear();
    if (!model.frames_of(memory, runs)) std::abort();
    const MapRun run{dfn, runs[0].mfn, 1, Access::read_write};
    if (model.map(space, std::span(&run, 1)).pages_done != 1) std::abort();
    const UnmapRun back{dfn, runs[0].mfn, 1};
    if (model.unmap(space, std::span(&back, 1)).pages_done != 1) std::abort();
    model.forget_frames(memory);
  }
  (void)model.destroy_space(space).ok();
  model.forget_frames(others);
}
BENCHMARK(model_pair)->Name("model/map+unmap")->Iterations(1'000'000);

std::unique_ptr<FrameSource> source_of(const char* kind) {
  auto chosen = make_frame_source(kind);
  return chosen ? std::move(chosen->source) : nullptr;
}

HvaRange fresh_memory(std::uint64_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return HvaRange::from_size(Hva(reinterpret_cast<std::uintptr_t>(memory)), bytes).value();
}

void pin(benchmark::State& state, const char* kind, std::uint64_t bytes) {
  const auto source = source_of(kind);
  if (!source) return state.SkipWithError("not available");
  const HvaRange range = fresh_memory(bytes);
  for (auto _ : state)
    if (!source->pin(range, Access::read_write)) return state.SkipWithError("pin");
  ::munmap(reinterpret_cast<void*>(range.first().raw()), bytes);
}

void transfer(benchmark::State& state, const char* kind, bool out, std::size_t bytes) {
  const auto source = source_of(kind);
  if (!source) return state.SkipWithError("not available");
  const HvaRange range = fresh_memory(1 << 20);
  std::memset(reinterpret_cast<void*>(range.first().raw()), 1, 1 << 20);
  const auto pin = source->pin(range, Access::read_write);
  const int fd = ::memfd_create("bench", MFD_CLOEXEC);
  if (!pin || ::ftruncate(fd, 1 << 20) != 0) return state.SkipWithError("setup");
  for (auto _ : state) {
    const Status status = out ? (*pin)->to_file(fd, 0, 0, bytes) : (*pin)->from_file(fd, 0, 0, bytes);
    if (!status) return state.SkipWithError("transfer");
  }
  ::close(fd);
}

const int registered = [] {
  for (const char* kind : {"io_uring", "copy"}) {
    const std::string k = kind;
    benchmark::RegisterBenchmark(("pin/" + k + "/4K").c_str(),
                                 [=](benchmark::State& s) { pin(s, kind, kPageSize); });
    benchmark::RegisterBenchmark(("pin/" + k + "/2M").c_str(),
                                 [=](benchmark::State& s) { pin(s, kind, 512 * kPageSize); });
    for (const std::size_t bytes : {64, 4096, 65536}) {
      const std::string size = "/" + std::to_string(bytes);
      benchmark::RegisterBenchmark(("to_file/" + k + size).c_str(),
                                   [=](benchmark::State& s) { transfer(s, kind, true, bytes); });
      benchmark::RegisterBenchmark(("from_file/" + k + size).c_str(),
                                   [=](benchmark::State& s) { transfer(s, kind, false, bytes); });
    }
  }
  return 0;
}();

double calls(HypercallOp op) {
  return static_cast<double>(statistics().hypercalls[static_cast<std::size_t>(op)].count.load());
}

}  // namespace

void measure_hypercalls_per_gib() {
  for (const char* frames : {"contiguous", "scattered"})
    for (const char* limits : {"none", "xen", "papr"}) {
      const std::string name = std::string("gib/") + limits + "/" + frames;
      const std::string conf = std::string("model:limits=") + limits + ",frames=" + frames;
      auto hypervisor = open_hypervisor(conf);
      if (!hypervisor) continue;
      auto driver = open_iommu_driver("", **hypervisor);
      NullFrames source;
      auto space = AddressSpace::create(**driver, (*hypervisor)->spaces(), source, {});
      if (!space) continue;
      const std::uint64_t first = (*hypervisor)->capabilities().iova_ranges.back().first().raw();
      const Iova iova((first + kGiB - 1) / kGiB * kGiB);
      const double before = calls(HypercallOp::map), unmaps = calls(HypercallOp::unmap);
      const Status mapped = (*space)->map(iova, Hva(kGiB), kGiB, Access::read_write);
      if (!mapped) {
        figures()[name + "/errno"] = mapped.error().code;
        continue;
      }
      figures()[name + "/map"] = calls(HypercallOp::map) - before;
      if ((*space)->unmap(iova, kGiB)) figures()[name + "/unmap"] = calls(HypercallOp::unmap) - unmaps;
    }
}

}  // namespace pviommu::bench
