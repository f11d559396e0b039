// SPDX-License-Identifier: LGPL-2.1-or-later
// Rows of `pviommu doctor`: as text, as JSON, and the exit status.
#include <gtest/gtest.h>

#include "vfio-glue/command/doctor_report.h"

namespace pviommu::command {
namespace {

TEST(DoctorReportTest, ReadsWhatModulesWrite) {
  std::vector<DoctorCheck> checks = {{"first", "ok", "", ""}};
  ASSERT_TRUE(append_checks(
      R"([{"check":"a","state":"warning","detail":"b","remedy":"c","more":1},{"check":"d","state":"unknown","detail":"","remedy":""}])",
      checks));
  ASSERT_EQ(checks.size(), 3u);
  EXPECT_EQ(checks[1].check, "a");
  EXPECT_EQ(checks[1].state, "warning");
  EXPECT_EQ(checks[1].detail, "b");
  EXPECT_EQ(checks[1].remedy, "c");
  EXPECT_EQ(checks[2].state, "unknown");
  EXPECT_TRUE(append_checks("[]", checks));
}

TEST(DoctorReportTest, RefusesTheRestWhole) {
  const std::string good = R"({"check":"a","state":"ok","detail":"","remedy":""})";
  for (const std::string& json :
       {std::string(), std::string("{"), good, std::string("[1]"), std::string("[null]"), "[" + good + ",{}]",
        std::string(R"([{"check":"a","state":"fine","detail":"","remedy":""}])"),
        std::string(R"([{"check":"a","state":"ok","detail":7,"remedy":""}])"),
        std::string(R"([{"check":"a","state":"ok","detail":""}])"), "[" + good + "] x"}) {
    std::vector<DoctorCheck> checks;
    EXPECT_FALSE(append_checks(json, checks)) << json;
    EXPECT_TRUE(checks.empty()) << json;
  }
}

TEST(DoctorReportTest, Text) {
  EXPECT_EQ(checks_as_text({{"IOMMU", "problem", "none", "buy one"},
                            {"run would", "ok", "do this", ""},
                            {"Xen", "ok", "4.17", ""},
                            {"run would", "ok", "do that", ""},
                            {"a name that is too long", "warning", "x", ""}}),
            "problem IOMMU               none\n"
            "                            -> buy one\n"
            "ok      Xen                 4.17\n"
            "warning a name that is too long x\n"
            "\nrun would:\n  1. do this\n  2. do that\n"
            "\n1 problem, 1 warning\n");
  EXPECT_EQ(checks_as_text({}), "\n0 problems, 0 warnings\n");
}

TEST(DoctorReportTest, JsonComesBack) {
  const std::vector<DoctorCheck> checks = {{"a", "problem", "\xff\"\n", "b"}, {"run would", "ok", "c", ""}};
  std::vector<DoctorCheck> again;
  ASSERT_TRUE(append_checks(checks_as_json(checks), again));
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].state, "problem");
  EXPECT_EQ(again[0].detail, "\xef\xbf\xbd\"\n");
  EXPECT_EQ(again[1].check, kDoctorStep);
}

TEST(DoctorReportTest, OnlyProblemsFail) {
  EXPECT_EQ(exit_status_of({}), 0);
  EXPECT_EQ(exit_status_of({{"a", "ok", "", ""}, {"b", "warning", "", ""}, {"c", "unknown", "", ""}}), 0);
  EXPECT_EQ(exit_status_of({{"a", "ok", "", ""}, {"b", "problem", "", ""}}), 1);
}

}  // namespace
}  // namespace pviommu::command
