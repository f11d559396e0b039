// SPDX-License-Identifier: LGPL-2.1-or-later
// Every call of Counted is one of the backend, between two looks at the counters.
#include "hypercall/counted.h"

#include <time.h>

namespace pviommu {
namespace {

std::uint64_t now_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

bool ok(const BatchResult& result) { return static_cast<bool>(result.status); }
template <class T>
bool ok(const T& result) {
  return static_cast<bool>(result);
}

/// `work()`, counted as `op`.
template <class Work>
auto counted(HypercallOp op, Work&& work) {
  HypercallTimer timer(op);
  auto result = work();
  if (!ok(result)) timer.failed();
  return result;
}

/// A device whose resets are counted.  All else is passed on by a jump.
class CountedDevice final : public PciDevice {
 public:
  explicit CountedDevice(std::unique_ptr<PciDevice> device) : device_(std::move(device)) {}

  const PciDeviceInfo& info() const override { return device_->info(); }
  BarInfo bar(unsigned index) const override { return device_->bar(index); }
  std::size_t config_size() const override { return device_->config_size(); }
  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    return device_->config_read(offset, width);
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    return device_->config_write(offset, width, value);
  }
  Result<std::uint64_t> bar_read(unsigned index, std::uint64_t offset, unsigned width) override {
    return device_->bar_read(index, offset, width);
  }
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override {
    return device_->bar_write(index, offset, width, value);
  }
  Result<BarMapping> bar_mapping(unsigned index) override { return device_->bar_mapping(index); }
  void bar_mapped(unsigned index, bool mapped) override { device_->bar_mapped(index, mapped); }
  bool can_reset() const override { return device_->can_reset(); }
  Status reset() override {
    return counted(HypercallOp::reset, [&] { return device_->reset(); });
  }
  Result<std::vector<HotResetMember>> hot_reset_members() override { return device_->hot_reset_members(); }
  Status hot_reset() override {
    return counted(HypercallOp::reset, [&] { return device_->hot_reset(); });
  }
  bool intx_asserted() override { return device_->intx_asserted(); }

 private:
  const std::unique_ptr<PciDevice> device_;
};

}  // namespace

HypercallTimer::HypercallTimer(HypercallOp op) noexcept : op_(op) {
  Statistics& s = statistics();
  s.hypercalls[static_cast<std::size_t>(op)].count.fetch_add(1, std::memory_order_relaxed);
  if (s.timed.load(std::memory_order_relaxed) != 0) start_ = now_ns();
}

HypercallTimer::~HypercallTimer() {
  if (start_ != 0)
    statistics().hypercalls[static_cast<std::size_t>(op_)].nanoseconds.fetch_add(now_ns() - start_,
                                                                                 std::memory_order_relaxed);
}

void HypercallTimer::failed() noexcept {
  statistics().hypercall_failures[static_cast<std::size_t>(op_)].fetch_add(1, std::memory_order_relaxed);
}

Counted::Counted(std::unique_ptr<Hypervisor> hypervisor)
    : hypervisor_(std::move(hypervisor)), spaces_(hypervisor_->spaces()), interrupts_(hypervisor_->interrupts()) {}

Result<std::unique_ptr<PciDevice>> Counted::open_device(Sbdf sbdf) {
  auto opened = counted(HypercallOp::open_device, [&] { return hypervisor_->open_device(sbdf); });
  if (!opened) return opened;
  return std::unique_ptr<PciDevice>(std::make_unique<CountedDevice>(std::move(*opened)));
}

// ---- spaces --------------------------------------------------------------------

Result<SpaceId> Counted::create_space(const SpaceConfig& config) {
  return counted(HypercallOp::create_space, [&] { return spaces_.create_space(config); });
}

Status Counted::destroy_space(SpaceId space) {
  return counted(HypercallOp::destroy_space, [&] { return spaces_.destroy_space(space); });
}

Status Counted::attach(SpaceId space, Sbdf sbdf) {
  return counted(HypercallOp::attach, [&] { return spaces_.attach(space, sbdf); });
}

Status Counted::detach(SpaceId space, Sbdf sbdf) {
  return counted(HypercallOp::detach, [&] { return spaces_.detach(space, sbdf); });
}

BatchResult Counted::map(SpaceId space, std::span<const MapRun> runs) {
  return counted(HypercallOp::map, [&] { return spaces_.map(space, runs); });
}

BatchResult Counted::unmap(SpaceId space, std::span<const UnmapRun> runs) {
  return counted(HypercallOp::unmap, [&] { return spaces_.unmap(space, runs); });
}

Status Counted::flush(SpaceId space) {
  return counted(HypercallOp::flush, [&] { return spaces_.flush(space); });
}

Status Counted::frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) {
  if (!hypervisor_->capabilities().pins_memory) return spaces_.frames_of(memory, out);
  return counted(HypercallOp::frames, [&] { return spaces_.frames_of(memory, out); });
}

void Counted::forget_frames(PinnedMemory& memory) noexcept { spaces_.forget_frames(memory); }

Status Counted::frames_of_mmio(Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t bytes,
                               std::vector<FrameRun>& out) {
  return spaces_.frames_of_mmio(sbdf, bar, offset, bytes, out);
}

// ---- interrupts ----------------------------------------------------------------

Result<unsigned> Counted::allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) {
  return counted(HypercallOp::allocate_vectors, [&] { return interrupts_.allocate_vectors(sbdf, kind, count); });
}

Status Counted::free_vectors(Sbdf sbdf, VectorKind kind) {
  return counted(HypercallOp::free_vectors, [&] { return interrupts_.free_vectors(sbdf, kind); });
}

Status Counted::bind_vector(const Vector& vector, const Notification& notification) {
  return counted(HypercallOp::bind_vector, [&] { return interrupts_.bind_vector(vector, notification); });
}

Status Counted::unbind_vector(const Vector& vector) {
  return counted(HypercallOp::unbind_vector, [&] { return interrupts_.unbind_vector(vector); });
}

Status Counted::mask_vector(const Vector& vector) {
  return counted(HypercallOp::mask_vector, [&] { return interrupts_.mask_vector(vector); });
}

Status Counted::unmask_vector(const Vector& vector) {
  return counted(HypercallOp::unmask_vector, [&] { return interrupts_.unmask_vector(vector); });
}

Result<bool> Counted::vector_pending(const Vector& vector) { return interrupts_.vector_pending(vector); }

Status Counted::raise_vector(const Vector& vector) {
  return counted(HypercallOp::raise_vector, [&] { return interrupts_.raise_vector(vector); });
}

Result<EventPort> Counted::event_port(const Vector& vector) { return interrupts_.event_port(vector); }

int Counted::event_fd() const { return interrupts_.event_fd(); }

}  // namespace pviommu
