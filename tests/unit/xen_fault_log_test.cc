// SPDX-License-Identifier: LGPL-2.1-or-later
// Lines of Xen's console: faults are found however the text is cut, and nothing else is.
#include <gtest/gtest.h>

#include <random>

#include "hypercall/pci_address.h"
#include "hypercall/xen/fault_log.h"

namespace pviommu::xen {
namespace {

constexpr Sbdf kDevice = make_sbdf(0, 0, 4, 0);

// Every kind of line once, with other output between them.
constexpr const char* kRing =
    "(XEN) Xen version 4.17.7 (Debian 4.17.7+13) \n"
    "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:00:04.0] fault addr fee000\n"
    "(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set\n"
    "(XEN) print_vtd_entries: iommu #0 dev 0000:00:04.0 gmfn fee\n"
    "(XEN)     l4[000] = 0 --\n"
    "[    4.402] nvme nvme0: pci function 0000:00:04.0\n"
    "(XEN) [2026-11-22 14:00:00.123] [VT-D]DMAR:[DMA Read] Request device [0001:ff:1f.7] fault addr "
    "ffffffffffff\r\n"
    "(d7) [VT-D]DMAR: reason 01 - a guest's joke\n"
    "(XEN) [   12.345678] [VT-D]DMAR: reason 06 - PTE Read access is not set on iommu:1\r\n"
    "(XEN) [VT-D]INTR-REMAP: Request device [0000:00:04.0] fault index 8\n"
    "(XEN) [VT-D]INTR-REMAP: reason 22 - Present field in the IRTE entry is clear\n"
    "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000005000 flags 0x20 RW\n"
    "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d32767 addr 0000000000006000 flags 0x50 PE PR\n"
    "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000007000 flags 0\n"
    "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr fffffffdf8000000 flags 0x8 I\n"
    "(XEN) printk: 12 messages suppressed.\n";

struct Expected {
  Sbdf sbdf;
  std::uint64_t iova;
  Access access;
  FaultReason reason;
};
const std::vector<Expected> kExpected = {
    {kDevice, 0xfee000, Access::write, FaultReason::not_mapped},
    {make_sbdf(1, 0xff, 0x1f, 7), 0xffffffffffff, Access::read, FaultReason::not_mapped},
    {kDevice, 0xfee00000, Access::write, FaultReason::bad_message},
    {kDevice, 0x5000, Access::write, FaultReason::not_mapped},
    {kDevice, 0x6000, Access::read, FaultReason::not_permitted},
    {kDevice, 0x7000, Access::read, FaultReason::not_mapped},
    {kDevice, 0xfffffffdf8000000, Access::write, FaultReason::bad_message},
};

void expect_all(const std::vector<Fault>& faults, const std::string& what) {
  ASSERT_EQ(faults.size(), kExpected.size()) << what;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    EXPECT_EQ(to_string(faults[i].sbdf), to_string(kExpected[i].sbdf)) << what << ", fault " << i;
    EXPECT_EQ(faults[i].iova.raw(), kExpected[i].iova) << what << ", fault " << i;
    EXPECT_EQ(faults[i].access, kExpected[i].access) << what << ", fault " << i;
    EXPECT_EQ(faults[i].reason, kExpected[i].reason) << what << ", fault " << i;
  }
}

std::vector<Fault> faults_of(std::string_view text) {
  FaultLog log;
  std::vector<Fault> out;
  log.feed(text, out);
  return out;
}

TEST(FaultLogTest, EveryKindOfLine) {
  FaultLog log;
  std::vector<Fault> out;
  log.feed(kRing, out);
  expect_all(out, "whole");
  EXPECT_EQ(log.suppressed(), 12u);
  log.settle(out);
  EXPECT_EQ(out.size(), kExpected.size());
}

TEST(FaultLogTest, CutAtEveryByte) {
  const std::string_view ring = kRing;
  for (std::size_t cut = 0; cut <= ring.size(); ++cut) {
    FaultLog log;
    std::vector<Fault> out;
    log.feed(ring.substr(0, cut), out);
    log.feed(ring.substr(cut), out);
    expect_all(out, "cut at " + std::to_string(cut));
    if (HasFailure()) return;
  }
  FaultLog log;
  std::vector<Fault> out;
  for (const char& c : ring) log.feed({&c, 1}, out);
  expect_all(out, "byte by byte");
}

TEST(FaultLogTest, TheReasonDecides) {
  const auto reason = [](const char* code) {
    const auto faults = faults_of(std::string("(XEN) [VT-D]DMAR:[DMA Read] Request device [0000:00:04.0] "
                                              "fault addr 1000\n(XEN) [VT-D]DMAR: reason ") +
                                  code + " - text\n");
    EXPECT_EQ(faults.size(), 1u);
    return faults.at(0).reason;
  };
  EXPECT_EQ(reason("02"), FaultReason::not_attached);
  EXPECT_EQ(reason("04"), FaultReason::not_mapped);
  EXPECT_EQ(reason("06"), FaultReason::not_mapped);
  EXPECT_EQ(reason("0d"), FaultReason::not_permitted);
  EXPECT_EQ(reason("0a"), FaultReason::not_attached);
}

// 4.17 to 4.22 end VT-d's second line with the reason, 4.23 names the IOMMU behind it; AMD's line
// is the same in all, with a word for each flag.
TEST(FaultLogTest, TheLinesOfEachXen) {
  for (const char* end : {"", " on iommu:0", " on iommu:12"}) {
    const auto faults = faults_of(
        std::string("(XEN) [VT-D]DMAR:[DMA Read] Request device [0000:00:04.0] fault addr 1000\n"
                    "(XEN) [VT-D]DMAR: reason 02 - Present bit in context entry is clear") + end +
        "\n(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:00:04.0] fault addr 2000\n"
        "(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set" + end +
        "\n(XEN) [VT-D]INTR-REMAP: Request device [0000:00:04.0] fault index 8\n"
        "(XEN) [VT-D]INTR-REMAP: reason 25 - Blocked a compatibility format interrupt request" + end + "\n");
    ASSERT_EQ(faults.size(), 3u) << end;
    EXPECT_EQ(faults[0].reason, FaultReason::not_attached) << end;
    EXPECT_EQ(faults[1].reason, FaultReason::not_mapped) << end;
    EXPECT_EQ(faults[1].iova, Iova(0x2000)) << end;
    EXPECT_EQ(faults[2].reason, FaultReason::bad_message) << end;
  }
  const struct {
    const char* flags;
    Access access;
    FaultReason reason;
  } kAmd[] = {
      {"0", Access::read, FaultReason::not_mapped},
      {"0x20 RW", Access::write, FaultReason::not_mapped},
      {"0x50 PE PR", Access::read, FaultReason::not_permitted},
      {"0x70 PE RW PR", Access::write, FaultReason::not_permitted},
      {"0x120 TR RW", Access::write, FaultReason::not_mapped},
      {"0xfff ?? TR RZ PE RW PR I US NX GN", Access::write, FaultReason::bad_message},
  };
  for (const auto& amd : kAmd) {
    const auto faults = faults_of(
        std::string("(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 00000000fee00000 flags ") + amd.flags + "\n");
    ASSERT_EQ(faults.size(), 1u) << amd.flags;
    EXPECT_EQ(faults[0].access, amd.access) << amd.flags;
    EXPECT_EQ(faults[0].reason, amd.reason) << amd.flags;
  }
}

TEST(FaultLogTest, AFaultWithoutItsSecondLineIsNotLost) {
  FaultLog log;
  std::vector<Fault> out;
  log.feed("[VT-D]DMAR:[DMA Read] Request device [0000:00:04.0] fault addr 1000\n", out);
  EXPECT_TRUE(out.empty());
  log.feed("[VT-D]DMAR:[DMA Write] Request device [0000:00:04.0] fault addr 2000\n", out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].iova, Iova(0x1000));
  log.settle(out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].iova, Iova(0x2000));
  EXPECT_EQ(out[1].access, Access::write);
  // Its second line after all: belongs to nothing.
  log.feed("[VT-D]DMAR: reason 02 - Present bit in context entry is clear\n", out);
  log.settle(out);
  EXPECT_EQ(out.size(), 2u);
}

TEST(FaultLogTest, LinesThatAreNearlyRight) {
  for (const char* line : {
           "[VT-D]DMAR:[DMA Read] Request device [0000:00:04.8] fault addr 1000",
           "[VT-D]DMAR:[DMA Read] Request device [0000:00:04.0 fault addr 1000",
           "[VT-D]DMAR:[DMA Read] Request device [0000:00:04.0] fault addr ",
           "[VT-D]DMAR:[DMA Read] Request device [0000:00:04.0] fault addr 11112222333344445",
           "[VT-D]DMAR:[DMA Peek] Request device [0000:00:04.0] fault addr 1000",
           "[VT-D]DMAR: Request device [0000:00:04.0] fault addr 1000",
           "[VT-D]INTR-REMAP: Request device [0000:00:04.0] fault addr 1000",
           "[VT-D]",
           "AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 dx addr 0000000000005000 flags 0x20",
           "AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr flags 0x20",
           "AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000005000 flags ",
           "AMD-Vi: IO_PAGE_FAULT: ",
           "(d3) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000005000 flags 0x20",
           "printk: many messages suppressed.",
           "printk: 3 messages",
       }) {
    FaultLog log;
    std::vector<Fault> out;
    log.feed(std::string(line) + '\n', out);
    log.settle(out);
    EXPECT_TRUE(out.empty()) << line;
    EXPECT_EQ(log.suppressed(), 0u) << line;
  }
}

TEST(FaultLogTest, AnUnknownKindIsAFaultToo) {
  const auto faults = faults_of(
      "(XEN) [VT-D]UNKNOWN: Request device [0000:00:04.0] fault addr 3000\n(XEN) [VT-D]UNKNOWN: reason 47 - "
      "Unknown\n");
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].access, Access::none);
  EXPECT_EQ(faults[0].iova, Iova(0x3000));
}

TEST(FaultLogTest, BehindWhatDom0HadBegunToPrint) {
  EXPECT_EQ(
      faults_of("login: (XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000005000 flags 0x20\n")
          .size(),
      1u);
}

TEST(FaultLogTest, LostTextDoesNotJoinTwoLines) {
  FaultLog log;
  std::vector<Fault> out;
  log.feed("(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 ", out);
  log.lost_text(out);
  log.feed("addr 0000000000005000 flags 0x20\n", out);
  EXPECT_TRUE(out.empty());
  log.feed(std::string(5000, 'x'), out);
  log.lost_text(out);
  log.feed("AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000006000 flags 0x20\n", out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].iova, Iova(0x6000));

  log.feed("[VT-D]DMAR:[DMA Read] Request device [0000:00:04.0] fault addr 1000\n", out);
  log.lost_text(out);
  log.feed("[VT-D]DMAR: reason 02 - Present bit in context entry is clear\n", out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].reason, FaultReason::not_mapped);
}

TEST(FaultLogTest, AnEndlessLineIsDroppedToItsEnd) {
  FaultLog log;
  std::vector<Fault> out;
  for (int i = 0; i < 1000; ++i) log.feed("0123456789abcdef0123456789abcdef", out);
  log.feed("AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000005000 flags 0x20\n", out);
  EXPECT_TRUE(out.empty());
  log.feed("AMD-Vi: IO_PAGE_FAULT: 0000:00:04.0 d1 addr 0000000000006000 flags 0x20\n", out);
  EXPECT_EQ(out.size(), 1u);
}

// Pieces of real lines, shuffled and with bytes changed: nothing is read beyond
// an end, and however the text is cut, the same faults come out.
TEST(FaultLogTest, GarbageInAnyChunksGivesTheSame) {
  std::mt19937 random(20261122);
  const std::string_view ring = kRing;
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  std::size_t seen = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::size_t piece = below(20); piece-- > 0;) {
      const std::size_t from = below(ring.size());
      text += ring.substr(from, below(250));
    }
    for (std::size_t changes = below(8); !text.empty() && changes-- > 0;)
      text[below(text.size())] = static_cast<char>(random());

    FaultLog whole, pieces;
    std::vector<Fault> expected, got;
    whole.feed(text, expected);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = 1 + below(60);
      pieces.feed(std::string_view(text).substr(at, length), got);
      at += length;
    }
    whole.settle(expected);
    pieces.settle(got);
    ASSERT_EQ(got.size(), expected.size()) << round;
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].sbdf, expected[i].sbdf);
      ASSERT_EQ(got[i].iova, expected[i].iova);
      ASSERT_EQ(got[i].access, expected[i].access);
      ASSERT_EQ(got[i].reason, expected[i].reason);
    }
    ASSERT_EQ(whole.suppressed(), pieces.suppressed());
    seen += got.size();
  }
  EXPECT_GT(seen, 1000u);  // the garbage is not all garbage
}

}  // namespace
}  // namespace pviommu::xen
