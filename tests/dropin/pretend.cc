// SPDX-License-Identifier: LGPL-2.1-or-later
// A hypervisor module, complete and out of tree: address spaces only, kept in a
// std::map, and one PCI function that does nothing.
//
//   IOVA -> Dfn --page_table_--> Mfn     a frame is named by the memory's own address
//
// Built from installed headers only (see Makefile), chosen with
//   pviommu run --hypervisor=pretend -- PROGRAM
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "hypercall/hypervisor.h"
#include "hypercall/module.h"
#include "hypercall/no_interrupts.h"

namespace {

using namespace pviommu;

constexpr Sbdf kSbdf = make_sbdf(0, 0, 1, 0);

/// 256 bytes of configuration space without a BAR, an interrupt or a capability.
class Function final : public PciDevice {
 public:
  explicit Function(PciDeviceInfo info) : info_(std::move(info)) {
    config_[0] = info_.vendor | std::uint32_t{info_.device} << 16;
    config_[2] = info_.class_code << 8;
  }
  const PciDeviceInfo& info() const override { return info_; }
  BarInfo bar(unsigned) const override { return {}; }
  std::size_t config_size() const override { return sizeof config_; }
  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    const std::uint64_t mask = (std::uint64_t{1} << width * 8) - 1;
    return static_cast<std::uint32_t>((config_[offset / 4] >> offset % 4 * 8) & mask);
  }
  Status config_write(std::size_t, unsigned, std::uint32_t) override { return {}; }  // all of it is read-only
  Result<std::uint64_t> bar_read(unsigned, std::uint64_t, unsigned) override { return kNoBar; }
  Status bar_write(unsigned, std::uint64_t, unsigned, std::uint64_t) override { return kNoBar; }
  Result<BarMapping> bar_mapping(unsigned) override { return kNoBar; }
  void bar_mapped(unsigned, bool) override {}
  bool can_reset() const override { return false; }
  Status reset() override { return Error{ENOTTY, "reset: the function has none"}; }
  Result<std::vector<HotResetMember>> hot_reset_members() override { return Error{ENODEV, "hot reset: no port above"}; }
  Status hot_reset() override { return Error{ENODEV, "hot reset: no port above"}; }
  bool intx_asserted() override { return false; }

 private:
  static inline const Error kNoBar{EINVAL, "the function has no BAR"};
  const PciDeviceInfo info_;
  std::array<std::uint32_t, 64> config_{};
};

class Pretend final : public Hypervisor, public Spaces {
 public:
  Pretend() {
    limits_.iova_ranges = {IovaRange::from_size(Iova(0), std::uint64_t{1} << 39).value()};
    limits_.vector_kinds = 0;
    function_.sbdf = kSbdf;
    function_.vendor = 0x1234;
    function_.device = 0x0001;
    function_.class_code = 0xff0000;
    function_.driver = "vfio-pci";
    function_.description = "a function that does nothing";
  }
  ~Pretend() override {
    if (mapped_ != 0) std::fprintf(stderr, "pretend: %llu pages were mapped, %zu are left\n", mapped_, page_table_.size());
  }

  std::string_view name() const override { return "pretend"; }
  const Capabilities& capabilities() const override { return limits_; }
  Result<std::vector<PciDeviceInfo>> devices() override { return std::vector{function_}; }
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf sbdf) override {
    if (sbdf != kSbdf) return Error{ENODEV, "open_device: no such function"};
    return std::unique_ptr<PciDevice>(std::make_unique<Function>(function_));
  }
  Result<std::unique_ptr<GuestBus>> guest_bus() override { return Error{EOPNOTSUPP, "guest_bus: no guests"}; }
  Spaces& spaces() override { return *this; }
  Interrupts& interrupts() override { return no_interrupts_; }

  // Spaces are numbers, and the number is the high half of a key in the one table.
  Result<SpaceId> create_space(const SpaceConfig&) override {
    const std::lock_guard guard(lock_);
    return SpaceId(++spaces_);
  }
  Status destroy_space(SpaceId space) override {
    const std::lock_guard guard(lock_);
    page_table_.erase(page_table_.lower_bound({space, Dfn(0)}), page_table_.lower_bound({space + 1, Dfn(0)}));
    return {};
  }
  // The one function masters no bus: whose it is makes no difference.
  Status attach(SpaceId, Sbdf) override { return {}; }
  Status detach(SpaceId, Sbdf) override { return {}; }

  BatchResult map(SpaceId space, std::span<const MapRun> runs) override {
    const std::lock_guard guard(lock_);
    BatchResult result;
    for (const MapRun& run : runs)
      for (std::uint64_t i = 0; i < run.pages; ++i, ++result.pages_done, ++mapped_)
        if (!page_table_.try_emplace({space, run.dfn + i}, run.mfn + i).second)
          return {result.pages_done, Error{EEXIST, "map: mapped already"}};
    return result;
  }
  BatchResult unmap(SpaceId space, std::span<const UnmapRun> runs) override {
    const std::lock_guard guard(lock_);
    BatchResult result;
    for (const UnmapRun& run : runs)
      for (std::uint64_t i = 0; i < run.pages; ++i, ++result.pages_done)
        if (page_table_.erase({space, run.dfn + i}) == 0)
          return {result.pages_done, Error{ENOENT, "unmap: not mapped"}};
    return result;
  }
  Status flush(SpaceId) override { return {}; }  // unmap() leaves nothing to be done

  Status frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) override {
    out.push_back({Mfn(memory.range().first().raw() >> kPageShift), memory.pages()});
    return {};
  }
  void forget_frames(PinnedMemory&) noexcept override {}
  Status frames_of_mmio(Sbdf, unsigned, std::uint64_t, std::uint64_t, std::vector<FrameRun>&) override {
    return Error{EOPNOTSUPP, "frames_of_mmio: no peer to peer"};
  }

 private:
  Capabilities limits_;
  PciDeviceInfo function_;
  NoInterrupts no_interrupts_;
  std::mutex lock_;  ///< all below
  std::uint32_t spaces_ = 0;
  std::map<std::pair<SpaceId, Dfn>, Mfn> page_table_;
  unsigned long long mapped_ = 0;
};

// Nothing may be thrown out of here.
void* open_pretend(const pviommu_open_args*, int* error) {
  try {
    return static_cast<Hypervisor*>(new Pretend);  // the interface's address, not the object's
  } catch (const std::bad_alloc&) {
    *error = ENOMEM;
    return nullptr;
  }
}

}  // namespace

extern "C" const pviommu_module pviommu_module_entry = {
    sizeof(pviommu_module),
    PVIOMMU_MODULE_API_VERSION,
    PVIOMMU_MODULE_HYPERVISOR,
    "pretend",
    "address spaces in a std::map, and a function that does nothing",
    open_pretend,
    nullptr,  // no diagnose(), no reap(), no keepers
    nullptr,
    nullptr,
    nullptr,
};
