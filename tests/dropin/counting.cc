// SPDX-License-Identifier: LGPL-2.1-or-later
// An IOMMU driver module, complete and out of tree: passes everything on to the
// hypervisor it is given and says at the end how much that was.
//
// Built from installed headers only (see Makefile), chosen with
//   pviommu run --iommu-driver=counting[:quiet] -- PROGRAM
#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "hypercall/module.h"
#include "pviommu/iommu_driver.h"

namespace {

using namespace pviommu;

// Domains of several containers count at the same time.
struct Counts {
  std::atomic<std::uint64_t> maps{0};
  std::atomic<std::uint64_t> unmaps{0};
  std::atomic<std::uint64_t> pages{0};
};

std::uint64_t pages_of(std::span<const MapRun> runs) {
  std::uint64_t pages = 0;
  for (const MapRun& run : runs) pages += run.pages;
  return pages;
}

class CountingDomain final : public IommuDomain {
 public:
  CountingDomain(Hypervisor& hypervisor, SpaceId space, Counts& counts)
      : hypervisor_(hypervisor), space_(space), counts_(counts) {}
  ~CountingDomain() override {
    const Status status = hypervisor_.spaces().destroy_space(space_);
    if (!status) std::fprintf(stderr, "counting: %s\n", to_string(status.error()).c_str());
  }

  Status attach(Sbdf sbdf) override { return hypervisor_.spaces().attach(space_, sbdf); }
  Status detach(Sbdf sbdf) override { return hypervisor_.spaces().detach(space_, sbdf); }

  // All or nothing, both ways: what was done before an error is taken back.
  Status map(std::span<const MapRun> runs) override {
    const std::uint64_t pages = pages_of(runs);
    const Progress mapped = map_pages(runs, pages);
    if (!mapped.status) {
      if (!unmap_pages(runs, mapped.done).status) return Error{EIO, "map: state lost", 0, true};
      return mapped.status;
    }
    ++counts_.maps;
    counts_.pages += pages;
    return {};
  }

  Status unmap(std::span<const MapRun> runs) override {
    const Progress unmapped = unmap_pages(runs, pages_of(runs));
    Status status = unmapped.status;
    if (status && hypervisor_.capabilities().deferred_flush) status = hypervisor_.spaces().flush(space_);
    if (!status) {
      if (!map_pages(runs, unmapped.done).status) return Error{EIO, "unmap: state lost", 0, true};
      return status;
    }
    ++counts_.unmaps;
    return {};
  }

 private:
  struct Progress {
    std::uint64_t done = 0;  ///< pages, from the front
    Status status;
  };

  // Calls `step` for the first `total` pages of `runs`, a piece of one run at a
  // time: that is within every limit on runs, and the limit on entries, of which a
  // page takes one at most, is kept here.
  // A call may do less than asked for without an error: it is called again.
  template <class Step>
  Progress in_steps(std::span<const MapRun> runs, std::uint64_t total, Step step) {
    const std::uint64_t limit = hypervisor_.capabilities().max_entries_per_call;
    Progress progress;
    for (const MapRun& run : runs) {
      for (std::uint64_t at = 0; at < run.pages;) {
        std::uint64_t pages = std::min(run.pages - at, total - progress.done);
        if (limit != 0) pages = std::min(pages, limit);
        if (pages == 0) return progress;
        const BatchResult result = step(MapRun{run.dfn + at, run.mfn + at, pages, run.access});
        at += result.pages_done;
        progress.done += result.pages_done;
        progress.status = result.status;
        if (result.status && result.pages_done == 0) progress.status = Error{EIO, "no progress"};
        if (!progress.status) return progress;
      }
    }
    return progress;
  }
  Progress map_pages(std::span<const MapRun> runs, std::uint64_t total) {
    return in_steps(runs, total, [this](const MapRun& run) { return hypervisor_.spaces().map(space_, {&run, 1}); });
  }
  Progress unmap_pages(std::span<const MapRun> runs, std::uint64_t total) {
    return in_steps(runs, total, [this](const MapRun& run) {
      const UnmapRun removal{run.dfn, run.mfn, run.pages};
      return hypervisor_.spaces().unmap(space_, {&removal, 1});
    });
  }

  Hypervisor& hypervisor_;
  const SpaceId space_;
  Counts& counts_;
};

class CountingDriver final : public IommuDriver {
 public:
  CountingDriver(Hypervisor& hypervisor, bool quiet) : hypervisor_(hypervisor), quiet_(quiet) {}
  ~CountingDriver() override {
    if (!quiet_ && used_)  // the command opens a driver once only to see that it can
      std::fprintf(stderr, "counting: %" PRIu64 " maps with %" PRIu64 " pages, %" PRIu64 " unmaps\n",
                   counts_.maps.load(), counts_.pages.load(), counts_.unmaps.load());
  }

  std::string_view name() const override { return "counting"; }
  const Capabilities& capabilities() const override { return hypervisor_.capabilities(); }
  Result<std::unique_ptr<IommuDomain>> create_domain(const SpaceConfig& config) override {
    const SpaceId space = PVIOMMU_TRY(hypervisor_.spaces().create_space(config));
    used_ = true;
    return std::unique_ptr<IommuDomain>(new CountingDomain(hypervisor_, space, counts_));
  }

 private:
  Hypervisor& hypervisor_;
  const bool quiet_;
  std::atomic<bool> used_{false};
  Counts counts_;
};

// Nothing may be thrown out of here, and the message is for people.
void* open_counting(const pviommu_open_args* args, int* error) {
  const bool quiet = std::strcmp(args->conf, "quiet") == 0;
  if (*args->conf != '\0' && !quiet) {
    std::snprintf(args->message, args->message_size, "\"%s\": the only setting is quiet", args->conf);
    *error = EINVAL;
    return nullptr;
  }
  auto* driver = new (std::nothrow) CountingDriver(*static_cast<Hypervisor*>(args->hypervisor), quiet);
  if (driver == nullptr) *error = ENOMEM;
  return static_cast<IommuDriver*>(driver);  // the interface's address, not the object's
}

}  // namespace

extern "C" const pviommu_module pviommu_module_entry = {
    sizeof(pviommu_module),
    PVIOMMU_MODULE_API_VERSION,
    PVIOMMU_MODULE_IOMMU_DRIVER,
    "counting",
    "counts what goes to the hypervisor",
    open_counting,
    nullptr,  // no diagnose(), no reap(), no keepers
    nullptr,
    nullptr,
    nullptr,
};
