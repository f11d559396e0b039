// SPDX-License-Identifier: LGPL-2.1-or-later
// Fuzz target: configuration space over a hostile device.
//
//   input:  the device (size, BARs, header, capabilities, further bytes), accesses ...
//
// The device answers what it likes, fails when it likes and, as a variant, changes
// its mind.  Whatever it does, the program's accesses reach of the hardware what they
// may, and the program sees nothing of what is virtual.
#include <array>
#include <bit>
#include <memory>
#include <optional>
#include <vector>

#include "msi/capabilities.h"
#include "msi/virtual_capability.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/unit/fake_pci_device.h"
#include "vfio-glue/engine/config_space.h"

namespace pviommu::fuzz {
namespace {

constexpr std::uint8_t kSecret = 0x5a;  ///< what message registers of the hardware hold

class HostileDevice final : public test::FakePciDevice {
 public:
  explicit HostileDevice(Input& input) {
    const std::uint8_t how = input.byte();
    config.resize(how & 1 ? 4096 : 256);
    fickle_ = how % 16 >= 14;
    const unsigned which = input.byte();
    for (unsigned i = 0; i <= kPciBars; ++i) {
      if ((which >> i & 1) == 0) continue;
      const std::uint8_t what = input.byte();
      BarInfo& bar = bars[i];
      bar.size = std::uint64_t{1} << (what < 192 ? 4 + what % 16u : what % 64u);
      bar.is_io = what & 0x10;
      bar.is_64bit = !bar.is_io && (what & 0x20) && i + 1 < kPciBars;
      bar.prefetchable = what & 0x40;
      if (bar.is_64bit) ++i;
    }
    input.fill(config.data(), how & 2 ? 64 : 8);
    // A list that is right, as far as the order goes; then whatever overwrites it.
    config[6] |= 0x10;
    std::size_t link = 0x34;
    for (unsigned count = how / 4 % 8, at = 0x40; count && at < 256; --count) {
      const std::uint8_t id =
          input.of<std::uint8_t>({1, 3, 5, 5, 9, 0x10, 0x10, 0x11, 0x11, 0x13, 0x14, 0x0d});
      config[link] = static_cast<std::uint8_t>(at);
      config[at] = id;
      link = at + 1;
      input.fill(&config[at] + 2, std::min<std::size_t>(input.byte() % 24u, config.size() - at - 2));
      at += 4 + input.byte() % 17u * 4;
    }
    for (unsigned count = how & 1 ? input.byte() % 8u : 0, place = 0x100; count && place < 4096; --count) {
      const auto id = static_cast<std::uint8_t>(input.byte() % 48u);
      unsigned next = place + 4 + input.byte() % 33u * 4;
      if (input.one_in(8)) next = 0x1000 - input.byte() % 16u * 4;
      config[place] = id;
      config[place + 2] = static_cast<std::uint8_t>(next << 4 | 1);
      config[place + 3] = static_cast<std::uint8_t>(next >> 4);
      input.fill(&config[place] + 4, std::min<std::size_t>(input.byte() % 24u, config.size() - place - 4));
      place = next;
    }
    for (unsigned count = input.byte() % 16u; count; --count)
      config[input.raw<std::uint16_t>() % config.size()] = input.byte();
  }

  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    check(offset, width);
    if (fails()) return Error{EIO, "config_read"};
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= std::uint32_t{config[offset + i]} << (8 * i);
    if (fickle_ && ++reads_ % 5 == 0) value ^= reads_ * 0x9e3779b9u;
    return width == 4 ? value : value & ((1u << (8 * width)) - 1);
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    check(offset, width);
    if (fails()) return Error{EIO, "config_write"};
    for (unsigned i = 0; i < width; ++i) {
      const auto byte = static_cast<std::uint8_t>(value >> (8 * i));
      FUZZ_CHECK(fickle_ || byte == config[offset + i] || may_change(offset + i),
                 "byte 0x%zx of the hardware is changed", offset + i);
      config[offset + i] = byte;
    }
    return {};
  }

  /// Which bytes are the hypervisor's; the others are judged by the header alone.
  void protect(const msi::VirtualCapability& interrupts) {
    interrupts_ = &interrupts;
    for (std::size_t i = 0; i < config.size(); ++i)
      if (interrupts.covers(i)) secret_.push_back(i);
  }
  /// The hypervisor programs messages.
  void hide_secret() {
    for (const std::size_t at : secret_) config[at] = kSecret;
  }
  bool fickle() const { return fickle_; }
  /// The n-th access from now on fails.
  void fail(unsigned n) { fail_in_ = n; }
  std::uint8_t at(std::size_t offset) const { return config[offset]; }

 private:
  void check(std::size_t offset, unsigned width) const {
    FUZZ_CHECK((width == 1 || width == 2 || width == 4) && offset % width == 0 && offset < config.size() &&
                   width <= config.size() - offset,
               "access of %u bytes at 0x%zx", width, offset);
  }
  bool may_change(std::size_t offset) const {
    if (offset >= 256) return true;  // some of it is writable: error reporting, vendors
    if (offset < 0x40) return offset == 4 || offset == 5 || offset == 0xc || offset == 0xd || offset == 0xf;
    return interrupts_ == nullptr || !interrupts_->covers(offset);
  }
  bool fails() { return fail_in_ && --fail_in_ == 0; }

  const msi::VirtualCapability* interrupts_ = nullptr;
  std::vector<std::size_t> secret_;
  bool fickle_ = false;
  std::uint32_t reads_ = 0;
  unsigned fail_in_ = 0;
};

class Effects final : public vfio::ConfigEffects, public msi::CapabilityEffects {
 public:
  void intx_disable_changed(bool disabled) override {
    FUZZ_CHECK(disabled != intx_disabled, "INTx disable is told twice");
    intx_disabled = disabled;
  }
  void function_level_reset() override { ++resets; }
  bool msi_configured() const override { return msi; }
  bool msix_configured() const override { return msix; }
  unsigned msi_queue_limit() const override { return limit; }
  Status set_delivery(bool) override {
    FUZZ_CHECK(msi, "delivery without vectors");
    if (refuse) return Error{EIO, "set_delivery"};
    return {};
  }
  std::uint32_t mask_bits() const override { return mask; }
  void set_mask_bits(std::uint32_t bits) override { mask = bits; }
  std::uint32_t pending_bits() const override { return pending; }

  bool msi = false, msix = false, refuse = false, intx_disabled = false;
  unsigned limit = 0, resets = 0;
  std::uint32_t mask = 0, pending = 0;
};

std::uint32_t dword(vfio::ConfigSpace& space, std::size_t at) {
  std::uint32_t value = 0;
  FUZZ_CHECK(space.read(at, &value, 4).ok(), "read at 0x%zx", at);
  return value;
}

class Program {
 public:
  Program(HostileDevice& device, Effects& effects, vfio::ConfigSpace& space,
          const msi::InterruptCapabilities& interrupts)
      : device_(device),
        effects_(effects),
        space_(space),
        interrupts_(interrupts),
        vendor_(dword(space, 0)) {}

  void step(Input& input) {
    const std::uint8_t what = input.byte();
    const std::uint8_t where = input.byte();
    const std::size_t at =
        std::min<std::size_t>(what & 0x80 ? where * 16u + what % 16u : where, space_.size() - 1);
    const std::size_t bytes =
        std::min<std::size_t>(what % 16 < 12 ? 1u << what % 3 : input.byte() % 80u, space_.size() - at);
    count_call();
    switch (what / 16 % 8) {
      case 0:
      case 1:
        return read(at, bytes);
      case 2:
      case 3:
      case 4: {
        std::array<std::uint8_t, 80> data{};
        if (where & 1 && bytes <= 4)
          data.fill(0xff);
        else
          input.fill(data.data(), bytes);
        wrote_ = true;
        const Status status = space_.write(at, data.data(), bytes);
        FUZZ_CHECK(status || failing_ || effects_.refuse, "write of %zu bytes at 0x%zx", bytes, at);
        failing_ = false;
        device_.fail(0);
        return;
      }
      case 5:
        effects_.msi = where & 1;
        effects_.msix = !effects_.msi && where & 2;
        effects_.refuse = (where & 12) == 12;
        effects_.limit = where / 16 % 6;
        effects_.pending = where * 0x01010101u;
        return;
      case 6:
        if (where & 1) {
          device_.fail(1 + where / 2 % 4);
          failing_ = true;
          return;
        }
        (void)(where & 2 ? space_.set_bus_master(where & 4) : space_.restore()).ok();
        failing_ = false;
        device_.fail(0);
        return;
      default:
        return virtual_fields();
    }
  }

  /// What is never the hardware's.
  void virtual_fields() {
    if (failing_) return;
    FUZZ_CHECK(dword(space_, 0) == vendor_, "the vendor changed");
    for (unsigned i = 0; i < kPciBars; ++i) {
      const BarInfo bar = device_.bar(i);
      const std::uint32_t value = dword(space_, 0x10 + 4 * i);
      if (bar.size == 0) {
        FUZZ_CHECK(value == 0, "BAR %u is none, and reads 0x%x", i, value);
        continue;
      }
      const std::uint32_t flags = bar.is_io ? 1 : (bar.prefetchable ? 8u : 0u) | (bar.is_64bit ? 4u : 0u);
      FUZZ_CHECK((value & static_cast<std::uint32_t>(bar.size - 1)) == (flags & (bar.size - 1)),
                 "BAR %u reads 0x%x", i, value);
      if (bar.is_64bit) ++i;
    }
    if (const auto& msi = interrupts_.msi) {
      if (!wrote_)  // the program wrote nothing: it has nothing to read, unless a header lies there
        for (unsigned i = 4; i < msi->data_offset() + 2; ++i)
          FUZZ_CHECK(byte(msi->offset + i) != kSecret, "the message is the hardware's");
    }
    if (const auto& msix = interrupts_.msix; msix && !hidden(*msix)) {
      const unsigned control = byte(msix->offset + 2u) | byte(msix->offset + 3u) << 8;
      FUZZ_CHECK(control == (msix->vectors - 1) + (effects_.msix ? 0x8000u : 0u), "MSI-X control reads 0x%x",
                 control);
    }
    // The list ends, in capabilities that are known.
    if (device_.fickle() || !(byte(6) & 0x10)) return;
    unsigned at = byte(0x34) & ~3u;
    for (unsigned steps = 0; at; ++steps) {
      FUZZ_CHECK(steps < 48 && at >= 0x40, "the list of capabilities leads astray");
      at = byte(at + 1) & ~3u;
    }
  }

 private:
  std::uint8_t byte(std::size_t at) {
    std::uint8_t value = 0;
    FUZZ_CHECK(space_.read(at, &value, 1).ok(), "read at 0x%zx", at);
    return value;
  }
  /// Another capability lies over the first four bytes.
  bool hidden(const msi::MsixCapability& msix) const {
    const auto& msi = interrupts_.msi;
    return msi && msix.offset < msi->offset + msi->size && msi->offset < msix.offset + 4u;
  }
  void read(std::size_t at, std::size_t bytes) {
    std::array<std::uint8_t, 80> once{}, again{};
    const Status status = space_.read(at, once.data(), bytes);
    FUZZ_CHECK(status || failing_, "read of %zu bytes at 0x%zx", bytes, at);
    failing_ = false;
    device_.fail(0);
    if (device_.fickle() || !status) return;
    for (std::size_t i = 0; i < bytes; ++i) again[i] = byte(at + i);
    FUZZ_CHECK(once == again, "%zu bytes at 0x%zx read otherwise one by one", bytes, at);
  }

  HostileDevice& device_;
  Effects& effects_;
  vfio::ConfigSpace& space_;
  const msi::InterruptCapabilities& interrupts_;
  const std::uint32_t vendor_;
  bool wrote_ = false;
  bool failing_ = false;
};

}  // namespace
}  // namespace pviommu::fuzz

extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:malloc_context_size=12"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace pviommu;
  fuzz::Input input(data, bytes);
  fuzz::HostileDevice device(input);
  const std::uint8_t start = input.byte();
  if (start >= 192) device.fail(start);
  const auto interrupts = msi::read_capabilities(device);
  fuzz::count_call();
  if (!interrupts) return 0;
  fuzz::Effects effects;
  msi::VirtualCapability view(*interrupts, effects);
  device.protect(view);
  auto space = vfio::ConfigSpace::create(device, effects, view);
  fuzz::count_call();
  device.fail(0);
  if (!space) return 0;
  device.hide_secret();
  if (start & 1) space->hide_intx();
  fuzz::Program program(device, effects, *space, *interrupts);
  while (!input.empty()) program.step(input);
  program.virtual_fields();
  return 0;
}
