// SPDX-License-Identifier: LGPL-2.1-or-later
// The two ways to say a vector of a guest are one another's inverse.
#include <gtest/gtest.h>

#include "hypercall/msi_message.h"

namespace pviommu {
namespace {

TEST(MsiMessage, EveryGuestVectorComesBack) {
  for (std::uint32_t gflags = 0; gflags <= kGflags; ++gflags) {
    if (gflags & ~kGflags) continue;
    for (const unsigned gvec : {0u, 1u, 16u, 0x51u, 0x80u, 0xffu}) {
      const MsiMessage message = message_of(static_cast<std::uint8_t>(gvec), gflags);
      ASSERT_EQ(gvec_of(message), gvec) << std::hex << gflags;
      ASSERT_EQ(gflags_of(message), gflags) << std::hex << gflags;
    }
  }
}

TEST(MsiMessage, EveryMessageComesBack) {
  for (std::uint32_t destination = 0; destination < 0x100; ++destination)
    for (std::uint32_t low = 0; low < 4; ++low)
      for (std::uint32_t delivery = 0; delivery < 8; ++delivery)
        for (std::uint32_t trigger = 0; trigger < 2; ++trigger) {
          const MsiMessage message{0xfee00000 | destination << 12 | low << 2, trigger << 15 | delivery << 8 | 0x41};
          ASSERT_EQ(message_of(gvec_of(message), gflags_of(message)), message) << std::hex << message.address;
        }
}

// Written out, so that a field at a wrong place in both directions is seen.
TEST(MsiMessage, FieldsAreWhereTheManualsHaveThem) {
  EXPECT_EQ(message_of(0x51, 0), (MsiMessage{0xfee00000, 0x51}));
  EXPECT_EQ(message_of(0x51, 0xa5), (MsiMessage{0xfeea5000, 0x51}));
  EXPECT_EQ(message_of(0x51, 0x100), (MsiMessage{0xfee00008, 0x51}));   // redirection hint
  EXPECT_EQ(message_of(0x51, 0x200), (MsiMessage{0xfee00004, 0x51}));   // logical destination
  EXPECT_EQ(message_of(0x51, 0x1000), (MsiMessage{0xfee00000, 0x151}));  // lowest priority
  EXPECT_EQ(message_of(0x51, 0x7000), (MsiMessage{0xfee00000, 0x751}));  // ExtINT
  EXPECT_EQ(message_of(0x51, 0x8000), (MsiMessage{0xfee00000, 0x8051}));  // level
}

// What is no field of either does not get into the other.
TEST(MsiMessage, OtherBitsAreLeftOut) {
  EXPECT_EQ(message_of(0x51, 0x10000 | 0xc00), message_of(0x51, 0));  // 0x10000: XEN_DOMCTL_VMSI_X86_UNMASKED
  EXPECT_EQ(gflags_of({0x12345600fee00ff3, 0xffff4000 | 0x3800}), gflags_of({0xfee00000, 0}));
}

}  // namespace
}  // namespace pviommu
