// SPDX-License-Identifier: LGPL-2.1-or-later
// "key=value,flag" with sizes and quotes: what is read, what is refused, and how it is said.
#include <gtest/gtest.h>

#include "hypercall/conf.h"

namespace pviommu {
namespace {

std::vector<ConfElement> parsed(std::string_view conf) {
  ConfError error;
  auto elements = parse_conf(conf, error);
  EXPECT_EQ(error.message, "") << conf;
  return elements;
}

std::string refused(std::string_view conf) {
  ConfError error;
  const auto elements = parse_conf(conf, error);
  EXPECT_TRUE(elements.empty()) << conf;
  EXPECT_FALSE(error.message.empty()) << conf;
  return error.message;
}

TEST(ParseSize, Accepts) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("0x1000"), 4096u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("2m"), std::uint64_t{2} << 20);
  EXPECT_EQ(parse_size("1G"), std::uint64_t{1} << 30);
  EXPECT_EQ(parse_size("16T"), std::uint64_t{16} << 40);
  EXPECT_EQ(parse_size("0x10K"), 16384u);
  EXPECT_EQ(parse_size("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_EQ(parse_size("0xffffffffffffffff"), ~std::uint64_t{0});
}

TEST(ParseSize, Refuses) {
  for (const char* text : {"", "K", "0x", "0xK", "-1", "+1", " 1", "1 ", "1.5G", "12Q", "1KK", "0x1g2", "ten",
                           "18446744073709551616", "0x10000000000000000", "16777216T", "1f"})
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
}

TEST(ParseConf, Empty) {
  EXPECT_TRUE(parsed("").empty());
  EXPECT_TRUE(parsed(" ;; ").empty());
}

TEST(ParseConf, HeadItemsFlags) {
  const auto elements = parsed("nvme,file=disk.img,readonly;edu;limit=3,strict");
  ASSERT_EQ(elements.size(), 3u);
  EXPECT_EQ(elements[0].head, "nvme");
  ASSERT_EQ(elements[0].items.size(), 2u);
  EXPECT_EQ(elements[0].items[0], std::pair(std::string("file"), std::string("disk.img")));
  EXPECT_EQ(elements[0].items[1], std::pair(std::string("readonly"), std::string("on")));
  EXPECT_EQ(elements[1].head, "edu");
  EXPECT_TRUE(elements[1].items.empty());
  EXPECT_EQ(elements[2].head, "");
  ASSERT_EQ(elements[2].items.size(), 2u);
  EXPECT_EQ(elements[2].items[1].first, "strict");
}

TEST(ParseConf, QuotedValuesHoldSeparators) {
  const auto elements = parsed("nvme,file=\"a,b;c = d.img\",serial=x;edu");
  ASSERT_EQ(elements.size(), 2u);
  EXPECT_EQ(elements[0].items[0].second, "a,b;c = d.img");
  EXPECT_EQ(elements[0].items[1].second, "x");
}

TEST(ParseConf, ValueMayHoldEqualsAndBeEmpty) {
  const auto elements = parsed("a=b=c,d=,e=\"\"");
  EXPECT_EQ(elements[0].items[0].second, "b=c");
  EXPECT_EQ(elements[0].items[1].second, "");
  EXPECT_EQ(elements[0].items[2].second, "");
}

TEST(ParseConf, SpansLines) {
  const auto elements = parsed("\n  nvme , file = a b.img ;\n  edu ;\n");
  ASSERT_EQ(elements.size(), 2u);
  EXPECT_EQ(elements[0].head, "nvme");
  EXPECT_EQ(elements[0].items[0], std::pair(std::string("file"), std::string("a b.img")));
  EXPECT_EQ(elements[1].head, "edu");
}

TEST(ParseConf, ErrorsNameTheText) {
  EXPECT_NE(refused("nvme,file=\"disk.img").find("file=\"disk.img"), std::string::npos);
  EXPECT_NE(refused("edu;nvme,,x=1").find("nvme,,x=1"), std::string::npos);
  EXPECT_NE(refused("nvme,=5").find("=5"), std::string::npos);
  EXPECT_NE(refused("a=x\"y\"").find("a=x\"y\""), std::string::npos);
  EXPECT_NE(refused("\"nvme\",a=1").find("\"nvme\""), std::string::npos);
  EXPECT_NE(refused("nvme,file=a,file=b").find("\"file\""), std::string::npos);
  EXPECT_NE(refused("nvme,").find("nvme,"), std::string::npos);
}

TEST(ConfReader, ReadsAndFallsBack) {
  const auto elements = parsed("nvme,file=a,size=2M,flr=off,kind=b,quiet");
  ConfReader reader(elements[0]);
  EXPECT_EQ(reader.text("file", ""), "a");
  EXPECT_EQ(reader.text("serial", "none"), "none");
  EXPECT_EQ(reader.size("size", 1), std::uint64_t{2} << 20);
  EXPECT_EQ(reader.size("other", 77), 77u);
  EXPECT_FALSE(reader.flag("flr", true));
  EXPECT_TRUE(reader.flag("quiet", false));
  EXPECT_TRUE(reader.flag("absent", true));
  EXPECT_EQ(reader.choice("kind", "a", {"a", "b"}), "b");
  EXPECT_EQ(reader.choice("sort", "a", {"a", "b"}), "a");
  EXPECT_EQ(reader.finish(), "");
}

TEST(ConfReader, UnknownKeyListsTheKnown) {
  const auto elements = parsed("nvme,fiel=a");
  ConfReader reader(elements[0]);
  (void)reader.text("file", "");
  (void)reader.size("size", 0);
  EXPECT_EQ(reader.finish(), "nvme: unknown key \"fiel\"; known: file size");
}

TEST(ConfReader, BadValuesAreNamed) {
  const auto bad = [](std::string_view conf, auto read) {
    const auto elements = parsed(conf);
    ConfReader reader(elements[0]);
    read(reader);
    return reader.finish();
  };
  EXPECT_EQ(bad("size=12Q", [](ConfReader& r) { EXPECT_EQ(r.size("size", 5), 5u); }),
            "size=12Q: not a size (like 4096, 0x1000, 64K, 2M, 1G)");
  EXPECT_EQ(bad("flr=maybe", [](ConfReader& r) { EXPECT_TRUE(r.flag("flr", true)); }),
            "flr=maybe: not on or off");
  EXPECT_EQ(bad("x,kind=c",
                [](ConfReader& r) {
                  EXPECT_EQ(r.choice("kind", "a", {"a", "b"}), "a");
                }),
            "x: kind=c: not one of a b");
}

TEST(ConfReader, FirstProblemIsKept) {
  const auto elements = parsed("size=x,flr=y,zzz");
  ConfReader reader(elements[0]);
  (void)reader.size("size", 0);
  (void)reader.flag("flr", false);
  EXPECT_EQ(reader.finish().rfind("size=x", 0), 0u);
}

}  // namespace
}  // namespace pviommu
