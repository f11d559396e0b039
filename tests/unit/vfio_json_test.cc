// SPDX-License-Identifier: LGPL-2.1-or-later
// JSON as the command writes it: its layout, byte for byte, and for people.
#include <gtest/gtest.h>

#include "vfio-glue/command/json.h"

namespace pviommu::command {
namespace {

Json sample() {
  Json list = Json::array();
  list.push_back({{"first", "0x0"}, {"last", ""}, {"kind", "x"}});
  list.push_back(7);
  Json json = {{"zeroth", "a \"word\""}, {"yes", true}, {"no", false}, {"none", Json()}};
  json.set("list", std::move(list));
  json.set("empty", Json::array());
  json.set("inner", {{"big", std::uint64_t{18446744073709551615u}}, {"small", -1}});
  json.set("words", std::vector<std::string>{"a", "b"});
  json.set("yes", 1u);  // keeps its place
  return json;
}

TEST(JsonTest, Layout) {
  EXPECT_EQ(sample().text(), R"({
  "zeroth": "a \"word\"",
  "yes": 1,
  "no": false,
  "none": null,
  "list": [
    {
      "first": "0x0",
      "last": "",
      "kind": "x"
    },
    7
  ],
  "empty": [],
  "inner": {
    "big": 18446744073709551615,
    "small": -1
  },
  "words": [
    "a",
    "b"
  ]
})");
  EXPECT_EQ(Json::object().text(), "{}");
  EXPECT_EQ(Json().text(), "null");
}

TEST(JsonTest, Lines) {
  EXPECT_EQ(sample().lines(),
            "zeroth                        a \"word\"\n"
            "yes                           1\n"
            "no                            no\n"
            "none                          null\n"
            "list                          0x0  x\n"
            "                              7\n"
            "empty                         none\n"
            "inner\n"
            "  big                         18446744073709551615\n"
            "  small                       -1\n"
            "words                         a\n"
            "                              b\n");
}

TEST(JsonTest, AnyText) {
  EXPECT_EQ(Json("\xff\t\x01/\xc3\xa9").text(), "\"\xef\xbf\xbd\\t\\u0001/\xc3\xa9\"");
}

TEST(JsonTest, CopiesAreTheirOwn) {
  Json one = {{"a", 1}};
  Json two = one;
  two.set("a", 2);
  EXPECT_EQ(one.text(), "{\n  \"a\": 1\n}");
  one = two;
  EXPECT_EQ(one.text(), "{\n  \"a\": 2\n}");
}

}  // namespace
}  // namespace pviommu::command
