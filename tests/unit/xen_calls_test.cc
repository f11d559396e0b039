// SPDX-License-Identifier: LGPL-2.1-or-later
// One binary, each Xen: which numbers it asks with, what a carrier's making looks like there,
// and that domains are found behind holes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "hypercall/xen/carrier.h"
#include "hypercall/xen/control.h"
#include "hypercall/xen/domain_list.h"
#include "hypercall/xen/events.h"
#include "hypercall/xen/guest.h"
#include "hypercall/xen/xen_calls.h"
#include "xen_fake.h"

namespace pviommu::xen {
namespace {

using fake::Xen;

struct Version {
  unsigned minor;
  std::uint32_t domctl, sysctl;
};
constexpr Version kVersions[] = {{17, 0x15, 0x15}, {18, 0x16, 0x15}, {19, 0x17, 0x15}, {20, 0x17, 0x15},
                                 {21, 0x17, 0x16}, {22, 0x18, 0x16}, {23, 0x18, 0x16}};

class XenCallsTest : public testing::Test {
 protected:
  XenCallsTest() { Xen::reset(); }
  ~XenCallsTest() override {
    EXPECT_EQ(xen.buffers, 0u);
    EXPECT_EQ(xen.handles, 0u);
  }
  void play(const Version& version) {
    Xen::reset();
    xen.minor = version.minor;
    xen.domctl = version.domctl;
    xen.sysctl = version.sysctl;
  }
  Xen& xen = Xen::get();
};

TEST_F(XenCallsTest, EveryXenIsOpened) {
  for (const Version& version : kVersions) {
    play(version);
    const auto calls = XenCalls::open();
    ASSERT_TRUE(calls) << version.minor << ": " << to_string(calls.error());
    EXPECT_EQ((*calls)->interface().numbers, (InterfaceNumbers{version.domctl, version.sysctl})) << version.minor;
    EXPECT_FALSE((*calls)->interface().assumed);
    EXPECT_EQ(*(*calls)->version(), 4u << 16 | version.minor);
    // From now on every call has the right number.
    xen.other_numbers = 0;
    EXPECT_TRUE(list_domains(**calls));
    EXPECT_TRUE(table_pool(**calls, Domid(0)));
    EXPECT_EQ(xen.other_numbers, 0u) << version.minor;
  }
}

TEST_F(XenCallsTest, AnUnknownOneIsRefusedByItsNumbers) {
  const struct {
    std::uint32_t domctl, sysctl;
    const char* part;
  } kCases[] = {
      {0x19, 0x16, "domctl 0x19, sysctl 0x16;"},
      {0x18, 0x17, "domctl 0x18, sysctl 0x17;"},
      {0x28, 0x26, "domctl 0x28, sysctl 0x26;"},
      {0x15, 0x16, "domctl 0x15, sysctl 0x16;"},
      {0x14, 0x13, "older than what this pviommu knows"},
      {0x99, 0x16, "domctl of an unknown number, sysctl 0x16;"},
      {0x18, 0x99, "domctl 0x18, sysctl of an unknown number;"},
  };
  for (const auto& unknown : kCases) {
    xen.domctl = unknown.domctl;
    xen.sysctl = unknown.sysctl;
    const auto calls = XenCalls::open();
    ASSERT_FALSE(calls) << unknown.part;
    EXPECT_EQ(calls.error().code, EPROTONOSUPPORT);
    const std::string said = to_string(calls.error());
    EXPECT_NE(said.find(unknown.part), std::string::npos) << said;
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    // The doctor only asks.
    EXPECT_TRUE(XenCalls::ask_interface());
  }
}

TEST_F(XenCallsTest, ANewerOneIsUsedLikeTheLastKnownIfThatIsWanted) {
  play({24, 0x19, 0x17});
  EXPECT_FALSE(XenCalls::open(InterfaceNumbers{0x19, 0x18}));
  const auto calls = XenCalls::open(InterfaceNumbers{0x19, 0x17});
  ASSERT_TRUE(calls);
  EXPECT_TRUE((*calls)->interface().assumed);
  xen.other_numbers = 0;
  ASSERT_TRUE(create_carrier(**calls, {1, 2, 3}, Mfn(0xffff)));
  EXPECT_EQ(xen.created.at(0).emulation_flags, 1u);
  ASSERT_TRUE(list_carriers(**calls));
  EXPECT_EQ(xen.other_numbers, 0u);
}

TEST_F(XenCallsTest, AnErrorThatIsNotOfTheNumberEndsTheAsking) {
  xen.refuse = EPERM;
  const auto calls = XenCalls::open();
  ASSERT_FALSE(calls);
  EXPECT_EQ(calls.error().code, EPERM);
  EXPECT_NE(to_string(calls.error()).find("run pviommu as root in dom0"), std::string::npos);
  xen.refuse = ENOSYS;
  EXPECT_EQ(XenCalls::open().error().code, ENOSYS);
}

// Read by offsets that were written down for each version by hand.
TEST_F(XenCallsTest, ACarrierIsMadeByThatXensLayout) {
  for (const Version& version : kVersions) {
    play(version);
    // A carrier must not be asked for by a number that a domain has.
    xen.domains[1] = {};
    xen.next_domid = 2;
    const auto calls = XenCalls::open();
    ASSERT_TRUE(calls);
    const CarrierTag tag{4711, 5, 6};
    const auto domid = create_carrier(**calls, tag, Mfn(0x1ffff));
    ASSERT_TRUE(domid) << version.minor << ": " << to_string(domid.error());
    EXPECT_EQ(domid->raw(), 2) << version.minor;
    ASSERT_EQ(xen.created.size(), 1u);
    const fake::Created& made = xen.created[0];
    EXPECT_EQ(made.domid_asked, 0x7ff5) << version.minor;
    EXPECT_EQ(made.handle, handle_of(tag));
    EXPECT_EQ(made.flags, 1u | 2u | 1u << 5) << "hvm, hap, iommu";
    EXPECT_EQ(made.iommu_opts, 1u) << "no_sharept";
    EXPECT_EQ(made.max_vcpus, 1u);
    EXPECT_EQ(made.max_grant_frames, 1u);
    EXPECT_EQ(made.grant_opts, 1u);
    EXPECT_EQ(made.emulation_flags, 1u) << version.minor << ": LAPIC, and nothing else";
    EXPECT_EQ(made.altp2m, 0u) << version.minor;
    EXPECT_EQ(made.vmtrace_size, 0u) << version.minor;
    ASSERT_TRUE(destroy_carrier(**calls, *domid));
    EXPECT_EQ(xen.destroyed, std::vector<std::uint16_t>{2});
  }
}

TEST_F(XenCallsTest, CarriersAreFoundBehindHoles) {
  for (const Version& version : kVersions) {
    play(version);
    const auto calls = XenCalls::open();
    ASSERT_TRUE(calls);
    const auto carrier = [&](std::uint16_t serial) { return handle_of({77, 1, serial}); };
    xen.domains[3] = {carrier(1), 0, {}};
    xen.domains[4] = {{1, 2, 3}, 0, "a guest"};
    xen.domains[900] = {carrier(2), 1u, {}};  // XEN_DOMINF_dying
    xen.domains[0x7fef] = {carrier(3), 0, {}};
    const auto found = list_carriers(**calls);
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), 3u) << version.minor;
    EXPECT_EQ((*found)[0].domid.raw(), 3);
    EXPECT_EQ((*found)[1].domid.raw(), 900);
    EXPECT_TRUE((*found)[1].dying);
    EXPECT_EQ((*found)[2].domid.raw(), 0x7fef);
    EXPECT_EQ((*found)[2].tag.serial, 3);
    EXPECT_FALSE((*found)[2].dying);
  }
}

TEST_F(XenCallsTest, ALongListComesInSteps) {
  const auto calls = XenCalls::open();
  ASSERT_TRUE(calls);
  // At the edges of a step of 64, and with holes: one, 63, 64, 65, 128, 129 and many domains.
  for (const unsigned wanted : {1u, 63u, 64u, 65u, 128u, 129u, 1000u}) {
    xen.domains.clear();
    for (unsigned i = 0; i < wanted; ++i) xen.domains[static_cast<std::uint16_t>(i * 3)] = {};
    xen.lists = 0;
    const auto found = list_domains(**calls);
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), wanted);
    for (unsigned i = 0; i < wanted; ++i) EXPECT_EQ((*found)[i].domain, i * 3);
    EXPECT_LE(xen.lists, wanted / 64 + 1);
  }
}

TEST_F(XenCallsTest, AListThatFailsIsAnErrorAndNotAnEmptyOne) {
  const auto calls = XenCalls::open();
  ASSERT_TRUE(calls);
  xen.refuse = EPERM;
  EXPECT_EQ(list_domains(**calls).error().code, EPERM);
  EXPECT_EQ(list_carriers(**calls).error().code, EPERM);
  xen.refuse = 0;
  (*calls)->fail_call(1);
  EXPECT_EQ(list_carriers(**calls).error().code, EIO);
}

/// A folder with what xenstore's socket is told by.
class Store {
 public:
  Store() {
    EXPECT_NE(::mkdtemp(folder_), nullptr);
    socket_ = std::string(folder_) + "/socket";
    ::close(::creat(socket_.c_str(), 0600));
    ::setenv("XENSTORED_RUNDIR", folder_, 1);
  }
  ~Store() {
    ::unsetenv("XENSTORED_RUNDIR");
    ::unlink(socket_.c_str());
    ::rmdir(folder_);
  }

 private:
  char folder_[32] = "/tmp/xen-store.XXXXXX";
  std::string socket_;
};

// By number, UUID and name, with holes below them; what is none of them is not found.
TEST_F(XenCallsTest, GuestsAreFoundBehindHoles) {
  const Store store;
  for (const Version& version : kVersions) {
    play(version);
    const auto calls = XenCalls::open();
    ASSERT_TRUE(calls);
    constexpr std::uint32_t kHvm = 1u << 1;
    xen.domains[7] = {{0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}, kHvm, "first"};
    xen.domains[30] = {{0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 2}, kHvm, "second"};
    xen.domains[31] = {handle_of({1, 2, 3}), kHvm, {}};
    const auto find = [&](const char* text) -> int {
      auto guest = find_guest(**calls, text);
      return guest ? (*guest)->domid.raw() : -guest.error().code;
    };
    EXPECT_EQ(find("30"), 30) << version.minor;
    EXPECT_EQ(find("7"), 7);
    EXPECT_EQ(find("second"), 30) << version.minor;
    EXPECT_EQ(find("00000000-0000-4000-8000-000000000002"), 30) << version.minor;
    EXPECT_EQ(find("8"), -ENOENT) << "a hole is not the next domain";
    EXPECT_EQ(find("third"), -ENOENT);
    EXPECT_EQ(find("00000000-0000-4000-8000-000000000003"), -ENOENT);
    EXPECT_EQ(find("31"), -EINVAL) << "a carrier";
    EXPECT_EQ(find("0"), -EINVAL) << "dom0";

    auto guest = find_guest(**calls, "7");
    ASSERT_TRUE(guest);
    EXPECT_TRUE(guest_lives(**calls, **guest));
    xen.domains.erase(7);
    EXPECT_FALSE(guest_lives(**calls, **guest)) << version.minor;
  }
}

TEST_F(XenCallsTest, TheEndOfDomainsIsWaitedFor) {
  EXPECT_EQ(DomainEnds::open(), nullptr) << "without a socket";
  const Store store;
  xen.store_there = false;
  EXPECT_EQ(DomainEnds::open(), nullptr) << "without watches";
  xen.store_there = true;
  const auto ends = DomainEnds::open();
  ASSERT_NE(ends, nullptr);
  xen.domain_ends = 3;
  EXPECT_TRUE(ends->take());
  EXPECT_EQ(xen.domain_ends, 0u) << "all are taken";
  EXPECT_TRUE(ends->take()) << "there need be none";
  xen.store_there = false;
  EXPECT_FALSE(ends->take()) << "then one has to ask";
}

TEST_F(XenCallsTest, TheLibraryIsThatOfTheRunningXen) {
  xen.minor = 99;
  const auto calls = XenCalls::open();
  ASSERT_TRUE(calls);
  const auto control = Control::open(**calls);
  ASSERT_FALSE(control);
  EXPECT_EQ(control.error().code, ENOENT);
  const std::string said = to_string(control.error());
  EXPECT_NE(said.find("libxenctrl.so.4.99"), std::string::npos) << said;
  EXPECT_NE(said.find("libxenmisc4.99"), std::string::npos) << said;
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
}

}  // namespace
}  // namespace pviommu::xen
