// SPDX-License-Identifier: LGPL-2.1-or-later
// Interrupts of a hypervisor, and a PCI function, that record every access and can refuse the
// n-th one.  Strict: what the real ones would punish is a test failure.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "hypercall/capabilities.h"
#include "hypercall/interrupts.h"
#include "hypercall/pci_device.h"
#include "hypercall/unique_fd.h"
#include "tests/unit/fake_pci_device.h"

namespace pviommu::msi::test {

/// The steps of hypervisor and device in one sequence.
class Script {
 public:
  /// Access number `n` from now on (from 1) fails; 0: none does.
  void fail_at(unsigned n) {
    fail_at_ = n;
    calls_ = 0;
    failed_ = false;
  }
  /// Every access whose name starts so fails.
  void fail_always(std::string prefix) { fail_always_ = std::move(prefix); }
  bool failed() const { return failed_; }
  unsigned calls() const { return calls_; }
  std::vector<std::string> take() { return std::exchange(log_, {}); }

  Status step(std::string name) {
    ++calls_;
    const bool refuse = calls_ == fail_at_ ||
                        (!fail_always_.empty() && name.compare(0, fail_always_.size(), fail_always_) == 0);
    log_.push_back(refuse ? name + " failed" : name);
    if (!refuse) return {};
    failed_ = true;
    return Error{EIO, "injected"};
  }

 private:
  unsigned calls_ = 0;
  unsigned fail_at_ = 0;
  bool failed_ = false;
  std::string fail_always_;
  std::vector<std::string> log_;
};

class FakeDevice final : public pviommu::test::FakePciDevice {
 public:
  explicit FakeDevice(Script& script) : FakePciDevice(4096), script_(script) {
    info_.sbdf = make_sbdf(0, 0, 5, 0);
    bars[0].size = 0x10000;
    put16(0x04, 0x0003);
    put16(0x06, 0x0010);
    config[0x3d] = 1;
  }

  // Capabilities are put in front of the list.
  void add_msi(unsigned offset, unsigned log2_vectors, bool is_64bit, bool maskable) {
    link(offset, 0x05);
    put16(offset + 2, log2_vectors << 1 | is_64bit << 7 | maskable << 8);
    msi_ = offset;
  }
  void add_msix(unsigned offset, unsigned vectors, std::uint32_t table, std::uint32_t pba) {
    link(offset, 0x11);
    put16(offset + 2, vectors - 1);
    put32(offset + 4, table);
    put32(offset + 8, pba);
    msix_ = offset;
  }
  void link(unsigned offset, std::uint8_t id) {
    config[offset] = id;
    config[offset + 1] = config[0x34];
    config[0x34] = static_cast<std::uint8_t>(offset);
  }
  bool intx_disabled() const { return (get16(4) & 0x400) != 0; }
  bool msi_enabled() const { return msi_ != 0 && (get16(msi_ + 2) & 1) != 0; }
  bool msix_enabled() const { return msix_ != 0 && (get16(msix_ + 2) & 0x8000) != 0; }

  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    PVIOMMU_TRY(script_.step("read " + std::to_string(offset)));
    return FakePciDevice::config_read(offset, width);
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    PVIOMMU_TRY(script_.step("write " + std::to_string(offset)));
    EXPECT_EQ(width, 2u);
    const auto word = static_cast<std::uint16_t>(value);
    if (offset == 4)
      put16(4, word);
    else if (msi_ != 0 && offset == msi_ + 2)
      put16(offset, (get16(offset) & ~0x71u) | (word & 0x71u));
    else if (msix_ != 0 && offset == msix_ + 2)
      put16(offset, (get16(offset) & ~0xc000u) | (word & 0xc000u));
    else
      ADD_FAILURE() << "write to " << offset;
    return {};
  }
  bool can_reset() const override { return true; }
  Status reset() override {
    put16(4, 0);
    if (msi_ != 0) put16(msi_ + 2, get16(msi_ + 2) & ~0x71u);
    if (msix_ != 0) put16(msix_ + 2, get16(msix_ + 2) & 0x3fffu);
    return {};
  }

 private:
  Script& script_;
  unsigned msi_ = 0;
  unsigned msix_ = 0;
};

class FakeInterrupts final : public Interrupts {
 public:
  FakeInterrupts(Script& script, FakeDevice& device) : script_(script), device_(device) {
    capabilities_.notifications = bit(NotificationKind::sink) | bit(NotificationKind::event_channel) |
                                  bit(NotificationKind::guest_vector);
  }
  ~FakeInterrupts() override {
    if (!expect_leak) {
      EXPECT_FALSE(allocated_) << "vectors leaked";
      EXPECT_TRUE(sinks_.empty() && targets_.empty()) << "bindings leaked";
    }
  }

  std::array<std::atomic<unsigned>, 64> arrivals{};  ///< at vectors bound elsewhere than to a sink
  unsigned most = 2048;  ///< smaller grant
  bool attached = false;
  bool expect_leak = false;

  struct State {
    std::optional<std::pair<VectorKind, unsigned>> allocated;
    std::map<unsigned, EventSink*> sinks;
    std::map<unsigned, Notification> targets;
    std::map<unsigned, bool> masked;
    std::vector<std::uint8_t> config;
    friend bool operator==(const State&, const State&) = default;
  };
  State state() const { return {allocated_, sinks_, targets_, masked_, device_.config}; }

  void declare(NotificationKinds kinds) { capabilities_.notifications = kinds; }
  void declare_growing() { capabilities_.vectors_grow = true; }
  void declare_before_attach() { capabilities_.vectors_before_attach = true; }

  /// An edge-triggered arrival.  False: not bound.
  bool raise(VectorKind kind, unsigned index) {
    const std::shared_lock guard(lock_);
    if (const auto masked = masked_.find(index); masked != masked_.end()) {
      masked->second = true;
      return true;
    }
    if (const auto target = targets_.find(index); target != targets_.end() && allocated_->first == kind) {
      ++arrivals[index];
      return true;
    }
    const auto found = sinks_.find(index);
    if (found == sinks_.end() || allocated_->first != kind) return false;
    found->second->event({device_.info().sbdf, kind, index});
    return true;
  }
  /// The INTx line.
  void line(bool asserted) {
    const std::lock_guard guard(line_lock_);
    asserted_ = asserted;
    look_at_line();
  }

  const Capabilities& limits() const { return capabilities_; }

  Result<unsigned> allocate_vectors(Sbdf sbdf, VectorKind kind, unsigned count) override {
    PVIOMMU_TRY(script_.step("allocate " + std::to_string(count)));
    EXPECT_EQ(sbdf, device_.info().sbdf);
    EXPECT_TRUE(kind != VectorKind::msix || (device_.get16(4) & 2) != 0) << "memory decoding is off";
    if (attached) return Error{ENODEV, "attached"};
    if (allocated_ && !(capabilities_.vectors_grow && kind == VectorKind::msix && allocated_->first == kind))
      return Error{EBUSY, "allocated"};
    const std::unique_lock guard(lock_);
    if (allocated_) return allocated_->second = std::max(allocated_->second, std::min(count, most));
    allocated_.emplace(kind, std::min(count, most));
    return allocated_->second;
  }
  Status free_vectors(Sbdf, VectorKind kind) override {
    PVIOMMU_TRY(script_.step("free"));
    EXPECT_TRUE(allocated_ && allocated_->first == kind);
    EXPECT_TRUE(sinks_.empty() && targets_.empty());
    EXPECT_TRUE(kind != VectorKind::msix || (device_.get16(4) & 2) != 0) << "memory decoding is off";
    const std::unique_lock guard(lock_);
    allocated_.reset();
    return {};
  }
  Status bind_vector(const Vector& vector, const Notification& notification) override {
    PVIOMMU_TRY(script_.step("bind " + std::to_string(vector.index)));
    EXPECT_TRUE(allocated_ && allocated_->first == vector.kind && vector.index < allocated_->second);
    const std::unique_lock guard(lock_);
    if (notification.kind == NotificationKind::sink) {
      sinks_[vector.index] = notification.sink;
      targets_.erase(vector.index);
    } else {
      EXPECT_EQ(notification.sink, nullptr);
      targets_[vector.index] = notification;
      sinks_.erase(vector.index);
    }
    return {};
  }
  Status unbind_vector(const Vector& vector) override {
    PVIOMMU_TRY(script_.step("unbind " + std::to_string(vector.index)));
    const std::unique_lock guard(lock_);
    EXPECT_EQ(sinks_.erase(vector.index) + targets_.erase(vector.index), 1u);
    masked_.erase(vector.index);
    line_masked_ = false;
    return {};
  }
  Status mask_vector(const Vector& vector) override {
    PVIOMMU_TRY(script_.step("mask " + std::to_string(vector.index)));
    EXPECT_NE(vector.kind, VectorKind::intx);
    const std::unique_lock guard(lock_);
    masked_.emplace(vector.index, false);
    return {};
  }
  Status unmask_vector(const Vector& vector) override {
    const std::lock_guard guard(line_lock_);
    PVIOMMU_TRY(script_.step("unmask " + std::to_string(vector.index)));
    if (vector.kind != VectorKind::intx) {
      bool pending = false;
      {
        const std::unique_lock lock(lock_);
        const auto found = masked_.find(vector.index);
        EXPECT_NE(found, masked_.end());
        pending = found != masked_.end() && found->second;
        masked_.erase(vector.index);
      }
      if (pending) raise(vector.kind, vector.index);
      return {};
    }
    line_masked_ = false;
    look_at_line();
    return {};
  }
  Result<bool> vector_pending(const Vector&) override { return Error{ENOSYS, "fake"}; }
  Status raise_vector(const Vector& vector) override {
    PVIOMMU_TRY(script_.step("raise " + std::to_string(vector.index)));
    EXPECT_TRUE(targets_.contains(vector.index)) << "raise of what is bound to no other target";
    EXPECT_FALSE(masked_.contains(vector.index)) << "raise of a masked vector";
    raise(vector.kind, vector.index);
    return {};
  }
  Result<EventPort> event_port(const Vector& vector) override {
    const auto found = targets_.find(vector.index);
    if (found == targets_.end() || found->second.kind != NotificationKind::event_channel) return Error{ENOENT, "fake"};
    return found->second.port == EventPort{} ? EventPort(100 + vector.index) : found->second.port;
  }
  int event_fd() const override { return -1; }

 private:
  void look_at_line() {
    if (!asserted_ || line_masked_ || device_.intx_disabled()) return;
    line_masked_ = true;
    if (!raise(VectorKind::intx, 0)) line_masked_ = false;
  }

  Script& script_;
  FakeDevice& device_;
  Capabilities capabilities_;
  std::optional<std::pair<VectorKind, unsigned>> allocated_;
  std::map<unsigned, EventSink*> sinks_;
  std::map<unsigned, Notification> targets_;
  std::map<unsigned, bool> masked_;  ///< true: pending
  mutable std::shared_mutex lock_;  ///< shared while an event is under way
  std::mutex line_lock_;
  bool asserted_ = false;
  bool line_masked_ = false;
};

/// The program's side of an eventfd.
class Eventfd {
 public:
  explicit Eventfd(int flags = EFD_NONBLOCK) : fd_(::eventfd(0, EFD_CLOEXEC | flags)) {}
  UniqueFd duplicate() const { return UniqueFd(::dup(fd_.get())); }
  /// Takes the counter; 0 when nothing was written.
  std::uint64_t take() const {
    struct pollfd ready {
      fd_.get(), POLLIN, 0
    };
    if (::poll(&ready, 1, 0) != 1) return 0;
    std::uint64_t value = 0;
    EXPECT_EQ(::read(fd_.get(), &value, sizeof value), 8);
    return value;
  }
  /// Waits up to 5 s for something to take.
  std::uint64_t wait() const {
    struct pollfd ready {
      fd_.get(), POLLIN, 0
    };
    return ::poll(&ready, 1, 5000) == 1 ? take() : 0;
  }
  void write(std::uint64_t value = 1) const { EXPECT_EQ(::write(fd_.get(), &value, sizeof value), 8); }
  int get() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

}  // namespace pviommu::msi::test
