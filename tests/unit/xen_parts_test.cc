// SPDX-License-Identifier: LGPL-2.1-or-later
// Parts of the Xen backend that need no Xen to be wrong.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "hypercall/xen/iommu_tables.h"
#include "hypercall/xen/mapping_piece.h"

namespace pviommu::xen {
namespace {

constexpr std::uint64_t k2M = 512, k1G = 512 * 512;

TEST(Pieces, SixtyFourPagesWhereNothingIsAligned) {
  EXPECT_EQ(piece_pages(Dfn(1), Mfn(2), 1000), 64u);
  EXPECT_EQ(piece_pages(Dfn(1), Mfn(2), 7), 7u);
  EXPECT_EQ(piece_pages(Dfn(512), Mfn(513), 4096), 64u) << "only one side is aligned";
}

TEST(Pieces, LargeEntriesCountAsOne) {
  EXPECT_EQ(piece_pages(Dfn(512), Mfn(1024), k2M), k2M);
  EXPECT_EQ(piece_pages(Dfn(512), Mfn(1024), 100 * k2M), 64 * k2M);
  EXPECT_EQ(piece_pages(Dfn(k1G), Mfn(2 * k1G), 3 * k1G), 3 * k1G);
  EXPECT_EQ(piece_pages(Dfn(512), Mfn(1024), k2M - 1), 64u) << "too short for one";
}

TEST(Pieces, FromSmallToLarge) {
  // Two pages up to the boundary, then large ones.
  EXPECT_EQ(piece_pages(Dfn(510), Mfn(1022), 2 + 10 * k2M), 2 + 10 * k2M);
  EXPECT_EQ(piece_pages(Dfn(510), Mfn(1022), 2 + 100 * k2M), 2 + 62 * k2M);
  // A 1 GiB boundary on both sides in between.
  EXPECT_EQ(piece_pages(Dfn(k1G - k2M), Mfn(3 * k1G - k2M), k2M + k1G), k2M + k1G);
}

class Tables : public testing::Test {
 protected:
  Tables() {
    char name[] = "/tmp/pviommu-tables-XXXXXX";
    folder = ::mkdtemp(name);
  }
  ~Tables() override {
    for (const std::string& file : files) ::unlink(file.c_str());
    ::rmdir(folder.c_str());
  }
  void write(const char* name, const std::vector<std::uint8_t>& bytes) {
    files.push_back(folder + "/" + name);
    std::FILE* file = std::fopen(files.back().c_str(), "we");
    ASSERT_NE(file, nullptr);
    ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
    std::fclose(file);
  }
  std::string folder;
  std::vector<std::string> files;
};

TEST_F(Tables, None) { EXPECT_EQ(iommu_bits_of_tables(folder), 0u); }

TEST_F(Tables, HostAddressWidthOfDmarByAnyOfItsNames) {
  std::vector<std::uint8_t> dmar(48, 0);
  dmar[36] = 38;
  write("RMAD", dmar);
  EXPECT_EQ(iommu_bits_of_tables(folder), 39u);
}

TEST_F(Tables, ShortDmarIsNone) {
  write("DMAR", std::vector<std::uint8_t>(20, 0xff));
  EXPECT_EQ(iommu_bits_of_tables(folder), 0u);
}

TEST_F(Tables, VirtualAddressSizeOfIvrs) {
  std::vector<std::uint8_t> ivrs(48, 0);
  const std::uint32_t info = 40u << 15 | 48u << 8;
  std::memcpy(ivrs.data() + 36, &info, sizeof info);
  write("IVRS", ivrs);
  EXPECT_EQ(iommu_bits_of_tables(folder), 40u);
}

}  // namespace
}  // namespace pviommu::xen
