// SPDX-License-Identifier: LGPL-2.1-or-later
// Its PinnedMemory says where the memory is and holds nothing: the hypervisor, or the kernel
// for it, pins when it maps.
#include "pviommu/named_memory.h"

#include "hypercall/statistics.h"

namespace pviommu {
namespace {

class NamedMemory final : public PinnedMemory {
 public:
  explicit NamedMemory(HvaRange range) : PinnedMemory(range) {
    statistics().pinned_pages.fetch_add(pages(), std::memory_order_relaxed);
  }
  ~NamedMemory() override { statistics().pinned_pages.fetch_sub(pages(), std::memory_order_relaxed); }

  /// The hypervisor does, from frames_of() to forget_frames().
  bool holds_pages() const override { return true; }
  int holder_fd() const override { return -1; }
  Status from_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return unreachable(); }
  Status to_file(int, std::uint64_t, std::uint64_t, std::size_t) override { return unreachable(); }

 private:
  static Status unreachable() { return Error{EOPNOTSUPP, "transfer: the hypervisor holds the pages"}; }
};

class NamingSource final : public FrameSource {
 public:
  std::string_view name() const override { return "hypervisor"; }
  bool holds_pages() const override { return true; }
  Result<std::unique_ptr<PinnedMemory>> pin(HvaRange range, Access) override {
    return std::unique_ptr<PinnedMemory>(new NamedMemory(range));
  }
  /// frames_of() counts what it pins.
  Status count(std::uint64_t) override { return {}; }
  void uncount(std::uint64_t) noexcept override {}
};

}  // namespace

std::unique_ptr<FrameSource> make_naming_source() { return std::make_unique<NamingSource>(); }

}  // namespace pviommu
