// SPDX-License-Identifier: LGPL-2.1-or-later
// What the tests of the model share: memory, a probe device, a sink, a machine.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hypercall/model/devices/device_factory.h"
#include "hypercall/model/model.h"
#include "hypercall/statistics.h"

namespace pviommu::model {

/// Pages in a memfd under a made-up address, which therefore can be aligned as
/// the test wants it.
class TestMemory final : public PinnedMemory {
 public:
  explicit TestMemory(std::uint64_t pages, std::uint64_t hva = 0x7f0000001000)
      : PinnedMemory(HvaRange::from_size(Hva(hva), pages * kPageSize).value()),
        file_(::memfd_create("test memory", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(file_.get(), static_cast<off_t>(pages * kPageSize)), 0);
    bytes_ = static_cast<std::byte*>(
        ::mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
  }
  ~TestMemory() override { ::munmap(bytes_, range().size()); }

  bool holds_pages() const override { return true; }
  int holder_fd() const override { return -1; }
  Status from_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) override {
    PVIOMMU_TRY(enter());
    return transfer(::pread(fd, bytes_ + offset, bytes, static_cast<off_t>(file_offset)), bytes);
  }
  Status to_file(int fd, std::uint64_t file_offset, std::uint64_t offset, std::size_t bytes) override {
    PVIOMMU_TRY(enter());
    return transfer(::pwrite(fd, bytes_ + offset, bytes, static_cast<off_t>(file_offset)), bytes);
  }

  std::byte* bytes() { return bytes_; }
  template <class T>
  T& at(std::uint64_t offset) {
    return *reinterpret_cast<T*>(bytes_ + offset);
  }

  std::atomic<bool> gone{false};
  /// Transfers wait while it is closed.
  void close_gate() {
    std::lock_guard guard(lock_);
    open_ = false;
  }
  void open_gate() {
    std::lock_guard guard(lock_);
    open_ = true;
    changed_.notify_all();
  }
  void wait_for_visitor() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return waiting_ != 0; });
  }

 private:
  Status enter() {
    if (gone) return Error{EFAULT, "test memory is gone"};
    std::unique_lock guard(lock_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(guard, [this] { return open_; });
    --waiting_;
    return {};
  }
  static Status transfer(ssize_t moved, std::size_t bytes) {
    if (moved == static_cast<ssize_t>(bytes)) return {};
    return Error{EIO, "test memory"};
  }

  UniqueFd file_;
  std::byte* bytes_ = nullptr;
  std::mutex lock_;
  std::condition_variable changed_;
  bool open_ = true;
  int waiting_ = 0;
};

class TestSink final : public EventSink {
 public:
  void event(const Vector& vector) noexcept override {
    last = vector.index;
    ++count;
  }
  std::atomic<unsigned> count{0};
  std::atomic<unsigned> last{~0u};
};

/// A device without a will of its own: registers that remember, and every
/// ability of a function opened to the test.
//
//   BAR 0  64 KiB memory, 64 bit, mappable: registers, MSI-X table at 0x4000, PBA at 0x8000
//   BAR 2  32 ports
//   BAR 3  4 KiB memory, not mappable
class Probe final : public PciFunction {
 public:
  struct Shape {
    unsigned msix = 70;
    unsigned msi = 4;
    bool msi_mask = true;
    bool express = true;
  };
  Probe(Bus& bus, Sbdf sbdf, Shape shape)
      : PciFunction(bus, sbdf,
                    {0x1234, 0x5678, 0x9abc, 0xdef0, 0x010802, 7, shape.express, shape.express, "probe"}) {
    add_bar(0, 0x10000, {.is_64bit = true, .prefetchable = true, .mappable = true});
    add_bar(2, 32, {.io = true});
    add_bar(3, 4096, {});
    set_interrupt_pin(1);
    if (shape.express) add_express();
    if (shape.msi != 0) add_msi(shape.msi, shape.msi_mask, shape.msi_mask);
    if (shape.msix != 0) add_msix(shape.msix, 0, 0x4000, 0, 0x8000);
  }
  ~Probe() override { stop(); }

  template <class Work>
  auto locked(Work&& work) {
    std::lock_guard guard(lock());
    return work();
  }
  void fire(unsigned index) {
    locked([&] { raise(index); });
  }
  void level(bool asserted) {
    locked([&] { set_intx(asserted); });
  }
  Status dma_out(std::uint64_t iova, std::span<const std::byte> in) {
    return locked([&] { return dma_write(Iova(iova), in); });
  }
  Status dma_in(std::uint64_t iova, std::span<std::byte> out) {
    return locked([&] { return dma_read(Iova(iova), out); });
  }
  template <class T>
  Status put(std::uint64_t iova, T value) {
    return dma_out(iova, std::as_bytes(std::span(&value, 1)));
  }
  template <class T>
  Result<T> get(std::uint64_t iova) {
    T value{};
    PVIOMMU_TRY(dma_in(iova, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  Status out_of_file(std::uint64_t iova, std::size_t bytes, int fd, std::uint64_t at) {
    return locked([&] { return dma_from_file(Iova(iova), bytes, fd, at); });
  }
  Status into_file(std::uint64_t iova, std::size_t bytes, int fd, std::uint64_t at) {
    return locked([&] { return dma_to_file(Iova(iova), bytes, fd, at); });
  }
  bool would_use_intx() {
    return locked([&] { return uses_intx(); });
  }
  void wake() { kick(); }
  std::byte* memory(unsigned bar) { return bar_memory(bar); }

  std::atomic<unsigned> resets{0};
  std::atomic<unsigned> polls{0};
  std::atomic<unsigned> seen{0};  ///< last value of register 0 that poll() saw

 private:
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override {
    std::uint64_t value = 0;
    if (bar == 2)
      std::memcpy(&value, ports_ + offset, width);
    else
      std::memcpy(&value, bar_memory(bar) + offset, width);
    return value;
  }
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override {
    std::memcpy(bar == 2 ? ports_ + offset : bar_memory(bar) + offset, &value, width);
  }
  void device_reset() override {
    std::memset(ports_, 0, sizeof ports_);
    ++resets;
  }
  bool poll() override {
    ++polls;
    const unsigned now = __atomic_load_n(reinterpret_cast<unsigned*>(bar_memory(0)), __ATOMIC_RELAXED);
    return seen.exchange(now) != now;
  }
  std::byte ports_[32] = {};
};

inline Result<std::unique_ptr<PciFunction>> make_probe(Bus& bus, Sbdf sbdf, ConfReader& conf) {
  Probe::Shape shape;
  shape.msix = static_cast<unsigned>(conf.size("msix", shape.msix));
  shape.msi = static_cast<unsigned>(conf.size("msi", shape.msi));
  shape.msi_mask = conf.flag("msi-mask", true);
  shape.express = conf.flag("express", true);
  conf.text("file", "");
  if (conf.flag("broken", false)) return Error{EINVAL, "probe"}.with_sentence("broken=on: it is");
  return std::unique_ptr<PciFunction>(std::make_unique<Probe>(bus, sbdf, shape));
}

/// A machine with two probes at 00:05.0 and 00:06.0 unless told otherwise.
class Machine {
 public:
  explicit Machine(const std::string& conf = "", const std::string& devices = "probe;probe") {
    register_device_type({"probe", "test device", &make_probe});
    auto opened = Model::open(conf.empty() ? devices : conf + ";" + devices);
    EXPECT_TRUE(opened) << to_string(opened.error());
    if (opened) model = std::move(*opened);
  }
  static constexpr Sbdf kFirst = make_sbdf(0, 0, 5, 0);
  static constexpr Sbdf kSecond = make_sbdf(0, 0, 6, 0);

  Probe& probe(Sbdf sbdf = kFirst) { return static_cast<Probe&>(*model->function(sbdf)); }
  /// A space with the device attached, decoding and bus mastering on.
  SpaceId attached(Sbdf sbdf = kFirst) {
    const SpaceId space = model->create_space({"test"}).value();
    EXPECT_TRUE(model->attach(space, sbdf));
    enable(sbdf);
    return space;
  }
  void enable(Sbdf sbdf) { probe(sbdf).config_write(4, 2, 7); }
  std::vector<FrameRun> frames(TestMemory& memory) {
    std::vector<FrameRun> runs;
    EXPECT_TRUE(model->frames_of(memory, runs));
    return runs;
  }
  /// The runs that map all of `memory` at `iova`.
  std::vector<MapRun> runs(TestMemory& memory, std::uint64_t iova, Access access = Access::read_write) {
    std::vector<MapRun> out;
    Dfn dfn = dfn_of(Iova(iova));
    for (const FrameRun& run : frames(memory)) {
      out.push_back({dfn, run.mfn, run.pages, access});
      dfn = dfn + run.pages;
    }
    return out;
  }
  BatchResult map(SpaceId space, TestMemory& memory, std::uint64_t iova, Access access = Access::read_write) {
    return model->map(space, runs(memory, iova, access));
  }
  BatchResult unmap(SpaceId space, TestMemory& memory, std::uint64_t iova) {
    std::vector<UnmapRun> out;
    for (const MapRun& run : runs(memory, iova)) out.push_back({run.dfn, run.mfn, run.pages});
    return model->unmap(space, out);
  }
  /// Takes the faults there are.
  std::vector<Fault> faults() {
    std::vector<Fault> all(300);
    all.resize(model->read_faults(all));
    return all;
  }
  ::testing::AssertionResult one_fault(std::uint64_t iova, FaultReason reason) {
    const auto all = faults();
    if (all.size() != 1) return ::testing::AssertionFailure() << all.size() << " faults";
    if (all[0].iova != Iova(iova) || all[0].reason != reason)
      return ::testing::AssertionFailure()
             << std::hex << all[0].iova.raw() << " " << to_string(all[0].reason);
    return ::testing::AssertionSuccess();
  }

  std::unique_ptr<Model> model;
};

inline int code(const Status& status) { return status ? 0 : status.error().code; }
template <class T>
int code(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

}  // namespace pviommu::model
