// SPDX-License-Identifier: LGPL-2.1-or-later
// Against what the kernel's VFIO answered; D and E numbers are its oracle's lines.
#include <gtest/gtest.h>

#include "msi/virtual_capability.h"

namespace pviommu::msi::test {
namespace {

struct Effects final : CapabilityEffects {
  bool msi = false;
  bool msix = false;
  unsigned limit = 0;
  bool delivery = true;
  unsigned deliveries_set = 0;
  bool fail = false;
  std::uint32_t masks = 0;
  std::uint32_t pending = 0;

  bool msi_configured() const override { return msi; }
  bool msix_configured() const override { return msix; }
  unsigned msi_queue_limit() const override { return limit; }
  Status set_delivery(bool enabled) override {
    if (fail) return Error{EIO, "config_write"};
    delivery = enabled;
    ++deliveries_set;
    return {};
  }
  std::uint32_t mask_bits() const override { return masks; }
  void set_mask_bits(std::uint32_t bits) override { masks = bits; }
  std::uint32_t pending_bits() const override { return pending; }
};

/// Configuration accesses of any width, as the space above splits them.
struct View {
  VirtualCapability capability;
  std::uint32_t read(unsigned offset, unsigned width) const {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= std::uint32_t{capability.read(offset + i)} << 8 * i;
    return value;
  }
  void write(unsigned offset, unsigned width, std::uint32_t value) {
    for (unsigned i = 0; i < width; ++i)
      EXPECT_TRUE(capability.write(offset + i, static_cast<std::uint8_t>(value >> 8 * i)));
  }
};

InterruptCapabilities with_msi(unsigned vectors, bool is_64bit, bool maskable) {
  InterruptCapabilities capabilities;
  const unsigned size = 10 + (is_64bit ? 4 : 0) + (maskable ? 10 : 0);
  capabilities.msi = MsiCapability{0x40, vectors, is_64bit, maskable, size};
  return capabilities;
}

TEST(VirtualCapability, EduAsUnderTheKernel) {
  Effects effects;
  View edu{{with_msi(1, true, false), effects}};
  EXPECT_EQ(edu.read(0x42, 2), 0x80u);  // D20

  // D124, D143: SET_IRQS enables the vectors; the program's own bit stays 0.
  effects.msi = true;
  EXPECT_EQ(edu.read(0x42, 2), 0x80u);
  EXPECT_EQ(edu.read(0x44, 4), 0u);
  EXPECT_EQ(edu.read(0x4c, 2), 0u);

  edu.write(0x42, 2, 0x0);  // D145
  EXPECT_EQ(edu.read(0x42, 2), 0x0u);
  EXPECT_FALSE(effects.delivery);  // D146

  edu.write(0x4c, 2, 0x4041);  // D148
  EXPECT_EQ(edu.read(0x4c, 2), 0x4041u);

  edu.write(0x42, 2, 0xffff);  // D149
  EXPECT_EQ(edu.read(0x42, 2), 0x8fu);
  EXPECT_TRUE(effects.delivery);  // D150

  effects.msi = false;  // D151
  EXPECT_EQ(edu.read(0x42, 2), 0x8fu);
  const unsigned before = effects.deliveries_set;
  edu.write(0x42, 2, 0x1);  // D152
  EXPECT_EQ(edu.read(0x42, 2), 0x0u);
  EXPECT_EQ(effects.deliveries_set, before);
}

TEST(VirtualCapability, QueueSizeUpToWhatIsConfigured) {
  for (unsigned limit = 0; limit <= 5; ++limit) {
    Effects effects;
    effects.msi = true;
    effects.limit = limit;
    View view{{with_msi(32, true, false), effects}};
    for (unsigned asked = 0; asked < 8; ++asked) {
      view.write(0x42, 1, 0x80 | 5 << 1 | asked << 4 | 1);
      EXPECT_EQ(view.read(0x42, 1) >> 4 & 7, std::min(asked, limit));
    }
  }
}

TEST(VirtualCapability, MessageRegistersKeepWhatWasWritten) {
  struct Case {
    bool is_64bit;
    unsigned data;
  };
  for (const Case& c : {Case{false, 0x48}, Case{true, 0x4c}}) {
    Effects effects;
    View view{{with_msi(4, c.is_64bit, true), effects}};
    view.write(0x44, 4, 0xfee0100c);
    if (c.is_64bit) view.write(0x48, 4, 0x12345678);
    view.write(c.data, 4, 0xaabbccdd);
    EXPECT_EQ(view.read(0x44, 4), 0xfee0100cu);
    if (c.is_64bit) {
      EXPECT_EQ(view.read(0x48, 4), 0x12345678u);
    }
    EXPECT_EQ(view.read(c.data, 4), 0xccddu) << "the upper half is reserved";
    EXPECT_EQ(view.read(0x43, 1), 1u) << "maskable";
    view.write(0x43, 1, 0xff);
    EXPECT_EQ(view.read(0x43, 1), 1u);
    EXPECT_EQ(effects.masks, 0u);
  }
}

TEST(VirtualCapability, MaskAndPendingReachTheRouter) {
  struct Case {
    bool is_64bit;
    unsigned mask;
  };
  for (const Case& c : {Case{false, 0x4c}, Case{true, 0x50}}) {
    Effects effects;
    View view{{with_msi(32, c.is_64bit, true), effects}};
    view.write(c.mask, 4, 0x80000005);
    EXPECT_EQ(effects.masks, 0x80000005u);
    view.write(c.mask + 1, 1, 0x12);
    EXPECT_EQ(effects.masks, 0x80001205u);
    EXPECT_EQ(view.read(c.mask, 4), 0x80001205u);
    effects.pending = 0x40000001;
    view.write(c.mask + 4, 4, 0xffffffff);
    EXPECT_EQ(view.read(c.mask + 4, 4), 0x40000001u);
    EXPECT_EQ(effects.masks, 0x80001205u);
  }
}

TEST(VirtualCapability, FailedEffectLeavesTheByte) {
  Effects effects;
  effects.msi = true;
  View view{{with_msi(1, true, false), effects}};
  effects.fail = true;
  EXPECT_EQ(view.capability.write(0x42, 0x81).error().code, EIO);
  EXPECT_EQ(view.read(0x42, 2), 0x80u);
}

TEST(VirtualCapability, MsixIsReadOnly) {
  Effects effects;
  InterruptCapabilities capabilities;
  capabilities.msix = MsixCapability{0xa0, 65, 4, 0x2000, 5, 0x3008};
  View nvme{{capabilities, effects}};
  EXPECT_EQ(nvme.read(0xa2, 2), 0x40u);  // E04
  EXPECT_EQ(nvme.read(0xa4, 4), 0x2004u);
  EXPECT_EQ(nvme.read(0xa8, 4), 0x300du);
  for (unsigned offset = 0xa2; offset < 0xac; ++offset) nvme.write(offset, 1, 0xff);
  EXPECT_EQ(nvme.read(0xa2, 2), 0x40u);  // E09
  EXPECT_EQ(nvme.read(0xa4, 4), 0x2004u);
  EXPECT_EQ(nvme.read(0xa8, 4), 0x300du);
  effects.msix = true;
  EXPECT_EQ(nvme.read(0xa2, 2), 0x8040u);  // E20
  effects.msix = false;
  EXPECT_EQ(nvme.read(0xa2, 2), 0x40u);  // E25

  capabilities.msix->vectors = 2048;
  View large{{capabilities, effects}};
  EXPECT_EQ(large.read(0xa2, 2), 0x7ffu);
}

TEST(VirtualCapability, CoversTheBodiesOnly) {
  Effects effects;
  InterruptCapabilities capabilities = with_msi(1, true, true);  // 0x40..0x57
  capabilities.msix = MsixCapability{0x60, 4, 0, 0, 0, 0x800};   // 0x60..0x6b
  const VirtualCapability capability(capabilities, effects);
  for (unsigned offset = 0; offset < 4096; ++offset) {
    const bool expected = (offset >= 0x42 && offset < 0x58) || (offset >= 0x62 && offset < 0x6c);
    EXPECT_EQ(capability.covers(offset), expected) << offset;
  }
  const VirtualCapability none({}, effects);
  for (unsigned offset = 0; offset < 256; ++offset) EXPECT_FALSE(none.covers(offset));
}

}  // namespace
}  // namespace pviommu::msi::test
