// SPDX-License-Identifier: LGPL-2.1-or-later
// Which row of the table serves a Xen, and what is said of one that none does.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "hypercall/xen/interface.h"
#include "hypercall/xen/xen_conf.h"

namespace pviommu::xen {
namespace {

std::string sentence_of(const InterfaceNumbers& found, const std::optional<InterfaceNumbers>& assumed = {}) {
  const auto chosen = choose_interface(found, assumed);
  if (chosen) return "taken";
  EXPECT_EQ(chosen.error().code, EPROTONOSUPPORT);
  return to_string(chosen.error());
}

void expect_parts(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

// The numbers and the offsets were read in the public headers of each version.
TEST(XenInterfaceTest, EveryXenThatIsKnown) {
  const struct {
    InterfaceNumbers numbers;
    unsigned emulation_flags;
    const char* xen;
  } kExpected[] = {
      {{0x15, 0x15}, 56, "4.17"}, {{0x16, 0x15}, 56, "4.18"}, {{0x17, 0x15}, 60, "4.20"},
      {{0x17, 0x16}, 60, "4.21"}, {{0x18, 0x16}, 60, "4.22"},
  };
  EXPECT_EQ(std::size(kExpected), PVIOMMU_XEN_INTERFACES);
  for (const auto& expected : kExpected) {
    const auto chosen = choose_interface(expected.numbers, {});
    ASSERT_TRUE(chosen) << expected.xen << ": " << to_string(chosen.error());
    EXPECT_EQ(chosen->numbers, expected.numbers);
    EXPECT_EQ(chosen->layout->emulation_flags, expected.emulation_flags) << expected.xen;
    EXPECT_NE(std::string(chosen->layout->xen).find(expected.xen), std::string::npos);
    EXPECT_FALSE(chosen->assumed);
    EXPECT_FALSE(interface_problem(expected.numbers, {}));
  }
}

TEST(XenInterfaceTest, ANewerOneIsRefusedInOneLine) {
  expect_parts(sentence_of({0x19, 0x17}),
               {"domctl 0x19, sysctl 0x17", "domctl 0x15 to 0x18 and sysctl 0x15 to 0x16, of Xen 4.17 to 4.23",
                "install a pviommu that knows this Xen", "--hypervisor=xen:assume-interface=0x19/0x17"});
  // The two move apart, and a pair that no Xen has is not guessed at.
  expect_parts(sentence_of({0x18, 0x17}), {"domctl 0x18, sysctl 0x17", "assume-interface=0x18/0x17"});
  expect_parts(sentence_of({0x15, 0x16}), {"domctl 0x15, sysctl 0x16"});
}

TEST(XenInterfaceTest, AnOlderOneIsRefusedWhateverIsAssumed) {
  for (const InterfaceNumbers old : {InterfaceNumbers{0x14, 0x15}, InterfaceNumbers{0x15, 0x14}}) {
    expect_parts(sentence_of(old, old), {"older than what this pviommu knows", "use Xen 4.17 or later"});
    EXPECT_EQ(sentence_of(old, old).find("assume"), std::string::npos);
  }
}

TEST(XenInterfaceTest, NoNumberAtAll) {
  expect_parts(sentence_of({0, 0x15}), {"domctl of an unknown number, sysctl 0x15", "domctl 0x15 to 0x18"});
  expect_parts(sentence_of({0x18, 0}, InterfaceNumbers{0x18, 0}), {"domctl 0x18, sysctl of an unknown number"});
}

TEST(XenInterfaceTest, AssumedIsTheLastRowThatIsNotNewer) {
  const auto use = [](InterfaceNumbers numbers) {
    const auto chosen = choose_interface(numbers, numbers);
    EXPECT_TRUE(chosen && chosen->assumed && chosen->numbers == numbers) << to_string(numbers);
    return chosen ? std::string(chosen->layout->xen) : std::string();
  };
  EXPECT_EQ(use({0x19, 0x16}), "4.22, 4.23");
  EXPECT_EQ(use({0x20, 0x20}), "4.22, 4.23");
  EXPECT_EQ(use({0x18, 0x17}), "4.22, 4.23");
  EXPECT_EQ(use({0x16, 0x16}), "4.18");
}

TEST(XenInterfaceTest, OnlyJustTheseNumbersAreAssumed) {
  expect_parts(sentence_of({0x1a, 0x17}, InterfaceNumbers{0x19, 0x17}),
               {"domctl 0x1a, sysctl 0x17, not 0x19/0x17 as assume-interface= says", "assume-interface=0x1a/0x17"});
  // Where Xen is known the option changes nothing.
  const auto known = choose_interface({0x17, 0x15}, InterfaceNumbers{0x19, 0x17});
  ASSERT_TRUE(known);
  EXPECT_FALSE(known->assumed);
  EXPECT_EQ(known->numbers, (InterfaceNumbers{0x17, 0x15}));
}

TEST(XenInterfaceTest, TheOptionsValue) {
  const auto good = parse_interface("0x19/0x17");
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, (InterfaceNumbers{0x19, 0x17}));
  for (const char* bad : {"", "0x19", "0x19/", "/0x17", "19/17", "0x19/0x17/0x1", "0x19/0x", "0x/0x17", "0x0/0x17",
                          "0x19 /0x17", "0x100000000/0x17", "newest"}) {
    const auto parsed = parse_interface(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, EINVAL);
    expect_parts(to_string(parsed.error()), {"assume-interface=", bad, "like assume-interface=0x19/0x17"});
  }
}

TEST(XenConfTest, EveryKey) {
  const auto none = parse_xen_conf("");
  ASSERT_TRUE(none);
  EXPECT_EQ(none->interrupts, "auto");
  EXPECT_EQ(none->domain, "");
  EXPECT_EQ(none->fail, 0u);
  EXPECT_FALSE(none->assumed);
  const auto all = parse_xen_conf("domain=guest,interrupts=none,fail=7,assume-interface=0x19/0x17");
  ASSERT_TRUE(all) << to_string(all.error());
  EXPECT_EQ(all->interrupts, "none");
  EXPECT_EQ(all->domain, "guest");
  EXPECT_EQ(all->fail, 7u);
  EXPECT_EQ(all->assumed, (InterfaceNumbers{0x19, 0x17}));
}

TEST(XenConfTest, AWrongOneIsOneLine) {
  for (const char* wrong : {"guest", "a;b", "interrupts=some", "fail=x", "dom=1", "assume-interface=0x19", "domain=1,domain=2"}) {
    const auto read = parse_xen_conf(wrong);
    ASSERT_FALSE(read) << wrong;
    EXPECT_EQ(read.error().code, EINVAL);
    EXPECT_FALSE(read.error().sentence.empty()) << wrong;
    EXPECT_EQ(to_string(read.error()).find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace pviommu::xen
