// SPDX-License-Identifier: LGPL-2.1-or-later
// A function of registers that keep what is written to them, with an MSI-X table and pending
// bits where the configuration puts them: beside registers, in a BAR of their own, across a
// page, in a BAR smaller than a page.
//
//   bar0= ... bar5=   sizes; default: bar0=16K
//   table=, pba=      BAR:OFFSET; default: 0:0x1000 and 0:0x1800, a page that they share with registers
//   vectors=          1 to 2048; default: 16
//
// Each byte is a register of its own, so that any width works everywhere.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypercall/model/devices/device_factory.h"

namespace pviommu::model {
namespace {

constexpr std::uint64_t kLeastBar = 16, kMostBar = 64 << 20;
constexpr unsigned kMostVectors = 2048;

struct Place {
  unsigned bar = 0;
  std::uint32_t offset = 0;
};

struct Layout {
  std::array<std::uint64_t, kPciBars> bars{};
  Place table, pba;
  unsigned vectors = 0;
  std::uint64_t table_bytes() const { return std::uint64_t{16} * vectors; }
  std::uint64_t pba_bytes() const { return std::uint64_t{8} * ((vectors + 63) / 64); }
};

Error wrong(const std::string& what) { return Error{EINVAL, "registers"}.with_sentence(what); }

Result<Place> place_from(ConfReader& conf, const char* key, const char* fallback) {
  const std::string text = conf.text(key, fallback);
  const auto colon = text.find(':');
  const auto bar = parse_size(std::string_view(text).substr(0, colon));
  const auto offset = colon == text.npos ? std::nullopt : parse_size(std::string_view(text).substr(colon + 1));
  if (!bar || !offset || *bar >= kPciBars || *offset % 8 != 0 || *offset > kMostBar)
    return wrong(std::string(key) + "=" + text + " is not BAR:OFFSET, with a BAR from 0 to 5 and a multiple of 8, like 0:0x1000");
  return Place{static_cast<unsigned>(*bar), static_cast<std::uint32_t>(*offset)};
}

Status check_inside(const Layout& layout, const char* key, Place place, std::uint64_t bytes) {
  const std::uint64_t size = layout.bars[place.bar];
  if (bytes <= size && place.offset <= size - bytes) return {};
  return wrong(std::string(key) + "=" + std::to_string(place.bar) + ":" + std::to_string(place.offset) + " with " +
               std::to_string(bytes) + " bytes does not lie in BAR " + std::to_string(place.bar) + " of " +
               std::to_string(size) + " bytes; make it larger with bar" + std::to_string(place.bar) + "=");
}

Result<Layout> layout_from(ConfReader& conf) {
  Layout layout;
  for (unsigned i = 0; i < kPciBars; ++i) {
    const std::string key = "bar" + std::to_string(i);
    const std::uint64_t size = layout.bars[i] = conf.size(key, i == 0 ? 16 << 10 : 0);
    if (size != 0 && (size < kLeastBar || size > kMostBar || !std::has_single_bit(size)))
      return wrong(key + "=" + std::to_string(size) + " is not a power of two from 16 to 64M");
  }
  layout.table = PVIOMMU_TRY(place_from(conf, "table", "0:0x1000"));
  layout.pba = PVIOMMU_TRY(place_from(conf, "pba", "0:0x1800"));
  const std::uint64_t vectors = conf.size("vectors", 16);
  if (vectors < 1 || vectors > kMostVectors)
    return wrong("vectors=" + std::to_string(vectors) + " is not between 1 and " + std::to_string(kMostVectors));
  layout.vectors = static_cast<unsigned>(vectors);
  PVIOMMU_TRY(check_inside(layout, "table", layout.table, layout.table_bytes()));
  PVIOMMU_TRY(check_inside(layout, "pba", layout.pba, layout.pba_bytes()));
  if (layout.table.bar == layout.pba.bar && layout.table.offset < layout.pba.offset + layout.pba_bytes() &&
      layout.pba.offset < layout.table.offset + layout.table_bytes())
    return wrong("table= and pba= overlap: the table has " + std::to_string(layout.table_bytes()) + " bytes");
  return layout;
}

FunctionIdentity make_identity() {
  FunctionIdentity identity;
  identity.vendor = 0x1234;
  identity.device = 0x11e9;
  identity.subsystem_vendor = 0x1af4;
  identity.subsystem_device = 0x1100;
  identity.class_code = 0x00ff00;
  identity.express = true;
  identity.flr = true;
  identity.description = "registers and an MSI-X table";
  return identity;
}

class Registers final : public PciFunction {
 public:
  Registers(Bus& bus, Sbdf sbdf, const Layout& layout) : PciFunction(bus, sbdf, make_identity()), layout_(layout) {
    for (unsigned i = 0; i < kPciBars; ++i)
      if (layout_.bars[i] != 0) add_bar(i, layout_.bars[i], {.mappable = true});
    add_msix(layout_.vectors, layout_.table.bar, layout_.table.offset, layout_.pba.bar, layout_.pba.offset);
    add_express();
    set_interrupt_pin(1);
  }
  ~Registers() override { stop(); }

 private:
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i)
      value |= std::uint64_t{byte(bar, offset + i).load(std::memory_order_relaxed)} << (8 * i);
    return value;
  }
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override {
    for (unsigned i = 0; i < width; ++i)
      byte(bar, offset + i).store(static_cast<std::uint8_t>(value >> (8 * i)), std::memory_order_relaxed);
  }
  // The table and the pending bits are not the device's to forget.
  void device_reset() override {
    std::vector<std::byte> table(layout_.table_bytes()), pba(layout_.pba_bytes());
    std::byte* const table_at = bar_memory(layout_.table.bar) + layout_.table.offset;
    std::byte* const pba_at = bar_memory(layout_.pba.bar) + layout_.pba.offset;
    std::memcpy(table.data(), table_at, table.size());
    std::memcpy(pba.data(), pba_at, pba.size());
    for (unsigned i = 0; i < kPciBars; ++i)
      if (layout_.bars[i] != 0) std::memset(bar_memory(i), 0, layout_.bars[i]);
    std::memcpy(table_at, table.data(), table.size());
    std::memcpy(pba_at, pba.data(), pba.size());
  }
  bool poll() override { return false; }

  std::atomic_ref<std::uint8_t> byte(unsigned bar, std::uint64_t offset) {
    return std::atomic_ref<std::uint8_t>(reinterpret_cast<std::uint8_t*>(bar_memory(bar))[offset]);
  }

  const Layout layout_;
};

}  // namespace

Result<std::unique_ptr<PciFunction>> make_registers(Bus& bus, Sbdf sbdf, ConfReader& conf) {
  const Layout layout = PVIOMMU_TRY(layout_from(conf));
  return std::unique_ptr<PciFunction>(std::make_unique<Registers>(bus, sbdf, layout));
}

}  // namespace pviommu::model
