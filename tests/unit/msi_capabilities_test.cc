// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading the capability list: every layout, and lists that lead astray.
#include "msi/capabilities.h"
#include "tests/unit/msi_fake.h"

namespace pviommu::msi::test {
namespace {

struct Capabilities : ::testing::Test {
  Script script;
  FakeDevice device{script};
};

TEST_F(Capabilities, NoneWithoutAList) {
  device.add_msi(0x40, 0, true, false);
  device.put16(0x06, 0);
  const auto found = read_capabilities(device);
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->msi);
  EXPECT_FALSE(found->msix);
  EXPECT_TRUE(found->intx);
}

TEST_F(Capabilities, NoPinNoIntx) {
  device.config[0x3d] = 0;
  EXPECT_FALSE(read_capabilities(device)->intx);
}

TEST_F(Capabilities, MsiLayouts) {
  struct Case {
    unsigned log2;
    bool is_64bit, maskable;
    unsigned size, data, mask;
  };
  for (const Case& c : {Case{0, false, false, 10, 0x8, 0xc}, Case{2, true, false, 14, 0xc, 0x10},
                        Case{5, false, true, 20, 0x8, 0xc}, Case{3, true, true, 24, 0xc, 0x10}}) {
    FakeDevice other(script);
    other.add_msi(0x50, c.log2, c.is_64bit, c.maskable);
    const auto found = read_capabilities(other);
    ASSERT_TRUE(found && found->msi);
    const MsiCapability& msi = *found->msi;
    EXPECT_EQ(msi.offset, 0x50);
    EXPECT_EQ(msi.vectors, 1u << c.log2);
    EXPECT_EQ(msi.is_64bit, c.is_64bit);
    EXPECT_EQ(msi.maskable, c.maskable);
    EXPECT_EQ(msi.size, c.size);
    EXPECT_EQ(msi.data_offset(), c.data);
    EXPECT_EQ(msi.mask_offset(), c.mask);
  }
}

TEST_F(Capabilities, MsixBehindOthers) {
  device.add_msix(0x40, 65, 0x2000, 0x3000);  // QEMU's nvme
  device.link(0x60, 0x01);
  device.add_msi(0x80, 0, true, false);
  device.link(0xb0, 0x10);
  const auto found = read_capabilities(device);
  ASSERT_TRUE(found && found->msix && found->msi);
  EXPECT_EQ(*found->msix, (MsixCapability{0x40, 65, 0, 0x2000, 0, 0x3000}));
  EXPECT_EQ(found->msix->table_bytes(), 65u * 16);
  EXPECT_EQ(found->msix->pba_bytes(), 16u);
}

TEST_F(Capabilities, FirstOfAnIdCounts) {
  device.add_msi(0x40, 3, true, false);
  device.add_msi(0x60, 1, true, false);
  EXPECT_EQ(read_capabilities(device)->msi->offset, 0x60);
}

TEST_F(Capabilities, RefusesWhatLeadsAstray) {
  const auto code = [](FakeDevice& d) {
    const auto found = read_capabilities(d);
    return found ? 0 : found.error().code;
  };
  FakeDevice self(script);
  self.link(0x40, 0x01);
  self.config[0x41] = 0x40;
  EXPECT_EQ(code(self), EIO);

  FakeDevice loop(script);
  loop.link(0x40, 0x01);
  loop.link(0x48, 0x09);
  loop.config[0x41] = 0x48;
  EXPECT_EQ(code(loop), EIO);

  FakeDevice header(script);
  header.link(0x40, 0x01);
  header.config[0x41] = 0x10;
  EXPECT_EQ(code(header), EIO);

  FakeDevice long_msi(script);
  long_msi.add_msi(0xf4, 0, true, false);
  EXPECT_EQ(code(long_msi), EIO);

  FakeDevice many(script);
  many.add_msi(0x40, 6, true, false);
  EXPECT_EQ(code(many), EIO);

  FakeDevice long_msix(script);
  long_msix.add_msix(0xf8, 1, 0, 0x800);
  EXPECT_EQ(code(long_msix), EIO);

  FakeDevice wrong_bar(script);
  wrong_bar.add_msix(0x40, 1, 0x2006, 0x3000);
  EXPECT_EQ(code(wrong_bar), EIO);

  FakeDevice outside(script);
  outside.bars[0].size = 0x4000;
  outside.add_msix(0x40, 65, 0x3c00, 0x3000);  // one entry too many
  EXPECT_EQ(code(outside), EIO);
  FakeDevice inside(script);
  inside.bars[0].size = 0x4000;
  inside.add_msix(0x40, 64, 0x3c00, 0x3000);
  EXPECT_EQ(code(inside), 0);

  FakeDevice pba_outside(script);
  pba_outside.bars[0].size = 0x4000;
  pba_outside.add_msix(0x40, 65, 0x2000, 0x3ff8);
  EXPECT_EQ(code(pba_outside), EIO);
}

TEST_F(Capabilities, LongestListIsRead) {
  for (unsigned offset = 0xfc; offset >= 0x50; offset -= 4) device.link(offset, 0x09);
  device.config[0xfd] = 0x40;
  device.config[0x40] = 0x05;
  device.config[0x41] = 0;
  device.put16(0x42, 0x80);
  ASSERT_TRUE(read_capabilities(device));
  EXPECT_TRUE(read_capabilities(device)->msi);
}

TEST_F(Capabilities, EveryFailingReadIsReported) {
  device.add_msix(0x40, 65, 0x2000, 0x3000);
  device.add_msi(0x80, 0, true, false);
  script.fail_at(0);
  ASSERT_TRUE(read_capabilities(device));
  const unsigned reads = script.calls();
  for (unsigned n = 1; n <= reads; ++n) {
    script.fail_at(n);
    const auto found = read_capabilities(device);
    ASSERT_FALSE(found) << n;
    EXPECT_EQ(found.error().code, EIO);
  }
}

}  // namespace
}  // namespace pviommu::msi::test
