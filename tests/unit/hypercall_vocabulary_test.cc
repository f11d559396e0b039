// SPDX-License-Identifier: LGPL-2.1-or-later
// Strong integers, ranges, results, names, PCI addresses, owned descriptors.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <set>
#include <type_traits>

#include "hypercall/hypervisor.h"
#include "hypercall/pci_device.h"
#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/statistics.h"
#include "hypercall/strong.h"
#include "hypercall/table_entries.h"
#include "hypercall/unique_fd.h"

namespace pviommu {
namespace {

// ---- strong integers: what must not compile ---------------------------------

template <class A, class B>
concept Comparable = requires(A a, B b) {
  a == b;
};
template <class A, class B>
concept Subtractable = requires(A a, B b) {
  a - b;
};
template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};

static_assert(!std::is_convertible_v<std::uint64_t, Iova>);
static_assert(!std::is_convertible_v<Iova, std::uint64_t>);
static_assert(!std::is_convertible_v<Iova, bool>);
static_assert(!std::is_constructible_v<Iova, Dfn>);
static_assert(!std::is_constructible_v<Dfn, Mfn>);
static_assert(!std::is_constructible_v<Mfn, Gfn>);
static_assert(!std::is_constructible_v<Hva, Iova>);
static_assert(!std::is_constructible_v<std::uint64_t, Mfn>);
static_assert(!std::is_assignable_v<Iova&, Hva>);
static_assert(!std::is_assignable_v<Iova&, std::uint64_t>);
static_assert(Comparable<Iova, Iova>);
static_assert(!Comparable<Iova, Hva>);
static_assert(!Comparable<Iova, std::uint64_t>);
static_assert(!Subtractable<Iova, Hva>);
static_assert(!Addable<Iova, Iova>);
static_assert(Addable<Iova, std::uint64_t>);
static_assert(std::is_same_v<decltype(Mfn() - Mfn()), std::uint64_t>);
static_assert(sizeof(Iova) == 8 && sizeof(Domid) == 2 && sizeof(Sbdf) == 4);
static_assert(std::is_trivially_copyable_v<Mfn>);

TEST(Strong, FrameConversion) {
  EXPECT_EQ(dfn_of(Iova(0x12345fff)), Dfn(0x12345));
  EXPECT_EQ(iova_of(Dfn(0x12345)), Iova(0x12345000));
  EXPECT_EQ(Mfn(7) - Mfn(3), 4u);
  EXPECT_EQ(Mfn(7) + 3, Mfn(10));
  EXPECT_LT(Iova(1), Iova(2));
  EXPECT_TRUE(page_aligned(0));
  EXPECT_TRUE(page_aligned(4096));
  EXPECT_FALSE(page_aligned(4095));
}

TEST(Strong, AccessIsASet) {
  EXPECT_TRUE(allows(Access::read_write, Access::read));
  EXPECT_FALSE(allows(Access::read, Access::write));
  EXPECT_TRUE(allows(Access::none, Access::none));
  EXPECT_EQ(Access::read | Access::write, Access::read_write);
  EXPECT_EQ(Access::read_write & Access::write, Access::write);
}

// ---- ranges -----------------------------------------------------------------

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST(Range, FromSize) {
  const auto range = IovaRange::from_size(Iova(0x1000), 0x2000);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first(), Iova(0x1000));
  EXPECT_EQ(range->last(), Iova(0x2fff));
  EXPECT_EQ(range->size(), 0x2000u);
}

TEST(Range, TopOfTheSpaceIsARange) {
  const auto range = IovaRange::from_size(Iova(kMax - 0xfff), 0x1000);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->last(), Iova(kMax));
  EXPECT_EQ(IovaRange::from_last(Iova(0), Iova(kMax))->size(), 0u);
}

TEST(Range, RefusesWrapAndNothing) {
  EXPECT_EQ(IovaRange::from_size(Iova(kMax - 0xfff), 0x1001).error().code, EOVERFLOW);
  EXPECT_EQ(IovaRange::from_size(Iova(1), kMax).ok(), true);
  EXPECT_EQ(IovaRange::from_size(Iova(2), kMax).error().code, EOVERFLOW);
  EXPECT_EQ(IovaRange::from_size(Iova(0), 0).error().code, EINVAL);
  EXPECT_EQ(IovaRange::from_last(Iova(5), Iova(4)).error().code, EINVAL);
}

TEST(Range, NarrowTypesWrapAtTheirOwnWidth) {
  using DomidRange = Range<Domid>;
  EXPECT_TRUE(DomidRange::from_size(Domid(0xffff), 1));
  EXPECT_EQ(DomidRange::from_size(Domid(0xffff), 2).error().code, EOVERFLOW);
}

TEST(Range, ContainsAndOverlaps) {
  const auto range = *IovaRange::from_last(Iova(0x1000), Iova(0x1fff));
  EXPECT_TRUE(range.contains(Iova(0x1000)));
  EXPECT_TRUE(range.contains(Iova(0x1fff)));
  EXPECT_FALSE(range.contains(Iova(0x2000)));
  EXPECT_FALSE(range.overlaps(*IovaRange::from_last(Iova(0x2000), Iova(0x2fff))));
  EXPECT_TRUE(range.overlaps(*IovaRange::from_last(Iova(0x1fff), Iova(kMax))));
  EXPECT_TRUE(range.contains(*IovaRange::from_last(Iova(0x1000), Iova(0x1fff))));
  EXPECT_FALSE(range.contains(*IovaRange::from_last(Iova(0x0fff), Iova(0x1fff))));
}

// ---- results ----------------------------------------------------------------

Result<int> half(int value) {
  if (value % 2 != 0) return Error{EDOM, "half", -7};
  return value / 2;
}
Result<int> quarter(int value) {
  const int h = PVIOMMU_TRY(half(value));
  return PVIOMMU_TRY(half(h));
}
Status only_even(int value) {
  PVIOMMU_TRY(half(value));
  return {};
}

TEST(Result, TryReturnsTheFirstError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().code, EDOM);
  EXPECT_TRUE(only_even(2));
  EXPECT_FALSE(only_even(3));
  EXPECT_EQ(only_even(3).error().raw, -7);
}

TEST(Result, TryMovesTheValue) {
  const auto take = []() -> Result<std::unique_ptr<int>> {
    auto inner = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(4); };
    return PVIOMMU_TRY(inner());
  };
  EXPECT_EQ(**take(), 4);
}

TEST(Error, Text) {
  EXPECT_EQ(to_string(Error{EBUSY, "attach"}), "attach: Device or resource busy");
  EXPECT_EQ(to_string(Error{EINVAL, "H_STUFF_TCE", -4}), "H_STUFF_TCE: Invalid argument (raw -4)");
  EXPECT_EQ(to_string(Error{ENOENT, ""}), "No such file or directory");
  EXPECT_EQ(to_string(Error{99999, "odd"}), "odd: error 99999");
}

// ---- names ------------------------------------------------------------------

TEST(Names, AllDifferentAndKnown) {
  std::set<std::string> ops;
  for (std::size_t i = 0; i < kHypercallOps; ++i) ops.insert(to_string(static_cast<HypercallOp>(i)));
  EXPECT_EQ(ops.size(), kHypercallOps);
  EXPECT_EQ(ops.count("?"), 0u);
  std::set<std::string> faults;
  for (std::size_t i = 0; i < kFaultReasons; ++i) faults.insert(to_string(static_cast<FaultReason>(i)));
  EXPECT_EQ(faults.size(), kFaultReasons);
  EXPECT_EQ(faults.count("?"), 0u);
  EXPECT_STREQ(to_string(VectorKind::intx), "intx");
  EXPECT_STREQ(to_string(VectorKind::msi), "msi");
  EXPECT_STREQ(to_string(VectorKind::msix), "msix");
}

// ---- PCI addresses ----------------------------------------------------------

TEST(PciAddress, PrintsAndParsesBack) {
  for (const Sbdf sbdf :
       {make_sbdf(0, 0, 5, 0), make_sbdf(0xffff, 0xff, 0x1f, 7), make_sbdf(1, 0x80, 0, 3)}) {
    const auto parsed = parse_sbdf(to_string(sbdf));
    ASSERT_TRUE(parsed) << to_string(sbdf);
    EXPECT_EQ(*parsed, sbdf);
  }
  EXPECT_EQ(to_string(make_sbdf(0, 0, 5, 0)), "0000:00:05.0");
  EXPECT_EQ(to_string(make_sbdf(0xabcd, 0xef, 0x1f, 7)), "abcd:ef:1f.7");
}

TEST(PciAddress, ShortForm) { EXPECT_EQ(*parse_sbdf("3f:1f.7"), make_sbdf(0, 0x3f, 0x1f, 7)); }

TEST(PciAddress, Refuses) {
  for (const char* text :
       {"", "0000:00:05", "0000:00:05.8", "0000:00:20.0", "000:00:05.0", "00000:00:05.0", "0:0:5.0",
        "0000:00:05.0 ", " 0000:00:05.0", "0000:00:05.00", "00:05.00", "00:05.0 ", "0000-00:05.0",
        "0000:00.05.0", "g000:00:05.0", "0000:0x:05.0", "0000:00:-5.0", "0000:00:05.f", "pci:00:05.0"}) {
    EXPECT_EQ(parse_sbdf(text).ok(), false) << text;
  }
  EXPECT_EQ(parse_sbdf("x").error().code, EINVAL);
}

// ---- entries of a page table --------------------------------------------------

// The largest size that exists, fits, and to which both sides are aligned.
std::uint64_t looked_for(std::uint64_t dfn, std::uint64_t mfn, std::uint64_t pages, std::uint64_t page_sizes) {
  std::uint64_t found = 1;
  for (unsigned order = 1; order < 52; ++order) {
    const std::uint64_t size = std::uint64_t{1} << order;
    if ((page_sizes >> 12 & size) != 0 && size <= pages && dfn % size == 0 && mfn % size == 0) found = size;
  }
  return found;
}

TEST(TableEntries, AreAsLargeAsBothSidesAllow) {
  for (const std::uint64_t page_sizes : {0x1000u, 0x40201000u, 0x1011000u, 0x10000u})
    for (const std::uint64_t dfn : {0u, 1u, 16u, 511u, 512u, 513u, 262144u, 262656u})
      for (const std::uint64_t mfn : {0u, 2u, 512u, 1024u, 524288u, 524289u})
        for (const std::uint64_t pages : {1u, 15u, 16u, 511u, 512u, 1000u, 262143u, 262144u, 1000000u})
          EXPECT_EQ(pages_of_entry(Dfn(dfn), Mfn(mfn), pages, page_sizes), looked_for(dfn, mfn, pages, page_sizes))
              << page_sizes << " " << dfn << " " << mfn << " " << pages;
  EXPECT_EQ(pages_of_entry(Dfn(0), Mfn(0), ~std::uint64_t{0}, ~std::uint64_t{0}), std::uint64_t{1} << 51);
}

TEST(TableEntries, AreTakenFromTheFront) {
  std::uint64_t entries = 10;
  // Two pages up to the boundary, three of 2 MiB, one page behind them.
  EXPECT_EQ(take_entries(Dfn(510), Mfn(1022), 2 + 3 * 512 + 1, 0x201000, entries), 2u + 3 * 512 + 1);
  EXPECT_EQ(entries, 4u);
  EXPECT_EQ(take_entries(Dfn(512), Mfn(1024), 100 * 512, 0x201000, entries), 4u * 512);
  EXPECT_EQ(entries, 0u);
  EXPECT_EQ(take_entries(Dfn(512), Mfn(1024), 1, 0x201000, entries), 0u);
}

// ---- owned descriptors ------------------------------------------------------

TEST(UniqueFd, ClosesAndIsKnown) {
  int number = -1;
  {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(fd);
    number = fd.get();
    EXPECT_TRUE(is_internal_fd(number));
    UniqueFd moved = std::move(fd);
    EXPECT_FALSE(fd);  // NOLINT(bugprone-use-after-move): the moved-from state is the contract
    EXPECT_EQ(moved.get(), number);
  }
  EXPECT_FALSE(is_internal_fd(number));
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

TEST(UniqueFd, ReleaseKeepsItOpen) {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = fd.release();
  EXPECT_FALSE(is_internal_fd(number));
  EXPECT_NE(::fcntl(number, F_GETFD), -1);
  ::close(number);
}

TEST(UniqueFd, OtherNumbersAreNotInternal) {
  EXPECT_FALSE(is_internal_fd(-1));
  EXPECT_FALSE(is_internal_fd(std::numeric_limits<int>::max()));
  EXPECT_FALSE(is_internal_fd(0));
}

}  // namespace
}  // namespace pviommu
